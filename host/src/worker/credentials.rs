//! Tracks tenants whose credentials their tools refuse. Repeated calls with a refused credential could lock the
//! account.

use std::{
    collections::HashMap,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::scheduler::Turn;
use crate::{
    ids::TenantId,
    tenant::{Tenant, directory::TenantDirectory},
};

/// Consecutive refusals after which a tenant's jobs wait and only one at a time tries.
pub const REFUSALS_MAX: u32 = 3;

/// Tenants whose credentials are refused at present. It is cheap to clone, and all clones share one state. It is in
/// memory only: after a restart the tools are asked again.
#[derive(Clone)]
pub struct Credentials {
    directory: TenantDirectory,
    tenants: Arc<Mutex<Refused>>,
}

/// Refusals by tenant id, with the tenant as it was when refused: after a change, jobs are tried at once.
type Refused = HashMap<TenantId, (Arc<Tenant>, Refusals)>;

/// The refusals of one tenant's credential.
#[derive(Debug, Default)]
struct Refusals {
    in_a_row: u32,
    /// Pauses since there were too many refusals.
    pauses: u32,
    /// The current pause, milliseconds since the epoch.
    pause: Range<i64>,
}

impl Credentials {
    /// Starts without any refusals.
    pub fn new(directory: TenantDirectory) -> Self {
        Self { directory, tenants: Arc::default() }
    }

    /// Whether this tenant's jobs wait because the tool refuses its credential.
    pub fn are_refused(&self, tenant: &Arc<Tenant>) -> bool {
        self.turn(tenant, 0) != Turn::Free
    }

    /// What the tenant may do now.
    pub(super) fn turn(&self, tenant: &Arc<Tenant>, now_ms: i64) -> Turn {
        match self.lock().get(&tenant.id) {
            Some((known, refusals)) if Arc::ptr_eq(known, tenant) => refusals.turn(now_ms),
            _ => Turn::Free,
        }
    }

    /// Records that the tool accepted the tenant's credential.
    pub(super) fn taken(&self, tenant: &Arc<Tenant>) {
        let mut tenants = self.lock();
        if tenants.get(&tenant.id).is_none_or(|(known, _)| !Arc::ptr_eq(known, tenant)) {
            return;
        }
        let known = tenants.remove(&tenant.id);
        drop(tenants);
        if known.is_some_and(|(_, refusals)| refusals.are_too_many()) {
            tracing::info!("the tool takes the tenant's credential again: its jobs run");
        }
    }

    /// Records that the tool refused the tenant's credential. `wait_ms` returns the length of a pause by its number,
    /// from 1.
    pub(super) fn refused(&self, tenant: &Arc<Tenant>, now_ms: i64, wait_ms: impl FnOnce(u32) -> i64) {
        // An answer to the tenant's earlier settings says nothing about its current ones.
        if self.directory.get(tenant.id.as_str()).is_none_or(|current| !Arc::ptr_eq(&current, tenant)) {
            return;
        }
        let mut tenants = self.lock();
        let (known, refusals) =
            tenants.entry(tenant.id.clone()).or_insert_with(|| (Arc::clone(tenant), Refusals::default()));
        if !Arc::ptr_eq(known, tenant) {
            (*known, *refusals) = (Arc::clone(tenant), Refusals::default());
        }
        let were_too_many = refusals.are_too_many();
        refusals.add(now_ms, wait_ms);
        let are_too_many = refusals.are_too_many();
        drop(tenants);
        if are_too_many && !were_too_many {
            tracing::warn!(
                "the tool has refused the tenant's credential {REFUSALS_MAX} times in a row: its jobs wait, and one at a \
                 time tries; set a new one: plugin-ctl tenant rotate-secret {} NAME",
                tenant.id
            );
        }
    }

    /// Forgets tenants that were changed or removed since. Returns those whose jobs need not wait any more.
    pub(super) fn forget_changed(&self) -> Vec<TenantId> {
        let mut waited = Vec::new();
        self.lock().retain(|id, (known, refusals)| match self.directory.get(id.as_str()) {
            Some(current) if Arc::ptr_eq(&current, known) => true,
            Some(_) => {
                waited.extend(refusals.are_too_many().then(|| id.clone()));
                false
            }
            None => false,
        });
        for tenant in &waited {
            tracing::info!(%tenant, "the tenant whose credential the tool refused was changed: its jobs run");
        }
        waited
    }

    fn lock(&self) -> MutexGuard<'_, Refused> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Refusals {
    fn are_too_many(&self) -> bool {
        self.in_a_row >= REFUSALS_MAX
    }

    fn add(&mut self, now_ms: i64, wait_ms: impl FnOnce(u32) -> i64) {
        self.in_a_row = self.in_a_row.saturating_add(1);
        // Calls that began before the pause do not extend it.
        if self.are_too_many() && !self.pause.contains(&now_ms) {
            self.pauses = self.pauses.saturating_add(1);
            self.pause = now_ms..now_ms.saturating_add(wait_ms(self.pauses));
        }
    }

    /// What the tenant may do now. A pause in the future is over: the clock was set back since.
    fn turn(&self, now_ms: i64) -> Turn {
        match self.are_too_many() {
            false => Turn::Free,
            true if self.pause.contains(&now_ms) => Turn::NotBefore(self.pause.end),
            true => Turn::Single,
        }
    }
}

#[cfg(test)]
mod tests;
