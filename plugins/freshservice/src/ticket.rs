//! A ticket as the API answers it, in the host's terms; and what its numbers and their names mean.
//!
//! Fields: <https://api.freshservice.com/#view_a_ticket>, embedded `requester` and `stats` included.

use plugin_abi::{
    html,
    payload::{Part, Scalar, instant},
    prelude::*,
    serde::Deserialize,
    serde_json,
    time::OffsetDateTime,
};

use crate::unsolved;

/// Numbers of the statuses that every account has; its own ones have others and no name in the API's answer.
const STATUSES: [(&str, &str); 4] = [("2", "Open"), ("3", "Pending"), ("4", "Resolved"), ("5", CLOSED)];
/// The status of a ticket that nobody works on any more.
pub(crate) const CLOSED: &str = "Closed";

#[derive(Debug, Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
struct Answered<'a> {
    #[serde(borrow)]
    subject: Scalar<'a>,
    #[serde(borrow)]
    description: Scalar<'a>,
    #[serde(borrow)]
    description_text: Scalar<'a>,
    #[serde(borrow)]
    status: Scalar<'a>,
    #[serde(borrow)]
    priority: Scalar<'a>,
    #[serde(borrow)]
    requester: Part<'a, Requester<'a>>,
    #[serde(borrow)]
    created_at: Scalar<'a>,
    #[serde(borrow)]
    updated_at: Scalar<'a>,
    #[serde(borrow)]
    stats: Part<'a, Stats<'a>>,
    #[serde(borrow)]
    spam: Scalar<'a>,
    #[serde(borrow)]
    deleted: Scalar<'a>,
    #[serde(borrow)]
    resolution_notes: Scalar<'a>,
    #[serde(borrow)]
    resolution_notes_html: Scalar<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
struct Requester<'a> {
    #[serde(borrow)]
    name: Scalar<'a>,
    #[serde(borrow)]
    email: Scalar<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
struct Stats<'a> {
    #[serde(borrow)]
    resolved_at: Scalar<'a>,
    #[serde(borrow)]
    closed_at: Scalar<'a>,
}

/// The ticket; `raw` is kept with it.
///
/// # Errors
/// When `raw` is not such JSON.
pub(crate) fn read(ticket_id: &str, base_url: &str, raw: &str) -> Result<Ticket, serde_json::Error> {
    let answered: Answered<'_> = serde_json::from_str(raw)?;
    let mut ticket = Ticket::new(ticket_id);
    ticket.subject = text(&answered.subject).map(str::to_owned);
    ticket.description = markup(&answered.description, &answered.description_text);
    ticket.status = word(&answered.status).map(|status| status_name(&status).to_owned());
    ticket.priority = priority(word(&answered.priority).as_deref());
    ticket.requester = answered.requester().map(str::to_owned);
    ticket.created_at = time(&answered.created_at);
    ticket.updated_at = time(&answered.updated_at);
    // A ticket that was opened again keeps the time at which it was solved before.
    let is_solved = ticket.status.as_deref().is_none_or(is_resolved);
    ticket.resolved_at = answered.ended_at().filter(|_| is_solved);
    ticket.resolution = markup(&answered.resolution_notes_html, &answered.resolution_notes);
    ticket.url = Some(format!("{}/helpdesk/tickets/{ticket_id}", base_url.trim_end_matches('/')));
    raw.clone_into(&mut ticket.raw);
    if let Some(how) = answered.unsolved(&ticket) {
        unsolved::show(&mut ticket, how);
    }
    Ok(ticket)
}

impl Answered<'_> {
    fn requester(&self) -> Option<&str> {
        let address = || text(&self.requester.object()?.email);
        self.requester.value(|requester| &requester.name).and_then(text).or_else(address)
    }

    fn ended_at(&self) -> Option<OffsetDateTime> {
        let stats = self.stats.object()?;
        time(&stats.resolved_at).or_else(|| time(&stats.closed_at))
    }

    /// How it ended, when that was no solution and the answer shows it.
    fn unsolved(&self, ticket: &Ticket) -> Option<&'static str> {
        [
            (self.spam.flag() == Some(true), "spam"),
            (self.deleted.flag() == Some(true), "deleted"),
            (ticket.resolution.as_deref().is_some_and(unsolved::is_merge), "merged"),
        ]
        .into_iter()
        .find_map(|(is_so, how)| is_so.then_some(how))
    }
}

/// 1 Low, 2 Medium, 3 High, 4 Urgent: the API writes the number, placeholders the name.
pub(crate) fn priority(word: Option<&str>) -> Priority {
    priority_from(word, &[(Priority::High, &["3", "high", "4", "urgent"]), (Priority::Low, &["1", "low"])])
}

/// Whether this status, by name or number, is the end of a ticket.
pub(crate) fn is_resolved(status: &str) -> bool {
    let name = status_name(status);
    name.eq_ignore_ascii_case("resolved") || name.eq_ignore_ascii_case("closed")
}

fn status_name(status: &str) -> &str {
    STATUSES.iter().find(|(number, _)| *number == status).map_or(status, |(_, name)| name)
}

/// The text of the HTML, which still has its lines, or else the text that the tool made of it.
fn markup(html: &Scalar<'_>, plain: &Scalar<'_>) -> Option<String> {
    text(html).map(html::to_text).or_else(|| text(plain).map(str::to_owned))
}

fn word(value: &Scalar<'_>) -> Option<String> {
    value.word().map(|word| word.trim().to_owned()).filter(|word| !word.is_empty())
}

fn text<'s>(value: &'s Scalar<'_>) -> Option<&'s str> {
    value.text().filter(|text| !text.is_empty())
}

fn time(value: &Scalar<'_>) -> Option<OffsetDateTime> {
    instant(value.text()?)
}
