//! A posted note: its permitted fields and their types.

use hyper::header::CONTENT_TYPE;
use serde_json::Value;

use super::{Invalid, Refusal};
use crate::call::Call;

/// A note that can be added.
pub(super) struct NewNote {
    pub(super) body: String,
    pub(super) private: bool,
}

impl NewNote {
    /// Reads the body of a request, and reports all of its errors at once.
    pub(super) fn read(call: &Call) -> Result<Self, Refusal> {
        let media_type = call.header(CONTENT_TYPE.as_str()).and_then(|value| value.split(';').next());
        if !media_type.is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("application/json")) {
            return Err(Refusal::ContentType);
        }
        if let Some((name, _)) = call.parameters().first() {
            return Err(Refusal::invalid(Invalid::unknown(name)));
        }
        let Ok(Value::Object(fields)) = serde_json::from_slice(&call.body) else { return Err(Refusal::Json) };
        let mut faults: Vec<Invalid> = fields.iter().filter_map(|(name, value)| fault(name, value)).collect();
        if !fields.contains_key("body") {
            faults.push(Invalid::new("body", "It should be a/an String", "missing_field"));
        }
        if !faults.is_empty() {
            return Err(Refusal::Invalid(faults));
        }
        let body = fields.get("body").and_then(Value::as_str).unwrap_or_default().to_owned();
        // The documented default; a note that must not be seen says so.
        let private = fields.get("private").and_then(Value::as_bool).unwrap_or(true);
        Ok(Self { body, private })
    }
}

fn fault(name: &str, value: &Value) -> Option<Invalid> {
    let (fits, due) = match name {
        "body" => (value.is_string(), "String"),
        "private" | "incoming" => (value.is_boolean(), "Boolean"),
        "notify_emails" => (value.is_array(), "Array"),
        "user_id" => (value.is_u64(), "Positive Integer"),
        _ => return Some(Invalid::unknown(name)),
    };
    if !fits {
        return Some(Invalid::new(name, &format!("It should be a/an {due}"), "datatype_mismatch"));
    }
    let blank = name == "body" && value.as_str().is_some_and(|text| text.trim().is_empty());
    blank.then(|| Invalid::value(name, "It should not be blank as this is a mandatory field"))
}
