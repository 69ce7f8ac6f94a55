//! Ends of a ticket that solve nothing.
//!
//! | End | How it shows |
//! |---|---|
//! | merged into another ticket | closed, with the note "This ticket is closed and merged into ticket 4711", unless whoever merged it wrote another |
//! | spam, deleted | the ticket's flags `spam` and `deleted` |
//! | cancelled, withdrawn, rejected, declined, duplicate, … | a status of the account's own, by its name |
//!
//! Accounts have four statuses from the start (Open, Pending, Resolved, Closed) and name further ones themselves: the words
//! are those that service desks have for such ends. <https://api.freshservice.com/#ticket_attributes>; the note is the one
//! that Freshworks' products propose when tickets are merged.

use plugin_abi::{payload::says_one_of, prelude::*};

/// What such a status says.
const STATUSES: [&str; 18] = [
    "merged",
    "duplicate",
    "duplicated",
    "cancelled",
    "canceled",
    "withdrawn",
    "rejected",
    "declined",
    "denied",
    "spam",
    "deleted",
    "abandoned",
    "obsolete",
    "invalid",
    "wont fix",
    "wont do",
    "cannot reproduce",
    "not reproducible",
];
/// How the note of a merge begins.
const MERGED: &str = "this ticket is closed and merged into ticket";

/// Whether a status, by its name, ends a ticket without a solution.
pub(crate) fn is_end(status: &str) -> bool {
    says_one_of(status, &STATUSES)
}

/// Whether a note or a resolution says that its ticket was merged into another.
pub(crate) fn is_merge(text: &str) -> bool {
    text.trim_start().get(..MERGED.len()).is_some_and(|start| start.eq_ignore_ascii_case(MERGED))
}

/// Shows this ticket as one that ended in this way: with a status that is none of a solved ticket.
pub(crate) fn show(ticket: &mut Ticket, how: &str) {
    ticket.status = Some(ticket.status.take().map_or_else(|| how.to_owned(), |status| format!("{status} ({how})")));
    ticket.resolved_at = None;
    ticket.resolution = None;
}
