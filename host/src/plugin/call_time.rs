//! Whose time a call takes: the plugin's own, the tool's that it waits for, or nobody's.

use std::{
    fs,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rustix::thread::{Pid, gettid};

use super::pulse::Pulse;

/// A late call is held against whoever took at least this part of its deadline.
const BLAMED_PART: u32 = 2;
/// The part of its deadline that a call keeps for its answer: requests to the tool end before.
const ANSWER_PART: u32 = 10;
/// The longest time kept for the answer. After its last request a plugin only has to say what came of it.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(1);

/// For how long a lane goes by what the kernel last said of its thread: short calls in a row must not ask each time.
const KNOWN_FOR: Duration = Duration::from_millis(20);

/// The time of one call, from the moment in which it is asked for. Its lane notes what the call does, others look how late
/// it is and why. Durations are the [`Pulse`]'s, so nothing is late while the host stands still.
#[derive(Debug)]
pub struct CallTime {
    pulse: Pulse,
    limit: Duration,
    asked_at: Duration,
    spent: Mutex<Spent>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    began: Option<Began>,
    /// In requests to the tool that have ended.
    with_tool: Duration,
    /// Requests that are under way: a plugin may ask from threads of its own, several at once.
    requests: u32,
    /// When the first of them began.
    with_tool_since: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Began {
    at: Duration,
    thread: Pid,
    /// How long the thread had waited for a processor until then.
    starved: Duration,
}

/// The thread of a lane, as its calls know it.
#[derive(Debug)]
pub struct LaneThread {
    id: Pid,
    /// How long it had waited for a processor, and when that was asked.
    starved: Option<(Duration, Duration)>,
}

impl LaneThread {
    /// The thread that calls this.
    pub fn this() -> Self {
        Self { id: gettid(), starved: None }
    }

    fn starved(&mut self, now: Duration) -> Duration {
        match self.starved {
            Some((starved, asked_at)) if now.saturating_sub(asked_at) < KNOWN_FOR => starved,
            _ => {
                let starved = starved(self.id);
                self.starved = Some((starved, now));
                starved
            }
        }
    }
}

/// Whose time a late call has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The plugin's: it worked, slept or waited for itself.
    Plugin,
    /// The tool's, for this long.
    Tool(Duration),
    /// Nobody's: it waited for a lane or for a processor.
    Nobody,
}

impl CallTime {
    /// The time of a call that is asked for now and has to be answered within `limit`.
    pub fn new(pulse: &Pulse, limit: Duration) -> Self {
        Self { pulse: pulse.clone(), limit, asked_at: pulse.now(), spent: Mutex::default() }
    }

    /// How long the call may take, its wait for a lane included.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// Notes that the call begins on this thread.
    pub fn begin(&self, thread: &mut LaneThread) {
        let at = self.pulse.now();
        self.lock().began = Some(Began { at, thread: thread.id, starved: thread.starved(at) });
    }

    /// Whether the call has begun.
    pub fn has_begun(&self) -> bool {
        self.lock().began.is_some()
    }

    /// Notes that the call waits for the tool, until the returned value is dropped. The wait ends with the last of them.
    pub fn with_tool(&self) -> WithTool<'_> {
        let now = self.pulse.now();
        let mut spent = self.lock();
        spent.requests += 1;
        spent.with_tool_since.get_or_insert(now);
        drop(spent);
        WithTool(self)
    }

    /// Until when a request to the tool must have its answer, so that time is left for the call's own; `None` when it is too
    /// late to begin one.
    pub fn request_deadline(&self) -> Option<Instant> {
        Some(Instant::now() + request_time(self.limit, self.left())?)
    }

    /// Whether the call's deadline has passed.
    pub fn is_over(&self) -> bool {
        self.left().is_zero()
    }

    /// Waits for the call's answer until the deadline.
    pub async fn wait<F: Future + Unpin>(&self, mut answer: F) -> Option<F::Output> {
        // After a standstill of the host the timer is early.
        while let Some(left) = Some(self.left()).filter(|left| !left.is_zero()) {
            if let Ok(answer) = tokio::time::timeout(left, &mut answer).await {
                return Some(answer);
            }
        }
        None
    }

    /// Whose time it has taken until now.
    pub fn blame(&self) -> Blame {
        // In this order, since the lane goes on meanwhile.
        let spent = *self.lock();
        let now = self.pulse.now();
        let Some(began) = spent.began else { return Blame::Nobody };
        let with_tool = spent.with_tool(now);
        let starved = starved(began.thread).saturating_sub(began.starved);
        blame(self.limit, now - began.at, with_tool, starved)
    }

    /// How long the call has waited until now for its tool, and with a thread that could have run for a processor.
    pub fn waited(&self) -> Duration {
        let spent = *self.lock();
        let starved = spent.began.map(|began| starved(began.thread).saturating_sub(began.starved));
        spent.with_tool(self.pulse.now()) + starved.unwrap_or_default()
    }

    /// Whether the deadline has passed and the call goes on by the plugin's own doing.
    pub fn is_stuck(&self) -> bool {
        self.is_over() && self.lock().with_tool_since.is_none() && self.blame() == Blame::Plugin
    }

    fn left(&self) -> Duration {
        self.limit.saturating_sub(self.pulse.now() - self.asked_at)
    }

    fn lock(&self) -> MutexGuard<'_, Spent> {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spent {
    fn with_tool(&self, now: Duration) -> Duration {
        self.with_tool + self.with_tool_since.map_or(Duration::ZERO, |since| now - since)
    }
}

/// A call's wait for one answer of its tool. It ends when this is dropped.
#[derive(Debug)]
#[must_use = "the wait ends when this is dropped"]
pub struct WithTool<'a>(&'a CallTime);

impl Drop for WithTool<'_> {
    fn drop(&mut self) {
        let now = self.0.pulse.now();
        let mut spent = self.0.lock();
        spent.requests -= 1;
        if spent.requests == 0 {
            spent.with_tool = spent.with_tool(now);
            spent.with_tool_since = None;
        }
    }
}

/// Whose time a late call has taken: of what it had on its lane, the plugin's is what it neither waited for its tool nor, with
/// a thread that could have run, for a processor.
fn blame(limit: Duration, on_lane: Duration, with_tool: Duration, starved: Duration) -> Blame {
    let part = limit / BLAMED_PART;
    match () {
        () if on_lane.saturating_sub(with_tool + starved) >= part => Blame::Plugin,
        () if with_tool >= part => Blame::Tool(with_tool),
        () => Blame::Nobody,
    }
}

/// How long a thread of this process has waited for a processor since it began. Zero where the kernel does not tell.
fn starved(thread: Pid) -> Duration {
    let path = format!("/proc/self/task/{}/schedstat", thread.as_raw_nonzero());
    fs::read_to_string(path).ok().and_then(|text| run_delay(&text)).unwrap_or_default()
}

/// The second number of a schedstat, in nanoseconds (Documentation/scheduler/sched-stats.rst of the kernel).
fn run_delay(schedstat: &str) -> Option<Duration> {
    Some(Duration::from_nanos(schedstat.split_ascii_whitespace().nth(1)?.parse().ok()?))
}

/// How long a request may take when so much of the call is left. One that could not have as long as is kept for the answer
/// is not begun: it would only be cut off.
fn request_time(limit: Duration, left: Duration) -> Option<Duration> {
    let answer_time = (limit / ANSWER_PART).min(ANSWER_TIME_MAX);
    left.checked_sub(answer_time).filter(|time| *time >= answer_time)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_late_call_is_held_against_who_took_half_of_its_deadline() {
        for (limit, on_lane, with_tool, starved, expected) in [
            (1_000, 1_000, 0, 0, Blame::Plugin),
            (1_000, 500, 0, 0, Blame::Plugin),
            (1_000, 499, 0, 0, Blame::Nobody),
            (1_000, 0, 0, 0, Blame::Nobody),
            (1_000, 1_000, 0, 500, Blame::Plugin),
            (1_000, 1_000, 0, 501, Blame::Nobody),
            // What the kernel counts and what the pulse does may differ.
            (1_000, 1_000, 0, 1_001, Blame::Nobody),
            (60_000, 60_000, 60_000, 0, Blame::Tool(ms(60_000))),
            (60_000, 60_000, 30_001, 0, Blame::Tool(ms(30_001))),
            (60_000, 60_000, 30_000, 0, Blame::Plugin),
            (60_000, 60_000, 20_000, 20_000, Blame::Nobody),
            // Past the deadline, as a lane that does not come back is seen.
            (60_000, 100_000, 60_000, 0, Blame::Plugin),
        ] {
            let [limit, on_lane, with_tool, starved] = [limit, on_lane, with_tool, starved].map(ms);
            let found = blame(limit, on_lane, with_tool, starved);
            assert_eq!(found, expected, "{limit:?} {on_lane:?} {with_tool:?} {starved:?}");
        }
    }

    #[test]
    fn the_kernels_account_of_a_thread_is_read() {
        for (schedstat, expected) in [
            ("691586703 311104065 99\n", Some(Duration::from_nanos(311_104_065))),
            ("0 0 0\n", Some(Duration::ZERO)),
            ("7", None),
            ("", None),
        ] {
            assert_eq!(run_delay(schedstat), expected, "{schedstat:?}");
        }
    }

    #[test]
    fn a_lane_does_not_ask_the_kernel_at_each_call() {
        let mut thread = LaneThread::this();
        thread.starved = Some((ms(7), ms(100)));
        assert_eq!(thread.starved(ms(119)), ms(7));
        thread.starved(ms(120));
        assert_eq!(thread.starved.map(|(_, asked_at)| asked_at), Some(ms(120)));
    }

    #[test]
    fn requests_end_before_their_call_and_late_ones_do_not_begin() {
        for (limit, left, expected) in [
            (60_000, 60_000, Some(59_000)),
            (60_000, 2_000, Some(1_000)),
            (60_000, 1_999, None),
            (60_000, 0, None),
            (1_000, 1_000, Some(900)),
            (1_000, 200, Some(100)),
            (1_000, 199, None),
        ] {
            assert_eq!(request_time(ms(limit), ms(left)), expected.map(ms), "{limit} {left}");
        }
    }

    #[tokio::test]
    async fn waits_and_requests_are_told_apart() {
        let pulse = Pulse::beginning_now();
        let beating = tokio::spawn(pulse.beat());
        let time = CallTime::new(&pulse, ms(100));
        assert_eq!((time.blame(), time.has_begun()), (Blame::Nobody, false));
        time.begin(&mut LaneThread::this());
        // From two threads of the plugin: the wait ends with the second answer.
        let [first, second] = [time.with_tool(), time.with_tool()];
        drop(first);
        assert_eq!(time.wait(std::future::pending::<()>()).await, None);
        assert!(time.is_over() && time.request_deadline().is_none());
        assert!(matches!(time.blame(), Blame::Tool(with_tool) if with_tool >= ms(50)), "{:?}", time.blame());
        assert!(!time.is_stuck(), "it waits for its tool");
        drop(second);
        assert!(time.lock().with_tool_since.is_none());
        assert_eq!(CallTime::new(&pulse, ms(100)).wait(std::future::ready(7)).await, Some(7));
        beating.abort();
    }
}
