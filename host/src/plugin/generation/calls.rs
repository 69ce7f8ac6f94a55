//! The calls that a generation takes: what goes to a lane, what comes back, and how it may fail.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper::{HeaderMap, Method as HttpMethod};
use plugin_abi::{
    PluginError,
    host::{
        CallContext, CallFault, Updated, WebhookParts, extract_metadata, get_ticket, update_ticket, validate_webhook,
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
        capability::{CallScope, Capability},
        crash::Step,
        lane::{Lanes, NotTaken, Work},
        loader::LoadedPlugin,
    },
    telemetry::metrics::{CallOutcome, Method as MetricMethod, PluginMetrics},
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

impl Generation {
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
        let (metrics, admission) = (Arc::clone(&self.metrics), Arc::clone(&self.admission));
        let limit = self.fast_deadline;
        let scope = |deadline| CallScope {
            tenant: Arc::clone(&webhook.tenant),
            method: Method::VALIDATE_WEBHOOK,
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
            let started = Instant::now();
            let verdict = context.with_webhook(&parts, |request| receive_on_lane(plugin, call, request, &metrics));
            admission.took(started.elapsed());
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
                replay_ahead: Duration::from_secs(job.tenant.replay_ahead_s.into()),
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
        let begun = Arc::new(AtomicBool::new(false));
        let begins = Arc::clone(&begun);
        let work = move |plugin: &LoadedPlugin<Capability>, place: usize| {
            begins.store(true, Ordering::Relaxed);
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
        // What waited behind too much honest work is no fault of the plugin, and must not have it quarantined.
        let late = || match begun.load(Ordering::Relaxed) || lanes.are_stuck() {
            true => CallError::Overrun(limit),
            false => CallError::Saturated,
        };
        let answer = match lanes.submit(Work { deadline, step, run: Box::new(work) }) {
            Ok(()) => match tokio::time::timeout_at(deadline.into(), answer).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_dropped)) if Instant::now() >= deadline => Err(late()),
                Ok(Err(_dropped)) => Err(CallError::Lost),
                Err(_elapsed) => Err(late()),
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
}

fn receive_on_lane(
    plugin: &LoadedPlugin<Capability>,
    call: u64,
    request: &[Field<'_>],
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
        Err(CallError::Saturated) => CallOutcome::Saturated,
        Err(CallError::InvalidReply(_) | CallError::ShutOut(_) | CallError::Closed | CallError::Lost) => {
            CallOutcome::InvalidReply
        }
    }
}
