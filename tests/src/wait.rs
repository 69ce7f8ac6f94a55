//! Waiting for what only shows when one looks: the one place in the tests that sleeps.

use std::{
    thread,
    time::{Duration, Instant},
};

/// How long anything is waited for, unless a test says otherwise: far beyond what it takes on a busy machine.
pub const WAIT_MAX: Duration = Duration::from_secs(30);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Looks again and again until there is something to see, and returns it.
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
