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
    artifact::VerifiedArtifact,
    capability::{CallScope, Capability, Services},
    lane::{LaneLimits, LaneStarter, Lanes, NotTaken, REPLACED_MAX, Work},
    loader::{LoadedLibrary, LoadedPlugin, is_mapped},
    refusal::{Code, Refusal},
};
use crate::{
    config,
    ids::{CorrelationId, JobId, ToolType},
    telemetry::metrics::{CallOutcome, LaneKind, Method as MetricMethod, Metrics, PluginMetrics},
    tenant::Tenant,
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
    plugin: Mutex<Option<Arc<LoadedPlugin<Capability>>>>,
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
pub struct Retained(pub String);

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
        let lanes = |kind, kept, lanes_max, first_place| LaneLimits {
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
        let opened = on_own_thread(format!("open-{number}"), {
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
            Refusal::new(Code::Load, format!("opening it did not end within {} s", STEP_TIME_MAX.as_secs()))
        })??;
        let plugin = Arc::new(plugin);
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
            plugin: Mutex::new(Some(plugin)),
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
        let deadline = Instant::now() + limit;
        let scope = scope(deadline);
        let (reply, answer) = oneshot::channel();
        let work = move |plugin: &LoadedPlugin<Capability>, place: usize| {
            let capability = &plugin.host().0;
            let call = capability.begin(place, scope);
            let answer = run(plugin, call);
            capability.end(place);
            // Nobody waits any more when the deadline has passed; then the answer has no use.
            let _given_up = reply.send(answer);
        };
        self.calls.fetch_add(1, Ordering::Relaxed);
        let answer = match lanes.submit(Work { deadline, run: Box::new(work) }) {
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
            self.note_error(error);
        }
        answer
    }

    /// Counts what is the plugin's own fault; what a tool or a sender causes is not.
    fn note_error(&self, error: &CallError) {
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
    }

    /// Gives up lanes that are stuck; called every so often by the manager.
    pub fn give_up_stuck(&self) -> usize {
        // The lock, not a clone: whoever takes the generation apart must find nobody else with the instance.
        let plugin = self.plugin.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(plugin) = &*plugin else { return 0 };
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
        if !drained && let Some(plugin) = &*self.plugin.lock().unwrap_or_else(PoisonError::into_inner) {
            plugin.host().0.cancel();
        }
        drained
    }

    /// Ends the lanes, drops the instance, closes the library, each where it leaves nothing behind, and looks whether
    /// the file is really unmapped. Blocks; after [`drain`](Self::drain).
    ///
    /// # Errors
    /// [`Retained`], with what keeps it.
    pub fn dismantle(&self) -> Result<(), Retained> {
        self.fast.close();
        self.slow.close();
        let deadline = Instant::now() + STEP_TIME_MAX;
        if !(self.fast.join(deadline) && self.slow.join(deadline)) {
            return Err(Retained("a call of it has not returned".to_owned()));
        }
        let plugin = self.plugin.lock().unwrap_or_else(PoisonError::into_inner).take().and_then(Arc::into_inner);
        let Some(plugin) = plugin else { return Err(Retained("its instance is still in use".to_owned())) };
        let number = self.number;
        let Some((library, host, fault)) = on_own_thread(format!("drop-{number}"), move || plugin.destroy()) else {
            return Err(Retained("dropping its instance did not end".to_owned()));
        };
        if let Some(fault) = fault {
            let error = CallError::from(fault);
            tracing::warn!(tool_type = %self.tool_type, generation = number, "while the plugin was dropped: {error}");
        }
        match on_own_thread(format!("close-{number}"), move || library.close()) {
            Some(Ok(())) => drop(host),
            Some(Err(fault)) => return Err(Retained(format!("it could not be closed: {fault}"))),
            None => return Err(Retained("closing its library did not end".to_owned())),
        }
        match is_mapped(self.artifact.copy()) {
            Ok(false) => Ok(()),
            Ok(true) => Err(Retained("its library is still mapped".to_owned())),
            Err(fault) => Err(Retained(format!("/proc/self/maps cannot be read: {fault}"))),
        }
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
        Err(CallError::InvalidReply(_) | CallError::Closed | CallError::Lost) => CallOutcome::InvalidReply,
    }
}

/// Runs one step on a thread that has ended when this returns; `None` when it did not end in time, then it is left alone.
fn on_own_thread<T: Send + 'static>(name: String, step: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, finished) = crossbeam_channel::bounded(1);
    let thread = std::thread::Builder::new()
        .name(name)
        .spawn(move || {
            let result = step();
            // The receiver is gone when the time was up: then the result, a library, is leaked on purpose.
            if let Err(late) = done.send(result) {
                std::mem::forget(late);
            }
        })
        .ok()?;
    let result = finished.recv_timeout(STEP_TIME_MAX).ok()?;
    drop(thread.join());
    Some(result)
}
