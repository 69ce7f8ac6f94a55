//! ServiceNow's own object, a table's *record*: as its Table API answers it, and as a webhook renders it.

use std::borrow::Cow;

use plugin_abi::{
    payload::{Faults, Presence, Scalar},
    prelude::*,
    serde::Deserialize,
    serde_json,
    time::Duration,
};

use super::{EventWord, column::Column, is_solved, priority, read, ticket_id};

/// A record that was changed less than this after its creation was only finished by the tool's own rules, which touch it
/// in the first moments: it is new.
const UNTOUCHED_MAX: Duration = Duration::seconds(2);

/// The columns that are read. Only the id must be there: rules differ by administrator.
#[derive(Debug, Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
struct Fields<'a> {
    #[serde(borrow)]
    sys_id: Column<'a>,
    #[serde(borrow)]
    number: Column<'a>,
    #[serde(borrow)]
    short_description: Column<'a>,
    #[serde(borrow)]
    description: Column<'a>,
    #[serde(borrow)]
    priority: Column<'a>,
    #[serde(borrow)]
    state: Column<'a>,
    #[serde(borrow)]
    caller_id: Column<'a>,
    #[serde(borrow)]
    opened_by: Column<'a>,
    #[serde(borrow)]
    sys_created_on: Column<'a>,
    #[serde(borrow)]
    sys_updated_on: Column<'a>,
    #[serde(borrow)]
    sys_mod_count: Column<'a>,
    #[serde(borrow)]
    resolved_at: Column<'a>,
    #[serde(borrow)]
    closed_at: Column<'a>,
    #[serde(borrow)]
    close_code: Column<'a>,
    #[serde(borrow)]
    close_notes: Column<'a>,
}

/// What a webhook may say beside the record.
#[derive(Debug, Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
struct Envelope<'a> {
    #[serde(borrow)]
    tenant_id: Scalar<'a>,
    #[serde(borrow)]
    event: Scalar<'a>,
    #[serde(borrow)]
    url: Scalar<'a>,
}

/// What a webhook about this record says; `event`, `tenant_id` and `url` stand in `body`, which may be the record itself.
pub(super) fn metadata(record: &[u8], body: &[u8]) -> Result<TicketMetadata, PluginError> {
    let (fields, envelope): (Fields<'_>, Envelope<'_>) = (read(record)?, read(body)?);
    let mut faults = Faults::default();
    let id = ticket_id(&mut faults, ("sys_id", fields.sys_id.stored()), ("number", fields.number.stored()));
    fields.check(&mut faults);
    let tenant_id = faults.word("tenant_id", &envelope.tenant_id, Presence::Optional);
    let url = faults.text("url", &envelope.url, Presence::Optional);
    let word = faults.word("event", &envelope.event, Presence::Optional);

    let (created_at, updated_at) = (fields.sys_created_on.time(), fields.sys_updated_on.time());
    let (event, occurred_at) = match word.map_or_else(|| fields.event(), EventWord::read) {
        EventWord::Created => (Event::Created, created_at),
        EventWord::Updated => (Event::Updated, updated_at),
        EventWord::Resolved => {
            let resolved_at = fields.resolved_at.time().or_else(|| fields.closed_at.time());
            let event = Event::Resolved { resolution: fields.resolution(), resolved_at, tags: Vec::new() };
            (event, resolved_at.or(updated_at))
        }
        EventWord::Other => (Event::Other, updated_at),
    };
    let mut metadata = TicketMetadata::new(id, event);
    metadata.tenant_id = tenant_id.map(str::to_owned);
    metadata.subject = fields.short_description.words();
    metadata.description = fields.description.words();
    metadata.priority = fields.priority();
    metadata.raw_priority = fields.priority.words();
    metadata.created_at = created_at;
    metadata.occurred_at = occurred_at;
    // It counts every change of the record; the host adds tenant, event and ticket to it.
    metadata.delivery_id = fields.sys_mod_count.stored().number().map(|count| count.to_string());
    metadata.url = url.map(str::to_owned);
    faults.unless_any(metadata)
}

/// A record as the API answered it, in the host's terms; `None` when it does not say its `sys_id`. `raw` is kept with it.
///
/// # Errors
/// When `raw` is not such JSON.
pub(crate) fn ticket(raw: &str) -> Result<Option<Ticket>, serde_json::Error> {
    let fields: Fields<'_> = serde_json::from_str(raw)?;
    let Some(sys_id) = fields.sys_id.value() else { return Ok(None) };
    let mut ticket = Ticket::new(sys_id);
    ticket.subject = fields.short_description.words();
    ticket.description = fields.description.words();
    ticket.status = fields.state.words();
    ticket.priority = fields.priority();
    ticket.requester = fields.caller_id.label().or_else(|| fields.opened_by.label()).map(str::to_owned);
    ticket.created_at = fields.sys_created_on.time();
    ticket.updated_at = fields.sys_updated_on.time();
    ticket.resolved_at = fields.resolved_at.time().or_else(|| fields.closed_at.time());
    ticket.resolution = fields.resolution();
    raw.clone_into(&mut ticket.raw);
    Ok(Some(ticket))
}

/// The number of a record as the API answered it.
pub(crate) fn number(raw: &str) -> Option<String> {
    let fields: Fields<'_> = serde_json::from_str(raw).ok()?;
    fields.number.value().map(Cow::into_owned)
}

impl Fields<'_> {
    fn check(&self, faults: &mut Faults) {
        for (field, column) in [
            ("short_description", &self.short_description),
            ("description", &self.description),
            ("priority", &self.priority),
            ("state", &self.state),
            ("close_code", &self.close_code),
            ("close_notes", &self.close_notes),
        ] {
            column.check(faults, field);
        }
        for (field, column) in [
            ("sys_created_on", &self.sys_created_on),
            ("sys_updated_on", &self.sys_updated_on),
            ("resolved_at", &self.resolved_at),
            ("closed_at", &self.closed_at),
        ] {
            column.check_time(faults, field);
        }
    }

    fn priority(&self) -> Priority {
        priority(self.priority.value().as_deref())
    }

    fn resolution(&self) -> Option<String> {
        self.close_notes.words().or_else(|| self.close_code.words())
    }

    /// What happened, where the script does not say: a solved record was resolved just now, one that was not changed since
    /// its creation (or does not say) is new, and any other was changed. Rules that run on changes of solved records
    /// should therefore say `event` themselves.
    fn event(&self) -> EventWord {
        if self.state.value().is_some_and(|state| is_solved(&state)) {
            return EventWord::Resolved;
        }
        match (self.sys_mod_count.stored().number(), self.sys_created_on.time(), self.sys_updated_on.time()) {
            (Some(0), _, _) => EventWord::Created,
            (_, Some(created), Some(updated)) if updated - created >= UNTOUCHED_MAX => EventWord::Updated,
            _ => EventWord::Created,
        }
    }
}
