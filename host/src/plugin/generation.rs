//! A generation: one loaded artifact with its instance and its own lanes, from the first call to the last byte unmapped.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper::{HeaderMap, Method as HttpMethod};
use plugin_abi::{
    PluginError,
    host::{
        CallContext, CallFault, HostSide, WebhookParts, extract_metadata, get_ticket, update_ticket, validate_webhook,
    },
    raw::Method,
    time::OffsetDateTime,
    types::{Note, Ticket, TicketMetadata},
};
use tokio::sync::{Notify, oneshot};

use super::{
    admission::Admission,
    artifact::VerifiedArtifact,
    breaker::{Breakers, Consequence},
    capability::{CallScope, Capability, Services},
    crash::{self, Step, Watched},
    lane::{LaneLimits, LaneStarter, Lanes, NotTaken, REPLACED_MAX, Work},
    loader::{LoadedLibrary, LoadedPlugin, mapped},
    refusal::{Code, Refusal},
};
use crate::{
    config,
    ids::{CorrelationId, JobId, ToolType},
    telemetry::metrics::{CallOutcome, LaneKind, Method as MetricMethod, Metrics, PluginMetrics},
    tenant::Tenant,
    threads,
};

/// How long one step of opening or closing a library may take on its thread.
const STEP_TIME_MAX: Duration = Duration::from_secs(10);

/// A webhook whose body is whole, before anybody has validated it.
#[derive(Debug)]
pub struct ReceivedWebhook {
    /// Whom it is for.
    pub tenant: Arc<Tenant>,
    /// What its log lines are known by.
    pub correlation_id: CorrelationId,
    /// The HTTP method.
    pub method: HttpMethod,
    /// The path, as it came.
    pub path: String,
    /// The query, as it came.
    pub query: String,
    /// All headers.
    pub headers: HeaderMap,
    /// The raw body.
    pub body: Bytes,
    /// When the last byte of the body was there.
    pub received_at: OffsetDateTime,
}

/// What a plugin makes of a webhook.
#[derive(Debug)]
pub enum Verdict {
    /// It is not from whom it says.
    NotAuthentic,
    /// It is authentic and says this.
    Authentic(Box<TicketMetadata>),
    /// It is authentic, but cannot be read.
    Unreadable(PluginError),
}

/// Why a plugin gave no usable answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The plugin's own error, its panics included.
    #[error("{0}")]
    Plugin(PluginError),
    /// Its reply breaks the ABI's rules.
    #[error("the plugin's reply is invalid: {0}")]
    InvalidReply(String),
    /// The deadline passed.
    #[error("the plugin did not answer within {0:?}")]
    Overrun(Duration),
    /// Too many calls wait.
    #[error("the plugin's queue is full")]
    Saturated,
    /// The plugin has failed too often for this tenant just now.
    #[error("the plugin is shut out for this tenant after {0}")]
    ShutOut(&'static str),
    /// The generation takes no more calls; another one does.
    #[error("the plugin is being replaced")]
    Closed,
    /// A fault of the host.
    #[error("the call was lost")]
    Lost,
}

impl CallError {
    /// A word for logs, metrics and `list`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Plugin(error) => error.kind(),
            Self::InvalidReply(_) => "invalid_reply",
            Self::Overrun(_) => "overrun",
            Self::Saturated => "saturated",
            Self::ShutOut(_) => "shut_out",
            Self::Closed => "closed",
            Self::Lost => "lost",
        }
    }
}

impl From<CallFault> for CallError {
    fn from(fault: CallFault) -> Self {
        match fault {
            CallFault::Plugin(error) => Self::Plugin(error),
            CallFault::InvalidReply(reason) => Self::InvalidReply(reason),
        }
    }
}

/// For a job's calls: whom for and which attempt.
#[derive(Clone, Debug)]
pub struct JobCall {
    /// The tenant.
    pub tenant: Arc<Tenant>,
    /// The webhook's correlation id.
    pub correlation_id: CorrelationId,
    /// The job, which is the idempotency key.
    pub job: JobId,
    /// From 1.
    pub attempt: u32,
    /// The ticket's id.
    pub ticket_id: String,
}

/// A note in its three forms, owned by the lane while it is posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedNote {
    /// CommonMark.
    pub markdown: String,
    /// Sanitised HTML.
    pub html: String,
    /// Plain text.
    pub text: String,
    /// What tells it from all other notes.
    pub marker: String,
}

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
    admission: Admission,
    quarantined: AtomicBool,
    watched: Arc<Watched>,
}

/// The step whose loss blocks the dynamic linker.
const CLOSING: &str = "closing its library has not ended";

/// How far a generation has been taken apart.
enum Stage {
    /// Not at all.
    Made(Arc<LoadedPlugin<Capability>>),
    /// The instance is dropped. The callbacks stay: a thread that the plugin left behind may still use them.
    Dropped(LoadedLibrary, Box<HostSide<Capability>>),
    /// The library is closed.
    Closed,
    /// A step has not come back, and has what it works on.
    Lost(&'static str),
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

/// Why a generation could not be taken apart: it stays in memory, counted and listed with this reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retained {
    /// What keeps it.
    pub reason: String,
    /// Whether closing its library has not come back, and with it every later opening, closing and start of a thread.
    pub loader_stuck: bool,
}

impl Retained {
    /// It is kept, and nothing else suffers.
    pub fn because(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), loader_stuck: false }
    }
}

impl Generation {
    /// Maps the artifact and makes the plugin, on a thread of its own that has ended when this returns; then starts the
    /// lanes. Blocks; one at a time.
    ///
    /// # Errors
    /// Why it could not be loaded or made.
    pub fn load(
        artifact: VerifiedArtifact,
        number: u64,
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
            admission: Admission::new(limits.lane_queue),
            quarantined: AtomicBool::new(false),
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
    pub fn counts(&self) -> (u64, u64) {
        (self.calls.load(Ordering::Relaxed), self.errors.load(Ordering::Relaxed))
    }

    /// The last such failure.
    pub fn last_error(&self) -> Option<LastError> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it is kept from serving because it failed too often.
    pub fn is_quarantined(&self) -> bool {
        self.quarantined.load(Ordering::Relaxed)
    }

    /// Enters for a call; `None` when the generation is draining: then the routes know another, or none.
    pub fn enter(self: &Arc<Self>) -> Option<InFlight> {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        let stay = InFlight(Arc::clone(self));
        (!self.draining.load(Ordering::SeqCst)).then_some(stay)
    }

    /// Validates and, when it is authentic, extracts, in one stay on a fast lane.
    ///
    /// # Errors
    /// [`CallError`]; the plugin's `Authentication` is a verdict, not an error.
    pub async fn receive(&self, webhook: Arc<ReceivedWebhook>) -> Result<Verdict, CallError> {
        let Some(_admitted) = self.admission.enter(&webhook.tenant.id) else {
            self.metrics.saturated(MetricMethod::ValidateWebhook);
            return Err(CallError::Saturated);
        };
        let now = self.services.clock.now();
        let metrics = Arc::clone(&self.metrics);
        let limit = self.fast_deadline;
        let scope = |deadline| CallScope {
            tenant: Arc::clone(&webhook.tenant),
            method: Method::Validate,
            deadline,
            correlation_id: webhook.correlation_id.clone(),
        };
        let webhook = Arc::clone(&webhook);
        let answer = self.call(&self.fast, MetricMethod::ValidateWebhook, limit, scope, move |plugin, call| {
            let tenant = &webhook.tenant;
            let context = CallContext {
                tenant_id: tenant.id.as_str(),
                base_url: tenant.base_url.as_str(),
                settings: &tenant.settings,
                attempt: 0,
                idempotency_key: None,
                deadline: now + limit,
                replay_window: Duration::from_secs(tenant.replay_window_s.into()),
            };
            let parts = WebhookParts {
                method: webhook.method.as_str(),
                path: &webhook.path,
                query: &webhook.query,
                headers: || webhook.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())),
                body: &webhook.body,
                received_at: webhook.received_at,
            };
            context.with_webhook(&parts, |request| receive_on_lane(plugin, call, request, &metrics))
        });
        answer.await
    }

    /// Fetches a ticket on a slow lane; `None` when the tool does not have it.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn get_ticket(&self, job: JobCall) -> Result<Option<Ticket>, CallError> {
        self.job_call(MetricMethod::GetTicket, Method::Get, job, None, |plugin, call, request| {
            get_ticket(plugin.instance(), plugin.host(), call, request)
        })
        .await
    }

    /// Puts a note on a ticket on a slow lane; false when the tool did not take it.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn update_ticket(&self, job: JobCall, note: OwnedNote) -> Result<bool, CallError> {
        self.job_call(MetricMethod::UpdateTicket, Method::Update, job, Some(note), |plugin, call, request| {
            update_ticket(plugin.instance(), plugin.host(), call, request)
        })
        .await
    }

    async fn job_call<T: Send + 'static + Answered>(
        &self,
        name: MetricMethod,
        method: Method,
        job: JobCall,
        note: Option<OwnedNote>,
        perform: impl FnOnce(&LoadedPlugin<Capability>, u64, &[plugin_abi::raw::Field<'_>]) -> Result<T, CallFault>
        + Send
        + 'static,
    ) -> Result<T, CallError> {
        let now = self.services.clock.now();
        let limit = self.slow_deadline;
        let metrics = Arc::clone(&self.metrics);
        let scope = |deadline| CallScope {
            tenant: Arc::clone(&job.tenant),
            method,
            deadline,
            correlation_id: job.correlation_id.clone(),
        };
        let job = job.clone();
        let answer = self.call(&self.slow, name, limit, scope, move |plugin, call| {
            let key = job.job.to_string();
            let context = CallContext {
                tenant_id: job.tenant.id.as_str(),
                base_url: job.tenant.base_url.as_str(),
                settings: &job.tenant.settings,
                attempt: job.attempt,
                idempotency_key: Some(&key),
                deadline: now + limit,
                replay_window: Duration::from_secs(job.tenant.replay_window_s.into()),
            };
            let note = note.as_ref().map(|note| Note::new(&note.markdown, &note.html, &note.text, &note.marker));
            let started = Instant::now();
            let answer = context
                .with_ticket(&job.ticket_id, note.as_ref(), |request| perform(plugin, call, request))
                .map_err(CallError::from);
            metrics.call(name, outcome(&answer), started.elapsed());
            answer
        });
        answer.await
    }

    /// Queues `run` for a lane and waits for its answer until the deadline.
    async fn call<T: Send + 'static>(
        &self,
        lanes: &Lanes,
        name: MetricMethod,
        limit: Duration,
        scope: impl FnOnce(Instant) -> CallScope,
        run: impl FnOnce(&LoadedPlugin<Capability>, u64) -> Result<T, CallError> + Send + 'static,
    ) -> Result<T, CallError> {
        let now = Instant::now();
        let step = match name {
            MetricMethod::GetTicket => Step::Get,
            MetricMethod::UpdateTicket => Step::Update,
            _ => Step::Receive,
        };
        let deadline = now + limit;
        let scope = scope(deadline);
        let tenant = Arc::clone(&scope.tenant);
        if self.breakers.is_shut(&tenant.id, now) {
            return Err(CallError::ShutOut("panics or overruns of its calls; it is let in again within 30 s"));
        }
        let (reply, answer) = oneshot::channel();
        let work = move |plugin: &LoadedPlugin<Capability>, place: usize| {
            let capability = &plugin.host().0;
            let call = capability.begin(place, scope);
            let mut answer = run(plugin, call);
            let error = match &mut answer {
                Err(CallError::Plugin(error)) => Some(error),
                _ => None,
            };
            capability.end(place, error);
            // Nobody waits any more when the deadline has passed; then the answer has no use.
            let _given_up = reply.send(answer);
        };
        self.calls.fetch_add(1, Ordering::Relaxed);
        let answer = match lanes.submit(Work { deadline, step, run: Box::new(work) }) {
            Ok(()) => match tokio::time::timeout_at(deadline.into(), answer).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_dropped)) if Instant::now() >= deadline => Err(CallError::Overrun(limit)),
                Ok(Err(_dropped)) => Err(CallError::Lost),
                Err(_elapsed) => Err(CallError::Overrun(limit)),
            },
            Err(NotTaken::Saturated) => Err(CallError::Saturated),
            Err(NotTaken::Closed) => Err(CallError::Closed),
        };
        match &answer {
            Err(CallError::Overrun(_)) => self.metrics.call(name, CallOutcome::Overrun, limit),
            Err(CallError::Saturated) => self.metrics.saturated(name),
            _ => {}
        }
        if let Err(error) = &answer {
            self.note_error(error, &tenant);
        }
        answer
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
        }
        if matches!(error, CallError::Plugin(PluginError::Panicked { .. }) | CallError::Overrun(_)) {
            self.trip(error, tenant);
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

    /// Takes no more calls, and waits until those that are there have ended; false when they did not in time.
    pub async fn drain(&self, time_max: Duration) -> bool {
        self.draining.store(true, Ordering::SeqCst);
        let drained = async {
            loop {
                let emptied = self.emptied.notified();
                tokio::pin!(emptied);
                emptied.as_mut().enable();
                if self.in_flight.load(Ordering::SeqCst) == 0 {
                    return;
                }
                emptied.await;
            }
        };
        let drained = tokio::time::timeout(time_max, drained).await.is_ok();
        if !drained && let Stage::Made(plugin) = &*self.stage.lock().unwrap_or_else(PoisonError::into_inner) {
            plugin.host().0.cancel();
        }
        drained
    }

    /// Ends the lanes, drops the instance, closes the library, each where it leaves nothing behind, and looks whether
    /// the file is really unmapped. Blocks, for `lanes_max` at most while calls do not return; after
    /// [`drain`](Self::drain). What could not be done may be tried again later, from where it stopped.
    ///
    /// # Errors
    /// [`Retained`], with what keeps it.
    pub fn dismantle(&self, lanes_max: Duration) -> Result<(), Retained> {
        self.fast.close();
        self.slow.close();
        let deadline = Instant::now() + lanes_max;
        if !(self.fast.join(deadline) && self.slow.join(deadline)) {
            return Err(Retained::because("a call of it has not returned"));
        }
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let before = std::mem::replace(&mut *stage, Stage::Lost("it is being taken apart"));
            let (after, retained) = match before {
                Stage::Made(plugin) => match Arc::try_unwrap(plugin) {
                    Ok(plugin) => (self.drop_instance(plugin), None),
                    Err(plugin) => (Stage::Made(plugin), Some("its instance is still in use".to_owned())),
                },
                Stage::Dropped(library, host) => match why_not_close() {
                    None => self.close_library(library, host),
                    Some(reason) => (Stage::Dropped(library, host), Some(reason)),
                },
                Stage::Closed => match mapped(self.artifact.copy()) {
                    Ok(None) => {
                        *stage = Stage::Closed;
                        return Ok(());
                    }
                    Ok(Some(_)) => (Stage::Closed, Some("its library is closed, but still mapped".to_owned())),
                    Err(fault) => (Stage::Closed, Some(format!("/proc/self/maps cannot be read: {fault}"))),
                },
                Stage::Lost(CLOSING) => {
                    *stage = Stage::Lost(CLOSING);
                    return Err(Retained { reason: CLOSING.to_owned(), loader_stuck: true });
                }
                Stage::Lost(step) => (Stage::Lost(step), Some(step.to_owned())),
            };
            *stage = after;
            if let Some(reason) = retained {
                return Err(Retained::because(reason));
            }
        }
    }

    fn drop_instance(&self, plugin: LoadedPlugin<Capability>) -> Stage {
        let Some((library, host, fault)) =
            on_own_thread(format!("drop-{}", self.number), &self.watched, Step::Drop, move || plugin.destroy())
        else {
            return Stage::Lost("dropping its instance has not ended");
        };
        if let Some(fault) = fault {
            let error = CallError::from(fault);
            tracing::warn!(tool_type = %self.tool_type, generation = self.number, "while the plugin was dropped: {error}");
        }
        Stage::Dropped(library, host)
    }

    fn close_library(&self, library: LoadedLibrary, host: Box<HostSide<Capability>>) -> (Stage, Option<String>) {
        match on_own_thread(format!("close-{}", self.number), &self.watched, Step::Close, move || library.close()) {
            Some(Ok(())) => {
                drop(host);
                (Stage::Closed, None)
            }
            Some(Err(fault)) => {
                std::mem::forget(host);
                (Stage::Closed, Some(format!("it could not be closed: {fault}")))
            }
            None => {
                std::mem::forget(host);
                (Stage::Lost(CLOSING), None)
            }
        }
    }
}

/// A thread that the host has not started may be running plugin code, of whichever plugin.
fn why_not_close() -> Option<String> {
    match threads::strangers() {
        Ok(strangers) => strangers.first().map(|(tid, name)| {
            format!("thread {tid} ({name:?}), which a plugin started, still runs; {} such in all", strangers.len())
        }),
        Err(fault) => Some(format!("the threads cannot be counted: {fault}")),
    }
}

fn receive_on_lane(
    plugin: &LoadedPlugin<Capability>,
    call: u64,
    request: &[plugin_abi::raw::Field<'_>],
    metrics: &PluginMetrics,
) -> Result<Verdict, CallError> {
    let started = Instant::now();
    let valid = validate_webhook(plugin.instance(), plugin.host(), call, request).map_err(CallError::from);
    let validated = Instant::now();
    metrics.call(MetricMethod::ValidateWebhook, outcome(&valid), validated - started);
    match valid {
        Ok(true) => {}
        Ok(false) | Err(CallError::Plugin(PluginError::Authentication(_))) => return Ok(Verdict::NotAuthentic),
        Err(error) => return Err(error),
    }
    let extracted = extract_metadata(plugin.instance(), plugin.host(), call, request).map_err(CallError::from);
    metrics.call(MetricMethod::ExtractMetadata, outcome(&extracted), validated.elapsed());
    match extracted {
        Ok(metadata) => Ok(Verdict::Authentic(Box::new(metadata))),
        Err(CallError::Plugin(PluginError::Authentication(_))) => Ok(Verdict::NotAuthentic),
        Err(CallError::Plugin(error @ (PluginError::Malformed(_) | PluginError::Validation(_)))) => {
            Ok(Verdict::Unreadable(error))
        }
        Err(error) => Err(error),
    }
}

/// Whether an answer is a plain no, for the metrics.
trait Answered {
    fn is_no(&self) -> bool;
}

impl Answered for bool {
    fn is_no(&self) -> bool {
        !self
    }
}

impl Answered for TicketMetadata {
    fn is_no(&self) -> bool {
        false
    }
}

impl Answered for Option<Ticket> {
    fn is_no(&self) -> bool {
        self.is_none()
    }
}

fn outcome<T: Answered>(answer: &Result<T, CallError>) -> CallOutcome {
    match answer {
        Ok(answer) if answer.is_no() => CallOutcome::No,
        Ok(_) => CallOutcome::Ok,
        Err(CallError::Plugin(error)) => match error {
            PluginError::Malformed(_) => CallOutcome::Malformed,
            PluginError::Validation(_) => CallOutcome::Validation,
            PluginError::Authentication(_) => CallOutcome::Authentication,
            PluginError::RateLimit { .. } => CallOutcome::RateLimit,
            PluginError::Configuration(_) => CallOutcome::Configuration,
            PluginError::NotFound(_) => CallOutcome::NotFound,
            PluginError::Cancelled => CallOutcome::Cancelled,
            PluginError::Panicked { .. } => CallOutcome::Panicked,
            _ => CallOutcome::Api,
        },
        Err(CallError::Overrun(_)) => CallOutcome::Overrun,
        Err(CallError::Saturated) => CallOutcome::Saturated,
        Err(CallError::InvalidReply(_) | CallError::ShutOut(_) | CallError::Closed | CallError::Lost) => {
            CallOutcome::InvalidReply
        }
    }
}

/// Runs one step on a thread that has ended when this returns; `None` when it did not end in time, then it is left alone.
fn on_own_thread<T: Send + 'static>(
    name: String,
    watched: &Arc<Watched>,
    does: Step,
    step: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let watched = Arc::clone(watched);
    let deadline = Instant::now() + STEP_TIME_MAX;
    let (done, finished) = crossbeam_channel::bounded(1);
    let thread = std::thread::Builder::new()
        .name(name)
        .spawn(move || {
            threads::register();
            let thread = watched.this_thread();
            thread.does(does);
            let result = step();
            // Nobody waits when the time was up: then the result, a library, must not be dropped here. The journal's entry
            // goes along: until this thread has ended, the destructors of its locals may run, which are the plugin's.
            if let Err(late) = done.send((result, thread)) {
                std::mem::forget(late);
            }
        })
        .ok()?;
    let (result, watched) = finished.recv_deadline(deadline).ok()?;
    if threads::join_all(vec![thread], deadline) {
        Some(result)
    } else {
        std::mem::forget((result, watched));
        None
    }
}
