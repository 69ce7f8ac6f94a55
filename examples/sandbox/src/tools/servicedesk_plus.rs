//! ManageEngine ServiceDesk Plus, API v3: reading a request, reading its notes, posting one; on-premises and cloud.
//!
//! Paths, headers, wrappers, fields and error codes are those of the vendor's documentation
//! (<https://www.manageengine.com/products/service-desk/sdpop-v3-api/>, `sdpod-v3-api` for the cloud).

mod shape;

use hyper::{Method, StatusCode, header::ACCEPT, header::AUTHORIZATION, header::CONTENT_TYPE};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    answer::Answer,
    call::Call,
    state::{NoteRefused, Ticket},
    tools::{Operation, Site, Tool},
};
pub(crate) use shape::webhook_body;

/// The media type that names the API's version. Without it, the vendor's server does not speak v3.
const ACCEPTED: &str = "application/vnd.manageengine.sdp.v3+json";
const FORM: &str = "application/x-www-form-urlencoded";
/// The one parameter that carries all input, as JSON.
const INPUT: &str = "input_data";
/// Rows of a list, by default and at most.
const ROWS_DEFAULT: usize = 10;
const ROWS_MAX: usize = 100;

/// The two products, which differ in paths, credentials, wrappers and ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edition {
    OnPremises,
    Cloud,
}

/// The destination of a path.
enum Route<'a> {
    Request(&'a str),
    Notes(&'a str),
    Unknown,
}

/// A refused request, in the vendor's terms.
#[derive(Debug)]
struct Refusal {
    http: StatusCode,
    /// The vendor's error code. Codes and their HTTP statuses: "common error code" in the documentation.
    code: u16,
    field: Option<String>,
    message: &'static str,
}

impl Edition {
    pub(crate) fn broken_id_rule(self, id: &str) -> Option<&'static str> {
        let digits = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
        match self {
            Self::OnPremises if !digits || id.len() > 18 => Some("a request's id is 1 to 18 digits"),
            Self::Cloud if !digits || id.len() != 18 => Some("a request's id is 18 digits in the cloud"),
            _ => None,
        }
    }

    pub(crate) fn operation(self, method: &Method, path: &str) -> Operation {
        match (method, self.route(path)) {
            (&Method::GET, Route::Request(_)) => Operation::Get,
            (&Method::GET, Route::Notes(_)) => Operation::List,
            (&Method::POST, Route::Notes(_)) => Operation::Note,
            _ => Operation::Other,
        }
    }

    pub(crate) fn answer(self, tool: Tool, site: &Site<'_>, call: &Call, path: &str) -> Answer {
        let operation = self.operation(&call.head.method, path);
        let granted = self.check_headers(site.token, call).and_then(|()| match (operation, self.route(path)) {
            (Operation::Get, Route::Request(id)) => self.get(&self.ticket(tool, site, id)?),
            (Operation::List, Route::Notes(id)) => self.list(&self.ticket(tool, site, id)?, call),
            (Operation::Note, Route::Notes(id)) => self.note(tool, site, &self.ticket(tool, site, id)?, call),
            _ => Err(Refusal::not_found()),
        });
        granted.unwrap_or_else(|refusal| refusal.answer(operation))
    }

    fn route(self, path: &str) -> Route<'_> {
        let api = match self {
            Self::OnPremises => Some(path),
            // /app/<portal>/api/v3/…, for any portal: a tenant of the vendor's cloud has its own.
            Self::Cloud => path.strip_prefix("/app/").and_then(|rest| match rest.find('/') {
                Some(end) if end > 0 => Some(&rest[end..]),
                _ => None,
            }),
        };
        let Some(rest) = api.and_then(|api| api.strip_prefix("/api/v3/requests/")) else { return Route::Unknown };
        match rest.split_once('/') {
            None => Route::Request(rest),
            Some((id, "notes")) => Route::Notes(id),
            Some(_) => Route::Unknown,
        }
    }

    fn check_headers(self, token: &str, call: &Call) -> Result<(), Refusal> {
        let presented = match self {
            Self::OnPremises => call.header("authtoken"),
            Self::Cloud => call.header(AUTHORIZATION.as_str()).and_then(|value| value.strip_prefix("Zoho-oauthtoken ")),
        };
        if presented != Some(token) {
            return Err(Refusal::new(StatusCode::UNAUTHORIZED, 4022, "Invalid API Key"));
        }
        if call.header(ACCEPT.as_str()) != Some(ACCEPTED) {
            return Err(Refusal::new(StatusCode::NOT_ACCEPTABLE, 4000, "Accept must name the API version"));
        }
        Ok(())
    }

    fn ticket(self, tool: Tool, site: &Site<'_>, id: &str) -> Result<Ticket, Refusal> {
        site.state.ticket(tool, id).ok_or_else(Refusal::not_found)
    }

    fn get(self, ticket: &Ticket) -> Result<Answer, Refusal> {
        let request = shape::request(self, ticket);
        Ok(Answer::json(StatusCode::OK, &json!({ "request": request, "response_status": success() })))
    }

    fn list(self, ticket: &Ticket, call: &Call) -> Result<Answer, Refusal> {
        let window = ListInfo::read(call)?;
        let start = window.start_index.saturating_sub(1);
        let mut notes: Vec<Value> = ticket.notes.iter().map(|note| shape::note(self, ticket, note)).collect();
        if matches!(window.sort_order, SortOrder::Desc) {
            notes.reverse();
        }
        let has_more_rows = notes.len() > start.saturating_add(window.row_count);
        let page: Vec<Value> = notes.into_iter().skip(start).take(window.row_count).collect();
        Ok(Answer::json(
            StatusCode::OK,
            &json!({
                // The vendor's lists have an array here, where everything else has an object.
                "response_status": [success()],
                "list_info": {
                    "has_more_rows": has_more_rows, "start_index": window.start_index, "row_count": page.len(),
                },
                "notes": page,
            }),
        ))
    }

    fn note(self, tool: Tool, site: &Site<'_>, ticket: &Ticket, call: &Call) -> Result<Answer, Refusal> {
        let note = NewNote::read(self, call)?;
        let internal = !note.show_to_requester;
        let added = site.state.add_note(tool, &ticket.id, note.description, internal);
        let (ticket, note) = added.map_err(|refused| match refused {
            NoteRefused::NoTicket => Refusal::not_found(),
            NoteRefused::Full(_) => Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, 4004, "Internal Error"),
        })?;
        let mut answer = Map::new();
        answer.insert(self.note_wrapper().to_owned(), shape::note(self, &ticket, &note));
        answer.insert("response_status".to_owned(), success());
        Ok(Answer::json(StatusCode::CREATED, &answer))
    }

    const fn note_wrapper(self) -> &'static str {
        match self {
            Self::OnPremises => "note",
            Self::Cloud => "request_note",
        }
    }

    /// The switches of a note; all are boolean and optional.
    const fn note_switches(self) -> &'static [&'static str] {
        match self {
            Self::OnPremises => &["show_to_requester", "mark_first_response", "add_to_linked_requests"],
            Self::Cloud => &["show_to_requester", "mark_first_response", "add_to_linked_requests", "notify_technician"],
        }
    }
}

/// The vendor's body for a failure with this status.
pub(crate) fn failure(status: StatusCode) -> Answer {
    let (code, message) = match status.as_u16() {
        401 => (4022, "Invalid API Key"),
        403 => (4002, "User not allowed to perform the operation"),
        404 => (4007, "Invalid URL or Resource not found"),
        429 => (4015, "API Rate Limit reached"),
        500.. => (4004, "Internal Error"),
        _ => (4001, "Value given in input is not valid"),
    };
    Refusal::new(status, code, message).answer(Operation::Other)
}

/// The requested part of a list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ListInfo {
    row_count: usize,
    /// The first row, counted from 1.
    start_index: usize,
    sort_order: SortOrder,
    /// The only field that notes are sorted by here; any other is refused rather than ignored.
    sort_field: SortField,
}

impl Default for ListInfo {
    fn default() -> Self {
        Self { row_count: ROWS_DEFAULT, start_index: 1, sort_order: SortOrder::Asc, sort_field: SortField::CreatedTime }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum SortOrder {
    Asc,
    Desc,
}

#[derive(Deserialize)]
enum SortField {
    #[serde(rename = "created_time")]
    CreatedTime,
}

impl ListInfo {
    fn read(call: &Call) -> Result<Self, Refusal> {
        #[derive(Default, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Input {
            #[serde(default)]
            list_info: ListInfo,
        }

        let input = match only_input(call.parameters())? {
            None => Input::default(),
            Some(json) => {
                serde_json::from_str(&json).map_err(|_| Refusal::input("list_info", 4001, "Invalid input"))?
            }
        };
        let info = input.list_info;
        if !(1..=ROWS_MAX).contains(&info.row_count) {
            return Err(Refusal::input("row_count", 4001, "row_count must be 1 to 100"));
        }
        if info.start_index == 0 {
            return Err(Refusal::input("start_index", 4001, "start_index counts from 1"));
        }
        Ok(info)
    }
}

/// A posted note.
struct NewNote {
    description: String,
    show_to_requester: bool,
}

impl NewNote {
    fn read(edition: Edition, call: &Call) -> Result<Self, Refusal> {
        let is_form = call.header(CONTENT_TYPE.as_str()).is_some_and(|value| {
            value.split(';').next().is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case(FORM))
        });
        // A body that is not a form has no parameters, so the vendor's server misses the one that it needs.
        let pairs = if is_form { url::form_urlencoded::parse(&call.body).into_owned().collect() } else { Vec::new() };
        let json = only_input(pairs)?.ok_or_else(|| Refusal::input(INPUT, 4012, MISSING))?;
        let Ok(Value::Object(mut input)) = serde_json::from_str(&json) else {
            return Err(Refusal::input(INPUT, 4000, "JSON_PARSE_ERROR"));
        };
        let wrapper = edition.note_wrapper();
        refuse_extra_keys(&input, |key| key == wrapper)?;
        let mut note = match input.remove(wrapper) {
            None => return Err(Refusal::input(wrapper, 4012, MISSING)),
            Some(Value::Object(note)) => note,
            Some(_) => return Err(Refusal::input(wrapper, 4021, MISMATCH)),
        };
        let switches = edition.note_switches();
        refuse_extra_keys(&note, |key| key == "description" || switches.contains(&key))?;
        if let Some(switch) = switches.iter().find(|name| note.get(**name).is_some_and(|value| !value.is_boolean())) {
            return Err(Refusal::input(*switch, 4021, MISMATCH));
        }
        let show_to_requester = note.get("show_to_requester").and_then(Value::as_bool).unwrap_or(false);
        match note.remove("description") {
            Some(Value::String(description)) if !description.trim().is_empty() => {
                Ok(Self { description, show_to_requester })
            }
            None | Some(Value::Null | Value::String(_)) => Err(Refusal::input("description", 4012, MISSING)),
            Some(_) => Err(Refusal::input("description", 4021, MISMATCH)),
        }
    }
}

const MISSING: &str = "Value for mandatory-field is not provided";
const MISMATCH: &str = "Data type mismatch";

fn only_input(pairs: Vec<(String, String)>) -> Result<Option<String>, Refusal> {
    let mut input = None;
    for (name, value) in pairs {
        if name != INPUT || input.is_some() {
            return Err(Refusal::input(name, 4000, "EXTRA_PARAM_FOUND"));
        }
        input = Some(value);
    }
    Ok(input)
}

fn refuse_extra_keys(object: &Map<String, Value>, known: impl Fn(&str) -> bool) -> Result<(), Refusal> {
    match object.keys().find(|key| !known(key)) {
        Some(key) => Err(Refusal::input(key.as_str(), 4000, "EXTRA_KEY_FOUND_IN_JSON")),
        None => Ok(()),
    }
}

fn success() -> Value {
    json!({ "status_code": 2000, "status": "success" })
}

impl Refusal {
    fn new(http: StatusCode, code: u16, message: &'static str) -> Self {
        Self { http, code, field: None, message }
    }

    fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, 4007, "Invalid URL or Resource not found")
    }

    /// An error in this field of the input.
    fn input(field: impl Into<String>, code: u16, message: &'static str) -> Self {
        Self { field: Some(field.into()), ..Self::new(StatusCode::BAD_REQUEST, code, message) }
    }

    fn answer(self, operation: Operation) -> Answer {
        let mut message = json!({ "status_code": self.code, "type": "failed", "message": self.message });
        if let Some(field) = self.field {
            message["field"] = Value::String(field);
        }
        // 4000 says that it failed; the messages say why.
        let status = json!({ "status_code": 4000, "messages": [message], "status": "failed" });
        let status = if operation == Operation::List { json!([status]) } else { status };
        Answer::json(self.http, &json!({ "response_status": status }))
    }
}

#[cfg(test)]
mod tests;
