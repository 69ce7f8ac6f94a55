//! ManageEngine's own object, the *request*: as its API answers it, and as a custom webhook renders it.

use plugin_abi::{
    html,
    json::from_slice,
    payload::{Faults, Presence, Scalar},
    prelude::*,
    serde::Deserialize,
    serde_json::{self, value::RawValue},
};

use super::{
    EventWord,
    course::{Course, End},
    json::Part,
    priority,
};

/// The fields that are read beside those of its [`Course`]. Only the id must be there: templates differ by administrator,
/// and the ticket is read again through the API before anything is done with it. So what cannot be understood is left out.
#[derive(Debug, Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
struct Fields<'a> {
    #[serde(borrow)]
    subject: Scalar<'a>,
    #[serde(borrow)]
    description: Scalar<'a>,
    #[serde(borrow)]
    priority: Part<'a>,
    #[serde(borrow)]
    requester: Part<'a>,
    #[serde(borrow)]
    resolution: Part<'a>,
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
pub(super) fn nested(body: &[u8], route: Option<EventWord>) -> Result<TicketMetadata, PluginError> {
    let envelope: Envelope<'_> = from_slice(body)?;
    metadata(object(envelope.request)?, "request.id", &envelope, route)
}

/// The request's own object, with `event` and `tenant_id` beside its fields.
pub(super) fn bare(body: &[u8], route: Option<EventWord>) -> Result<TicketMetadata, PluginError> {
    metadata(body, "id", &from_slice(body)?, route)
}

/// The value of a nested body's `request`, which must be an object: serde would take a list for a struct as well.
pub(super) fn object(request: Option<&RawValue>) -> Result<&[u8], PluginError> {
    let object = request.map(RawValue::get).filter(|raw| raw.starts_with('{'));
    object.map(str::as_bytes).ok_or_else(|| PluginError::field("request", "must be an object"))
}

/// A request as the API answered it, in the host's terms. `raw` is kept with it.
///
/// # Errors
/// When `raw` is not such JSON.
pub(crate) fn ticket(ticket_id: &str, raw: &str) -> Result<Ticket, serde_json::Error> {
    let (course, fields): (Course<'_>, Fields<'_>) = (serde_json::from_str(raw)?, serde_json::from_str(raw)?);
    let mut ticket = Ticket::new(ticket_id);
    ticket.subject = fields.subject.text().map(str::to_owned);
    ticket.description = fields.description.text().map(html::to_text);
    ticket.status = course.status.name().map(str::to_owned);
    ticket.priority = priority(fields.priority.name());
    let address = || fields.requester.object().and_then(|person| person.email_id.text());
    ticket.requester = fields.requester.name().or_else(address).map(str::to_owned);
    ticket.created_at = course.created_time.time();
    ticket.updated_at = course.last_updated_time.time();
    if let Some(End::Unsolved(reason)) = course.end() {
        // Neither a time nor a text must look like a solution; the status says how it ended.
        ticket.status = Some(status_with(course.status.name(), reason));
    } else {
        ticket.resolved_at = course.resolved_time.time().filter(|_| !course.is_in_progress());
        ticket.resolution = fields.resolution.content().map(html::to_text);
    }
    raw.clone_into(&mut ticket.raw);
    Ok(ticket)
}

/// `Closed (Duplicate)`, or `Cancelled` where the status itself is the reason.
fn status_with(status: Option<&str>, reason: &str) -> String {
    status.filter(|status| *status != reason).map_or_else(|| reason.to_owned(), |status| format!("{status} ({reason})"))
}

fn metadata(
    request: &[u8],
    id_field: &str,
    envelope: &Envelope<'_>,
    route: Option<EventWord>,
) -> Result<TicketMetadata, PluginError> {
    let (course, fields): (Course<'_>, Fields<'_>) = (from_slice(request)?, from_slice(request)?);
    let mut faults = Faults::default();
    let ticket_id = faults.ticket_id(id_field, &course.id);
    let tenant_id = faults.word("tenant_id", &envelope.tenant_id, Presence::Optional);
    let told = EventWord::told(&mut faults, &envelope.event, route);
    let word = match told.unwrap_or_else(|| course.guess()) {
        EventWord::Resolved if matches!(course.end(), Some(End::Unsolved(_))) => EventWord::Updated,
        word => word,
    };
    let (created_at, updated_at) = (course.created_time.time(), course.last_updated_time.time());
    let resolved_at = course.resolved_time.time();
    let resolution = || fields.resolution.content().map(html::to_text);
    let solution = || Event::Resolved { resolution: resolution(), resolved_at, tags: Vec::new() };
    let mut metadata = TicketMetadata::new(ticket_id, word.event(solution));
    metadata.occurred_at = match word {
        EventWord::Created => created_at,
        EventWord::Resolved => resolved_at.or(updated_at),
        EventWord::Updated | EventWord::Reopened | EventWord::Other => updated_at,
    };
    metadata.tenant_id = tenant_id.map(str::to_owned);
    metadata.subject = fields.subject.text().map(str::to_owned);
    metadata.description = fields.description.text().map(html::to_text);
    metadata.priority = priority(fields.priority.name());
    metadata.raw_priority = fields.priority.name().map(str::to_owned);
    metadata.created_at = created_at;
    // The host adds tenant, event and ticket to it: with those, the time of the change tells events apart.
    metadata.delivery_id = updated_at.map(|at| (at.unix_timestamp_nanos() / 1_000_000).to_string());
    faults.unless_any(metadata)
}
