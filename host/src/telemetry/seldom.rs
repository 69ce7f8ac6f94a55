//! A line about something that may happen thousands of times in a second: told at most once in a while.

use std::{
    collections::HashMap,
    hash::Hash,
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

/// The same by key, with the number of lines that were left out meanwhile. Any thread. Its memory is bounded: past its most
/// keys those are forgotten that may be told again anyway, and while there are none of them, new keys are not told.
#[derive(Debug)]
pub struct SeldomBy<K> {
    every: Duration,
    keys_max: usize,
    told: Mutex<HashMap<K, Told>>,
}

#[derive(Debug)]
struct Told {
    at: Instant,
    left_out: u64,
}

impl<K: Eq + Hash> SeldomBy<K> {
    /// Each of at most so many keys is told once in this time.
    pub fn new(every: Duration, keys_max: usize) -> Self {
        Self { every, keys_max, told: Mutex::default() }
    }

    /// Whether it is time to tell of this key: with how many times it was not since the last time.
    pub fn due(&self, key: K) -> Option<u64> {
        self.due_at(key, Instant::now())
    }

    fn due_at(&self, key: K, now: Instant) -> Option<u64> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |told: &Told| now.saturating_duration_since(told.at) >= self.every;
        match told.get_mut(&key) {
            Some(known) if is_over(known) => {
                let left_out = known.left_out;
                *known = Told { at: now, left_out: 0 };
                Some(left_out)
            }
            Some(known) => {
                known.left_out = known.left_out.saturating_add(1);
                None
            }
            None => {
                if told.len() >= self.keys_max {
                    told.retain(|_, known| !is_over(known));
                }
                let has_room = told.len() < self.keys_max;
                has_room.then(|| told.insert(key, Told { at: now, left_out: 0 })).map(|_new| 0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_told_once_in_a_while_with_what_was_left_out() {
        let (seldom, start) = (SeldomBy::new(Duration::from_secs(60), 2), Instant::now());
        for (line, (s, key, due)) in [
            (0, "a", Some(0)),
            (0, "a", None),
            (59, "a", None),
            (59, "b", Some(0)),
            // There is no room for a third one, until one of them is over.
            (59, "c", None),
            (60, "a", Some(2)),
            (60, "a", None),
            (118, "c", None),
            (119, "c", Some(0)),
            (119, "b", None),
            (120, "a", Some(1)),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(seldom.due_at(key, start + Duration::from_secs(s)), due, "line {line}: {key} at {s} s");
        }
        assert_eq!(seldom.told.lock().unwrap().len(), 2);
    }

    #[test]
    fn once_in_ten_seconds() {
        let (seldom, start) = (Seldom::default(), Instant::now());
        let due = |ms| seldom.is_due_at(start + Duration::from_millis(ms));
        for (ms, expected) in [(0, true), (1, false), (9_999, false), (10_000, true), (19_999, false), (60_000, true)] {
            assert_eq!(due(ms), expected, "{ms} ms");
        }
    }
}
