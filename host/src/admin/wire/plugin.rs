//! Plugins in the JSON of the admin API: plugins, files of the folder, reloads and events.

use plugin_abi::{declared::Declaration, export::InfoRecord};
use serde::{Deserialize, Serialize};

use super::LastError;
use crate::plugin::confine::Level;

/// What a host requires of every plugin file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// Whether a trusted key must have signed it.
    pub require_signature: bool,
    /// The trusted minisign public keys, as in `plugins.trusted_keys`.
    pub trusted_keys: Vec<String>,
    /// Who may write plugin files, beside root and the host's user: `strict`, `group` or `volume`.
    pub permissions: String,
    /// The host's user id.
    pub user: u32,
}

/// A tool type, or a refused file without one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plugin {
    /// The tool type; null for a file without one.
    pub tool_type: Option<String>,
    /// The version that serves.
    pub version: Option<String>,
    /// The state: `active`, `draining`, `standby`, `refused`, `quarantined`, `disabled`, `retained` or `missing`.
    pub state: String,
    /// The generation that serves.
    pub generation: Option<u64>,
    /// The file that it was loaded from.
    pub path: Option<String>,
    /// The file's digest, in hex.
    pub sha256: Option<String>,
    /// The result of checking the file's signature: `unsigned`, `trusted(<key id>)`, `unknown key(<key id>)` or
    /// `modified`; null without a file.
    pub signature: Option<String>,
    /// When it was loaded.
    pub loaded_at: Option<String>,
    /// Calls under way.
    pub in_flight: usize,
    /// Number of calls to this generation.
    pub calls: u64,
    /// Number of calls that failed by the plugin's own fault.
    pub errors: u64,
    /// The last such failure; for a refused file, the refusal.
    pub last_error: Option<LastError>,
    /// A newer file that was refused.
    pub candidate: Option<Candidate>,
    /// The only version or digest that may serve.
    #[serde(default)]
    pub pinned: Option<String>,
}

/// A newer file that was refused while the current plugin keeps serving.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The file.
    pub path: String,
    /// Its version, if it could be read.
    pub version: Option<String>,
    /// Its digest, if it could be read.
    pub sha256: Option<String>,
    /// The stable code of the refusal.
    pub code: String,
    /// The refusal as a sentence.
    pub reason: String,
}

/// A file in the plugin folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginFile {
    /// Its path.
    pub path: String,
    /// Its state; see [`Plugin::state`].
    pub state: String,
    /// Its tool type, if it could be read.
    pub tool_type: Option<String>,
    /// Its version, if it could be read.
    pub version: Option<String>,
    /// Its digest, if it could be read.
    pub sha256: Option<String>,
    /// As [`Plugin::signature`]; null if the file could not be read.
    pub signature: Option<String>,
    /// The stable code of its refusal.
    pub code: Option<String>,
    /// The refusal as a sentence.
    pub reason: Option<String>,
}

/// Full information about one tool type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginDetail {
    /// The plugin as lists show it.
    #[serde(flatten)]
    pub plugin: Plugin,
    /// What the plugin says about itself; null while nothing serves.
    pub info: Option<InfoRecord>,
    /// The settings and secrets that it declares; null if it declares none, or nothing serves.
    #[serde(default)]
    pub declares: Option<Declaration>,
    /// The mapped private copy; null while nothing serves.
    pub copy: Option<String>,
    /// How the process that tried it was confined; null while nothing serves.
    pub confinement: Option<Confinement>,
    /// Its generations that are still in memory, the active one included.
    pub generations: Vec<Generation>,
    /// Earlier artifacts that are kept, latest first: the targets of a rollback or pin.
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
    /// When it last began to serve.
    pub served_at: String,
    /// The file in the folder that it came from; null from an older host.
    #[serde(default)]
    pub path: Option<String>,
    /// The path of its copy; null from an older host.
    #[serde(default)]
    pub copy: Option<String>,
    /// Why it is passed over, if it was rolled back.
    pub passed_over: Option<String>,
}

/// A request that one version or digest serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// A version, or at least eight digits of a SHA-256.
    pub to: String,
    /// The reason: one line of 1 to 500 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The confinement of the process that tries a plugin. It depends on the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// Whether opening files and reaching TCP ports is blocked.
    pub files: bool,
    /// Whether starting programs or processes and opening sockets is blocked.
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

/// The body of a request that only needs a reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reason {
    /// The reason: one line of 1 to 500 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A request to reload what has changed, one tool type, or everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reload {
    /// The tool type to reload, even if its file has not changed.
    pub tool_type: Option<String>,
    /// Whether to reload everything, even unchanged files.
    pub all: bool,
    /// The reason: one line of 1 to 500 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Reports that a file has been put into the plugin folder, and requests to load it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Installed {
    /// Its name in the folder.
    pub file: String,
    /// The reason: one line of 1 to 500 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a reload did with one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Its tool type, if it could be read.
    pub tool_type: Option<String>,
    /// The file.
    pub path: String,
    /// Its version, if it could be read.
    pub version: Option<String>,
    /// Its digest, if it could be read.
    pub sha256: Option<String>,
    /// The generation that serves now; null if the file was refused.
    pub generation: Option<u64>,
    /// The stable code of the refusal.
    pub code: Option<String>,
    /// The refusal as a sentence.
    pub reason: Option<String>,
    /// How to fix it.
    pub mend: Option<String>,
}

/// An entry of the journal: something that happened to a plugin, or was done to a tenant or to jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginEvent {
    /// Its number, which only rises.
    pub id: i64,
    /// When it happened.
    pub at: String,
    /// The plugin's tool type, if known.
    pub tool_type: Option<String>,
    /// The generation, if there is one.
    pub generation: Option<u64>,
    /// The plugin's version, if known.
    pub version: Option<String>,
    /// The code of what happened, as docs/reference/events.md lists them; more may be added.
    pub code: String,
    /// A sentence.
    pub message: String,
    /// The file's SHA-256 in hex, if there is a file.
    pub sha256: Option<String>,
    /// Who caused it: `host`, or `uid` and the number of the user who asked for it.
    pub who: String,
    /// The reason, in the words of the user who asked for it.
    pub why: Option<String>,
    /// The tenant concerned, if any.
    #[serde(default)]
    pub tenant: Option<String>,
}
