//! A tenant's settings (texts by name) as a vendor's own struct.

use serde::{
    de::{
        DeserializeOwned, Deserializer, IntoDeserializer, Visitor,
        value::{MapDeserializer, SeqDeserializer},
    },
    forward_to_deserialize_any,
};

use crate::{
    PluginError,
    raw::{Field, Pairs, Tag},
};

/// Reads all settings into `T`.
pub(crate) fn read<T: DeserializeOwned>(fields: &[Field<'_>]) -> Result<T, PluginError> {
    let pairs = Pairs::new(fields, Tag::SETTING_NAME, Tag::SETTING_VALUE)
        .filter_map(|(name, value)| Some((std::str::from_utf8(name).ok()?, Text(std::str::from_utf8(value).ok()?))));
    T::deserialize(MapDeserializer::<_, serde::de::value::Error>::new(pairs))
        .map_err(|fault| PluginError::Configuration(format!("the tenant's settings: {fault}")))
}

/// A setting's text, read as whatever the struct wants.
#[derive(Clone, Copy)]
struct Text<'a>(&'a str);

impl<'de> IntoDeserializer<'de> for Text<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! parsed {
    ($($method:ident $visit:ident $kind:ty),* $(,)?) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
            let value = self.0.trim().parse::<$kind>().map_err(|fault| {
                serde::de::Error::custom(format!("{:?} is not a {}: {fault}", self.0, stringify!($kind)))
            })?;
            visitor.$visit(value)
        }
    )*};
}

impl<'de> Deserializer<'de> for Text<'de> {
    type Error = serde::de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_borrowed_str(self.0)
    }

    parsed! {
        deserialize_bool visit_bool bool,
        deserialize_i8 visit_i8 i8, deserialize_i16 visit_i16 i16, deserialize_i32 visit_i32 i32, deserialize_i64 visit_i64 i64,
        deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16, deserialize_u32 visit_u32 u32, deserialize_u64 visit_u64 u64,
        deserialize_f32 visit_f32 f32, deserialize_f64 visit_f64 f64,
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        let items = self.0.split(',').map(str::trim).filter(|item| !item.is_empty()).map(Text);
        visitor.visit_seq(SeqDeserializer::new(items))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_enum(self.0.into_deserializer())
    }

    forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct tuple tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize, Debug, PartialEq)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        OnPremises,
        Cloud,
    }

    #[derive(Deserialize, Debug, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        kind: Kind,
        portal: Option<String>,
        #[serde(default)]
        retries: u32,
        #[serde(default)]
        statuses: Vec<String>,
        #[serde(default)]
        strict: bool,
    }

    fn check(pairs: &[(&str, &str)]) -> Result<Settings, PluginError> {
        let fields: Vec<_> = pairs
            .iter()
            .flat_map(|(name, value)| [Field::text(Tag::SETTING_NAME, name), Field::text(Tag::SETTING_VALUE, value)])
            .collect();
        read(&fields)
    }

    #[test]
    fn texts_become_what_the_struct_wants() {
        let settings =
            check(&[("kind", "cloud"), ("retries", "3"), ("statuses", "Open, Closed"), ("strict", "true")]).unwrap();
        let expected = Settings {
            kind: Kind::Cloud,
            portal: None,
            retries: 3,
            statuses: vec!["Open".into(), "Closed".into()],
            strict: true,
        };
        assert_eq!(settings, expected);
    }

    #[test]
    fn faults_name_what_is_wrong() {
        for (pairs, part) in [
            (&[("kind", "moon")][..], "unknown variant `moon`"),
            (&[("kind", "cloud"), ("retries", "many")], "\"many\" is not a u32"),
            (&[("kind", "cloud"), ("portl", "x")], "unknown field `portl`"),
            (&[], "missing field `kind`"),
        ] {
            let Err(PluginError::Configuration(message)) = check(pairs) else { panic!("{pairs:?} was taken") };
            assert!(message.contains(part), "{message}");
        }
    }
}
