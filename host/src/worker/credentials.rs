//! What the tools said lately to the credentials of each tenant. Who asks a tool again and again with one that it refuses has
//! the account locked.

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

/// Refusals in a row after which a tenant's jobs wait, and one at a time tries.
pub const REFUSALS_MAX: u32 = 3;

/// Whose credentials are refused just now. Cheap to clone; all clones are one. In memory alone: after a restart the tools are
/// asked anew.
#[derive(Clone)]
pub struct Credentials {
    directory: TenantDirectory,
    tenants: Arc<Mutex<Refused>>,
}

/// By id, with the tenant as it was when it was refused: what somebody has changed since is tried without ado.
type Refused = HashMap<TenantId, (Arc<Tenant>, Refusals)>;

/// How it stands with the credential of one tenant.
#[derive(Debug, Default)]
struct Refusals {
    in_a_row: u32,
    /// Pauses there were since they were too many.
    pauses: u32,
    /// The last of them, milliseconds since the epoch.
    pause: Range<i64>,
}

impl Credentials {
    /// No credential has been refused yet.
    pub fn new(directory: TenantDirectory) -> Self {
        Self { directory, tenants: Arc::default() }
    }

    /// Whether the jobs of this tenant wait because the tool refuses its credential.
    pub fn are_refused(&self, tenant: &Arc<Tenant>) -> bool {
        self.turn(tenant, 0) != Turn::Free
    }

    /// What the tenant may do.
    pub(super) fn turn(&self, tenant: &Arc<Tenant>, now_ms: i64) -> Turn {
        match self.lock().get(&tenant.id) {
            Some((known, refusals)) if Arc::ptr_eq(known, tenant) => refusals.turn(now_ms),
            _ => Turn::Free,
        }
    }

    /// The tool has done what it was asked with the tenant's credential.
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

    /// The tool has refused the tenant's credential. `wait_ms` tells how long the pause of that number is, from 1.
    pub(super) fn refused(&self, tenant: &Arc<Tenant>, now_ms: i64, wait_ms: impl FnOnce(u32) -> i64) {
        // What was asked before somebody changed the tenant says nothing of what it has now.
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

    /// Forgets tenants that somebody has changed or removed since, and returns those whose jobs need not wait any more.
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
        // What had been asked before the pause began makes it no longer.
        if self.are_too_many() && !self.pause.contains(&now_ms) {
            self.pauses = self.pauses.saturating_add(1);
            self.pause = now_ms..now_ms.saturating_add(wait_ms(self.pauses));
        }
    }

    /// A pause that has yet to begin is from a clock that was set back since: it is over.
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
