//! Freshservice's API, version 2: reading a ticket, and putting a note on it that no requester sees.
//!
//! Paths, fields, paging and errors: <https://api.freshservice.com/>.

use plugin_abi::{
    html,
    json::{self, Json},
    payload::{Part, Scalar},
    prelude::*,
    serde::{Deserialize, de::Error as _},
    serde_json::{self, json, value::RawValue},
};

use crate::{
    settings::{API_KEY, ApiAuth, Settings},
    ticket, unsolved,
};

/// Freshservice looks at the user's place only; its documentation puts this into the password's.
const NO_PASSWORD: &str = "X";
/// What the answer about a ticket is to hold besides the ticket. Each costs the account's rate limit one more call.
const EMBEDDED: &str = "requester,stats";
/// Most characters of a note. The vendor names no limit; this is well below what its rich-text fields hold.
const NOTE_CHARS_MAX: usize = 60_000;
/// Conversations of one page, the most that the API gives.
const PAGE_CONVERSATIONS: usize = 100;
/// Pages that are looked through for a note.
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
    let mut ticket = response.read(|body| {
        let found: Found<'_> = json::parse(body)?;
        let raw = found.ticket.map(RawValue::get).filter(|raw| raw.starts_with('{'));
        let raw = raw.ok_or_else(|| serde_json::Error::custom("ticket must be an object"))?;
        ticket::read(ticket_id, tenant.base_url(), raw)
    })?;
    // Nothing else in the answer tells a merged ticket from one that was closed without a word.
    if ticket.status.as_deref() == Some(ticket::CLOSED) && ticket.resolution.is_none() {
        match any_conversation(tenant, settings, ticket_id, |body| unsolved::is_merge(&html::to_text(body))) {
            Ok(true) => unsolved::show(&mut ticket, "merged"),
            Ok(false) => {}
            // What they would say of its end keeps nothing of the ticket back.
            Err(PluginError::Malformed(why)) => {
                tenant.log(LogLevel::Warn, &format!("whether ticket {ticket_id} was merged cannot be told: {why}"));
            }
            Err(passing) => return Err(passing),
        }
    }
    Ok(Some(ticket))
}

/// Puts the note on the ticket. After a first attempt it looks whether that one was taken: the answer may have been lost.
pub(crate) fn add_note(
    tenant: &Tenant<'_>,
    settings: &Settings<'_>,
    ticket_id: &str,
    note: &Note<'_>,
) -> Result<bool, PluginError> {
    #[derive(Default, Deserialize)]
    #[serde(crate = "plugin_abi::serde", default)]
    struct Added<'a> {
        #[serde(borrow)]
        conversation: Part<'a, Conversation<'a>>,
    }

    let is_ours = |body: &str| html::holds_marker(body, note.marker());
    if tenant.attempt() > 1 && any_conversation(tenant, settings, ticket_id, is_ours)? {
        tenant.log(LogLevel::Info, "the note of an earlier attempt is there");
        return Ok(true);
    }
    // Private is the default of the API; here it must not depend on one. Nobody is notified.
    let fields = json!({ "body": html::of_note(note, NOTE_CHARS_MAX), "private": true });
    let add = |request: Request| request.path("notes").json(&fields);
    let response = send(tenant, settings, Request::post("/"), ticket_id, add)?;
    let added: Part<'_, Added<'_>> = response.json()?;
    let conversation = added.object().and_then(|added| added.conversation.object());
    if conversation.and_then(|conversation| conversation.private.flag()) == Some(false) {
        tenant.log(LogLevel::Error, "Freshservice made the note public although it was sent as private");
    }
    Ok(true)
}

#[derive(Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
struct Conversation<'a> {
    #[serde(borrow)]
    body: Scalar<'a>,
    #[serde(borrow)]
    private: Scalar<'a>,
}

/// Whether the body of one of the ticket's conversations, notes among them, is what is looked for. They are listed page by
/// page in an order that is not documented. Each is read on its own: one that cannot be takes none of the others with it.
fn any_conversation(
    tenant: &Tenant<'_>,
    settings: &Settings<'_>,
    ticket_id: &str,
    is_sought: impl Fn(&str) -> bool,
) -> Result<bool, PluginError> {
    #[derive(Deserialize)]
    #[serde(crate = "plugin_abi::serde")]
    struct Page<'a> {
        #[serde(borrow)]
        conversations: Vec<&'a RawValue>,
    }

    let is_one = |conversation: &RawValue| {
        Json::from(conversation).object(|conversation| {
            let conversation: Conversation<'_> = json::from_slice(conversation)?;
            Ok(conversation.body.text().is_some_and(&is_sought))
        })
    };
    for number in 1..=PAGES_MAX {
        let ask = |request: Request| {
            let request = request.path("conversations").query("per_page", &PAGE_CONVERSATIONS.to_string());
            request.query("page", &number.to_string())
        };
        let response = send(tenant, settings, Request::get("/"), ticket_id, ask)?;
        let page: Page<'_> = response.json()?;
        if page.conversations.into_iter().any(|conversation| is_one(conversation) == Ok(true)) {
            return Ok(true);
        }
        // The last page has no such header.
        if !response.header("link").is_some_and(|link| link.contains(r#"rel="next""#)) {
            return Ok(false);
        }
    }
    let many = PAGES_MAX * PAGE_CONVERSATIONS;
    let message = format!("ticket {ticket_id} has more than {many} conversations: a note among the rest is not found");
    tenant.log(LogLevel::Warn, &message);
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
