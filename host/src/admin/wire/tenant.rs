//! What is changed about a tenant, and what became of its webhooks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Secrets, Tenant};

/// What is to change about a tenant. What is left out stays as it is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantChange {
    /// The kind of its tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_type: Option<String>,
    /// Where its tool is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Secrets that take the place of those of their names at once.
    #[serde(default)]
    pub secrets: Secrets,
    /// Settings that it has from now on.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// Settings that it has no more, by name; and `allow_from`, by which its webhooks may come from anywhere again.
    #[serde(default)]
    pub unset: Vec<String>,
    /// Other origins that its plugin may call from now on.
    #[serde(default)]
    pub allow_origins: Vec<String>,
    /// Origins that its plugin may call no more.
    #[serde(default)]
    pub remove_origins: Vec<String>,
    /// Networks that its webhooks may come from, beside those that it has.
    #[serde(default)]
    pub allow_from: Vec<String>,
    /// Networks that its webhooks may come from no more.
    #[serde(default)]
    pub remove_from: Vec<String>,
    /// How old a signed timestamp may be, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay_window_s: Option<u32>,
    /// How far ahead of the host's clock it may be, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay_ahead_s: Option<u32>,
    /// Which events are enhanced, all of them: `created`, `updated`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enhance_on: Option<Vec<String>>,
    /// Whether its live jobs may become dead letters when the tool type or the base URL changes. Without that and with live
    /// jobs such a change is refused as `LIVE_JOBS`.
    #[serde(default)]
    pub dead_letter_jobs: bool,
}

/// A tenant after a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedTenant {
    /// As it is now.
    #[serde(flatten)]
    pub tenant: Tenant,
    /// Jobs that are dead letters now.
    pub dead_lettered: u64,
}

/// A tenant's webhooks that were refused with one status, since the host was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusals {
    /// How many.
    pub count: u64,
    /// When the last one was; null when there is none.
    pub last_at: Option<String>,
    /// Why the last one was.
    pub last_reason: Option<String>,
}

/// A webhook that is to be tried.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Try {
    /// Its body, in Base64.
    pub body: String,
    /// Its headers, in order.
    #[serde(default)]
    pub headers: Vec<Header>,
    /// Its path; `/webhooks/ID` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Its query, without the question mark.
    #[serde(default)]
    pub query: String,
    /// When it came; now when left out.
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

/// What would have become of a webhook that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    /// Whom it was for.
    pub tenant: String,
    /// The tenant's tool type.
    pub tool_type: String,
    /// The version of the plugin that looked at it; null when none did.
    pub version: Option<String>,
    /// Its generation.
    pub generation: Option<u64>,
    /// `accepted`, unless it was delivered before; `ignored`; or `refused`.
    pub outcome: String,
    /// The status that its sender would be answered.
    pub status: u16,
    /// Why it would be refused.
    pub reason: Option<String>,
    /// The kind of job that it would become; see [`Job::kind`](super::Job::kind).
    pub job: Option<String>,
    /// What the plugin reads in it, also in one that would be refused.
    pub metadata: Option<Metadata>,
    /// Why the plugin reads nothing in one that is not authentic.
    pub unread: Option<String>,
}

/// What a plugin reads in a webhook.
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
    /// What tells one delivery from another.
    pub delivery_id: Option<String>,
    /// Where a person can open the ticket.
    pub url: Option<String>,
    /// Whether nothing but ticket and event is taken from it, and the rest is read back from the tool.
    pub read_back: bool,
    /// How a resolved ticket was solved.
    pub resolution: Option<String>,
    /// When it was.
    pub resolved_at: Option<String>,
    /// Words that the tool keeps with a resolved ticket.
    pub tags: Vec<String>,
}
