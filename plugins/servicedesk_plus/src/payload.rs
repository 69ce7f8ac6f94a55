//! What a webhook's body says: pure, from bytes to metadata, whoever wrote the bytes.
//!
//! ServiceDesk Plus has no body of its own. Three forms are read:
//! * the *flat* form, `{"tenant_id", "ticket_id", "event", …}`, which is checked field by field (`flat.rs`);
//! * the *nested* form, `{"request": {…}}`, a custom webhook that renders the request as the API does (`request.rs`);
//! * the *bare* form, that request without the wrapper: it has an `id` and no `ticket_id`.

mod flat;
mod json;
mod request;

use plugin_abi::{payload::Scalar, prelude::*, serde::Deserialize, serde_json, time::OffsetDateTime};

use self::flat::Flat;
pub(crate) use self::request::ticket;

/// What the body says.
///
/// # Errors
/// `Malformed` when it is not a JSON object or has a key twice, `Validation` with every field that is missing or wrong.
pub(crate) fn metadata(body: &[u8]) -> Result<TicketMetadata, PluginError> {
    // An array would do as a struct for serde, and its items as the fields.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(PluginError::Malformed("not a JSON object".to_owned()));
    }
    let flat: Flat<'_> = read(body)?;
    match flat.form() {
        Form::Flat => flat.metadata(),
        Form::Nested => request::nested(body),
        Form::Bare => request::bare(body),
    }
}

/// When a created event of the flat form says that it was sent. `None` for all other bodies, also for those that
/// [`metadata`] will refuse.
pub(crate) fn sent_at(body: &[u8]) -> Option<OffsetDateTime> {
    flat::sent_at(body)
}

/// Which form a body has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Flat,
    Nested,
    Bare,
}

impl Form {
    fn of(has_request: bool, id: &Scalar<'_>, ticket_id: &Scalar<'_>) -> Self {
        match (has_request, id.is_absent(), ticket_id.is_absent()) {
            (true, _, _) => Self::Nested,
            (false, false, true) => Self::Bare,
            (false, _, _) => Self::Flat,
        }
    }
}

/// What an `event` says, whatever its case and with or without what it is an event of: `ticket_created`, `created`.
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
        let verb = word.strip_prefix("ticket_").or_else(|| word.strip_prefix("request_")).unwrap_or(&word);
        match verb {
            "created" => Self::Created,
            "updated" => Self::Updated,
            "resolved" | "closed" => Self::Resolved,
            _ => Self::Other,
        }
    }
}

/// Names of priorities differ by site: these are the usual ones.
fn priority(word: Option<&str>) -> Priority {
    priority_from(word, &[(Priority::High, &["high", "urgent"]), (Priority::Low, &["low"])])
}

fn read<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, PluginError> {
    serde_json::from_slice(body).map_err(|fault| PluginError::Malformed(fault.to_string()))
}
