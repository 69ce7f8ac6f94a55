//! Why a webhook is not authentic: what the plugin says of it, and what the host has compared itself. For the operator's
//! eyes alone; a sender never learns it.

use std::{borrow::Cow, fmt};

use plugin_abi::host::SaidWhy;

/// The words that a plugin's reason may have: labels and limits of the log must not grow with what plugins write.
const KNOWN: [&str; 6] =
    ["header_missing", "header_repeated", "header_unreadable", "signature_unreadable", "stale", "ahead"];
/// The word for all other reasons.
const OTHER: &str = "other";

/// Why a webhook is not authentic. Its text is for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// One of a few fixed words.
    pub kind: &'static str,
    /// A sentence.
    pub text: Cow<'static, str>,
    /// Whether a plugin may have written some of the sentence. Plugins are presented with secrets: such a text is searched
    /// for them before anybody sees it.
    pub is_plugins: bool,
}

impl Why {
    /// The host's own words.
    pub fn host(kind: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, text: text.into(), is_plugins: false }
    }

    /// What a plugin says.
    pub fn said(said: SaidWhy) -> Self {
        let kind = KNOWN.into_iter().find(|kind| *kind == said.kind).unwrap_or(OTHER);
        Self { kind, text: said.text.into(), is_plugins: true }
    }

    /// The text of a plugin's error.
    pub fn error(message: String) -> Self {
        Self { kind: OTHER, text: message.into(), is_plugins: true }
    }

    /// The tenant has no such secret. The plugin names it, and may have read the name in the webhook.
    pub(super) fn no_such_secret(text: String) -> Self {
        Self { kind: SECRET_MISSING, text: text.into(), is_plugins: true }
    }

    /// Nobody knows more.
    pub fn unknown() -> Self {
        Self::host("not_validated", "the plugin did not validate it")
    }

    /// Whether the operator must do something before any webhook of the tenant can be taken.
    pub fn is_operators(&self) -> bool {
        matches!(self.kind, SECRET_MISSING | SECRET_EMPTY)
    }
}

/// The tenant has no secret of the name that the plugin compares with.
const SECRET_MISSING: &str = "secret_missing";
/// It is there, and empty.
pub(super) const SECRET_EMPTY: &str = "secret_empty";
/// The signature does not belong to the body and the secret.
pub(super) const SIGNATURE_WRONG: &str = "signature_wrong";
/// What was presented is not the secret.
pub(super) const SECRET_WRONG: &str = "secret_wrong";

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugins_word_is_one_of_a_few() {
        for (said, kind) in
            [("stale", "stale"), ("ahead", "ahead"), ("", "other"), ("my-own", "other"), ("secret_missing", "other")]
        {
            let why = Why::said(SaidWhy { kind: said.to_owned().into(), text: "x".to_owned() });
            assert_eq!((why.kind, why.is_plugins, why.is_operators()), (kind, true, false), "{said}");
        }
    }
}
