//! A list of which no more is kept than is needed: what an answer says must not decide how much memory it takes.

use std::{fmt, marker::PhantomData, ops::Deref};

use serde::{
    Deserialize, Deserializer,
    de::{
        Error, IgnoredAny, IntoDeserializer as _, MapAccess, SeqAccess, Visitor,
        value::{BorrowedStrDeserializer, MapAccessDeserializer},
    },
};

/// The first `MAX` items of a list; a value that is no list is the one item. What is not there, or null, is no item.
///
/// An item that cannot be read makes the whole list unreadable: [`Scalar`](super::Scalar) and [`Part`](super::Part) read any.
///
/// ```
/// use plugin_abi::{payload::{Items, Scalar}, serde_json};
/// let codes: Items<Scalar<'_>, 2> = serde_json::from_str(r#"["a", 7, {"b": 1}]"#)?;
/// assert_eq!((codes.len(), codes[0].text()), (2, Some("a")));
/// let code: Items<Scalar<'_>, 2> = serde_json::from_str(r#""a""#)?;
/// assert_eq!(code[0].text(), Some("a"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct Items<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> Default for Items<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const MAX: usize> Deref for Items<T, MAX> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Items<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ItemsVisitor(PhantomData))
    }
}

struct ItemsVisitor<T, const MAX: usize>(PhantomData<T>);

macro_rules! one {
    ($($visit:ident($kind:ty)),*) => {$(
        fn $visit<E: Error>(self, value: $kind) -> Result<Self::Value, E> {
            T::deserialize(value.into_deserializer()).map(|item| Items(vec![item]))
        }
    )*};
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for ItemsVisitor<T, MAX> {
    type Value = Items<T, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    one! { visit_str(&str), visit_u64(u64), visit_i64(i64), visit_f64(f64), visit_bool(bool) }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        T::deserialize(BorrowedStrDeserializer::new(text)).map(|item| Items(vec![item]))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Items::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut kept = Vec::new();
        while kept.len() < MAX
            && let Some(item) = items.next_element()?
        {
            kept.push(item);
        }
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Items(kept))
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(members)).map(|item| Items(vec![item]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::{Part, Scalar};

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Coded<'a> {
        #[serde(borrow)]
        code: Scalar<'a>,
    }

    fn check(json: &str, expected: &[Option<u64>]) {
        let items: Items<Part<'_, Coded<'_>>, 3> = serde_json::from_str(json).unwrap();
        let codes: Vec<_> = items.iter().map(|item| item.object().and_then(|coded| coded.code.number())).collect();
        assert_eq!(codes, expected, "{json}");
    }

    #[test]
    fn a_list_its_beginning_or_a_single_value() {
        check("[]", &[]);
        check("null", &[]);
        check(r#"[{"code":1},{"code":2},{"code":3}]"#, &[Some(1), Some(2), Some(3)]);
        check(r#"[{"code":1},{"code":2},{"code":3},{"code":4},[[]],"x"]"#, &[Some(1), Some(2), Some(3)]);
        check(r#"[{"code":1},[{"code":2}],7]"#, &[Some(1), None, None]);
        check(r#"[null,{"code":[]},{"code":"\u0035"}]"#, &[None, None, Some(5)]);
        check(r#"{"code":1}"#, &[Some(1)]);
        for value in [r#""text""#, r#""\u0041""#, "7", "-7", "0.5", "true"] {
            check(value, &[None]);
        }
    }
}
