//! A generation's account: its calls, the faults among them, and what these lead to.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use plugin_abi::PluginError;

use super::{CallError, Judgement, LastError};
use crate::{
    ids::TenantId,
    plugin::{
        breaker::{Breakers, Consequence},
        probation::{Counts, Probation},
        quarantine::{News, Quarantine},
    },
};

/// What a fault has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing yet.
    None,
    /// The tenant is shut out for a while.
    TenantShutOut,
    /// Its probation is failed: it gets no more calls.
    ProbationFailed,
    /// It gets no calls for this long.
    Quarantined(Duration),
}

/// The account.
#[derive(Debug)]
pub(super) struct Account {
    calls: AtomicU64,
    faults: AtomicU64,
    last_error: Mutex<Option<LastError>>,
    pub(super) breakers: Breakers,
    pub(super) quarantine: Quarantine,
    probation: Mutex<Option<Probation>>,
}

impl Account {
    /// An empty one; on probation when there is a predecessor to be compared with.
    pub(super) fn new(before: Option<Counts>, quarantine_pause: Duration) -> Self {
        Self {
            calls: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            last_error: Mutex::new(None),
            breakers: Breakers::default(),
            quarantine: Quarantine::new(quarantine_pause),
            probation: Mutex::new(before.map(|before| Probation::begin(before, Instant::now()))),
        }
    }

    /// Calls so far, and the faults among them.
    pub(super) fn counts(&self) -> Counts {
        Counts { calls: self.calls.load(Ordering::Relaxed), faults: self.faults.load(Ordering::Relaxed) }
    }

    /// The last fault.
    pub(super) fn last_error(&self) -> Option<LastError> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts a call.
    pub(super) fn called(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts what is the plugin's own fault, and says what that leads to. `users` is how many tenants use the plugin.
    pub(super) fn fault(
        &self,
        error: &CallError,
        tenant: &TenantId,
        users: impl FnOnce() -> usize,
        at_ms: i64,
    ) -> Outcome {
        let (now, why) = (Instant::now(), error.to_string());
        self.faults.fetch_add(1, Ordering::Relaxed);
        let last = LastError { code: error.code(), message: why.clone(), at_ms };
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
        let trips = matches!(error, CallError::Plugin(PluginError::Panicked { .. }) | CallError::Overrun(_));
        let tripped = if trips { self.breakers.fault(tenant, users(), now) } else { Consequence::None };
        let fails_probation = self.fails_probation(now);
        if fails_probation || self.quarantine.is_on_trial() || tripped == Consequence::Quarantine {
            return match self.quarantine.begin(why, now) {
                Some(_) if fails_probation => Outcome::ProbationFailed,
                Some(pause) => Outcome::Quarantined(pause),
                None => Outcome::None,
            };
        }
        if tripped == Consequence::TenantShutOut { Outcome::TenantShutOut } else { Outcome::None }
    }

    /// Whether it is on probation and clearly worse than its predecessor.
    fn fails_probation(&self, now: Instant) -> bool {
        let (probation, so_far) = (*self.probation.lock().unwrap_or_else(PoisonError::into_inner), self.counts());
        probation.is_some_and(|on| !on.is_over(so_far, now) && on.is_failed(so_far))
    }

    /// What has come of its probation and of its quarantine: said once, and `None` while there is no news.
    pub(super) fn judge(&self) -> Option<Judgement> {
        let mut probation = self.probation.lock().unwrap_or_else(PoisonError::into_inner);
        let so_far = self.counts();
        let judgement = match (self.quarantine.take_news(), &*probation) {
            (Some(News::Begun(last, _)), Some(on)) => {
                Judgement::Failed(format!("{}; last: {last}", on.account(so_far)))
            }
            (Some(News::Begun(why, pause)), None) => Judgement::Quarantined { why, pause },
            (Some(News::Ended), _) => return Some(Judgement::Released),
            (None, Some(on)) if on.is_over(so_far, Instant::now()) => Judgement::Passed,
            (None, _) => return None,
        };
        *probation = None;
        Some(judgement)
    }
}
