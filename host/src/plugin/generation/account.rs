//! A generation's account: its calls, the plugin's own failures among them, and what these lead to.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use plugin_abi::PluginError;

use super::CallError;
use crate::{
    ids::TenantId,
    plugin::{
        breaker::{Breakers, Trip},
        probation::{Counts, Probation},
        quarantine::{News, Passage, Quarantine},
    },
};

/// The last failure of a plugin.
#[derive(Clone, Debug)]
pub struct LastError {
    /// [`CallError::code`].
    pub code: &'static str,
    /// What happened.
    pub message: String,
    /// Milliseconds since the epoch.
    pub at_ms: i64,
}

/// What has been found out about a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It is as good as the one before.
    Passed,
    /// It is clearly worse, or would be quarantined; it gets no more calls.
    Failed(String),
    /// It has failed too often, after its probation or without one, or has failed its trial; it gets no calls for a while.
    Quarantined {
        /// The last failure.
        why: String,
        /// After this it is tried again.
        pause: Duration,
    },
    /// It has passed its trial, and gets calls again.
    Released,
}

/// A call that failed by the plugin's own fault.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failure<'a> {
    pub(super) error: &'a CallError,
    /// The tenant whose call it was.
    pub(super) tenant: &'a TenantId,
    pub(super) at: Instant,
    /// The same moment in milliseconds since the epoch.
    pub(super) at_ms: i64,
}

/// What a failure has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consequence {
    /// Nothing yet.
    None,
    /// The tenant is shut out for a while.
    TenantShutOut,
    /// The generation has failed its probation and gets no more calls.
    ProbationFailed,
    /// The generation gets no calls for this long.
    Quarantined(Duration),
}

/// The account. Any thread; a call that goes well takes no lock.
#[derive(Debug)]
pub(super) struct Account {
    calls: AtomicU64,
    failures: AtomicU64,
    last_error: Mutex<Option<LastError>>,
    breakers: Breakers,
    quarantine: Quarantine,
    probation: Mutex<Option<Probation>>,
}

impl Account {
    /// An empty account. With the counts of a predecessor it begins on probation.
    pub(super) fn new(predecessor: Option<Counts>, quarantine_pause: Duration, now: Instant) -> Self {
        Self {
            calls: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            last_error: Mutex::new(None),
            breakers: Breakers::default(),
            quarantine: Quarantine::new(quarantine_pause),
            probation: Mutex::new(predecessor.map(|predecessor| Probation::begin(predecessor, now))),
        }
    }

    /// Calls so far, and the failures among them.
    pub(super) fn counts(&self) -> Counts {
        Counts { calls: self.calls.load(Ordering::Relaxed), faults: self.failures.load(Ordering::Relaxed) }
    }

    /// The last failure.
    pub(super) fn last_error(&self) -> Option<LastError> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether calls are kept from the generation, but for a trial.
    pub(super) fn is_quarantined(&self) -> bool {
        self.quarantine.is_on()
    }

    /// Whether calls of this tenant are not made now.
    pub(super) fn is_shut_out(&self, tenant: &TenantId, now: Instant) -> bool {
        self.breakers.is_shut(tenant, now)
    }

    /// Asks for a call to be let through. A trial that was let through must be [left](Self::leave_trial).
    pub(super) fn admit(&self, now: Instant) -> Passage {
        self.quarantine.admit(now)
    }

    /// Ends a trial.
    pub(super) fn leave_trial(&self, now: Instant) {
        self.quarantine.leave_trial(now);
    }

    /// Counts a call.
    pub(super) fn note_call(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that the plugin has answered as it should, which passes a trial. Returns whether there was one.
    pub(super) fn note_answer(&self, now: Instant) -> bool {
        self.quarantine.answered(now)
    }

    /// Notes a failure, and says what it leads to. `users` counts the tenants that use the plugin; it is asked seldom.
    pub(super) fn note(&self, failure: Failure<'_>, users: impl FnOnce() -> usize) -> Consequence {
        let Failure { error, tenant, at, at_ms } = failure;
        let why = error.to_string();
        self.failures.fetch_add(1, Ordering::Relaxed);
        let last = LastError { code: error.code(), message: why.clone(), at_ms };
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
        let trips = matches!(error, CallError::Plugin(PluginError::Panicked { .. }) | CallError::Overrun(_));
        let trip = if trips { self.breakers.fault(tenant, users(), at) } else { Trip::None };
        let fails_probation = self.fails_probation(at);
        if fails_probation || self.quarantine.is_on_trial() || trip == Trip::Generation {
            return match self.quarantine.begin(why, at) {
                Some(_) if fails_probation => Consequence::ProbationFailed,
                Some(pause) => Consequence::Quarantined(pause),
                None => Consequence::None,
            };
        }
        if trip == Trip::Tenant { Consequence::TenantShutOut } else { Consequence::None }
    }

    /// Whether it is on probation and clearly worse than its predecessor.
    fn fails_probation(&self, now: Instant) -> bool {
        let (probation, so_far) = (*self.probation.lock().unwrap_or_else(PoisonError::into_inner), self.counts());
        probation.is_some_and(|on| !on.is_over(so_far, now) && on.is_failed(so_far))
    }

    /// What has come of its probation and of its quarantine: said once, and `None` while there is no news.
    pub(super) fn judge(&self, now: Instant) -> Option<Judgement> {
        let mut probation = self.probation.lock().unwrap_or_else(PoisonError::into_inner);
        let so_far = self.counts();
        let judgement = match (self.quarantine.take_news(), &*probation) {
            (Some(News::Begun(last, _)), Some(on)) => {
                Judgement::Failed(format!("{}; last: {last}", on.account(so_far)))
            }
            (Some(News::Begun(why, pause)), None) => Judgement::Quarantined { why, pause },
            (Some(News::Ended), _) => return Some(Judgement::Released),
            (None, Some(on)) if on.is_over(so_far, now) => Judgement::Passed,
            (None, _) => return None,
        };
        *probation = None;
        Some(judgement)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(60);
    /// Tenants that use the plugin.
    const USERS: usize = 2;

    /// An account and the clock that its calls are made by.
    struct Bed {
        account: Account,
        now: Instant,
    }

    impl Bed {
        fn new(predecessor: Option<Counts>) -> Self {
            let now = Instant::now();
            Self { account: Account::new(predecessor, PAUSE, now), now }
        }

        fn pass(&mut self, seconds: u64) {
            self.now += Duration::from_secs(seconds);
        }

        fn succeed(&self, calls: usize) {
            for _ in 0..calls {
                self.account.note_call();
                assert!(!self.account.note_answer(self.now), "there was no trial");
            }
        }

        /// A call of this tenant that fails.
        fn fail(&self, error: &CallError, tenant: &str) -> Consequence {
            let tenant = TenantId::parse(tenant).unwrap();
            self.account.note_call();
            self.account.note(Failure { error, tenant: &tenant, at: self.now, at_ms: 7 }, || USERS)
        }

        /// Failures of two tenants in turns, until they lead to something that concerns the generation.
        fn fail_until_quarantined(&self, error: &CallError) -> Consequence {
            let tenants = ["a", "b"].into_iter().cycle().take(100);
            let mut consequences = tenants.map(|tenant| self.fail(error, tenant));
            consequences.find(|led_to| matches!(led_to, Consequence::Quarantined(_))).expect("it is quarantined")
        }
    }

    fn overrun() -> CallError {
        CallError::Overrun(Duration::from_secs(1))
    }

    fn invalid() -> CallError {
        CallError::InvalidReply("no ticket".to_owned())
    }

    #[test]
    fn an_account_counts_calls_and_keeps_the_last_failure() {
        let bed = Bed::new(None);
        bed.succeed(3);
        assert_eq!(bed.fail(&invalid(), "a"), Consequence::None);
        assert_eq!(bed.account.counts(), Counts { calls: 4, faults: 1 });
        let last = bed.account.last_error().unwrap();
        assert_eq!((last.code, last.at_ms, last.message), ("invalid_reply", 7, invalid().to_string()));
        assert_eq!(bed.account.judge(bed.now), None);
    }

    #[test]
    fn overruns_shut_a_tenant_out_and_invalid_replies_do_not() {
        for (error, led_to) in [(overrun(), Consequence::TenantShutOut), (invalid(), Consequence::None)] {
            let bed = Bed::new(None);
            let last = (0..5).map(|_| bed.fail(&error, "a")).last();
            assert_eq!(last, Some(led_to), "{error}");
            let [one, other] = ["a", "b"].map(|tenant| TenantId::parse(tenant).unwrap());
            assert_eq!(bed.account.is_shut_out(&one, bed.now), led_to == Consequence::TenantShutOut, "{error}");
            assert!(!bed.account.is_shut_out(&other, bed.now), "{error}");
        }
    }

    #[test]
    fn a_quarantine_ends_with_a_trial_that_is_passed() {
        let mut bed = Bed::new(None);
        assert_eq!(bed.fail_until_quarantined(&overrun()), Consequence::Quarantined(PAUSE));
        assert!(bed.account.is_quarantined());
        assert_eq!(bed.account.admit(bed.now), Passage::Closed);
        let judgement = Judgement::Quarantined { why: overrun().to_string(), pause: PAUSE };
        assert_eq!((bed.account.judge(bed.now), bed.account.judge(bed.now)), (Some(judgement), None));
        bed.pass(60);
        assert_eq!(bed.account.admit(bed.now), Passage::Trial);
        assert!(bed.account.note_answer(bed.now));
        bed.account.leave_trial(bed.now);
        assert_eq!((bed.account.admit(bed.now), bed.account.is_quarantined()), (Passage::Free, false));
        assert_eq!((bed.account.judge(bed.now), bed.account.judge(bed.now)), (Some(Judgement::Released), None));
    }

    #[test]
    fn any_failure_fails_a_trial() {
        let mut bed = Bed::new(None);
        bed.fail_until_quarantined(&overrun());
        bed.pass(60);
        assert_eq!(bed.account.admit(bed.now), Passage::Trial);
        assert_eq!(bed.fail(&invalid(), "a"), Consequence::Quarantined(PAUSE * 2));
    }

    #[test]
    fn a_generation_that_is_clearly_worse_fails_its_probation() {
        let bed = Bed::new(Some(Counts { calls: 10_000, faults: 0 }));
        bed.succeed(10);
        let led_to = [1, 2, 3].map(|_| bed.fail(&invalid(), "a"));
        assert_eq!(led_to, [Consequence::None, Consequence::None, Consequence::ProbationFailed]);
        assert_eq!(bed.account.admit(bed.now), Passage::Closed);
        let why = format!("3 of its first 13 calls failed, 0 of 10000 of its predecessor's; last: {}", invalid());
        assert_eq!((bed.account.judge(bed.now), bed.account.judge(bed.now)), (Some(Judgement::Failed(why)), None));
    }

    #[test]
    fn a_probation_is_passed_once_and_no_failure_afterwards_fails_it() {
        let mut bed = Bed::new(Some(Counts::default()));
        bed.pass(61);
        assert_eq!((bed.account.judge(bed.now), bed.account.judge(bed.now)), (Some(Judgement::Passed), None));
        assert!((0..10).all(|_| bed.fail(&invalid(), "a") == Consequence::None));
    }
}
