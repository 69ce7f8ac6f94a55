//! ManageEngine's own object, the *request*: as its API answers it, and as a custom webhook renders it.

use plugin_abi::{
    html,
    payload::{Faults, Presence, Scalar},
    prelude::*,
    serde::Deserialize,
    serde_json::{self, value::RawValue},
    time::Duration,
};

use super::{EventWord, json::Part, priority, read};

/// A request that was changed less than this after its creation was only finished by the tool's own rules, which touch
/// it in the first moments: it is new.
const UNTOUCHED_MAX: Duration = Duration::SECOND;

/// The fields that are read. Only the id must be there: templates differ by administrator, and the ticket is read again
/// through the API before anything is done with it. So what cannot be understood is left out.
#[derive(Debug, Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
struct Fields<'a> {
    #[serde(borrow)]
    id: Scalar<'a>,
    #[serde(borrow)]
    subject: Scalar<'a>,
    #[serde(borrow)]
    description: Scalar<'a>,
    #[serde(borrow)]
    status: Part<'a>,
    #[serde(borrow)]
    priority: Part<'a>,
    #[serde(borrow)]
    requester: Part<'a>,
    #[serde(borrow)]
    resolution: Part<'a>,
    #[serde(borrow)]
    created_time: Part<'a>,
    #[serde(borrow)]
    last_updated_time: Part<'a>,
    #[serde(borrow)]
    resolved_time: Part<'a>,
}

/// What a custom webhook may say beside the request.
#[derive(Debug, Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
struct Envelope<'a> {
    #[serde(borrow)]
    request: Option<&'a RawValue>,
    #[serde(borrow)]
    tenant_id: Scalar<'a>,
    #[serde(borrow)]
    event: Scalar<'a>,
}

/// `{"request": {…}, "event"?, "tenant_id"?}`
pub(super) fn nested(body: &[u8]) -> Result<TicketMetadata, PluginError> {
    let envelope: Envelope<'_> = read(body)?;
    let raw = envelope.request.map_or("", RawValue::get);
    if !raw.starts_with('{') {
        return Err(PluginError::field("request", "must be an object"));
    }
    read::<Fields<'_>>(raw.as_bytes())?.metadata("request.id", &envelope)
}

/// The request's own object, with `event` and `tenant_id` beside its fields.
pub(super) fn bare(body: &[u8]) -> Result<TicketMetadata, PluginError> {
    read::<Fields<'_>>(body)?.metadata("id", &read(body)?)
}

/// A request as the API answered it, in the host's terms. `raw` is kept with it.
///
/// # Errors
/// When `raw` is not such JSON.
pub(crate) fn ticket(ticket_id: &str, raw: &str) -> Result<Ticket, serde_json::Error> {
    let fields: Fields<'_> = serde_json::from_str(raw)?;
    let mut ticket = Ticket::new(ticket_id);
    ticket.subject = fields.subject.text().map(str::to_owned);
    ticket.description = fields.description.text().map(html::to_text);
    ticket.status = fields.status.name().map(str::to_owned);
    ticket.priority = priority(fields.priority.name());
    let address = || fields.requester.object().and_then(|person| person.email_id.text());
    ticket.requester = fields.requester.name().or_else(address).map(str::to_owned);
    ticket.created_at = fields.created_time.time();
    ticket.updated_at = fields.last_updated_time.time();
    ticket.resolved_at = fields.resolved_time.time();
    ticket.resolution = fields.resolution.content().map(html::to_text);
    raw.clone_into(&mut ticket.raw);
    Ok(ticket)
}

impl Fields<'_> {
    fn metadata(&self, id_field: &str, envelope: &Envelope<'_>) -> Result<TicketMetadata, PluginError> {
        let mut faults = Faults::default();
        let ticket_id = faults.ticket_id(id_field, &self.id);
        let tenant_id = faults.word("tenant_id", &envelope.tenant_id, Presence::Optional);
        let word = faults.word("event", &envelope.event, Presence::Optional);
        let event = match word.map_or_else(|| self.event(), EventWord::read) {
            EventWord::Created => Event::Created,
            EventWord::Updated => Event::Updated,
            EventWord::Resolved => Event::Resolved {
                resolution: self.resolution.content().map(html::to_text),
                resolved_at: self.resolved_time.time(),
                tags: Vec::new(),
            },
            EventWord::Other => Event::Other,
        };
        let created_at = self.created_time.time();
        let updated_at = self.last_updated_time.time();
        let mut metadata = TicketMetadata::new(ticket_id, event);
        metadata.occurred_at = match metadata.event {
            Event::Created => created_at,
            Event::Resolved { resolved_at, .. } => resolved_at.or(updated_at),
            _ => updated_at,
        };
        metadata.tenant_id = tenant_id.map(str::to_owned);
        metadata.subject = self.subject.text().map(str::to_owned);
        metadata.description = self.description.text().map(html::to_text);
        metadata.priority = priority(self.priority.name());
        metadata.raw_priority = self.priority.name().map(str::to_owned);
        metadata.created_at = created_at;
        // The host adds tenant, event and ticket to it: with those, the time of the change tells events apart.
        metadata.delivery_id = updated_at.map(|at| (at.unix_timestamp_nanos() / 1_000_000).to_string());
        faults.unless_any(metadata)
    }

    /// What happened, where the template does not say: a solved request was resolved just now, one that was not changed
    /// since its creation (or does not say) is new, and any other was changed. Templates of triggers that fire on changes
    /// of solved requests should therefore say `"event"` themselves.
    fn event(&self) -> EventWord {
        if self.is_solved() {
            return EventWord::Resolved;
        }
        match (self.created_time.time(), self.last_updated_time.time()) {
            (Some(created), Some(updated)) if updated - created >= UNTOUCHED_MAX => EventWord::Updated,
            _ => EventWord::Created,
        }
    }

    /// By the status's name; or by what stays the same when a site renames it. A cancelled request is not solved.
    fn is_solved(&self) -> bool {
        let solved = |name: &str| name.eq_ignore_ascii_case("resolved") || name.eq_ignore_ascii_case("closed");
        let status = self.status.object();
        self.status.name().is_some_and(solved)
            || status.and_then(|status| status.internal_name.text()).is_some_and(solved)
            || status.and_then(|status| status.in_progress.flag()) == Some(false) && self.resolved_time.time().is_some()
    }
}
