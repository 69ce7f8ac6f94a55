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
/// Interval between two searches for tenants that were not asked recently.
const SWEPT_EVERY: Duration = Duration::from_secs(60);

/// The tools' recent answers. It is cheap to clone, and all clones share one state, in memory only.
#[derive(Debug, Clone)]
pub struct Tools {
    lately: Arc<Mutex<Lately>>,
    told: Arc<SeldomBy<About>>,
}

/// Recent answers, by tenant and by tool type.
#[derive(Debug)]
struct Lately {
    tenants: HashMap<TenantId, OneTool>,
    types: HashMap<ToolType, AllTools>,
    swept_at: Instant,
}

/// The tool of one tenant.
#[derive(Debug)]
struct OneTool {
    tool_type: ToolType,
    failures_in_a_row: u32,
    /// Whether a warning was logged, so that the recovery is logged too.
    is_told: bool,
    asked_at: Instant,
}

/// The tools of one type, over all recently asked tenants.
#[derive(Debug, Default)]
struct AllTools {
    asked: usize,
    failing: usize,
    /// As [`OneTool::is_told`], for the type.
    is_told: bool,
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
    /// The tools of all recently asked tenants of this type, this many, are failing.
    Everybody(usize),
}

impl Default for Tools {
    fn default() -> Self {
        Self {
            lately: Arc::new(Mutex::new(Lately::new(Instant::now()))),
            told: Arc::new(SeldomBy::new(TOLD_EVERY, KEYS_MAX)),
        }
    }
}

impl Tools {
    /// Records the result of a job's call. Failures of the plugin or the ticket say nothing about the tool, and refused
    /// credentials have their own log lines.
    pub(super) fn heard<T>(&self, tenant: &Tenant, answer: &Result<T, CallError>) {
        match answer {
            Ok(_) => {
                if self.lock().works(tenant, Instant::now()) {
                    tracing::info!("the tool of tenant {} works again", tenant.id);
                }
            }
            Err(CallError::Plugin(
                error @ (PluginError::Api { .. } | PluginError::RateLimit { .. } | PluginError::Malformed(_)),
            )) => self.fails(tenant, error),
            Err(_) => {}
        }
    }

    fn fails(&self, tenant: &Tenant, error: &PluginError) {
        let found = self.lock().fails(tenant, Instant::now());
        let (id, tool_type) = (&tenant.id, &tenant.tool_type);
        match found {
            Fails::Sometimes => {}
            Fails::Everybody(tenants) => {
                let Some(left_out) = self.told.due(About::Everybody(tool_type.clone())) else { return };
                tracing::warn!(
                    tenants,
                    left_out,
                    "the tool fails for every tenant of tool type {tool_type} that was asked lately ({tenants}): their jobs are tried \
                     again; the last answer: {error}"
                );
                if let Some(all) = self.lock().types.get_mut(tool_type) {
                    all.is_told = true;
                }
            }
            Fails::AgainAndAgain(failures) => {
                let Some(left_out) = self.told.due(About::Tenant(id.clone())) else { return };
                tracing::warn!(
                    failures,
                    left_out,
                    "the tool of tenant {id} has failed {failures} times in a row: its jobs are tried again; the last answer: {error}"
                );
                if let Some(one) = self.lock().tenants.get_mut(id) {
                    one.is_told = true;
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lately> {
        self.lately.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lately {
    fn new(now: Instant) -> Self {
        Self { tenants: HashMap::new(), types: HashMap::new(), swept_at: now }
    }

    /// Records that the tenant's tool has answered. Returns whether the log has a warning about it.
    fn works(&mut self, tenant: &Tenant, now: Instant) -> bool {
        let (one, all) = self.asked(tenant, now);
        if std::mem::take(&mut one.failures_in_a_row) > 0 {
            all.failing -= 1;
        }
        std::mem::take(&mut one.is_told) | std::mem::take(&mut all.is_told)
    }

    /// Counts one more failure of the tenant's tool.
    fn fails(&mut self, tenant: &Tenant, now: Instant) -> Fails {
        self.sweep(now);
        let (one, all) = self.asked(tenant, now);
        if one.failures_in_a_row == 0 {
            all.failing += 1;
        }
        one.failures_in_a_row = one.failures_in_a_row.saturating_add(1);
        match one.failures_in_a_row {
            _ if all.asked > 1 && all.failing == all.asked => Fails::Everybody(all.asked),
            failures if failures >= FAILURES_MAX => Fails::AgainAndAgain(failures),
            _ => Fails::Sometimes,
        }
    }

    fn asked(&mut self, tenant: &Tenant, now: Instant) -> (&mut OneTool, &mut AllTools) {
        let (id, tool_type) = (&tenant.id, &tenant.tool_type);
        if self.tenants.get(id).is_none_or(|one| one.tool_type != *tool_type) {
            self.forget(id);
            let (tool_type, failures_in_a_row, is_told) = (tool_type.clone(), 0, false);
            self.types.entry(tool_type.clone()).or_default().asked += 1;
            self.tenants.insert(id.clone(), OneTool { tool_type, failures_in_a_row, is_told, asked_at: now });
        }
        let one = self.tenants.get_mut(id).expect("it was put there if it was not there");
        one.asked_at = now;
        (one, self.types.entry(tool_type.clone()).or_default())
    }

    /// Forgets tenants that were not asked recently, removed ones included.
    fn sweep(&mut self, now: Instant) {
        if now.saturating_duration_since(self.swept_at) < SWEPT_EVERY {
            return;
        }
        self.swept_at = now;
        let is_old = |one: &OneTool| now.saturating_duration_since(one.asked_at) >= LATELY;
        let old: Vec<_> = self.tenants.iter().filter(|(_, one)| is_old(one)).map(|(id, _)| id.clone()).collect();
        for id in old {
            self.forget(&id);
        }
    }

    fn forget(&mut self, id: &TenantId) {
        let Some(one) = self.tenants.remove(id) else { return };
        let Some(all) = self.types.get_mut(&one.tool_type) else { return };
        all.asked -= 1;
        all.failing -= usize::from(one.failures_in_a_row > 0);
        if all.asked == 0 {
            self.types.remove(&one.tool_type);
        }
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
        let start = Instant::now();
        let (mut lately, at) = (Lately::new(start), |s| start + Duration::from_secs(s));
        for failures in 1..FAILURES_MAX {
            assert_eq!(lately.fails(&a, at(0)), Fails::Sometimes, "{failures}");
        }
        assert_eq!(lately.fails(&a, at(1)), Fails::AgainAndAgain(FAILURES_MAX));
        assert_eq!(lately.fails(&c, at(1)), Fails::Sometimes, "another tool");
        assert_eq!(lately.fails(&b, at(2)), Fails::Everybody(2));
        assert!(!lately.works(&b, at(3)), "the log said nothing");
        assert_eq!(lately.fails(&a, at(4)), Fails::AgainAndAgain(FAILURES_MAX + 1), "b works");
        // Tenant b was not asked recently: a is alone.
        assert_eq!(lately.fails(&a, at(602)), Fails::AgainAndAgain(FAILURES_MAX + 2));
        assert_eq!(lately.fails(&a, at(664)), Fails::AgainAndAgain(FAILURES_MAX + 3));
        assert!(!lately.tenants.contains_key(&b.id), "it is forgotten");
        assert_eq!((lately.types[&a.tool_type].asked, lately.types[&a.tool_type].failing), (1, 1));
        // Tenant a has another tool now.
        let moved = tenant("a", "other");
        assert_eq!(lately.fails(&moved, at(665)), Fails::Sometimes);
        assert!(!lately.types.contains_key(&a.tool_type), "nobody is asked there");
    }

    #[test]
    fn a_tool_works_again_only_after_a_warning() {
        let (tools, a, b) = (Tools::default(), tenant("a", "desk"), tenant("b", "desk"));
        let failed: Result<(), _> = Err(CallError::Plugin(PluginError::api("x")));
        let is_told = |tools: &Tools| tools.lock().tenants[&a.id].is_told;
        for _ in 0..FAILURES_MAX {
            tools.heard(&a, &failed);
        }
        assert!(is_told(&tools));
        assert!(tools.lock().works(&a, Instant::now()));
        // Within the time in which no second warning is written.
        for _ in 0..=FAILURES_MAX {
            tools.heard(&a, &failed);
        }
        assert!(!is_told(&tools));
        assert!(!tools.lock().works(&a, Instant::now()));
        tools.heard::<()>(&a, &Err(CallError::Lost));
        assert_eq!(tools.lock().tenants[&a.id].failures_in_a_row, 0, "that is not the tool's");
        // All tools fail, and the first that works again is logged for all of them.
        tools.heard(&b, &failed);
        tools.heard(&a, &failed);
        assert!(tools.lock().types[&a.tool_type].is_told);
        assert!(tools.lock().works(&b, Instant::now()));
        assert!(!tools.lock().works(&a, Instant::now()));
    }
}
