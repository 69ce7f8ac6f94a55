//! The fixed envelope of events: <https://developer.zendesk.com/api-reference/webhooks/event-types/ticket-events/>

use plugin_abi::{
    json,
    payload::{Faults, Presence, Scalar},
    prelude::*,
    serde::Deserialize,
    serde_json::{self, value::RawValue},
};

use super::{TAGS_MAX, is, is_closed, is_solved, priority, resolved, ticket_id};
use crate::merged;

/// What every event's type begins with. By it an event is told from a trigger's body, which may have a `type` too.
const TYPE_PREFIX: &str = "zen:event-type:";
/// ... and an event of a ticket.
const TICKET_PREFIX: &str = "ticket.";
/// What stands in the envelope. Where else something stands that a trigger says, it is a trigger's body.
pub(super) const KEYS: [&str; 8] =
    ["account_id", "detail", "event", "id", "subject", "time", "type", "zendesk_event_version"];
/// Statuses of tickets that are being worked on.
const UNSOLVED: [&str; 4] = ["new", "open", "pending", "hold"];

/// The envelope. Its parts are read once it is known that it is one: a trigger's body may call anything so.
#[derive(Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
pub(super) struct Envelope<'a> {
    #[serde(borrow, rename = "type")]
    kind: Scalar<'a>,
    #[serde(borrow)]
    id: Scalar<'a>,
    #[serde(borrow)]
    time: Scalar<'a>,
    #[serde(borrow)]
    detail: Option<&'a RawValue>,
    #[serde(borrow)]
    event: Option<&'a RawValue>,
}

/// The ticket after the event.
#[derive(Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
struct Detail<'a> {
    #[serde(borrow)]
    id: Scalar<'a>,
    #[serde(borrow)]
    subject: Scalar<'a>,
    #[serde(borrow)]
    description: Scalar<'a>,
    #[serde(borrow)]
    status: Scalar<'a>,
    #[serde(borrow)]
    priority: Scalar<'a>,
    #[serde(borrow)]
    created_at: Scalar<'a>,
    #[serde(borrow)]
    tags: Option<&'a RawValue>,
}

/// What changed, where the event is a change.
#[derive(Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
struct Change<'a> {
    #[serde(borrow)]
    current: Scalar<'a>,
    #[serde(borrow)]
    previous: Scalar<'a>,
}

/// What an event means for us.
enum Meaning {
    Created,
    Updated,
    Resolved,
    Reopened,
    Other,
}

impl Envelope<'_> {
    /// What the event is of, such as `ticket.created`; `None` when this is no event.
    pub(super) fn kind(&self) -> Option<&str> {
        self.kind.text()?.strip_prefix(TYPE_PREFIX)
    }

    /// Whether it says what happened as triggers do, in a word.
    pub(super) fn is_of_a_trigger(&self) -> bool {
        self.event.is_some_and(|event| event.get().starts_with('"'))
    }

    /// What the event says. Those that are not of a ticket say nothing to us.
    pub(super) fn metadata(&self, kind: &str) -> Result<TicketMetadata, PluginError> {
        let mut faults = Faults::default();
        // In the signed body, the same for every delivery of an event; the identifying headers are not signed.
        let delivery_id = event_id(&mut faults, &self.id);
        let occurred_at = faults.time("time", &self.time, Presence::Needed);
        let Some(kind) = kind.strip_prefix(TICKET_PREFIX) else {
            let mut metadata = TicketMetadata::other();
            (metadata.delivery_id, metadata.occurred_at) = (delivery_id, occurred_at);
            return faults.unless_any(metadata);
        };
        let detail: Detail<'_> = object(self.detail)?.unwrap_or_else(|| {
            faults.add("detail", "must be an object");
            Detail::default()
        });
        let ticket_id = ticket_id(&mut faults, "detail.id", &detail.id);
        let subject = faults.text("detail.subject", &detail.subject, Presence::Optional);
        let description = faults.text("detail.description", &detail.description, Presence::Optional);
        let raw_priority = faults.text("detail.priority", &detail.priority, Presence::Optional);
        let created_at = faults.time("detail.created_at", &detail.created_at, Presence::Optional);
        let tags = detail.tags(&mut faults);

        let mut metadata = match meaning(kind, &detail, &object(self.event)?.unwrap_or_default()) {
            Meaning::Created => TicketMetadata::new(ticket_id, Event::Created),
            Meaning::Updated => TicketMetadata::new(ticket_id, Event::Updated),
            Meaning::Resolved => {
                resolved(ticket_id, Event::Resolved { resolution: None, resolved_at: occurred_at, tags })
            }
            Meaning::Reopened => TicketMetadata::new(ticket_id, Event::Reopened),
            Meaning::Other => TicketMetadata::new(ticket_id, Event::Other),
        };
        metadata.subject = subject.map(str::to_owned);
        metadata.description = description.map(str::to_owned);
        metadata.priority = priority(raw_priority);
        metadata.raw_priority = raw_priority.map(str::to_owned);
        metadata.created_at = created_at;
        metadata.occurred_at = occurred_at;
        metadata.delivery_id = delivery_id;
        faults.unless_any(metadata)
    }
}

impl Detail<'_> {
    fn tags(&self, faults: &mut Faults) -> Vec<String> {
        let Some(raw) = self.tags else { return Vec::new() };
        let Ok(tags) = serde_json::from_str::<Vec<Scalar<'_>>>(raw.get()) else {
            faults.add("detail.tags", "must be a list of texts");
            return Vec::new();
        };
        tags.iter().filter_map(Scalar::text).take(TAGS_MAX).map(str::to_owned).collect()
    }
}

/// What names the event: a text, by others a number.
fn event_id(faults: &mut Faults, id: &Scalar<'_>) -> Option<String> {
    if let Scalar::Number(number) = id {
        return Some(number.to_string());
    }
    faults.word("id", id, Presence::Needed).map(str::to_owned)
}

/// There is no event of its own for solving, nor for opening again: both are changes of the status.
fn meaning(kind: &str, detail: &Detail<'_>, change: &Change<'_>) -> Meaning {
    match kind {
        "created" => Meaning::Created,
        "status_changed" => status_changed(detail, change),
        "marked_as_spam" | "merged" | "permanently_deleted" | "soft_deleted" | "undeleted" => Meaning::Other,
        _ => Meaning::Updated,
    }
}

/// A solved ticket that is closed days later was told of before, and a closed one is never opened again.
fn status_changed(detail: &Detail<'_>, change: &Change<'_>) -> Meaning {
    let current = if change.current.is_absent() { &detail.status } else { &change.current };
    let current = current.text().unwrap_or_default();
    let previous = change.previous.text().unwrap_or_default();
    let is_merged = is_closed(current) && detail.tags.is_some_and(merged::is_among);
    if is_solved(current) && !is_solved(previous) && !is_merged {
        Meaning::Resolved
    } else if is(previous, "solved") && UNSOLVED.iter().any(|unsolved| is(current, unsolved)) {
        Meaning::Reopened
    } else {
        Meaning::Updated
    }
}

/// A part of the envelope, when it is an object.
fn object<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Result<Option<T>, PluginError> {
    let object = raw.map(RawValue::get).filter(|text| text.starts_with('{'));
    object.map(|text| json::from_slice(text.as_bytes())).transpose()
}
