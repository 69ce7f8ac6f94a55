//! Polling for conditions: the only place in the tests that sleeps.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Default time limit: far beyond what anything takes on a busy machine.
pub const WAIT_MAX: Duration = Duration::from_secs(30);
/// Polling interval.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Polls until `look` returns something, and returns it.
///
/// # Panics
/// When the time is over; the message says what was waited for.
#[track_caller]
pub fn wait_until<T>(what: &str, time_max: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + time_max;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "{what}: not within {time_max:?}");
        thread::sleep(LOOK_EVERY);
    }
}
