//! Reads fields one after the other and remembers each that is missing or wrong.

use time::OffsetDateTime;

use super::{Scalar, instant};
use crate::error::{FieldError, PluginError};

/// Most characters of a ticket's id.
pub const TICKET_ID_CHARS_MAX: usize = 100;

/// Whether a text can be a ticket's id: 1 to [`TICKET_ID_CHARS_MAX`] characters of which people see at least one, and none a
/// control character.
pub fn is_ticket_id(text: &str) -> bool {
    // Characters without a width that are no blanks to Unicode: joiners, the word joiner, the byte order mark.
    let is_seen = |c: char| !c.is_whitespace() && !matches!(c, '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}');
    text.chars().any(is_seen) && text.chars().nth(TICKET_ID_CHARS_MAX).is_none() && !text.chars().any(char::is_control)
}

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

    /// A time, as [`instant`] reads it.
    pub fn time(&mut self, field: &str, value: &Scalar<'_>, presence: Presence) -> Option<OffsetDateTime> {
        let text = self.text(field, value, presence)?;
        let time = instant(text);
        if time.is_none() {
            self.add(field, "must be a time such as 2026-01-31T12:00:00Z");
        }
        time
    }

    /// A text or a whole number of 1 to [`TICKET_ID_CHARS_MAX`] characters, without the blanks around it; empty when it is
    /// at fault. What nobody can see is no id.
    pub fn ticket_id(&mut self, field: &str, value: &Scalar<'_>) -> String {
        let id = match value {
            Scalar::Text(text) => text.trim().to_owned(),
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
        if !is_ticket_id(&id) {
            self.add(field, "must have 1 to 100 characters, none of them a control character");
            return String::new();
        }
        id
    }

    /// Another place that may name the ticket, beside the one that `ticket_id` was read from. It is at fault when it names
    /// another ticket: where an administrator's template does not escape its placeholders, whoever writes a ticket's text
    /// can add members to the body, and must not choose by them which ticket is meant. An empty `ticket_id` is at fault already.
    pub fn same_ticket(&mut self, field: &str, value: &Scalar<'_>, ticket_id: &str) {
        let named = value.word();
        let named = named.as_deref().map(str::trim).filter(|named| !named.is_empty());
        if !ticket_id.is_empty() && named.is_some_and(|named| named != ticket_id) {
            self.add(field, "names another ticket than the rest of the body");
        }
    }

    /// What was read, if all of it was right.
    ///
    /// # Errors
    /// `Validation` with every fault.
    pub fn unless_any<T>(self, read: T) -> Result<T, PluginError> {
        if self.0.is_empty() { Ok(read) } else { Err(PluginError::Validation(self.0)) }
    }
}
