//! How many webhooks of one tenant may wait for a plugin before anybody knows that they are authentic: anyone can send
//! them, and one tenant's flood must leave places for the others.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::ids::TenantId;

/// A tenant gets this part of the fast lanes' queue.
const TENANT_SHARE: usize = 4;

/// The places of one generation.
#[derive(Debug)]
pub struct Admission {
    tenant_max: usize,
    inside: Mutex<HashMap<TenantId, usize>>,
}

/// A place, given back when dropped.
#[derive(Debug)]
pub struct Admitted<'a> {
    admission: &'a Admission,
    tenant: TenantId,
}

impl Admission {
    /// Places beside a queue of this length.
    pub fn new(queue_max: usize) -> Self {
        Self { tenant_max: (queue_max / TENANT_SHARE).max(1), inside: Mutex::default() }
    }

    /// A place for a webhook of this tenant; `None` when it has all that it may have.
    pub fn enter(&self, tenant: &TenantId) -> Option<Admitted<'_>> {
        let mut inside = self.lock();
        match inside.get_mut(tenant) {
            Some(count) if *count >= self.tenant_max => return None,
            Some(count) => *count += 1,
            None => {
                inside.insert(tenant.clone(), 1);
            }
        }
        Some(Admitted { admission: self, tenant: tenant.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, usize>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        let mut inside = self.admission.lock();
        if let Some(count) = inside.get_mut(&self.tenant) {
            *count -= 1;
            if *count == 0 {
                inside.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_has_its_share_and_others_theirs() {
        let (flood, other) = (TenantId::parse("flood").unwrap(), TenantId::parse("other").unwrap());
        let admission = Admission::new(8);
        let places = [admission.enter(&flood), admission.enter(&flood)];
        assert!(places.iter().all(Option::is_some));
        assert!(admission.enter(&flood).is_none(), "one past the limit");
        assert!(admission.enter(&other).is_some());
        drop(places);
        assert!(admission.enter(&flood).is_some());
        assert!(admission.lock().is_empty(), "nobody is remembered who is not inside");
    }
}
