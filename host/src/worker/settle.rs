//! The end of an attempt: history first, then the queue, then one line in the log.

use super::{
    Outcome, Posted, WorkerParts,
    decision::{Attempt, Failure, Next, decide, millis},
    held::Held,
};
use crate::{
    clock::rfc3339,
    fault::{self, Point},
    queue::job::{Fenced, JOB_ERRORS_MAX, JobError, JobKind},
    store::{DEAD, DONE, EnhancementRecord, POSSIBLY_TWICE, StoreError},
    telemetry::metrics::AttemptOutcome,
};

/// Stores the result of the attempt. Returns when the job falls due again, milliseconds since the epoch, if that was
/// decided here.
pub(super) async fn settle(parts: &WorkerParts, held: &Held, ended: Result<Outcome, Failure>) -> Option<i64> {
    let duration_ms = millis(held.claimed_at.elapsed());
    let failure = match ended {
        Ok(outcome) => {
            let kept = finish(parts, held, &outcome).await;
            report(parts, kept, AttemptOutcome::Done, || match outcome {
                Outcome::Posted(Posted { possibly_twice: true, .. }) => {
                    tracing::warn!(
                        operation = "update",
                        outcome = POSSIBLY_TWICE,
                        duration_ms,
                        "the note is on the ticket, possibly twice: the plugin cannot look for an earlier one"
                    );
                }
                Outcome::Posted(_) => {
                    tracing::info!(operation = "update", outcome = DONE, duration_ms, "the note is on the ticket");
                }
                Outcome::InHistory => tracing::info!(
                    operation = "history",
                    outcome = DONE,
                    duration_ms,
                    "the history has the note of an earlier attempt"
                ),
                Outcome::Recorded(kept) => tracing::info!(
                    operation = "record",
                    outcome = DONE,
                    action = kept.as_str(),
                    duration_ms,
                    "the solved ticket is in the history"
                ),
                Outcome::Reopened => tracing::info!(
                    operation = "reopen",
                    outcome = DONE,
                    duration_ms,
                    "the ticket is open again: it is no longer offered as solved"
                ),
                Outcome::NotSolved => {
                    tracing::info!(
                        operation = "get",
                        outcome = "not_solved",
                        duration_ms,
                        "the tool does not say that the ticket is solved: nothing is kept"
                    );
                }
            });
            return None;
        }
        Err(failure) => failure,
    };
    let (job, store, failed_ms) = (&held.job, &parts.store, parts.clock.now_ms());
    let attempt = Attempt { number: job.attempt, queued_ms: job.queued_ms(), failed_ms };
    let error = JobError::new(job.attempt, failed_ms, failure.kind(), &failure);
    let (reason, operation) = (failure.kind(), failure.operation());
    match decide(&failure, attempt, &parts.limits.now().retry, random()) {
        Next::RetryAt(at_ms) => {
            let unsent = failure.is_refusal() && !job.sent;
            let put_back = async || {
                if unsent {
                    store.retry_unsent(job.lease, at_ms, error.clone()).await
                } else {
                    store.retry(job.lease, at_ms, error.clone()).await
                }
            };
            let kept = held.persist(put_back).await;
            report(parts, kept, AttemptOutcome::Retry, || {
                tracing::info!(
                    operation,
                    outcome = "retry",
                    reason,
                    duration_ms,
                    next = rfc3339(at_ms),
                    "the job will be tried again: {failure}"
                );
            });
            Some(at_ms)
        }
        Next::PostponeUntil(at_ms) => {
            let kept = held.persist(|| store.postpone(job.lease, at_ms)).await;
            report(parts, kept, AttemptOutcome::Postponed, || {
                tracing::info!(
                    operation,
                    outcome = "postponed",
                    reason,
                    duration_ms,
                    next = rfc3339(at_ms),
                    "the job waits and the attempt does not count: {failure}"
                );
            });
            Some(at_ms)
        }
        Next::Bury(why) => {
            let kept = bury(parts, held, why, error).await;
            report(parts, kept, AttemptOutcome::Dead, || {
                parts.metrics.dead_letter(why);
                tracing::warn!(
                    operation,
                    outcome = DEAD,
                    reason = why,
                    duration_ms,
                    "the job is a dead letter: {failure}"
                );
            });
            None
        }
        Next::Leave => {
            parts.metrics.attempt(AttemptOutcome::Lost);
            tracing::warn!(
                operation,
                outcome = "lost",
                reason,
                duration_ms,
                "the job is left until its lease ends: {failure}"
            );
            None
        }
    }
}

async fn finish(parts: &WorkerParts, held: &Held, outcome: &Outcome) -> Result<Fenced, StoreError> {
    if let Outcome::Posted(Posted { note, possibly_twice }) = outcome {
        let how = if *possibly_twice { POSSIBLY_TWICE } else { DONE };
        let record = history(parts, held, how, Some(&note.text), held.job.errors.clone());
        held.persist(|| parts.store.record_enhancement(record.clone())).await?;
        fault::reached(Point::HistoryWritten);
    }
    let kept = held.persist(|| parts.store.complete(held.job.lease)).await;
    fault::reached(Point::Completed);
    kept
}

async fn bury(parts: &WorkerParts, held: &Held, why: &str, error: JobError) -> Result<Fenced, StoreError> {
    if held.job.kind == JobKind::Enhance {
        // The history knows no fence, so a worker that lost the job must not overwrite how it really ended.
        let lease_ms = millis(parts.lease);
        if held.persist(|| parts.store.extend(held.job.lease, lease_ms)).await? == Fenced::Lost {
            return Ok(Fenced::Lost);
        }
        let mut errors = held.job.errors.clone();
        errors.push(error.clone());
        errors.drain(..errors.len().saturating_sub(JOB_ERRORS_MAX));
        let record = history(parts, held, DEAD, None, errors);
        held.persist(|| parts.store.record_enhancement(record.clone())).await?;
    }
    held.persist(|| parts.store.dead(held.job.lease, why, error.clone())).await
}

fn history(
    parts: &WorkerParts,
    held: &Held,
    outcome: &str,
    note: Option<&str>,
    errors: Vec<JobError>,
) -> EnhancementRecord {
    let job = &held.job;
    EnhancementRecord {
        job_id: job.lease.id,
        tenant: job.tenant.clone(),
        incarnation: job.incarnation,
        tool_type: job.tool_type.clone(),
        ticket_id: job.metadata.ticket_id.clone(),
        correlation_id: job.correlation_id.clone(),
        outcome: outcome.to_owned(),
        note: note.map(str::to_owned),
        attempts: job.attempt,
        errors,
        accepted_ms: job.accepted_ms,
        retried_ms: job.retried_ms,
        finished_ms: parts.clock.now_ms(),
    }
}

/// Counts the attempt, and logs its outcome once that is on disk.
fn report(parts: &WorkerParts, kept: Result<Fenced, StoreError>, outcome: AttemptOutcome, tell: impl FnOnce()) {
    match kept {
        Ok(Fenced::Done) => {
            parts.metrics.attempt(outcome);
            tell();
        }
        Ok(Fenced::Lost) => {
            parts.metrics.attempt(AttemptOutcome::Lost);
            tracing::warn!(ended = outcome.as_str(), "the attempt ended after its lease was lost, nothing was changed");
        }
        Err(error) => {
            parts.metrics.attempt(AttemptOutcome::Lost);
            tracing::error!(
                ended = outcome.as_str(),
                "what became of the job could not be kept, it is taken up again when its lease ends: {error}"
            );
        }
    }
}

/// A random number, uniform in `0.0..1.0`. If the system has none, it is the middle, which only costs the jitter.
pub(super) fn random() -> f64 {
    getrandom::u32().map_or(0.5, |bits| f64::from(bits) / (f64::from(u32::MAX) + 1.0))
}
