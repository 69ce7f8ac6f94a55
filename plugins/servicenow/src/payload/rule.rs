//! The form of business rules in public use: a few fields about the event, and the record's under `data`.

use plugin_abi::{
    json::from_slice,
    payload::{Faults, Presence, Scalar},
    prelude::*,
    serde::Deserialize,
    serde_json::value::RawValue,
};

use super::{
    Body,
    column::Column,
    course::{Before, Course},
    event::EventWord,
    is_given, priority, ticket_id,
};

/// What else is read than the [`Gist`]; what is there must be of its type.
#[derive(Debug, Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
struct Rule<'a> {
    #[serde(borrow)]
    priority: Scalar<'a>,
    #[serde(borrow)]
    title: Scalar<'a>,
    #[serde(borrow)]
    description: Scalar<'a>,
    /// When it was sent, which is when it happened.
    #[serde(borrow)]
    timestamp: Scalar<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default, rename_all = "camelCase")]
struct Data<'a> {
    #[serde(borrow)]
    incident_url: Scalar<'a>,
    #[serde(borrow)]
    close_code: Scalar<'a>,
    #[serde(borrow)]
    close_notes: Scalar<'a>,
}

/// Which record is meant and what happened to it: all that counts of a hint.
#[derive(Debug)]
pub(super) struct Gist<'a> {
    /// An empty object where there is none.
    data: &'a [u8],
    is_data_at_fault: bool,
    action: Scalar<'a>,
    /// What the rule says of the record; no times.
    course: Course<'a>,
    was_solved: Option<bool>,
}

impl<'a> Gist<'a> {
    pub(super) fn read(body: &Body<'a>) -> Result<Self, PluginError> {
        #[derive(Default, Deserialize)]
        #[serde(crate = "plugin_abi::serde", default, rename_all = "camelCase")]
        struct Parts<'a> {
            /// The number, whatever its name says.
            #[serde(borrow)]
            incident_id: Column<'a>,
            #[serde(borrow)]
            action: Scalar<'a>,
            #[serde(borrow)]
            state: Column<'a>,
            #[serde(borrow)]
            data: Option<&'a RawValue>,
        }

        #[derive(Default, Deserialize)]
        #[serde(crate = "plugin_abi::serde", default, rename_all = "camelCase")]
        struct Facts<'a> {
            #[serde(borrow)]
            sys_id: Column<'a>,
            #[serde(borrow)]
            state: Column<'a>,
            #[serde(borrow)]
            close_code: Column<'a>,
        }

        let parts: Parts<'a> = from_slice(body.bytes)?;
        let object = parts.data.map(RawValue::get).filter(|raw| raw.starts_with('{'));
        let data = object.unwrap_or("{}").as_bytes();
        let Facts { sys_id, state, close_code } = from_slice(data)?;
        let state = if state.words().is_some() { state } else { parts.state };
        let inside: Before<'_> = from_slice(data)?;
        Ok(Self {
            data,
            is_data_at_fault: parts.data.is_some() && object.is_none(),
            action: parts.action,
            course: Course { sys_id, number: parts.incident_id, state, close_code, ..Course::default() },
            was_solved: inside.was_solved().or_else(|| body.before.was_solved()),
        })
    }

    pub(super) fn ticket_id(&self, faults: &mut Faults) -> String {
        let (sys_id, number) = (self.course.sys_id.stored(), self.course.number.stored());
        ticket_id(faults, ("data.sysId", sys_id), ("incidentId", number))
    }

    /// It must be said: the record's times, from which it could be guessed, are not there.
    pub(super) fn event(&self, faults: &mut Faults, route: Option<EventWord>) -> EventWord {
        let change = self.was_solved.map(|was| EventWord::of_change(Some(was), self.course.is_solved()));
        let told = EventWord::told(faults, ("action", &self.action), change, route);
        if told.is_none() && !is_given(&self.action) {
            faults.add("action", "is missing");
        }
        told.unwrap_or(EventWord::Other)
    }
}

/// Needed are `data.sysId` or `incidentId`, and `action` unless the address or a change of the state says what happened.
pub(super) fn metadata(body: &Body<'_>, route: Option<EventWord>) -> Result<TicketMetadata, PluginError> {
    let (gist, rule) = (Gist::read(body)?, from_slice::<Rule<'_>>(body.bytes)?);
    let data: Data<'_> = from_slice(gist.data)?;
    let mut faults = Faults::default();
    if gist.is_data_at_fault {
        faults.add("data", "must be an object");
    }
    let id = gist.ticket_id(&mut faults);
    let tenant_id = faults.word("tenant_id", &body.tenant_id, Presence::Optional);
    let word = match gist.event(&mut faults, route) {
        EventWord::Resolved if gist.course.solves_nothing() => EventWord::Updated,
        word => word,
    };
    let raw_priority = faults.text("priority", &rule.priority, Presence::Optional);
    let subject = faults.text("title", &rule.title, Presence::Optional);
    let description = faults.text("description", &rule.description, Presence::Optional);
    let url = faults.text("data.incidentUrl", &data.incident_url, Presence::Optional);
    let close_code = faults.text("data.closeCode", &data.close_code, Presence::Optional);
    let close_notes = faults.text("data.closeNotes", &data.close_notes, Presence::Optional);
    let at = faults.time("timestamp", &rule.timestamp, Presence::Optional);

    let said = |text: Option<&str>| text.filter(|text| !text.trim().is_empty()).map(str::to_owned);
    let resolution = || said(close_notes).or_else(|| said(close_code));
    let solution = || Event::Resolved { resolution: resolution(), resolved_at: at, tags: Vec::new() };
    let mut metadata = TicketMetadata::new(id, word.event(solution));
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
