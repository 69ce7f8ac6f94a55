//! The work on a job, on one page: claim ▸ tenant ▸ route ▸ get_ticket ▸ enhance ▸ mark_sent ▸ update_ticket ▸ history
//! ▸ complete | retry at | postpone | dead letter. The webhook was answered long before.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, task::JoinHandle, time::Instant};
use tracing::Instrument as _;

use crate::{
    clock::Clock,
    fault::{self, Point},
    limits::SharedLimits,
    plugin::{generation::OwnedNote, routes::Routes},
    queue::{job::JobKind, wakes::Wakes},
    shutdown::Shutdown,
    store::{ENDS_THE_HOST, Kept, LastEnd, Rescued, Store, StoreError},
    telemetry::metrics::Metrics,
    tenant::directory::TenantDirectory,
};

mod claims;
pub mod credentials;
pub mod decision;
mod held;
pub mod scheduler;
mod settle;
mod stages;
mod suspects;
#[cfg(test)]
mod tests;
pub mod tools;
mod waits;

use claims::Claims;
use credentials::Credentials;
use decision::{Failure, GAVE_UP, millis};
use held::Held;
use stages::Staffed;
use tools::Tools;

/// Everything that the worker needs.
#[derive(Clone)]
pub struct WorkerParts {
    /// The queue and the history.
    pub store: Store,
    /// The tenants, which decide whose jobs may run.
    pub directory: TenantDirectory,
    /// The routes to plugins.
    pub routes: Routes,
    /// The tenants whose credentials the tools refuse.
    pub credentials: Credentials,
    /// The tools' recent answers.
    pub tools: Tools,
    /// The metrics.
    pub metrics: Metrics,
    /// The store's clock, so that both agree when a job is due.
    pub clock: Clock,
    /// Permits and retries. The current values are read for each claim and each attempt.
    pub limits: SharedLimits,
    /// Maximum number of calls of one plugin that can wait for tools at once.
    pub slow_lanes_max: usize,
    /// Duration of a job's lease. It is extended whenever a third has passed.
    pub lease: Duration,
    /// Wakes the claim loop.
    pub wakes: Wakes,
    /// Tells the worker when to stop claiming jobs.
    pub shutdown: Shutdown,
}

/// The running worker. It is cheap to clone, and all clones are one worker. When the last clone is dropped, it ends as
/// after [`drained`](Self::drained) without any time.
#[derive(Clone, Debug)]
pub struct Worker {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    drain_by: watch::Sender<Option<Instant>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Worker {
    /// Starts claiming jobs. Jobs that were running when an earlier process was killed are due at once, or given up if
    /// they are too old. There must therefore be no other worker on this store.
    ///
    /// # Errors
    /// If the queue cannot be read.
    pub async fn start(parts: WorkerParts, last_end: LastEnd) -> Result<Self, StoreError> {
        rescue(&parts, last_end).await?;
        let moved = parts.store.find_clock_set_back().await?;
        if moved > 0 {
            tracing::warn!(
                jobs = moved,
                "the clock was set back since the last run; jobs that waited for it are brought forward"
            );
        }
        let due = parts.store.due_by_tenant().await?;
        let (sender, drain_by) = watch::channel(None);
        let suspects = parts.store.suspects().await?;
        if !suspects.is_empty() {
            tracing::warn!(
                jobs = suspects.len(),
                "these jobs were running at two times or more when the host was cut off: they run one by one, and for the \
                 first minute nothing else does"
            );
        }
        let waits = parts.store.open_waits().await?;
        let claims = Claims::new(Arc::new(parts), &due, suspects, waits, drain_by);
        let task = Mutex::new(Some(tokio::spawn(claims.run())));
        Ok(Self { inner: Arc::new(Inner { drain_by: sender, task }) })
    }

    /// Stops claiming and waits up to `time_max` for the running jobs. Jobs still running then go back to the store,
    /// their attempt not counted. Returns at once if that was done before.
    pub async fn drained(&self, time_max: Duration) {
        self.inner.drain_by.send_replace(Some(Instant::now() + time_max));
        let task = self.inner.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(
                "the worker ended by a fault of the host, its jobs are taken up at the next start: {error}"
            );
        }
    }
}

/// How a job succeeded.
enum Outcome {
    Posted(Posted),
    /// The history has it: an earlier attempt was cut off between the history and the queue.
    InHistory,
    Recorded(Kept),
    Reopened,
    /// The webhook reported the ticket as solved, but the tool does not.
    NotSolved,
}

/// A note that the tool has accepted.
struct Posted {
    note: OwnedNote,
    /// An earlier attempt may have posted the note too, and the plugin cannot check.
    possibly_twice: bool,
}

/// Recovers the jobs that an earlier process was running when it ended. Each of these attempts has failed.
async fn rescue(parts: &WorkerParts, last_end: LastEnd) -> Result<(), StoreError> {
    let give_up_ms = millis(parts.limits.now().retry.give_up);
    let Rescued { put_back, given_up, end_the_host } =
        parts.store.rescue(give_up_ms, millis(parts.lease), last_end, GAVE_UP).await?;
    (0..given_up).for_each(|_| parts.metrics.dead_letter(GAVE_UP));
    (0..end_the_host).for_each(|_| parts.metrics.dead_letter(ENDS_THE_HOST));
    if end_the_host > 0 {
        tracing::error!(
            "a job has ended the host three times while nothing else ran: it is a dead letter ({ENDS_THE_HOST}); see \
             plugin-ctl job list --state dead, and look at its ticket before it is put back"
        );
    }
    if put_back + given_up > 0 {
        tracing::warn!(
            put_back,
            given_up,
            "the host ended while jobs ran: they are taken up again, or too old for that"
        );
    }
    Ok(())
}

/// Works on a claimed job until it ends. Returns when the job falls due again, milliseconds since the epoch, if it
/// does.
async fn work(parts: &WorkerParts, held: &Held) -> Option<i64> {
    let job = &held.job;
    // The span has the highest level, so that lines of every level have its fields.
    let span = tracing::error_span!(
        "job",
        correlation_id = %job.correlation_id,
        tenant = %job.tenant,
        tool_type = %job.tool_type,
        platform = %job.tool_type,
        event = job.metadata.event.as_str(),
        ticket = job.metadata.ticket_id,
        generation = tracing::field::Empty,
        job = %job.lease.id,
        attempt = job.attempt,
    );
    let worked = async {
        let ended = tokio::select! {
            biased;
            ended = attempt(parts, held) => ended,
            () = held.lost() => Err(Failure::LeaseLost),
        };
        settle::settle(parts, held, ended).await
    };
    worked.instrument(span).await
}

async fn attempt(parts: &WorkerParts, held: &Held) -> Result<Outcome, Failure> {
    fault::reached(Point::Claimed);
    let tenant = stages::tenant(parts, held)?;
    match held.job.kind {
        JobKind::Enhance if held.job.sent && parts.store.was_enhanced(held.job.lease.id).await? => {
            Ok(Outcome::InHistory)
        }
        JobKind::Enhance => {
            let staffed = Staffed::enter(parts, held, tenant)?;
            let fetched = staffed.fetch().await?;
            fault::reached(Point::Fetched);
            let written = fetched.write().await;
            fault::reached(Point::Written);
            Ok(Outcome::Posted(written.post().await?))
        }
        JobKind::Record => Ok(Outcome::Recorded(stages::record(parts, held).await?)),
        JobKind::Reopen => {
            stages::reopen(parts, held).await?;
            Ok(Outcome::Reopened)
        }
        JobKind::Confirm => {
            let fetched = Staffed::enter(parts, held, tenant)?.fetch().await?;
            fault::reached(Point::Fetched);
            fetched.record_if_solved().await
        }
    }
}
