//! Wakes the claim loop: any thread can say which tenants may have a job due, at almost no cost.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Notify;

use crate::ids::TenantId;

/// Maximum number of tenants remembered by name between two looks of the claim loop. Beyond it, the loop looks at all
/// tenants.
const TENANTS_WOKEN_MAX: usize = 4_096;

/// Pending wakes of the claim loop. It is cheap to clone, and all clones share one state. To wake never waits.
#[derive(Debug, Clone, Default)]
pub struct Wakes {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    pending: Mutex<Woken>,
    told: Notify,
}

/// What the claim loop must look at.
#[derive(Debug, Default)]
pub struct Woken {
    /// Tenants that have something due.
    pub tenants: HashSet<TenantId>,
    /// Whether anything may have changed for any tenant.
    pub all: bool,
}

impl Wakes {
    /// Reports that a job of this tenant is due: one was accepted or put back, or the tenant is enabled again.
    pub fn wake(&self, tenant: &TenantId) {
        self.tell(|woken| {
            if woken.tenants.len() < TENANTS_WOKEN_MAX {
                woken.tenants.insert(tenant.clone());
            } else {
                woken.all |= !woken.tenants.contains(tenant);
            }
        });
    }

    /// Reports that much may have changed: a plugin is back, dead letters of many tenants were put back, or the clock was
    /// set. The worker then asks the store again what is due.
    pub fn wake_all(&self) {
        self.tell(|woken| woken.all = true);
    }

    /// Waits for a wake, and takes all pending ones. Cancel-safe: pending wakes stay until they are returned. The claim loop
    /// is the only caller.
    pub async fn next(&self) -> Woken {
        self.inner.told.notified().await;
        std::mem::take(&mut *self.inner.pending.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn tell(&self, change: impl FnOnce(&mut Woken)) {
        let first = {
            let mut pending = self.inner.pending.lock().unwrap_or_else(PoisonError::into_inner);
            let first = pending.tenants.is_empty() && !pending.all;
            change(&mut pending);
            first
        };
        // Only the first caller notifies, because nothing was taken since.
        if first {
            self.inner.told.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn calls_add_up_until_they_are_taken() {
        let (wakes, id) = (Wakes::default(), |n: usize| TenantId::parse(&format!("t{n}")).unwrap());
        for n in [1, 2, 1] {
            wakes.wake(&id(n));
        }
        let woken = wakes.next().await;
        assert_eq!((woken.tenants, woken.all), (HashSet::from([id(1), id(2)]), false));
        wakes.wake_all();
        wakes.wake(&id(3));
        let woken = wakes.next().await;
        assert_eq!((woken.tenants.len(), woken.all), (1, true));
        wakes.wake(&id(4));
        assert_eq!(wakes.next().await.tenants, HashSet::from([id(4)]));
    }

    #[tokio::test]
    async fn beyond_the_limit_all_are_looked_at() {
        for (count, all) in [(TENANTS_WOKEN_MAX, false), (TENANTS_WOKEN_MAX + 1, true)] {
            let wakes = Wakes::default();
            for n in (0..count).chain([0]) {
                wakes.wake(&TenantId::parse(&format!("t{n}")).unwrap());
            }
            let woken = wakes.next().await;
            assert_eq!((woken.tenants.len(), woken.all), (TENANTS_WOKEN_MAX, all), "{count}");
        }
    }
}
