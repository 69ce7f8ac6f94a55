//! Quarantine: a plugin that fails too often gets no calls for a while, and then one on trial.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// The longest pause before a trial. A quarantine that begins within this time after a trial was passed goes on where the
/// one before it ended.
pub const PAUSE_MAX: Duration = Duration::from_secs(15 * 60);
/// How much longer each pause is than the one before it.
const PAUSE_TIMES: u32 = 2;

/// Whether a call is let through to a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// As all are.
    Free,
    /// Alone, to see whether the plugin works again.
    Trial,
    /// It is not.
    Closed,
}

/// What has happened to a quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// It has begun, or its trial was failed, for this reason; after the pause there is a trial.
    Begun(String, Duration),
    /// Its trial was passed.
    Ended,
}

/// The quarantine of one generation.
#[derive(Debug)]
pub struct Quarantine {
    /// What most callers ask, without the lock.
    is_open: AtomicBool,
    first_pause: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    stage: Stage,
    /// The last pause.
    pause: Duration,
    /// When the last trial was passed.
    passed_at: Option<Instant>,
    news: Option<News>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// There is none.
    Open,
    /// No call is let through until then.
    Paused(Instant),
    /// One call is under way.
    Trial,
}

impl Quarantine {
    /// None yet; the first trial comes after this pause.
    pub fn new(first_pause: Duration) -> Self {
        let state = State { stage: Stage::Open, pause: Duration::ZERO, passed_at: None, news: None };
        Self { is_open: AtomicBool::new(true), first_pause, state: Mutex::new(state) }
    }

    /// Whether calls are kept from the plugin, but for a trial.
    pub fn is_on(&self) -> bool {
        !self.is_open.load(Ordering::Relaxed)
    }

    /// Asks for a call to be let through. A [`Trial`](Passage::Trial) that was let through must be [left](Self::leave_trial).
    pub fn admit(&self, now: Instant) -> Passage {
        if !self.is_on() {
            return Passage::Free;
        }
        let mut state = self.lock();
        match state.stage {
            Stage::Open => Passage::Free,
            Stage::Paused(until) if now >= until => {
                state.stage = Stage::Trial;
                Passage::Trial
            }
            Stage::Paused(_) | Stage::Trial => Passage::Closed,
        }
    }

    /// Whether a call is on trial.
    pub fn is_on_trial(&self) -> bool {
        self.is_on() && self.lock().stage == Stage::Trial
    }

    /// Begins, or begins the next pause when a trial was failed. Returns the pause; `None` while there is one.
    pub fn begin(&self, why: String, now: Instant) -> Option<Duration> {
        let mut state = self.lock();
        let goes_on = match state.stage {
            Stage::Paused(_) => return None,
            Stage::Trial => true,
            Stage::Open => state.passed_at.is_some_and(|at| now.saturating_duration_since(at) < PAUSE_MAX),
        };
        state.pause = if goes_on { (state.pause * PAUSE_TIMES).min(PAUSE_MAX) } else { self.first_pause };
        state.stage = Stage::Paused(now + state.pause);
        state.news = Some(News::Begun(why, state.pause));
        self.is_open.store(false, Ordering::Relaxed);
        Some(state.pause)
    }

    /// Notes that the plugin has answered a call as it should, which passes a trial. Returns whether there was one.
    pub fn answered(&self, now: Instant) -> bool {
        if !self.is_on() {
            return false;
        }
        let mut state = self.lock();
        let passes = state.stage == Stage::Trial;
        if passes {
            state.stage = Stage::Open;
            state.passed_at = Some(now);
            state.news = Some(News::Ended);
            self.is_open.store(true, Ordering::Relaxed);
        }
        passes
    }

    /// Ends a trial. When it was neither passed nor failed, since no call came of it, the next one may be made at once.
    pub fn leave_trial(&self, now: Instant) {
        let mut state = self.lock();
        if state.stage == Stage::Trial {
            state.stage = Stage::Paused(now);
        }
    }

    /// What has happened since this was asked last.
    pub fn take_news(&self) -> Option<News> {
        self.lock().news.take()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(60);

    /// What is done to a quarantine, and what must come of it.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// A fault that begins it; the seconds of the pause, if one begins.
        Fault(Option<u64>),
        /// Somebody asks to be let through.
        Ask(Passage),
        /// The plugin answers; whether that ends the quarantine.
        Answer(bool),
        /// The trial is left.
        Leave,
    }

    use Passage::{Closed, Free, Trial};
    use Step::{Answer, Ask, Fault, Leave};

    /// Takes these steps, each so many seconds after the beginning.
    #[track_caller]
    fn check(steps: &[(u64, Step)]) {
        let (quarantine, start) = (Quarantine::new(PAUSE), Instant::now());
        for (at_s, step) in steps {
            let now = start + Duration::from_secs(*at_s);
            match *step {
                Fault(pause_s) => {
                    let pause = quarantine.begin("why".to_owned(), now);
                    assert_eq!(pause, pause_s.map(Duration::from_secs), "{at_s}: {steps:?}");
                }
                Ask(expected) => assert_eq!(quarantine.admit(now), expected, "{at_s}: {steps:?}"),
                Answer(ends) => assert_eq!(quarantine.answered(now), ends, "{at_s}: {steps:?}"),
                Leave => quarantine.leave_trial(now),
            }
        }
    }

    #[test]
    fn one_call_is_let_through_after_the_pause_and_decides() {
        check(&[(0, Ask(Free)), (0, Answer(false)), (0, Ask(Free))]);
        check(&[(0, Fault(Some(60))), (1, Fault(None)), (59, Ask(Closed)), (60, Ask(Trial)), (60, Ask(Closed))]);
        check(&[(0, Fault(Some(60))), (60, Ask(Trial)), (61, Answer(true)), (61, Leave), (61, Ask(Free))]);
        // An answer to a call from before is no trial.
        check(&[(0, Fault(Some(60))), (1, Answer(false)), (1, Ask(Closed))]);
    }

    #[test]
    fn a_failed_trial_doubles_the_pause_up_to_the_longest() {
        let mut steps = vec![(0, Fault(Some(60)))];
        let mut at_s = 60;
        for pause_s in [120, 240, 480, 900, 900] {
            steps.extend([(at_s, Ask(Trial)), (at_s, Fault(Some(pause_s))), (at_s, Leave), (at_s, Ask(Closed))]);
            at_s += pause_s;
        }
        check(&steps);
    }

    #[test]
    fn a_trial_without_a_call_decides_nothing() {
        check(&[(0, Fault(Some(60))), (60, Ask(Trial)), (61, Leave), (61, Ask(Trial)), (61, Answer(true))]);
    }

    #[test]
    fn who_relapses_goes_on_where_the_last_pause_ended() {
        let passed = [(0_u64, Fault(Some(60))), (60, Ask(Trial)), (60, Answer(true))];
        let relapses = |after_s: u64, pause_s| [&passed[..], &[(60 + after_s, Fault(Some(pause_s)))]].concat();
        check(&relapses(0, 120));
        check(&relapses(899, 120));
        check(&relapses(900, 60));
    }

    #[test]
    fn news_are_told_once() {
        let (quarantine, now) = (Quarantine::new(PAUSE), Instant::now());
        assert_eq!(quarantine.take_news(), None);
        quarantine.begin("why".to_owned(), now);
        assert_eq!(quarantine.take_news(), Some(News::Begun("why".to_owned(), PAUSE)));
        assert_eq!(quarantine.take_news(), None);
        quarantine.admit(now + PAUSE);
        quarantine.answered(now + PAUSE);
        assert_eq!(quarantine.take_news(), Some(News::Ended));
        assert!(!quarantine.is_on());
    }
}
