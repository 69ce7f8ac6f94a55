//! Lanes: the threads that a generation owns, and the bounded queue that they take calls from.
//!
//! All code of a plugin runs here. A call owns its input, so that whoever waits for it may give up at the deadline. A
//! lane that does not come back is given up too: another takes its place, and the old one ends when its call does.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{
    call_time::{CallTime, LaneThread},
    capability::Capability,
    crash::{Step, Watched, WatchedThread},
    loader::LoadedPlugin,
};
use crate::{
    mailbox::{Mailbox, NotPut, Taken},
    telemetry::metrics::{Counted, LaneKind, PluginMetrics},
    threads,
};

/// How many lanes of one kind are replaced while their calls do not return.
pub const REPLACED_MAX: usize = 3;
/// How long a lane beyond the first ones waits for work before it ends.
const IDLE_MAX: Duration = Duration::from_secs(20);
/// Most requests for new threads that wait at once; beyond it calls wait for the lanes that there are.
const STARTS_MAX: usize = 256;

/// What lanes hold.
pub type Plugin = LoadedPlugin<Capability>;

/// One call, or validate and extract of one webhook: what the lane runs, and the time that it has for it.
pub struct Work {
    /// Once it is over, work that has not begun is dropped unrun.
    pub time: Arc<CallTime>,
    /// What the lane is seen to do meanwhile, should the process die of it.
    pub step: Step,
    /// Runs on the lane, with the lane's place among the generation's threads.
    pub run: Run,
}

/// What runs on a lane.
pub type Run = Box<dyn FnOnce(&Plugin, usize) + Send>;

/// Why a call was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// The queue is full.
    Saturated,
    /// The generation is being dismantled.
    Closed,
}

/// Starts lanes on a thread of its own: while a library's constructor hangs, no thread of the process can start, and
/// whoever asks for one must not have to wait for that.
#[derive(Clone)]
pub struct LaneStarter {
    requests: Arc<Mailbox<Start>>,
}

type Start = Box<dyn FnOnce() + Send>;

impl LaneStarter {
    /// Starts the starter.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start() -> std::io::Result<Self> {
        let requests = Arc::new(Mailbox::<Start>::new(STARTS_MAX));
        let taken = Arc::clone(&requests);
        std::thread::Builder::new().name("lane-starter".to_owned()).spawn(move || {
            threads::register();
            let mut starts = Vec::new();
            while taken.take_all(&mut starts, STARTS_MAX) {
                starts.drain(..).for_each(|start| start());
            }
        })?;
        Ok(Self { requests })
    }
}

/// How many lanes of one kind a generation has.
#[derive(Clone, Debug)]
pub struct LaneLimits {
    /// Fast or slow.
    pub kind: LaneKind,
    /// Lanes that are there from the start and stay.
    pub kept: usize,
    /// Most lanes at once, those given up not counted.
    pub lanes_max: usize,
    /// Most calls that wait.
    pub queue_max: usize,
    /// The generation, as the crash journal knows it.
    pub watched: Arc<Watched>,
    /// The first of the places that these lanes use; they need `lanes_max + REPLACED_MAX`.
    pub first_place: usize,
}

/// All lanes of one kind of one generation.
pub struct Lanes {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    limits: LaneLimits,
    metrics: Arc<PluginMetrics>,
    starter: LaneStarter,
    queue: Mailbox<(Work, Counted)>,
    lanes: Mutex<Alive>,
    ended: Condvar,
}

#[derive(Default)]
struct Alive {
    plugin: Option<Arc<Plugin>>,
    /// Lanes that take work, those that are about to start included.
    count: usize,
    /// Lanes that were given up and whose call has not returned.
    given_up: usize,
    states: Vec<Arc<LaneState>>,
    threads: Vec<JoinHandle<()>>,
}

impl Alive {
    /// Once for each lane, however often it is called.
    fn count_out(&mut self, state: &Arc<LaneState>) {
        let before = self.states.len();
        self.states.retain(|other| !Arc::ptr_eq(other, state));
        if self.states.len() == before {
            return;
        }
        if state.given_up.load(Ordering::SeqCst) {
            self.given_up -= 1;
        } else {
            self.count -= 1;
        }
    }
}

struct LaneState {
    place: usize,
    /// The time of the current call.
    call: Mutex<Option<Arc<CallTime>>>,
    given_up: AtomicBool,
}

impl LaneState {
    fn is_stuck(&self) -> bool {
        let call = self.call.lock().unwrap_or_else(PoisonError::into_inner).clone();
        call.is_some_and(|call| call.is_stuck())
    }

    fn carries_out(&self, call: Option<Arc<CallTime>>) {
        *self.call.lock().unwrap_or_else(PoisonError::into_inner) = call;
    }
}

impl Lanes {
    /// Lanes for this plugin; those that are kept are started now.
    pub fn start(
        name: String,
        plugin: Arc<Plugin>,
        limits: LaneLimits,
        metrics: Arc<PluginMetrics>,
        starter: LaneStarter,
    ) -> Self {
        let kept = limits.kept;
        let inner = Arc::new(Inner {
            name,
            queue: Mailbox::new(limits.queue_max),
            limits,
            metrics,
            starter,
            lanes: Mutex::new(Alive { plugin: Some(plugin), ..Alive::default() }),
            ended: Condvar::new(),
        });
        for _ in 0..kept {
            inner.start_lane();
        }
        Self { inner }
    }

    /// Queues a call, and starts a lane for it when none is free.
    ///
    /// # Errors
    /// When the queue is full or closed. Never waits.
    pub fn submit(&self, work: Work) -> Result<(), NotTaken> {
        let inner = &self.inner;
        let queued = inner.metrics.queued(inner.limits.kind);
        let is_awaited = inner.queue.put((work, queued)).map_err(|refused| match refused {
            NotPut::Full => NotTaken::Saturated,
            NotPut::Closed => NotTaken::Closed,
        })?;
        if !is_awaited && inner.limits.lanes_max > inner.limits.kept {
            inner.start_lane();
        }
        Ok(())
    }

    /// Gives up lanes whose call is past its deadline by the plugin's own doing, and starts others in their place. Returns
    /// how many were given up now.
    pub fn give_up_stuck(&self) -> usize {
        let inner = &self.inner;
        let mut lanes = inner.lock();
        let mut stuck = 0;
        for state in lanes.states.clone() {
            let may_go = lanes.given_up < REPLACED_MAX && state.is_stuck();
            if may_go && !state.given_up.swap(true, Ordering::SeqCst) {
                lanes.count -= 1;
                lanes.given_up += 1;
                inner.metrics.stuck_call();
                stuck += 1;
            }
        }
        drop(lanes);
        for _ in 0..stuck {
            inner.start_lane();
        }
        stuck
    }

    /// Whether so many calls do not return that none of their lanes is replaced any more.
    pub fn are_stuck(&self) -> bool {
        self.inner.lock().given_up >= REPLACED_MAX
    }

    /// Takes no more calls; what is queued is still run.
    pub fn close(&self) {
        self.inner.queue.close();
    }

    /// Waits until all lanes have ended, after [`close`](Self::close), and joins them; false when one did not end in time.
    pub fn join(&self, deadline: Instant) -> bool {
        let inner = &self.inner;
        let mut lanes = inner.lock();
        while lanes.count + lanes.given_up > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            lanes = inner.ended.wait_timeout(lanes, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        lanes.plugin = None;
        let threads = std::mem::take(&mut lanes.threads);
        drop(lanes);
        // Their last act was to count themselves out; the join waits for the destructors of their thread-locals.
        threads.is_empty() || threads::join_all(threads, deadline)
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Alive> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for one more lane, unless there are as many as may be.
    fn start_lane(self: &Arc<Self>) {
        let mut lanes = self.lock();
        let Some(plugin) = lanes.plugin.clone().filter(|_| lanes.count < self.limits.lanes_max) else { return };
        let used = |place: usize| lanes.states.iter().any(|state| state.place == place);
        let places = self.limits.first_place..self.limits.first_place + self.limits.lanes_max + REPLACED_MAX;
        let Some(place) = places.into_iter().find(|place| !used(*place)) else { return };
        let state = Arc::new(LaneState { place, call: Mutex::default(), given_up: AtomicBool::new(false) });
        lanes.count += 1;
        lanes.states.push(Arc::clone(&state));
        drop(lanes);
        let inner = Arc::clone(self);
        let refused = Arc::clone(&state);
        let start = Box::new(move || inner.spawn(plugin, state));
        if self.starter.requests.put(start).is_err() {
            // The lanes that there are take the call; the next one asks again.
            self.count_out(&refused);
        }
    }

    fn spawn(self: Arc<Self>, plugin: Arc<Plugin>, state: Arc<LaneState>) {
        let lane = Arc::clone(&self);
        let ending = Arc::clone(&state);
        let thread = std::thread::Builder::new().name(format!("{}-{}", self.name, state.place)).spawn(move || {
            threads::register();
            let watched = lane.limits.watched.this_thread();
            lane.run(&plugin, &state, &watched);
            drop(watched);
            drop(plugin);
            lane.count_out(&state);
        });
        match thread {
            Ok(thread) => self.lock().threads.push(thread),
            Err(fault) => {
                tracing::error!(
                    lane = self.name,
                    "no thread could be started for a plugin: {fault}; raise the limit of tasks"
                );
                self.count_out(&ending);
            }
        }
    }

    fn count_out(&self, state: &Arc<LaneState>) {
        self.lock().count_out(state);
        self.ended.notify_all();
    }

    /// Counts a lane out that has found nothing to do, unless it is needed. A call that comes now either is seen here or
    /// finds one lane less, and starts another.
    fn has_left(&self, state: &Arc<LaneState>) -> bool {
        let mut lanes = self.lock();
        let leaves = lanes.count > self.limits.kept && self.queue.is_empty();
        if leaves {
            lanes.count_out(state);
        }
        leaves
    }

    fn run(&self, plugin: &Plugin, state: &Arc<LaneState>, watched: &WatchedThread) {
        let mut thread = LaneThread::this();
        loop {
            match self.queue.take(IDLE_MAX) {
                Taken::One((work, queued)) => {
                    drop(queued);
                    self.perform(plugin, state, (watched, &mut thread), work);
                    if state.given_up.load(Ordering::SeqCst) {
                        return;
                    }
                }
                Taken::Nothing => {
                    if self.has_left(state) {
                        return;
                    }
                }
                Taken::Closed => return,
            }
        }
    }

    fn perform(
        &self,
        plugin: &Plugin,
        state: &LaneState,
        (watched, thread): (&WatchedThread, &mut LaneThread),
        work: Work,
    ) {
        if work.time.is_over() {
            return;
        }
        work.time.begin(thread);
        state.carries_out(Some(work.time));
        let _running = self.metrics.in_flight(self.limits.kind);
        watched.does(work.step);
        // The plugin's panics end in its own adapter. One that comes this far is ours; it must not end the lane.
        if catch_unwind(AssertUnwindSafe(|| (work.run)(plugin, state.place))).is_err() {
            tracing::error!(lane = self.name, "a fault of the host in a plugin's call; this is a bug in Patchbay");
        }
        watched.does(Step::Idle);
        state.carries_out(None);
    }
}
