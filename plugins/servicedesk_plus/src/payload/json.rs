//! A request's parts as people's templates write them: the API's object, or the bare value.

use plugin_abi::{
    payload::{self, Scalar},
    serde::Deserialize,
    time::OffsetDateTime,
};

/// A part of a request: an object as the API writes it, or the bare value of a template.
#[derive(Debug, Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", transparent)]
pub(super) struct Part<'a>(#[serde(borrow)] payload::Part<'a, Object<'a>>);

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

impl<'a> Part<'a> {
    pub(super) fn object(&self) -> Option<&Object<'a>> {
        self.0.object()
    }

    /// `High` or `{"name": "High"}`
    pub(super) fn name(&self) -> Option<&str> {
        self.0.value(|object| &object.name)?.text().filter(|name| !name.is_empty())
    }

    /// `…` or `{"content": "…"}`
    pub(super) fn content(&self) -> Option<&str> {
        self.0.value(|object| &object.content)?.text()
    }

    /// `{"display_value": …, "value": "1593000300533"}`, the value as text or number, or that alone. What a user's
    /// settings have formatted (`display_value`, a template's `$CreatedTime`) cannot be read: no time.
    pub(super) fn time(&self) -> Option<OffsetDateTime> {
        self.0.value(|object| &object.value)?.epoch_ms()
    }
}
