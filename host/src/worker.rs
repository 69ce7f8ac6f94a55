//! The back half on one page: claim ▸ tenant ▸ route ▸ get_ticket ▸ enhance ▸ mark_sent ▸ update_ticket ▸ history ▸
//! complete | retry at | postpone | dead letter. The webhook was answered long before.

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

/// What the worker works with.
#[derive(Clone)]
pub struct WorkerParts {
    /// The queue and the history.
    pub store: Store,
    /// Whose jobs may run.
    pub directory: TenantDirectory,
    /// Where calls to plugins go.
    pub routes: Routes,
    /// Whose credentials the tools refuse.
    pub credentials: Credentials,
    /// What the tools answered lately.
    pub tools: Tools,
    /// Where attempts are counted.
    pub metrics: Metrics,
    /// The clock of the store: a job is due by the same time for both.
    pub clock: Clock,
    /// Permits and retries, as of now for each claim and each attempt.
    pub limits: SharedLimits,
    /// Calls of one plugin that can wait for tools at once.
    pub slow_lanes_max: usize,
    /// For how long a claimed job is ours unless the lease is extended, which is done every third of it.
    pub lease: Duration,
    /// Says that jobs are due.
    pub wakes: Wakes,
    /// When to stop taking jobs.
    pub shutdown: Shutdown,
}

/// The running worker. Cheap to clone; all clones are one worker. Without any it ends as [`drained`](Self::drained) with
/// no time would.
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
    /// Starts taking jobs. Those that were running when an earlier process was killed are due at once, or given up when they
    /// are too old; so there must be no other worker on this store.
    ///
    /// # Errors
    /// When the queue cannot be read.
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

    /// Takes no more jobs and waits for those that run, at most for `time_max`; what runs on is handed back to the store,
    /// the attempt not counted. At once when that was done before.
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

/// How a job was done.
enum Outcome {
    Posted(Posted),
    /// An earlier attempt was cut off between the history and the queue.
    InHistory,
    Recorded(Kept),
    Reopened,
    /// A webhook said that the ticket was solved, the tool does not.
    NotSolved,
}

/// A note that the tool has taken.
struct Posted {
    note: OwnedNote,
    /// An earlier attempt may have posted it as well, and the plugin cannot look.
    possibly_twice: bool,
}

/// Takes up what an earlier process was working on when it ended. Each of these attempts has failed.
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

/// A claimed job from here to its end. Returns when it falls due again, milliseconds since the epoch, if it does.
async fn work(parts: &WorkerParts, held: &Held) -> Option<i64> {
    let job = &held.job;
    // Of the highest level, so that lines of every level have the fields.
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
