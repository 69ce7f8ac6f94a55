//! Finds the tenant that a JSON body names, without reading the rest of it: for the two routes that have none in the path.

use std::fmt;

use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};

/// The top-level string `tenant_id`. `None` when there is none, when it stands there twice (two readers could see two
/// tenants), or when the body is no JSON object.
pub fn tenant_id(body: &[u8]) -> Option<String> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let found = reader.deserialize_map(TopLevel).ok()?;
    reader.end().ok()?;
    found
}

struct TopLevel;

impl<'de> Visitor<'de> for TopLevel {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            if key != "tenant_id" {
                map.next_value::<IgnoredAny>()?;
            } else if found.replace(map.next_value::<String>()?).is_some() {
                return Err(serde::de::Error::duplicate_field("tenant_id"));
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_top_level_string_counts() {
        for (body, expected) in [
            (r#"{"tenant_id":"acme"}"#, Some("acme")),
            (r#"{"a":{"tenant_id":"x"},"tenant_id":"acme","b":[1]}"#, Some("acme")),
            (r#"{"\u0074enant_id":"acme"}"#, Some("acme")),
            (r#"{"tenant_id":"a","tenant_id":"a"}"#, None),
            (r#"{"tenant_id":"a","\u0074enant_id":"b"}"#, None),
            (r#"{"tenant_id":7}"#, None),
            (r#"{"tenant_id":null}"#, None),
            (r#"{"other":"acme"}"#, None),
            (r#"["tenant_id"]"#, None),
            (r#"{"tenant_id":"acme"} {}"#, None),
            (r#"{"tenant_id":"acme""#, None),
            ("", None),
        ] {
            assert_eq!(tenant_id(body.as_bytes()).as_deref(), expected, "{body}");
        }
    }

    #[test]
    fn deep_nesting_is_no_way_to_hurt() {
        let deep = format!(r#"{{"a":{}{},"tenant_id":"acme"}}"#, "[".repeat(100_000), "]".repeat(100_000));
        // Found or refused, but never a stack overflow.
        assert!(matches!(tenant_id(deep.as_bytes()).as_deref(), None | Some("acme")));
    }
}
