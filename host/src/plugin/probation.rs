//! Probation: for a while after a swap a new generation is compared with the one before it, and one that is clearly worse
//! is rolled back.

use std::time::{Duration, Instant};

/// Calls after which a probation is over.
pub const PROBATION_CALLS: u64 = 200;
/// Time after which a probation is over.
pub const PROBATION_TIME: Duration = Duration::from_secs(60);
/// Faults tolerated as chance, whatever the predecessor's rate.
const CHANCE: u64 = 2;
/// How many times the predecessor's rate of faults is tolerated beside [`CHANCE`].
const TIMES_WORSE: u64 = 3;

/// Calls, and how many of them were faults of the plugin itself: panics, overruns, invalid replies. What a tool or a sender
/// causes is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls.
    pub calls: u64,
    /// Faults among them.
    pub faults: u64,
}

/// A generation's probation.
#[derive(Clone, Copy, Debug)]
pub struct Probation {
    before: Counts,
    began: Instant,
}

impl Probation {
    /// Begins a probation. `before` holds the predecessor's counts.
    pub fn begin(before: Counts, now: Instant) -> Self {
        Self { before, began: now }
    }

    /// Whether it is over.
    pub fn is_over(&self, so_far: Counts, now: Instant) -> bool {
        so_far.calls > PROBATION_CALLS || now.saturating_duration_since(self.began) > PROBATION_TIME
    }

    /// Whether these faults are clearly more than the predecessor's: over two, and over two more than three times as many as
    /// it had in as many calls.
    pub fn is_failed(&self, so_far: Counts) -> bool {
        let Counts { calls, faults } = self.before;
        let calls = calls.max(1);
        // faults so far > CHANCE + TIMES_WORSE × its faults per call × calls so far
        faults_times(so_far.faults.saturating_sub(CHANCE), calls)
            > faults_times(faults.saturating_mul(TIMES_WORSE), so_far.calls)
    }

    /// Both accounts, for people.
    pub fn account(&self, so_far: Counts) -> String {
        format!(
            "{} of its first {} calls failed, {} of {} of its predecessor's",
            so_far.faults, so_far.calls, self.before.faults, self.before.calls
        )
    }
}

fn faults_times(faults: u64, calls: u64) -> u128 {
    u128::from(faults) * u128::from(calls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_fails_when_it_is_clearly_worse_than_its_predecessor() {
        let counts = |(faults, calls)| Counts { calls, faults };
        for (before, so_far, failed) in [
            ((0, 10_000), (2, 3), false),
            ((0, 10_000), (3, 3), true),
            ((0, 10_000), (3, 200), true),
            ((0, 0), (2, 2), false),
            ((0, 0), (3, 30), true),
            ((1_000, 10_000), (10, 100), false),
            ((1_000, 10_000), (32, 100), false),
            ((1_000, 10_000), (33, 100), true),
            ((1, 1), (200, 200), false),
        ] {
            let probation = Probation::begin(counts(before), Instant::now());
            assert_eq!(probation.is_failed(counts(so_far)), failed, "{before:?} {so_far:?}");
        }
    }

    #[test]
    fn it_is_over_after_its_calls_or_its_time() {
        let start = Instant::now();
        let probation = Probation::begin(Counts::default(), start);
        for (calls, seconds, over) in [(0, 0, false), (200, 60, false), (201, 0, true), (0, 61, true)] {
            let so_far = Counts { calls, faults: 0 };
            assert_eq!(probation.is_over(so_far, start + Duration::from_secs(seconds)), over, "{calls} {seconds}");
        }
    }
}
