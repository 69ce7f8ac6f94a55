//! A warning about something that may happen thousands of times in a second: told at most once in a while.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Between two warnings of one kind.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// Whether it is time to tell again. Any thread.
#[derive(Debug, Default)]
pub struct Seldom(Mutex<Option<Instant>>);

impl Seldom {
    /// True the first time, and then at most once in ten seconds.
    pub fn is_due(&self) -> bool {
        self.is_due_at(Instant::now())
    }

    fn is_due_at(&self, now: Instant) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| now.saturating_duration_since(last) >= TOLD_EVERY);
        if due {
            *last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_in_ten_seconds() {
        let (seldom, start) = (Seldom::default(), Instant::now());
        let due = |ms| seldom.is_due_at(start + Duration::from_millis(ms));
        for (ms, expected) in [(0, true), (1, false), (9_999, false), (10_000, true), (19_999, false), (60_000, true)] {
            assert_eq!(due(ms), expected, "{ms} ms");
        }
    }
}
