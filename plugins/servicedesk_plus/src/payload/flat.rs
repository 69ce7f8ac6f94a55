//! The flat form: one object with the ticket's fields, checked field by field.

use plugin_abi::{
    json::from_slice,
    payload::{Faults, PART_ITEMS_MAX, Part, Presence, Scalar, instant},
    prelude::*,
    serde::{Deserialize, de::IgnoredAny},
    time::OffsetDateTime,
};

use super::{EventWord, Form, is_given, priority};

/// Most characters of the description of a ticket that is told of at the address for resolved ones.
const RESOLVED_DESCRIPTION_CHARS_MAX: usize = 10_000;

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

    /// A body that is of two forms must name one ticket.
    pub(super) fn check_ticket(&self, ticket_id: &str, faults: &mut Faults) {
        faults.same_ticket("id", &self.id, ticket_id);
        faults.same_ticket("ticket_id", &self.ticket_id, ticket_id);
    }

    /// Needed are `tenant_id`, `ticket_id` and `event`, unless the address says it or `resolution` or `resolved_date` is
    /// there; for a created ticket also `description`, `priority` and `created_at`; for a resolved one `resolution` and
    /// `resolved_date`. What is there must be of its type in any case.
    pub(super) fn metadata(&self, route: Option<EventWord>) -> Result<TicketMetadata, PluginError> {
        let mut faults = Faults::default();
        let tenant_id = faults.word("tenant_id", &self.tenant_id, Presence::Needed);
        let ticket_id = faults.ticket_id("ticket_id", &self.ticket_id);
        let word = self.event(&mut faults, route);
        let (when_created, when_resolved) = match word {
            EventWord::Created => (Presence::Needed, Presence::Optional),
            EventWord::Resolved => (Presence::Optional, Presence::Needed),
            EventWord::Updated | EventWord::Reopened | EventWord::Other => (Presence::Optional, Presence::Optional),
        };
        let subject = faults.text("subject", &self.subject, Presence::Optional);
        let description = faults.text("description", &self.description, when_created);
        if route == Some(EventWord::Resolved) && description.is_some_and(is_too_long) {
            faults.add("description", &format!("must have at most {RESOLVED_DESCRIPTION_CHARS_MAX} characters"));
        }
        let raw_priority = faults.text("priority", &self.priority, when_created);
        let created_at = faults.time("created_at", &self.created_at, when_created);
        let resolution = faults.text("resolution", &self.resolution, when_resolved);
        let resolved_at = faults.time("resolved_date", &self.resolved_date, when_resolved);
        let tags = self.tags(&mut faults);

        let solution = || Event::Resolved { resolution: resolution.map(str::to_owned), resolved_at, tags };
        let mut metadata = TicketMetadata::new(ticket_id, word.event(solution));
        metadata.tenant_id = tenant_id.map(str::to_owned);
        metadata.subject = subject.map(str::to_owned);
        metadata.description = description.map(str::to_owned);
        metadata.priority = priority(raw_priority);
        metadata.raw_priority = raw_priority.map(str::to_owned);
        metadata.created_at = created_at;
        metadata.occurred_at = match word {
            EventWord::Created => created_at,
            EventWord::Resolved => resolved_at,
            EventWord::Updated | EventWord::Reopened | EventWord::Other => None,
        };
        faults.unless_any(metadata)
    }

    /// A body of which nobody says what happened is at fault, and the rest of it is read as a created ticket's.
    fn event(&self, faults: &mut Faults, route: Option<EventWord>) -> EventWord {
        let is_solved = !self.resolution.is_absent() || !self.resolved_date.is_absent();
        let told = EventWord::told(faults, &self.event, route).or(is_solved.then_some(EventWord::Resolved));
        if told.is_none() && !is_given(&self.event) {
            faults.add("event", "is missing");
        }
        told.unwrap_or(EventWord::Created)
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

fn is_too_long(description: &str) -> bool {
    description.chars().nth(RESOLVED_DESCRIPTION_CHARS_MAX).is_some()
}

/// See [`super::sent_at`]. Reads no more than it needs; what it cannot read, [`Flat`] cannot read either.
pub(super) fn sent_at(body: &[u8], route: Option<EventWord>) -> Result<Option<OffsetDateTime>, PluginError> {
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

    let stamp: Stamp<'_> = from_slice(body)?;
    let is_flat = Form::of(stamp.request.is_some(), &stamp.id, &stamp.ticket_id) == Form::Flat;
    let word = EventWord::told(&mut Faults::default(), &stamp.event, route);
    let is_created = is_flat && word == Some(EventWord::Created);
    Ok(stamp.created_at.text().filter(|_| is_created).and_then(instant))
}
