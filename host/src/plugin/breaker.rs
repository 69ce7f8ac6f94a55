//! Breakers: how many panics and overruns a plugin may have before its calls are no longer made.
//!
//! Anyone can send bytes to a webhook route, so a fault first shuts out the tenant that it came with; the plugin itself
//! only when several tenants meet it.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::ids::TenantId;

/// The time over which faults are counted.
const WINDOW: Duration = Duration::from_secs(60);
/// Faults of one tenant within [`WINDOW`] that shut it out.
const TENANT_FAULTS: usize = 5;
/// How long a tenant stays shut out.
const TENANT_PAUSE: Duration = Duration::from_secs(30);
/// Faults in total within [`WINDOW`] that quarantine the generation. They must come from two tenants, unless there is only
/// one.
const GENERATION_FAULTS: usize = 20;
/// Most tenants that are remembered; a plugin that faults for more than these is quarantined long before.
const TENANTS_MAX: usize = 1024;

/// What a fault has tripped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trip {
    /// Nothing.
    None,
    /// The tenant's breaker: the tenant is shut out for a while.
    Tenant,
    /// The generation's breaker: it must be [quarantined](super::quarantine).
    Generation,
}

/// The breakers of one generation.
#[derive(Debug, Default)]
pub struct Breakers {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    tenants: HashMap<TenantId, Tenant>,
    faults: VecDeque<Instant>,
}

#[derive(Debug, Default)]
struct Tenant {
    faults: VecDeque<Instant>,
    shut_until: Option<Instant>,
}

impl Breakers {
    /// Whether this tenant is shut out now.
    pub fn is_shut(&self, tenant: &TenantId, now: Instant) -> bool {
        let state = self.lock();
        !state.tenants.is_empty()
            && state.tenants.get(tenant).is_some_and(|tenant| tenant.shut_until.is_some_and(|until| now < until))
    }

    /// Counts a panic or an overrun. `tenants` is how many tenants use the plugin.
    pub fn fault(&self, tenant: &TenantId, tenants: usize, now: Instant) -> Trip {
        let mut state = self.lock();
        let state = &mut *state;
        remember(&mut state.faults, now, GENERATION_FAULTS);
        if state.tenants.len() >= TENANTS_MAX {
            state.tenants.retain(|_, tenant| tenant.is_remembered(now));
        }
        if state.tenants.len() < TENANTS_MAX || state.tenants.contains_key(tenant) {
            let tenant = state.tenants.entry(tenant.clone()).or_default();
            remember(&mut tenant.faults, now, TENANT_FAULTS);
        }
        let faulting = state.tenants.values().filter(|tenant| tenant.faults.back().is_some_and(|at| recent(*at, now)));
        if state.faults.len() >= GENERATION_FAULTS && (tenants <= 1 || faulting.count() >= 2) {
            return Trip::Generation;
        }
        match state.tenants.get_mut(tenant) {
            Some(tenant) if tenant.faults.len() >= TENANT_FAULTS => {
                tenant.shut_until = Some(now + TENANT_PAUSE);
                // What let it open must not open it again at the first fault after the pause.
                tenant.faults.clear();
                tenant.faults.push_back(now);
                Trip::Tenant
            }
            _ => Trip::None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tenant {
    fn is_remembered(&self, now: Instant) -> bool {
        self.shut_until.is_some_and(|until| now < until) || self.faults.back().is_some_and(|at| recent(*at, now))
    }
}

fn recent(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < WINDOW
}

/// Keeps the faults of the window, and no more of them than matter.
fn remember(faults: &mut VecDeque<Instant>, now: Instant, matter: usize) {
    while faults.front().is_some_and(|at| !recent(*at, now)) || faults.len() >= matter {
        faults.pop_front();
    }
    faults.push_back(now);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(number: usize) -> TenantId {
        TenantId::parse(&format!("tenant-{number}")).unwrap()
    }

    #[test]
    fn a_tenant_is_shut_out_at_its_fifth_fault_and_let_in_again() {
        let (breakers, start) = (Breakers::default(), Instant::now());
        for fault in 1..=4 {
            assert_eq!(breakers.fault(&tenant(1), 2, start), Trip::None, "fault {fault}");
        }
        assert!(!breakers.is_shut(&tenant(1), start));
        assert_eq!(breakers.fault(&tenant(1), 2, start), Trip::Tenant);
        assert!(breakers.is_shut(&tenant(1), start + Duration::from_secs(29)));
        assert!(!breakers.is_shut(&tenant(2), start), "another tenant is not concerned");
        assert!(!breakers.is_shut(&tenant(1), start + Duration::from_secs(30)));
    }

    #[test]
    fn faults_that_are_long_ago_do_not_count() {
        let (breakers, start) = (Breakers::default(), Instant::now());
        for fault in 0..20 {
            let at = start + Duration::from_secs(20 * fault);
            assert_eq!(breakers.fault(&tenant(1), 2, at), Trip::None, "fault {fault}");
        }
    }

    #[test]
    fn the_generation_is_quarantined_when_two_tenants_meet_it_or_its_only_one_does() {
        for (tenants, faulting, expected) in [(2, 2, true), (2, 1, false), (1, 1, true), (50, 50, true)] {
            let (breakers, start) = (Breakers::default(), Instant::now());
            let trips: Vec<_> =
                (0..20).map(|fault| breakers.fault(&tenant(fault % faulting), tenants, start)).collect();
            let quarantined = trips.contains(&Trip::Generation);
            assert_eq!(quarantined, expected, "{tenants} tenants, {faulting} of them with faults");
            assert!(!trips[..19].contains(&Trip::Generation), "not before the 20th");
        }
    }
}
