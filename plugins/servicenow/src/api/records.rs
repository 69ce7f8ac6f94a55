//! The record with a number, in a list of records that may hold others. The list is looked through and not kept.

use std::fmt;

use plugin_abi::{
    prelude::*,
    serde::{
        Deserializer as _,
        de::{Error, SeqAccess, Visitor},
    },
    serde_json::{self, value::RawValue},
};

use crate::payload;

/// What a list has of a number.
pub(super) enum Numbered {
    None,
    /// Its id is empty where the record says no `sys_id`.
    One(Box<Ticket>),
    Several,
}

/// The record of this number, whatever its case.
///
/// # Errors
/// When it is no list, or the record cannot be read.
pub(super) fn numbered(list: &str, number: &str) -> Result<Numbered, serde_json::Error> {
    serde_json::Deserializer::from_str(list).deserialize_seq(Meant(number))
}

struct Meant<'n>(&'n str);

impl<'de> Visitor<'de> for Meant<'_> {
    type Value = Numbered;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut records: A) -> Result<Numbered, A::Error> {
        let mut meant = Numbered::None;
        while let Some(record) = records.next_element::<&RawValue>()? {
            let found = payload::number(record.get()).map_err(A::Error::custom)?;
            if !found.is_some_and(|found| found.eq_ignore_ascii_case(self.0)) {
                continue;
            }
            meant = match meant {
                Numbered::None => Numbered::One(Box::new(payload::ticket("", record.get()).map_err(A::Error::custom)?)),
                Numbered::One(_) | Numbered::Several => Numbered::Several,
            };
        }
        Ok(meant)
    }
}
