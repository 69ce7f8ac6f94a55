//! The sandbox's state: tickets with their notes, faults to come, and received requests. All of it is bounded.

use std::{
    collections::{HashMap, VecDeque},
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hyper::{StatusCode, body::Bytes};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::sync::Notify;

use crate::{
    call::Call,
    fault::Fault,
    tools::{Operation, Tool},
};

/// The limits of a sandbox.
pub mod limits {
    /// Maximum number of tickets, over all tools.
    pub const TICKETS_MAX: usize = 100_000;
    /// Maximum number of notes on one ticket.
    pub const NOTES_PER_TICKET_MAX: usize = 1_000;
    /// Maximum number of faults in the list.
    pub const FAULTS_MAX: usize = 1_000;
    /// Maximum delay of a fault, in milliseconds.
    pub const DELAY_MS_MAX: u64 = 600_000;
    /// Maximum number of recorded requests; the oldest are dropped first.
    pub const REQUESTS_KEPT_MAX: usize = 4_096;
    /// Maximum size of a recorded body, in bytes.
    pub const REQUEST_BODY_KEPT_BYTES_MAX: usize = 16 * 1024;
    /// Maximum size of a request's body, in bytes; a longer one is answered 413.
    pub const REQUEST_BODY_BYTES_MAX: usize = 1024 * 1024;
    /// Maximum number of open connections; further ones wait in the listener's backlog.
    pub const CONNECTIONS_MAX: usize = 1_024;
    /// Maximum time for a request's head to arrive, and again for its body, in seconds.
    pub const REQUEST_READ_S_MAX: u64 = 20;
    /// Maximum duration of a long poll, in milliseconds.
    pub const WAIT_MS_MAX: u64 = 600_000;
}

/// The content of a ticket, whatever the tool. Each field has a default, so a test sets only what matters to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TicketFields {
    /// The subject, one line.
    pub subject: String,
    /// The description, in the tool's own format (HTML for ServiceDesk Plus).
    pub description: String,
    /// The priority's name in the tool, such as `High`.
    pub priority: String,
    /// The status's name in the tool, such as `Open` or `Resolved`.
    pub status: String,
    /// The requester's name.
    pub requester_name: String,
    /// The requester's e-mail address.
    pub requester_email: Option<String>,
    /// When the ticket was opened.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When it was resolved, if it was.
    #[serde(with = "time::serde::rfc3339::option")]
    pub resolved_at: Option<OffsetDateTime>,
    /// How it was resolved, if it was.
    pub resolution: Option<String>,
}

impl Default for TicketFields {
    fn default() -> Self {
        Self {
            subject: "Server slow and unresponsive".to_owned(),
            description: "The database server has answered slowly since this morning.".to_owned(),
            priority: "High".to_owned(),
            status: "Open".to_owned(),
            requester_name: "Dana Smith".to_owned(),
            requester_email: Some("dana.smith@example.com".to_owned()),
            created_at: whole_second_now(),
            resolved_at: None,
            resolution: None,
        }
    }
}

/// A ticket in the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ticket {
    /// The tool that has it.
    pub tool: Tool,
    /// The id in the API.
    pub id: String,
    /// The number that people see, if the tool has one besides the id.
    pub display_id: u64,
    /// The ticket's content.
    #[serde(flatten)]
    pub fields: TicketFields,
    /// When fields or notes last changed.
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
    /// The notes, oldest first.
    pub notes: Vec<Note>,
}

/// A note that was posted on a ticket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// The note's number, counted over all tickets from 1.
    pub id: u64,
    /// The text as posted.
    pub body: String,
    /// Whether only technicians see it.
    pub internal: bool,
    /// When it was posted.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

/// One request as it arrived, secrets included: the sandbox is a tool for tests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedRequest {
    /// The request's number, counted from 1.
    pub number: u64,
    /// When it had arrived completely.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// The tool whose base path it has, if any.
    pub tool: Option<Tool>,
    /// The requested operation.
    pub operation: Option<Operation>,
    /// The method.
    pub method: String,
    /// Path and query as sent.
    pub path: String,
    /// Header names, in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body as text, cut after [`limits::REQUEST_BODY_KEPT_BYTES_MAX`] bytes.
    pub body: String,
    /// The fault that acted on it.
    pub fault: Option<Fault>,
    /// The status of the answer; `None` until there is one, and forever if the connection was dropped.
    pub status: Option<u16>,
}

/// A bound of [`limits`] is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sandbox holds at most {max} {what}")]
pub struct StateFull {
    what: &'static str,
    max: usize,
}

/// A wait for notes timed out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("ticket {id:?} of {} has {found} notes, not {wanted}", tool.name())]
pub struct TooFewNotes {
    /// The tool.
    pub tool: Tool,
    /// The ticket's id.
    pub id: String,
    /// The number of notes waited for.
    pub wanted: usize,
    /// The number of notes; 0 also if the ticket does not exist.
    pub found: usize,
}

/// Why a note was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoteRefused {
    #[error("there is no such ticket")]
    NoTicket,
    #[error(transparent)]
    Full(#[from] StateFull),
}

/// Whether a ticket existed before it was put.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Put {
    Created(Ticket),
    Replaced(Ticket),
}

/// The whole state, shared by all connections. The lock is never held over an await.
#[derive(Debug, Default)]
pub(crate) struct State {
    contents: Mutex<Contents>,
    /// Notified whenever a ticket gets a note.
    noted: Notify,
}

#[derive(Debug, Default)]
struct Contents {
    tickets: HashMap<(Tool, String), Ticket>,
    tickets_made: u64,
    notes_made: u64,
    faults: Vec<Fault>,
    requests: VecDeque<RecordedRequest>,
    requests_made: u64,
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates a ticket, or replaces an existing one's fields and keeps its notes.
    pub(crate) fn put_ticket(&self, tool: Tool, id: &str, fields: TicketFields) -> Result<Put, StateFull> {
        let mut contents = self.lock();
        let updated_at = fields.created_at.max(fields.resolved_at.unwrap_or(fields.created_at));
        if let Some(ticket) = contents.tickets.get_mut(&(tool, id.to_owned())) {
            ticket.fields = fields;
            ticket.updated_at = whole_second_now();
            return Ok(Put::Replaced(ticket.clone()));
        }
        if contents.tickets.len() == limits::TICKETS_MAX {
            return Err(StateFull { what: "tickets", max: limits::TICKETS_MAX });
        }
        contents.tickets_made += 1;
        let display_id = contents.tickets_made;
        let ticket = Ticket { tool, id: id.to_owned(), display_id, fields, updated_at, notes: Vec::new() };
        contents.tickets.insert((tool, id.to_owned()), ticket.clone());
        Ok(Put::Created(ticket))
    }

    pub(crate) fn ticket(&self, tool: Tool, id: &str) -> Option<Ticket> {
        self.lock().tickets.get(&(tool, id.to_owned())).cloned()
    }

    /// The tool's tickets, in order of creation.
    pub(crate) fn tickets(&self, tool: Tool) -> Vec<Ticket> {
        let mut tickets: Vec<_> = self.lock().tickets.values().filter(|ticket| ticket.tool == tool).cloned().collect();
        tickets.sort_unstable_by_key(|ticket| ticket.display_id);
        tickets
    }

    /// Adds a note and returns it with its ticket.
    pub(crate) fn add_note(
        &self,
        tool: Tool,
        id: &str,
        body: String,
        internal: bool,
    ) -> Result<(Ticket, Note), NoteRefused> {
        let mut guard = self.lock();
        let contents = &mut *guard;
        let ticket = contents.tickets.get_mut(&(tool, id.to_owned())).ok_or(NoteRefused::NoTicket)?;
        if ticket.notes.len() == limits::NOTES_PER_TICKET_MAX {
            return Err(StateFull { what: "notes on one ticket", max: limits::NOTES_PER_TICKET_MAX }.into());
        }
        contents.notes_made += 1;
        let note = Note { id: contents.notes_made, body, internal, created_at: OffsetDateTime::now_utc() };
        ticket.notes.push(note.clone());
        ticket.updated_at = note.created_at;
        let ticket = ticket.clone();
        drop(guard);
        self.noted.notify_waiters();
        Ok((ticket, note))
    }

    /// Waits until the ticket, which need not exist yet, has this many notes.
    pub(crate) async fn wait_for_notes(
        &self,
        tool: Tool,
        id: &str,
        notes: usize,
        timeout: Duration,
    ) -> Result<Ticket, TooFewNotes> {
        let enough = async {
            loop {
                let mut noted = pin!(self.noted.notified());
                // Must come before the check, so that a note in between is not missed.
                noted.as_mut().enable();
                match self.ticket(tool, id) {
                    Some(ticket) if ticket.notes.len() >= notes => return ticket,
                    _ => noted.await,
                }
            }
        };
        tokio::time::timeout(timeout, enough).await.map_err(|_| {
            let found = self.ticket(tool, id).map_or(0, |ticket| ticket.notes.len());
            TooFewNotes { tool, id: id.to_owned(), wanted: notes, found }
        })
    }

    /// Replaces the list of faults.
    pub(crate) fn set_faults(&self, faults: Vec<Fault>) -> Result<(), StateFull> {
        if faults.len() > limits::FAULTS_MAX {
            return Err(StateFull { what: "faults", max: limits::FAULTS_MAX });
        }
        self.lock().faults = faults;
        Ok(())
    }

    /// The remaining faults, each with its remaining count.
    pub(crate) fn faults(&self) -> Vec<Fault> {
        self.lock().faults.clone()
    }

    /// Uses up one count of the first fault that covers the request.
    pub(crate) fn take_fault(&self, tool: Tool, operation: Operation) -> Option<Fault> {
        let faults = &mut self.lock().faults;
        let at = faults.iter().position(|fault| fault.covers(tool, operation))?;
        let fault = faults[at].clone();
        match &mut faults[at].times {
            None => {}
            Some(left @ 2..) => *left -= 1,
            Some(_) => drop(faults.remove(at)),
        }
        Some(fault)
    }

    /// Records a request and returns its number.
    pub(crate) fn record(&self, call: &Call, asked: Option<(Tool, Operation)>, fault: Option<&Fault>) -> u64 {
        let headers = call.head.headers.iter();
        let mut contents = self.lock();
        contents.requests_made += 1;
        let number = contents.requests_made;
        if contents.requests.len() == limits::REQUESTS_KEPT_MAX {
            contents.requests.pop_front();
        }
        contents.requests.push_back(RecordedRequest {
            number,
            at: OffsetDateTime::now_utc(),
            tool: asked.map(|(tool, _)| tool),
            operation: asked.map(|(_, operation)| operation),
            method: call.head.method.to_string(),
            path: call.target().to_owned(),
            headers: headers.map(|(name, value)| (name.to_string(), lossy_text(value.as_bytes()))).collect(),
            body: kept_text(&call.body),
            fault: fault.cloned(),
            status: None,
        });
        number
    }

    /// Adds the answer's status to a recorded request, if it is still there.
    pub(crate) fn answered(&self, number: u64, status: StatusCode) {
        let mut contents = self.lock();
        if let Some(request) = contents.requests.iter_mut().rev().find(|request| request.number == number) {
            request.status = Some(status.as_u16());
        }
    }

    /// The recorded requests with a number above `after`, oldest first.
    pub(crate) fn requests(&self, after: u64) -> Vec<RecordedRequest> {
        self.lock().requests.iter().filter(|request| request.number > after).cloned().collect()
    }

    /// Forgets everything. Request numbers continue, so that a request still under way finds no other under its number.
    pub(crate) fn reset(&self) {
        let mut contents = self.lock();
        *contents = Contents { requests_made: contents.requests_made, ..Contents::default() };
    }
}

/// The current time with the precision of the tools' clocks.
pub(crate) fn whole_second_now() -> OffsetDateTime {
    OffsetDateTime::now_utc().replace_nanosecond(0).expect("0 is a nanosecond")
}

fn kept_text(body: &Bytes) -> String {
    lossy_text(&body[..body.len().min(limits::REQUEST_BODY_KEPT_BYTES_MAX)])
}

fn lossy_text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests;
