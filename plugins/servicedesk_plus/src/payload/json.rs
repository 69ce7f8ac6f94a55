//! JSON values as people's templates write them: any type where one is expected, so that a wrong one is a field's fault
//! and not the body's. Nothing here recurses: what is nested deeper than it is needed is skipped.

use std::{borrow::Cow, fmt};

use plugin_abi::{
    serde::{
        Deserialize, Deserializer,
        de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
    },
    time::OffsetDateTime,
};

/// Items of a list that are kept. No list that is read may have as many.
pub(super) const LIST_ITEMS_MAX: usize = 101;

/// A value that has no parts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum Scalar<'a> {
    /// Not there, or null.
    #[default]
    Absent,
    Text(Cow<'a, str>),
    /// A whole number from 0 on.
    Number(u64),
    Flag(bool),
    /// Another number, an object or a list.
    Other,
}

impl Scalar<'_> {
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    pub(crate) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    pub(super) fn flag(&self) -> Option<bool> {
        if let Self::Flag(flag) = self { Some(*flag) } else { None }
    }

    /// A whole number from 0 on, also one that is written as text.
    pub(crate) fn number(&self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// Milliseconds since the epoch.
    fn time(&self) -> Option<OffsetDateTime> {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.number()?) * 1_000_000).ok()
    }
}

/// A part of a request: an object as the API writes it, or the bare value of a template.
#[derive(Debug)]
pub(super) enum Part<'a> {
    Bare(Scalar<'a>),
    Object(Box<Object<'a>>),
    /// The first [`LIST_ITEMS_MAX`] items.
    List(Vec<Scalar<'a>>),
}

/// Those members of the API's objects that are read somewhere.
#[derive(Debug, Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
pub(super) struct Object<'a> {
    #[serde(borrow)]
    name: Scalar<'a>,
    #[serde(borrow)]
    pub(super) internal_name: Scalar<'a>,
    #[serde(borrow)]
    pub(super) email_id: Scalar<'a>,
    #[serde(borrow)]
    value: Scalar<'a>,
    #[serde(borrow)]
    content: Scalar<'a>,
    #[serde(borrow)]
    pub(super) in_progress: Scalar<'a>,
}

impl Default for Part<'_> {
    fn default() -> Self {
        Self::Bare(Scalar::Absent)
    }
}

impl<'a> Part<'a> {
    pub(super) fn object(&self) -> Option<&Object<'a>> {
        if let Self::Object(object) = self { Some(object) } else { None }
    }

    /// `High` or `{"name": "High"}`
    pub(super) fn name(&self) -> Option<&str> {
        self.value(|object| &object.name)?.text().filter(|name| !name.is_empty())
    }

    /// `…` or `{"content": "…"}`
    pub(super) fn content(&self) -> Option<&str> {
        self.value(|object| &object.content)?.text()
    }

    /// `{"display_value": …, "value": "1593000300533"}`, the value as text or number, or that alone. What a user's
    /// settings have formatted (`display_value`, a template's `$CreatedTime`) cannot be read: no time.
    pub(super) fn time(&self) -> Option<OffsetDateTime> {
        self.value(|object| &object.value)?.time()
    }

    fn value(&self, member: impl for<'o> FnOnce(&'o Object<'a>) -> &'o Scalar<'a>) -> Option<&Scalar<'a>> {
        match self {
            Self::Bare(value) => Some(value),
            Self::Object(object) => Some(member(object)),
            Self::List(_) => None,
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Part<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PartVisitor)
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

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Scalar::Other)
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

struct PartVisitor;

macro_rules! bare {
    ($($visit:ident($kind:ty)),*) => {$(
        fn $visit<E: Error>(self, value: $kind) -> Result<Self::Value, E> {
            ScalarVisitor.$visit(value).map(Part::Bare)
        }
    )*};
}

impl<'de> Visitor<'de> for PartVisitor {
    type Value = Part<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    bare! { visit_borrowed_str(&'de str), visit_str(&str), visit_u64(u64), visit_i64(i64), visit_f64(f64), visit_bool(bool) }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Part::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while list.len() < LIST_ITEMS_MAX
            && let Some(item) = items.next_element()?
        {
            list.push(item);
        }
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Part::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
        Object::deserialize(MapAccessDeserializer::new(members)).map(|object| Part::Object(Box::new(object)))
    }
}
