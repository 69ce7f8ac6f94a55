//! Tracks tools that are failing. A single failure only causes another attempt. A tool that keeps failing one tenant,
//! or every tenant of its type, gets a warning, because somebody should look at it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use plugin_abi::PluginError;

use crate::{
    ids::{TenantId, ToolType},
    plugin::generation::CallError,
    telemetry::seldom::SeldomBy,
    tenant::Tenant,
};

/// Consecutive failures of one tenant's tool that cause a warning.
const FAILURES_MAX: u32 = 5;
/// How long a tool's last answer says something about its present state.
const LATELY: Duration = Duration::from_secs(600);
/// Minimum time between two warnings about one tool.
const TOLD_EVERY: Duration = Duration::from_secs(600);
/// Maximum number of tools with separate warnings in the log.
const KEYS_MAX: usize = 10_000;

/// The tools' recent answers. It is cheap to clone, and all clones share one state, in memory only.
#[derive(Debug, Clone)]
pub struct Tools {
    tenants: Arc<Mutex<HashMap<TenantId, Lately>>>,
    told: Arc<SeldomBy<About>>,
}

/// Recent answers of one tenant's tool.
#[derive(Debug, Clone)]
struct Lately {
    tool_type: ToolType,
    failures_in_a_row: u32,
    /// Whether a warning was logged, so that the recovery is logged too.
    is_told: bool,
    asked_at: Instant,
}

/// What a warning is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum About {
    Tenant(TenantId),
    Everybody(ToolType),
}

/// How serious a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fails {
    /// It needs no attention.
    Sometimes,
    /// This tenant's tool has failed this many times in a row.
    AgainAndAgain(u32),
    /// The tools of all recently asked tenants of this type, this many, are failing repeatedly.
    Everybody(usize),
}

impl Default for Tools {
    fn default() -> Self {
        Self { tenants: Arc::default(), told: Arc::new(SeldomBy::new(TOLD_EVERY, KEYS_MAX)) }
    }
}

impl Tools {
    /// Records the result of a job's call. Failures of the plugin or the ticket say nothing about the tool, and refused
    /// credentials are logged elsewhere.
    pub(super) fn heard<T>(&self, tenant: &Tenant, answer: &Result<T, CallError>) {
        match answer {
            Ok(_) => self.works(tenant),
            Err(CallError::Plugin(
                error @ (PluginError::Api { .. } | PluginError::RateLimit { .. } | PluginError::Malformed(_)),
            )) => self.fails(tenant, error),
            Err(_) => {}
        }
    }

    fn works(&self, tenant: &Tenant) {
        let now = Instant::now();
        let was_told = {
            let mut tenants = self.lock();
            let lately = entry(&mut tenants, tenant, now);
            lately.failures_in_a_row = 0;
            std::mem::take(&mut lately.is_told)
        };
        if was_told {
            tracing::info!("the tool of tenant {} works again", tenant.id);
        }
    }

    fn fails(&self, tenant: &Tenant, error: &PluginError) {
        let found = {
            let mut tenants = self.lock();
            let found = after_failure(&mut tenants, tenant, Instant::now());
            if found != Fails::Sometimes
                && let Some(lately) = tenants.get_mut(&tenant.id)
            {
                lately.is_told = true;
            }
            found
        };
        match found {
            Fails::Sometimes => {}
            Fails::Everybody(tenants) => {
                if let Some(left_out) = self.told.due(About::Everybody(tenant.tool_type.clone())) {
                    tracing::warn!(
                        tenants,
                        left_out,
                        "the tool fails for every tenant of tool type {} that was asked lately ({tenants}): their jobs are tried \
                         again; the last answer: {error}",
                        tenant.tool_type
                    );
                }
            }
            Fails::AgainAndAgain(failures) => {
                if let Some(left_out) = self.told.due(About::Tenant(tenant.id.clone())) {
                    tracing::warn!(
                        failures,
                        left_out,
                        "the tool of tenant {} has failed {failures} times in a row: its jobs are tried again; the last answer: \
                         {error}",
                        tenant.id
                    );
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, Lately>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn entry<'a>(tenants: &'a mut HashMap<TenantId, Lately>, tenant: &Tenant, now: Instant) -> &'a mut Lately {
    let new = || Lately { tool_type: tenant.tool_type.clone(), failures_in_a_row: 0, is_told: false, asked_at: now };
    let lately = tenants.entry(tenant.id.clone()).or_insert_with(new);
    if lately.tool_type != tenant.tool_type {
        *lately = new();
    }
    lately.asked_at = now;
    lately
}

/// Counts one more failure. Also forgets tenants that were not asked recently, removed ones included.
fn after_failure(tenants: &mut HashMap<TenantId, Lately>, tenant: &Tenant, now: Instant) -> Fails {
    tenants.retain(|_, lately| now.saturating_duration_since(lately.asked_at) < LATELY);
    let lately = entry(tenants, tenant, now);
    lately.failures_in_a_row = lately.failures_in_a_row.saturating_add(1);
    let failures = lately.failures_in_a_row;
    let same = || tenants.values().filter(|lately| lately.tool_type == tenant.tool_type);
    match () {
        () if same().count() > 1 && same().all(|lately| lately.failures_in_a_row > 0) => {
            Fails::Everybody(same().count())
        }
        () if failures >= FAILURES_MAX => Fails::AgainAndAgain(failures),
        () => Fails::Sometimes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::NewTenant;

    fn tenant(id: &str, tool_type: &str) -> Tenant {
        let (id, tool_type) = (TenantId::parse(id).unwrap(), ToolType::parse(tool_type).unwrap());
        NewTenant::new(id, tool_type, "https://desk.example").check().unwrap()
    }

    #[test]
    fn one_tenants_tool_again_and_again_and_everybodys() {
        let [a, b, c] = [("a", "desk"), ("b", "desk"), ("c", "other")].map(|(id, tool_type)| tenant(id, tool_type));
        let (mut tenants, start) = (HashMap::new(), Instant::now());
        let at = |s| start + Duration::from_secs(s);
        for failures in 1..FAILURES_MAX {
            assert_eq!(after_failure(&mut tenants, &a, at(0)), Fails::Sometimes, "{failures}");
        }
        assert_eq!(after_failure(&mut tenants, &a, at(1)), Fails::AgainAndAgain(FAILURES_MAX));
        assert_eq!(after_failure(&mut tenants, &c, at(1)), Fails::Sometimes, "another tool");
        assert_eq!(after_failure(&mut tenants, &b, at(2)), Fails::Everybody(2));
        entry(&mut tenants, &b, at(3)).failures_in_a_row = 0;
        assert_eq!(after_failure(&mut tenants, &a, at(4)), Fails::AgainAndAgain(FAILURES_MAX + 1), "b works");
        // Tenant b was not asked recently: a is alone.
        assert_eq!(after_failure(&mut tenants, &a, at(602)), Fails::AgainAndAgain(FAILURES_MAX + 2));
        assert_eq!(after_failure(&mut tenants, &a, at(604)), Fails::AgainAndAgain(FAILURES_MAX + 3));
        assert!(!tenants.contains_key(&b.id), "it is forgotten");
    }

    #[test]
    fn a_tool_that_works_again_begins_anew() {
        let (tools, a) = (Tools::default(), tenant("a", "desk"));
        let failed: Result<(), _> = Err(CallError::Plugin(PluginError::api("x")));
        for _ in 0..FAILURES_MAX {
            tools.heard(&a, &failed);
        }
        assert!(tools.lock()[&a.id].is_told);
        tools.heard(&a, &Ok(()));
        let lately = tools.lock()[&a.id].clone();
        assert_eq!((lately.failures_in_a_row, lately.is_told), (0, false));
        tools.heard::<()>(&a, &Err(CallError::Lost));
        assert_eq!(tools.lock()[&a.id].failures_in_a_row, 0, "that is not the tool's");
    }
}
