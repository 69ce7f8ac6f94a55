//! The claim loop: claims due jobs for free permits, runs each on its own task, and at the end hands back those still
//! running.

use std::{collections::HashMap, pin::pin, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    task::{Id, JoinError, JoinSet},
    time::{Instant, sleep, sleep_until},
};

use super::{
    WorkerParts,
    decision::{TENANT_REMOVED, millis},
    held::Held,
    scheduler::{Permits, Scheduler, Turn},
    suspects::{Next, Suspects},
    waits::Waits,
    work,
};
use crate::{
    ids::TenantId,
    plugin::routes::Route,
    queue::{
        job::{ClaimWish, ClaimedJob, Fenced, JobKind, Lease, Suspect},
        wait::{TenantWait, WaitReason},
        wakes::Woken,
    },
    store::{StoreError, TenantDue},
    telemetry::seldom::SeldomBy,
    tenant::Tenant,
};

/// Maximum time between two checks of the clock, which detect that it was set. A check does not ask the store.
const CLOCK_LOOK: Duration = Duration::from_secs(1);
/// A smaller difference between the clocks is not a set clock: it is being slewed, or the process was held up between
/// two readings.
const CLOCK_STEP_MIN_MS: i64 = 2_000;
/// How long a job that asks its tenant's tool may run before the tool counts as slow.
const SLOW_FROM: Duration = Duration::from_secs(5);
/// Pause after reading the store or claiming from it failed.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// Minimum time between two log lines about the same failure of the store, which is retried every second.
const TOLD_EVERY: Duration = Duration::from_secs(60);
/// Maximum number of different failures of the store that are tracked.
const STORE_FAILURES: usize = 8;

/// The deadline of the drain; `None` before it was requested.
pub(super) type DrainBy = watch::Receiver<Option<Instant>>;

/// The state of the loop. One task owns it, so nothing in it needs a lock.
pub(super) struct Claims {
    parts: Arc<WorkerParts>,
    drain_by: DrainBy,
    scheduler: Scheduler,
    /// Tasks of running jobs. Each returns when its job falls due again, if it knows.
    jobs: JoinSet<Option<i64>>,
    running: HashMap<Id, Running>,
    suspects: Suspects,
    /// Tenants whose jobs cannot run.
    waits: Waits,
    /// Whether to ask the store again which tenants have jobs.
    stale: bool,
    /// When slow tools were last looked for.
    slow_looked: Instant,
    store_failures: SeldomBy<&'static str>,
    /// Both clocks when they were last compared. None of the worker's leases has expired by this wall clock.
    looked: (Instant, i64),
    /// How often the store had been reopened at the last look.
    times_reopened: u64,
}

/// A job running on its task.
pub(super) struct Running {
    pub(super) tenant: TenantId,
    pub(super) lease: Lease,
    /// When the job began, if it asks the tenant's tool.
    pub(super) asks_since: Option<Instant>,
}

impl Claims {
    /// Starts with the tenants that have jobs, the suspects, and the waits that were open.
    pub(super) fn new(
        parts: Arc<WorkerParts>,
        due: &[TenantDue],
        suspects: Vec<Suspect>,
        waits: Vec<TenantWait>,
        drain_by: DrainBy,
    ) -> Self {
        let mut scheduler = Scheduler::default();
        due.iter().for_each(|due| scheduler.due(&due.tenant, due.next_due_ms));
        let looked = (Instant::now(), parts.clock.now_ms());
        let times_reopened = parts.store.times_reopened();
        let (jobs, running, suspects) = (JoinSet::new(), HashMap::new(), Suspects::new(suspects, looked.0));
        let waits = Waits::new(waits);
        waits.tenants().for_each(|tenant| scheduler.due(tenant, looked.1));
        Self {
            parts,
            drain_by,
            scheduler,
            jobs,
            running,
            suspects,
            waits,
            stale: false,
            slow_looked: looked.0,
            store_failures: SeldomBy::new(TOLD_EVERY, STORE_FAILURES),
            looked,
            times_reopened,
        }
    }

    /// Runs until the host drains, and then until all jobs have ended or the drain's time is over.
    pub(super) async fn run(mut self) {
        self.take_jobs().await;
        self.drain().await;
    }

    async fn take_jobs(&mut self) {
        loop {
            // Not raced against anything: a claim that is dropped half-way would leave leases that nobody knows of.
            let look_after = self.claim_due().await;
            tokio::select! {
                biased;
                () = stopping(&self.parts, self.drain_by.clone()) => return,
                Some(ended) = self.jobs.join_next_with_id() => {
                    self.ended(ended);
                    while let Some(ended) = self.jobs.try_join_next_with_id() {
                        self.ended(ended);
                    }
                }
                woken = self.parts.wakes.next() => self.woken(woken),
                () = sleep(look_after) => {}
            }
        }
    }

    fn woken(&mut self, woken: Woken) {
        self.stale |= woken.all;
        let now_ms = self.parts.clock.now_ms();
        for tenant in woken.tenants {
            self.scheduler.due(&tenant, now_ms);
        }
    }

    /// Claims until permits or due jobs run out. Returns when to look again if nothing happens before.
    async fn claim_due(&mut self) -> Duration {
        if let Err(error) = self.look_at_clock().await {
            self.cannot("the clock was set, and the leases cannot be reckoned anew yet", &error);
            return STORE_PAUSE;
        }
        let times_reopened = self.parts.store.times_reopened();
        // A job whose commit failed may be in the file anyway, and nobody was told about it.
        self.stale |= std::mem::replace(&mut self.times_reopened, times_reopened) != times_reopened;
        if self.stale {
            match self.parts.store.due_by_tenant().await {
                Ok(tenants) => {
                    self.scheduler.forget_blocked();
                    let directory = &self.parts.directory;
                    self.scheduler.forget_paces(|tenant| directory.get(tenant.as_str()).is_some());
                    tenants.iter().for_each(|due| self.scheduler.due(&due.tenant, due.next_due_ms));
                    self.waits.tenants().for_each(|tenant| self.scheduler.due(tenant, self.looked.1));
                    self.stale = false;
                }
                Err(error) => {
                    self.cannot("cannot read which tenants have jobs", &error);
                    return STORE_PAUSE;
                }
            }
        }
        for tenant in self.parts.credentials.forget_changed() {
            self.scheduler.due(&tenant, self.looked.1);
        }
        if self.suspects.stale {
            match self.parts.store.suspects().await {
                Ok(suspects) => self.suspects.found(suspects),
                Err(error) => {
                    tracing::error!("cannot read which jobs may have ended the host: {error}");
                    return STORE_PAUSE;
                }
            }
        }
        self.find_slow();
        while !self.parts.shutdown.is_requested() && self.drain_by.borrow().is_none() {
            let (parts, now) = (&self.parts, (Instant::now(), self.looked.1));
            match self.suspects.next(now, self.jobs.len(), |suspect| may_run(parts, &suspect.tenant)) {
                Next::Run(suspect) => {
                    self.run_suspect(suspect).await;
                    continue;
                }
                Next::Hold => return CLOCK_LOOK,
                Next::Others => {}
            }
            let (wishes, removed) = self.wishes();
            for tenant in removed {
                self.waits.forget(&tenant);
                self.bury_all(&tenant).await;
            }
            self.keep_waits().await;
            if wishes.is_empty() {
                break;
            }
            self.claim(wishes).await;
        }
        let now_ms = self.parts.clock.now_ms();
        let wait_ms = self.scheduler.next_due_ms().map_or(i64::MAX, |due_ms| due_ms.saturating_sub(now_ms));
        CLOCK_LOOK.min(Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0)))
    }

    /// Compares the wall clock with the monotonic one. If it was set forward, the worker's own leases have not expired;
    /// if it was set back, no job waits longer for it.
    async fn look_at_clock(&mut self) -> Result<(), StoreError> {
        let (at, now_ms) = (Instant::now(), self.parts.clock.now_ms());
        let (looked_at, looked_ms) = self.looked;
        let step_ms = now_ms.saturating_sub(looked_ms).saturating_sub(millis(at - looked_at));
        if step_ms.abs() >= CLOCK_STEP_MIN_MS {
            let own = self.running.values().map(|running| running.lease).collect();
            let moved = self.parts.store.clock_was_set(step_ms, own, millis(self.parts.lease)).await?;
            tracing::warn!(
                step_ms,
                running = self.running.len(),
                moved,
                "the clock was set; what runs keeps its lease"
            );
            self.stale = true;
        }
        self.looked = (at, now_ms);
        Ok(())
    }

    /// What to claim for the free permits, and which tenants with jobs are gone.
    fn wishes(&mut self) -> (Vec<ClaimWish>, Vec<TenantId>) {
        let (parts, limits) = (&self.parts, self.parts.limits.now());
        let at_once = limits.concurrency.min(parts.slow_lanes_max);
        let permits = Permits {
            concurrency: limits.concurrency,
            per_tenant: limits.per_tenant,
            slow: (at_once / 2).max(1),
            careful: (at_once * 3 / 4).max(1),
        };
        let mut removed = Vec::new();
        let now_ms = self.looked.1;
        let waits = &mut self.waits;
        let wishes = self.scheduler.wishes(now_ms, permits, |id| {
            let Some(tenant) = parts.directory.get(id.as_str()) else {
                removed.push(id.clone());
                return Turn::Blocked;
            };
            let (turn, reason) = turn(parts, &tenant, now_ms);
            waits.note(&tenant, reason, now_ms);
            turn
        });
        (wishes, removed)
    }

    /// Stores changes of waits. Changes that cannot be stored now are stored with the next look.
    async fn keep_waits(&mut self) {
        let changes = self.waits.changes();
        if !changes.is_empty()
            && let Err(error) = self.parts.store.keep_waits(&changes).await
        {
            self.cannot("since when the jobs of some tenants cannot run is not kept yet", &error);
            self.waits.take_back(changes);
        }
    }

    async fn claim(&mut self, wishes: Vec<ClaimWish>) {
        let tenants: Vec<TenantId> = wishes.iter().map(|wish| wish.tenant.clone()).collect();
        let claimed_at = Instant::now();
        match self.parts.store.claim(wishes, self.looked.1, millis(self.parts.lease)).await {
            Ok(claims) => {
                for claim in claims {
                    self.scheduler.granted(&claim.tenant, claim.jobs.len(), claim.next_due_ms);
                    claim.jobs.into_iter().for_each(|job| self.start(job, claimed_at));
                }
            }
            Err(error) => {
                self.cannot("cannot claim jobs", &error);
                let again_ms = self.after_pause_ms();
                tenants.iter().for_each(|tenant| self.scheduler.granted(tenant, 0, Some(again_ms)));
            }
        }
    }

    /// Gives up jobs that were accepted while the tenant was being removed.
    async fn bury_all(&mut self, tenant: &TenantId) {
        if self.parts.directory.get(tenant.as_str()).is_some() {
            // Another tenant has the id by now, and these jobs are its own.
            return self.scheduler.due(tenant, self.looked.1);
        }
        match self.parts.store.dead_letter_tenant(tenant).await {
            Ok(jobs) => {
                (0..jobs).for_each(|_| self.parts.metrics.dead_letter(TENANT_REMOVED));
                tracing::warn!(%tenant, jobs, reason = TENANT_REMOVED, "jobs of a removed tenant are dead letters");
            }
            Err(error) => {
                tracing::error!(%tenant, "the jobs of a removed tenant cannot be given up yet: {error}");
                self.scheduler.due(tenant, self.after_pause_ms());
            }
        }
    }

    /// Runs a job that [`claim`](Self::claim) leaves out.
    async fn run_suspect(&mut self, suspect: Suspect) {
        let (id, tenant, claimed_at) = (suspect.id, suspect.tenant.clone(), Instant::now());
        match self.parts.store.claim_suspect(suspect, millis(self.parts.lease)).await {
            Ok(Some(job)) => {
                tracing::warn!(%tenant, job = %id, "the host was cut off while this job ran, more than once: it runs by itself");
                self.scheduler.granted(&tenant, 1, None);
                self.start(job, claimed_at);
            }
            Ok(None) => self.suspects.ended(id),
            Err(error) => {
                tracing::error!(%tenant, job = %id, "cannot claim a job: {error}");
                self.suspects.ended(id);
            }
        }
    }

    /// Marks tenants as slow whose jobs have been running for long.
    fn find_slow(&mut self) {
        let now = Instant::now();
        if now < self.slow_looked + CLOCK_LOOK {
            return;
        }
        self.slow_looked = now;
        for running in self.running.values() {
            if running.asks_since.is_some_and(|since| now - since >= SLOW_FROM) {
                self.scheduler.is_slow(&running.tenant);
            }
        }
    }

    fn start(&mut self, job: ClaimedJob, claimed_at: Instant) {
        let (tenant, lease, parts) = (job.tenant.clone(), job.lease, Arc::clone(&self.parts));
        let asks_since = matches!(job.kind, JobKind::Enhance | JobKind::Confirm).then_some(claimed_at);
        let held = Held::new(parts.store.clone(), job, claimed_at, parts.lease);
        self.track(Running { tenant, lease, asks_since }, async move { work(&parts, &held).await });
    }

    /// Runs a job on a task, and remembers its tenant.
    pub(super) fn track(&mut self, running: Running, job: impl Future<Output = Option<i64>> + Send + 'static) {
        let task = self.jobs.spawn(job);
        self.running.insert(task.id(), running);
    }

    /// Handles the end of a task. Returns the lease of an aborted one.
    fn ended(&mut self, ended: Result<(Id, Option<i64>), JoinError>) -> Option<Lease> {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let Running { tenant, lease, asks_since } = self.running.remove(&id)?;
        match asks_since {
            Some(since) if since.elapsed() >= SLOW_FROM => self.scheduler.is_slow(&tenant),
            // A job that falls due again may not have reached the tool.
            Some(_) if matches!(ended, Ok((_, None))) => self.scheduler.was_fast(&tenant),
            _ => {}
        }
        self.scheduler.ended(&tenant);
        self.suspects.ended(lease.id);
        if self.waits.is_open(&tenant)
            && let Some(known) = self.parts.directory.get(tenant.as_str())
        {
            // This may have been the last job that waited.
            let now_ms = self.parts.clock.now_ms();
            self.waits.note(&known, turn(&self.parts, &known, now_ms).1, now_ms);
        }
        match ended {
            Ok((_, Some(due_ms))) => self.scheduler.due(&tenant, due_ms),
            Ok((_, None)) => {}
            Err(error) if error.is_cancelled() => return Some(lease),
            Err(error) => {
                tracing::error!(%tenant, job = %lease.id, "a fault of the host; the job is left until its lease ends: {error}");
            }
        }
        None
    }

    async fn drain(mut self) {
        let mut drain_by = self.drain_by.clone();
        let mut over = pin!(async move {
            // An error means that nobody can ask any more, so nobody waits for the jobs.
            let by = drain_by.wait_for(Option::is_some).await.ok().and_then(|by| *by);
            sleep_until(by.unwrap_or_else(Instant::now)).await;
        });
        loop {
            tokio::select! {
                biased;
                ended = self.jobs.join_next_with_id() => match ended {
                    Some(ended) => drop(self.ended(ended)),
                    None => return,
                },
                () = &mut over => break,
            }
        }
        self.hand_back().await;
    }

    /// Aborts the remaining jobs. Their calls to plugins continue on their own, so the next attempt looks for the note
    /// first.
    async fn hand_back(mut self) {
        let mut writes = JoinSet::new();
        self.jobs.abort_all();
        while let Some(ended) = self.jobs.join_next_with_id().await {
            if let Some(lease) = self.ended(ended) {
                let (store, now_ms) = (self.parts.store.clone(), self.parts.clock.now_ms());
                writes.spawn(async move { (lease, store.postpone(lease, now_ms).await) });
            }
        }
        while let Some(written) = writes.join_next().await {
            match written {
                Ok((lease, Ok(Fenced::Done))) => tracing::info!(job = %lease.id, "handed back: the host is ending"),
                Ok((lease, Ok(Fenced::Lost))) => tracing::info!(job = %lease.id, "ended as the host did"),
                Ok((lease, Err(error))) => {
                    tracing::error!(job = %lease.id, "could not be handed back, the next start takes it up: {error}");
                }
                Err(error) => tracing::error!("a job was not handed back, the next start takes it up: {error}"),
            }
        }
    }

    /// Logs what the store cannot do at present. All of it is retried.
    fn cannot(&self, what: &'static str, error: &StoreError) {
        if let Some(left_out) = self.store_failures.due(what) {
            tracing::error!(left_out, "{what}: {error}; it is tried again every second");
        }
    }

    fn after_pause_ms(&self) -> i64 {
        self.parts.clock.now_ms().saturating_add(millis(STORE_PAUSE))
    }
}

/// Whether jobs of this tenant can run now.
fn may_run(parts: &WorkerParts, tenant: &TenantId) -> bool {
    parts.directory.get(tenant.as_str()).is_some_and(|tenant| unserved(parts, &tenant).is_none())
}

/// What the tenant may do now, and what keeps its jobs from running.
fn turn(parts: &WorkerParts, tenant: &Arc<Tenant>, now_ms: i64) -> (Turn, Option<WaitReason>) {
    if let Some(reason) = unserved(parts, tenant) {
        return (Turn::Blocked, Some(reason));
    }
    let turn = parts.credentials.turn(tenant, now_ms);
    (turn, (turn != Turn::Free).then_some(WaitReason::CredentialRefused))
}

fn unserved(parts: &WorkerParts, tenant: &Tenant) -> Option<WaitReason> {
    if !tenant.enabled {
        return Some(WaitReason::TenantDisabled);
    }
    if parts.directory.is_paused(tenant) {
        return Some(WaitReason::Paused);
    }
    match parts.routes.get(&tenant.tool_type) {
        Some(Route::Active(_)) => None,
        Some(Route::Disabled) => Some(WaitReason::PluginDisabled),
        Some(Route::Quarantined) => Some(WaitReason::PluginQuarantined),
        None => Some(WaitReason::NoPlugin),
    }
}

/// Completes when no more jobs are to be claimed.
async fn stopping(parts: &WorkerParts, mut drain_by: DrainBy) {
    tokio::select! {
        () = parts.shutdown.requested() => {}
        // An error means that the worker's handle is gone, which ends it too.
        _asked = drain_by.wait_for(Option::is_some) => {}
    }
}
