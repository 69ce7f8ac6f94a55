//! What travels over the admin socket: the JSON that plugin-ctl and other programs rely on. Fields are only ever added.
//!
//! Both sides use these types. Times are RFC 3339 in UTC. Answers may hold names that an older reader does not know;
//! requests must not, so that a misspelt setting is refused and not ignored.

use std::collections::BTreeMap;

use plugin_abi::export::InfoRecord;
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

mod secret;

pub use self::secret::{Secret, Secrets};

/// The signature of a file that carries none.
pub const UNSIGNED: &str = "unsigned";
/// The last millisecond of the year 9999, after which RFC 3339 has no times.
const TIME_MS_MAX: i64 = 253_402_300_799_999;

/// Milliseconds since the epoch as RFC 3339.
pub fn rfc3339(at_ms: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at_ms.clamp(0, TIME_MS_MAX)) * 1_000_000);
    at.expect("within 1970 to 9999").format(&Rfc3339).expect("four-digit years have an RFC 3339 form")
}

/// What went wrong, last: of a plugin's generation or of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// A stable code.
    pub code: String,
    /// A sentence.
    pub message: String,
    /// When.
    pub at: String,
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
    /// Its generations that are not gone, the active one included.
    pub generations: Vec<Generation>,
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

/// A tenant to be added. What is left out has its default.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewTenant {
    /// Its id: `[A-Za-z0-9-]{1,64}`.
    pub id: String,
    /// The kind of its tool; `servicedesk_plus` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_type: Option<String>,
    /// Where its tool is.
    pub base_url: String,
    /// Its first secrets, by name.
    #[serde(default)]
    pub secrets: Secrets,
    /// Settings that its plugin reads.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// Other origins that its plugin may call.
    #[serde(default)]
    pub allow_origins: Vec<String>,
    /// How old a signed timestamp may be, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay_window_s: Option<u32>,
    /// Which events are enhanced: `created`, `updated`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enhance_on: Option<Vec<String>>,
}

/// A tenant as it may be shown: no secret's text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// Its id.
    pub id: String,
    /// The kind of its tool.
    pub tool_type: String,
    /// Where its tool is.
    pub base_url: String,
    /// Whether its webhooks are taken and its jobs run.
    pub enabled: bool,
    /// Settings that its plugin reads.
    pub settings: BTreeMap<String, String>,
    /// Other origins that its plugin may call.
    pub allow_origins: Vec<String>,
    /// How old a signed timestamp may be, in seconds.
    pub replay_window_s: u32,
    /// Which events are enhanced.
    pub enhance_on: Vec<String>,
    /// What secrets it has.
    pub secrets: Vec<SecretInfo>,
    /// Jobs that are not finished; null in lists.
    pub live_jobs: Option<u64>,
}

/// A secret without its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretInfo {
    /// Its name.
    pub name: String,
    /// When it was set.
    pub created_at: String,
    /// Until when it is still good after a newer one has taken its place; null for the newest.
    pub expires_at: Option<String>,
}

/// What a removed tenant took with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedTenant {
    /// The tenant.
    pub id: String,
    /// Jobs that are dead letters now.
    pub dead_lettered: u64,
}

/// A new text for a secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateSecret {
    /// The text.
    pub value: Secret,
    /// For how long the text before it stays good, in seconds.
    pub grace_s: u32,
}

/// A job as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// `queued`, `running`, `waiting`, `dead` or `done`.
    pub state: String,
    /// Whose ticket it is.
    pub tenant: String,
    /// The tool type it was accepted for.
    pub tool_type: String,
    /// `enhance` or `record`.
    pub kind: String,
    /// The ticket.
    pub ticket_id: String,
    /// The webhook's id.
    pub correlation_id: String,
    /// Attempts made, a running one included.
    pub attempts: u32,
    /// When it was accepted, or put back.
    pub accepted_at: String,
    /// When it may next be taken (running: when its lease ends); live jobs only.
    pub due_at: Option<String>,
    /// When it was given up or finished.
    pub ended_at: Option<String>,
    /// Why it was given up, or how it ended.
    pub outcome: Option<String>,
    /// What went wrong last.
    pub last_error: Option<LastError>,
}

/// Everything about one job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobDetail {
    /// As in the list.
    #[serde(flatten)]
    pub job: Job,
    /// Failed attempts, the oldest first.
    pub errors: Vec<JobError>,
    /// Whether an attempt may have posted the note.
    pub sent: bool,
    /// The note that was posted; done jobs only.
    pub note: Option<String>,
}

/// A failed attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobError {
    /// Which attempt it was, from 1.
    pub attempt: u32,
    /// When it failed.
    pub at: String,
    /// A stable code.
    pub code: String,
    /// A sentence.
    pub message: String,
}

/// How much waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// Jobs that are queued, running or waiting.
    pub live: u64,
    /// Dead letters.
    pub dead: u64,
    /// How long ago the oldest live job was accepted, in milliseconds.
    pub oldest_age_ms: i64,
}

/// How many dead letters a command changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// The number.
    pub jobs: u64,
}

/// A failure, as `application/problem+json` and as what plugin-ctl writes on standard error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// A stable code.
    pub code: String,
    /// What is wrong, in a sentence.
    pub message: String,
    /// The file that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What is still true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// How to mend it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
    /// The single failures, when it stands for several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Problem>,
}

impl Problem {
    /// A failure with this code and sentence.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), ..Self::default() }
    }

    /// Says why.
    pub fn why(self, why: impl Into<String>) -> Self {
        Self { why: Some(why.into()), ..self }
    }

    /// Says what is still true.
    pub fn state(self, state: impl Into<String>) -> Self {
        Self { state: Some(state.into()), ..self }
    }

    /// Says how to mend it.
    pub fn mend(self, mend: impl Into<String>) -> Self {
        Self { mend: Some(mend.into()), ..self }
    }
}

#[cfg(test)]
mod tests;
