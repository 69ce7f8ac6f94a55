//! The plugin manager: the one thread that looks at the folder, proves, loads and swaps, in this order, so that whatever
//! fails leaves what serves alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use plugin_abi::{declared::Declaration, export::InfoRecord};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use self::{
    kept::KeptCopies,
    looking::{Looked, Unsettled},
    record::ToolRecord,
    scan::FileRecord,
};
use super::{
    artifact::{self, Sha256Sum},
    blame::Blamed,
    capability::Services,
    confine::Level,
    folders,
    generation::{Generation, Judgement, Retained},
    journal::{Decided, Happened, Journal},
    lane::LaneStarter,
    probation::Counts,
    probe::Prober,
    refusal::{Code, Refusal},
    routes::{Route, Routes},
    signature::{Signature, Trust},
    verdicts::Verdicts,
};
use crate::{
    config,
    ids::ToolType,
    limits::SharedLimits,
    queue::wakes::Wakes,
    shutdown::ShutdownTrigger,
    store::{PluginEvent, Store},
    telemetry::metrics::{GenerationState, Metrics, ReloadOutcome},
    threads,
};

mod absent;
mod choice;
mod decide;
mod kept;
mod looking;
mod record;
mod report;
mod retire;
mod scan;
mod serve;

pub use decide::{Decision, Undecided};
pub use looking::{Reload, Reloaded};
pub use record::{InvalidPin, Pin};
pub use report::{Candidate, FileRow, GenerationRow, KeptRow, PluginDetail, PluginRow, PluginState};

/// Most reload requests that wait at once.
const COMMANDS_MAX: usize = 64;
/// How often generations are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What the manager needs.
pub struct ManagerParts {
    /// The configuration's `[plugins]`, as the host started with it.
    pub config: config::Plugins,
    /// Who is trusted now.
    pub limits: SharedLimits,
    /// The folder for private copies, which only the host can write.
    pub copies: PathBuf,
    /// What plugins can ask for.
    pub services: Services,
    /// The host's metrics.
    pub metrics: Metrics,
    /// Where loaded plugins are put.
    pub routes: Routes,
    /// Wakes the worker when a route has changed.
    pub wakes: Wakes,
    /// Where what is decided about plugins is kept.
    pub store: Store,
    /// What is kept there of each tool type.
    pub records: Vec<(String, String)>,
    /// Artifacts, by digest, that have ended an earlier host.
    pub blamed: Blamed,
    /// Keeps what happens to plugins.
    pub journal: Journal,
    /// Asks the host to end when the dynamic linker is stuck, unless `plugins.when_stuck` says otherwise.
    pub shutdown: ShutdownTrigger,
}

/// A handle to the manager. Cheap to clone.
#[derive(Clone)]
pub struct PluginManager {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
}

/// What the manager's thread is asked to do.
enum Command {
    Look(Reload, Unsettled, oneshot::Sender<Looked>),
    /// To look, but to let serve what serves.
    Read(oneshot::Sender<Option<Duration>>),
    Decide(ToolType, Decision, Decided, oneshot::Sender<Result<Vec<Reloaded>, Undecided>>),
    /// A generation's probation has ended.
    Judged(Arc<Generation>, Judgement),
}

struct Shared {
    config: config::Plugins,
    limits: SharedLimits,
    copies: PathBuf,
    services: Services,
    metrics: Metrics,
    routes: Routes,
    wakes: Wakes,
    journal: Journal,
    store: Store,
    kept: KeptCopies,
    shutdown: ShutdownTrigger,
    /// Set when a library's opening or closing has not come back: then no more are tried.
    stuck: AtomicBool,
    prober: Prober,
    verdicts: Verdicts,
    starter: LaneStarter,
    runtime: Handle,
    next_number: AtomicU64,
    scanned: AtomicBool,
    /// Why the folder could not be read at the last look: it is said once.
    unreadable: Mutex<Option<io::ErrorKind>>,
    known: Mutex<Known>,
    /// Held while a generation is taken apart: one dlclose at a time.
    dismantling: tokio::sync::Mutex<()>,
}

/// What the manager knows, for those who ask.
#[derive(Default)]
struct Known {
    condemned: BTreeMap<String, Refusal>,
    files: BTreeMap<PathBuf, FileRecord>,
    /// Who was trusted when they were judged.
    trust: Trust,
    tools: BTreeMap<ToolType, Tool>,
    records: BTreeMap<ToolType, ToolRecord>,
    retired: Vec<Retiring>,
}

#[derive(Default)]
struct Tool {
    active: Option<Arc<Generation>>,
    /// Where its bytes are: in the folder, or where what has served is kept.
    path: Option<PathBuf>,
    /// Since when the folder has no file of it, in milliseconds since the epoch.
    missing_since_ms: Option<i64>,
    /// The best file, when it was refused.
    candidate: Option<(Candidate, i64)>,
    /// Bytes that were refused for what they are: they are not tried again.
    refused: BTreeMap<Sha256Sum, Refusal>,
}

struct Retiring {
    generation: Arc<Generation>,
    retained: Option<String>,
}

impl PluginManager {
    /// Starts the manager's threads; the first scan is the caller's to ask for. Within a runtime.
    ///
    /// # Errors
    /// When a thread cannot be started, the folder for copies cannot be made empty, or a record cannot be read.
    pub fn start(parts: ManagerParts) -> io::Result<Self> {
        empty(&parts.copies)?;
        let records = read_records(parts.records)?;
        let (commands, mut received) = mpsc::channel(COMMANDS_MAX);
        let shared = Arc::new(Shared {
            config: parts.config,
            limits: parts.limits,
            services: parts.services,
            metrics: parts.metrics,
            routes: parts.routes,
            wakes: parts.wakes,
            journal: parts.journal,
            store: parts.store,
            kept: KeptCopies::open(parts.copies.join("kept"))?,
            shutdown: parts.shutdown,
            stuck: AtomicBool::new(false),
            verdicts: Verdicts::load(parts.copies.join("verdicts.json")),
            prober: Prober::default().with_scratch(parts.copies.clone()),
            copies: parts.copies,
            starter: LaneStarter::start()?,
            runtime: Handle::current(),
            next_number: AtomicU64::new(1),
            scanned: AtomicBool::new(false),
            unreadable: Mutex::new(None),
            known: Mutex::new(Known { condemned: parts.blamed.condemned, ..Known::default() }),
            dismantling: tokio::sync::Mutex::new(()),
        });
        let manager = Arc::clone(&shared);
        let crashed = parts.blamed.crashed;
        std::thread::Builder::new().name("plugin-manager".to_owned()).spawn(move || {
            threads::register();
            say_how_plugins_are_tried(&manager.prober);
            manager.remember(records, &crashed);
            while let Some(command) = received.blocking_recv() {
                manager.carry_out(command);
            }
        })?;
        tokio::spawn(shared.services.pulse.beat());
        tokio::spawn(watch_generations(Arc::downgrade(&shared), commands.downgrade()));
        Ok(Self { shared, commands })
    }

    /// Decides something about a tool type, for good; returns when what follows from it serves or is refused.
    ///
    /// # Errors
    /// [`Undecided`]; then all is as it was.
    pub async fn decide(
        &self,
        tool_type: &ToolType,
        decision: Decision,
        decided: Decided,
    ) -> Result<Vec<Reloaded>, Undecided> {
        // What an operator has just put into the folder is what is meant.
        self.quiet().await;
        let (reply, answer) = oneshot::channel();
        let command = Command::Decide(tool_type.clone(), decision, decided, reply);
        self.commands.send(command).await.map_err(|_| Undecided::Ending)?;
        answer.await.unwrap_or(Err(Undecided::Ending))
    }

    /// The folder that plugins are put into.
    pub fn folder(&self) -> &Path {
        &self.shared.config.dir
    }

    /// Whose signatures are good now, and whether a file needs one.
    pub fn trust(&self) -> Trust {
        self.shared.limits.now().trust.clone()
    }

    /// Who beside root and the host may write what it maps.
    pub fn permissions(&self) -> config::Permissions {
        self.shared.config.permissions
    }

    /// Where what happens to plugins is noted.
    pub fn journal(&self) -> &Journal {
        &self.shared.journal
    }

    /// Whether the first scan is done.
    pub fn scanned(&self) -> bool {
        self.shared.scanned.load(Ordering::Acquire)
    }

    /// Whether the dynamic linker is stuck: no library can be opened or closed any more, and no thread be started.
    pub fn is_stuck(&self) -> bool {
        self.shared.stuck.load(Ordering::SeqCst)
    }

    /// The host is asked to end: what ends a probe from now on is no plugin's doing. Never waits long; any thread.
    pub fn note_no_more_trials(&self) {
        self.shared.verdicts.on_trial().end();
    }

    /// Takes all routes away and takes every generation apart: for the end of the host. What does not end within
    /// `time_max`, which is for all of them, is left as it is.
    pub async fn stop(&self, time_max: Duration) {
        self.note_no_more_trials();
        let end = tokio::time::Instant::now() + time_max;
        let left = || end.saturating_duration_since(tokio::time::Instant::now());
        let mut generations: Vec<_> = {
            let mut known = self.shared.lock();
            let tools = std::mem::take(&mut known.tools);
            tools.into_iter().filter_map(|(tool_type, tool)| Some((tool_type, tool.active?))).collect()
        };
        // Those with calls that hang come last: they take none of the others' time.
        generations.sort_by_key(|(_, generation)| generation.in_flight());
        for (tool_type, generation) in generations {
            self.shared.routes.set(&tool_type, None);
            let number = generation.number();
            generation.drain(left()).await;
            let lanes_max = left();
            let taken_apart = tokio::task::spawn_blocking(move || generation.dismantle(lanes_max));
            match tokio::time::timeout_at(end, taken_apart).await {
                Ok(Ok(Ok(()))) => {}
                Ok(Ok(Err(retained))) => {
                    tracing::warn!(%tool_type, generation = number, "at the end: {}", retained.reason);
                }
                Ok(Err(fault)) => tracing::error!(%tool_type, generation = number, "a fault of the host: {fault}"),
                Err(_elapsed) => tracing::warn!(%tool_type, generation = number, "at the end: it takes too long"),
            }
        }
    }
}

/// Found out here, on the thread that starts the processes: they end with the thread that did.
fn say_how_plugins_are_tried(prober: &Prober) {
    match prober.surroundings() {
        Ok(surroundings) if surroundings.level().is_full() => {}
        Ok(surroundings) => tracing::warn!(
            confinement = %surroundings.level(),
            "the process in which plugins are tried is confined less than it should be: {surroundings}"
        ),
        Err(refusal) => tracing::error!("no plugin can be tried here: {}; {}", refusal.reason, refusal.code.mend()),
    }
}

/// Copies of an earlier run: nothing maps them any more.
fn empty(copies: &Path) -> io::Result<()> {
    folders::make_private(copies)?;
    for entry in fs::read_dir(copies)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "so") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> i64 {
        self.services.clock.now_ms()
    }

    fn note(&self, event: PluginEvent) {
        self.journal.note(event);
    }

    fn carry_out(self: &Arc<Self>, command: Command) {
        // Whoever asked may have gone; what was done stays done.
        match command {
            Command::Look(reload, unsettled, reply) => drop(reply.send(self.look(&reload, unsettled))),
            Command::Read(reply) => drop(reply.send(self.read())),
            Command::Decide(tool_type, decision, decided, reply) => {
                drop(reply.send(self.decide(&tool_type, decision, &decided)));
            }
            Command::Judged(generation, judgement) => self.judged(&generation, judgement),
        }
    }

    /// The good files of a tool type, the best first.
    fn files_of(&self, tool_type: &ToolType) -> Vec<FileRecord> {
        choice::ranked(self.lock().files.values(), tool_type)
    }

    /// What the best file was refused for, or that there is nothing to complain of; without anything that serves, also
    /// where calls are told so.
    fn set_candidate(&self, tool_type: &ToolType, candidate: Option<Candidate>) {
        let now_ms = self.now_ms();
        let mut known = self.lock();
        let tool = known.tools.entry(tool_type.clone()).or_default();
        let quarantined = candidate.as_ref().is_some_and(|candidate| candidate.refusal.code.is_quarantine());
        tool.is_to_be(candidate.as_ref(), now_ms);
        let nothing_serves = tool.active.is_none();
        drop(known);
        if nothing_serves {
            self.routes.set(tool_type, quarantined.then_some(Route::Quarantined));
        }
    }

    /// All that something is known about.
    fn tool_types(&self) -> Vec<ToolType> {
        let known = self.lock();
        let of_files =
            known.files.values().filter_map(|file| file.found.as_ref().ok().map(|(tool_type, ..)| tool_type));
        let all: BTreeSet<_> = of_files.chain(known.tools.keys()).chain(known.records.keys()).cloned().collect();
        all.into_iter().collect()
    }

    fn give_up_stuck(&self) {
        let generations: Vec<_> = {
            let known = self.lock();
            let active = known.tools.values().filter_map(|tool| tool.active.clone());
            active.chain(known.retired.iter().map(|retiring| Arc::clone(&retiring.generation))).collect()
        };
        for generation in generations {
            let stuck = generation.give_up_stuck();
            if stuck > 0 {
                tracing::warn!(
                    tool_type = %generation.tool_type(),
                    generation = generation.number(),
                    stuck,
                    "calls did not return by their deadline; their lanes were replaced"
                );
            }
        }
    }
}

/// Looks now and then after the generations: for calls past their deadline, and for probations that have ended.
async fn watch_generations(shared: Weak<Shared>, commands: mpsc::WeakSender<Command>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (Some(shared), Some(commands)) = (shared.upgrade(), commands.upgrade()) else { return };
        shared.give_up_stuck();
        let active: Vec<_> = shared.lock().tools.values().filter_map(|tool| tool.active.clone()).collect();
        for generation in active {
            if let Some(judgement) = generation.judge()
                && commands.send(Command::Judged(generation, judgement)).await.is_err()
            {
                return;
            }
        }
    }
}

fn read_records(records: Vec<(String, String)>) -> io::Result<BTreeMap<ToolType, ToolRecord>> {
    let read = |(tool_type, record): (String, String)| {
        let unreadable = |fault: String| {
            io::Error::other(format!("what was decided about the plugin {tool_type} cannot be read: {fault}"))
        };
        let record = ToolRecord::from_json(&record).map_err(unreadable)?;
        Ok((ToolType::parse(&tool_type).map_err(|fault| unreadable(fault.to_string()))?, record))
    };
    records.into_iter().map(read).collect()
}

impl Tool {
    /// What was to serve and is not good, if anything; the time at which that was found out stays.
    fn is_to_be(&mut self, candidate: Option<&Candidate>, now_ms: i64) {
        let known_since = self.candidate.take().filter(|(known, _)| Some(known) == candidate);
        self.candidate = known_since.or_else(|| Some((candidate?.clone(), now_ms)));
    }
}
