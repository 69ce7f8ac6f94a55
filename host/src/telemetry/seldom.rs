//! Limits log lines about what may happen thousands of times a second.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Minimum time between two searches for keys to forget: the map may be full while thousands of new keys arrive each second.
const SWEPT_EVERY: Duration = Duration::from_secs(1);

/// Decides for each key whether to write a line again, and counts the lines that were left out. Any thread. Its memory is
/// bounded: when it is full, it forgets the keys that may have a line again; if there are none, a new key gets no line.
#[derive(Debug)]
pub struct SeldomBy<K> {
    every: Duration,
    keys_max: usize,
    told: Mutex<Told<K>>,
}

#[derive(Debug)]
struct Told<K> {
    keys: HashMap<K, Key>,
    swept_at: Option<Instant>,
}

#[derive(Debug)]
struct Key {
    told_at: Instant,
    left_out: u64,
}

impl<K: Eq + Hash> SeldomBy<K> {
    /// Allows one line in this time for each of at most `keys_max` keys.
    pub fn new(every: Duration, keys_max: usize) -> Self {
        Self { every, keys_max, told: Mutex::new(Told { keys: HashMap::new(), swept_at: None }) }
    }

    /// Returns, when it is time for a line about this key, how many were left out since the last one.
    pub fn due(&self, key: K) -> Option<u64> {
        self.due_at(key, Instant::now())
    }

    fn due_at(&self, key: K, now: Instant) -> Option<u64> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |key: &Key| now.saturating_duration_since(key.told_at) >= self.every;
        if let Some(known) = told.keys.get_mut(&key) {
            if is_over(known) {
                let left_out = known.left_out;
                *known = Key { told_at: now, left_out: 0 };
                return Some(left_out);
            }
            known.left_out = known.left_out.saturating_add(1);
            return None;
        }
        let is_swept = told.swept_at.is_some_and(|at| now.saturating_duration_since(at) < SWEPT_EVERY);
        if told.keys.len() >= self.keys_max && !is_swept {
            told.keys.retain(|_, known| !is_over(known));
            told.swept_at = Some(now);
        }
        let has_room = told.keys.len() < self.keys_max;
        has_room.then(|| told.keys.insert(key, Key { told_at: now, left_out: 0 })).map(|_new| 0)
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
        assert_eq!(seldom.told.lock().unwrap().keys.len(), 2);
    }
}
