//! Waits: why a tenant's jobs could not run, and for how long. A wait uses up no attempt.

use crate::ids::{Incarnation, TenantId};

/// Maximum number of waits stored for each tenant and reason; the oldest are dropped first.
pub const WAITS_KEPT: u32 = 10;

/// What keeps a tenant's jobs from running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WaitReason {
    /// An operator has disabled the tenant.
    TenantDisabled,
    /// An operator has paused the jobs of the tenant, or of all tenants.
    Paused,
    /// No plugin serves the tenant's tool type.
    NoPlugin,
    /// An operator has disabled the plugin.
    PluginDisabled,
    /// The plugin is quarantined.
    PluginQuarantined,
    /// The tool has refused the tenant's credential repeatedly: only one job at a time tries.
    CredentialRefused,
}

impl WaitReason {
    const ALL: [Self; 6] = [
        Self::TenantDisabled,
        Self::Paused,
        Self::NoPlugin,
        Self::PluginDisabled,
        Self::PluginQuarantined,
        Self::CredentialRefused,
    ];

    /// The reason as a word for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TenantDisabled => "tenant_disabled",
            Self::Paused => "paused",
            Self::NoPlugin => "no_plugin",
            Self::PluginDisabled => "plugin_disabled",
            Self::PluginQuarantined => "plugin_quarantined",
            Self::CredentialRefused => "credential_refused",
        }
    }

    /// Parses the output of [`as_str`](Self::as_str).
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}

/// A period in which a tenant's jobs could not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantWait {
    /// The tenant that owns the jobs.
    pub tenant: TenantId,
    /// Which tenant with that id.
    pub incarnation: Incarnation,
    /// The reason.
    pub reason: WaitReason,
    /// When a due job first had to wait, milliseconds since the epoch.
    pub since_ms: i64,
    /// When the wait ended, milliseconds since the epoch; `None` while it lasts.
    pub until_ms: Option<i64>,
}

/// The part of a [`TenantWait`] during which one job existed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobWait {
    /// The reason.
    pub reason: WaitReason,
    /// When it began, or when the job came if that was later; milliseconds since the epoch.
    pub since_ms: i64,
    /// When it ended, or when the job ended if that was earlier; milliseconds since the epoch. `None` while it lasts.
    pub until_ms: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_read_as_they_are_written() {
        for reason in WaitReason::ALL {
            assert_eq!(WaitReason::parse(reason.as_str()), Some(reason));
        }
        assert_eq!(WaitReason::parse("bored"), None);
    }
}
