//! Tracks since when each tenant's jobs cannot run, and why. Waits are noted when a tenant's turn comes and stored when
//! they change. No IO.

use std::collections::HashMap;

use crate::{
    ids::TenantId,
    queue::wait::{TenantWait, WaitReason},
    tenant::Tenant,
};

/// The waits that the claim loop knows. While nothing waits, a note only costs a look into an empty map.
#[derive(Debug, Default)]
pub(super) struct Waits {
    /// Waits that have not ended.
    open: HashMap<TenantId, TenantWait>,
    /// Waits that have begun or ended since they were last stored.
    changes: Vec<TenantWait>,
}

impl Waits {
    /// Starts with the waits that were open when the host ended, oldest first. A tenant waits for one reason at a time,
    /// so an older wait, whose end could not be stored, ended when the next one began.
    pub(super) fn new(open: Vec<TenantWait>) -> Self {
        let mut waits = Self::default();
        for wait in open {
            let since_ms = wait.since_ms;
            if let Some(over) = waits.open.insert(wait.tenant.clone(), wait) {
                waits.changes.push(TenantWait { until_ms: Some(since_ms.max(over.since_ms)), ..over });
            }
        }
        waits
    }

    /// Notes for a tenant with a due job what keeps its jobs from running, or that nothing does.
    pub(super) fn note(&mut self, tenant: &Tenant, reason: Option<WaitReason>, now_ms: i64) {
        let known = self.open.get(&tenant.id);
        if known.map(|wait| (wait.incarnation, wait.reason)) == reason.map(|reason| (tenant.incarnation, reason)) {
            return;
        }
        if let Some(over) = self.open.remove(&tenant.id) {
            // The clock may have been set back.
            self.changes.push(TenantWait { until_ms: Some(now_ms.max(over.since_ms)), ..over });
        }
        if let Some(reason) = reason {
            let (id, incarnation) = (tenant.id.clone(), tenant.incarnation);
            let wait = TenantWait { tenant: id.clone(), incarnation, reason, since_ms: now_ms, until_ms: None };
            self.open.insert(id, wait.clone());
            self.changes.push(wait);
        }
    }

    /// Forgets a tenant that is gone. Its stored waits are deleted with it.
    pub(super) fn forget(&mut self, tenant: &TenantId) {
        self.open.remove(tenant);
    }

    /// Whether the tenant's jobs wait, as far as is known.
    pub(super) fn is_open(&self, tenant: &TenantId) -> bool {
        self.open.contains_key(tenant)
    }

    /// Tenants whose jobs wait, as far as is known.
    pub(super) fn tenants(&self) -> impl Iterator<Item = &TenantId> {
        self.open.keys()
    }

    /// Changes to be stored now.
    pub(super) fn changes(&mut self) -> Vec<TenantWait> {
        std::mem::take(&mut self.changes)
    }

    /// Takes back changes that could not be stored.
    pub(super) fn take_back(&mut self, mut changes: Vec<TenantWait>) {
        changes.append(&mut self.changes);
        self.changes = changes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::{Incarnation, ToolType},
        tenant::NewTenant,
    };
    use WaitReason::{NoPlugin, Paused};

    fn tenant(incarnation: i64) -> Tenant {
        let (id, tool_type) = (TenantId::parse("acme").unwrap(), ToolType::parse("jira").unwrap());
        let tenant = NewTenant::new(id, tool_type, "https://desk.example").check().unwrap();
        Tenant { incarnation: Incarnation::new(incarnation), ..tenant }
    }

    /// The changes as reason, beginning and end.
    fn changes(waits: &mut Waits) -> Vec<(WaitReason, i64, Option<i64>)> {
        waits.changes().into_iter().map(|wait| (wait.reason, wait.since_ms, wait.until_ms)).collect()
    }

    #[test]
    fn a_wait_is_kept_when_it_begins_and_when_it_ends_however_often_it_is_looked_at() {
        let (mut waits, acme) = (Waits::default(), tenant(1));
        for (reason, now_ms, expected) in [
            (None, 1, vec![]),
            (Some(Paused), 2, vec![(Paused, 2, None)]),
            (Some(Paused), 3, vec![]),
            (Some(NoPlugin), 4, vec![(Paused, 2, Some(4)), (NoPlugin, 4, None)]),
            (None, 5, vec![(NoPlugin, 4, Some(5))]),
            (None, 6, vec![]),
        ] {
            waits.note(&acme, reason, now_ms);
            assert_eq!(changes(&mut waits), expected, "{reason:?} at {now_ms}");
            assert_eq!(waits.is_open(&acme.id), reason.is_some());
        }
    }

    #[test]
    fn a_wait_lasts_over_a_restart_but_not_over_a_removal() {
        let (mut before, acme) = (Waits::default(), tenant(1));
        before.note(&acme, Some(Paused), 2);
        let mut waits = Waits::new(before.changes());
        assert_eq!(waits.tenants().collect::<Vec<_>>(), [&acme.id]);
        waits.note(&acme, Some(Paused), 9);
        assert_eq!(changes(&mut waits), []);
        // Another tenant has the id by now.
        waits.note(&tenant(2), Some(Paused), 10);
        assert_eq!(changes(&mut waits), [(Paused, 2, Some(10)), (Paused, 10, None)]);
        waits.forget(&acme.id);
        waits.note(&tenant(2), None, 11);
        assert_eq!(changes(&mut waits), []);
    }

    #[test]
    fn of_two_waits_that_lasted_the_older_one_has_ended() {
        let acme = tenant(1);
        let wait = |reason, since_ms| TenantWait {
            tenant: acme.id.clone(),
            incarnation: acme.incarnation,
            reason,
            since_ms,
            until_ms: None,
        };
        let mut waits = Waits::new(vec![wait(Paused, 2), wait(NoPlugin, 5)]);
        assert_eq!(changes(&mut waits), [(Paused, 2, Some(5))]);
        waits.note(&acme, None, 7);
        assert_eq!(changes(&mut waits), [(NoPlugin, 5, Some(7))]);
    }
}
