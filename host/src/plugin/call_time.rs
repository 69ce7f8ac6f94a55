//! Whose time a call takes: the plugin's own, the tool's that it waits for, or nobody's.

use std::{
    fs,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rustix::{
    param::clock_ticks_per_second,
    thread::{Pid, gettid},
    time::{ClockId, clock_gettime},
};

use super::pulse::Pulse;

/// A late call is held against whoever took at least this part of its deadline.
const BLAMED_PART: u32 = 2;
/// The part of its deadline that a call keeps for its answer: requests to the tool end before.
const ANSWER_PART: u32 = 10;
/// The longest time kept for the answer. After its last request a plugin only has to say what came of it.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(1);

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
    /// When the request that is under way began.
    with_tool_since: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Began {
    at: Duration,
    thread: Pid,
    /// Processor time of the thread until then.
    cpu: Duration,
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
    pub fn begin(&self) {
        let cpu = clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default();
        self.lock().began = Some(Began { at: self.pulse.now(), thread: gettid(), cpu });
    }

    /// Whether the call has begun.
    pub fn has_begun(&self) -> bool {
        self.lock().began.is_some()
    }

    /// Notes that the call waits for the tool, until the returned value is dropped.
    pub fn with_tool(&self) -> WithTool<'_> {
        self.lock().with_tool_since = Some(self.pulse.now());
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
        let own = own_time((now - began.at).saturating_sub(with_tool), began.cpu, Look::at(began.thread));
        blame(self.limit, own, with_tool)
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

/// A call's wait for its tool. It ends when this is dropped.
#[derive(Debug)]
#[must_use = "the wait ends when this is dropped"]
pub struct WithTool<'a>(&'a CallTime);

impl Drop for WithTool<'_> {
    fn drop(&mut self) {
        let now = self.0.pulse.now();
        let mut spent = self.0.lock();
        spent.with_tool = spent.with_tool(now);
        spent.with_tool_since = None;
    }
}

/// What the kernel says of a thread.
#[derive(Clone, Copy, Debug)]
struct Look {
    /// Whether it runs, or would if a processor were free.
    runnable: bool,
    /// Processor time so far, to a hundredth of a second.
    cpu: Duration,
}

impl Look {
    fn at(thread: Pid) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/self/task/{}/stat", thread.as_raw_nonzero())).ok()?;
        // proc_pid_stat(5): behind the name in parentheses come the state, ten more fields, and the times as user and system.
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
        let runnable = fields.next()? == "R";
        let mut ticks = fields.skip(10).map_while(|field| field.parse::<u64>().ok());
        let ticks = ticks.next()? + ticks.next()?;
        Some(Self { runnable, cpu: Duration::from_millis(ticks * 1_000 / clock_ticks_per_second()) })
    }
}

/// The plugin's part of the time that a call has had on its lane beside its tool's. A thread that sleeps has chosen to; one
/// that would run has used what it was given.
fn own_time(on_lane: Duration, cpu_before: Duration, look: Option<Look>) -> Duration {
    match look {
        Some(look) if look.runnable => on_lane.min(look.cpu.saturating_sub(cpu_before)),
        _ => on_lane,
    }
}

fn blame(limit: Duration, own: Duration, with_tool: Duration) -> Blame {
    let part = limit / BLAMED_PART;
    match () {
        () if own >= part => Blame::Plugin,
        () if with_tool >= part => Blame::Tool(with_tool),
        () => Blame::Nobody,
    }
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
        for (limit, own, with_tool, expected) in [
            (1_000, 1_000, 0, Blame::Plugin),
            (1_000, 500, 0, Blame::Plugin),
            (1_000, 499, 0, Blame::Nobody),
            (1_000, 0, 0, Blame::Nobody),
            (60_000, 0, 60_000, Blame::Tool(ms(60_000))),
            (60_000, 29_999, 30_001, Blame::Tool(ms(30_001))),
            (60_000, 30_000, 30_000, Blame::Plugin),
            (60_000, 20_000, 20_000, Blame::Nobody),
        ] {
            assert_eq!(blame(ms(limit), ms(own), ms(with_tool)), expected, "{limit} {own} {with_tool}");
        }
    }

    #[test]
    fn own_time_is_what_a_thread_slept_or_was_given() {
        let runs = |cpu| Some(Look { runnable: true, cpu: ms(cpu) });
        let sleeps = |cpu| Some(Look { runnable: false, cpu: ms(cpu) });
        for (on_lane, before, look, expected) in [
            (1_000, 0, sleeps(0), 1_000),
            (1_000, 70, runs(1_070), 1_000),
            (1_000, 70, runs(170), 100),
            (1_000, 70, runs(60), 0),
            (100, 0, runs(110), 100),
            // The kernel says nothing.
            (1_000, 0, None, 1_000),
        ] {
            assert_eq!(own_time(ms(on_lane), ms(before), look), ms(expected), "{on_lane} {before} {look:?}");
        }
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

    #[test]
    fn a_thread_that_computes_is_seen_to() {
        let before = Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
        let look = loop {
            let look = Look::at(gettid()).unwrap();
            if look.cpu > before + ms(20) {
                break look;
            }
        };
        assert!(look.runnable, "{look:?}");
        assert!(look.cpu < Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap() + ms(10), "{look:?}");
    }

    #[tokio::test]
    async fn waits_and_requests_are_told_apart() {
        let pulse = Pulse::new();
        let beating = tokio::spawn(pulse.beat());
        let time = CallTime::new(&pulse, ms(100));
        assert_eq!((time.blame(), time.has_begun()), (Blame::Nobody, false));
        time.begin();
        let asks = time.with_tool();
        assert_eq!(time.wait(std::future::pending::<()>()).await, None);
        assert!(time.is_over() && time.request_deadline().is_none());
        assert!(matches!(time.blame(), Blame::Tool(with_tool) if with_tool >= ms(50)), "{:?}", time.blame());
        assert!(!time.is_stuck(), "it waits for its tool");
        drop(asks);
        assert_eq!(CallTime::new(&pulse, ms(100)).wait(std::future::ready(7)).await, Some(7));
        beating.abort();
    }
}
