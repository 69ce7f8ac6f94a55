//! An event's changelog: whether one of its changes can have solved the issue, or opened it again.

use std::fmt;

use plugin_abi::{
    payload::{Part, Scalar},
    serde::{
        Deserialize, Deserializer,
        de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
    },
};

use super::status;

/// Ids of the statuses *Resolved* and *Closed*, the same on all sites that have these, in whatever language.
const RESOLVED_AND_CLOSED: [&str; 2] = ["5", "6"];

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
    /// Whether the issue was solved before: its resolution was taken away, or its status was one in which nothing is left to
    /// do.
    pub(super) were_solved: bool,
}

#[derive(Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
struct Item<'a> {
    #[serde(borrow)]
    field: Scalar<'a>,
    #[serde(borrow)]
    from: Scalar<'a>,
    #[serde(borrow, rename = "fromString")]
    from_name: Scalar<'a>,
    #[serde(borrow)]
    to: Scalar<'a>,
}

impl Item<'_> {
    fn can_solve(&self) -> bool {
        matches!(self.field.text(), Some("status" | "resolution")) && !self.to.is_absent()
    }

    fn was_solved(&self) -> bool {
        match self.field.text() {
            Some("resolution") => self.to.is_absent() && !(self.from.is_absent() && self.from_name.is_absent()),
            Some("status") => {
                self.from_name.text().is_some_and(status::is_done)
                    || self.from.word().is_some_and(|id| RESOLVED_AND_CLOSED.contains(&&*id))
            }
            _ => false,
        }
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
            let Some(item) = item.object() else { continue };
            items.can_solve |= item.can_solve();
            items.were_solved |= item.was_solved();
        }
        Ok(items)
    }
}
