//! The settings and secrets that a plugin reads, declared in its file: operators see them, and a name that is typed wrong
//! is told when it is typed.
//!
//! ```
//! use plugin_abi::prelude::*;
//!
//! const DECLARED: &[Declared] = &[
//!     Declared::setting("project", "the project whose tickets are meant; HELP when it is not set"),
//!     Declared::secret("webhook_secret", "signs webhooks").required(),
//!     Declared::secret("api_key", "an agent's API key").required(),
//! ];
//! const INFO: PluginInfo = plugin_info!("acme_desk").declares(DECLARED);
//! ```

use serde::{Deserialize, Serialize};

use crate::const_json::Json;

/// Most bytes of a plugin's declaration, as JSON.
pub const DECLARATION_BYTES_MAX: usize = 16 << 10;
/// Type of the ELF note that holds the declaration; its name is [`NOTE_NAME`](crate::export::NOTE_NAME).
pub const DECLARATION_NOTE_TYPE: u32 = 2;
/// Most bytes of the name of a setting or secret.
const NAME_BYTES_MAX: usize = 64;
/// Most bytes of the line about one.
const ABOUT_BYTES_MAX: usize = 200;

/// One setting or secret that a plugin reads.
#[derive(Clone, Copy, Debug)]
pub struct Declared {
    kind: Kind,
    name: &'static str,
    about: &'static str,
    required: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Setting,
    Secret,
}

impl Declared {
    /// A setting, with a line that says what it is for, what it may be, and what holds when it is not set.
    pub const fn setting(name: &'static str, about: &'static str) -> Self {
        Self { kind: Kind::Setting, name, about, required: false }
    }

    /// A secret, with a line that says what it is and where it comes from.
    pub const fn secret(name: &'static str, about: &'static str) -> Self {
        Self { kind: Kind::Secret, name, about, required: false }
    }

    /// Without it the plugin cannot work, whatever else is set.
    #[must_use]
    pub const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    const fn is(&self, other: &Self) -> bool {
        self.kind as u8 == other.kind as u8 && are_equal(self.name.as_bytes(), other.name.as_bytes())
    }
}

/// Fails the build where a declaration could not be shown, or names what no tenant can have.
pub(crate) const fn check(declared: &[Declared]) {
    let mut at = 0;
    while at < declared.len() {
        assert!(
            is_name(declared[at].name.as_bytes()),
            "declares: the name of a setting or secret is 1 to 64 letters, digits, dots, - and _"
        );
        assert!(
            is_line(declared[at].about.as_bytes()),
            "declares: the text about a name is one line of 1 to 200 bytes"
        );
        let mut before = 0;
        while before < at {
            assert!(!declared[before].is(&declared[at]), "declares: a name stands there twice");
            before += 1;
        }
        at += 1;
    }
    assert!(
        json::<0>(Some(declared)).padded_bytes() <= DECLARATION_BYTES_MAX,
        "declares: the declaration is longer than 16 KiB"
    );
}

/// The declaration's JSON; `null` where a plugin declares nothing.
pub(crate) const fn json<const N: usize>(declared: Option<&[Declared]>) -> Json<N> {
    let mut json = Json::new();
    match declared {
        None => json.raw("null"),
        Some(declared) => {
            json.raw("{\"settings\":[");
            names(&mut json, declared, Kind::Setting);
            json.raw("],\"secrets\":[");
            names(&mut json, declared, Kind::Secret);
            json.raw("]}");
        }
    }
    json
}

const fn names<const N: usize>(json: &mut Json<N>, declared: &[Declared], kind: Kind) {
    let (mut at, mut is_first) = (0, true);
    while at < declared.len() {
        if declared[at].kind as u8 == kind as u8 {
            json.raw(if is_first { "{\"name\":\"" } else { ",{\"name\":\"" });
            json.escaped(declared[at].name);
            json.raw(if declared[at].required { "\",\"required\":true" } else { "\",\"required\":false" });
            json.raw(",\"about\":\"");
            json.escaped(declared[at].about);
            json.raw("\"}");
            is_first = false;
        }
        at += 1;
    }
}

const fn is_name(name: &[u8]) -> bool {
    let mut at = 0;
    while at < name.len() {
        if !(name[at].is_ascii_alphanumeric() || matches!(name[at], b'_' | b'.' | b'-')) {
            return false;
        }
        at += 1;
    }
    !name.is_empty() && name.len() <= NAME_BYTES_MAX
}

const fn is_line(text: &[u8]) -> bool {
    let mut at = 0;
    while at < text.len() {
        if text[at].is_ascii_control() {
            return false;
        }
        at += 1;
    }
    !text.is_empty() && text.len() <= ABOUT_BYTES_MAX
}

const fn are_equal(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() {
        if one[at] != other[at] {
            return false;
        }
        at += 1;
    }
    one.len() == other.len()
}

/// A declaration as whoever reads a note finds it. Unknown keys are skipped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Declaration {
    /// The settings, in the plugin's order.
    #[serde(default)]
    pub settings: Vec<DeclaredName>,
    /// The secrets, in the plugin's order.
    #[serde(default)]
    pub secrets: Vec<DeclaredName>,
}

/// One setting or secret of a [`Declaration`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeclaredName {
    /// Its name.
    pub name: String,
    /// Whether the plugin cannot work without it.
    #[serde(default)]
    pub required: bool,
    /// What it is for, in one line.
    #[serde(default)]
    pub about: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(declared: Option<&[Declared]>) -> String {
        let json = json::<DECLARATION_BYTES_MAX>(declared);
        String::from_utf8(json.bytes[..json.length].to_vec()).unwrap()
    }

    fn read(text: &str) -> Option<Declaration> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_is_declared_is_read_as_it_was_written() {
        let declared = [
            Declared::secret("key", "the \"key\""),
            Declared::setting("a.b-c_1", "a line: é").required(),
            Declared::setting("key", "of the secret's name"),
        ];
        check(&declared);
        let name = |name: &str, required, about: &str| DeclaredName {
            name: name.to_owned(),
            required,
            about: about.to_owned(),
        };
        let expected = Declaration {
            settings: vec![name("a.b-c_1", true, "a line: é"), name("key", false, "of the secret's name")],
            secrets: vec![name("key", false, "the \"key\"")],
        };
        assert_eq!(read(&written(Some(&declared))), Some(expected));
        assert_eq!(read(&written(Some(&[]))), Some(Declaration::default()), "it reads none, and says so");
        assert_eq!(read(&written(None)), None, "it says nothing of it");
    }

    #[test]
    fn a_measured_text_is_as_long_as_a_written_one() {
        let declared = [Declared::setting("a", "b\\c")];
        assert_eq!(json::<0>(Some(&declared)).length, written(Some(&declared)).len());
    }

    #[test]
    fn a_newer_declaration_and_the_shortest_are_read() {
        let newer = r#"{"settings":[{"name":"a","values":["x"]}],"headers":[]}"#;
        assert_eq!(read(newer).unwrap().settings[0].name, "a");
        assert_eq!(read("{}"), Some(Declaration::default()));
    }

    #[test]
    fn what_no_tenant_could_have_fails_the_build() {
        let long = "n".repeat(NAME_BYTES_MAX + 1).leak();
        for (declared, fits) in [
            (&[Declared::setting(&long[1..], "x")][..], true),
            (&[Declared::setting(long, "x")], false),
            (&[Declared::setting("", "x")], false),
            (&[Declared::setting("a b", "x")], false),
            (&[Declared::secret("a", "")], false),
            (&[Declared::secret("a", "x\ny")], false),
            (&[Declared::secret("a", "x"), Declared::secret("a", "y").required()], false),
        ] {
            assert_eq!(std::panic::catch_unwind(|| check(declared)).is_ok(), fits, "{declared:?}");
        }
    }
}
