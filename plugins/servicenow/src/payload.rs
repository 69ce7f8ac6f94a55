//! What a webhook's body says: pure, from bytes to metadata, whoever wrote the bytes.
//!
//! ServiceNow has no body of its own: each is written by a tenant's business rule or flow. Two forms are read:
//! * the *record* form: the record's own columns, bare (`{"event", "sys_id", "number", "short_description", …}`) or under
//!   `record` or `result`, with values as scripts or as the Table API write them (`record.rs`);
//! * the *rule* form, `{"eventType", "incidentId", "action", …, "data": {"sysId", …}}`, which rules in public use
//!   (`rule.rs`).

mod column;
mod record;
mod rule;

use plugin_abi::{
    payload::{Faults, Scalar},
    prelude::*,
    serde::{Deserialize, de::IgnoredAny},
    serde_json::{self, value::RawValue},
};

use crate::id::{Id, RULE};

pub(crate) use self::record::{number, ticket};

/// What the body says.
///
/// # Errors
/// `Malformed` when it is not a JSON object or has a key twice, `Validation` with every field that is missing or wrong.
pub(crate) fn metadata(body: &[u8]) -> Result<TicketMetadata, PluginError> {
    /// What tells the forms apart.
    #[derive(Deserialize)]
    #[serde(crate = "plugin_abi::serde")]
    struct Form<'a> {
        #[serde(borrow, alias = "result")]
        record: Option<&'a RawValue>,
        #[serde(rename = "incidentId")]
        incident_id: Option<IgnoredAny>,
        data: Option<IgnoredAny>,
    }

    // An array would do as a struct for serde, and its items as the fields.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(PluginError::Malformed("not a JSON object".to_owned()));
    }
    let form: Form<'_> = read(body)?;
    match form.record {
        Some(record) if record.get().starts_with('{') => record::metadata(record.get().as_bytes(), body),
        Some(_) => Err(PluginError::field("record", "must be an object")),
        None if form.incident_id.is_some() || form.data.is_some() => rule::metadata(body),
        None => record::metadata(body, body),
    }
}

/// What a script says that happened, whatever its case and with or without what it happened to: `created`,
/// `incident_created`, `insert` (`current.operation()`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EventWord {
    Created,
    Updated,
    Resolved,
    Other,
}

impl EventWord {
    fn read(word: &str) -> Self {
        let word = word.trim().to_ascii_lowercase();
        let verb = word.rsplit(['_', '.']).next().unwrap_or(&word);
        match verb {
            "created" | "create" | "inserted" | "insert" => Self::Created,
            "updated" | "update" => Self::Updated,
            "resolved" | "resolve" | "closed" | "close" => Self::Resolved,
            _ => Self::Other,
        }
    }
}

/// The values `1` (critical) to `5` (planning), their labels, and the words that rules make of them.
fn priority(word: Option<&str>) -> Priority {
    const HIGH: &[&str] = &["1", "1 - critical", "critical", "2", "2 - high", "high"];
    const LOW: &[&str] = &["4", "4 - low", "low", "5", "5 - planning", "planning", "minimal"];
    priority_from(word, &[(Priority::High, HIGH), (Priority::Low, LOW)])
}

/// Whether a ticket of this state, by value or label, is solved. A canceled one (8) is not.
fn is_solved(state: &str) -> bool {
    let state = state.trim();
    ["6", "7", "resolved", "closed"].iter().any(|solved| solved.eq_ignore_ascii_case(state))
}

/// The ticket's id: the `sys_id` where there is one, since the API takes no other, else the number. Empty when at fault.
fn ticket_id(
    faults: &mut Faults,
    (sys_id_field, sys_id): (&str, &Scalar<'_>),
    (number_field, number): (&str, &Scalar<'_>),
) -> String {
    let is_given = |value: &Scalar<'_>| !value.is_absent() && value.text() != Some("");
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

fn read<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, PluginError> {
    serde_json::from_slice(body).map_err(|fault| PluginError::Malformed(fault.to_string()))
}
