//! Plugins on the wire: what serves, what lies in the folder, loading it, and what happened.

use plugin_abi::export::InfoRecord;
use serde::{Deserialize, Serialize};

use super::LastError;
use crate::plugin::confine::Level;

/// The signature of a file that carries none.
pub const UNSIGNED: &str = "unsigned";

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
    /// [`UNSIGNED`], or null without a file.
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
    /// [`UNSIGNED`].
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
    /// The private copy that is mapped; null while nothing serves.
    pub copy: Option<String>,
    /// What shut in the process that tried it; null while nothing serves.
    pub confinement: Option<Confinement>,
    /// Its generations that are not gone, the active one included.
    pub generations: Vec<Generation>,
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
        Self { files: level.files, calls: level.calls, text: level.to_string() }
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

/// Asks for a reload: of what has changed, of one tool type, or of all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reload {
    /// This one, also when its file has not changed.
    pub tool_type: Option<String>,
    /// All, also those that have not changed.
    pub all: bool,
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

/// Something that happened to a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginEvent {
    /// When.
    pub at: String,
    /// Its tool type, where it is known.
    pub tool_type: Option<String>,
    /// The generation, where there is one.
    pub generation: Option<u64>,
    /// What it was: `serves`, `refused`, `missing`, `retained`, `gone`, `crashed`, `loader_stuck`, `enabled`; more may
    /// come.
    pub code: String,
    /// A sentence.
    pub message: String,
    /// The file's digest in hex, where there is one.
    pub sha256: Option<String>,
}
