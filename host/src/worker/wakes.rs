//! Who has something new to do: told from any thread at no cost to the teller, taken by the claim loop.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use tokio::sync::Notify;

use crate::ids::TenantId;

/// Tenants that are remembered by name between two looks of the claim loop; when there are more, it looks at all.
pub(super) const TENANTS_WOKEN_MAX: usize = 4_096;

/// Calls to the claim loop that it has not heard yet.
#[derive(Debug, Default)]
pub(super) struct Wakes {
    pending: Mutex<Woken>,
    told: Notify,
}

/// What the claim loop is to look at.
#[derive(Debug, Default)]
pub(super) struct Woken {
    /// These tenants have something due.
    pub(super) tenants: HashSet<TenantId>,
    /// Anything may have changed for anybody.
    pub(super) all: bool,
}

impl Wakes {
    /// One tenant has something due. Never waits for the claim loop.
    pub(super) fn one(&self, tenant: &TenantId) {
        self.tell(|woken| {
            if woken.tenants.len() < TENANTS_WOKEN_MAX {
                woken.tenants.insert(tenant.clone());
            } else {
                woken.all |= !woken.tenants.contains(tenant);
            }
        });
    }

    /// Everything is to be looked at anew.
    pub(super) fn all(&self) {
        self.tell(|woken| woken.all = true);
    }

    /// Waits for a call, and takes all there are. Safe to drop: what was not returned stays.
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
        // Whoever was first has told, and nothing was taken since.
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
