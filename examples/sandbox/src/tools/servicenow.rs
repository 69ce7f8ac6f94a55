//! ServiceNow's Table API on `incident`: reads a record, finds one by its number, and writes its journal fields.
//!
//! Paths, parameters and errors are those of the vendor's documentation
//! (<https://www.servicenow.com/docs/r/api-reference/rest-apis/c_TableAPI.html>). Like the vendor's API, it silently
//! leaves out unknown columns and conditions. Unlike the vendor's, it refuses unknown parameters, so that a misspelt
//! one is noticed.

mod record;
mod webhook;

use base64::{Engine, engine::general_purpose::STANDARD};
use hyper::{
    Method, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, WWW_AUTHENTICATE},
};
use serde_json::{Map, Value, json};

use self::record::View;
use crate::{
    answer::Answer,
    call::Call,
    state::{NoteRefused, Ticket, whole_second_now},
    tools::{Operation, Site, Tool},
    webhook::BASIC_USER,
};

pub(crate) use self::webhook::webhook_body;

/// The only table.
const TABLE: &str = "incident";
/// Default number of records in a list.
const ROWS_DEFAULT: usize = 10_000;
/// Length of the period in which requests are counted, in seconds.
const HOUR_S: i64 = 3_600;

/// The destination of a path.
enum Route<'a> {
    Table,
    Record(&'a str),
    /// A table that does not exist.
    OtherTable(&'a str),
    Unknown,
}

/// A refused request.
#[derive(Debug)]
struct Refusal {
    http: StatusCode,
    message: String,
    detail: Option<&'static str>,
}

pub(crate) fn broken_id_rule(id: &str) -> Option<&'static str> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (id.len() != 32 || !id.bytes().all(is_digit)).then_some("a record's sys_id is 32 hexadecimal digits in lower case")
}

/// The operation of a request. Notes are read with the record.
pub(crate) fn operation(method: &Method, path: &str) -> Operation {
    match (method, route(path)) {
        (&Method::GET, Route::Record(_) | Route::Table) => Operation::Get,
        (&Method::PATCH | &Method::PUT, Route::Record(_)) => Operation::Note,
        _ => Operation::Other,
    }
}

pub(crate) fn answer(site: &Site<'_>, call: &Call, path: &str) -> Answer {
    let granted = check_headers(site.token, call).and_then(|()| match (&call.head.method, route(path)) {
        (&Method::GET, Route::Record(sys_id)) => Ok(one(&found(site, sys_id)?, &Parameters::read(call, RECORD)?)),
        (&Method::GET, Route::Table) => Ok(list(site, &Parameters::read(call, LIST)?)),
        (&Method::PATCH | &Method::PUT, Route::Record(sys_id)) => write(site, sys_id, call),
        (_, Route::OtherTable(table)) => Err(Refusal::new(StatusCode::BAD_REQUEST, format!("Invalid table {table}"))),
        (_, Route::Table | Route::Record(_)) => {
            Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "Method not supported"))
        }
        (_, Route::Unknown) => {
            Err(Refusal::new(StatusCode::BAD_REQUEST, "Requested URI does not represent any resource"))
        }
    });
    granted.unwrap_or_else(Refusal::answer)
}

/// The vendor's body for a failure with this status, and the headers that come with it.
pub(crate) fn failure(status: StatusCode) -> Answer {
    match status {
        StatusCode::UNAUTHORIZED => Refusal::not_authenticated().answer(),
        StatusCode::FORBIDDEN => Refusal::new(status, "Operation Failed")
            .because("ACL Exception Update Failed due to security constraints")
            .answer(),
        StatusCode::NOT_FOUND => Refusal::no_record().answer(),
        StatusCode::TOO_MANY_REQUESTS => rate_limited(),
        _ => Refusal::new(status, status.canonical_reason().unwrap_or("Failed")).answer(),
    }
}

fn rate_limited() -> Answer {
    let now = whole_second_now().unix_timestamp();
    let next_hour = now - now.rem_euclid(HOUR_S) + HOUR_S;
    Refusal::new(StatusCode::TOO_MANY_REQUESTS, "Rate limit exceeded")
        .because("The number of requests of this hour is used up")
        .answer()
        .with(HeaderName::from_static("x-ratelimit-limit"), HeaderValue::from_static("500"))
        .with(HeaderName::from_static("x-ratelimit-reset"), HeaderValue::from(next_hour))
        .with(HeaderName::from_static("x-ratelimit-rule"), HeaderValue::from_static("f1c77c22c0a801650040b0d4ab5a5e9b"))
}

fn route(path: &str) -> Route<'_> {
    let Some(rest) = path.strip_prefix("/api/now/table/") else { return Route::Unknown };
    match rest.split_once('/') {
        None if rest == TABLE => Route::Table,
        Some((TABLE, sys_id)) if !sys_id.is_empty() && !sys_id.contains('/') => Route::Record(sys_id),
        Some((TABLE, _)) => Route::Unknown,
        None => Route::OtherTable(rest),
        Some((table, _)) => Route::OtherTable(table),
    }
}

/// Checks for Basic with the default user of tenants, or Bearer, each with the token.
fn check_headers(token: &str, call: &Call) -> Result<(), Refusal> {
    let basic = format!("Basic {}", STANDARD.encode(format!("{BASIC_USER}:{token}")));
    let presented = call.header(AUTHORIZATION.as_str());
    if presented != Some(&basic) && presented.and_then(|value| value.strip_prefix("Bearer ")) != Some(token) {
        return Err(Refusal::not_authenticated());
    }
    if call.header(ACCEPT.as_str()) != Some("application/json") {
        return Err(Refusal::new(StatusCode::NOT_ACCEPTABLE, "Accept must be application/json"));
    }
    Ok(())
}

fn found(site: &Site<'_>, sys_id: &str) -> Result<Ticket, Refusal> {
    site.state.ticket(Tool::ServiceNow, sys_id).ok_or_else(Refusal::no_record)
}

fn one(ticket: &Ticket, parameters: &Parameters) -> Answer {
    Answer::json(StatusCode::OK, &json!({ "result": parameters.view.record(ticket) }))
}

/// Lists records. Only the condition `number=…` is known; any other is ignored, so that all records match.
fn list(site: &Site<'_>, parameters: &Parameters) -> Answer {
    let number = parameters.query.as_deref().and_then(|query| query.strip_prefix("number="));
    let matches = |ticket: &Ticket| number.is_none_or(|number| record::number(ticket) == number);
    let tickets = site.state.tickets(Tool::ServiceNow);
    let records: Vec<_> = tickets.iter().filter(|ticket| matches(ticket)).take(parameters.limit).collect();
    let records: Vec<_> = records.into_iter().map(|ticket| parameters.view.record(ticket)).collect();
    Answer::json(StatusCode::OK, &json!({ "result": records }))
}

fn write(site: &Site<'_>, sys_id: &str, call: &Call) -> Result<Answer, Refusal> {
    let parameters = Parameters::read(call, RECORD)?;
    let is_json = |value: &str| value.split(';').next().is_some_and(|kind| kind.trim() == "application/json");
    if !call.header(CONTENT_TYPE.as_str()).is_some_and(is_json) {
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported content-type"));
    }
    let columns: Map<String, Value> = serde_json::from_slice(&call.body)
        .map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, "Exception while reading request"))?;
    let mut ticket = found(site, sys_id)?;
    for (column, internal) in [("work_notes", true), ("comments", false)] {
        if let Some(text) = columns.get(column).and_then(Value::as_str).filter(|text| !text.is_empty()) {
            let added = site.state.add_note(Tool::ServiceNow, sys_id, text.to_owned(), internal);
            (ticket, _) = added.map_err(|refused| match refused {
                NoteRefused::NoTicket => Refusal::no_record(),
                NoteRefused::Full(_) => Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error"),
            })?;
        }
    }
    Ok(one(&ticket, &parameters))
}

/// The parameters of a request about one record. `LIST` has those of a list.
const RECORD: &[&str] = &["sysparm_display_value", "sysparm_exclude_reference_link", "sysparm_fields"];
const LIST: &[&str] =
    &["sysparm_display_value", "sysparm_exclude_reference_link", "sysparm_fields", "sysparm_limit", "sysparm_query"];

struct Parameters {
    view: View,
    query: Option<String>,
    limit: usize,
}

impl Parameters {
    fn read(call: &Call, known: &[&str]) -> Result<Self, Refusal> {
        let mut parameters = Self { view: View::default(), query: None, limit: ROWS_DEFAULT };
        for (name, value) in call.parameters() {
            let wrong = || Refusal::new(StatusCode::BAD_REQUEST, format!("parameter {name} cannot be {value:?}"));
            match name.as_str() {
                name if !known.contains(&name) => {
                    return Err(Refusal::new(StatusCode::BAD_REQUEST, format!("parameter {name} is unknown")));
                }
                "sysparm_display_value" => parameters.view.values = value.parse().map_err(|()| wrong())?,
                "sysparm_exclude_reference_link" => parameters.view.links = !value.parse().map_err(|_| wrong())?,
                "sysparm_fields" => parameters.view.columns = Some(value.split(',').map(str::to_owned).collect()),
                "sysparm_limit" => parameters.limit = value.parse().map_err(|_| wrong())?,
                _ => parameters.query = Some(value),
            }
        }
        Ok(parameters)
    }
}

impl Refusal {
    fn new(http: StatusCode, message: impl Into<String>) -> Self {
        Self { http, message: message.into(), detail: None }
    }

    fn because(self, detail: &'static str) -> Self {
        Self { detail: Some(detail), ..self }
    }

    /// The error for a record that does not exist or that the user may not read.
    fn no_record() -> Self {
        Self::new(StatusCode::NOT_FOUND, "No Record found")
            .because("Record doesn't exist or ACL restricts the record retrieval")
    }

    fn not_authenticated() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "User Not Authenticated").because("Required to provide Auth information")
    }

    fn answer(self) -> Answer {
        let error = json!({ "message": self.message, "detail": self.detail });
        let answer = Answer::json(self.http, &json!({ "error": error, "status": "failure" }));
        if self.http == StatusCode::UNAUTHORIZED {
            return answer.with(WWW_AUTHENTICATE, HeaderValue::from_static("BASIC realm=\"Service-now\""));
        }
        answer
    }
}

#[cfg(test)]
mod tests;
