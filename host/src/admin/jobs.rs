//! `/v1/jobs`: lists, shows, retries and purges jobs.

use axum::{
    Json, Router,
    extract::{Path, Query, State, rejection::QueryRejection},
    routing::{get, post},
};
use serde::Deserialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    asker::By,
    fault::Fault,
    wire::{self, Problem},
};
use crate::{
    clock::{Clock, rfc3339},
    housekeeping::DiskRoom,
    ids::{JobIdPrefix, TenantId},
    plugin::journal::{Decided, Happened, Journal},
    queue::{
        job::{JobError, JobState, JobView},
        wait::{JobWait, WaitReason},
        wakes::Wakes,
    },
    store::{JobFilter, PluginEvent, Store, StoreError},
    tenant::directory::TenantDirectory,
    worker::credentials::Credentials,
};

mod again;

/// Default number of jobs in a list.
pub const JOBS_LISTED_DEFAULT: u32 = 100;
/// Maximum number of jobs in a list.
pub const JOBS_LISTED_MAX: u32 = 1_000;
/// How many digits of an id a command needs to change a job.
const CHANGING_DIGITS_MIN: usize = 8;
/// Maximum number of ids named when a prefix matches several.
const NAMED_MAX: u32 = 5;

#[derive(Clone)]
struct Parts {
    directory: TenantDirectory,
    credentials: Credentials,
    store: Store,
    disk: DiskRoom,
    clock: Clock,
    journal: Journal,
    wakes: Wakes,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    state: Option<String>,
    tenant: Option<String>,
    ticket: Option<String>,
    /// An RFC 3339 time.
    since: Option<String>,
    /// A time span before now, by the host's clock, instead of `since`.
    within_s: Option<u32>,
    reason: Option<String>,
    after: Option<String>,
    limit: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    text: String,
    limit: Option<u32>,
}

type Asked<T> = Result<Query<T>, QueryRejection>;
type Answer<T> = Result<Json<T>, Fault>;

pub(super) fn routes(
    directory: TenantDirectory,
    credentials: Credentials,
    store: Store,
    disk: DiskRoom,
    clock: Clock,
    journal: Journal,
    wakes: Wakes,
) -> Router {
    Router::new()
        .route("/v1/jobs", get(list))
        .route("/v1/jobs/depth", get(depth))
        .route("/v1/jobs/find", get(find))
        .route("/v1/jobs/dead", get(again::dead))
        .route("/v1/jobs/pause", post(pause))
        .route("/v1/jobs/resume", post(resume))
        .route("/v1/jobs/retry-dead", post(again::retry_dead))
        .route("/v1/jobs/retry-waiting", post(again::retry_waiting))
        .route("/v1/jobs/purge-dead", post(again::purge_dead))
        .route("/v1/jobs/{id}", get(show))
        .route("/v1/jobs/{id}/retry", post(again::retry))
        .with_state(Parts { directory, credentials, store, disk, clock, journal, wakes })
}

async fn list(State(parts): State<Parts>, wanted: Asked<Wanted>) -> Answer<Vec<wire::Job>> {
    let wanted = asked(wanted)?;
    let state = wanted.state.map(|text| {
        JobState::parse(&text)
            .filter(|state| *state != JobState::Purged)
            .ok_or_else(|| Fault::bad_request("the state is queued, running, waiting, dead or done"))
    });
    let since_ms = match (wanted.since, wanted.within_s) {
        (Some(text), _) => Some(time_ms(&text)?),
        (None, within_s) => within_s.map(|s| parts.clock.now_ms().saturating_sub(i64::from(s) * 1_000)),
    };
    let after = match wanted.after {
        Some(id) => Some(parts.find(&id).await?.id),
        None => None,
    };
    let tenant = tenant(wanted.tenant)?;
    let filter = JobFilter {
        state: state.transpose()?,
        tenant: tenant.clone(),
        ticket: wanted.ticket,
        since_ms,
        reason: wanted.reason,
        after,
        limit: limit(wanted.limit)?,
    };
    let jobs = parts.store.jobs(filter).await?;
    if jobs.is_empty() {
        parts.must_know(tenant.as_ref())?;
    }
    Ok(Json(jobs.iter().map(|view| parts.job(view)).collect()))
}

async fn find(State(parts): State<Parts>, wanted: Asked<Text>) -> Answer<Vec<wire::Job>> {
    let Text { text, limit: most } = asked(wanted)?;
    let jobs = parts.store.find_jobs(&text, limit(most)?).await?;
    Ok(Json(jobs.iter().map(|view| parts.job(view)).collect()))
}

async fn depth(State(parts): State<Parts>) -> Answer<wire::Queue> {
    parts.depth().await
}

async fn pause(State(parts): State<Parts>, By(decided): By) -> Answer<wire::Queue> {
    parts.directory.pause_all().await?;
    tracing::info!("the jobs of all tenants are paused");
    parts.note(Happened::JobsPaused, "the jobs of all tenants wait", None, &decided).await;
    parts.depth().await
}

async fn resume(State(parts): State<Parts>, By(decided): By) -> Answer<wire::Queue> {
    parts.directory.resume_all().await?;
    tracing::info!("jobs run again");
    parts.wakes.wake_all();
    parts.note(Happened::JobsResumed, "jobs run again", None, &decided).await;
    parts.depth().await
}

async fn show(State(parts): State<Parts>, Path(id): Path<String>) -> Answer<wire::JobDetail> {
    let view = parts.find(&id).await?;
    parts.detail(view).await
}

fn asked<T>(query: Asked<T>) -> Result<T, Fault> {
    query.map(|Query(wanted)| wanted).map_err(|error| Fault::bad_request(error.body_text()))
}

fn limit(wanted: Option<u32>) -> Result<u32, Fault> {
    let limit = wanted.unwrap_or(JOBS_LISTED_DEFAULT);
    let is_allowed = (1..=JOBS_LISTED_MAX).contains(&limit);
    is_allowed.then_some(limit).ok_or_else(|| Fault::bad_request(format!("the limit is 1 to {JOBS_LISTED_MAX} jobs")))
}

fn tenant(wanted: Option<String>) -> Result<Option<TenantId>, Fault> {
    Ok(wanted.map(|text| TenantId::parse(&text)).transpose()?)
}

fn time_ms(text: &str) -> Result<i64, Fault> {
    let at = OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| Fault::bad_request(format!("{text:?} is no RFC 3339 time such as 2026-03-02T09:15:00Z")))?;
    Ok(i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX))
}

impl Parts {
    /// Wakes the worker for this tenant's jobs, or for the jobs of all tenants.
    fn wake(&self, tenant: Option<&TenantId>) {
        match tenant {
            Some(tenant) => self.wakes.wake(tenant),
            None => self.wakes.wake_all(),
        }
    }

    async fn note(&self, happened: Happened, what: &str, tenant: Option<&TenantId>, decided: &Decided) {
        let event = PluginEvent::new(happened, what).by(decided);
        let about = tenant.and_then(|id| self.directory.get(id.as_str()));
        let event = match (about, tenant) {
            (Some(tenant), _) => event.of_tenant(&tenant),
            (None, Some(gone)) => event.of_any(gone),
            (None, None) => event,
        };
        self.journal.keep([event]).await;
    }

    /// The one job to change. A short prefix may be a typing error that matches the wrong job.
    async fn find_to_change(&self, id: &str) -> Result<JobView, Fault> {
        let digits = JobIdPrefix::parse(id)?.digits();
        if digits < CHANGING_DIGITS_MIN {
            let message =
                format!("{id} is too short to change a job by: {digits} of at least {CHANGING_DIGITS_MIN} digits");
            return Err(Fault::bad_request(message));
        }
        self.find(id).await
    }

    /// The one job with this id or id prefix.
    async fn find(&self, id: &str) -> Result<JobView, Fault> {
        let prefix = JobIdPrefix::parse(id)?;
        let mut found = self.store.jobs_beginning(&prefix, NAMED_MAX + 1).await?;
        match found.len() {
            0 => Err(Fault::not_found("UNKNOWN_JOB", format!("there is no job {prefix}"))),
            1 => Ok(found.remove(0)),
            several => {
                let named = found.iter().take(NAMED_MAX as usize).map(|job| job.id.to_string());
                let more = if several > NAMED_MAX as usize { " and more" } else { "" };
                let ids = named.collect::<Vec<_>>().join(", ");
                let message = format!("the ids of several jobs begin with {prefix}: {ids}{more}");
                Err(Fault::conflict(Problem::new("AMBIGUOUS_JOB", message).mend("give more of the id")))
            }
        }
    }

    async fn detail(&self, view: JobView) -> Answer<wire::JobDetail> {
        let waits = self.store.waits_of(&view).await?;
        Ok(Json(wire::JobDetail {
            job: self.job(&view),
            waits: waits.iter().map(|wait| shown_wait(wait, &view)).collect(),
            errors: view.errors.into_iter().map(attempt).collect(),
            sent: view.sent,
            note: view.note,
        }))
    }

    /// Fails if the tenant does not exist: that tells the user more than an empty list.
    fn must_know(&self, tenant: Option<&TenantId>) -> Result<(), Fault> {
        match tenant {
            Some(tenant) if self.directory.get(tenant.as_str()).is_none() => {
                Err(StoreError::UnknownTenant(tenant.clone()).into())
            }
            _ => Ok(()),
        }
    }

    fn changed(&self, jobs: u64, tenant: Option<&TenantId>) -> Answer<wire::Changed> {
        if jobs == 0 {
            self.must_know(tenant)?;
        }
        Ok(Json(wire::Changed { jobs }))
    }

    async fn depth(&self) -> Answer<wire::Queue> {
        let depth = self.store.depth().await?;
        let paused = self.directory.is_all_paused();
        Ok(Json(wire::Queue { live: depth.live, dead: depth.dead, oldest_age_ms: depth.oldest_age_ms, paused }))
    }

    fn job(&self, view: &JobView) -> wire::Job {
        let waits = matches!(view.state, JobState::Queued | JobState::Waiting);
        let tenant = waits.then(|| self.directory.get(view.tenant.as_str())).flatten();
        wire::Job {
            id: view.id.to_string(),
            state: view.state.as_str().to_owned(),
            tenant: view.tenant.to_string(),
            tool_type: view.tool_type.to_string(),
            kind: view.kind.as_str().to_owned(),
            ticket_id: view.ticket_id.clone(),
            correlation_id: view.correlation_id.to_string(),
            attempts: view.attempt,
            accepted_at: rfc3339(view.accepted_ms),
            retried_at: view.retried_ms.map(rfc3339),
            due_at: view.due_ms.map(rfc3339),
            ended_at: view.ended_ms.map(rfc3339),
            outcome: view.outcome.clone(),
            last_error: view.errors.last().map(|error| wire::LastError {
                code: error.kind.clone(),
                message: error.message.clone(),
                at: rfc3339(error.at_ms),
            }),
            paused: tenant.as_ref().is_some_and(|tenant| self.directory.is_paused(tenant)),
            credential_refused: tenant.as_ref().is_some_and(|tenant| self.credentials.are_refused(tenant)),
        }
    }
}

fn attempt(error: JobError) -> wire::JobError {
    wire::JobError { attempt: error.attempt, at: rfc3339(error.at_ms), code: error.kind, message: error.message }
}

fn shown_wait(wait: &JobWait, job: &JobView) -> wire::JobWait {
    let (tenant, tool_type) = (&job.tenant, &job.tool_type);
    let message = match wait.reason {
        WaitReason::TenantDisabled => {
            format!("the tenant is disabled, until plugin-ctl tenant enable {tenant}")
        }
        WaitReason::Paused => {
            format!("jobs are paused, until plugin-ctl tenant resume {tenant} or, when all are, plugin-ctl job resume")
        }
        WaitReason::NoPlugin => format!("no plugin serves {tool_type}; plugin-ctl list shows which there are"),
        WaitReason::PluginDisabled => {
            format!("the plugin of {tool_type} is disabled, until plugin-ctl enable {tool_type}")
        }
        WaitReason::PluginQuarantined => {
            format!("the plugin of {tool_type} is quarantined, until plugin-ctl enable {tool_type}")
        }
        WaitReason::CredentialRefused => format!(
            "the tool refuses the tenant's credential, until it takes it again or plugin-ctl tenant rotate-secret {tenant} NAME"
        ),
    };
    wire::JobWait {
        reason: wait.reason.as_str().to_owned(),
        message,
        since: rfc3339(wait.since_ms),
        until: wait.until_ms.map(rfc3339),
    }
}
