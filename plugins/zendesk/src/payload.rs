//! What a webhook's body says: pure, from bytes to metadata, whoever wrote the bytes.
//!
//! Zendesk sends two forms:
//! * an *event* in a fixed envelope, when the webhook subscribes to events (`event.rs`);
//! * whatever an administrator wrote into a *trigger* or an automation (`trigger.rs`).

mod event;
mod trigger;

use plugin_abi::{
    json,
    payload::{Faults, Scalar},
    prelude::*,
};

use self::event::Envelope;
use crate::settings::FieldMap;

/// Most tags of a ticket that are kept.
const TAGS_MAX: usize = 100;

/// What the body, one JSON object, says. Where a trigger's body says what, the map knows; what it means when it says no
/// event, the route does.
///
/// # Errors
/// `Malformed` when it cannot be read, `Validation` with every field that is missing or wrong.
pub(crate) fn metadata(
    body: &[u8],
    fields: &FieldMap<'_>,
    route: Option<Event>,
) -> Result<TicketMetadata, PluginError> {
    let envelope: Envelope<'_> = json::from_slice(body)?;
    match envelope.kind() {
        Some(_) if envelope.is_of_a_trigger() || trigger::is_said(body, fields)? => Err(PluginError::Malformed(
            "the body is an event's and a trigger's at once: the trigger's text must not hold quotes".to_owned(),
        )),
        Some(kind) => envelope.metadata(kind),
        None => trigger::metadata(body, fields, route),
    }
}

/// Where an agent opens this ticket; `None` without a ticket.
pub(crate) fn agent_url(base_url: &str, ticket_id: &str) -> Option<String> {
    (!ticket_id.is_empty()).then(|| format!("{}/agent/tickets/{ticket_id}", base_url.trim_end_matches('/')))
}

/// Whether this can be a ticket's id: Zendesk numbers its tickets.
pub(crate) fn is_ticket_id(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit())
}

/// <https://developer.zendesk.com/api-reference/ticketing/tickets/tickets/>: urgent, high, normal, low, or none. Events
/// write them in capitals, and triggers in the words of the account's language.
pub(crate) fn priority(word: Option<&str>) -> Priority {
    priority_from(word, &[(Priority::High, &["urgent", "high"]), (Priority::Low, &["low"])])
}

/// Whether a status says that the ticket was solved. Closed is what becomes of solved tickets after some days.
pub(crate) fn is_solved(status: &str) -> bool {
    is(status, "solved") || is_closed(status)
}

/// Whether a status is the last of all: such a ticket is never opened again.
pub(crate) fn is_closed(status: &str) -> bool {
    is(status, "closed")
}

fn is(status: &str, word: &str) -> bool {
    status.trim().eq_ignore_ascii_case(word)
}

/// A resolved event. Without a resolution it asks to be read back: the answer that solved the ticket is in its comments.
fn resolved(ticket_id: String, resolved: Event) -> TicketMetadata {
    let told = matches!(&resolved, Event::Resolved { resolution: Some(_), .. });
    let mut metadata = TicketMetadata::new(ticket_id, resolved);
    metadata.read_back = !told;
    metadata
}

fn ticket_id(faults: &mut Faults, field: &str, value: &Scalar<'_>) -> String {
    let id = faults.ticket_id(field, value);
    if !id.is_empty() && !is_ticket_id(&id) {
        faults.add(field, "must be the ticket's number, in digits only");
    }
    id
}
