//! A generation: one loaded artifact with its instance and its own lanes, from the first call to the last byte unmapped.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use plugin_abi::{PluginError, host::HostSide};
use tokio::sync::Notify;

use self::ending::{STEP_TIME_MAX, Stage, on_own_thread};
use super::{
    admission::Admission,
    artifact::VerifiedArtifact,
    breaker::{Breakers, Consequence},
    capability::{Capability, Services},
    crash::{self, Step, Watched},
    lane::{LaneLimits, LaneStarter, Lanes, REPLACED_MAX},
    loader::{LoadedLibrary, mapped},
    probation::{Counts, Probation},
    refusal::{Code, Refusal},
};
use crate::{
    config,
    ids::ToolType,
    telemetry::metrics::{LaneKind, Metrics, PluginMetrics},
    tenant::Tenant,
};

mod calls;
mod ending;

pub use self::{
    calls::{CallError, JobCall, OwnedNote, ReceivedWebhook, Verdict},
    ending::Retained,
};

/// What the last failed call was.
#[derive(Clone, Debug)]
pub struct LastError {
    /// [`CallError::code`].
    pub code: &'static str,
    /// What happened.
    pub message: String,
    /// Milliseconds since the epoch.
    pub at_ms: i64,
}

/// What has been found out about a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It is as good as the one before.
    Passed,
    /// It is clearly worse, or would be quarantined; it gets no more calls.
    Failed(String),
    /// It has failed too often, after its probation or without one; it gets no more calls.
    Quarantined(String),
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
    calls: AtomicU64,
    errors: AtomicU64,
    last_error: Mutex<Option<LastError>>,
    breakers: Breakers,
    admission: Arc<Admission>,
    quarantined: AtomicBool,
    probation: Mutex<Option<Probation>>,
    /// The failure by which it came to be quarantined, until the manager has taken it.
    quarantine: Mutex<Option<String>>,
    watched: Arc<Watched>,
}

/// A call's stay in a generation: as long as one lives, the generation is not dismantled.
pub struct InFlight(Arc<Generation>);

impl std::ops::Deref for InFlight {
    type Target = Generation;

    fn deref(&self) -> &Generation {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 && self.0.draining.load(Ordering::SeqCst) {
            self.0.emptied.notify_waiters();
        }
    }
}

impl Generation {
    /// Maps the artifact and makes the plugin, on a thread of its own that has ended when this returns; then starts the
    /// lanes. Blocks; one at a time. With `before`, what its predecessor has on its account, it is on probation.
    ///
    /// # Errors
    /// Why it could not be loaded or made.
    pub fn load(
        artifact: VerifiedArtifact,
        number: u64,
        before: Option<Counts>,
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
                let library = LoadedLibrary::open(&artifact)?;
                match library.create(host, env!("CARGO_PKG_VERSION"), 0) {
                    Ok(plugin) => Ok((plugin, artifact)),
                    Err((library, refusal)) => {
                        // Nothing was made, so closing only runs what any library runs; a failure leaves it mapped.
                        let _mapped = library.close();
                        Err(refusal)
                    }
                }
            }
        });
        let (plugin, artifact) = opened.ok_or_else(|| {
            Refusal::new(Code::LoaderStuck, format!("opening it did not end within {} s", STEP_TIME_MAX.as_secs()))
        })??;
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
            calls: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            last_error: Mutex::new(None),
            breakers: Breakers::default(),
            admission: Arc::new(Admission::new(limits.lane_queue, limits.fast_lanes, limits.fast_deadline)),
            quarantined: AtomicBool::new(false),
            probation: Mutex::new(before.map(|before| Probation::begin(before, Instant::now()))),
            quarantine: Mutex::new(None),
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
        Counts { calls: self.calls.load(Ordering::Relaxed), faults: self.errors.load(Ordering::Relaxed) }
    }

    /// The last such failure.
    pub fn last_error(&self) -> Option<LastError> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it is kept from serving because it failed too often.
    pub fn is_quarantined(&self) -> bool {
        self.quarantined.load(Ordering::Relaxed)
    }

    /// What has come of its probation, or that it is quarantined: said once, and `None` while there is no news. Called every so often by
    /// the manager.
    pub fn judge(&self) -> Option<Judgement> {
        let mut probation = self.probation.lock().unwrap_or_else(PoisonError::into_inner);
        let so_far = self.counts();
        let quarantine = self.quarantine.lock().unwrap_or_else(PoisonError::into_inner).take();
        let judgement = match (quarantine, &*probation) {
            (Some(last), Some(on)) => Judgement::Failed(format!("{}; last: {last}", on.account(so_far))),
            (Some(last), None) => Judgement::Quarantined(last),
            (None, Some(on)) if on.is_over(so_far, Instant::now()) => Judgement::Passed,
            _ => return None,
        };
        *probation = None;
        Some(judgement)
    }

    /// Enters for a call; `None` when the generation is draining: then the routes know another, or none.
    pub fn enter(self: &Arc<Self>) -> Option<InFlight> {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        let stay = InFlight(Arc::clone(self));
        (!self.draining.load(Ordering::SeqCst)).then_some(stay)
    }

    /// Counts what is the plugin's own fault; what a tool or a sender causes is not.
    fn note_error(&self, error: &CallError, tenant: &Tenant) {
        let own = matches!(
            error,
            CallError::Plugin(PluginError::Panicked { .. }) | CallError::InvalidReply(_) | CallError::Overrun(_)
        );
        if own {
            self.errors.fetch_add(1, Ordering::Relaxed);
            let at_ms = self.services.clock.now_ms();
            let last = LastError { code: error.code(), message: error.to_string(), at_ms };
            *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
            self.weigh_probation(error);
        }
        if matches!(error, CallError::Plugin(PluginError::Panicked { .. }) | CallError::Overrun(_)) {
            self.trip(error, tenant);
        }
    }

    /// Keeps a generation on probation from its callers at once when it is clearly worse than its predecessor; the manager
    /// finds it so and rolls it back.
    fn weigh_probation(&self, error: &CallError) {
        let probation = *self.probation.lock().unwrap_or_else(PoisonError::into_inner);
        let so_far = self.counts();
        let failed = |on: Probation| !on.is_over(so_far, Instant::now()) && on.is_failed(so_far);
        if probation.is_some_and(failed) && !self.quarantined.swap(true, Ordering::Relaxed) {
            *self.quarantine.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
            let (tool_type, generation) = (&self.tool_type, self.number);
            tracing::warn!(%tool_type, generation, "the plugin fails in its probation: its webhooks are answered 503 until what served before it serves again");
        }
    }

    /// Counts a panic or an overrun with the breakers, and does what they say.
    fn trip(&self, error: &CallError, tenant: &Tenant) {
        let users = self.services.directory.list().iter().filter(|user| user.tool_type == self.tool_type).count();
        let (tool_type, generation) = (&self.tool_type, self.number);
        match self.breakers.fault(&tenant.id, users, Instant::now()) {
            Consequence::None => {}
            Consequence::TenantShutOut => tracing::warn!(
                %tool_type, generation, tenant = %tenant.id,
                "the plugin fails again and again for this tenant, which is shut out for 30 s; last: {error}"
            ),
            Consequence::Quarantine => {
                if !self.quarantined.swap(true, Ordering::Relaxed) {
                    *self.quarantine.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
                    tracing::error!(
                        %tool_type, generation,
                        "the plugin is quarantined: its webhooks are answered 503, its jobs wait; last: {error}; load a better one, or the same anew with plugin-ctl reload {tool_type}"
                    );
                }
            }
        }
    }

    /// Gives up lanes that are stuck; called every so often by the manager.
    pub fn give_up_stuck(&self) -> usize {
        // The lock, not a clone: whoever takes the generation apart must find nobody else with the instance.
        let stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        let Stage::Made(plugin) = &*stage else { return 0 };
        let excused = |place| plugin.host().0.is_waiting(place);
        self.fast.give_up_stuck(excused) + self.slow.give_up_stuck(excused)
    }
}
