//! A made-up small tool with a JSON API: the counterpart of a plugin fresh from `plugin-ctl new`.

use hyper::{
    Method, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    answer::Answer,
    call::Call,
    state::{Note, NoteRefused, Ticket},
    tools::{Operation, Site, Tool},
    webhook::{Event, Webhook, rfc3339},
};

/// Maximum length of a ticket's id, in characters.
const ID_CHARS_MAX: usize = 50;

/// The destination of a path.
enum Route<'a> {
    Ticket(&'a str),
    Notes(&'a str),
    Unknown,
}

/// A refused request.
struct Refusal(StatusCode, &'static str);

/// A posted note. It is internal: this tool has no other kind.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewNote {
    html: String,
    #[serde(rename = "internal")]
    is_internal: bool,
}

pub(crate) fn broken_id_rule(id: &str) -> Option<&'static str> {
    let good =
        (1..=ID_CHARS_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    (!good).then_some("a ticket's id is 1 to 50 letters, digits and dashes")
}

pub(crate) fn operation(method: &Method, path: &str) -> Operation {
    match (method, route(path)) {
        (&Method::GET, Route::Ticket(_)) => Operation::Get,
        (&Method::GET, Route::Notes(_)) => Operation::List,
        (&Method::POST, Route::Notes(_)) => Operation::Note,
        _ => Operation::Other,
    }
}

pub(crate) fn answer(site: &Site<'_>, call: &Call, path: &str) -> Answer {
    let presented = call.header(AUTHORIZATION.as_str()).and_then(|value| value.strip_prefix("Bearer "));
    if presented != Some(site.token) {
        return failure(StatusCode::UNAUTHORIZED);
    }
    let granted = match (operation(&call.head.method, path), route(path)) {
        (Operation::Get, Route::Ticket(id)) => {
            ticket(site, id).map(|ticket| Answer::json(StatusCode::OK, &shown(&ticket)))
        }
        (Operation::List, Route::Notes(id)) => ticket(site, id).map(|ticket| {
            let notes: Vec<_> = ticket.notes.iter().map(shown_note).collect();
            Answer::json(StatusCode::OK, &json!({ "notes": notes }))
        }),
        (Operation::Note, Route::Notes(id)) => post(site, id, call),
        _ => Err(Refusal(StatusCode::NOT_FOUND, "there is no such path")),
    };
    granted.unwrap_or_else(|Refusal(status, message)| Answer::json(status, &json!({ "error": message })))
}

/// The tool's body for a failure with this status.
pub(crate) fn failure(status: StatusCode) -> Answer {
    Answer::json(status, &json!({ "error": status.canonical_reason().unwrap_or("failed") }))
}

/// The body of a webhook: what happened, when, and the ticket as the API shows it.
pub(crate) fn webhook_body(webhook: &Webhook) -> Vec<u8> {
    let fields = webhook.ticket_after();
    let at = match webhook.event {
        Event::Created => fields.created_at,
        Event::Resolved | Event::Updated => fields.resolved_at.unwrap_or(fields.created_at),
    };
    let id = webhook.ticket_id.clone();
    let ticket = Ticket { tool: webhook.tool, id, display_id: 1, fields, updated_at: at, notes: Vec::new() };
    let event = format!("ticket.{}", webhook.event.name());
    let body = json!({ "event": event, "at": rfc3339(at), "ticket": shown(&ticket) });
    serde_json::to_vec(&body).expect("a JSON value is always writable")
}

fn route(path: &str) -> Route<'_> {
    let Some(rest) = path.strip_prefix("/api/tickets/") else { return Route::Unknown };
    match rest.split_once('/') {
        None => Route::Ticket(rest),
        Some((id, "notes")) => Route::Notes(id),
        Some(_) => Route::Unknown,
    }
}

fn ticket(site: &Site<'_>, id: &str) -> Result<Ticket, Refusal> {
    site.state.ticket(Tool::Generic, id).ok_or(Refusal(StatusCode::NOT_FOUND, "there is no such ticket"))
}

fn post(site: &Site<'_>, id: &str, call: &Call) -> Result<Answer, Refusal> {
    if !call.header(CONTENT_TYPE.as_str()).is_some_and(|kind| kind.starts_with("application/json")) {
        return Err(Refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, "a note is JSON"));
    }
    let invalid = |_| Refusal(StatusCode::UNPROCESSABLE_ENTITY, "a note is {\"html\": TEXT, \"internal\": BOOLEAN}");
    let note: NewNote = serde_json::from_slice(&call.body).map_err(invalid)?;
    if note.html.trim().is_empty() {
        return Err(Refusal(StatusCode::UNPROCESSABLE_ENTITY, "a note is not empty"));
    }
    let added = site.state.add_note(Tool::Generic, id, note.html, note.is_internal);
    let (_, note) = added.map_err(|refused| match refused {
        NoteRefused::NoTicket => Refusal(StatusCode::NOT_FOUND, "there is no such ticket"),
        NoteRefused::Full(_) => Refusal(StatusCode::INTERNAL_SERVER_ERROR, "the ticket takes no more notes"),
    })?;
    Ok(Answer::json(StatusCode::CREATED, &json!({ "note": shown_note(&note) })))
}

fn shown(ticket: &Ticket) -> Value {
    let fields = &ticket.fields;
    json!({
        "id": ticket.id,
        "subject": fields.subject,
        "description": fields.description,
        "status": fields.status.to_lowercase(),
        "priority": fields.priority.to_lowercase(),
        "requester": fields.requester_name,
        "created_at": rfc3339(fields.created_at),
        "resolved_at": fields.resolved_at.map(rfc3339),
        "resolution": fields.resolution,
    })
}

fn shown_note(note: &Note) -> Value {
    json!({ "id": note.id, "html": note.body, "internal": note.internal, "created_at": rfc3339(note.created_at) })
}

#[cfg(test)]
mod tests;
