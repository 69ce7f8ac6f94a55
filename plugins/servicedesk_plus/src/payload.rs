//! What a webhook's body says: pure, from bytes to metadata, whoever wrote the bytes.
//!
//! ServiceDesk Plus has no body of its own. Three forms are read:
//! * the *flat* form, `{"tenant_id", "ticket_id", "event", …}`, which is checked field by field (`flat.rs`);
//! * the *nested* form, `{"request": {…}}`, a custom webhook that renders the request as the API does (`request.rs`);
//! * the *bare* form, that request without the wrapper: it has an `id` and no `ticket_id`.
//!
//! What happened is said by the body's `event`; by the address, where it has none; or else it is guessed from the rest.

mod course;
mod end;
mod flat;
mod hint;
mod json;
mod request;

use plugin_abi::{
    json::from_slice,
    payload::{Faults, Presence, Scalar},
    prelude::*,
    time::OffsetDateTime,
};

use self::flat::Flat;
pub(crate) use self::{hint::hint, request::ticket};

/// What the body says. `route` is what the address says that happened, for a body without an event of its own.
///
/// # Errors
/// `Malformed` when it is not JSON or has a key twice, `Validation` with every field that is missing or wrong.
pub(crate) fn metadata(body: &[u8], route: Option<EventWord>) -> Result<TicketMetadata, PluginError> {
    let flat: Flat<'_> = from_slice(body)?;
    let metadata = match flat.form() {
        Form::Flat => flat.metadata(route),
        Form::Nested => request::nested(body, route),
        Form::Bare => request::bare(body, route),
    }?;
    let mut faults = Faults::default();
    flat.check_ticket(&metadata.ticket_id, &mut faults);
    faults.unless_any(metadata)
}

/// When a created event of the flat form says that it was sent. `None` for all other bodies, also for those of which
/// [`metadata`] will refuse the time.
///
/// # Errors
/// As [`metadata`], where the body cannot be read at all.
pub(crate) fn sent_at(body: &[u8], route: Option<EventWord>) -> Result<Option<OffsetDateTime>, PluginError> {
    flat::sent_at(body, route)
}

/// Which form a body has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Flat,
    Nested,
    Bare,
}

impl Form {
    fn of(has_request: bool, id: &Scalar<'_>, ticket_id: &Scalar<'_>) -> Self {
        match (has_request, id.is_absent(), ticket_id.is_absent()) {
            (true, _, _) => Self::Nested,
            (false, false, true) => Self::Bare,
            (false, _, _) => Self::Flat,
        }
    }
}

/// What happened to a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventWord {
    Created,
    Updated,
    Resolved,
    Reopened,
    Other,
}

impl EventWord {
    /// What the address says that a webhook came to.
    pub(crate) fn of_route(webhook: &Webhook<'_>) -> Option<Self> {
        match webhook.route_event()? {
            Event::Created => Some(Self::Created),
            Event::Resolved { .. } => Some(Self::Resolved),
            _ => None,
        }
    }

    /// What the body's `event` says; where it has none, or one of blanks, what the address says.
    fn told(faults: &mut Faults, event: &Scalar<'_>, route: Option<Self>) -> Option<Self> {
        let word = if is_given(event) { faults.text("event", event, Presence::Optional) } else { None };
        word.map(Self::read).or(route)
    }

    /// Whatever its case, and with or without what it is an event of: `ticket_created`, `created`.
    fn read(word: &str) -> Self {
        let word = word.trim().to_ascii_lowercase();
        let verb = word.strip_prefix("ticket_").or_else(|| word.strip_prefix("request_")).unwrap_or(&word);
        match verb {
            "created" => Self::Created,
            "updated" => Self::Updated,
            "resolved" | "closed" => Self::Resolved,
            "reopened" | "reopen" | "re-opened" => Self::Reopened,
            _ => Self::Other,
        }
    }

    /// As the host takes it; `resolved` is what is known of a solution.
    fn event(self, resolved: impl FnOnce() -> Event) -> Event {
        match self {
            Self::Created => Event::Created,
            Self::Updated => Event::Updated,
            Self::Resolved => resolved(),
            Self::Reopened => Event::Reopened,
            Self::Other => Event::Other,
        }
    }
}

/// Whether there is anything but blanks.
fn is_given(value: &Scalar<'_>) -> bool {
    !value.is_absent() && value.text().is_none_or(|text| !text.trim().is_empty())
}

/// Names of priorities differ by site: these are the usual ones.
fn priority(word: Option<&str>) -> Priority {
    priority_from(word, &[(Priority::High, &["high", "urgent"]), (Priority::Low, &["low"])])
}
