//! Why the jobs of a tenant cannot run, and for how long that was so. No attempt is spent on it.

use crate::ids::{Incarnation, TenantId};

/// Waits of a tenant that are kept for each reason; the oldest go first.
pub const WAITS_KEPT: u32 = 10;

/// What keeps a tenant's jobs from running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WaitReason {
    /// An operator has disabled the tenant.
    TenantDisabled,
    /// An operator has paused the tenant's jobs, or all.
    Paused,
    /// No plugin serves its tool type.
    NoPlugin,
    /// An operator has disabled the plugin.
    PluginDisabled,
    /// The plugin is quarantined.
    PluginQuarantined,
    /// The tool has refused the tenant's credential again and again: one job at a time tries.
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

    /// A word for programs.
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

    /// Reads what [`as_str`](Self::as_str) wrote.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}

/// A time in which a tenant's jobs could not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantWait {
    /// Whose jobs.
    pub tenant: TenantId,
    /// Which tenant of that id.
    pub incarnation: Incarnation,
    /// Why.
    pub reason: WaitReason,
    /// When a job that was due had to wait first, milliseconds since the epoch.
    pub since_ms: i64,
    /// When that was over, milliseconds since the epoch; `None` while it lasts.
    pub until_ms: Option<i64>,
}

/// The part of a [`TenantWait`] in which one job was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobWait {
    /// Why.
    pub reason: WaitReason,
    /// When it began, or when the job came; milliseconds since the epoch.
    pub since_ms: i64,
    /// When it was over, or the job ended; milliseconds since the epoch. `None` while it lasts.
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
