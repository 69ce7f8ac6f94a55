//! Which artifacts have ended the host too often to be started again, by what its events say.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    journal::Happened,
    refusal::{Code, Refusal},
};
use crate::store::PluginEvent;

/// So many crashes by one artifact, within the window, and it is not started again by itself.
const CRASHES_MAX: usize = 3;
/// See [`CRASHES_MAX`].
const CRASH_WINDOW: Duration = Duration::from_secs(600);

/// Artifacts, by digest, that have ended an earlier host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blamed {
    /// Those that are not started again by themselves, each with why.
    pub condemned: BTreeMap<String, Refusal>,
    /// All of them.
    pub crashed: BTreeSet<String>,
}

/// Whom these events blame. Takes them the oldest first: what an operator has enabled again starts anew, and nothing else is
/// forgiven.
pub fn blamed(events: impl IntoIterator<Item = PluginEvent>) -> Blamed {
    let window_ms = i64::try_from(CRASH_WINDOW.as_millis()).unwrap_or(i64::MAX);
    let mut crashes: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let mut condemned = BTreeMap::new();
    for PluginEvent { at_ms, sha256, code, message, .. } in events {
        let Some(sha256) = sha256 else { continue };
        if code == Happened::Crashed.as_str() {
            let lately = crashes.entry(sha256.clone()).or_default();
            lately.retain(|before| *before > at_ms - window_ms);
            lately.push(at_ms);
            if lately.len() >= CRASHES_MAX || condemned.contains_key(&sha256) {
                condemned.insert(sha256, crashed_again_and_again(&message));
            }
        } else if code == Happened::LoaderStuck.as_str() {
            condemned.insert(sha256, crashed_again_and_again(&message));
        } else if code == Happened::EndedInProbe.as_str() {
            condemned.insert(sha256, Refusal::new(Code::HostEnded, message));
        } else if code == Happened::Enabled.as_str() {
            crashes.remove(&sha256);
            condemned.remove(&sha256);
        }
    }
    Blamed { condemned, crashed: crashes.into_keys().collect() }
}

fn crashed_again_and_again(last: &str) -> Refusal {
    Refusal::new(Code::Crashed, format!("quarantined after it ended the host again and again: {last}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::journal::Happened::{Crashed, Enabled, EndedInProbe, LoaderStuck, Swapped};

    const MINUTE_MS: i64 = 60_000;

    /// Which of the artifacts are condemned after these events: minute, artifact, code.
    #[track_caller]
    fn check(events: &[(i64, &str, Happened)], expected: &[&str]) {
        let events = events.iter().map(|(minute, sha256, code)| PluginEvent {
            at_ms: minute * MINUTE_MS,
            sha256: Some((*sha256).to_owned()),
            ..PluginEvent::new(*code, "")
        });
        assert_eq!(blamed(events).condemned.into_keys().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn three_crashes_within_ten_minutes_condemn_until_an_operator_says_otherwise() {
        let (a, b) = ("a", "b");
        check(&[], &[]);
        check(&[(0, a, Crashed), (1, a, Crashed)], &[]);
        check(&[(0, a, Crashed), (1, a, Crashed), (9, a, Crashed)], &[a]);
        check(&[(0, a, Crashed), (1, a, Crashed), (10, a, Crashed)], &[]);
        check(&[(0, a, Crashed), (8, a, Crashed), (11, a, Crashed), (16, a, Crashed)], &[a]);
        check(&[(0, a, Crashed), (1, b, Crashed), (2, a, Crashed), (3, b, Crashed)], &[]);
        check(&[(0, a, Crashed), (1, a, Crashed), (2, a, Crashed), (5_000, b, Swapped)], &[a]);
        check(&[(0, a, Crashed), (1, a, Crashed), (2, a, Crashed), (3, a, Enabled)], &[]);
        check(&[(0, a, Crashed), (1, a, Crashed), (2, a, Enabled), (3, a, Crashed), (4, a, Crashed)], &[]);
    }

    #[test]
    fn one_end_of_the_host_in_a_probe_condemns() {
        check(&[(0, "a", EndedInProbe), (5_000, "b", Crashed)], &["a"]);
        check(&[(0, "a", EndedInProbe), (1, "a", Enabled)], &[]);
    }

    #[test]
    fn one_stuck_linker_condemns() {
        check(&[(0, "a", LoaderStuck), (5_000, "b", Crashed)], &["a"]);
        check(&[(0, "a", LoaderStuck), (1, "a", Enabled)], &[]);
    }
}
