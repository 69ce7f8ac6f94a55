//! The flat form: one object with the ticket's fields, checked field by field.

use plugin_abi::{
    payload::{Faults, PART_ITEMS_MAX, Part, Presence, Scalar, instant},
    prelude::*,
    serde::{Deserialize, de::IgnoredAny},
    serde_json,
    time::OffsetDateTime,
};

use super::{EventWord, Form, priority};

/// The flat form's fields, read in one pass and borrowed from the body; `request` and `id` tell the other forms.
#[derive(Debug, Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
pub(super) struct Flat<'a> {
    request: Option<IgnoredAny>,
    #[serde(borrow)]
    id: Scalar<'a>,
    #[serde(borrow)]
    tenant_id: Scalar<'a>,
    #[serde(borrow)]
    ticket_id: Scalar<'a>,
    #[serde(borrow)]
    event: Scalar<'a>,
    #[serde(borrow)]
    subject: Scalar<'a>,
    #[serde(borrow)]
    description: Scalar<'a>,
    #[serde(borrow)]
    priority: Scalar<'a>,
    #[serde(borrow)]
    created_at: Scalar<'a>,
    #[serde(borrow)]
    resolution: Scalar<'a>,
    #[serde(borrow)]
    resolved_date: Scalar<'a>,
    #[serde(borrow)]
    tags: Part<'a, IgnoredAny>,
}

impl Flat<'_> {
    pub(super) fn form(&self) -> Form {
        Form::of(self.request.is_some(), &self.id, &self.ticket_id)
    }

    /// Needed are `tenant_id`, `ticket_id` and `event` (a body with `resolution` or `resolved_date` may leave the event
    /// out); for a created ticket also `description`, `priority` and `created_at`; for a resolved one `resolution` and
    /// `resolved_date`. What is there must be of its type in any case.
    pub(super) fn metadata(&self) -> Result<TicketMetadata, PluginError> {
        let mut faults = Faults::default();
        let tenant_id = faults.word("tenant_id", &self.tenant_id, Presence::Needed);
        let ticket_id = faults.ticket_id("ticket_id", &self.ticket_id);
        let word = self.event(&mut faults);
        let (when_created, when_resolved) = match word {
            EventWord::Created => (Presence::Needed, Presence::Optional),
            EventWord::Resolved => (Presence::Optional, Presence::Needed),
            EventWord::Updated | EventWord::Other => (Presence::Optional, Presence::Optional),
        };
        let subject = faults.text("subject", &self.subject, Presence::Optional);
        let description = faults.text("description", &self.description, when_created);
        let raw_priority = faults.text("priority", &self.priority, when_created);
        let created_at = faults.time("created_at", &self.created_at, when_created);
        let resolution = faults.text("resolution", &self.resolution, when_resolved);
        let resolved_at = faults.time("resolved_date", &self.resolved_date, when_resolved);
        let tags = self.tags(&mut faults);

        let (event, occurred_at) = match word {
            EventWord::Created => (Event::Created, created_at),
            EventWord::Updated => (Event::Updated, None),
            EventWord::Resolved => {
                (Event::Resolved { resolution: resolution.map(str::to_owned), resolved_at, tags }, resolved_at)
            }
            EventWord::Other => (Event::Other, None),
        };
        let mut metadata = TicketMetadata::new(ticket_id, event);
        metadata.tenant_id = tenant_id.map(str::to_owned);
        metadata.subject = subject.map(str::to_owned);
        metadata.description = description.map(str::to_owned);
        metadata.priority = priority(raw_priority);
        metadata.raw_priority = raw_priority.map(str::to_owned);
        metadata.created_at = created_at;
        metadata.occurred_at = occurred_at;
        faults.unless_any(metadata)
    }

    /// A body without an event is at fault, and the rest of it is read as a created ticket's.
    fn event(&self, faults: &mut Faults) -> EventWord {
        let solved = !self.resolution.is_absent() || !self.resolved_date.is_absent();
        if self.event.is_absent() && solved {
            return EventWord::Resolved;
        }
        faults.word("event", &self.event, Presence::Needed).map_or(EventWord::Created, EventWord::read)
    }

    fn tags(&self, faults: &mut Faults) -> Vec<String> {
        let list = match &self.tags {
            Part::Bare(Scalar::Absent) => return Vec::new(),
            Part::List(list) if list.len() < PART_ITEMS_MAX => list,
            _ => {
                faults.add("tags", "must be a list of at most 100 texts");
                return Vec::new();
            }
        };
        let tags: Vec<_> = list.iter().filter_map(Scalar::text).map(str::to_owned).collect();
        if tags.len() != list.len() {
            faults.add("tags", "must be a list of texts only");
        }
        tags
    }
}

/// See [`super::sent_at`]. Reads no more than it needs; what it cannot read, [`Flat`] cannot read either.
pub(super) fn sent_at(body: &[u8]) -> Option<OffsetDateTime> {
    #[derive(Default, Deserialize)]
    #[serde(crate = "plugin_abi::serde", default)]
    struct Stamp<'a> {
        request: Option<IgnoredAny>,
        #[serde(borrow)]
        id: Scalar<'a>,
        #[serde(borrow)]
        ticket_id: Scalar<'a>,
        #[serde(borrow)]
        event: Scalar<'a>,
        #[serde(borrow)]
        created_at: Scalar<'a>,
    }

    let stamp: Stamp<'_> = serde_json::from_slice(body).ok()?;
    let flat = Form::of(stamp.request.is_some(), &stamp.id, &stamp.ticket_id) == Form::Flat;
    let created = stamp.event.text().map(EventWord::read) == Some(EventWord::Created);
    if flat && created { instant(stamp.created_at.text()?) } else { None }
}
