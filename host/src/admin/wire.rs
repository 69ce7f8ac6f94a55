//! What travels over the admin socket: the JSON that plugin-ctl and other programs rely on. Fields are only ever added.
//!
//! Both sides use these types. Times are RFC 3339 in UTC. Answers may hold names that an older reader does not know;
//! requests must not, so that a misspelt setting is refused and not ignored.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

mod plugin;
mod secret;
mod tenant;

pub use self::{
    plugin::{
        Candidate, Confinement, Generation, Installed, Kept, Pin, Plugin, PluginDetail, PluginEvent, PluginFile,
        Reason, Reload, Reloaded, Rules,
    },
    secret::{Secret, Secrets},
    tenant::{ChangedTenant, Header, Metadata, Refusals, TenantChange, Tried, Try},
};

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

/// A host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its version.
    pub version: String,
    /// Its process id.
    pub process_id: u32,
    /// The folder that it takes plugins from: an absolute path, as the host sees it.
    pub plugin_folder: String,
    /// The folder of all that it keeps: likewise.
    pub state_folder: String,
    /// What it asks of plugins now; null of an older host.
    #[serde(default)]
    pub rules: Option<Rules>,
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
    /// Networks that its webhooks may come from; none: anywhere.
    #[serde(default)]
    pub allow_from: Vec<String>,
    /// How old a signed timestamp may be, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay_window_s: Option<u32>,
    /// How far ahead of the host's clock it may be, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay_ahead_s: Option<u32>,
    /// Which events are enhanced: `created`, `updated`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enhance_on: Option<Vec<String>>,
    /// Whether its webhooks are taken and its jobs run; they are, when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
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
    /// Whether its jobs wait because they, or the jobs of all, are paused. Its webhooks are taken all the same.
    #[serde(default)]
    pub paused: bool,
    /// Settings that its plugin reads.
    pub settings: BTreeMap<String, String>,
    /// Other origins that its plugin may call.
    pub allow_origins: Vec<String>,
    /// Networks that its webhooks may come from; none: anywhere.
    #[serde(default)]
    pub allow_from: Vec<String>,
    /// How old a signed timestamp may be, in seconds.
    pub replay_window_s: u32,
    /// How far ahead of the host's clock it may be, in seconds.
    #[serde(default)]
    pub replay_ahead_s: u32,
    /// Which events are enhanced.
    pub enhance_on: Vec<String>,
    /// What secrets it has.
    pub secrets: Vec<SecretInfo>,
    /// Jobs that are not finished; null in lists.
    pub live_jobs: Option<u64>,
    /// Webhooks that became jobs since the host was started.
    #[serde(default)]
    pub accepted: u64,
    /// Webhooks that had been accepted before, since then.
    #[serde(default)]
    pub duplicate: u64,
    /// Authentic webhooks that made no work, since then.
    #[serde(default)]
    pub ignored: u64,
    /// When the last one was accepted since then; null when none was.
    #[serde(default)]
    pub last_accepted_at: Option<String>,
    /// Webhooks that were refused since then, by status: `400`, `401`, `422`, `429` and `503`, each of them always.
    #[serde(default)]
    pub refusals: BTreeMap<String, Refusals>,
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
    /// How it stands with the access token, when the secret is of the kind `oauth2`; null for plain ones, for replaced
    /// ones, and in lists.
    #[serde(default)]
    pub oauth2: Option<Oauth>,
}

/// A secret of the kind `oauth2` and its access token, without their texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Oauth {
    /// `client_credentials` or `refresh_token`.
    pub grant: String,
    /// Where tokens are obtained.
    pub token_url: String,
    /// When the last one was, since the host was started.
    pub obtained_at: Option<String>,
    /// When that one ends.
    pub expires_at: Option<String>,
    /// Why there was none, last.
    pub last_error: Option<LastError>,
}

/// What is stored for a tenant, in rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holdings {
    /// Live jobs.
    pub jobs: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// Solved tickets.
    pub solved_tickets: u64,
    /// Notes, and enhancements that were given up.
    pub notes: u64,
}

/// What was removed with a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedTenant {
    /// The tenant.
    pub id: String,
    /// What was stored for it.
    #[serde(flatten)]
    pub holdings: Holdings,
    /// Until when that is kept; null when it is erased.
    pub kept_until: Option<String>,
}

/// What tenants that were removed have left behind under one id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remains {
    /// The id.
    pub id: String,
    /// What is, or was, stored.
    #[serde(flatten)]
    pub holdings: Holdings,
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
    /// `queued`, `running`, `waiting`, `dead` or `done`; of a single job also `purged`.
    pub state: String,
    /// Whose ticket it is.
    pub tenant: String,
    /// The tool type it was accepted for.
    pub tool_type: String,
    /// `enhance`, `record`, `confirm` or `reopen`.
    pub kind: String,
    /// The ticket.
    pub ticket_id: String,
    /// The webhook's id.
    pub correlation_id: String,
    /// Attempts made, a running one included.
    pub attempts: u32,
    /// When it was accepted.
    pub accepted_at: String,
    /// When it was put back, if it was a dead letter; null otherwise.
    #[serde(default)]
    pub retried_at: Option<String>,
    /// When it may next be taken (running: when its lease ends); live jobs only.
    pub due_at: Option<String>,
    /// When it was given up or finished.
    pub ended_at: Option<String>,
    /// Why it was given up, or how it ended.
    pub outcome: Option<String>,
    /// What went wrong last.
    pub last_error: Option<LastError>,
    /// Whether it waits because its tenant, or all tenants, are paused.
    #[serde(default)]
    pub paused: bool,
    /// Whether it waits because the tool refuses its tenant's credential.
    #[serde(default)]
    pub credential_refused: bool,
}

/// Everything about one job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobDetail {
    /// As in the list.
    #[serde(flatten)]
    pub job: Job,
    /// Failed attempts, the oldest first.
    pub errors: Vec<JobError>,
    /// What its tenant's jobs waited for while it was there, the oldest first. No attempt was spent on it.
    #[serde(default)]
    pub waits: Vec<JobWait>,
    /// Whether an attempt may have posted the note.
    pub sent: bool,
    /// The note that was posted; done jobs only.
    pub note: Option<String>,
}

/// A time in which the jobs of a tenant could not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobWait {
    /// `tenant_disabled`, `paused`, `no_plugin`, `plugin_disabled`, `plugin_quarantined` or `credential_refused`.
    pub reason: String,
    /// Why, and what ends it.
    pub message: String,
    /// When it began, or when the job came.
    pub since: String,
    /// When it was over, or the job ended; null while it lasts.
    pub until: Option<String>,
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
    /// Whether the jobs of all tenants are paused.
    #[serde(default)]
    pub paused: bool,
}

/// How many jobs a command changed, or is about.
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
