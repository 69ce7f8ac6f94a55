//! The form of business rules in public use: a few fields about the event, and the record's under `data`.

use plugin_abi::{
    payload::{Faults, Part, Presence, Scalar},
    prelude::*,
    serde::Deserialize,
    time::OffsetDateTime,
};

use super::{EventWord, priority, read, ticket_id};
use crate::clock;

#[derive(Debug, Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default, rename_all = "camelCase")]
struct Rule<'a> {
    #[serde(borrow, rename = "tenant_id")]
    tenant_id: Scalar<'a>,
    /// The number, whatever its name says.
    #[serde(borrow)]
    incident_id: Scalar<'a>,
    #[serde(borrow)]
    action: Scalar<'a>,
    #[serde(borrow)]
    priority: Scalar<'a>,
    #[serde(borrow)]
    title: Scalar<'a>,
    #[serde(borrow)]
    description: Scalar<'a>,
    /// When it was sent, which is when it happened.
    #[serde(borrow)]
    timestamp: Scalar<'a>,
    #[serde(borrow)]
    data: Part<'a, Data<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default, rename_all = "camelCase")]
struct Data<'a> {
    #[serde(borrow)]
    sys_id: Scalar<'a>,
    #[serde(borrow)]
    incident_url: Scalar<'a>,
    #[serde(borrow)]
    close_code: Scalar<'a>,
    #[serde(borrow)]
    close_notes: Scalar<'a>,
}

/// Needed are `action`, and `data.sysId` or `incidentId`. What else is there must be of its type.
pub(super) fn metadata(body: &[u8]) -> Result<TicketMetadata, PluginError> {
    let rule: Rule<'_> = read(body)?;
    let mut faults = Faults::default();
    let none = Data::default();
    let data = rule.data.object().unwrap_or(&none);
    if !matches!(rule.data, Part::Object(_) | Part::Bare(Scalar::Absent)) {
        faults.add("data", "must be an object");
    }
    let id = ticket_id(&mut faults, ("data.sysId", &data.sys_id), ("incidentId", &rule.incident_id));
    let tenant_id = faults.word("tenant_id", &rule.tenant_id, Presence::Optional);
    let word = faults.word("action", &rule.action, Presence::Needed);
    let raw_priority = faults.text("priority", &rule.priority, Presence::Optional);
    let subject = faults.text("title", &rule.title, Presence::Optional);
    let description = faults.text("description", &rule.description, Presence::Optional);
    let url = faults.text("data.incidentUrl", &data.incident_url, Presence::Optional);
    let close_code = faults.text("data.closeCode", &data.close_code, Presence::Optional);
    let close_notes = faults.text("data.closeNotes", &data.close_notes, Presence::Optional);
    let at = time(&mut faults, &rule.timestamp);

    let event = match word.map_or(EventWord::Other, EventWord::read) {
        EventWord::Created => Event::Created,
        EventWord::Updated => Event::Updated,
        EventWord::Resolved => {
            let said = |text: Option<&str>| text.filter(|text| !text.trim().is_empty()).map(str::to_owned);
            let resolution = said(close_notes).or_else(|| said(close_code));
            Event::Resolved { resolution, resolved_at: at, tags: Vec::new() }
        }
        EventWord::Other => Event::Other,
    };
    let mut metadata = TicketMetadata::new(id, event);
    metadata.created_at = at.filter(|_| metadata.event == Event::Created);
    metadata.tenant_id = tenant_id.map(str::to_owned);
    metadata.subject = subject.map(str::to_owned);
    metadata.description = description.map(str::to_owned);
    metadata.priority = priority(raw_priority);
    metadata.raw_priority = raw_priority.map(str::to_owned);
    metadata.occurred_at = at;
    // A rule that sends once more has a new time: such a delivery is another one.
    metadata.delivery_id = at.map(|at| (at.unix_timestamp_nanos() / 1_000_000).to_string());
    metadata.url = url.filter(|url| !url.is_empty()).map(str::to_owned);
    faults.unless_any(metadata)
}

fn time(faults: &mut Faults, value: &Scalar<'_>) -> Option<OffsetDateTime> {
    let text = faults.text("timestamp", value, Presence::Optional)?;
    let time = clock::instant(text);
    if time.is_none() {
        faults.add("timestamp", "must be a time in RFC 3339, or in UTC such as 2026-01-31 12:00:00");
    }
    time
}
