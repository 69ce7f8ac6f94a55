//! The plugin manager: the one thread that looks at the folder, proves, loads and swaps, in this order, so that whatever
//! fails leaves what serves alone.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use plugin_abi::export::InfoRecord;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use self::folder::FileRecord;
use super::{
    artifact::{self, Sha256Sum},
    capability::Services,
    confine::Level,
    generation::{Generation, Retained},
    lane::LaneStarter,
    probe::Prober,
    refusal::{Code, Refusal},
    routes::{Route, Routes},
    verdicts::Verdicts,
};
use crate::{
    config,
    ids::ToolType,
    store::PluginEvent,
    telemetry::metrics::{GenerationState, Metrics, ReloadOutcome},
    threads,
};

mod folder;
mod report;
mod retire;
mod serve;

pub use report::{Candidate, FileRow, GenerationRow, PluginDetail, PluginRow, PluginState};

/// Most reload requests that wait at once.
const COMMANDS_MAX: usize = 64;
/// How often lanes are looked at for calls that are past their deadline.
const STUCK_CHECK: Duration = Duration::from_millis(50);

/// Code of the event that an artifact has ended the host.
pub const CRASHED: &str = "crashed";
/// Code of the event that an artifact has blocked the dynamic linker.
pub const LOADER_STUCK: &str = "loader_stuck";
/// Code of the event that an operator has enabled a plugin again.
pub const ENABLED: &str = "enabled";

/// What a reload is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reload {
    /// Whatever has changed in the folder.
    Changed,
    /// This tool type, also when its file has not changed.
    One(ToolType),
    /// All, also those that have not changed.
    All,
}

/// What became of a file that a reload was about.
#[derive(Clone, Debug)]
pub struct Reloaded {
    /// Its tool type, where it could be read.
    pub tool_type: Option<ToolType>,
    /// The file.
    pub path: PathBuf,
    /// The generation that serves now, or why none of this file does.
    pub outcome: Result<u64, Refusal>,
    /// The plugin's version, where it could be read.
    pub version: Option<String>,
    /// The file's digest, where it could be read.
    pub sha256: Option<Sha256Sum>,
}

/// What the manager needs.
pub struct ManagerParts {
    /// The configuration's `[plugins]`.
    pub config: config::Plugins,
    /// The folder for private copies, which only the host can write.
    pub copies: PathBuf,
    /// What plugins can ask for.
    pub services: Services,
    /// Who counts.
    pub metrics: Metrics,
    /// Where loaded plugins are put.
    pub routes: Routes,
    /// Told when a route has changed.
    pub on_routes: Arc<dyn Fn() + Send + Sync>,
    /// Artifacts, by digest, that are not to be started, and why.
    pub condemned: BTreeMap<String, String>,
    /// Keeps what happens to plugins; must not block.
    pub on_event: Arc<dyn Fn(PluginEvent) + Send + Sync>,
    /// Told when the dynamic linker is stuck and the host has to be restarted.
    pub on_stuck: Arc<dyn Fn() + Send + Sync>,
}

/// A handle to the manager. Cheap to clone.
#[derive(Clone)]
pub struct PluginManager {
    shared: Arc<Shared>,
    commands: mpsc::Sender<(Reload, oneshot::Sender<Vec<Reloaded>>)>,
}

struct Shared {
    config: config::Plugins,
    copies: PathBuf,
    services: Services,
    metrics: Metrics,
    routes: Routes,
    on_routes: Arc<dyn Fn() + Send + Sync>,
    on_event: Arc<dyn Fn(PluginEvent) + Send + Sync>,
    on_stuck: Arc<dyn Fn() + Send + Sync>,
    /// Set when a library's opening or closing has not come back: then no more are tried.
    stuck: AtomicBool,
    prober: Prober,
    verdicts: Verdicts,
    starter: LaneStarter,
    runtime: Handle,
    next_number: AtomicU64,
    scanned: AtomicBool,
    known: Mutex<Known>,
    /// Held while a generation is taken apart: one dlclose at a time.
    dismantling: tokio::sync::Mutex<()>,
}

/// What the manager knows, for those who ask.
#[derive(Default)]
struct Known {
    condemned: BTreeMap<String, String>,
    files: BTreeMap<PathBuf, FileRecord>,
    tools: BTreeMap<ToolType, Tool>,
    retired: Vec<Retiring>,
}

#[derive(Default)]
struct Tool {
    active: Option<Arc<Generation>>,
    /// The newest file that was refused, until something else is loaded.
    candidate: Option<(Candidate, i64)>,
}

struct Retiring {
    generation: Arc<Generation>,
    retained: Option<String>,
}

impl PluginManager {
    /// Starts the manager's threads; the first scan is the caller's to ask for. Within a runtime.
    ///
    /// # Errors
    /// When a thread cannot be started or the folder for copies cannot be made empty.
    pub fn start(parts: ManagerParts) -> io::Result<Self> {
        empty(&parts.copies)?;
        let walls = Level::of_this_machine();
        if !walls.is_full() {
            tracing::warn!(confinement = %walls, "the process in which plugins are tried is confined less than it should be: {walls}");
        }
        let (commands, mut received) = mpsc::channel::<(Reload, oneshot::Sender<Vec<Reloaded>>)>(COMMANDS_MAX);
        let shared = Arc::new(Shared {
            config: parts.config,
            services: parts.services,
            metrics: parts.metrics,
            routes: parts.routes,
            on_routes: parts.on_routes,
            on_event: parts.on_event,
            on_stuck: parts.on_stuck,
            stuck: AtomicBool::new(false),
            verdicts: Verdicts::load(parts.copies.join("verdicts.json")),
            copies: parts.copies,
            prober: Prober::default(),
            starter: LaneStarter::start()?,
            runtime: Handle::current(),
            next_number: AtomicU64::new(1),
            scanned: AtomicBool::new(false),
            known: Mutex::new(Known { condemned: parts.condemned, ..Known::default() }),
            dismantling: tokio::sync::Mutex::new(()),
        });
        let manager = Arc::clone(&shared);
        std::thread::Builder::new().name("plugin-manager".to_owned()).spawn(move || {
            threads::register();
            while let Some((reload, reply)) = received.blocking_recv() {
                let reloaded = manager.reload(&reload);
                manager.scanned.store(true, Ordering::Release);
                // Whoever asked may have gone; what was done stays done.
                let _gone = reply.send(reloaded);
            }
        })?;
        let watched = Arc::downgrade(&shared);
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(STUCK_CHECK);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let Some(shared) = watched.upgrade() else { return };
                shared.give_up_stuck();
            }
        });
        Ok(Self { shared, commands })
    }

    /// Looks at the folder and loads what the request is about; returns when all of it serves or is refused.
    pub async fn reload(&self, what: Reload) -> Vec<Reloaded> {
        let (reply, answer) = oneshot::channel();
        if self.commands.send((what, reply)).await.is_err() {
            return Vec::new();
        }
        answer.await.unwrap_or_default()
    }

    /// Lets a plugin serve again that the host keeps from it: forgets its crashes and breakers, and loads it anew.
    pub async fn enable(&self, tool_type: &ToolType) -> Vec<Reloaded> {
        self.shared.forget_crashes(tool_type);
        self.reload(Reload::One(tool_type.clone())).await
    }

    /// Whether the first scan is done.
    pub fn scanned(&self) -> bool {
        self.shared.scanned.load(Ordering::Acquire)
    }

    /// Takes all routes away and takes every generation apart: for the end of the host. What does not end within
    /// `time_max`, which is for all of them, is left as it is.
    pub async fn stop(&self, time_max: Duration) {
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

/// Copies of an earlier run: nothing maps them any more.
fn empty(copies: &Path) -> io::Result<()> {
    fs::create_dir_all(copies)?;
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

    fn forget_crashes(&self, tool_type: &ToolType) {
        let mut known = self.lock();
        let files = known.files.values().filter(|file| matches!(&file.found, Ok((of, ..)) if of == tool_type));
        let digests: Vec<_> = files.filter_map(|file| file.sha256).collect();
        for sha256 in digests {
            known.condemned.remove(&sha256.to_string());
            self.note(ENABLED, Some(tool_type), None, Some(sha256), "an operator enabled it".to_owned());
        }
    }

    fn note(
        &self,
        code: &str,
        tool_type: Option<&ToolType>,
        generation: Option<u64>,
        sha256: Option<Sha256Sum>,
        message: String,
    ) {
        (self.on_event)(PluginEvent {
            at_ms: self.now_ms(),
            tool_type: tool_type.map(ToolType::to_string),
            generation: generation.and_then(|number| i64::try_from(number).ok()),
            sha256: sha256.map(|sum| sum.to_string()),
            code: code.to_owned(),
            message,
        });
    }

    fn reload(self: &Arc<Self>, reload: &Reload) -> Vec<Reloaded> {
        let before = self.lock().files.clone();
        let known = if *reload == Reload::Changed { before.clone() } else { BTreeMap::new() };
        let files = match folder::scan(&self.config.dir, &known, self.config.settle, self.now_ms()) {
            Ok(files) => files,
            Err(fault) => {
                let reason = format!("the plugin folder cannot be read: {fault}");
                tracing::error!(folder = %self.config.dir.display(), "{reason}; what serves goes on");
                let refusal = Refusal::new(Code::Open, reason);
                return vec![Reloaded::of_path(self.config.dir.clone(), None, Err(refusal))];
            }
        };
        let ranked = folder::ranked(&files);
        let mut reloaded = self.refused(&before, &files);
        self.lock().files = files;
        for (tool_type, candidates) in &ranked {
            let forced = match reload {
                Reload::All => true,
                Reload::One(one) => one == tool_type,
                Reload::Changed => false,
            };
            self.serve(tool_type, candidates, forced, &mut reloaded);
        }
        self.retire_missing(&ranked);
        reloaded
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

impl Reloaded {
    fn of(record: &FileRecord, tool_type: Option<ToolType>, outcome: Result<u64, Refusal>) -> Self {
        let named = record.found.as_ref().ok();
        Self {
            tool_type: tool_type.or_else(|| named.map(|(tool_type, ..)| tool_type.clone())),
            path: record.path.clone(),
            outcome,
            version: named.map(|(_, version, _)| version.to_string()),
            sha256: record.sha256,
        }
    }

    fn of_path(path: PathBuf, tool_type: Option<ToolType>, outcome: Result<u64, Refusal>) -> Self {
        Self { tool_type, path, outcome, version: None, sha256: None }
    }
}
