//! Changes of a tenant, and trial webhooks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Secrets, Tenant};

/// Changes of a tenant. Fields that are left out stay as they are.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantChange {
    /// The new tool type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_type: Option<String>,
    /// The new base URL of its tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Secrets to set; each replaces the one of its name at once.
    #[serde(default)]
    pub secrets: Secrets,
    /// Settings to add or replace.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// Names of settings to remove. `allow_from` lets its webhooks come from anywhere again.
    #[serde(default)]
    pub unset: Vec<String>,
    /// Origins to add to those that its plugin may call.
    #[serde(default)]
    pub allow_origins: Vec<String>,
    /// Origins that its plugin may no longer call.
    #[serde(default)]
    pub remove_origins: Vec<String>,
    /// Networks to add to those that its webhooks may come from.
    #[serde(default)]
    pub allow_from: Vec<String>,
    /// Networks that its webhooks may no longer come from.
    #[serde(default)]
    pub remove_from: Vec<String>,
    /// Maximum age of a signed timestamp, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay_window_s: Option<u32>,
    /// How far ahead of the host's clock a signed timestamp may be, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay_ahead_s: Option<u32>,
    /// The complete list of enhanced events: `created`, `updated`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enhance_on: Option<Vec<String>>,
    /// Whether its live jobs may become dead letters when the tool type or the base URL changes. Without it, such a
    /// change is refused as `LIVE_JOBS` if there are live jobs.
    #[serde(default)]
    pub dead_letter_jobs: bool,
}

/// A tenant after a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedTenant {
    /// The tenant after the change.
    #[serde(flatten)]
    pub tenant: Tenant,
    /// How many jobs became dead letters.
    pub dead_lettered: u64,
}

/// A tenant's webhooks refused with one status since the host started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusals {
    /// How many.
    pub count: u64,
    /// When the last one was refused; null if there is none.
    pub last_at: Option<String>,
    /// Why the last one was refused.
    pub last_reason: Option<String>,
}

/// A webhook to try.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Try {
    /// Its body, in Base64.
    pub body: String,
    /// Its headers, in order.
    #[serde(default)]
    pub headers: Vec<Header>,
    /// Its path; `/webhooks/ID` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Its query, without the question mark.
    #[serde(default)]
    pub query: String,
    /// When it came; now by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
}

/// A header of a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// How a webhook that was tried would be answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    /// The tenant that it was for.
    pub tenant: String,
    /// The tenant's tool type.
    pub tool_type: String,
    /// The version of the plugin that read it; null if none did.
    pub version: Option<String>,
    /// Its generation.
    pub generation: Option<u64>,
    /// `accepted`, unless it was delivered before; `ignored`; or `refused`.
    pub outcome: String,
    /// The status that its sender would get.
    pub status: u16,
    /// Why it would be refused.
    pub reason: Option<String>,
    /// The kind of job that it would become; see [`Job::kind`](super::Job::kind).
    pub job: Option<String>,
    /// The plugin's reading of it, even if it would be refused.
    pub metadata: Option<Metadata>,
    /// Why the plugin cannot read a webhook that is not authentic.
    pub unread: Option<String>,
}

/// The plugin's reading of a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// The tenant that it names.
    pub tenant_id: Option<String>,
    /// The ticket.
    pub ticket_id: String,
    /// `created`, `updated`, `resolved`, `reopened` or `other`.
    pub event: String,
    /// The ticket's subject.
    pub subject: Option<String>,
    /// Its description.
    pub description: Option<String>,
    /// `high`, `medium` or `low`.
    pub priority: String,
    /// The priority as the tool writes it.
    pub raw_priority: Option<String>,
    /// When the ticket was created.
    pub created_at: Option<String>,
    /// When the event happened.
    pub occurred_at: Option<String>,
    /// The tool's identifier of the delivery.
    pub delivery_id: Option<String>,
    /// A link for people.
    pub url: Option<String>,
    /// Whether only ticket and event are taken from it, and the rest is read from the tool.
    pub read_back: bool,
    /// How a resolved ticket was solved.
    pub resolution: Option<String>,
    /// When the ticket was resolved.
    pub resolved_at: Option<String>,
    /// The tool's tags for a resolved ticket.
    pub tags: Vec<String>,
}
