//! Freshservice's API, version 2: reading a ticket, and putting a note on it that no requester sees.
//!
//! Paths, fields, paging and errors: <https://api.freshservice.com/>.

use plugin_abi::{
    html,
    payload::Scalar,
    prelude::*,
    serde::Deserialize,
    serde_json::{json, value::RawValue},
};

use crate::{
    settings::{API_KEY, ApiAuth, Settings},
    ticket,
};

/// Freshservice looks at the user's place only; its documentation puts this into the password's.
const NO_PASSWORD: &str = "X";
/// What the answer about a ticket is to hold besides the ticket. Each costs the account's rate limit one more call.
const EMBEDDED: &str = "requester,stats";
/// Most characters of a note. The vendor names no limit; this is well below what its rich-text fields hold.
const NOTE_CHARS_MAX: usize = 60_000;
/// Conversations of one page, the most that the API gives.
const PAGE_CONVERSATIONS: usize = 100;
/// Pages that are looked through for a note of ours.
const PAGES_MAX: usize = 10;

/// How many of the tool's messages are passed on.
const MESSAGES_MAX: usize = 8;
/// Most characters of one of them.
const MESSAGE_CHARS_MAX: usize = 200;

/// Reads a ticket; `None` when the tool does not have it.
pub(crate) fn get_ticket(
    tenant: &Tenant<'_>,
    settings: &Settings<'_>,
    ticket_id: &str,
) -> Result<Option<Ticket>, PluginError> {
    #[derive(Deserialize)]
    #[serde(crate = "plugin_abi::serde")]
    struct Found<'a> {
        #[serde(borrow)]
        ticket: Option<&'a RawValue>,
    }

    let ask = |request: Request| request.query("include", EMBEDDED);
    let response = match send(tenant, settings, Request::get("/"), ticket_id, ask) {
        Ok(response) => response,
        Err(PluginError::NotFound(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let unreadable = |why: &str| PluginError::api(format!("the answer's ticket {why}: {}", response.excerpt()));
    let found: Found<'_> = response.json()?;
    let raw = found.ticket.ok_or_else(|| unreadable("is missing"))?;
    if !raw.get().starts_with('{') {
        return Err(unreadable("is not an object"));
    }
    let ticket = ticket::read(ticket_id, tenant.base_url(), raw.get());
    ticket.map(Some).map_err(|fault| unreadable(&format!("cannot be read ({fault})")))
}

/// Puts the note on the ticket. After a first attempt it looks whether that one was taken: the answer may have been lost.
pub(crate) fn add_note(
    tenant: &Tenant<'_>,
    settings: &Settings<'_>,
    ticket_id: &str,
    note: &Note<'_>,
) -> Result<bool, PluginError> {
    #[derive(Deserialize)]
    #[serde(crate = "plugin_abi::serde")]
    struct Added<'a> {
        #[serde(borrow)]
        conversation: Conversation<'a>,
    }

    if tenant.attempt() > 1 && has_note(tenant, settings, ticket_id, note.marker())? {
        tenant.log(LogLevel::Info, "the note of an earlier attempt is there");
        return Ok(true);
    }
    // Private is the default of the API; here it must not depend on one. Nobody is notified.
    let fields = json!({ "body": html::of_note(note, NOTE_CHARS_MAX), "private": true });
    let add = |request: Request| request.path("notes").json(&fields);
    let response = send(tenant, settings, Request::post("/"), ticket_id, add)?;
    let added: Added<'_> = response.json()?;
    if added.conversation.private.flag() == Some(false) {
        tenant.log(LogLevel::Error, "Freshservice made the note public although it was sent as private");
    }
    Ok(true)
}

#[derive(Deserialize)]
#[serde(crate = "plugin_abi::serde")]
struct Conversation<'a> {
    #[serde(borrow, default)]
    body: Scalar<'a>,
    #[serde(borrow, default)]
    private: Scalar<'a>,
}

/// Notes are listed among all conversations of the ticket, page by page; the order of the list is not documented.
fn has_note(tenant: &Tenant<'_>, settings: &Settings<'_>, ticket_id: &str, marker: &str) -> Result<bool, PluginError> {
    #[derive(Deserialize)]
    #[serde(crate = "plugin_abi::serde")]
    struct Page<'a> {
        #[serde(borrow)]
        conversations: Vec<Conversation<'a>>,
    }

    for number in 1..=PAGES_MAX {
        let ask = |request: Request| {
            let request = request.path("conversations").query("per_page", &PAGE_CONVERSATIONS.to_string());
            request.query("page", &number.to_string())
        };
        let response = send(tenant, settings, Request::get("/"), ticket_id, ask)?;
        let page: Page<'_> = response.json()?;
        let mut bodies = page.conversations.iter().filter_map(|conversation| conversation.body.text());
        if bodies.any(|body| html::holds_marker(body, marker)) {
            return Ok(true);
        }
        // The last page has no such header.
        if !response.header("link").is_some_and(|link| link.contains(r#"rel="next""#)) {
            return Ok(false);
        }
    }
    tenant.log(LogLevel::Warn, "too many conversations to look through all of them: the note may be there twice");
    Ok(false)
}

/// Sends a request about this ticket and returns its answer if that says success.
fn send(
    tenant: &Tenant<'_>,
    settings: &Settings<'_>,
    start: Request,
    ticket_id: &str,
    complete: impl FnOnce(Request) -> Request,
) -> Result<Response, PluginError> {
    let api = match settings.api_auth {
        ApiAuth::Basic => start.basic_user(API_KEY, NO_PASSWORD),
        ApiAuth::Bearer => start.bearer(API_KEY),
    };
    let request = complete(api.path("api").path("v2").path("tickets").path(ticket_id));
    let response = tenant.http(request.header("accept", "application/json"))?;
    match rejected_fields(&response) {
        Some(faults) => Err(PluginError::Validation(faults)),
        None => response.success(tenant.now()),
    }
}

/// What the tool found wrong with a request: `{"description", "errors": [{"field", "message", "code"}]}`. The description
/// always says "Validation failed"; what is to be done stands in the errors.
fn rejected_fields(response: &Response) -> Option<Vec<FieldError>> {
    #[derive(Deserialize)]
    #[serde(crate = "plugin_abi::serde")]
    struct Rejection<'a> {
        #[serde(borrow)]
        errors: Vec<Rejected<'a>>,
    }

    #[derive(Deserialize)]
    #[serde(crate = "plugin_abi::serde")]
    struct Rejected<'a> {
        #[serde(borrow, default)]
        field: Scalar<'a>,
        #[serde(borrow, default)]
        message: Scalar<'a>,
        #[serde(borrow, default)]
        code: Scalar<'a>,
    }

    if !matches!(response.status(), 400 | 422) {
        return None;
    }
    let said = |value: &Scalar<'_>, unsaid: &str| -> String {
        value.text().unwrap_or(unsaid).chars().take(MESSAGE_CHARS_MAX).collect()
    };
    // A body of another shape says what it says by its status and beginning.
    let rejection: Rejection<'_> = response.json().ok()?;
    let faults = rejection.errors.iter().take(MESSAGES_MAX).map(|error| {
        let (code, message) = (said(&error.code, "no code"), said(&error.message, "(no message)"));
        FieldError::new(said(&error.field, "request"), format!("the tool answered {code}: {message}"))
    });
    let faults: Vec<_> = faults.collect();
    (!faults.is_empty()).then_some(faults)
}
