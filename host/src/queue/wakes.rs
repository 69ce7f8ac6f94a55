//! Wakes the worker: any thread says at no cost which tenants may have a job due, and the claim loop takes what was said.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Notify;

use crate::ids::TenantId;

/// Tenants that are remembered by name between two looks of the claim loop; when there are more, it looks at all.
const TENANTS_WOKEN_MAX: usize = 4_096;

/// A handle to the claim loop's bell. Cheap to clone; all clones are one bell; nothing here waits for the claim loop.
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
    /// These tenants have something due.
    pub tenants: HashSet<TenantId>,
    /// Anything may have changed for any tenant.
    pub all: bool,
}

impl Wakes {
    /// A job of this tenant is due: one was accepted or put back, or the tenant is enabled again.
    pub fn wake(&self, tenant: &TenantId) {
        self.tell(|woken| {
            if woken.tenants.len() < TENANTS_WOKEN_MAX {
                woken.tenants.insert(tenant.clone());
            } else {
                woken.all |= !woken.tenants.contains(tenant);
            }
        });
    }

    /// Much may have changed: a plugin has come back, dead letters of many tenants were put back, the clock was moved.
    /// The worker asks the store anew what is due.
    pub fn wake_all(&self) {
        self.tell(|woken| woken.all = true);
    }

    /// Waits until somebody wakes the worker, and takes all that was said. Safe to drop: what was not returned stays. The
    /// claim loop is the only caller.
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
        // The first one has rung, and nothing was taken since.
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
