//! Reads fields one after the other and remembers each that is missing or wrong.

use time::{
    OffsetDateTime, PrimitiveDateTime, UtcOffset, format_description::well_known::Rfc3339, macros::format_description,
};

use super::Scalar;
use crate::error::{FieldError, PluginError};

/// Most characters of a ticket's id.
pub const TICKET_ID_CHARS_MAX: usize = 100;

/// Whether a field may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Presence {
    /// It must be there.
    Needed,
    /// It may be missing.
    Optional,
}

/// The faults that were found so far.
#[derive(Debug, Default)]
pub struct Faults(Vec<FieldError>);

impl Faults {
    /// One more.
    pub fn add(&mut self, field: &str, message: &str) {
        self.0.push(FieldError::new(field, message));
    }

    /// A text.
    pub fn text<'s>(&mut self, field: &str, value: &'s Scalar<'_>, presence: Presence) -> Option<&'s str> {
        match (value, presence) {
            (Scalar::Text(text), _) => return Some(text),
            (Scalar::Absent, Presence::Optional) => {}
            (Scalar::Absent, Presence::Needed) => self.add(field, "is missing"),
            _ => self.add(field, "must be a text"),
        }
        None
    }

    /// A text that says something.
    pub fn word<'s>(&mut self, field: &str, value: &'s Scalar<'_>, presence: Presence) -> Option<&'s str> {
        let text = self.text(field, value, presence)?;
        if text.trim().is_empty() {
            self.add(field, "must not be empty");
            return None;
        }
        Some(text)
    }

    /// A time in RFC 3339, as UTC.
    pub fn time(&mut self, field: &str, value: &Scalar<'_>, presence: Presence) -> Option<OffsetDateTime> {
        let text = self.text(field, value, presence)?;
        let time = instant(text);
        if time.is_none() {
            self.add(field, "must be a time in RFC 3339, such as 2026-01-31T12:00:00Z");
        }
        time
    }

    /// A text or a whole number of 1 to [`TICKET_ID_CHARS_MAX`] characters; empty when it is at fault.
    pub fn ticket_id(&mut self, field: &str, value: &Scalar<'_>) -> String {
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
    ///
    /// # Errors
    /// `Validation` with every fault.
    pub fn unless_any<T>(self, read: T) -> Result<T, PluginError> {
        if self.0.is_empty() { Ok(read) } else { Err(PluginError::Validation(self.0)) }
    }
}

/// A time in RFC 3339, as UTC; also `2013-12-12T05:35Z`, as tools write that show no seconds. Within hours of the
/// calendar's ends that would be a year which RFC 3339 cannot write: `None`.
pub fn instant(text: &str) -> Option<OffsetDateTime> {
    let text = text.trim();
    let to_the_minute = format_description!("[year]-[month]-[day]T[hour]:[minute]Z");
    let at = OffsetDateTime::parse(text, &Rfc3339)
        .or_else(|_| PrimitiveDateTime::parse(text, to_the_minute).map(PrimitiveDateTime::assume_utc))
        .ok()?
        .checked_to_offset(UtcOffset::UTC)?;
    (0..=9999).contains(&at.year()).then_some(at)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn times_in_every_form() {
        for (text, expected) in [
            ("2026-03-02T09:15:00.250+01:00", Some(datetime!(2026-03-02 08:15:00.25 UTC))),
            (" 2025-01-08T10:12:07.672717030Z ", Some(datetime!(2025-01-08 10:12:07.672_717_030 UTC))),
            ("2013-12-12T05:35Z", Some(datetime!(2013-12-12 05:35 UTC))),
            ("2013-12-12T05:35", None),
            ("2013-12-12T25:35Z", None),
            ("2013-12-12", None),
            ("9999-12-31T23:59:59-23:00", None),
            ("", None),
        ] {
            assert_eq!(instant(text), expected, "{text}");
        }
    }
}
