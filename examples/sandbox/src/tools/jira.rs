//! Jira Service Management in the cloud: reading an issue and its comments, posting a comment through the platform's API
//! (version 3) or through the service desk's own.
//!
//! Paths, fields, errors and rate-limit headers are those of the vendor's documentation
//! (<https://developer.atlassian.com/cloud/jira/platform/rest/v3/>, `…/cloud/jira/service-desk/rest/`).

mod document;
mod shape;

use base64::{Engine, engine::general_purpose::STANDARD};
use hyper::{
    Method, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue},
};
use serde_json::{Map, Value, json};
use time::{Duration, OffsetDateTime, macros::format_description};

use crate::{
    answer::Answer,
    call::Call,
    state::{NoteRefused, Ticket},
    tools::{Operation, Site, Tool},
};
pub(crate) use shape::webhook_body;

/// Comments of one page, by default and at most.
const PAGE_DEFAULT: usize = 50;
const PAGE_MAX: usize = 100;
/// Maximum length of a comment, in characters.
const COMMENT_CHARS_MAX: usize = 32_767;
/// The property that makes a comment internal.
const VISIBILITY: &str = "sd.public.comment";
const NO_ISSUE: &str = "Issue does not exist or you do not have permission to see it.";

/// The destination of a path.
enum Route<'a> {
    Issue(&'a str),
    Comments(&'a str),
    RequestComments(&'a str),
    Unknown,
}

/// A refused request, in the vendor's terms.
#[derive(Debug)]
enum Refusal {
    /// The credential is wrong or missing.
    Credentials,
    /// An error of the platform: a status, the field (empty for none), and what is wrong.
    Platform(StatusCode, &'static str, String),
    /// An error of the service desk, with the key of its message.
    ServiceDesk(StatusCode, &'static str, &'static str),
}

/// `SD-101` and `101` are the same issue; issues of other projects have keys only.
pub(crate) fn broken_id_rule(id: &str) -> Option<&'static str> {
    let is_number = |text: &str| {
        (1..=18).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0')
    };
    let is_project = |text: &str| {
        text.starts_with(|first: char| first.is_ascii_uppercase())
            && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
    };
    let holds = match id.rsplit_once('-') {
        Some(("SD", _)) => false,
        Some((project, number)) => is_project(project) && is_number(number),
        None => is_number(id),
    };
    (!holds)
        .then_some("an issue is a number, here also of the key SD-<number>, or a key of another project such as IT-42")
}

pub(crate) fn operation(method: &Method, path: &str) -> Operation {
    match (method, route(path)) {
        (&Method::GET, Route::Issue(_)) => Operation::Get,
        (&Method::GET, Route::Comments(_)) => Operation::List,
        (&Method::POST, Route::Comments(_) | Route::RequestComments(_)) => Operation::Note,
        _ => Operation::Other,
    }
}

pub(crate) fn answer(site: &Site<'_>, call: &Call, path: &str) -> Answer {
    let granted = check_credentials(site.token, call).and_then(|()| match (&call.head.method, route(path)) {
        (&Method::GET, Route::Issue(issue)) => get(&ticket(site, issue)?, call),
        (&Method::GET, Route::Comments(issue)) => list(&ticket(site, issue)?, call),
        (&Method::POST, Route::Comments(issue)) => comment(site, &ticket(site, issue)?, call),
        (&Method::POST, Route::RequestComments(issue)) => request_comment(site, issue, call),
        (_, Route::Unknown) => Err(Refusal::platform(StatusCode::NOT_FOUND, format!("null for uri: {path}"))),
        _ => Err(Refusal::platform(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")),
    });
    granted.unwrap_or_else(Refusal::answer)
}

/// The vendor's body for a failure with this status.
pub(crate) fn failure(status: StatusCode) -> Answer {
    match status.as_u16() {
        401 => Refusal::Credentials.answer(),
        404 => Refusal::platform(status, NO_ISSUE).answer(),
        429 => limited(),
        _ => Refusal::platform(status, status.canonical_reason().unwrap_or("Failed")).answer(),
    }
}

/// The time at which the limit is lifted is written without seconds.
fn limited() -> Answer {
    let reset = (OffsetDateTime::now_utc() + Duration::minutes(2))
        .format(format_description!("[year]-[month]-[day]T[hour]:[minute]Z"))
        .expect("a date has all of these parts");
    let reset = HeaderValue::from_str(&reset).expect("digits and punctuation");
    let header = HeaderName::from_static;
    Refusal::platform(StatusCode::TOO_MANY_REQUESTS, "Rate limit exceeded.")
        .answer()
        .with(header("x-ratelimit-limit"), HeaderValue::from_static("350"))
        .with(header("x-ratelimit-remaining"), HeaderValue::from_static("0"))
        .with(header("x-ratelimit-nearlimit"), HeaderValue::from_static("true"))
        .with(header("x-ratelimit-reset"), reset)
        .with(header("ratelimit-reason"), HeaderValue::from_static("jira-burst-based"))
}

fn route(path: &str) -> Route<'_> {
    if let Some(rest) = path.strip_prefix("/rest/api/3/issue/") {
        return match rest.split_once('/') {
            None => Route::Issue(rest),
            Some((issue, "comment")) => Route::Comments(issue),
            Some(_) => Route::Unknown,
        };
    }
    match path.strip_prefix("/rest/servicedeskapi/request/").and_then(|rest| rest.split_once('/')) {
        Some((issue, "comment")) => Route::RequestComments(issue),
        _ => Route::Unknown,
    }
}

/// Checks for `Basic <e-mail address>:<API token>`, or an OAuth app's access token.
fn check_credentials(token: &str, call: &Call) -> Result<(), Refusal> {
    let holds = match call.header(AUTHORIZATION.as_str()).and_then(|value| value.split_once(' ')) {
        Some(("Basic", pair)) => STANDARD
            .decode(pair)
            .ok()
            .and_then(|pair| String::from_utf8(pair).ok())
            .is_some_and(|pair| pair.split_once(':').is_some_and(|(user, key)| user.contains('@') && key == token)),
        Some(("Bearer", key)) => key == token,
        _ => false,
    };
    if holds { Ok(()) } else { Err(Refusal::Credentials) }
}

/// Finds an issue by its key in any case, or by its id.
fn ticket(site: &Site<'_>, issue: &str) -> Result<Ticket, Refusal> {
    let key = issue.to_ascii_uppercase();
    let id = key.strip_prefix("SD-").unwrap_or(&key);
    site.state.ticket(Tool::Jira, id).ok_or_else(|| Refusal::platform(StatusCode::NOT_FOUND, NO_ISSUE))
}

fn get(ticket: &Ticket, call: &Call) -> Result<Answer, Refusal> {
    let [fields] = parameters(call, ["fields"])?;
    let mut issue = shape::issue(ticket, shape::Version::Three);
    if let (Some(asked), Some(all)) = (fields, issue["fields"].as_object_mut()) {
        let asked: Vec<&str> = asked.split(',').map(str::trim).collect();
        let everything = asked.iter().all(|name| name.starts_with('-')) || asked.contains(&"*all");
        all.retain(|name, _| {
            !asked.iter().any(|asked| asked.strip_prefix('-') == Some(name))
                && (everything || asked.contains(&name.as_str()))
        });
    }
    Ok(Answer::json(StatusCode::OK, &issue))
}

fn list(ticket: &Ticket, call: &Call) -> Result<Answer, Refusal> {
    let [start, max, order] = parameters(call, ["startAt", "maxResults", "orderBy"])?;
    let number = |text: Option<String>, default: usize| {
        text.map_or(Ok(default), |text| text.parse())
            .map_err(|_| Refusal::platform(StatusCode::BAD_REQUEST, "not a number"))
    };
    let (start, max) = (number(start, 0)?, number(max, PAGE_DEFAULT)?.min(PAGE_MAX));
    let mut comments: Vec<Value> = ticket.notes.iter().map(|note| shape::comment(ticket, note)).collect();
    match order.as_deref() {
        None | Some("created" | "+created") => {}
        Some("-created") => comments.reverse(),
        Some(_) => return Err(Refusal::platform(StatusCode::BAD_REQUEST, "orderBy must be created")),
    }
    let page: Vec<Value> = comments.into_iter().skip(start).take(max).collect();
    let body = json!({ "startAt": start, "maxResults": max, "total": ticket.notes.len(), "comments": page });
    Ok(Answer::json(StatusCode::OK, &body))
}

/// The platform's call. Without the property, and in other projects even with it, the comment is public.
fn comment(site: &Site<'_>, ticket: &Ticket, call: &Call) -> Result<Answer, Refusal> {
    let [] = parameters(call, [])?;
    let invalid = |field, message: &str| Refusal::Platform(StatusCode::BAD_REQUEST, field, message.to_owned());
    let mut input = object(call).map_err(|(status, message)| Refusal::platform(status, message))?;
    let body = input.remove("body").ok_or_else(|| invalid("comment", "Comment body can not be empty!"))?;
    document::check(&body).map_err(|fault| invalid("comment", &format!("INVALID_INPUT: {fault}")))?;
    if body.to_string().chars().count() > COMMENT_CHARS_MAX {
        let message = "The entered text is too long. It exceeds the allowed limit of 32,767 characters.";
        return Err(invalid("comment", message));
    }
    let mut internal = false;
    for property in input.remove("properties").as_ref().and_then(Value::as_array).into_iter().flatten() {
        let (Some(key), Some(value)) = (property["key"].as_str(), property.get("value")) else {
            return Err(invalid("properties", "a property has a key and a value"));
        };
        internal |= key == VISIBILITY && value["internal"] == true;
    }
    if let Some(unknown) = input.keys().next() {
        return Err(Refusal::platform(StatusCode::BAD_REQUEST, format!("Unrecognized field \"{unknown}\"")));
    }
    let internal = internal && shape::is_service_desk(&ticket.id);
    let full = |_| Refusal::platform(StatusCode::PAYLOAD_TOO_LARGE, "The issue has as many comments as it can have.");
    let (ticket, note) = add(site, ticket, body.to_string(), internal).map_err(full)?;
    Ok(Answer::json(StatusCode::CREATED, &shape::comment(&ticket, &note)))
}

/// The service desk's call: a text, and whether customers see it, which they do by default.
fn request_comment(site: &Site<'_>, issue: &str, call: &Call) -> Result<Answer, Refusal> {
    const INVALID: &str = "sd.rest.request.comment.invalid";
    let refused = |status, message| Refusal::ServiceDesk(status, INVALID, message);
    let invalid = |message| refused(StatusCode::BAD_REQUEST, message);
    let unknown = || {
        let message = "The request does not exist, or you do not have permission to see it.";
        Refusal::ServiceDesk(StatusCode::NOT_FOUND, "sd.customerview.error.requestnotfound", message)
    };
    let ticket = ticket(site, issue).ok().filter(|ticket| shape::is_service_desk(&ticket.id)).ok_or_else(unknown)?;
    let mut input = object(call).map_err(|(status, message)| refused(status, message))?;
    let body = match input.remove("body") {
        Some(Value::String(body)) if !body.trim().is_empty() => body,
        _ => return Err(invalid("The comment's body must be a text.")),
    };
    if body.chars().count() > COMMENT_CHARS_MAX {
        return Err(invalid("The comment's body is too long."));
    }
    let public = match input.remove("public") {
        None => true,
        Some(Value::Bool(public)) => public,
        Some(_) => return Err(invalid("public must be true or false.")),
    };
    if !input.is_empty() {
        return Err(invalid("Only body and public are allowed."));
    }
    let full = |_| refused(StatusCode::PAYLOAD_TOO_LARGE, "The request has as many comments as it can have.");
    let (_, note) = add(site, &ticket, body, !public).map_err(full)?;
    Ok(Answer::json(StatusCode::CREATED, &shape::request_comment(&note)))
}

fn add(
    site: &Site<'_>,
    ticket: &Ticket,
    body: String,
    internal: bool,
) -> Result<(Ticket, crate::state::Note), NoteRefused> {
    site.state.add_note(Tool::Jira, &ticket.id, body, internal)
}

fn object(call: &Call) -> Result<Map<String, Value>, (StatusCode, &'static str)> {
    let is_json = call.header(CONTENT_TYPE.as_str()).is_some_and(|value| {
        value.split(';').next().is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("application/json"))
    });
    if !is_json {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported Media Type"));
    }
    match serde_json::from_slice(&call.body) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err((
            StatusCode::BAD_REQUEST,
            "Invalid request payload. Refer to the REST API documentation and try again.",
        )),
    }
}

/// The values of the query's parameters in the order of `names`. The vendor ignores others, which would hide a mistake.
fn parameters<const N: usize>(call: &Call, names: [&str; N]) -> Result<[Option<String>; N], Refusal> {
    let mut values = [const { None }; N];
    for (name, value) in call.parameters() {
        match names.iter().position(|known| *known == name) {
            Some(at) if values[at].is_none() => values[at] = Some(value),
            _ => {
                return Err(Refusal::platform(
                    StatusCode::BAD_REQUEST,
                    format!("unknown or repeated parameter {name}"),
                ));
            }
        }
    }
    Ok(values)
}

impl Refusal {
    fn platform(status: StatusCode, message: impl Into<String>) -> Self {
        Self::Platform(status, "", message.into())
    }

    fn answer(self) -> Answer {
        match self {
            Self::Credentials => {
                let text = "Client must be authenticated to access this resource.";
                Answer::new(StatusCode::UNAUTHORIZED, HeaderValue::from_static("text/html;charset=UTF-8"), text)
            }
            Self::Platform(status, "", message) => {
                Answer::json(status, &json!({ "errorMessages": [message], "errors": {} }))
            }
            Self::Platform(status, field, message) => {
                Answer::json(status, &json!({ "errorMessages": [], "errors": { field: message } }))
            }
            Self::ServiceDesk(status, key, message) => {
                let body = json!({ "errorMessage": message, "i18nErrorMessage": { "i18nKey": key, "parameters": [] } });
                Answer::json(status, &body)
            }
        }
    }
}

#[cfg(test)]
mod tests;
