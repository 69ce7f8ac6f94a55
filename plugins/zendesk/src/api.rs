//! Zendesk's API, version 2: reading a ticket, and putting an internal note on it.
//!
//! Tickets: <https://developer.zendesk.com/api-reference/ticketing/tickets/tickets/>; comments, which can only be added
//! by an update of their ticket: `…/tickets/ticket_comments/` there.

mod answer;
mod comments;
mod ticket;

use plugin_abi::{html, prelude::*, serde::de::IgnoredAny, serde_json::json};

use self::{
    comments::{Comments, End},
    ticket::Shown,
};
use crate::{
    payload,
    settings::{API_KEY, ApiAuth},
};

/// Most characters of a note. A comment has 64 KiB at most: as many fit whatever they are, at four bytes each.
const NOTE_CHARS_MAX: usize = 16_000;
/// The newest comments, as many as the API gives in one list. By cursor: lists by page are sorted otherwise.
const NEWEST: [(&str, &str); 2] = [("sort", "-created_at"), ("page[size]", "100")];

/// Reads a ticket; `None` when the tool does not have it. Of a solved one also the comments: Zendesk has no field for how a
/// ticket was solved, but the last public answer to its requester says it.
pub(crate) fn get_ticket(
    tenant: &Tenant<'_>,
    auth: &ApiAuth<'_>,
    ticket_id: &str,
) -> Result<Option<Ticket>, PluginError> {
    // Their names, and when it was solved, come in the same answer:
    // <https://developer.zendesk.com/documentation/ticketing/using-the-zendesk-api/side_loading/>
    let ask = |request: Request| request.query("include", "users,metric_sets");
    let response = match send(tenant, auth, Request::get("/"), ticket_id, ask) {
        Ok(response) => response,
        Err(PluginError::NotFound(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let shown = Shown::read(&response)?;
    let mut ticket = shown.ticket(ticket_id);
    ticket.url = payload::agent_url(tenant.base_url(), ticket_id);
    if shown.is_solved() {
        match end(tenant, auth, ticket_id, &shown)? {
            End::Solved(resolution) => ticket.resolution = resolution,
            End::Merged => {
                // No status of a solved ticket: what the host takes for one is a matter of names.
                ticket.status = ticket.status.map(|status| format!("{status} (merged)"));
                ticket.resolved_at = None;
            }
        }
    }
    Ok(Some(ticket))
}

/// How a solved ticket ended. Comments that cannot be read keep nothing of the ticket back.
fn end(tenant: &Tenant<'_>, auth: &ApiAuth<'_>, ticket_id: &str, shown: &Shown<'_>) -> Result<End, PluginError> {
    if shown.is_merged() {
        return Ok(End::Merged);
    }
    let comments = newest_comments(tenant, auth, ticket_id)?;
    match comments.json::<Comments<'_>>() {
        Ok(comments) => Ok(comments.end(shown.requester())),
        Err(PluginError::Malformed(why)) => {
            tenant.log(LogLevel::Warn, &format!("how ticket {ticket_id} was solved cannot be told: {why}"));
            Ok(End::Solved(None))
        }
        Err(passing) => Err(passing),
    }
}

/// Puts the note on the ticket. After a first attempt it looks whether that one was taken: the answer may have been lost.
pub(crate) fn add_note(
    tenant: &Tenant<'_>,
    auth: &ApiAuth<'_>,
    ticket_id: &str,
    note: &Note<'_>,
) -> Result<bool, PluginError> {
    if tenant.attempt() > 1 {
        let comments = newest_comments(tenant, auth, ticket_id)?;
        if comments.json::<Comments<'_>>()?.hold(note.marker()) {
            tenant.log(LogLevel::Info, "the note of an earlier attempt is there");
            return Ok(true);
        }
    }
    // Always said: what is left out keeps the value that the ticket began with, which is mostly public.
    let comment = json!({ "html_body": html::of_note(note, NOTE_CHARS_MAX), "public": false });
    let update = json!({ "ticket": { "comment": comment } });
    let response = send(tenant, auth, Request::put("/"), ticket_id, |request| request.json(&update))?;
    // A page of HTML with status 200 has taken nothing.
    response.json::<IgnoredAny>()?;
    Ok(true)
}

fn newest_comments(tenant: &Tenant<'_>, auth: &ApiAuth<'_>, ticket_id: &str) -> Result<Response, PluginError> {
    send(tenant, auth, Request::get("/"), ticket_id, |request| {
        NEWEST.iter().fold(request.path("comments"), |request, (name, value)| request.query(name, value))
    })
}

/// Sends a request about this ticket and returns its answer if that is a success.
fn send(
    tenant: &Tenant<'_>,
    auth: &ApiAuth<'_>,
    start: Request,
    ticket_id: &str,
    complete: impl FnOnce(Request) -> Request,
) -> Result<Response, PluginError> {
    // `tickets/recent` and others are lists, and no ticket of that id.
    if !payload::is_ticket_id(ticket_id) {
        return Err(PluginError::NotFound(format!("{ticket_id:?} is not the number of a ticket")));
    }
    let request = start.path("api").path("v2").path("tickets").path(ticket_id).header("accept", "application/json");
    let request = match auth {
        ApiAuth::Basic { address } => request.basic(format!("{address}/token"), API_KEY),
        ApiAuth::Bearer => request.bearer(API_KEY),
    };
    answer::successful(tenant.http(complete(request))?, tenant.now())
}
