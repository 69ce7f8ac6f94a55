//! JSON as people's templates write it: any type where one is expected, so that a wrong one is a field's fault and not the
//! body's. Nothing here recurses: what is nested deeper than it is needed is skipped.

mod faults;
mod instant;
mod items;
mod members;
mod part;
mod paths;
mod words;

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use time::OffsetDateTime;

pub use self::{
    faults::{Faults, Presence, TICKET_ID_CHARS_MAX, is_ticket_id},
    instant::instant,
    items::Items,
    members::members,
    part::{PART_ITEMS_MAX, Part},
    paths::paths,
    words::says_one_of,
};

/// Up to here every whole number has a float of its own: 2^53 - 1.
const WHOLE_FLOAT_MAX: f64 = 9_007_199_254_740_991.0;

/// A value that has no parts. Read it by [`Json`](crate::json::Json), which mends what serde_json does not take.
#[derive(Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scalar<'a> {
    /// Not there, or null.
    #[default]
    Absent,
    /// A text.
    Text(Cow<'a, str>),
    /// A whole number from 0 on, also one that is written as a float: `2.0`.
    Number(u64),
    /// True or false.
    Flag(bool),
    /// Another number, an object or a list.
    Other,
}

impl Scalar<'_> {
    /// Whether it is not there, or null.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// The text, when it is one.
    pub fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The flag, when it is one.
    pub fn flag(&self) -> Option<bool> {
        if let Self::Flag(flag) = self { Some(*flag) } else { None }
    }

    /// A whole number from 0 on, also one that is written as text.
    pub fn number(&self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// The time of a whole number of milliseconds since the epoch.
    pub fn epoch_ms(&self) -> Option<OffsetDateTime> {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.number()?) * 1_000_000).ok()
    }

    /// The text, or the digits of the whole number: for ids and names that some senders write one way and some the other.
    pub fn word(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Text(text) => Some(Cow::Borrowed(text)),
            Self::Number(number) => Some(Cow::Owned(number.to_string())),
            _ => None,
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Scalar::Absent)
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Scalar::Number(number))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Scalar::Other)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        if number.fract() != 0.0 || number < 0.0 {
            return Ok(Scalar::Other);
        }
        if number > WHOLE_FLOAT_MAX {
            // An id must not become its neighbour. `Json::read` catches this, and has the digits read.
            return Err(E::custom("a whole number that a float does not hold exactly"));
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole, and within the bounds above"
        )]
        Ok(Scalar::Number(number as u64))
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(Scalar::Flag(flag))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }
}
