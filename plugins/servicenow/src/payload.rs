//! What a webhook's body says: pure, from bytes to metadata, whoever wrote the bytes.
//!
//! ServiceNow has no body of its own: each is written by a tenant's business rule or flow. Two forms are read:
//! * the *record* form: the record's own columns, bare (`{"event", "sys_id", "number", "short_description", …}`) or under
//!   `record`, `result` or `current`, with values as scripts or as the Table API write them (`record.rs`);
//! * the *rule* form, `{"eventType", "incidentId", "action", …, "data": {"sysId", …}}`, which rules in public use
//!   (`rule.rs`).

mod column;
mod course;
mod event;
mod record;
mod rule;
mod state;

use plugin_abi::{
    json::from_slice,
    payload::{Faults, Part, Scalar},
    prelude::*,
    serde::{Deserialize, de::IgnoredAny},
    serde_json::value::RawValue,
};

use crate::id::{Id, RULE};

use self::{column::Column, course::Before};
pub(crate) use self::{
    event::EventWord,
    record::{number, ticket},
};

/// What the body says. `route` is what the address says that happened, for a body that does not.
///
/// # Errors
/// `Malformed` when it is not JSON or has a key twice, `Validation` with every field that is missing or wrong.
pub(crate) fn metadata(bytes: &[u8], route: Option<EventWord>) -> Result<TicketMetadata, PluginError> {
    let body = Body::read(bytes)?;
    match body.form {
        Form::Record { nested, previous } => record::metadata(&body, nested, previous, route),
        Form::Rule => rule::metadata(&body, route),
    }
}

/// What is taken of a body that is only a hint (`read_back`): the ticket's id and the event. No other field can be at fault,
/// whatever its type; the ticket is read through the API before anything is done.
///
/// # Errors
/// `Malformed` when it is not JSON or has a key twice, `Validation` when the ticket's id or the event is missing or wrong.
pub(crate) fn hint(bytes: &[u8], route: Option<EventWord>) -> Result<TicketMetadata, PluginError> {
    let body = Body::read(bytes)?;
    let mut faults = Faults::default();
    let (ticket_id, word) = match body.form {
        Form::Record { nested, previous } => {
            let gist = record::Gist::read(&body, nested, previous)?;
            (gist.ticket_id(&mut faults), gist.event(&mut faults, &body.event, route))
        }
        Form::Rule => {
            let gist = rule::Gist::read(&body)?;
            (gist.ticket_id(&mut faults), gist.event(&mut faults, route))
        }
    };
    let resolved = || Event::Resolved { resolution: None, resolved_at: None, tags: Vec::new() };
    let mut metadata = TicketMetadata::new(ticket_id, word.event(resolved));
    // It is not needed, but when it names another tenant the host has to know.
    metadata.tenant_id = body.tenant_id.text().filter(|id| !id.trim().is_empty()).map(str::to_owned);
    metadata.read_back = true;
    faults.unless_any(metadata)
}

/// A body, as far as its form does not matter.
struct Body<'a> {
    bytes: &'a [u8],
    form: Form<'a>,
    tenant_id: Scalar<'a>,
    event: Scalar<'a>,
    /// The state before the change.
    before: Before<'a>,
}

/// Which form a body has.
#[derive(Clone, Copy)]
enum Form<'a> {
    Record {
        /// The record as it is now, where it is not the body itself.
        nested: Option<&'a [u8]>,
        /// The record as it was before the change, where a script sends that too.
        previous: Option<&'a [u8]>,
    },
    Rule,
}

impl<'a> Body<'a> {
    /// All in one pass.
    fn read(bytes: &'a [u8]) -> Result<Self, PluginError> {
        #[derive(Default, Deserialize)]
        #[serde(crate = "plugin_abi::serde", default)]
        struct Data<'a> {
            #[serde(borrow, rename = "sysId")]
            sys_id: Scalar<'a>,
        }

        #[derive(Default, Deserialize)]
        #[serde(crate = "plugin_abi::serde", default)]
        struct Parts<'a> {
            #[serde(borrow, alias = "result")]
            record: Option<&'a RawValue>,
            #[serde(borrow)]
            current: Option<&'a RawValue>,
            #[serde(borrow)]
            previous: Option<&'a RawValue>,
            #[serde(rename = "incidentId")]
            incident_id: Option<IgnoredAny>,
            #[serde(borrow)]
            data: Part<'a, Data<'a>>,
            #[serde(borrow)]
            sys_id: Column<'a>,
            #[serde(borrow)]
            number: Column<'a>,
            #[serde(borrow)]
            tenant_id: Scalar<'a>,
            #[serde(borrow)]
            event: Scalar<'a>,
            #[serde(borrow)]
            previous_state: Column<'a>,
            #[serde(borrow, rename = "previousState")]
            previous_state_of_rules: Column<'a>,
            #[serde(borrow)]
            old_state: Column<'a>,
            #[serde(borrow, rename = "oldState")]
            old_state_of_rules: Column<'a>,
        }

        // serde would take a list for a struct as well.
        let object = |raw: &'a RawValue| raw.get().starts_with('{').then(|| raw.get().as_bytes());
        let parts: Parts<'a> = from_slice(bytes)?;
        let nested = match parts.record {
            Some(record) => Some(object(record).ok_or_else(|| PluginError::field("record", "must be an object"))?),
            None => parts.current.and_then(object),
        };
        let has_data = !matches!(parts.data, Part::Bare(Scalar::Absent));
        let is_rule = nested.is_none() && (parts.incident_id.is_some() || has_data);
        let bare = Named { sys_id: parts.sys_id, number: parts.number };
        let mut faults = Faults::default();
        if is_rule {
            bare.must_be_absent(&mut faults);
        }
        if let Some(nested) = nested {
            if parts.record.is_some() && parts.current.and_then(object).is_some() {
                faults.add("current", "stands beside another record: only one of them can be meant");
            }
            if parts.incident_id.is_some() || parts.data.object().is_some_and(|data| is_given(&data.sys_id)) {
                faults.add("incidentId", "and data.sysId are of a rule's form, and there is a record too");
            }
            bare.must_be_of(&from_slice(nested)?, &mut faults);
        }
        faults.unless_any(())?;
        let form =
            if is_rule { Form::Rule } else { Form::Record { nested, previous: parts.previous.and_then(object) } };
        let before = Before {
            previous_state: parts.previous_state,
            previous_state_of_rules: parts.previous_state_of_rules,
            old_state: parts.old_state,
            old_state_of_rules: parts.old_state_of_rules,
        };
        Ok(Self { bytes, form, tenant_id: parts.tenant_id, event: parts.event, before })
    }
}

/// How a record is named where it is the whole body. A body that is of two forms must name one ticket: where a script pastes
/// texts into JSON, whoever writes a ticket's text can make the one form look like the other.
#[derive(Debug, Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
struct Named<'a> {
    #[serde(borrow)]
    sys_id: Column<'a>,
    #[serde(borrow)]
    number: Column<'a>,
}

impl Named<'_> {
    fn must_be_absent(&self, faults: &mut Faults) {
        for (field, column) in [("sys_id", &self.sys_id), ("number", &self.number)] {
            if is_given(column.stored()) {
                faults.add(field, "is a record's, and the rest of the body a rule's");
            }
        }
    }

    fn must_be_of(&self, record: &Self, faults: &mut Faults) {
        if is_given(self.sys_id.stored()) {
            match record.sys_id.value() {
                Some(sys_id) => faults.same_ticket("sys_id", self.sys_id.stored(), &sys_id),
                None => faults.add("sys_id", "stands beside a record without one: name the record in one place"),
            }
        } else if is_given(self.number.stored()) {
            faults.add("number", "stands beside a record without its sys_id: name the record in one place");
        }
    }
}

/// The values `1` (critical) to `5` (planning), their labels, and the words that rules make of them.
fn priority(word: Option<&str>) -> Priority {
    const HIGH: &[&str] = &["1", "1 - critical", "critical", "2", "2 - high", "high"];
    const LOW: &[&str] = &["4", "4 - low", "low", "5", "5 - planning", "planning", "minimal"];
    priority_from(word, &[(Priority::High, HIGH), (Priority::Low, LOW)])
}

/// Whether there is anything but blanks.
fn is_given(value: &Scalar<'_>) -> bool {
    !value.is_absent() && value.text().is_none_or(|text| !text.trim().is_empty())
}

/// The ticket's id: the `sys_id` where there is one, since the API takes no other, else the number. Empty when at fault.
fn ticket_id(
    faults: &mut Faults,
    (sys_id_field, sys_id): (&str, &Scalar<'_>),
    (number_field, number): (&str, &Scalar<'_>),
) -> String {
    let (field, value) = match (is_given(sys_id), is_given(number)) {
        (true, _) => (sys_id_field, sys_id),
        (false, true) => (number_field, number),
        (false, false) => {
            faults.add(sys_id_field, &format!("is missing, and so is {number_field}: one of them is needed"));
            return String::new();
        }
    };
    let id = faults.ticket_id(field, value);
    if !id.is_empty() && Id::read(&id).is_none() {
        faults.add(field, RULE);
    }
    id
}
