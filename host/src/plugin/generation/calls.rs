//! The calls that a generation takes: what goes to a lane, what comes back, and how it may fail.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper::{HeaderMap, Method as HttpMethod};
use plugin_abi::{
    PluginError,
    host::{
        CallContext, CallFault, Updated, Validated, WebhookParts, extract_metadata, get_ticket, update_ticket,
        validate_webhook,
    },
    raw::{Field, Method},
    time::OffsetDateTime,
    types::{Note, Ticket, TicketMetadata},
};
use tokio::sync::oneshot;

use super::Generation;
use crate::{
    ids::{CorrelationId, JobId},
    plugin::{
        budget::Caller,
        call_time::{Blame, CallTime},
        capability::{CallScope, Capability},
        crash::Step,
        lane::{Lanes, NotTaken, Work},
        loader::LoadedPlugin,
        why::Why,
    },
    telemetry::metrics::{CallOutcome, Method as MetricMethod},
    tenant::Tenant,
};

/// A webhook whose body is whole, before anybody has validated it.
#[derive(Clone, Debug)]
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
    /// It is not from whom it says. Why, where that is known, is for the operator alone.
    NotAuthentic(Option<Why>),
    /// It is authentic and says this.
    Authentic(Box<TicketMetadata>),
    /// It is authentic, but cannot be read.
    Unreadable(PluginError),
}

/// What a plugin makes of a webhook that is only tried.
#[derive(Debug)]
pub struct Examined {
    /// As of any webhook.
    pub verdict: Verdict,
    /// What it reads in one that is not authentic, of which it is not asked otherwise.
    pub unproven: Option<Result<Box<TicketMetadata>, CallError>>,
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
    /// The deadline passed, by the plugin's own doing.
    #[error("the plugin did not answer within {} ms", .0.as_millis())]
    Overrun(Duration),
    /// The deadline passed, but the plugin had little of that time.
    #[error(
        "the plugin's call had too little of its {} ms: it waited for a lane or for a processor; the machine is busy", .0.as_millis()
    )]
    HeldUp(Duration),
    /// Too many calls wait, or this one has waited until its deadline for those before it.
    #[error("the plugin has more calls than it can take")]
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
            Self::HeldUp(_) => "held_up",
            Self::Saturated => "saturated",
            Self::ShutOut(_) => "shut_out",
            Self::Closed => "closed",
            Self::Lost => "lost",
        }
    }
}

impl CallError {
    /// Whether it is the plugin's own fault: what a tool, a sender or the machine causes is not.
    fn is_own_fault(&self) -> bool {
        matches!(self, Self::Plugin(PluginError::Panicked { .. }) | Self::InvalidReply(_) | Self::Overrun(_))
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

impl Generation {
    /// Validates and, when it is authentic, extracts, in one stay on a fast lane.
    ///
    /// # Errors
    /// [`CallError`]; the plugin's `Authentication` is a verdict, not an error.
    pub async fn receive(&self, webhook: Arc<ReceivedWebhook>) -> Result<Verdict, CallError> {
        self.on_fast_lane(webhook, receive_on_lane).await
    }

    /// Validates, and extracts in any case: for a webhook that is only tried.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    pub async fn examine(&self, webhook: Arc<ReceivedWebhook>) -> Result<Examined, CallError> {
        self.on_fast_lane(webhook, examine_on_lane).await
    }

    async fn on_fast_lane<T: Send + 'static>(
        &self,
        webhook: Arc<ReceivedWebhook>,
        look: Look<T>,
    ) -> Result<T, CallError> {
        let Some(_admitted) = self.admission.enter(&webhook.tenant.id) else {
            self.metrics.saturated(MetricMethod::ValidateWebhook);
            return Err(CallError::Saturated);
        };
        let now = self.services.clock.now();
        let (metrics, admission) = (Arc::clone(&self.metrics), Arc::clone(&self.admission));
        let budgets = Arc::clone(&self.budgets);
        let pulse = self.services.pulse.clone();
        let limit = self.fast_deadline;
        let scope = |time| CallScope {
            tenant: Arc::clone(&webhook.tenant),
            method: Method::VALIDATE_WEBHOOK,
            time,
            correlation_id: webhook.correlation_id.clone(),
            job: None,
        };
        let webhook = Arc::clone(&webhook);
        let answer = self.call(&self.fast, MetricMethod::ValidateWebhook, limit, scope, move |plugin, call, time| {
            let tenant = &webhook.tenant;
            let context = CallContext {
                tenant_id: tenant.id.as_str(),
                base_url: tenant.base_url.as_str(),
                settings: &tenant.settings,
                attempt: 0,
                idempotency_key: None,
                deadline: now + limit,
                replay_window: Duration::from_secs(tenant.replay_window_s.into()),
                replay_ahead: Duration::from_secs(tenant.replay_ahead_s.into()),
            };
            let parts = WebhookParts {
                method: webhook.method.as_str(),
                path: &webhook.path,
                query: &webhook.query,
                headers: || webhook.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())),
                body: &webhook.body,
                received_at: webhook.received_at,
            };
            let started = pulse.now();
            let caller = Caller { tenant: &tenant.id, correlation_id: &webhook.correlation_id };
            let measured = |method, outcome, took| {
                metrics.call(method, outcome, took);
                budgets.check(method, took, time, caller);
            };
            let verdict = context.with_webhook(&parts, |request| look(plugin, call, request, &measured));
            admission.took(pulse.now() - started);
            verdict
        });
        answer.await
    }

    /// Fetches a ticket on a slow lane; `None` when the tool does not have it.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn get_ticket(&self, job: JobCall) -> Result<Option<Ticket>, CallError> {
        self.job_call(MetricMethod::GetTicket, Method::GET_TICKET, job, None, |plugin, call, request| {
            get_ticket(plugin.instance(), plugin.host(), call, request)
        })
        .await
    }

    /// Puts a note on a ticket on a slow lane.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn update_ticket(&self, job: JobCall, note: OwnedNote) -> Result<Updated, CallError> {
        self.job_call(MetricMethod::UpdateTicket, Method::UPDATE_TICKET, job, Some(note), |plugin, call, request| {
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
        perform: impl FnOnce(&LoadedPlugin<Capability>, u64, &[Field<'_>]) -> Result<T, CallFault> + Send + 'static,
    ) -> Result<T, CallError> {
        let now = self.services.clock.now();
        let limit = self.slow_deadline;
        let (metrics, budgets) = (Arc::clone(&self.metrics), Arc::clone(&self.budgets));
        let scope = |time| CallScope {
            tenant: Arc::clone(&job.tenant),
            method,
            time,
            correlation_id: job.correlation_id.clone(),
            job: Some(job.job),
        };
        let job = job.clone();
        let answer = self.call(&self.slow, name, limit, scope, move |plugin, call, time| {
            let key = job.job.to_string();
            let context = CallContext {
                tenant_id: job.tenant.id.as_str(),
                base_url: job.tenant.base_url.as_str(),
                settings: &job.tenant.settings,
                attempt: job.attempt,
                idempotency_key: Some(&key),
                deadline: now + limit,
                replay_window: Duration::from_secs(job.tenant.replay_window_s.into()),
                replay_ahead: Duration::from_secs(job.tenant.replay_ahead_s.into()),
            };
            let note = note.as_ref().map(|note| Note::new(&note.markdown, &note.html, &note.text, &note.marker));
            let started = Instant::now();
            let answer = context
                .with_ticket(&job.ticket_id, note.as_ref(), |request| perform(plugin, call, request))
                .map_err(CallError::from);
            let took = started.elapsed();
            metrics.call(name, outcome(&answer), took);
            let caller = Caller { tenant: &job.tenant.id, correlation_id: &job.correlation_id };
            budgets.check(name, took, time, caller);
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
        scope: impl FnOnce(Arc<CallTime>) -> CallScope,
        run: impl FnOnce(&LoadedPlugin<Capability>, u64, &CallTime) -> Result<T, CallError> + Send + 'static,
    ) -> Result<T, CallError> {
        let step = match name {
            MetricMethod::GetTicket => Step::Get,
            MetricMethod::UpdateTicket => Step::Update,
            _ => Step::Receive,
        };
        let time = Arc::new(CallTime::new(&self.services.pulse, limit));
        let scope = scope(Arc::clone(&time));
        let tenant = Arc::clone(&scope.tenant);
        if self.account.is_shut_out(&tenant.id, Instant::now()) {
            return Err(CallError::ShutOut("panics or overruns of its calls; it is let in again within 30 s"));
        }
        let (reply, answer) = oneshot::channel();
        let spent = Arc::clone(&time);
        let work = move |plugin: &LoadedPlugin<Capability>, place: usize| {
            let capability = &plugin.host().0;
            let call = capability.begin(place, scope);
            let mut answer = run(plugin, call, &spent);
            let error = match &mut answer {
                Err(CallError::Plugin(error)) => Some(error),
                _ => None,
            };
            capability.end(place, error);
            // Nobody waits any more when the deadline has passed; then the answer has no use.
            let _given_up = reply.send(answer);
        };
        self.account.note_call();
        let answer = match lanes.submit(Work { time: Arc::clone(&time), step, run: Box::new(work) }) {
            Ok(()) => match answer_in_time(answer, &time, lanes).await {
                Ok(answer) => {
                    if !answer.as_ref().is_err_and(CallError::is_own_fault) {
                        self.answered();
                    }
                    answer
                }
                Err(late) => Err(late),
            },
            Err(NotTaken::Saturated) => Err(CallError::Saturated),
            Err(NotTaken::Closed) => Err(CallError::Closed),
        };
        match &answer {
            Err(CallError::Overrun(_)) => self.metrics.call(name, CallOutcome::Overrun, limit),
            Err(CallError::Saturated | CallError::HeldUp(_)) => self.metrics.saturated(name),
            _ => {}
        }
        if let Err(error) = &answer
            && error.is_own_fault()
        {
            self.failed(error, &tenant);
        }
        answer
    }
}

/// What the lane answers, or why it has not by the deadline.
async fn answer_in_time<T>(mut answer: oneshot::Receiver<T>, time: &CallTime, lanes: &Lanes) -> Result<T, CallError> {
    match time.wait(&mut answer).await {
        Some(Ok(answer)) => return Ok(answer),
        Some(Err(_dropped)) if !time.is_over() => return Err(CallError::Lost),
        Some(Err(_dropped)) => return Err(late(time, lanes)),
        None => {}
    }
    let late = late(time, lanes);
    // A lane that has answered meanwhile sleeps, as one does that hangs.
    answer.try_recv().map_err(|_not_yet| late)
}

/// Why a call has not been answered by its deadline: only the plugin's own time is its fault.
fn late(time: &CallTime, lanes: &Lanes) -> CallError {
    let limit = time.limit();
    if !time.has_begun() {
        // What waited behind honest work is no fault of the plugin, behind calls that hang it is.
        return if lanes.are_stuck() { CallError::Overrun(limit) } else { CallError::Saturated };
    }
    match time.blame() {
        Blame::Plugin => CallError::Overrun(limit),
        Blame::Tool(took) => {
            let (took_s, limit_s) = (took.as_secs_f64(), limit.as_secs_f64());
            let message = format!("the tool took {took_s:.1} s in all, and the call may take {limit_s} s");
            CallError::Plugin(PluginError::api(message))
        }
        Blame::Nobody => CallError::HeldUp(limit),
    }
}

/// What is made of a webhook on a lane: the plugin, the call's number, the request, and whom to tell of the calls.
type Look<T> = fn(&LoadedPlugin<Capability>, u64, &[Field<'_>], Measured<'_>) -> Result<T, CallError>;

/// Told of each call of the plugin's code: how it ended, and how long it took.
type Measured<'a> = &'a dyn Fn(MetricMethod, CallOutcome, Duration);

fn receive_on_lane(
    plugin: &LoadedPlugin<Capability>,
    call: u64,
    request: &[Field<'_>],
    measured: Measured<'_>,
) -> Result<Verdict, CallError> {
    let started = Instant::now();
    let valid = validate_webhook(plugin.instance(), plugin.host(), call, request).map_err(CallError::from);
    let validated = Instant::now();
    measured(MetricMethod::ValidateWebhook, outcome(&valid), validated - started);
    match valid {
        Ok(Validated { authentic: true, .. }) => {}
        Ok(Validated { why, .. }) => {
            let why = why.map(Why::said).or_else(|| plugin.host().0.unproven(call));
            return Ok(Verdict::NotAuthentic(why));
        }
        Err(CallError::Plugin(PluginError::Authentication(why))) => return Ok(not_authentic(why)),
        Err(error) => return Err(error),
    }
    let extracted = extract_metadata(plugin.instance(), plugin.host(), call, request).map_err(CallError::from);
    measured(MetricMethod::ExtractMetadata, outcome(&extracted), validated.elapsed());
    match extracted {
        Ok(metadata) => Ok(Verdict::Authentic(Box::new(metadata))),
        Err(CallError::Plugin(PluginError::Authentication(why))) => Ok(not_authentic(why)),
        Err(CallError::Plugin(error @ (PluginError::Malformed(_) | PluginError::Validation(_)))) => {
            Ok(Verdict::Unreadable(error))
        }
        Err(error) => Err(error),
    }
}

fn examine_on_lane(
    plugin: &LoadedPlugin<Capability>,
    call: u64,
    request: &[Field<'_>],
    measured: Measured<'_>,
) -> Result<Examined, CallError> {
    let verdict = receive_on_lane(plugin, call, request, measured)?;
    let unproven = matches!(verdict, Verdict::NotAuthentic(_)).then(|| {
        let read = extract_metadata(plugin.instance(), plugin.host(), call, request);
        read.map(Box::new).map_err(CallError::from)
    });
    Ok(Examined { verdict, unproven })
}

fn not_authentic(why: String) -> Verdict {
    Verdict::NotAuthentic(Some(Why::error(why)))
}

/// Whether an answer is a plain no, for the metrics.
trait Answered {
    fn is_no(&self) -> bool;
}

impl Answered for Validated {
    fn is_no(&self) -> bool {
        !self.authentic
    }
}

impl Answered for Updated {
    fn is_no(&self) -> bool {
        !self.taken
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
        Err(CallError::Saturated | CallError::HeldUp(_)) => CallOutcome::Saturated,
        Err(CallError::InvalidReply(_) | CallError::ShutOut(_) | CallError::Closed | CallError::Lost) => {
            CallOutcome::InvalidReply
        }
    }
}
