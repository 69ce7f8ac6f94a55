//! Limits how many authentic webhooks each tenant may send. A tenant's use is remembered until its whole burst is
//! available again.

use std::{num::NonZeroU32, sync::Arc};

use arc_swap::ArcSwap;
use governor::{Quota, RateLimiter, clock, state::keyed::HashMapStateStore};

use crate::{config::TenantRate, ids::TenantId, limits::SharedLimits};

/// The use of all tenants under the current limit. It is cheap to clone, and all clones count together. Can be used on
/// any thread.
#[derive(Clone)]
pub struct TenantRates {
    limits: SharedLimits,
    current: Arc<ArcSwap<Counted>>,
}

/// What tenants have used of one limit.
struct Counted {
    rate: TenantRate,
    used: Option<RateLimiter<TenantId, HashMapStateStore<TenantId>, clock::DefaultClock>>,
}

impl TenantRates {
    /// Starts with no use.
    pub fn new(limits: SharedLimits) -> Self {
        let rate = limits.now().tenant_rate;
        Self { limits, current: Arc::new(ArcSwap::from_pointee(Counted::none(rate))) }
    }

    /// Charges one webhook to this tenant. Returns false, and charges nothing, if it has sent too many. A reload of the
    /// limit resets all counts.
    pub fn take(&self, tenant: &TenantId) -> bool {
        let rate = self.limits.now().tenant_rate;
        if self.current.load().rate != rate {
            self.current.store(Arc::new(Counted::none(rate)));
        }
        self.current.load().used.as_ref().is_none_or(|used| used.check_key(tenant).is_ok())
    }

    /// Forgets tenants whose whole burst is available again. Must be called every few seconds.
    pub fn forget_idle(&self) {
        if let Some(used) = &self.current.load().used {
            used.retain_recent();
            used.shrink_to_fit();
        }
    }
}

impl Counted {
    fn none(rate: TenantRate) -> Self {
        let limited = NonZeroU32::new(rate.per_s).zip(NonZeroU32::new(rate.burst));
        let quota = limited.map(|(per_s, burst)| Quota::per_second(per_s).allow_burst(burst));
        Self { rate, used: quota.map(RateLimiter::keyed) }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    fn config(per_s: u32, burst: u32) -> Config {
        let variables = [("TENANT_RATE_PER_S", per_s), ("TENANT_BURST", burst)];
        let variables = variables.map(|(name, value)| (format!("PATCHBAY_SERVER__{name}"), value.to_string()));
        Config::load(None, variables.into_iter(), Path::new("/nowhere")).unwrap()
    }

    fn tenant(id: &str) -> TenantId {
        TenantId::parse(id).unwrap()
    }

    /// How many of `sent` webhooks are accepted.
    fn taken(rates: &TenantRates, id: &str, sent: usize) -> usize {
        (0..sent).filter(|_| rates.take(&tenant(id))).count()
    }

    #[test]
    fn each_tenant_has_its_own_burst() {
        let rates = TenantRates::new(SharedLimits::new(config(1, 100)));
        assert_eq!(taken(&rates, "acme", 100), 100);
        // Another one may be accepted if a second has passed meanwhile, but not a burst.
        assert!(taken(&rates, "acme", 100) < 100, "one past the limit");
        assert_eq!(taken(&rates, "other", 100), 100);
    }

    #[test]
    fn zero_is_without_a_limit_and_a_reload_holds_at_once() {
        let limits = SharedLimits::new(config(0, 1));
        let rates = TenantRates::new(limits.clone());
        assert_eq!(taken(&rates, "acme", 1_000), 1_000);
        limits.reload(&config(1, 1));
        assert!(taken(&rates, "acme", 1_000) < 1_000);
        limits.reload(&config(0, 1));
        assert_eq!(taken(&rates, "acme", 1_000), 1_000);
    }

    #[test]
    fn who_has_its_whole_burst_again_is_forgotten() {
        let limits = SharedLimits::new(config(1_000_000, 10));
        let rates = TenantRates::new(limits.clone());
        let known = || rates.current.load().used.as_ref().map_or(0, |used| used.len());
        (0..100).for_each(|at| assert!(rates.take(&tenant(&format!("t-{at}")))));
        assert_eq!(known(), 100);
        // The burst is available again after ten microseconds.
        while known() > 0 {
            rates.forget_idle();
        }
        limits.reload(&config(1, 1_000_000));
        taken(&rates, "acme", 1_000);
        rates.forget_idle();
        assert_eq!(known(), 1, "it still has something to pay");
    }
}
