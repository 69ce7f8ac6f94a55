//! Reads fields one after the other and remembers each that is missing or wrong.

use plugin_abi::{
    prelude::*,
    time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339},
};

use super::json::Scalar;

/// Most characters of a ticket's id.
pub(super) const TICKET_ID_CHARS_MAX: usize = 100;

/// Whether a field may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Needed,
    Optional,
}

/// The faults that were found so far.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<FieldError>);

impl Faults {
    pub(super) fn add(&mut self, field: &str, message: &str) {
        self.0.push(FieldError::new(field, message));
    }

    pub(super) fn text<'s>(&mut self, field: &str, value: &'s Scalar<'_>, presence: Presence) -> Option<&'s str> {
        match (value, presence) {
            (Scalar::Text(text), _) => return Some(text),
            (Scalar::Absent, Presence::Optional) => {}
            (Scalar::Absent, Presence::Needed) => self.add(field, "is missing"),
            _ => self.add(field, "must be a text"),
        }
        None
    }

    /// A text that says something.
    pub(super) fn word<'s>(&mut self, field: &str, value: &'s Scalar<'_>, presence: Presence) -> Option<&'s str> {
        let text = self.text(field, value, presence)?;
        if text.trim().is_empty() {
            self.add(field, "must not be empty");
            return None;
        }
        Some(text)
    }

    /// A time in RFC 3339, as UTC.
    pub(super) fn time(&mut self, field: &str, value: &Scalar<'_>, presence: Presence) -> Option<OffsetDateTime> {
        let text = self.text(field, value, presence)?;
        let time = instant(text);
        if time.is_none() {
            self.add(field, "must be a time in RFC 3339, such as 2026-01-31T12:00:00Z");
        }
        time
    }

    /// A text or a whole number of 1 to [`TICKET_ID_CHARS_MAX`] characters; empty when it is at fault.
    pub(super) fn ticket_id(&mut self, field: &str, value: &Scalar<'_>) -> String {
        let id = match value {
            Scalar::Text(text) => text.clone().into_owned(),
            Scalar::Number(number) => number.to_string(),
            Scalar::Absent => {
                self.add(field, "is missing");
                return String::new();
            }
            _ => {
                self.add(field, "must be a text or a whole number");
                return String::new();
            }
        };
        if id.is_empty() || id.chars().nth(TICKET_ID_CHARS_MAX).is_some() || id.chars().any(char::is_control) {
            self.add(field, "must have 1 to 100 characters, none of them a control character");
            return String::new();
        }
        id
    }

    /// What was read, if all of it was right.
    pub(super) fn unless_any<T>(self, read: T) -> Result<T, PluginError> {
        if self.0.is_empty() { Ok(read) } else { Err(PluginError::Validation(self.0)) }
    }
}

/// A time in RFC 3339, as UTC. Within hours of the calendar's ends that would be a year which RFC 3339 cannot write: `None`.
pub(super) fn instant(text: &str) -> Option<OffsetDateTime> {
    let at = OffsetDateTime::parse(text.trim(), &Rfc3339).ok()?.checked_to_offset(UtcOffset::UTC)?;
    (0..=9999).contains(&at.year()).then_some(at)
}
