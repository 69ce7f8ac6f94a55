//! What is taken of a webhook that is only a hint (`read_back`): the ticket's id and the event. No other field can be at
//! fault, whatever its type, but one that names another ticket; the ticket is read through the API before anything is done.

use plugin_abi::{
    json::from_slice,
    payload::{Faults, Scalar},
    prelude::*,
    serde::Deserialize,
    serde_json::value::RawValue,
};

use super::{EventWord, Form, course::Course, is_given, request};

#[derive(Debug, Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
struct Hint<'a> {
    #[serde(borrow)]
    request: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Scalar<'a>,
    #[serde(borrow)]
    ticket_id: Scalar<'a>,
    #[serde(borrow)]
    tenant_id: Scalar<'a>,
    #[serde(borrow)]
    event: Scalar<'a>,
    #[serde(borrow)]
    resolution: Scalar<'a>,
    #[serde(borrow)]
    resolved_date: Scalar<'a>,
}

/// The hint in a body of any form. `route` is what the address says that happened.
///
/// # Errors
/// `Malformed` when it is not JSON or has a key twice, `Validation` when the ticket's id or the event is missing or wrong.
pub(crate) fn hint(body: &[u8], route: Option<EventWord>) -> Result<TicketMetadata, PluginError> {
    let hint: Hint<'_> = from_slice(body)?;
    let mut faults = Faults::default();
    let told = EventWord::told(&mut faults, &hint.event, route);
    let (ticket_id, guess) = match Form::of(hint.request.is_some(), &hint.id, &hint.ticket_id) {
        Form::Flat => (faults.ticket_id("ticket_id", &hint.ticket_id), hint.guess()),
        Form::Nested => of_request(&mut faults, "request.id", request::object(hint.request)?)?,
        Form::Bare => of_request(&mut faults, "id", body)?,
    };
    faults.same_ticket("id", &hint.id, &ticket_id);
    faults.same_ticket("ticket_id", &hint.ticket_id, &ticket_id);
    let word = told.or(guess);
    if word.is_none() && !is_given(&hint.event) {
        faults.add("event", "is missing");
    }
    let event = word.unwrap_or(EventWord::Other).event(|| Event::Resolved {
        resolution: None,
        resolved_at: None,
        tags: Vec::new(),
    });
    let mut metadata = TicketMetadata::new(ticket_id, event);
    metadata.tenant_id = hint.tenant_id.text().filter(|id| !id.trim().is_empty()).map(str::to_owned);
    metadata.read_back = true;
    faults.unless_any(metadata)
}

fn of_request(faults: &mut Faults, id_field: &str, request: &[u8]) -> Result<(String, Option<EventWord>), PluginError> {
    let course: Course<'_> = from_slice(request)?;
    Ok((faults.ticket_id(id_field, &course.id), Some(course.guess())))
}

impl Hint<'_> {
    /// The flat form says no status; only a solved ticket has how and when.
    fn guess(&self) -> Option<EventWord> {
        let is_solved = !self.resolution.is_absent() || !self.resolved_date.is_absent();
        is_solved.then_some(EventWord::Resolved)
    }
}
