//! What a webhook's body says: pure, from bytes to metadata, whoever wrote the bytes.
//!
//! Freshservice has no body of its own: an administrator writes a JSON template with placeholders into a workflow, and
//! most say `{"ticket_id": "{{ticket.id_numeric}}"}` and no more. Keys may be named by the setting `fields`.

use plugin_abi::{
    html,
    payload::{Faults, Presence, Scalar, members},
    prelude::*,
    time::OffsetDateTime,
};

use crate::{settings::Settings, ticket, unsolved};

/// The fields' own names, in the order of [`Field`].
pub(crate) const FIELDS: Fields<'static> = [
    "tenant_id",
    "event",
    "ticket_id",
    "status",
    "subject",
    "description",
    "priority",
    "created_at",
    "updated_at",
    "resolved_at",
    "resolution",
    "tags",
    "url",
];

/// The key of each field in a tenant's template.
pub(crate) type Fields<'a> = [&'a str; 13];

#[derive(Clone, Copy)]
enum Field {
    TenantId,
    Event,
    TicketId,
    Status,
    Subject,
    Description,
    Priority,
    CreatedAt,
    UpdatedAt,
    ResolvedAt,
    Resolution,
    Tags,
    Url,
}

/// What the body, one JSON object, says; what it means when it says no event, the route does. Where tickets are read back,
/// that is the tenant, the ticket and the event: nothing else is looked at.
///
/// # Errors
/// `Malformed` when it cannot be read or has a key twice, `Validation` with every field that is missing or wrong.
pub(crate) fn metadata(
    body: &[u8],
    settings: &Settings<'_>,
    route: Option<Event>,
) -> Result<TicketMetadata, PluginError> {
    let keys = &settings.fields;
    let values = members(body, keys).map_err(|fault| PluginError::Malformed(fault.to_string()))?;
    let mut template = Template { keys, values: values.map(said), faults: Faults::default() };
    let ticket_id = template.ticket_id();
    let mut metadata = TicketMetadata::new(ticket_id, template.event(route));
    metadata.tenant_id = template.value(Field::TenantId).text().map(str::to_owned);
    if settings.read_back {
        metadata.read_back = true;
    } else {
        template.fill(&mut metadata);
    }
    template.faults.unless_any(metadata)
}

/// A placeholder without a value leaves an empty text: nothing was said.
fn said(value: Scalar<'_>) -> Scalar<'_> {
    if value.text().is_some_and(|text| text.trim().is_empty()) { Scalar::Absent } else { value }
}

/// What an administrator's word means, with or without what it is an event of.
fn event(word: &str) -> Event {
    let word = word.trim().to_ascii_lowercase();
    match word.strip_prefix("ticket_").unwrap_or(&word) {
        // A workflow's event is called "Ticket is raised".
        "created" | "raised" => Event::Created,
        "updated" => Event::Updated,
        "resolved" | "closed" | "solved" => Event::Resolved { resolution: None, resolved_at: None, tags: Vec::new() },
        "reopened" | "re-opened" => Event::Reopened,
        _ => Event::Other,
    }
}

/// A body's fields, and what was found wrong with them so far.
struct Template<'k, 'a> {
    keys: &'k Fields<'k>,
    values: [Scalar<'a>; FIELDS.len()],
    faults: Faults,
}

impl Template<'_, '_> {
    /// The API takes the bare number. `{{ticket.id}}` renders it after the type of ticket; other letters stand for things
    /// that are no tickets and count from 1 too, such as changes (`CHN-`).
    fn ticket_id(&mut self) -> String {
        let (key, value) = (self.keys[Field::TicketId as usize], &self.values[Field::TicketId as usize]);
        let number = match value {
            Scalar::Number(number) => Some(*number),
            Scalar::Text(text) => {
                let id = text.trim();
                let id = id.strip_prefix('#').unwrap_or(id);
                let digits = match id.split_once('-') {
                    Some((kind, digits)) if ["INC", "SR"].iter().any(|own| own.eq_ignore_ascii_case(kind)) => digits,
                    _ => id,
                };
                // A sign is no part of an id, but of a number.
                digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
            }
            Scalar::Absent => {
                self.faults.add(key, "is missing");
                return String::new();
            }
            _ => None,
        };
        if let Some(number @ 1..) = number {
            return number.to_string();
        }
        self.faults.add(key, "must be the ticket's number, such as 4711 or INC-4711: use {{ticket.id_numeric}}");
        String::new()
    }

    /// What happened: the template's own word, else what its route says, or else its status. One with none of them tells of
    /// created tickets, since that is what such templates are for.
    fn event(&mut self, route: Option<Event>) -> Event {
        let resolved = || Event::Resolved { resolution: None, resolved_at: None, tags: Vec::new() };
        let status = self.value(Field::Status).word().map(|status| status.trim().to_owned()).unwrap_or_default();
        let told = match (self.text(Field::Event), route) {
            (Some(word), _) => event(&word),
            (None, Some(route)) => route,
            (None, None) if ticket::is_resolved(&status) => resolved(),
            (None, None) if unsolved::is_end(&status) => Event::Updated,
            (None, None) => Event::Created,
        };
        match told {
            Event::Resolved { .. } if unsolved::is_end(&status) => Event::Updated,
            told => told,
        }
    }

    /// What is not needed to find the ticket.
    fn fill(&mut self, metadata: &mut TicketMetadata) {
        // Wrong ones were passed over until here.
        self.text(Field::TenantId);
        self.word(Field::Status);
        metadata.subject = self.text(Field::Subject);
        metadata.description = self.text(Field::Description).map(|markup| html::to_text(&markup));
        metadata.raw_priority = self.word(Field::Priority);
        metadata.priority = ticket::priority(metadata.raw_priority.as_deref());
        metadata.created_at = self.time(Field::CreatedAt);
        metadata.url = self.text(Field::Url);
        let updated = self.time(Field::UpdatedAt);
        let solved = self.time(Field::ResolvedAt);
        let solution = self.text(Field::Resolution).map(|markup| html::to_text(&markup));
        let is_merge = solution.as_deref().is_some_and(unsolved::is_merge);
        let words = self.text(Field::Tags);
        metadata.occurred_at = match &mut metadata.event {
            Event::Created => metadata.created_at,
            event @ Event::Resolved { .. } if is_merge => {
                *event = Event::Updated;
                updated
            }
            Event::Resolved { resolution, resolved_at, tags } => {
                *resolution = solution;
                *resolved_at = solved;
                let words = words.iter().flat_map(|words| words.split(',')).map(str::trim);
                tags.extend(words.filter(|word| !word.is_empty()).map(str::to_owned));
                solved.or(updated)
            }
            _ => updated,
        };
    }

    fn value(&self, field: Field) -> &Scalar<'_> {
        &self.values[field as usize]
    }

    fn text(&mut self, field: Field) -> Option<String> {
        let (key, value) = (self.keys[field as usize], &self.values[field as usize]);
        self.faults.text(key, value, Presence::Optional).map(str::to_owned)
    }

    /// A name as placeholders render it, or the number that the API has for it.
    fn word(&mut self, field: Field) -> Option<String> {
        let word = self.value(field).word().map(|word| word.trim().to_owned());
        if word.is_none() && !self.value(field).is_absent() {
            self.faults.add(self.keys[field as usize], "must be a text or a whole number");
        }
        word
    }

    fn time(&mut self, field: Field) -> Option<OffsetDateTime> {
        let (key, value) = (self.keys[field as usize], &self.values[field as usize]);
        self.faults.time(key, value, Presence::Optional)
    }
}
