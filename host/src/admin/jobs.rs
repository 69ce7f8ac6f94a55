//! `/v1/jobs`: looking at jobs, putting dead letters back, and throwing them away.

use axum::{
    Json, Router,
    extract::{Path, Query, State, rejection::QueryRejection},
    routing::{get, post},
};
use serde::Deserialize;

use super::{
    Wake,
    fault::Fault,
    wire::{self, Problem},
};
use crate::{
    clock::rfc3339,
    housekeeping::DiskRoom,
    ids::{JobId, TenantId},
    queue::job::{JobError, JobState, JobView},
    store::{DeadLetters, JobFilter, Store},
    tenant::directory::TenantDirectory,
    worker::credentials::Credentials,
};

/// Jobs that a list shows unless told otherwise.
pub const JOBS_LISTED_DEFAULT: u32 = 100;
/// Jobs that a list shows at most.
pub const JOBS_LISTED_MAX: u32 = 1_000;

#[derive(Clone)]
struct Parts {
    directory: TenantDirectory,
    credentials: Credentials,
    store: Store,
    disk: DiskRoom,
    wake: Wake,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    state: Option<String>,
    tenant: Option<String>,
    limit: Option<u32>,
}

type Answer<T> = Result<Json<T>, Fault>;

pub(super) fn routes(
    directory: TenantDirectory,
    credentials: Credentials,
    store: Store,
    disk: DiskRoom,
    wake: Wake,
) -> Router {
    Router::new()
        .route("/v1/jobs", get(list))
        .route("/v1/jobs/depth", get(depth))
        .route("/v1/jobs/pause", post(pause))
        .route("/v1/jobs/resume", post(resume))
        .route("/v1/jobs/retry-dead", post(retry_dead))
        .route("/v1/jobs/purge-dead", post(purge_dead))
        .route("/v1/jobs/{id}", get(show))
        .route("/v1/jobs/{id}/retry", post(retry))
        .with_state(Parts { directory, credentials, store, disk, wake })
}

async fn list(State(parts): State<Parts>, wanted: Result<Query<Wanted>, QueryRejection>) -> Answer<Vec<wire::Job>> {
    let Query(wanted) = wanted.map_err(|error| Fault::bad_request(error.body_text()))?;
    let limit = wanted.limit.unwrap_or(JOBS_LISTED_DEFAULT);
    if !(1..=JOBS_LISTED_MAX).contains(&limit) {
        return Err(Fault::bad_request(format!("the limit is 1 to {JOBS_LISTED_MAX} jobs")));
    }
    let state = wanted.state.map(|text| {
        JobState::parse(&text)
            .filter(|state| *state != JobState::Purged)
            .ok_or_else(|| Fault::bad_request("the state is queued, running, waiting, dead or done"))
    });
    let tenant = wanted.tenant.map(|text| TenantId::parse(&text)).transpose()?;
    let jobs = parts.store.jobs(JobFilter { state: state.transpose()?, tenant, limit }).await?;
    Ok(Json(jobs.iter().map(|view| parts.job(view)).collect()))
}

async fn depth(State(parts): State<Parts>) -> Answer<wire::Queue> {
    parts.depth().await
}

async fn pause(State(parts): State<Parts>) -> Answer<wire::Queue> {
    parts.directory.set_all_paused(true).await?;
    tracing::info!("the jobs of all tenants are paused");
    parts.depth().await
}

async fn resume(State(parts): State<Parts>) -> Answer<wire::Queue> {
    parts.directory.set_all_paused(false).await?;
    tracing::info!("jobs run again");
    (parts.wake)(None);
    parts.depth().await
}

async fn show(State(parts): State<Parts>, Path(id): Path<String>) -> Answer<wire::JobDetail> {
    let view = parts.find(&id).await?;
    Ok(Json(wire::JobDetail {
        job: parts.job(&view),
        errors: view.errors.into_iter().map(attempt).collect(),
        sent: view.sent,
        note: view.note,
    }))
}

async fn retry(State(parts): State<Parts>, Path(id): Path<String>) -> Answer<wire::JobDetail> {
    let found = parts.find(&id).await?;
    if found.state != JobState::Dead {
        let message = format!("job {} is {}; only dead letters can be put back", found.id, found.state.as_str());
        return Err(Fault::conflict(
            Problem::new("NOT_DEAD", message).mend(format!("plugin-ctl job show {id} says where it stands")),
        ));
    }
    if parts.store.retry_dead(DeadLetters::One(found.id)).await? == 0 {
        return Err(parts.not_put_back(&found));
    }
    tracing::info!(job = %found.id, tenant = %found.tenant, "dead letter put back");
    (parts.wake)(Some(&found.tenant));
    show(State(parts), Path(id)).await
}

async fn retry_dead(State(parts): State<Parts>) -> Answer<wire::Changed> {
    let jobs = parts.store.retry_dead(DeadLetters::All).await?;
    tracing::info!(jobs, "dead letters put back");
    (parts.wake)(None);
    Ok(Json(wire::Changed { jobs }))
}

async fn purge_dead(State(parts): State<Parts>) -> Answer<wire::Changed> {
    parts.disk.make_room();
    let jobs = parts.store.purge_dead(DeadLetters::All).await?;
    tracing::info!(jobs, "dead letters thrown away");
    Ok(Json(wire::Changed { jobs }))
}

impl Parts {
    async fn find(&self, id: &str) -> Result<JobView, Fault> {
        let id = JobId::parse(id)?;
        let found = self.store.job(id).await?;
        found.ok_or_else(|| Fault::not_found("UNKNOWN_JOB", format!("there is no job {id}")))
    }

    /// Why a dead letter cannot run: its tenant is gone, or has another tool.
    fn not_put_back(&self, dead: &JobView) -> Fault {
        let (id, tenant, tool_type) = (dead.id, &dead.tenant, &dead.tool_type);
        let problem = match self.directory.get(tenant.as_str()) {
            Some(now) if now.tool_type == *tool_type => {
                Problem::new("TENANT_GONE", format!("job {id} belongs to another {tenant}, which was removed"))
                    .mend(format!("throw away what that one left behind: plugin-ctl tenant erase {tenant}"))
            }
            Some(now) => Problem::new(
                "TENANT_CHANGED",
                format!("job {id} is for {tool_type}, but tenant {tenant} has {} now", now.tool_type),
            )
            .mend("throw the dead letters away: plugin-ctl job purge; their tickets are in the tool before"),
            None => Problem::new("TENANT_GONE", format!("job {id} belongs to {tenant}, which is gone"))
                .mend(format!("throw away what it left behind: plugin-ctl tenant erase {tenant}")),
        };
        Fault::conflict(problem.state("it stays a dead letter"))
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
