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

/// How long a generation's lanes may take to end after it has drained.
const LANES_MAX: Duration = Duration::from_secs(10);
/// How often a generation that is retained is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

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
    dismantling: Mutex<()>,
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
            dismantling: Mutex::new(()),
        });
        let manager = Arc::clone(&shared);
        std::thread::Builder::new().name("plugin-manager".to_owned()).spawn(move || {
            threads::register_for_good();
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

    /// Takes all routes away and drains every generation: for the end of the host. What does not end in time is left.
    pub async fn stop(&self, time_max: Duration) {
        let generations: Vec<_> = {
            let mut known = self.shared.lock();
            let tools = std::mem::take(&mut known.tools);
            tools.into_iter().filter_map(|(tool_type, tool)| Some((tool_type, tool.active?))).collect()
        };
        for (tool_type, generation) in generations {
            self.shared.routes.set(&tool_type, None);
            generation.drain(time_max).await;
            let taken_apart = Arc::clone(&generation);
            let dismantled = tokio::task::spawn_blocking(move || taken_apart.dismantle(LANES_MAX)).await;
            if let Ok(Err(retained)) = dismantled {
                tracing::warn!(%tool_type, generation = generation.number(), "at the end: {}", retained.reason);
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

    /// The host cannot load or unload any more, nor start a thread: what serves goes on until it has been restarted.
    fn loader_stuck(&self, tool_type: &ToolType, sha256: Sha256Sum, reason: &str) {
        if !self.stuck.swap(true, Ordering::SeqCst) {
            tracing::error!(%tool_type, %sha256, "the dynamic linker is stuck ({reason}); the host ends in order to be restarted without this plugin");
            self.note(LOADER_STUCK, Some(tool_type), None, Some(sha256), reason.to_owned());
            (self.on_stuck)();
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

    /// The files that are newly refused by their bytes alone; one that stands where a plugin was loaded from is that
    /// plugin's candidate.
    fn refused(&self, before: &BTreeMap<PathBuf, FileRecord>, files: &BTreeMap<PathBuf, FileRecord>) -> Vec<Reloaded> {
        let mut refused = Vec::new();
        for record in files.values() {
            let Err(refusal) = &record.found else { continue };
            let loaded_from = self.lock().tools.iter_mut().find_map(|(tool_type, tool)| {
                let here = tool.active.as_ref().is_some_and(|active| active.artifact().path() == record.path);
                here.then(|| {
                    tool.candidate = Some((Candidate::of(record, refusal), record.at_ms));
                    tool_type.clone()
                })
            });
            let known = before.get(&record.path).is_some_and(|known| known.found.as_ref().err() == Some(refusal));
            if !known {
                tracing::warn!(path = %record.path.display(), code = refusal.code.as_str(), "plugin file refused: {}; {}", refusal.reason, refusal.code.mend());
                self.metrics.reload(ReloadOutcome::Refused);
                let message = format!("{}: {refusal}", record.path.display());
                self.note("refused", loaded_from.as_ref(), None, record.sha256, message);
            }
            // Files that are not named like a plugin are shown, but they are not what a reload was about.
            if record.path.extension().is_some_and(|extension| extension == "so") {
                refused.push(Reloaded::of(record, loaded_from, Err(refusal.clone())));
            }
        }
        refused
    }

    /// Makes the best candidate serve; the next one only when nothing serves yet.
    fn serve(
        self: &Arc<Self>,
        tool_type: &ToolType,
        candidates: &[FileRecord],
        forced: bool,
        reloaded: &mut Vec<Reloaded>,
    ) {
        for record in candidates {
            let (active, refused_before) = {
                let known = self.lock();
                let tool = known.tools.get(tool_type);
                let candidate = tool.and_then(|tool| tool.candidate.as_ref()).map(|(candidate, _)| candidate.clone());
                (tool.and_then(|tool| tool.active.clone()), candidate)
            };
            if !forced {
                if active.as_ref().is_some_and(|active| Some(active.artifact().sha256()) == record.sha256) {
                    if let Some(tool) = self.lock().tools.get_mut(tool_type) {
                        tool.candidate = None;
                    }
                    return;
                }
                let same = |known: &Candidate| known.sha256 == record.sha256 && known.refusal.code.is_of_the_bytes();
                if let Some(known) = refused_before.filter(same) {
                    reloaded.push(Reloaded::of(record, Some(tool_type.clone()), Err(known.refusal)));
                    if active.is_some() {
                        return;
                    }
                    continue;
                }
            }
            match self.load(tool_type, record) {
                Ok(generation) => {
                    let number = generation.number();
                    self.swap(tool_type, generation);
                    self.metrics.reload(ReloadOutcome::Active);
                    reloaded.push(Reloaded::of(record, Some(tool_type.clone()), Ok(number)));
                    return;
                }
                Err(refusal) => {
                    self.metrics.reload(ReloadOutcome::Refused);
                    let still = active.as_ref().map_or_else(
                        || "nothing serves this tool type".to_owned(),
                        |active| format!("{} (generation {}) still serves", active.version(), active.number()),
                    );
                    tracing::warn!(%tool_type, path = %record.path.display(), code = refusal.code.as_str(), "plugin refused: {}; {still}; {}", refusal.reason, refusal.code.mend());
                    self.note("refused", Some(tool_type), None, record.sha256, format!("{refusal}; {still}"));
                    let candidate = (Candidate::of(record, &refusal), self.now_ms());
                    self.lock().tools.entry(tool_type.clone()).or_default().candidate = Some(candidate);
                    if active.is_none() {
                        let route = refusal.code.is_quarantine().then_some(Route::Quarantined);
                        self.routes.set(tool_type, route);
                    }
                    reloaded.push(Reloaded::of(record, Some(tool_type.clone()), Err(refusal)));
                    if active.is_some() {
                        return;
                    }
                }
            }
        }
    }

    /// Proves, copies and maps a file.
    fn load(&self, tool_type: &ToolType, record: &FileRecord) -> Result<Generation, Refusal> {
        if self.stuck.load(Ordering::SeqCst) {
            return Err(Refusal::new(
                Code::LoaderStuck,
                "the dynamic linker is stuck; the host is about to be restarted",
            ));
        }
        let condemned = record.sha256.and_then(|sha256| self.lock().condemned.get(&sha256.to_string()).cloned());
        if let Some(last) = condemned {
            return Err(Refusal::new(
                Code::Crashed,
                format!("quarantined after it ended the host again and again: {last}"),
            ));
        }
        let retained = self.lock().retained(tool_type);
        if retained >= self.config.retained_max {
            let message = format!(
                "{retained} generations of this tool type could not be unmapped; plugins.retained_max is reached"
            );
            return Err(Refusal::new(Code::Retained, message));
        }
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let inspected = artifact::inspect(&record.path).map_err(|uninspected| uninspected.refusal)?;
        if Some(inspected.sha256) != record.sha256 {
            return Err(Refusal::new(Code::Unsettled, "it changed while the folder was looked at"));
        }
        let verified = inspected.verify(self.config.permissions, &self.prober, &self.verdicts, &self.copies, number)?;
        let copy = verified.copy().to_owned();
        let services = self.services.clone();
        Generation::load(verified, number, &self.config, services, &self.metrics, &self.starter).inspect_err(
            |refusal| {
                if refusal.code == Code::LoaderStuck {
                    self.loader_stuck(tool_type, inspected.sha256, &refusal.reason);
                } else {
                    let _absent = fs::remove_file(&copy);
                }
            },
        )
    }

    /// From here on new calls go to this generation; the one before it is drained and taken apart beside it.
    fn swap(self: &Arc<Self>, tool_type: &ToolType, generation: Generation) {
        let generation = Arc::new(generation);
        let old = {
            let mut known = self.lock();
            let tool = known.tools.entry(tool_type.clone()).or_default();
            tool.candidate = None;
            tool.active.replace(Arc::clone(&generation))
        };
        self.routes.set(tool_type, Some(Route::Active(Arc::clone(&generation))));
        tracing::info!(
            %tool_type,
            generation = generation.number(),
            version = %generation.version(),
            sha256 = %generation.artifact().sha256(),
            confinement = %generation.artifact().confinement(),
            replaces = old.as_ref().map_or(0, |old| old.number()),
            "plugin serves"
        );
        let (number, sha256) = (generation.number(), generation.artifact().sha256());
        let message = format!(
            "version {} serves, tried in confinement: {}{}",
            generation.version(),
            generation.artifact().confinement(),
            old.as_ref().map_or_else(String::new, |old| format!(
                "; it replaces {} (generation {})",
                old.version(),
                old.number()
            ))
        );
        self.note("serves", Some(tool_type), Some(number), Some(sha256), message);
        (self.on_routes)();
        if let Some(old) = old {
            self.retire(old);
        }
    }

    /// Tool types whose files are all gone are served no more.
    fn retire_missing(self: &Arc<Self>, ranked: &BTreeMap<ToolType, Vec<FileRecord>>) {
        let gone: Vec<_> = {
            let mut known = self.lock();
            let files = known.files.clone();
            known
                .tools
                .iter_mut()
                .filter(|(tool_type, _)| !ranked.contains_key(*tool_type))
                .filter_map(|(tool_type, tool)| {
                    let replaced = tool.active.as_ref()?.artifact().path();
                    // A bad file in its place is no reason to stop: the last good one serves on.
                    (!files.contains_key(replaced)).then(|| (tool_type.clone(), tool.active.take()))
                })
                .collect()
        };
        for (tool_type, generation) in gone {
            self.routes.set(&tool_type, None);
            self.note("missing", Some(&tool_type), None, None, "its file is gone from the folder".to_owned());
            tracing::warn!(%tool_type, "the plugin's file is gone: its tenants' webhooks are answered 503, jobs wait");
            generation.into_iter().for_each(|generation| self.retire(generation));
        }
    }

    /// Drains the generation and takes it apart; what keeps it is shown, and looked at again until it is gone.
    fn retire(self: &Arc<Self>, generation: Arc<Generation>) {
        self.lock().retired.push(Retiring { generation: Arc::clone(&generation), retained: None });
        let shared = Arc::clone(self);
        self.runtime.spawn(async move {
            let drained = generation.drain(shared.config.drain).await;
            let (tool_type, number) = (generation.tool_type(), generation.number());
            let mut lanes_max = LANES_MAX;
            loop {
                let taken_apart = {
                    let (shared, generation) = (Arc::clone(&shared), Arc::clone(&generation));
                    tokio::task::spawn_blocking(move || {
                        let _one_at_a_time = shared.dismantling.lock().unwrap_or_else(PoisonError::into_inner);
                        generation.dismantle(lanes_max)
                    })
                };
                let outcome = taken_apart
                    .await
                    .unwrap_or_else(|fault| Err(Retained::because(format!("a fault of the host while it was taken apart: {fault}"))));
                let Err(Retained { reason, loader_stuck }) = outcome else { break };
                let news = shared.lock().retain(number, &reason);
                if news {
                    let sha256 = generation.artifact().sha256();
                    shared.note("retained", Some(tool_type), Some(number), Some(sha256), reason.clone());
                    tracing::warn!(%tool_type, generation = number, drained, "plugin generation is retained in memory: {reason}");
                }
                if loader_stuck {
                    shared.loader_stuck(tool_type, generation.artifact().sha256(), &reason);
                    return;
                }
                lanes_max = Duration::ZERO;
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            shared.lock().retired.retain(|retiring| retiring.generation.number() != number);
            if let Err(fault) = fs::remove_file(generation.artifact().copy()) {
                tracing::warn!(%tool_type, generation = number, "its private copy stays behind: {fault}");
            }
            let sha256 = generation.artifact().sha256();
            shared.note("gone", Some(tool_type), Some(number), Some(sha256), "drained and unmapped".to_owned());
            tracing::info!(%tool_type, generation = number, drained, "plugin generation is gone");
        });
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

impl Known {
    fn retained(&self, tool_type: &ToolType) -> usize {
        let retained = self.retired.iter().filter(|retiring| retiring.retained.is_some());
        retained.filter(|retiring| retiring.generation.tool_type() == tool_type).count()
    }

    /// Notes what keeps a generation; false when that was known.
    fn retain(&mut self, number: u64, reason: &str) -> bool {
        let retiring = self.retired.iter_mut().find(|retiring| retiring.generation.number() == number);
        retiring.is_some_and(|retiring| retiring.retained.replace(reason.to_owned()).as_deref() != Some(reason))
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
