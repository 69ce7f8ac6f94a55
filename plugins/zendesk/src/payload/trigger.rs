//! The body of a trigger or an automation: an administrator's own, so settings say where what is.

use plugin_abi::{
    payload::{Faults, Presence, Scalar},
    prelude::*,
    serde::Deserialize as _,
    serde_json::Value,
};

use super::{TAGS_MAX, priority, resolved, ticket_id};
use crate::settings::{Field, FieldMap};

/// What the body says. Needed are the ticket's id and the event; what else is there must be of its type.
pub(super) fn metadata(body: &Value, fields: &FieldMap<'_>) -> Result<TicketMetadata, PluginError> {
    let mut faults = Faults::default();
    let value = |field| scalar(body, fields.path(field));
    let name = |field| fields.path(field);

    let tenant_id = value(Field::TenantId);
    let tenant_id = faults.word(name(Field::TenantId), &tenant_id, Presence::Optional);
    let ticket_id = ticket_id(&mut faults, name(Field::TicketId), &value(Field::TicketId));
    let event = value(Field::Event);
    let event = faults.word(name(Field::Event), &event, Presence::Needed);
    let mut text = |field| {
        let value = value(field);
        faults.text(name(field), &value, Presence::Optional).map(str::to_owned)
    };
    let (subject, description) = (text(Field::Subject), text(Field::Description));
    let raw_priority = text(Field::Priority);
    let resolution = text(Field::Resolution).filter(|text| !text.trim().is_empty());
    let tags = text(Field::Tags).unwrap_or_default();
    let created_at = time(&mut faults, name(Field::CreatedAt), &value(Field::CreatedAt));
    let updated_at = time(&mut faults, name(Field::UpdatedAt), &value(Field::UpdatedAt));

    let mut metadata = match event.map(str::trim).map(str::to_ascii_lowercase).as_deref() {
        Some("created") => TicketMetadata::new(ticket_id, Event::Created),
        Some("updated") => TicketMetadata::new(ticket_id, Event::Updated),
        Some("resolved" | "solved" | "closed") => {
            // The placeholder for tags joins them by blanks.
            let tags = tags.split_whitespace().take(TAGS_MAX).map(str::to_owned).collect();
            resolved(ticket_id, Event::Resolved { resolution, resolved_at: updated_at, tags })
        }
        _ => TicketMetadata::new(ticket_id, Event::Other),
    };
    metadata.occurred_at = if metadata.event == Event::Created { created_at.or(updated_at) } else { updated_at };
    metadata.tenant_id = tenant_id.map(str::to_owned);
    metadata.subject = subject;
    metadata.description = description;
    metadata.priority = priority(raw_priority.as_deref());
    metadata.raw_priority = raw_priority;
    metadata.created_at = created_at;
    faults.unless_any(metadata)
}

/// The value at the end of this path; absent when a key of it is.
fn scalar<'a>(body: &'a Value, path: &str) -> Scalar<'a> {
    let found = path.split('.').try_fold(body, |value, key| value.get(key));
    found.map_or(Scalar::Absent, |value| Scalar::deserialize(value).unwrap_or(Scalar::Other))
}

/// A placeholder that has nothing to say leaves an empty text: no time.
fn time(faults: &mut Faults, field: &str, value: &Scalar<'_>) -> Option<plugin_abi::time::OffsetDateTime> {
    if value.text().is_some_and(|text| text.trim().is_empty()) {
        return None;
    }
    faults.time(field, value, Presence::Optional)
}
