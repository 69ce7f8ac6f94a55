//! The memory for answers of tools: what all of them may hold at once, and what one tenant may hold of it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::ids::TenantId;

/// The first bytes of each answer take no room: nobody can keep a usual answer out, whoever fills the memory for large
/// ones.
pub(super) const SMALL_BYTES: usize = 64 << 10;

/// The memory for answers beyond their first [`SMALL_BYTES`]. Any thread; nothing waits.
#[derive(Debug)]
pub(super) struct AnswerRoom {
    bytes_max: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    bytes: usize,
    /// Of tenants that hold any.
    of_tenants: HashMap<TenantId, usize>,
}

/// An answer's part of the room, given back when dropped.
#[derive(Debug)]
pub(in crate::plugin) struct Share {
    room: Arc<AnswerRoom>,
    tenant: TenantId,
    bytes: usize,
}

impl AnswerRoom {
    pub(super) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { bytes_max, held: Mutex::default() })
    }

    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// What one tenant may hold: half, so that it cannot keep all others out.
    fn tenant_bytes_max(&self) -> usize {
        self.bytes_max / 2
    }

    /// A share for an answer of which nothing has come yet.
    pub(super) fn share(self: &Arc<Self>, tenant: &TenantId) -> Share {
        Share { room: Arc::clone(self), tenant: tenant.clone(), bytes: 0 }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// Makes the share fit an answer of so many bytes; false, and the share stays as it is, when there is no room.
    pub(super) fn fit(&mut self, answer_bytes: usize) -> bool {
        let bytes = answer_bytes.saturating_sub(SMALL_BYTES);
        if bytes == self.bytes {
            return true;
        }
        let mut held = self.room.held();
        let others = held.bytes - self.bytes;
        let of_tenant = held.of_tenants.get(&self.tenant).copied().unwrap_or_default() - self.bytes;
        if others.saturating_add(bytes) > self.room.bytes_max
            || of_tenant.saturating_add(bytes) > self.room.tenant_bytes_max()
        {
            return false;
        }
        held.bytes = others + bytes;
        if of_tenant + bytes == 0 {
            held.of_tenants.remove(&self.tenant);
        } else {
            held.of_tenants.insert(self.tenant.clone(), of_tenant + bytes);
        }
        drop(held);
        self.bytes = bytes;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.fit(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(id: &str) -> TenantId {
        TenantId::parse(id).unwrap()
    }

    #[test]
    fn small_answers_need_no_room_and_large_ones_share_it() {
        let room = AnswerRoom::new(100);
        let [mut one, mut two, mut three] = ["a", "b", "c"].map(|id| room.share(&tenant(id)));
        assert!(one.fit(SMALL_BYTES + 50) && two.fit(SMALL_BYTES + 49) && three.fit(SMALL_BYTES));
        assert!(!three.fit(SMALL_BYTES + 2), "one past the room");
        assert!(three.fit(SMALL_BYTES + 1) && three.fit(0));
        drop(one);
        assert!(three.fit(SMALL_BYTES + 50));
        drop((two, three));
        let held = room.held();
        assert!(held.bytes == 0 && held.of_tenants.is_empty(), "{held:?}");
    }

    #[test]
    fn one_tenant_has_half_of_the_room() {
        let room = AnswerRoom::new(100);
        let [mut one, mut two] = ["a", "a"].map(|id| room.share(&tenant(id)));
        assert!(!one.fit(SMALL_BYTES + 51), "one past its half");
        assert!(one.fit(SMALL_BYTES + 30) && two.fit(SMALL_BYTES + 20));
        assert!(!two.fit(SMALL_BYTES + 21), "its answers together");
        assert!(one.fit(SMALL_BYTES + 29) && two.fit(SMALL_BYTES + 21));
        assert!(room.share(&tenant("b")).fit(SMALL_BYTES + 50));
    }
}
