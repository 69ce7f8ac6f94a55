//! An event's changelog: whether one of its changes can have solved the issue.

use std::fmt;

use plugin_abi::{
    payload::{Part, Scalar},
    serde::{
        Deserialize, Deserializer,
        de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
    },
};

/// `{"id", "items": [{"field", "to", …}]}`. In what automation rules send it has no items.
#[derive(Debug, Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
pub(super) struct Change<'a> {
    #[serde(borrow)]
    pub(super) id: Scalar<'a>,
    pub(super) items: Items,
}

/// The items, of which nothing else is kept.
#[derive(Debug, Default)]
pub(super) struct Items {
    /// Whether the status or the resolution was set. A change of other fields of a solved issue solves nothing.
    pub(super) can_solve: bool,
}

#[derive(Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
struct Item<'a> {
    #[serde(borrow)]
    field: Scalar<'a>,
    #[serde(borrow)]
    to: Scalar<'a>,
}

impl Item<'_> {
    fn can_solve(&self) -> bool {
        matches!(self.field.text(), Some("status" | "resolution")) && !self.to.is_absent()
    }
}

impl<'de> Deserialize<'de> for Items {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ItemsVisitor)
    }
}

struct ItemsVisitor;

/// What is no list has no items.
macro_rules! none {
    ($($visit:ident($($kind:ty)?)),*) => {$(
        fn $visit<E: Error>(self $(, _: $kind)?) -> Result<Self::Value, E> {
            Ok(Items::default())
        }
    )*};
}

impl<'de> Visitor<'de> for ItemsVisitor {
    type Value = Items;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of changes")
    }

    none! { visit_unit(), visit_str(&str), visit_u64(u64), visit_i64(i64), visit_f64(f64), visit_bool(bool) }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Items::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut items = Items::default();
        while let Some(item) = list.next_element::<Part<'de, Item<'de>>>()? {
            items.can_solve |= item.object().is_some_and(Item::can_solve);
        }
        Ok(items)
    }
}
