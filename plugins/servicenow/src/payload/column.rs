//! A column of a record, as the Table API and people's scripts write it.

use std::borrow::Cow;

use plugin_abi::{
    payload::{Faults, Part, Scalar, instant},
    serde::Deserialize,
    time::OffsetDateTime,
};

/// `"6"`, `6`, or with `sysparm_display_value=all` `{"value": "6", "display_value": "Resolved"}`; references are
/// `{"value", "link"}` without it (<https://www.servicenow.com/docs/r/api-reference/rest-apis/c_TableAPI.html>). What is
/// empty is `""`.
#[derive(Debug, Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", transparent)]
pub(super) struct Column<'a>(#[serde(borrow)] Part<'a, Both<'a>>);

#[derive(Debug, Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
struct Both<'a> {
    #[serde(borrow)]
    value: Scalar<'a>,
    #[serde(borrow)]
    display_value: Scalar<'a>,
}

/// Stands for what is not there.
const ABSENT: Scalar<'static> = Scalar::Absent;

impl<'a> Column<'a> {
    /// What is stored, as it is written.
    pub(super) fn stored(&self) -> &Scalar<'a> {
        match &self.0 {
            Part::Bare(value) => value,
            Part::Object(both) => &both.value,
            Part::List(_) => &ABSENT,
        }
    }

    /// What is stored, as text; `None` when that is empty.
    pub(super) fn value(&self) -> Option<Cow<'_, str>> {
        match self.stored() {
            Scalar::Text(text) if !text.is_empty() => Some(text.as_ref().into()),
            Scalar::Number(number) => Some(number.to_string().into()),
            _ => None,
        }
    }

    /// What people see: the display value, or what a script has rendered. A reference alone says nothing to people.
    pub(super) fn label(&self) -> Option<&str> {
        self.0.value(|both| &both.display_value)?.text().filter(|text| !text.is_empty())
    }

    /// What people see; what is stored where nobody said it in words.
    pub(super) fn words(&self) -> Option<String> {
        self.label().map(str::to_owned).or_else(|| self.value().map(Cow::into_owned))
    }

    /// What people see, and what is stored, as far as they are texts: each may be the one that is known.
    pub(super) fn texts(&self) -> impl Iterator<Item = Cow<'_, str>> {
        [self.label().map(Cow::Borrowed), self.value()].into_iter().flatten()
    }

    /// The time that is stored, in UTC.
    pub(super) fn time(&self) -> Option<OffsetDateTime> {
        instant(&self.value()?)
    }

    /// Remembers it when it is neither of the forms above.
    pub(super) fn check(&self, faults: &mut Faults, field: &str) {
        let is_form = match &self.0 {
            Part::Bare(value) => !matches!(value, Scalar::Flag(_) | Scalar::Other),
            Part::Object(_) => true,
            Part::List(_) => false,
        };
        if !is_form {
            faults.add(field, "must be a text, or an object with value and display_value");
        }
    }

    /// As [`check`](Self::check), and when it is a time that cannot be read.
    pub(super) fn check_time(&self, faults: &mut Faults, field: &str) {
        if self.value().is_some() && self.time().is_none() {
            faults.add(
                field,
                "must be a time in UTC, such as 2026-01-31 12:00:00 (getValue gives it), or another form of ISO 8601",
            );
        } else {
            self.check(faults, field);
        }
    }
}
