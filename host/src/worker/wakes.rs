//! Wakes the claim loop: any thread can say which tenants have something to do, at almost no cost.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use tokio::sync::Notify;

use crate::ids::TenantId;

/// Maximum number of tenants remembered by name between two looks of the claim loop. Beyond it, the loop looks at all
/// tenants.
pub(super) const TENANTS_WOKEN_MAX: usize = 4_096;

/// Pending wakes of the claim loop.
#[derive(Debug, Default)]
pub(super) struct Wakes {
    pending: Mutex<Woken>,
    told: Notify,
}

/// What the claim loop must look at.
#[derive(Debug, Default)]
pub(super) struct Woken {
    /// Tenants that have something due.
    pub(super) tenants: HashSet<TenantId>,
    /// Whether anything may have changed for any tenant.
    pub(super) all: bool,
}

impl Wakes {
    /// Reports that one tenant has something due. Never waits for the claim loop.
    pub(super) fn one(&self, tenant: &TenantId) {
        self.tell(|woken| {
            if woken.tenants.len() < TENANTS_WOKEN_MAX {
                woken.tenants.insert(tenant.clone());
            } else {
                woken.all |= !woken.tenants.contains(tenant);
            }
        });
    }

    /// Reports that everything must be checked again.
    pub(super) fn all(&self) {
        self.tell(|woken| woken.all = true);
    }

    /// Waits for a wake, and takes all pending ones. Cancel-safe: pending wakes stay until they are returned.
    pub(super) async fn next(&self) -> Woken {
        self.told.notified().await;
        std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn tell(&self, change: impl FnOnce(&mut Woken)) {
        let first = {
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            let first = pending.tenants.is_empty() && !pending.all;
            change(&mut pending);
            first
        };
        // Only the first caller notifies, because nothing was taken since.
        if first {
            self.told.notify_one();
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
            wakes.one(&id(n));
        }
        let woken = wakes.next().await;
        assert_eq!((woken.tenants, woken.all), (HashSet::from([id(1), id(2)]), false));
        wakes.all();
        wakes.one(&id(3));
        let woken = wakes.next().await;
        assert_eq!((woken.tenants.len(), woken.all), (1, true));
        wakes.one(&id(4));
        assert_eq!(wakes.next().await.tenants, HashSet::from([id(4)]));
    }

    #[tokio::test]
    async fn beyond_the_limit_all_are_looked_at() {
        for (count, all) in [(TENANTS_WOKEN_MAX, false), (TENANTS_WOKEN_MAX + 1, true)] {
            let wakes = Wakes::default();
            for n in (0..count).chain([0]) {
                wakes.one(&TenantId::parse(&format!("t{n}")).unwrap());
            }
            let woken = wakes.next().await;
            assert_eq!((woken.tenants.len(), woken.all), (TENANTS_WOKEN_MAX, all), "{count}");
        }
    }
}
