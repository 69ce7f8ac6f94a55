//! Retries jobs, and purges dead letters.

use axum::extract::{Path, State};
use serde::Deserialize;

use super::{Answer, Asked, Parts, asked, tenant};
use crate::{
    admin::{
        asker::By,
        fault::Fault,
        wire::{self, Problem},
    },
    ids::TenantId,
    plugin::journal::{Decided, Happened},
    queue::job::{JobState, JobView},
    store::DeadLetters,
};

/// Which jobs a command applies to.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    tenant: Option<String>,
    reason: Option<String>,
    /// The reason; [`By`] reads it.
    #[serde(rename = "why")]
    _why: Option<String>,
}

/// Puts a dead letter back, or makes a waiting job due.
pub(super) async fn retry(
    State(parts): State<Parts>,
    Path(id): Path<String>,
    By(decided): By,
) -> Answer<wire::JobDetail> {
    let found = parts.find_to_change(&id).await?;
    let done = match found.state {
        JobState::Dead => {
            if parts.store.retry_dead(DeadLetters::One(found.id)).await? == 0 {
                return Err(parts.not_put_back(&found));
            }
            tracing::info!(job = %found.id, tenant = %found.tenant, "dead letter put back");
            "is put back into the queue"
        }
        JobState::Waiting => {
            // False means that its time has come meanwhile.
            let hurried = parts.store.hurry(found.id).await?;
            tracing::info!(job = %found.id, tenant = %found.tenant, hurried, "waiting job made due");
            "is made due"
        }
        JobState::Queued | JobState::Running | JobState::Done | JobState::Purged => {
            return Err(not_to_be_tried(&found));
        }
    };
    (parts.wake)(Some(&found.tenant));
    let done = format!("job {} {done}", found.id);
    parts.note(Happened::JobsRetried, &done, Some(&found.tenant), &decided).await;
    let now = parts.store.job(found.id).await?;
    parts.detail(now.unwrap_or(found)).await
}

pub(super) async fn retry_dead(
    State(parts): State<Parts>,
    By(decided): By,
    which: Asked<Which>,
) -> Answer<wire::Changed> {
    let which = asked(which)?;
    let tenant = tenant(which.tenant)?;
    let of = of(tenant.as_ref(), which.reason.as_deref());
    let jobs = parts.store.retry_dead(DeadLetters::Of { tenant: tenant.clone(), reason: which.reason }).await?;
    tracing::info!(jobs, "dead letters put back");
    (parts.wake)(tenant.as_ref());
    let done = format!("dead letters put back{of}: {jobs}");
    parts.note_some(jobs, Happened::JobsRetried, &done, tenant.as_ref(), &decided).await;
    parts.changed(jobs, tenant.as_ref())
}

pub(super) async fn retry_waiting(
    State(parts): State<Parts>,
    By(decided): By,
    which: Asked<Which>,
) -> Answer<wire::Changed> {
    let which = asked(which)?;
    if which.reason.is_some() {
        return Err(Fault::bad_request("waiting jobs are not chosen by a reason"));
    }
    let tenant = tenant(which.tenant)?;
    let jobs = parts.store.hurry_waiting(tenant.as_ref()).await?;
    tracing::info!(jobs, "waiting jobs made due");
    (parts.wake)(tenant.as_ref());
    let done = format!("waiting jobs made due{}: {jobs}", of(tenant.as_ref(), None));
    parts.note_some(jobs, Happened::JobsRetried, &done, tenant.as_ref(), &decided).await;
    parts.changed(jobs, tenant.as_ref())
}

pub(super) async fn purge_dead(
    State(parts): State<Parts>,
    By(decided): By,
    which: Asked<Which>,
) -> Answer<wire::Changed> {
    parts.disk.make_room();
    let which = asked(which)?;
    let tenant = tenant(which.tenant)?;
    let of = of(tenant.as_ref(), which.reason.as_deref());
    let jobs = parts.store.purge_dead(DeadLetters::Of { tenant: tenant.clone(), reason: which.reason }).await?;
    tracing::info!(jobs, "dead letters thrown away");
    let done = format!("dead letters deleted{of}: {jobs}");
    parts.note_some(jobs, Happened::JobsPurged, &done, tenant.as_ref(), &decided).await;
    parts.changed(jobs, tenant.as_ref())
}

/// How many dead letters a command would apply to.
pub(super) async fn dead(State(parts): State<Parts>, which: Asked<Which>) -> Answer<wire::Changed> {
    let which = asked(which)?;
    let tenant = tenant(which.tenant)?;
    let jobs = parts.store.count_dead(DeadLetters::Of { tenant: tenant.clone(), reason: which.reason }).await?;
    parts.changed(jobs, tenant.as_ref())
}

/// The selected jobs in words; empty for all jobs.
fn of(tenant: Option<&TenantId>, reason: Option<&str>) -> String {
    let tenant = tenant.map(|tenant| format!(" of tenant {tenant}")).unwrap_or_default();
    tenant + &reason.map(|reason| format!(", given up as {reason}")).unwrap_or_default()
}

/// Why there is nothing to retry.
fn not_to_be_tried(job: &JobView) -> Fault {
    let id = job.id;
    let message = match job.state {
        JobState::Queued => format!("job {id} is queued: it is due already, and runs when its turn comes"),
        JobState::Running => format!("job {id} is running"),
        state => format!("job {id} is {}; only dead letters and waiting jobs can be tried again", state.as_str()),
    };
    let problem = Problem::new("NOT_DEAD", message).state("nothing was changed");
    Fault::conflict(problem.mend(format!("plugin-ctl job show {id} says where it stands")))
}

impl Parts {
    /// Journals a command, if it changed any job.
    async fn note_some(&self, jobs: u64, happened: Happened, what: &str, tenant: Option<&TenantId>, decided: &Decided) {
        if jobs > 0 {
            self.note(happened, what, tenant, decided).await;
        }
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
}
