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
