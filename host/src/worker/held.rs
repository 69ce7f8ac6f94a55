//! A claimed job with its lease, which is extended while the job runs and limits how long a write is retried.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::decision::millis;
use crate::{
    queue::job::{ClaimedJob, Fenced},
    store::{Store, StoreError},
};

/// The first wait before a failed write is repeated.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest wait before a failed write is repeated.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A job that is ours while the lease lasts. The lease is measured by the monotonic clock, which nobody sets.
pub(super) struct Held {
    pub(super) job: ClaimedJob,
    /// A moment before the claim was written.
    pub(super) claimed_at: Instant,
    store: Store,
    lease_time: Duration,
    good_until: Mutex<Instant>,
}

impl Held {
    /// `claimed_at` is a moment before the claim was written, so that the lease ends here before it ends in the store.
    pub(super) fn new(store: Store, job: ClaimedJob, claimed_at: Instant, lease_time: Duration) -> Self {
        Self { job, claimed_at, store, lease_time, good_until: Mutex::new(claimed_at + lease_time) }
    }

    /// Extends the lease whenever a third has passed. Completes when the lease is lost: taken away, or not extended in
    /// time.
    pub(super) async fn lost(&self) {
        let lease_ms = millis(self.lease_time);
        loop {
            let good_until = self.good_until();
            sleep_until(good_until - self.lease_time * 2 / 3).await;
            let asked_at = Instant::now();
            match timeout_at(good_until, self.store.extend(self.job.lease, lease_ms)).await {
                Ok(Ok(Fenced::Done)) => {
                    *self.good_until.lock().unwrap_or_else(PoisonError::into_inner) = asked_at + self.lease_time;
                }
                Ok(Ok(Fenced::Lost)) | Err(_) => return,
                Ok(Err(error)) => {
                    tracing::warn!("the lease could not be extended: {error}");
                    let again_at = Instant::now() + PAUSE_MAX.min(self.lease_time / 10);
                    if again_at >= good_until {
                        return;
                    }
                    sleep_until(again_at).await;
                }
            }
        }
    }

    /// Writes, and repeats with growing pauses while the store cannot be written and the lease lasts.
    ///
    /// # Errors
    /// The error of the last try. The job falls due again when its lease ends.
    pub(super) async fn persist<T, F>(&self, mut write: impl FnMut() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut pause = PAUSE_MIN;
        loop {
            match write().await {
                Err(error @ (StoreError::Saturated { .. } | StoreError::Unavailable { .. }))
                    if Instant::now() + pause < self.good_until() =>
                {
                    tracing::warn!(pause_ms = millis(pause), "what became of the job is not kept yet: {error}");
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                outcome => return outcome,
            }
        }
    }

    fn good_until(&self) -> Instant {
        *self.good_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
