//! An object's members by names that are known only when it is read: an administrator wrote the template.

use std::{array, fmt};

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor},
};

use super::Scalar;
use crate::json::text;

/// The members that have these names, in the names' order, borrowed from the JSON; all others are skipped.
///
/// ```
/// use plugin_abi::payload::members;
/// let [id, subject] = members(br#"{"reference":"7","rows":[],"title":"Printer"}"#, &["reference", "title"])?;
/// assert_eq!((id.number(), subject.text()), (Some(7), Some("Printer")));
/// # Ok::<(), plugin_abi::serde_json::Error>(())
/// ```
///
/// # Errors
/// When it is not one JSON object, or has one of the names twice.
pub fn members<'de, const N: usize>(json: &'de [u8], names: &[&str; N]) -> Result<[Scalar<'de>; N], serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(text(json)?);
    let found = reader.deserialize_map(Members(names))?;
    reader.end()?;
    Ok(found)
}

struct Members<'n, const N: usize>(&'n [&'n str; N]);

impl<'de, const N: usize> Visitor<'de> for Members<'_, N> {
    type Value = [Scalar<'de>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut found: [Option<Scalar<'de>>; N] = array::from_fn(|_| None);
        while let Some(position) = object.next_key_seed(Position(self.0))? {
            let Some(at) = position else {
                object.next_value::<IgnoredAny>()?;
                continue;
            };
            if found[at].is_some() {
                return Err(A::Error::custom(format_args!("duplicate field `{}`", self.0[at])));
            }
            found[at] = Some(object.next_value()?);
        }
        Ok(found.map(Option::unwrap_or_default))
    }
}

/// A key, read as its position among the names.
struct Position<'n, const N: usize>(&'n [&'n str; N]);

impl<'de, const N: usize> DeserializeSeed<'de> for Position<'_, N> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl<const N: usize> Visitor<'_> for Position<'_, N> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|name| *name == key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str) -> Result<[Scalar<'_>; 2], String> {
        members(json.as_bytes(), &["a", "b"]).map_err(|fault| fault.to_string())
    }

    #[test]
    fn members_come_in_the_order_of_their_names() {
        for (json, expected) in [
            ("{}", [Scalar::Absent, Scalar::Absent]),
            (r#" {"b":1,"c":{"a":2},"a":"x"} "#, [Scalar::Text("x".into()), Scalar::Number(1)]),
            (r#"{"\u0061":true,"b":null}"#, [Scalar::Flag(true), Scalar::Absent]),
            (r#"{"a":[{}],"b":-1,"c":1,"c":2}"#, [Scalar::Other, Scalar::Other]),
        ] {
            assert_eq!(check(json), Ok(expected), "{json}");
        }
    }

    #[test]
    fn what_is_no_object_or_says_a_thing_twice_is_refused() {
        let deep = "[".repeat(200_000);
        for json in
            ["", "null", "[1,2]", "7", "{", r#"{"a":1,}"#, "{}{}", r#"{"a":1,"\u0061":1}"#, r#"{"b":null,"b":1}"#]
        {
            assert!(check(json).is_err(), "{json}");
        }
        assert!(check(&format!(r#"{{"a":{deep}"#)).is_err());
        let (open, close) = (&deep, "]".repeat(200_000));
        assert_eq!(check(&format!(r#"{{"a":{open}{close},"c":{open}{close}}}"#)), Ok([Scalar::Other, Scalar::Absent]));
    }
}
