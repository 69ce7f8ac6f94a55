//! Freshservice, API v2: reading a ticket, reading its conversations, posting a note.
//!
//! Paths, fields, paging, rate-limit headers and errors are those of the vendor's documentation
//! (<https://api.freshservice.com/>). Where that shows no body for a failure, the body is Freshdesk's, whose API is its sister.

mod note;
mod shape;

use base64::{Engine, engine::general_purpose::STANDARD};
use hyper::{
    Method, StatusCode,
    header::{ALLOW, AUTHORIZATION, HeaderName, HeaderValue, LINK},
};
use serde_json::{Value, json};

use self::note::NewNote;
use crate::{
    answer::Answer,
    call::Call,
    state::{NoteRefused, Ticket},
    tools::{Operation, Site, Tool},
};
pub(crate) use shape::webhook_body;

/// Calls per minute of an account on the Enterprise plan. No minutes are counted: each request is the first of its own.
const CALLS_PER_MINUTE: usize = 500;
/// Conversations of one page, by default and at most.
const PAGE_DEFAULT: usize = 30;
const PAGE_MAX: usize = 100;
/// Supported values of `include`; each counts as one more call.
const EMBEDDABLE: [&str; 3] = ["conversations", "requester", "stats"];
/// Maximum number of conversations that `include` embeds.
const EMBEDDED_CONVERSATIONS_MAX: usize = 10;

/// The destination of a path.
enum Route<'a> {
    Ticket(&'a str),
    Conversations(&'a str),
    Notes(&'a str),
    Unknown,
}

/// A refused request, in the vendor's terms.
#[derive(Debug)]
enum Refusal {
    /// The key is wrong or missing.
    Credentials,
    /// The path or ticket does not exist; the answer has no body.
    NotFound,
    /// The path takes only this method.
    Method(&'static str),
    /// The body has the wrong content type.
    ContentType,
    /// The body is not JSON.
    Json,
    /// Fields or parameters are wrong.
    Invalid(Vec<Invalid>),
    /// The sandbox is full.
    Full,
}

/// What is wrong with one field.
#[derive(Debug)]
struct Invalid {
    field: String,
    message: String,
    code: &'static str,
}

pub(crate) fn broken_id_rule(id: &str) -> Option<&'static str> {
    let digits = id.bytes().all(|byte| byte.is_ascii_digit()) && (1..=18).contains(&id.len());
    (!digits || id.starts_with('0')).then_some("a ticket's id is a number of 1 to 18 digits, without zeros before it")
}

pub(crate) fn operation(method: &Method, path: &str) -> Operation {
    match (method, route(path)) {
        (&Method::GET, Route::Ticket(_)) => Operation::Get,
        (&Method::GET, Route::Conversations(_)) => Operation::List,
        (&Method::POST, Route::Notes(_)) => Operation::Note,
        _ => Operation::Other,
    }
}

pub(crate) fn answer(site: &Site<'_>, call: &Call, path: &str) -> Answer {
    let granted = check_credentials(site.token, call).and_then(|()| match (&call.head.method, route(path)) {
        (&Method::GET, Route::Ticket(id)) => get(&ticket(site, id)?, call),
        (&Method::GET, Route::Conversations(id)) => list(&ticket(site, id)?, call),
        (&Method::POST, Route::Notes(id)) => add(site, &ticket(site, id)?, call),
        (_, Route::Ticket(_) | Route::Conversations(_)) => Err(Refusal::Method("GET")),
        (_, Route::Notes(_)) => Err(Refusal::Method("POST")),
        (_, Route::Unknown) => Err(Refusal::NotFound),
    });
    granted.unwrap_or_else(|refusal| counted(refusal.answer(), 1))
}

/// The vendor's body for a failure with this status.
pub(crate) fn failure(status: StatusCode) -> Answer {
    let body = match status.as_u16() {
        400 | 422 => return Refusal::Invalid(vec![Invalid::value("body", "It should be a valid value")]).with(status),
        401 => return Refusal::Credentials.answer(),
        403 => json!({ "code": "access_denied", "message": "You are not authorized to perform this action." }),
        404 => return Refusal::NotFound.answer(),
        429 => json!({ "message": "You have exceeded the limit of requests per minute" }),
        _ => json!({ "code": "internal_error", "message": "We're sorry, but something went wrong." }),
    };
    Answer::json(status, &body)
}

fn route(path: &str) -> Route<'_> {
    let Some(rest) = path.strip_prefix("/api/v2/tickets/") else { return Route::Unknown };
    match rest.split_once('/') {
        None => Route::Ticket(rest),
        Some((id, "conversations")) => Route::Conversations(id),
        Some((id, "notes")) => Route::Notes(id),
        Some(_) => Route::Unknown,
    }
}

/// Checks for `Basic <key>:<anything>`, or the access token of an OAuth application.
fn check_credentials(token: &str, call: &Call) -> Result<(), Refusal> {
    let Some((scheme, credential)) = call.header(AUTHORIZATION.as_str()).and_then(|value| value.split_once(' ')) else {
        return Err(Refusal::Credentials);
    };
    let holds = match scheme {
        "Basic" => STANDARD.decode(credential).is_ok_and(|pair| {
            let key = pair.iter().position(|byte| *byte == b':').map(|colon| &pair[..colon]);
            key == Some(token.as_bytes())
        }),
        "Bearer" => credential == token,
        _ => false,
    };
    if holds { Ok(()) } else { Err(Refusal::Credentials) }
}

fn ticket(site: &Site<'_>, id: &str) -> Result<Ticket, Refusal> {
    site.state.ticket(Tool::Freshservice, id).ok_or(Refusal::NotFound)
}

fn get(ticket: &Ticket, call: &Call) -> Result<Answer, Refusal> {
    let mut shown = shape::ticket(ticket);
    let mut calls = 1;
    for (name, value) in call.parameters() {
        if name != "include" {
            return Err(Refusal::invalid(Invalid::unknown(&name)));
        }
        for item in value.split(',') {
            shown[item] = match item {
                "conversations" => {
                    ticket.notes.iter().take(EMBEDDED_CONVERSATIONS_MAX).map(|note| shape::note(ticket, note)).collect()
                }
                "requester" => shape::requester(ticket),
                "stats" => shape::stats(ticket),
                _ => {
                    let allowed = format!("It should be one of these values: '{}'", EMBEDDABLE.join(","));
                    return Err(Refusal::invalid(Invalid::value("include", &allowed)));
                }
            };
            calls += 1;
        }
    }
    Ok(counted(Answer::json(StatusCode::OK, &json!({ "ticket": shown })), calls))
}

fn list(ticket: &Ticket, call: &Call) -> Result<Answer, Refusal> {
    let (mut page, mut per_page) = (1, PAGE_DEFAULT);
    for (name, value) in call.parameters() {
        let number = value.parse::<usize>().ok().filter(|number| *number > 0);
        match (name.as_str(), number) {
            ("page", Some(number)) => page = number,
            ("per_page", Some(number @ ..=PAGE_MAX)) => per_page = number,
            ("page" | "per_page", _) => {
                return Err(Refusal::invalid(Invalid::value(
                    &name,
                    "It should be a Positive Integer, per_page at most 100",
                )));
            }
            _ => return Err(Refusal::invalid(Invalid::unknown(&name))),
        }
    }
    let start = (page - 1).saturating_mul(per_page);
    let shown: Vec<Value> =
        ticket.notes.iter().skip(start).take(per_page).map(|note| shape::note(ticket, note)).collect();
    let answer = Answer::json(StatusCode::OK, &json!({ "conversations": shown }));
    let answer = if ticket.notes.len() > start.saturating_add(per_page) {
        let next = format!("<{}?per_page={per_page}&page={}>; rel=\"next\"", call.path(), page + 1);
        answer.with(LINK, HeaderValue::from_str(&next).expect("a path and numbers are visible text"))
    } else {
        answer
    };
    Ok(counted(answer, 1))
}

fn add(site: &Site<'_>, ticket: &Ticket, call: &Call) -> Result<Answer, Refusal> {
    let note = NewNote::read(call)?;
    let added = site.state.add_note(Tool::Freshservice, &ticket.id, note.body, note.private);
    let (ticket, note) = added.map_err(|refused| match refused {
        NoteRefused::NoTicket => Refusal::NotFound,
        NoteRefused::Full(_) => Refusal::Full,
    })?;
    let shown = json!({ "conversation": shape::note(&ticket, &note) });
    Ok(counted(Answer::json(StatusCode::CREATED, &shown), 1))
}

/// Adds the headers that report the used part of the account's rate.
fn counted(answer: Answer, calls: usize) -> Answer {
    let header = |name, number: usize| (HeaderName::from_static(name), HeaderValue::from(number));
    [
        header("x-ratelimit-total", CALLS_PER_MINUTE),
        header("x-ratelimit-remaining", CALLS_PER_MINUTE - calls.min(CALLS_PER_MINUTE)),
        header("x-ratelimit-used-currentrequest", calls),
    ]
    .into_iter()
    .fold(answer, |answer, (name, value)| answer.with(name, value))
}

impl Refusal {
    fn invalid(one: Invalid) -> Self {
        Self::Invalid(vec![one])
    }

    fn answer(self) -> Answer {
        let status = match self {
            Self::Credentials => StatusCode::UNAUTHORIZED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Json | Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::Full => StatusCode::INTERNAL_SERVER_ERROR,
        };
        self.with(status)
    }

    fn with(self, status: StatusCode) -> Answer {
        let said = |code: &str, message: &str| Answer::json(status, &json!({ "code": code, "message": message }));
        match self {
            Self::Credentials => said("invalid_credentials", "You have to be logged in to perform this action."),
            Self::NotFound => Answer::new(status, HeaderValue::from_static("application/json; charset=utf-8"), ""),
            Self::Method(allowed) => {
                let message = format!("This method is not allowed. It should be one of these method(s): {allowed}");
                Answer::json(status, &json!({ "message": message })).with(ALLOW, HeaderValue::from_static(allowed))
            }
            Self::ContentType => said("invalid_content_type", "Content-Type should be set to application/json"),
            Self::Json => said("invalid_json", "Request body has invalid json format"),
            Self::Invalid(invalid) => {
                let errors: Vec<Value> = invalid
                    .into_iter()
                    .map(|one| json!({ "field": one.field, "message": one.message, "code": one.code }))
                    .collect();
                Answer::json(status, &json!({ "description": "Validation failed", "errors": errors }))
            }
            Self::Full => failure(status),
        }
    }
}

impl Invalid {
    fn unknown(field: &str) -> Self {
        Self::new(field, "Unexpected/invalid field in request", "invalid_field")
    }

    fn value(field: &str, message: &str) -> Self {
        Self::new(field, message, "invalid_value")
    }

    fn new(field: &str, message: &str, code: &'static str) -> Self {
        Self { field: field.to_owned(), message: message.to_owned(), code }
    }
}

#[cfg(test)]
mod tests;
