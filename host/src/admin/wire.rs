//! The JSON of the admin API, which plugin-ctl and other programs rely on. Fields are only ever added.
//!
//! Both sides use these types. Times are RFC 3339 in UTC. Answers may contain names that an older reader does not know.
//! Requests must not, so that a misspelt setting is refused and not ignored.

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

/// The last error of a plugin's generation or of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// A stable code.
    pub code: String,
    /// A sentence.
    pub message: String,
    /// When it happened.
    pub at: String,
}

/// A host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its version.
    pub version: String,
    /// Its process id.
    pub process_id: u32,
    /// The folder that it loads plugins from: an absolute path, as the host sees it.
    pub plugin_folder: String,
    /// The folder of the host's own state: an absolute path, as the host sees it.
    pub state_folder: String,
    /// What it requires of plugins at present; null from an older host.
    #[serde(default)]
    pub rules: Option<Rules>,
}

/// A tenant to be added. Fields that are left out have their defaults.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewTenant {
    /// Its id: `[A-Za-z0-9-]{1,64}`.
    pub id: String,
    /// The tool type; `servicedesk_plus` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_type: Option<String>,
    /// The base URL of its tool.
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
    /// Networks that its webhooks may come from; if empty, they may come from anywhere.
    #[serde(default)]
    pub allow_from: Vec<String>,
    /// Maximum age of a signed timestamp, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay_window_s: Option<u32>,
    /// How far ahead of the host's clock a signed timestamp may be, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay_ahead_s: Option<u32>,
    /// The events that are enhanced: `created`, `updated`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enhance_on: Option<Vec<String>>,
    /// Whether its webhooks are accepted and its jobs run; true by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// A tenant, without the texts of its secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// Its id.
    pub id: String,
    /// The tool type.
    pub tool_type: String,
    /// The base URL of its tool.
    pub base_url: String,
    /// Whether its webhooks are accepted and its jobs run.
    pub enabled: bool,
    /// Whether its jobs wait because they, or all jobs, are paused. Its webhooks are still accepted.
    #[serde(default)]
    pub paused: bool,
    /// Settings that its plugin reads.
    pub settings: BTreeMap<String, String>,
    /// Other origins that its plugin may call.
    pub allow_origins: Vec<String>,
    /// Networks that its webhooks may come from; if empty, they may come from anywhere.
    #[serde(default)]
    pub allow_from: Vec<String>,
    /// Maximum age of a signed timestamp, in seconds.
    pub replay_window_s: u32,
    /// How far ahead of the host's clock a signed timestamp may be, in seconds.
    #[serde(default)]
    pub replay_ahead_s: u32,
    /// The events that are enhanced.
    pub enhance_on: Vec<String>,
    /// Its secrets, without their texts.
    pub secrets: Vec<SecretInfo>,
    /// Jobs that are not finished; null in lists.
    pub live_jobs: Option<u64>,
    /// Webhooks that became jobs since the host started.
    #[serde(default)]
    pub accepted: u64,
    /// Duplicate webhooks since the host started.
    #[serde(default)]
    pub duplicate: u64,
    /// Authentic webhooks that made no job, since the host started.
    #[serde(default)]
    pub ignored: u64,
    /// When the last webhook was accepted since the host started; null if none was.
    #[serde(default)]
    pub last_accepted_at: Option<String>,
    /// Webhooks refused since the host started, by status. `400`, `401`, `422`, `429` and `503` are always present.
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
    /// Until when it stays valid after a newer one has replaced it; null for the newest.
    pub expires_at: Option<String>,
    /// The state of the access token, if the secret is of the kind `oauth2`. Null for plain and replaced secrets, and
    /// in lists.
    #[serde(default)]
    pub oauth2: Option<Oauth>,
}

/// A secret of the kind `oauth2` and its access token, without their texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Oauth {
    /// `client_credentials` or `refresh_token`.
    pub grant: String,
    /// The URL that tokens are obtained from.
    pub token_url: String,
    /// When the last token was obtained since the host started.
    pub obtained_at: Option<String>,
    /// When that token expires.
    pub expires_at: Option<String>,
    /// The last error of obtaining one.
    pub last_error: Option<LastError>,
}

/// How many rows are stored for a tenant.
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
    /// What was stored for the tenant.
    #[serde(flatten)]
    pub holdings: Holdings,
    /// Until when it is kept; null if it is erased.
    pub kept_until: Option<String>,
}

/// What removed tenants have left under one id.
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
    /// The new text.
    pub value: Secret,
    /// How long the previous text stays valid, in seconds.
    pub grace_s: u32,
}

/// A job as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// `queued`, `running`, `waiting`, `dead` or `done`; a single job may also be `purged`.
    pub state: String,
    /// The tenant that owns the ticket.
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
    /// When it may next be claimed (if running: when its lease ends); live jobs only.
    pub due_at: Option<String>,
    /// When it was given up or finished.
    pub ended_at: Option<String>,
    /// Why it was given up, or how it ended.
    pub outcome: Option<String>,
    /// The last error.
    pub last_error: Option<LastError>,
    /// Whether it waits because its tenant, or all tenants, are paused.
    #[serde(default)]
    pub paused: bool,
    /// Whether it waits because the tool refuses its tenant's credential.
    #[serde(default)]
    pub credential_refused: bool,
}

/// Full information about one job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobDetail {
    /// The job as lists show it.
    #[serde(flatten)]
    pub job: Job,
    /// Failed attempts, oldest first.
    pub errors: Vec<JobError>,
    /// What its tenant's jobs waited for during its life, oldest first. Waits use up no attempts.
    #[serde(default)]
    pub waits: Vec<JobWait>,
    /// Whether an attempt may have posted the note.
    pub sent: bool,
    /// The note that was posted; done jobs only.
    pub note: Option<String>,
}

/// A period in which the jobs of a tenant could not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobWait {
    /// `tenant_disabled`, `paused`, `no_plugin`, `plugin_disabled`, `plugin_quarantined` or `credential_refused`.
    pub reason: String,
    /// The reason as a sentence, and what ends the wait.
    pub message: String,
    /// When it began, or when the job came if that was later.
    pub since: String,
    /// When it ended, or when the job ended if that was earlier; null while it lasts.
    pub until: Option<String>,
}

/// A failed attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobError {
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// When it failed.
    pub at: String,
    /// A stable code.
    pub code: String,
    /// A sentence.
    pub message: String,
}

/// The length of the queue.
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

/// How many jobs a command changed or applies to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// The number.
    pub jobs: u64,
}

/// A failure. It is sent as `application/problem+json`, and plugin-ctl writes it to standard error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// A stable code.
    pub code: String,
    /// A sentence that says what is wrong.
    pub message: String,
    /// The file concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What is still true despite the failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// How to fix it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
    /// The individual failures, if it stands for several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Problem>,
}

impl Problem {
    /// A failure with this code and sentence.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), ..Self::default() }
    }

    /// Adds the cause.
    pub fn why(self, why: impl Into<String>) -> Self {
        Self { why: Some(why.into()), ..self }
    }

    /// Adds what is still true despite the failure.
    pub fn state(self, state: impl Into<String>) -> Self {
        Self { state: Some(state.into()), ..self }
    }

    /// Adds how to fix it.
    pub fn mend(self, mend: impl Into<String>) -> Self {
        Self { mend: Some(mend.into()), ..self }
    }
}

#[cfg(test)]
mod tests;
