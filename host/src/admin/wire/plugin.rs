//! Plugins on the wire: what serves, what lies in the folder, loading it, and what happened.

use plugin_abi::{declared::Declaration, export::InfoRecord};
use serde::{Deserialize, Serialize};

use super::LastError;
use crate::plugin::confine::Level;

/// What a host asks of a plugin's file, whatever the plugin is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// Whether a trusted key must have signed it.
    pub require_signature: bool,
    /// The minisign public keys that are trusted, as `plugins.trusted_keys` has them.
    pub trusted_keys: Vec<String>,
    /// Who may write plugin files, beside root and the host's user: `strict`, `group` or `volume`.
    pub permissions: String,
    /// The host's user, by its number.
    pub user: u32,
}

/// One tool type, or a refused file that names none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plugin {
    /// The tool type; null for a file that names none.
    pub tool_type: Option<String>,
    /// The version that serves.
    pub version: Option<String>,
    /// What serves: `active`, `draining`, `standby`, `refused`, `quarantined`, `disabled`, `retained`, `missing`.
    pub state: String,
    /// The generation that serves.
    pub generation: Option<u64>,
    /// The file that it was loaded from.
    pub path: Option<String>,
    /// The file's digest, in hex.
    pub sha256: Option<String>,
    /// What the file's signature is worth, `unsigned`, `trusted(<key id>)`, `unknown key(<key id>)` or `modified`; null
    /// without a file.
    pub signature: Option<String>,
    /// When it was loaded.
    pub loaded_at: Option<String>,
    /// Calls under way.
    pub in_flight: usize,
    /// Calls of this generation.
    pub calls: u64,
    /// Those that failed by its own fault.
    pub errors: u64,
    /// The last of those; for a refused file, why it is.
    pub last_error: Option<LastError>,
    /// A newer file that was refused.
    pub candidate: Option<Candidate>,
    /// The version or digest that alone may serve.
    #[serde(default)]
    pub pinned: Option<String>,
}

/// A newer file that was refused, while what serves goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The file.
    pub path: String,
    /// Its version, where it could be read.
    pub version: Option<String>,
    /// Its digest, where it could be read.
    pub sha256: Option<String>,
    /// The stable code of the refusal.
    pub code: String,
    /// Why, in a sentence.
    pub reason: String,
}

/// One file of the plugin folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginFile {
    /// Where it is.
    pub path: String,
    /// What it is to the host; see [`Plugin::state`].
    pub state: String,
    /// Its tool type, where it could be read.
    pub tool_type: Option<String>,
    /// Its version, where it could be read.
    pub version: Option<String>,
    /// Its digest, where it could be read.
    pub sha256: Option<String>,
    /// As [`Plugin::signature`]; null where the file could not be read.
    pub signature: Option<String>,
    /// The stable code of its refusal.
    pub code: Option<String>,
    /// Why it is refused, in a sentence.
    pub reason: Option<String>,
}

/// Everything about one tool type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginDetail {
    /// As in the list.
    #[serde(flatten)]
    pub plugin: Plugin,
    /// What the plugin says of itself; null while nothing serves.
    pub info: Option<InfoRecord>,
    /// The settings and secrets that it declares; null when it declares nothing, or nothing serves.
    #[serde(default)]
    pub declares: Option<Declaration>,
    /// The private copy that is mapped; null while nothing serves.
    pub copy: Option<String>,
    /// What shut in the process that tried it; null while nothing serves.
    pub confinement: Option<Confinement>,
    /// Its generations that are not gone, the active one included.
    pub generations: Vec<Generation>,
    /// What has served and is kept, the latest first: what a rollback or a pin can go to.
    #[serde(default)]
    pub kept: Vec<Kept>,
}

/// An artifact that has served and is kept in the state folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The plugin's version.
    pub version: String,
    /// Its digest.
    pub sha256: String,
    /// When it began to serve the last time.
    pub served_at: String,
    /// The file of the folder that it came from; null of an older host.
    #[serde(default)]
    pub path: Option<String>,
    /// Where its bytes are kept; null of an older host.
    #[serde(default)]
    pub copy: Option<String>,
    /// Why it is passed over, when it was rolled back.
    pub passed_over: Option<String>,
}

/// Asks for one version, or one digest, to serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// A version, or at least eight digits of a SHA-256.
    pub to: String,
    /// Why it is asked for: one line of 1 to 500 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What shuts in the process that tries a plugin; it depends on the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// Whether it can open no file and reach no TCP port.
    pub files: bool,
    /// Whether it can start no other program or process and open no socket.
    pub calls: bool,
    /// Both in words, for people: `full`, or what is missing.
    pub text: String,
}

impl From<Level> for Confinement {
    fn from(level: Level) -> Self {
        Self { files: level.files.stands(), calls: level.calls.stands(), text: level.to_string() }
    }
}

/// A generation that is in memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// Its number.
    pub number: u64,
    /// The plugin's version.
    pub version: String,
    /// The digest of what was loaded.
    pub sha256: String,
    /// `active`, `draining` or `retained`.
    pub state: String,
    /// Why it is retained.
    pub reason: Option<String>,
}

/// The body of a request that needs nothing else.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reason {
    /// Why it is asked for: one line of 1 to 500 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Asks for a reload: of what has changed, of one tool type, or of all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reload {
    /// This one, also when its file has not changed.
    pub tool_type: Option<String>,
    /// All, also those that have not changed.
    pub all: bool,
    /// Why it is asked for: one line of 1 to 500 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Says that a file has been put into the plugin folder, and asks to take it up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Installed {
    /// Its name there.
    pub file: String,
    /// Why it was: one line of 1 to 500 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What became of one file that a reload was about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Its tool type, where it could be read.
    pub tool_type: Option<String>,
    /// The file.
    pub path: String,
    /// Its version, where it could be read.
    pub version: Option<String>,
    /// Its digest, where it could be read.
    pub sha256: Option<String>,
    /// The generation that serves now; null when the file was refused.
    pub generation: Option<u64>,
    /// The stable code of the refusal.
    pub code: Option<String>,
    /// Why it was refused, in a sentence.
    pub reason: Option<String>,
    /// What can be done about it.
    pub mend: Option<String>,
}

/// Something that happened to a plugin, or was done to a tenant or to jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginEvent {
    /// Its number, which rises.
    pub id: i64,
    /// When.
    pub at: String,
    /// Its tool type, where it is known.
    pub tool_type: Option<String>,
    /// The generation, where there is one.
    pub generation: Option<u64>,
    /// The plugin's version, where it is known.
    pub version: Option<String>,
    /// What it was, as docs/reference/events.md lists it; more may come.
    pub code: String,
    /// A sentence.
    pub message: String,
    /// The file's digest in hex, where there is one.
    pub sha256: Option<String>,
    /// Who did it: `host`, or `uid` and the number of the user who asked for it.
    pub who: String,
    /// Why, in the words of whoever asked for it.
    pub why: Option<String>,
    /// The tenant that it is about, where there is one.
    #[serde(default)]
    pub tenant: Option<String>,
}
