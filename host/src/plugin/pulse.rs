//! The time that this process has lived through: while it was stopped, or its machine stood still, none passed.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use tokio::time::MissedTickBehavior;

/// Between two beats.
const BEAT_EVERY: Duration = Duration::from_millis(50);
/// A longer time between two beats is a standstill, and counts as one beat. Beats of a host on a busy machine are late by
/// less.
const LATE_MAX: Duration = Duration::from_millis(200);

/// A clock that stands still with the process (SIGSTOP, a debugger, a frozen container, a suspended machine), unlike
/// [`Instant`]. Cheap to clone; all clones are one clock. It goes right as long as [`beat`](Self::beat) runs.
#[derive(Clone, Debug)]
pub struct Pulse {
    last: Arc<Mutex<Beat>>,
}

#[derive(Debug)]
struct Beat {
    at: Instant,
    lived: Duration,
}

impl Pulse {
    /// A clock that begins now.
    pub fn beginning_now() -> Self {
        Self { last: Arc::new(Mutex::new(Beat { at: Instant::now(), lived: Duration::ZERO })) }
    }

    /// What the process has lived through since the clock began.
    pub fn now(&self) -> Duration {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).beat(Instant::now())
    }

    /// Beats until all clones are gone: for a task of its own.
    pub fn beat(&self) -> impl Future<Output = ()> + Send + 'static {
        let last = Arc::downgrade(&self.last);
        async move {
            let mut beats = tokio::time::interval(BEAT_EVERY);
            beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                beats.tick().await;
                let Some(last) = Weak::upgrade(&last) else { return };
                Self { last }.now();
            }
        }
    }
}

impl Beat {
    fn beat(&mut self, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.at);
        self.at = now;
        self.lived += if passed > LATE_MAX { BEAT_EVERY } else { passed };
        self.lived
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standstill_counts_as_one_beat() {
        for (passed_ms, lived_ms) in [
            (&[50, 50, 50][..], 150),
            (&[0, 7, 199], 206),
            (&[200], 200),
            (&[201], 50),
            (&[50, 3_600_000, 50], 150),
            (&[5_000, 5_000], 100),
        ] {
            let mut at = Instant::now();
            let mut beat = Beat { at, lived: Duration::ZERO };
            for ms in passed_ms {
                at += Duration::from_millis(*ms);
                beat.beat(at);
            }
            assert_eq!(beat.lived, Duration::from_millis(lived_ms), "{passed_ms:?}");
        }
    }
}
