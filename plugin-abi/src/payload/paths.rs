//! Values inside an object by paths that are known only when it is read: an administrator wrote the template.

use std::{array, fmt, mem};

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::Scalar;
use crate::json::text;

/// The values at the ends of these paths, in the paths' order, borrowed from the JSON. A path is a key, or keys joined by
/// dots, none of them empty; a value is absent where a key of its path is. What is on no path is skipped, however deep it
/// is nested; a path is followed by recursion, so whoever sets it limits its keys.
///
/// ```
/// use plugin_abi::payload::paths;
/// let body = br#"{"event":"solved","ticket":{"id":7,"rows":[],"comment":{"text":"Rekeyed."}}}"#;
/// let [id, how, tags] = paths(body, &["ticket.id", "ticket.comment.text", "tags"])?;
/// assert_eq!((id.number(), how.text(), tags.is_absent()), (Some(7), Some("Rekeyed."), true));
/// # Ok::<(), plugin_abi::serde_json::Error>(())
/// ```
///
/// # Errors
/// When it is not one JSON object, or has a key of one of the paths twice.
pub fn paths<'de, const N: usize>(json: &'de [u8], paths: &[&str; N]) -> Result<[Scalar<'de>; N], serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(text(json)?);
    let mut found = array::from_fn(|_| Scalar::Absent);
    reader.deserialize_map(Object { rests: paths.map(Some), found: &mut found })?;
    reader.end()?;
    Ok(found)
}

/// What is left of each path from here on: nothing (`""`) where it ends, `None` where it leads elsewhere.
type Rests<'p, const N: usize> = [Option<&'p str>; N];

/// An object that paths lead into.
struct Object<'p, 'f, 'de, const N: usize> {
    rests: Rests<'p, N>,
    found: &'f mut [Scalar<'de>; N],
}

impl<'de, const N: usize> Visitor<'de> for Object<'_, '_, 'de, N> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let mut seen = [false; N];
        while let Some(rests) = object.next_key_seed(Behind(&self.rests))? {
            if rests.iter().all(Option::is_none) {
                object.next_value::<IgnoredAny>()?;
                continue;
            }
            let value = object.next_value::<&'de RawValue>()?.get();
            for (at, rest) in rests.iter().enumerate().filter_map(|(at, rest)| Some((at, (*rest)?))) {
                if mem::replace(&mut seen[at], true) {
                    let left = self.rests[at].unwrap_or_default();
                    return Err(A::Error::custom(format_args!("duplicate field on the way to `{left}`")));
                }
                if rest.is_empty() {
                    self.found[at] = serde_json::from_str(value).map_err(A::Error::custom)?;
                }
            }
            let rests = rests.map(|rest| rest.filter(|rest| !rest.is_empty()));
            if value.starts_with('{') && rests.iter().any(Option::is_some) {
                let inner = Object { rests, found: self.found };
                serde_json::Deserializer::from_str(value).deserialize_map(inner).map_err(A::Error::custom)?;
            }
        }
        Ok(())
    }
}

/// A key, read as what is left of each path behind it.
struct Behind<'r, 'p, const N: usize>(&'r Rests<'p, N>);

impl<'de, 'p, const N: usize> DeserializeSeed<'de> for Behind<'_, 'p, N> {
    type Value = Rests<'p, N>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl<'p, const N: usize> Visitor<'_> for Behind<'_, 'p, N> {
    type Value = Rests<'p, N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.map(|rest| {
            let (first, behind) = rest?.split_once('.').unwrap_or((rest?, ""));
            (first == key).then_some(behind)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str) -> Result<[Scalar<'_>; 4], String> {
        paths(json.as_bytes(), &["a", "t.id", "t.c.x", "t.c"]).map_err(|fault| fault.to_string())
    }

    fn text(text: &str) -> Scalar<'_> {
        Scalar::Text(text.into())
    }

    #[test]
    fn values_come_in_the_order_of_their_paths() {
        use Scalar::{Absent, Flag, Number, Other};
        for (json, expected) in [
            ("{}", [Absent, Absent, Absent, Absent]),
            (r#" {"t":{"c":{"x":"y"},"id":7,"z":1,"z":2},"a":true} "#, [Flag(true), Number(7), text("y"), Other]),
            (r#"{"\u0074":{"\u0069d":"7"},"t.id":9,"id":8}"#, [Absent, text("7"), Absent, Absent]),
            (r#"{"t":{"c":"bare","id":null},"a":{"id":1}}"#, [Other, Absent, Absent, text("bare")]),
            (r#"{"t":[{"id":1}],"a":[]}"#, [Other, Absent, Absent, Absent]),
            (r#"{"t":"id","c":{"x":1},"b":1,"b":2}"#, [Absent, Absent, Absent, Absent]),
            (r#"{"a":-1,"t":{"id":2.0}}"#, [Other, Number(2), Absent, Absent]),
        ] {
            assert_eq!(check(json), Ok(expected), "{json}");
        }
        let same = paths(br#"{"t":{"s":"open"}}"#, &["t.s", "t.s"]).unwrap();
        assert_eq!(same, [text("open"), text("open")], "two paths may be one");
    }

    #[test]
    fn what_is_no_object_or_says_a_thing_twice_is_refused() {
        for json in [
            "",
            "null",
            "[1,2]",
            "{",
            r#"{"a":1,}"#,
            "{}{}",
            r#"{"a":1,"\u0061":1}"#,
            r#"{"t":{},"t":{}}"#,
            r#"{"t":7,"t":{"id":1}}"#,
            r#"{"t":{"id":1,"id":1}}"#,
            r#"{"t":{"c":{"x":null,"x":1}}}"#,
        ] {
            assert!(check(json).is_err(), "{json}");
        }
    }

    #[test]
    fn what_is_beside_a_path_is_skipped_however_deep() {
        let (open, close) = ("[".repeat(200_000), "]".repeat(200_000));
        let json = format!(r#"{{"x":{open}{close},"t":{{"y":{open}{close},"id":7,"c":{open}{close}}}}}"#);
        assert_eq!(check(&json), Ok([Scalar::Absent, Scalar::Number(7), Scalar::Absent, Scalar::Other]));
        assert!(check(&format!(r#"{{"x":{open}"#)).is_err());
    }
}
