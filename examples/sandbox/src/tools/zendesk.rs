//! Zendesk, API version 2: reads a ticket, reads its comments, and updates it with a new one.
//!
//! Paths, credentials, fields and errors are those of the vendor's documentation
//! (<https://developer.zendesk.com/api-reference/ticketing/introduction/>). Unknown fields, which the vendor ignores,
//! are refused here, so that a misspelt one is noticed.

mod shape;

use base64::{Engine, engine::general_purpose::STANDARD};
use hyper::{
    Method, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    answer::Answer,
    call::Call,
    state::{NoteRefused, Ticket},
    tools::{Operation, Site, Tool},
};
pub(crate) use shape::webhook_body;

/// Maximum size of a comment, in bytes.
const COMMENT_BYTES_MAX: usize = 65_536;
/// Comments of a list, by default and at most.
const COMMENTS_MAX: usize = 100;
/// Supported side-loads of a ticket.
const SIDELOADS: [&str; 2] = ["users", "metric_sets"];
/// The account's limit of requests per minute and the remaining number, which every answer has.
const RATE_LIMITS: [(HeaderName, HeaderValue); 5] = [
    (HeaderName::from_static("x-rate-limit"), HeaderValue::from_static("700")),
    (HeaderName::from_static("x-rate-limit-remaining"), HeaderValue::from_static("699")),
    (HeaderName::from_static("ratelimit-limit"), HeaderValue::from_static("700")),
    (HeaderName::from_static("ratelimit-remaining"), HeaderValue::from_static("699")),
    (HeaderName::from_static("ratelimit-reset"), HeaderValue::from_static("41")),
];

/// The destination of a path.
enum Route<'a> {
    Ticket(&'a str),
    Comments(&'a str),
    Unknown,
}

/// A refused request, in the vendor's terms.
#[derive(Debug)]
struct Refusal(StatusCode, Value);

pub(crate) fn broken_id_rule(id: &str) -> Option<&'static str> {
    let digits = (1..=18).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_digit());
    (!digits).then_some("a ticket's id is 1 to 18 digits")
}

pub(crate) fn operation(method: &Method, path: &str) -> Operation {
    match (method, route(path)) {
        (&Method::GET, Route::Ticket(_)) => Operation::Get,
        (&Method::GET, Route::Comments(_)) => Operation::List,
        // A new comment has no path of its own: it comes with an update of its ticket.
        (&Method::PUT, Route::Ticket(_)) => Operation::Note,
        _ => Operation::Other,
    }
}

pub(crate) fn answer(site: &Site<'_>, call: &Call, path: &str) -> Answer {
    let granted =
        check_headers(site.token, call).and_then(|()| match (operation(&call.head.method, path), route(path)) {
            (Operation::Get, Route::Ticket(id)) => get(&ticket(site, id)?, call),
            (Operation::List, Route::Comments(id)) => list(&ticket(site, id)?, call),
            (Operation::Note, Route::Ticket(id)) => update(site, &ticket(site, id)?, call),
            _ => Err(Refusal(StatusCode::NOT_FOUND, json!({ "error": "InvalidEndpoint", "description": "Not found" }))),
        });
    let answer = granted.unwrap_or_else(|Refusal(status, body)| Answer::json(status, &body));
    RATE_LIMITS.into_iter().fold(answer, |answer, (name, value)| answer.with(name, value))
}

/// The vendor's body for a failure with this status.
pub(crate) fn failure(status: StatusCode) -> Answer {
    let page = |text: &'static str| Answer::new(status, HeaderValue::from_static("text/html; charset=utf-8"), text);
    let body = match status.as_u16() {
        401 => return unauthorized().answer(),
        403 => json!({ "error": "Forbidden", "description": "You do not have access to this page." }),
        404 => return Refusal::not_found().answer(),
        409 => json!({ "error": "Conflict", "description": "The ticket was updated by somebody else." }),
        422 => return Refusal::invalid("base", "is invalid").answer(),
        // The vendor's own pages, for when its API is not reached.
        429 => return page("Rate limit for ticket updates exceeded, please wait before updating this ticket again"),
        503 => return page("<!DOCTYPE html><html><body>Zendesk is under maintenance.</body></html>"),
        500.. => json!({ "error": "InternalError", "description": "Something went wrong." }),
        _ => json!({ "error": "InvalidValue", "description": "Invalid request" }),
    };
    Answer::json(status, &body)
}

fn route(path: &str) -> Route<'_> {
    let Some(rest) = path.strip_prefix("/api/v2/tickets/") else { return Route::Unknown };
    // Older integrations end every path this way.
    let rest = rest.strip_suffix(".json").unwrap_or(rest);
    match rest.split_once('/') {
        None => Route::Ticket(rest),
        Some((id, "comments")) => Route::Comments(id),
        Some(_) => Route::Unknown,
    }
}

fn check_headers(token: &str, call: &Call) -> Result<(), Refusal> {
    if !is_credential(call.header(AUTHORIZATION.as_str()).unwrap_or_default(), token) {
        return Err(unauthorized());
    }
    if call.header(ACCEPT.as_str()) != Some("application/json") {
        return Err(Refusal(StatusCode::NOT_ACCEPTABLE, json!({ "error": "Accept must be application/json" })));
    }
    Ok(())
}

/// Whether this is the token as an OAuth access token, or as an agent's API token: `Basic <address>/token:<token>`.
fn is_credential(authorization: &str, token: &str) -> bool {
    if let Some(presented) = authorization.strip_prefix("Bearer ") {
        return presented == token;
    }
    let decoded = authorization.strip_prefix("Basic ").and_then(|encoded| STANDARD.decode(encoded).ok());
    let pair = decoded.and_then(|pair| String::from_utf8(pair).ok()).unwrap_or_default();
    let (user, presented) = pair.split_once(':').unwrap_or_default();
    presented == token && user.strip_suffix("/token").is_some_and(|address| address.contains('@'))
}

fn ticket(site: &Site<'_>, id: &str) -> Result<Ticket, Refusal> {
    if broken_id_rule(id).is_some() {
        let message = "You passed an invalid value for the id attribute. Invalid parameter: id must be an integer";
        let error = json!({ "title": "Invalid attribute", "message": message });
        return Err(Refusal(StatusCode::BAD_REQUEST, json!({ "error": error })));
    }
    site.state.ticket(Tool::Zendesk, id).ok_or_else(Refusal::not_found)
}

fn get(ticket: &Ticket, call: &Call) -> Result<Answer, Refusal> {
    let mut sideloads = Vec::new();
    for (name, value) in call.parameters() {
        if name != "include" || !value.split(',').all(|one| SIDELOADS.contains(&one)) {
            return Err(Refusal::parameter(&name));
        }
        sideloads.extend(value.split(',').map(str::to_owned));
    }
    let with = |sideload: &str| sideloads.iter().any(|one| one == sideload);
    let mut shown = shape::ticket(ticket);
    if with("metric_sets") {
        shown["metric_set"] = shape::metric_set(ticket);
    }
    let mut answer = json!({ "ticket": shown });
    if with("users") {
        answer["users"] = shape::users(ticket);
    }
    Ok(Answer::json(StatusCode::OK, &answer))
}

fn list(ticket: &Ticket, call: &Call) -> Result<Answer, Refusal> {
    let (mut size, mut newest_first) = (COMMENTS_MAX, false);
    for (name, value) in call.parameters() {
        match (name.as_str(), value.as_str()) {
            ("sort", "created_at") => newest_first = false,
            ("sort", "-created_at") => newest_first = true,
            ("page[size]", number) => {
                let number = number.parse().ok().filter(|number| (1..=COMMENTS_MAX).contains(number));
                size = number.ok_or_else(|| Refusal::parameter("page[size]"))?;
            }
            _ => return Err(Refusal::parameter(&name)),
        }
    }
    let mut comments = shape::comments(ticket);
    if newest_first {
        comments.reverse();
    }
    let has_more = comments.len() > size;
    comments.truncate(size);
    let meta = json!({ "has_more": has_more, "after_cursor": null, "before_cursor": null });
    let links = json!({ "prev": null, "next": null });
    Ok(Answer::json(StatusCode::OK, &json!({ "comments": comments, "meta": meta, "links": links })))
}

fn update(site: &Site<'_>, ticket: &Ticket, call: &Call) -> Result<Answer, Refusal> {
    let comment = Update::read(call)?.ticket.comment;
    if shape::status(&ticket.fields.status) == "closed" {
        return Err(Refusal::invalid("status", "Status: closed prevents ticket update"));
    }
    // A missing field keeps the ticket's initial value, and these tickets began in public.
    let public = comment.public.unwrap_or(true);
    let html = comment.html()?;
    let added = site.state.add_note(Tool::Zendesk, &ticket.id, html, !public);
    let (ticket, note) = added.map_err(|refused| match refused {
        NoteRefused::NoTicket => Refusal::not_found(),
        NoteRefused::Full(_) => Refusal::invalid("base", "The ticket has too many comments"),
    })?;
    let answer = json!({ "ticket": shape::ticket(&ticket), "audit": shape::audit(&ticket, &note) });
    Ok(Answer::json(StatusCode::OK, &answer))
}

/// An update of a ticket.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    ticket: Changes,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Changes {
    comment: NewComment,
}

/// A new comment. One of the two bodies is required.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewComment {
    html_body: Option<String>,
    body: Option<String>,
    public: Option<bool>,
}

impl Update {
    fn read(call: &Call) -> Result<Self, Refusal> {
        let is_json = call.header(CONTENT_TYPE.as_str()).is_some_and(|value| {
            value.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
        });
        if !is_json {
            let error = json!({ "error": "Content-Type must be application/json" });
            return Err(Refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, error));
        }
        if serde_json::from_slice::<Value>(&call.body).is_err() {
            let error = json!({ "error": "Unprocessable Entity", "message": "Server could not parse JSON" });
            return Err(Refusal(StatusCode::UNPROCESSABLE_ENTITY, error));
        }
        read_strictly(&call.body)
    }
}

/// Reads a body without unknown fields. The vendor would drop them, and at best say so in a header.
fn read_strictly<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::invalid("base", &error.to_string()))
}

impl NewComment {
    fn html(self) -> Result<String, Refusal> {
        let html = match (self.html_body, self.body) {
            (Some(html), None) => html,
            (None, Some(text)) => shape::escaped(&text),
            _ => return Err(Refusal::invalid("comment", "needs one of html_body and body")),
        };
        if html.trim().is_empty() {
            return Err(Refusal::invalid("comment", "Comment: cannot be blank"));
        }
        if html.len() > COMMENT_BYTES_MAX {
            return Err(Refusal::invalid("comment", "Comment: is too long"));
        }
        Ok(html)
    }
}

fn unauthorized() -> Refusal {
    Refusal(StatusCode::UNAUTHORIZED, json!({ "error": "Couldn't authenticate you" }))
}

impl Refusal {
    fn not_found() -> Self {
        Self(StatusCode::NOT_FOUND, json!({ "error": "RecordNotFound", "description": "Not found" }))
    }

    fn parameter(name: &str) -> Self {
        let description = format!("Invalid value for parameter {name}");
        Self(StatusCode::BAD_REQUEST, json!({ "error": "InvalidValue", "description": description }))
    }

    /// An error in this field of the update.
    fn invalid(field: &str, description: &str) -> Self {
        let details = json!({ field: [{ "description": description }] });
        let body = json!({ "error": "RecordInvalid", "description": "Record validation errors", "details": details });
        Self(StatusCode::UNPROCESSABLE_ENTITY, body)
    }

    fn answer(self) -> Answer {
        Answer::json(self.0, &self.1)
    }
}

#[cfg(test)]
mod tests;
