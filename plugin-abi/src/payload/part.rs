//! A field that one template writes as a bare value, and another as the API's own object.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};

use super::{Scalar, ScalarVisitor};

/// Items of a list that are kept; there may be more of them.
pub const PART_ITEMS_MAX: usize = 101;

/// A bare value, or an object of which the members of `O` are read, or a list of values.
///
/// ```
/// use plugin_abi::{payload::{Part, Scalar}, serde::Deserialize, serde_json};
/// #[derive(Debug, Default, Deserialize)]
/// struct Named<'a> {
///     #[serde(borrow, default)]
///     name: Scalar<'a>,
/// }
/// for json in [r#""High""#, r#"{"id": 3, "name": "High"}"#] {
///     let priority: Part<'_, Named<'_>> = serde_json::from_str(json)?;
///     assert_eq!(priority.value(|named| &named.name).and_then(Scalar::text), Some("High"));
/// }
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug)]
pub enum Part<'a, O> {
    /// Also what is not there, or null.
    Bare(Scalar<'a>),
    /// The object.
    Object(Box<O>),
    /// The first [`PART_ITEMS_MAX`] items.
    List(Vec<Scalar<'a>>),
}

impl<O> Default for Part<'_, O> {
    fn default() -> Self {
        Self::Bare(Scalar::Absent)
    }
}

impl<'a, O> Part<'a, O> {
    /// The object, when it is one.
    pub fn object(&self) -> Option<&O> {
        if let Self::Object(object) = self { Some(object) } else { None }
    }

    /// The bare value, or this member of the object.
    pub fn value(&self, member: impl for<'o> FnOnce(&'o O) -> &'o Scalar<'a>) -> Option<&Scalar<'a>> {
        match self {
            Self::Bare(value) => Some(value),
            Self::Object(object) => Some(member(object)),
            Self::List(_) => None,
        }
    }
}

impl<'de: 'a, 'a, O: Deserialize<'de>> Deserialize<'de> for Part<'a, O> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PartVisitor(PhantomData))
    }
}

struct PartVisitor<O>(PhantomData<O>);

macro_rules! bare {
    ($($visit:ident($kind:ty)),*) => {$(
        fn $visit<E: Error>(self, value: $kind) -> Result<Self::Value, E> {
            ScalarVisitor.$visit(value).map(Part::Bare)
        }
    )*};
}

impl<'de, O: Deserialize<'de>> Visitor<'de> for PartVisitor<O> {
    type Value = Part<'de, O>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    bare! { visit_borrowed_str(&'de str), visit_str(&str), visit_u64(u64), visit_i64(i64), visit_f64(f64), visit_bool(bool) }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Part::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
        first_of(items).map(Part::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
        O::deserialize(MapAccessDeserializer::new(members)).map(|object| Part::Object(Box::new(object)))
    }
}

/// Not a part of the visitor, whose code there is for each kind of object.
fn first_of<'de, A: SeqAccess<'de>>(mut items: A) -> Result<Vec<Scalar<'de>>, A::Error> {
    let mut list = Vec::new();
    while list.len() < PART_ITEMS_MAX
        && let Some(item) = items.next_element()?
    {
        list.push(item);
    }
    while items.next_element::<IgnoredAny>()?.is_some() {}
    Ok(list)
}
