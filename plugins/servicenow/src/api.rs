//! ServiceNow's Table API: reading a record, and putting a work note on it, which requesters cannot see (`comments` they
//! could).
//!
//! Paths and parameters: <https://www.servicenow.com/docs/r/api-reference/rest-apis/c_TableAPI.html>.

mod answer;
mod records;

use plugin_abi::{
    payload::{Part, Scalar},
    prelude::*,
    serde::Deserialize,
    serde_json::{self, json},
};

use self::records::Numbered;
use crate::{
    id::Id,
    note::journal_entry,
    payload,
    settings::{API_KEY, ApiAuth, Settings},
};

/// Reads a ticket; `None` when the tool does not have it, or does not show it to this user.
pub(crate) fn get_ticket(
    tenant: &Tenant<'_>,
    settings: &Settings<'_>,
    ticket_id: &str,
) -> Result<Option<Ticket>, PluginError> {
    let ticket = match Id::asked(ticket_id)? {
        Id::SysId(sys_id) => by_sys_id(tenant, settings, sys_id),
        Id::Number(number) => by_number(tenant, settings, number),
    };
    match ticket {
        Ok(Some(ticket)) => Ok(Some(ticket)),
        Ok(None) | Err(PluginError::NotFound(_)) => {
            let table = settings.table;
            let text = format!("no record {ticket_id} of {table}: it is not there, or the API's user may not read it");
            tenant.log(LogLevel::Warn, &text);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Puts the note on the ticket. After a first attempt it looks whether that one was taken: the answer may have been lost.
pub(crate) fn add_note(
    tenant: &Tenant<'_>,
    settings: &Settings<'_>,
    ticket_id: &str,
    note: &Note<'_>,
) -> Result<bool, PluginError> {
    let found;
    let sys_id = match Id::asked(ticket_id)? {
        Id::SysId(sys_id) => sys_id,
        Id::Number(number) => {
            let missing = || PluginError::NotFound(format!("no record {number} of {}", settings.table));
            found = by_number(tenant, settings, number)?.ok_or_else(missing)?;
            &found.id
        }
    };
    let journal = |request| Journal::read(tenant, settings, request, sys_id);
    if tenant.attempt() > 1 && journal(Request::get("/"))?.holds(note.marker()) {
        tenant.log(LogLevel::Info, "the note of an earlier attempt is there");
        return Ok(true);
    }
    let entry = journal_entry(note, settings.note_format, settings.note_chars_max);
    let after = match journal(Request::patch("/").json(&json!({ "work_notes": entry }))) {
        Err(PluginError::Malformed(why)) => {
            tenant.log(LogLevel::Info, &format!("it was taken, and whether the note is there is looked up: {why}"));
            Journal::default()
        }
        after => after?,
    };
    if note.marker().is_empty() || after.holds(note.marker()) || is_noted(tenant, &journal(Request::get("/"))?, note) {
        return Ok(true);
    }
    Err(PluginError::Configuration(format!(
        "{sys_id} was changed, but the note is not among its work notes: the API's user may not write them, or the \
         instance takes fewer than note_chars_max ({}) characters",
        settings.note_chars_max
    )))
}

/// Whether the note is among a record's notes. ServiceNow answers 200 also when it has left out what the user may not
/// write; and with empty notes when the user may not read them: then there is no telling.
fn is_noted(tenant: &Tenant<'_>, journal: &Journal, note: &Note<'_>) -> bool {
    if journal.is_empty() {
        tenant.log(LogLevel::Warn, "the API's user may not read work_notes: whether the note is there cannot be told");
    }
    journal.is_empty() || journal.holds(note.marker())
}

/// Display values too: the names of people and states, which the values are not.
fn whole(request: Request) -> Request {
    request.query("sysparm_display_value", "all").query("sysparm_exclude_reference_link", "true")
}

fn by_sys_id(tenant: &Tenant<'_>, settings: &Settings<'_>, sys_id: &str) -> Result<Option<Ticket>, PluginError> {
    let response = send(tenant, settings, whole(record(settings, Request::get("/"), sys_id)))?;
    let read = |raw: &str| raw.starts_with('{').then(|| payload::ticket(sys_id, raw)).transpose();
    let ticket = answer::result(&response, read)?;
    let ticket = ticket.ok_or_else(|| response.unreadable("its result is no object"))?;
    Ok(Some(with_url(tenant, settings, ticket)))
}

/// Since the API takes no numbers in paths. A condition that ServiceNow does not understand it leaves out, and then it
/// returns any records (<https://www.servicenow.com/docs/r/api-reference/server-api-reference/c_GlideRecordScopedAPI.html>):
/// so what came is looked at.
fn by_number(tenant: &Tenant<'_>, settings: &Settings<'_>, number: &str) -> Result<Option<Ticket>, PluginError> {
    let query = table(settings, Request::get("/")).query("sysparm_query", &format!("number={number}"));
    let response = send(tenant, settings, whole(query).query("sysparm_limit", "2"))?;
    match answer::result(&response, |list| records::numbered(list, number))? {
        Numbered::None => Ok(None),
        Numbered::One(ticket) if ticket.id.is_empty() => Err(response.unreadable("its record has no sys_id")),
        Numbered::One(ticket) => Ok(Some(with_url(tenant, settings, *ticket))),
        Numbered::Several => Err(PluginError::Configuration(format!(
            "{} has several records {number}: have the webhook send the sys_id",
            settings.table
        ))),
    }
}

fn with_url(tenant: &Tenant<'_>, settings: &Settings<'_>, mut ticket: Ticket) -> Ticket {
    let base_url = tenant.base_url().trim_end_matches('/');
    ticket.url = Some(format!("{base_url}/{}.do?sys_id={}", settings.table, ticket.id));
    ticket
}

/// All work notes of a record as one text. Read from the record, by its own rights: the table of journals,
/// `sys_journal_field`, has rights of its own, and answers with an empty list to those who lack them.
#[derive(Default)]
struct Journal(String);

impl Journal {
    /// What the record's journal is after this request; empty where the answer has nothing of that kind.
    fn read(tenant: &Tenant<'_>, settings: &Settings<'_>, start: Request, sys_id: &str) -> Result<Self, PluginError> {
        #[derive(Default, Deserialize)]
        #[serde(crate = "plugin_abi::serde", default)]
        struct Noted<'a> {
            #[serde(borrow)]
            work_notes: Scalar<'a>,
        }

        // Only as a display value is a journal field more than empty.
        let asked = record(settings, start, sys_id)
            .query("sysparm_fields", "sys_id,work_notes")
            .query("sysparm_display_value", "true");
        let response = send(tenant, settings, asked)?;
        answer::result(&response, |raw| {
            let noted: Part<'_, Noted<'_>> = serde_json::from_str(raw)?;
            let text = noted.object().and_then(|noted| noted.work_notes.text());
            Ok(Self(text.unwrap_or_default().to_owned()))
        })
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn holds(&self, marker: &str) -> bool {
        !marker.is_empty() && self.0.contains(marker)
    }
}

fn table(settings: &Settings<'_>, start: Request) -> Request {
    start.path("api").path("now").path("table").path(settings.table)
}

fn record(settings: &Settings<'_>, start: Request, sys_id: &str) -> Request {
    table(settings, start).path(sys_id)
}

/// Sends a request and returns its answer if that says success.
fn send(tenant: &Tenant<'_>, settings: &Settings<'_>, request: Request) -> Result<Response, PluginError> {
    let request = request.header("accept", "application/json");
    let request = match settings.api_auth {
        ApiAuth::Basic { user } => request.basic(user, API_KEY),
        ApiAuth::Bearer => request.bearer(API_KEY),
    };
    answer::successful(tenant.http(request)?, tenant.now())
}
