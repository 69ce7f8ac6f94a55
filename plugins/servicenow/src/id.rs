//! Which ticket is meant: the API takes a record's `sys_id` only, people and many scripts say its number.

use plugin_abi::prelude::*;

/// Most characters of a number: the length of that column.
const NUMBER_CHARS_MAX: usize = 40;
/// What an id must be.
pub(crate) const RULE: &str = "must be a sys_id (32 hexadecimal digits) or a number such as INC0010001";

/// A ticket's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Id<'a> {
    /// 32 hexadecimal digits.
    SysId(&'a str),
    /// Letters, digits, `-` and `_`: nothing that an encoded query would read as more than a value.
    Number(&'a str),
}

impl<'a> Id<'a> {
    /// The id in this text, if it is one.
    pub(crate) fn read(text: &'a str) -> Option<Self> {
        if text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Some(Self::SysId(text));
        }
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        ((1..=NUMBER_CHARS_MAX).contains(&text.len()) && text.bytes().all(is_part)).then_some(Self::Number(text))
    }

    /// The id that the host asks about.
    ///
    /// # Errors
    /// `Validation`.
    pub(crate) fn asked(text: &'a str) -> Result<Self, PluginError> {
        Self::read(text).ok_or_else(|| PluginError::field("ticket_id", RULE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_told_apart() {
        let sys_id = "e93520aca5554300964fa3aa92874179";
        let number = "1".repeat(40);
        for (text, expected) in [
            (sys_id, Some(Id::SysId(sys_id))),
            ("INC0010001", Some(Id::Number("INC0010001"))),
            ("CS-7_a", Some(Id::Number("CS-7_a"))),
            (&sys_id[1..], Some(Id::Number(&sys_id[1..]))),
            (&number, Some(Id::Number(&number))),
            (&format!("{number}1"), None),
            ("", None),
            ("INC1^ORnumber=INC2", None),
            ("INC 1", None),
            ("../INC1", None),
            ("é", None),
        ] {
            assert_eq!(Id::read(text), expected, "{text}");
        }
    }
}
