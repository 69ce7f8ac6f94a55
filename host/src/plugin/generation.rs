//! A generation: one loaded artifact with its instance and its own lanes, from the first call to the last byte unmapped.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use plugin_abi::host::HostSide;
use tokio::sync::Notify;

use self::{
    account::{Account, Consequence, Failure},
    ending::{STEP_TIME_MAX, Stage, on_own_thread},
};
use super::{
    admission::Admission,
    artifact::VerifiedArtifact,
    budget::Budgets,
    capability::{Capability, Services},
    crash::{self, Step, Watched},
    lane::{LaneLimits, LaneStarter, Lanes, REPLACED_MAX},
    loader::{LoadedLibrary, mapped},
    probation::Counts,
    quarantine::Passage,
    refusal::{Code, Refusal},
};
use crate::{
    config,
    ids::ToolType,
    telemetry::metrics::{LaneKind, Metrics, PluginMetrics},
    tenant::Tenant,
};

mod account;
mod calls;
mod ending;

pub use self::{
    account::{Judgement, LastError},
    calls::{CallError, Examined, JobCall, OwnedNote, ReceivedWebhook, Verdict},
    ending::Retained,
};

/// Why a generation cannot be entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotEntered {
    /// It is draining: then the routes know another, or none.
    Draining,
    /// It is quarantined.
    Quarantined,
}

/// One loaded artifact, numbered.
pub struct Generation {
    number: u64,
    tool_type: ToolType,
    version: semver::Version,
    artifact: VerifiedArtifact,
    loaded_at_ms: i64,
    fast_deadline: Duration,
    slow_deadline: Duration,
    stage: Mutex<Stage>,
    fast: Lanes,
    slow: Lanes,
    metrics: Arc<PluginMetrics>,
    services: Services,
    in_flight: AtomicUsize,
    draining: AtomicBool,
    emptied: Notify,
    account: Account,
    admission: Arc<Admission>,
    budgets: Arc<Budgets>,
    watched: Arc<Watched>,
}

/// A call's stay in a generation: as long as one lives, the generation is not dismantled.
pub struct InFlight {
    generation: Arc<Generation>,
    passage: Passage,
}

impl std::ops::Deref for InFlight {
    type Target = Generation;

    fn deref(&self) -> &Generation {
        &self.generation
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let generation = &self.generation;
        if self.passage == Passage::Trial {
            generation.account.leave_trial(Instant::now());
        }
        if generation.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 && generation.draining.load(Ordering::SeqCst) {
            generation.emptied.notify_waiters();
        }
    }
}

impl Generation {
    /// Maps the artifact and makes the plugin, on a thread of its own that has ended when this returns; then starts the
    /// lanes. Blocks; one at a time. With the counts of its predecessor the new generation starts on probation.
    ///
    /// # Errors
    /// Why it could not be loaded or made.
    pub fn load(
        artifact: VerifiedArtifact,
        number: u64,
        predecessor: Option<Counts>,
        limits: &config::Plugins,
        services: Services,
        metrics: &Metrics,
        starter: &LaneStarter,
    ) -> Result<Self, Refusal> {
        let info = artifact.info();
        let tool_type =
            ToolType::parse(&info.tool_type).map_err(|fault| Refusal::new(Code::NotAPlugin, fault.to_string()))?;
        let version =
            semver::Version::parse(&info.version).map_err(|fault| Refusal::new(Code::NotAPlugin, fault.to_string()))?;
        let metrics = Arc::new(metrics.plugin(&tool_type));
        let watched = Arc::new(crash::watch(&tool_type, number, artifact.sha256()));
        let lanes = |kind, kept, lanes_max, first_place| LaneLimits {
            watched: Arc::clone(&watched),
            kind,
            kept,
            lanes_max,
            queue_max: limits.lane_queue,
            first_place,
        };
        let fast = lanes(LaneKind::Fast, limits.fast_lanes, limits.fast_lanes, 1);
        let slow = lanes(LaneKind::Slow, 0, limits.slow_lanes_max, fast.first_place + fast.lanes_max + REPLACED_MAX);
        let places = slow.first_place + slow.lanes_max + REPLACED_MAX;
        let capability = Capability::new(tool_type.clone(), number, services.clone(), places);
        let opened = on_own_thread(format!("open-{number}"), &watched, Step::Open, {
            let host = Box::new(HostSide(capability));
            move || {
                let plugin = LoadedLibrary::open(&artifact).and_then(|library| {
                    library.create(host, env!("CARGO_PKG_VERSION"), 0).map_err(|(library, refusal)| {
                        // Nothing was made, so closing only runs what any library runs; a failure leaves it mapped.
                        let _mapped = library.close();
                        refusal
                    })
                });
                (plugin, artifact)
            }
        });
        let (plugin, artifact) = opened.ok_or_else(|| {
            Refusal::new(Code::LoaderStuck, format!("opening it did not end within {} s", STEP_TIME_MAX.as_secs()))
        })?;
        let plugin = match plugin {
            Ok(plugin) => plugin,
            Err(refusal) => {
                if !matches!(mapped(artifact.copy()), Ok(None)) {
                    // The next file of its number would be taken for it.
                    std::mem::forget(artifact);
                }
                return Err(refusal);
            }
        };
        let plugin = Arc::new(plugin);
        if let Err(fault) = crash::take_handlers_back() {
            tracing::warn!(%tool_type, "faults of its threads cannot be written down: {fault}");
        }
        if let Ok(Some(place)) = mapped(artifact.copy()) {
            watched.lies_at(place.start, place.end);
        }
        let start = |word: &str, limits| {
            let name = format!("{word}-{}-g{number}", &tool_type.as_str()[..tool_type.as_str().len().min(6)]);
            Lanes::start(name, Arc::clone(&plugin), limits, Arc::clone(&metrics), starter.clone())
        };
        let (fast, slow) = (start("f", fast), start("s", slow));
        Ok(Self {
            budgets: Arc::new(Budgets::new(tool_type.clone(), number, Arc::clone(&metrics))),
            number,
            version,
            artifact,
            loaded_at_ms: services.clock.now_ms(),
            fast_deadline: limits.fast_deadline,
            slow_deadline: limits.slow_deadline,
            stage: Mutex::new(Stage::Made(plugin)),
            fast,
            slow,
            metrics,
            services,
            in_flight: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            emptied: Notify::new(),
            account: Account::new(predecessor, limits.quarantine, Instant::now()),
            admission: Arc::new(Admission::new(limits.lane_queue, limits.fast_lanes, limits.fast_deadline)),
            watched,
            tool_type,
        })
    }

    /// Its number; it is never given twice.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The tool type that it serves.
    pub fn tool_type(&self) -> &ToolType {
        &self.tool_type
    }

    /// The plugin's version.
    pub fn version(&self) -> &semver::Version {
        &self.version
    }

    /// What was loaded.
    pub fn artifact(&self) -> &VerifiedArtifact {
        &self.artifact
    }

    /// When it was loaded, in milliseconds since the epoch.
    pub fn loaded_at_ms(&self) -> i64 {
        self.loaded_at_ms
    }

    /// Calls under way or waiting.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Calls so far, and how many of them failed by the plugin's own fault.
    pub fn counts(&self) -> Counts {
        self.account.counts()
    }

    /// The last such failure.
    pub fn last_error(&self) -> Option<LastError> {
        self.account.last_error()
    }

    /// Whether it is kept from serving because it failed too often.
    pub fn is_quarantined(&self) -> bool {
        self.account.is_quarantined()
    }

    /// What has come of its probation and of its quarantine: said once, and `None` while there is no news. Called every so
    /// often by the manager.
    pub fn judge(&self) -> Option<Judgement> {
        self.account.judge(Instant::now())
    }

    /// Enters for a call.
    ///
    /// # Errors
    /// [`NotEntered`]
    pub fn enter(self: &Arc<Self>) -> Result<InFlight, NotEntered> {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        let mut stay = InFlight { generation: Arc::clone(self), passage: Passage::Closed };
        if self.draining.load(Ordering::SeqCst) {
            return Err(NotEntered::Draining);
        }
        stay.passage = self.account.admit(Instant::now());
        if stay.passage == Passage::Closed { Err(NotEntered::Quarantined) } else { Ok(stay) }
    }

    /// Notes that a call has ended as it should. What a tool or a sender causes is no fault of the plugin.
    fn answered(&self) {
        if self.account.note_answer(Instant::now()) {
            let (tool_type, generation) = (&self.tool_type, self.number);
            tracing::info!(%tool_type, generation, "the plugin has passed its trial, and gets calls again");
        }
    }

    /// Notes what is the plugin's own fault.
    fn failed(&self, error: &CallError, tenant: &Tenant) {
        let users = || self.services.directory.list().iter().filter(|user| user.tool_type == self.tool_type).count();
        let (tool_type, generation) = (&self.tool_type, self.number);
        let (at, at_ms) = (Instant::now(), self.services.clock.now_ms());
        match self.account.note(Failure { error, tenant: &tenant.id, at, at_ms }, users) {
            Consequence::None => {}
            Consequence::TenantShutOut => tracing::warn!(
                %tool_type, generation, tenant = %tenant.id,
                "the plugin fails again and again for this tenant, which is shut out for 30 s; last: {error}"
            ),
            Consequence::ProbationFailed => tracing::warn!(
                %tool_type, generation,
                "the plugin fails in its probation: its webhooks are answered 503 until what served before it serves again"
            ),
            Consequence::Quarantined(pause) => tracing::error!(
                %tool_type, generation,
                "the plugin is quarantined: its webhooks are answered 503, its jobs wait; last: {error}; one call is let through in {} s, to see whether it works again; to end it sooner, load a better one or run plugin-ctl enable {tool_type}",
                pause.as_secs()
            ),
        }
    }

    /// Gives up lanes that are stuck; called every so often by the manager.
    pub fn give_up_stuck(&self) -> usize {
        self.fast.give_up_stuck() + self.slow.give_up_stuck()
    }
}
