//! How many webhooks may wait for a plugin before anybody knows that they are authentic: anyone can send them, one
//! tenant's flood must leave places for the others, and what could not be validated in time is refused at once.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::ids::TenantId;

/// A tenant gets this part of the places, and there are never fewer than one for each part.
const TENANT_SHARE: usize = 4;
/// How much of the mean each call is: a single slow one must not refuse everybody, a plugin that got slow must be noticed.
const MEAN_PART: u64 = 16;

/// The places of one generation.
#[derive(Debug)]
pub struct Admission {
    queue_max: usize,
    lanes: usize,
    deadline: Duration,
    /// Nanoseconds that a webhook takes on its lane, as a moving mean; 0 before the first one.
    mean_ns: AtomicU64,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    all: usize,
    by_tenant: HashMap<TenantId, usize>,
}

/// A place, given back when dropped.
#[derive(Debug)]
pub struct Admitted<'a> {
    admission: &'a Admission,
    tenant: TenantId,
}

impl Admission {
    /// Places beside a queue of this length for so many lanes, where each webhook has to be done by this deadline.
    pub fn new(queue_max: usize, lanes: usize, deadline: Duration) -> Self {
        Self { queue_max, lanes, deadline, mean_ns: AtomicU64::new(0), inside: Mutex::default() }
    }

    /// A place for a webhook of this tenant; `None` when the tenant, or all together, have as many as they may have.
    pub fn enter(&self, tenant: &TenantId) -> Option<Admitted<'_>> {
        let places = self.places();
        let mut inside = self.lock();
        let of_tenant = inside.by_tenant.get(tenant).copied().unwrap_or_default();
        if of_tenant >= (places / TENANT_SHARE).max(1) || inside.all >= places + self.lanes {
            return None;
        }
        inside.all += 1;
        match inside.by_tenant.get_mut(tenant) {
            Some(count) => *count += 1,
            None => {
                inside.by_tenant.insert(tenant.clone(), 1);
            }
        }
        Some(Admitted { admission: self, tenant: tenant.clone() })
    }

    /// Tells how long a lane had a webhook. One that overran counts as the deadline.
    pub fn took(&self, took: Duration) {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let took_ns = nanos(took.min(self.deadline)).max(1);
        let before_ns = match self.mean_ns.load(Ordering::Relaxed) {
            0 => took_ns,
            mean_ns => mean_ns,
        };
        // Concurrent updates may lose one sample; a mean tolerates that.
        let mean_ns = before_ns - before_ns / MEAN_PART + took_ns / MEAN_PART;
        self.mean_ns.store(mean_ns.max(1), Ordering::Relaxed);
    }

    /// As many as the lanes can begin within half of the deadline, up to the length of the queue. The other half is for
    /// calls that take longer than the mean: one that begins too late is answered 503, and its lane has worked for nothing.
    fn places(&self) -> usize {
        let mean_ns = u128::from(self.mean_ns.load(Ordering::Relaxed).max(1));
        let in_time = self.deadline.as_nanos() / 2 * self.lanes as u128 / mean_ns;
        usize::try_from(in_time).unwrap_or(usize::MAX).max(TENANT_SHARE).min(self.queue_max)
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        let mut inside = self.admission.lock();
        inside.all -= 1;
        if let Some(count) = inside.by_tenant.get_mut(&self.tenant) {
            *count -= 1;
            if *count == 0 {
                inside.by_tenant.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(1);

    #[test]
    fn a_tenant_has_its_share_and_others_theirs() {
        let (flood, other) = (TenantId::parse("flood").unwrap(), TenantId::parse("other").unwrap());
        let admission = Admission::new(8, 1, DEADLINE);
        let places = [admission.enter(&flood), admission.enter(&flood)];
        assert!(places.iter().all(Option::is_some));
        assert!(admission.enter(&flood).is_none(), "one past the limit");
        assert!(admission.enter(&other).is_some());
        drop(places);
        assert!(admission.enter(&flood).is_some());
        assert!(admission.lock().by_tenant.is_empty(), "nobody is remembered who is not inside");
        assert_eq!(admission.lock().all, 0);
    }

    #[test]
    fn all_together_have_as_many_as_begin_in_half_of_the_deadline() {
        for (lanes, took_ms, expected) in [
            // Nothing is known yet, or no time is needed: the queue, and one on each lane.
            (1, None, 1_024 + 1),
            (1, Some(0), 1_024 + 1),
            (1, Some(1), 500 + 1),
            (4, Some(1), 1_024 + 4),
            (4, Some(10), 200 + 4),
            // However slow it is: one for each part.
            (1, Some(900), 4 + 1),
            (1, Some(3_600_000), 4 + 1),
        ] {
            let admission = Admission::new(1_024, lanes, DEADLINE);
            (0..100).for_each(|_| took_ms.into_iter().map(Duration::from_millis).for_each(|took| admission.took(took)));
            let tenants = (0..).map(|number| TenantId::parse(&format!("t-{number}")).unwrap());
            let inside: Vec<_> = tenants.map_while(|tenant| admission.enter(&tenant)).collect();
            assert_eq!(inside.len(), expected, "{lanes} lanes, {took_ms:?} ms");
        }
    }

    #[test]
    fn one_slow_call_is_forgotten() {
        let admission = Admission::new(1_024, 1, DEADLINE);
        admission.took(Duration::from_secs(3_600));
        assert_eq!(admission.places(), TENANT_SHARE);
        (0..200).for_each(|_| admission.took(Duration::from_micros(30)));
        assert_eq!(admission.places(), 1_024);
    }
}
