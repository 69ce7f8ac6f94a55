//! The body of a trigger or an automation: an administrator's own, so settings say where what is.

use plugin_abi::{
    payload::{Faults, Presence, Scalar, paths},
    prelude::*,
    time::OffsetDateTime,
};

use super::{TAGS_MAX, event as envelope, is_closed, priority, resolved, ticket_id};
use crate::{
    merged,
    settings::{Field, FieldMap},
};

/// What the body says. Needed are the ticket's id and the event, which the route says where the body does not; what else is
/// there must be of its type.
pub(super) fn metadata(
    body: &[u8],
    fields: &FieldMap<'_>,
    route: Option<Event>,
) -> Result<TicketMetadata, PluginError> {
    let values = paths(body, fields.paths()).map_err(|fault| PluginError::Malformed(fault.to_string()))?;
    let value = |field: Field| &values[field as usize];
    let name = |field| fields.path(field);
    let mut faults = Faults::default();

    let tenant_id = faults.word(name(Field::TenantId), value(Field::TenantId), Presence::Optional);
    let ticket_id = ticket_id(&mut faults, name(Field::TicketId), value(Field::TicketId));
    let event = match route {
        Some(told) if says_nothing(value(Field::Event)) => told,
        _ => faults.word(name(Field::Event), value(Field::Event), Presence::Needed).map_or(Event::Other, event),
    };
    let mut text = |field| faults.text(name(field), value(field), Presence::Optional).map(str::to_owned);
    let (subject, description) = (text(Field::Subject), text(Field::Description));
    let raw_priority = text(Field::Priority);
    let resolution = text(Field::Resolution).filter(|text| !text.trim().is_empty());
    let tags = text(Field::Tags).unwrap_or_default();
    let created_at = time(&mut faults, name(Field::CreatedAt), value(Field::CreatedAt));
    let updated_at = time(&mut faults, name(Field::UpdatedAt), value(Field::UpdatedAt));

    // The placeholder for tags joins them by blanks.
    let has_merge_tag = tags.split_whitespace().any(|tag| tag == merged::MERGE_TAG);
    let is_closed = value(Field::Event).text().is_some_and(is_closed);
    let is_merged = resolution.as_deref().is_some_and(merged::is_end) || (has_merge_tag && is_closed);
    let mut metadata = match event {
        Event::Resolved { .. } if is_merged => TicketMetadata::new(ticket_id, Event::Updated),
        Event::Resolved { .. } => {
            // Whether a ticket with that tag was merged is for the ticket itself to say.
            let resolution = resolution.filter(|text| !has_merge_tag && !merged::is_addition(text));
            let tags = tags.split_whitespace().take(TAGS_MAX).map(str::to_owned).collect();
            resolved(ticket_id, Event::Resolved { resolution, resolved_at: updated_at, tags })
        }
        event => TicketMetadata::new(ticket_id, event),
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

/// Whether the body says anything as a trigger's does, where no event has it. In a trigger whose placeholders are not
/// escaped, whoever writes a ticket can make the body look like an event of another ticket.
pub(super) fn is_said(body: &[u8], fields: &FieldMap<'_>) -> Result<bool, PluginError> {
    let values = paths(body, fields.paths()).map_err(|fault| PluginError::Malformed(fault.to_string()))?;
    let is_an_events = |path: &str| envelope::KEYS.contains(&path.split_once('.').map_or(path, |(key, _)| key));
    let said = fields.paths().iter().zip(&values).filter(|(path, _)| !is_an_events(path));
    Ok(said.map(|(_, value)| value).any(|value| !value.is_absent()))
}

/// What an administrator's word means. It may be the ticket's status.
fn event(word: &str) -> Event {
    match word.trim().to_ascii_lowercase().as_str() {
        "created" => Event::Created,
        "updated" => Event::Updated,
        "resolved" | "solved" | "closed" => Event::Resolved { resolution: None, resolved_at: None, tags: Vec::new() },
        "reopened" | "re-opened" => Event::Reopened,
        _ => Event::Other,
    }
}

/// A placeholder that has nothing to say leaves an empty text.
fn says_nothing(value: &Scalar<'_>) -> bool {
    value.is_absent() || value.text().is_some_and(|text| text.trim().is_empty())
}

fn time(faults: &mut Faults, field: &str, value: &Scalar<'_>) -> Option<OffsetDateTime> {
    if says_nothing(value) { None } else { faults.time(field, value, Presence::Optional) }
}
