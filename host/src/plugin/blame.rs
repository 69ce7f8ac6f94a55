//! Which artifacts have ended the host too often to be started again, by what its events say.

use std::{collections::BTreeMap, time::Duration};

use super::manager::{CRASHED, ENABLED, LOADER_STUCK};
use crate::store::PluginEvent;

/// So many crashes by one artifact, within the window, and it is not started again by itself.
const CRASHES_MAX: usize = 3;
/// See [`CRASHES_MAX`].
const CRASH_WINDOW: Duration = Duration::from_secs(600);

/// The digests of those artifacts, each with what it did last. Takes events the oldest first: what an operator has enabled
/// again starts anew, and nothing else is forgiven.
pub fn condemned(events: impl IntoIterator<Item = PluginEvent>) -> BTreeMap<String, String> {
    let window_ms = i64::try_from(CRASH_WINDOW.as_millis()).unwrap_or(i64::MAX);
    let mut crashes: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let mut condemned = BTreeMap::new();
    for PluginEvent { at_ms, sha256, code, message, .. } in events {
        let Some(sha256) = sha256 else { continue };
        match code.as_str() {
            CRASHED => {
                let lately = crashes.entry(sha256.clone()).or_default();
                lately.retain(|before| *before > at_ms - window_ms);
                lately.push(at_ms);
                if lately.len() >= CRASHES_MAX || condemned.contains_key(&sha256) {
                    condemned.insert(sha256, message);
                }
            }
            LOADER_STUCK => drop(condemned.insert(sha256, message)),
            ENABLED => {
                crashes.remove(&sha256);
                condemned.remove(&sha256);
            }
            _ => {}
        }
    }
    condemned
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: i64 = 60_000;

    /// Which of the artifacts are condemned after these events: minute, artifact, code.
    #[track_caller]
    fn check(events: &[(i64, &str, &str)], expected: &[&str]) {
        let events = events.iter().map(|(minute, sha256, code)| PluginEvent {
            at_ms: minute * MINUTE_MS,
            tool_type: None,
            generation: None,
            sha256: Some((*sha256).to_owned()),
            code: (*code).to_owned(),
            message: String::new(),
        });
        assert_eq!(condemned(events).into_keys().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn three_crashes_within_ten_minutes_condemn_until_an_operator_says_otherwise() {
        let (a, b) = ("a", "b");
        check(&[], &[]);
        check(&[(0, a, CRASHED), (1, a, CRASHED)], &[]);
        check(&[(0, a, CRASHED), (1, a, CRASHED), (9, a, CRASHED)], &[a]);
        check(&[(0, a, CRASHED), (1, a, CRASHED), (10, a, CRASHED)], &[]);
        check(&[(0, a, CRASHED), (8, a, CRASHED), (11, a, CRASHED), (16, a, CRASHED)], &[a]);
        check(&[(0, a, CRASHED), (1, b, CRASHED), (2, a, CRASHED), (3, b, CRASHED)], &[]);
        check(&[(0, a, CRASHED), (1, a, CRASHED), (2, a, CRASHED), (5_000, b, "serves")], &[a]);
        check(&[(0, a, CRASHED), (1, a, CRASHED), (2, a, CRASHED), (3, a, ENABLED)], &[]);
        check(&[(0, a, CRASHED), (1, a, CRASHED), (2, a, ENABLED), (3, a, CRASHED), (4, a, CRASHED)], &[]);
    }

    #[test]
    fn one_stuck_linker_condemns() {
        check(&[(0, "a", LOADER_STUCK), (5_000, "b", CRASHED)], &["a"]);
        check(&[(0, "a", LOADER_STUCK), (1, "a", ENABLED)], &[]);
    }
}
