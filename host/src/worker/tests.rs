//! The worker on a real store, without plugins: what waits, what is given up, and what is handed back.

use std::path::Path;

use plugin_abi::{
    PluginError,
    time::OffsetDateTime,
    types::{Event, TicketMetadata},
};
use tempfile::TempDir;

use super::{claims::Running, *};
use crate::{
    clock::Clock,
    config::Config,
    ids::{CorrelationId, JobId, TenantId, ToolType},
    plugin::{generation::CallError, routes::NoRoute},
    queue::job::{Accepted, ClaimWish, ClaimedJob, DedupKey, Fenced, JobState, JobView, NewJob},
    shutdown::ShutdownTrigger,
    store::{DeadLetters, JobFilter, SimilarTicket, TenantRoom},
    tenant::{NewTenant, directory::tests::open_in},
};

const LEASE: Duration = Duration::from_secs(90);
const LEASE_MS: i64 = 90_000;

struct Bed {
    parts: WorkerParts,
    _trigger: ShutdownTrigger,
    _folder: TempDir,
}

impl Bed {
    /// A worker with the tenant `acme`, whose plugin is missing.
    async fn new() -> Self {
        let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::system());
        let (store, directory) = open_in(folder.path(), &clock).await;
        let tenant = NewTenant::new(id("acme"), tool_type(), "https://desk.example");
        directory.add(tenant, Vec::new()).await.unwrap();
        let (trigger, shutdown) = Shutdown::new();
        let limits = SharedLimits::new(Config::load(None, std::iter::empty(), Path::new("/nowhere")).unwrap());
        let (routes, metrics) = (Routes::default(), Metrics::new());
        let credentials = Credentials::new(directory.clone());
        let parts = WorkerParts {
            store,
            directory,
            routes,
            credentials,
            tools: Tools::default(),
            metrics,
            clock,
            limits,
            slow_lanes_max: 32,
            lease: LEASE,
            wakes: Wakes::default(),
            shutdown,
        };
        Self { parts, _trigger: trigger, _folder: folder }
    }

    async fn accept(&self, tenant: &str, kind: JobKind, metadata: TicketMetadata) -> JobId {
        let incarnation = match self.parts.directory.get(tenant) {
            Some(tenant) => tenant.incarnation,
            // The store has the tenant and the directory does not: to the worker it was removed.
            None => {
                let tenant = NewTenant::new(id(tenant), tool_type(), "https://desk.example").check().unwrap();
                self.parts.store.insert_tenant(tenant, Vec::new()).await.unwrap()
            }
        };
        let key = DedupKey::new(&id(tenant), incarnation, &metadata, b"{}");
        let correlation_id = CorrelationId::parse("c-1").unwrap();
        let base_url = "https://desk.example".parse().unwrap();
        let (tenant, tool_type) = (id(tenant), tool_type());
        let job = NewJob { tenant, incarnation, tool_type, base_url, kind, correlation_id, metadata };
        match self.parts.store.accept(job, key, TenantRoom::UNBOUNDED).await.unwrap() {
            Accepted::New(id) => id,
            other => panic!("{other:?}"),
        }
    }

    async fn similar(&self, text: &str) -> Vec<SimilarTicket> {
        let acme = self.parts.directory.get("acme").unwrap();
        self.parts.store.similar_resolved((&acme.id, acme.incarnation), text, 5).await.unwrap()
    }

    async fn accept_ticket(&self, tenant: &str, ticket: &str) -> JobId {
        self.accept(tenant, JobKind::Enhance, TicketMetadata::new(ticket, Event::Created)).await
    }

    /// Claims the one due job of the tenant.
    async fn claim(&self, tenant: &str) -> ClaimedJob {
        let wish = ClaimWish { tenant: id(tenant), max: 10 };
        let claim = self.parts.store.claim(vec![wish], self.parts.clock.now_ms(), LEASE_MS).await.unwrap().remove(0);
        let [job] = claim.jobs.try_into().expect("one job is due");
        job
    }

    async fn hold(&self, tenant: &str, lease: Duration) -> Held {
        let claimed_at = Instant::now();
        Held::new(self.parts.store.clone(), self.claim(tenant).await, claimed_at, lease)
    }

    async fn job(&self, id: JobId) -> Option<JobView> {
        self.parts.store.job(id).await.unwrap()
    }

    /// Whether the metrics have this line.
    fn counted(&self, line: &str) -> bool {
        self.parts.metrics.encode().lines().any(|found| found == line)
    }

    /// Polls the job until it is dead; each look waits for the store.
    async fn dead(&self, id: JobId) -> JobView {
        let found = async {
            loop {
                match self.job(id).await {
                    Some(job) if job.state == JobState::Dead => return job,
                    _ => tokio::task::yield_now().await,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), found).await.expect("the job dies")
    }
}

fn id(text: &str) -> TenantId {
    TenantId::parse(text).unwrap()
}

fn tool_type() -> ToolType {
    ToolType::parse("jira").unwrap()
}

fn posted() -> Result<Outcome, Failure> {
    let form = |name: &str| format!("{name} patchbay:1");
    let note = OwnedNote { markdown: form("m"), html: form("h"), text: form("t"), marker: "patchbay:1".to_owned() };
    Ok(Outcome::Posted(Posted { note, possibly_twice: false }))
}

/// The tool no longer has the ticket that the note is for.
fn no_place() -> Failure {
    Failure::Post(CallError::Plugin(PluginError::NotFound("no ticket".to_owned())))
}

#[tokio::test]
async fn a_resolved_ticket_is_kept_without_any_plugin() {
    let bed = Bed::new().await;
    let resolved_at = OffsetDateTime::from_unix_timestamp(1_000).ok();
    let event = Event::Resolved { resolution: Some("unplug it".to_owned()), resolved_at, tags: Vec::new() };
    let mut metadata = TicketMetadata::new("17", event);
    metadata.subject = Some("printer on fire".to_owned());
    let job = bed.accept("acme", JobKind::Record, metadata).await;
    assert_eq!(work(&bed.parts, &bed.hold("acme", LEASE).await).await, None);
    assert_eq!(bed.job(job).await.map(|job| (job.state, job.kind)), Some((JobState::Done, JobKind::Record)));
    let similar = bed.similar("the printer smokes").await;
    assert_eq!(similar[0].resolution.as_deref(), Some("unplug it"));
    assert_eq!(similar[0].resolved_ms, 1_000_000);
    assert!(bed.counted("patchbay_job_attempts_total{outcome=\"done\"} 1"), "{}", bed.parts.metrics.encode());
}

#[tokio::test]
async fn a_reopened_ticket_leaves_the_answers_without_any_plugin() {
    let at = |second| OffsetDateTime::from_unix_timestamp(second).ok();
    for (reopened_at, offered) in [(None, 0), (at(2_000), 0), (at(500), 1)] {
        let bed = Bed::new().await;
        let event = Event::Resolved { resolution: Some("unplug it".to_owned()), resolved_at: at(1_000), tags: vec![] };
        bed.accept("acme", JobKind::Record, TicketMetadata::new("17", event)).await;
        assert_eq!(work(&bed.parts, &bed.hold("acme", LEASE).await).await, None);
        let mut metadata = TicketMetadata::new("17", Event::Reopened);
        metadata.occurred_at = reopened_at;
        let job = bed.accept("acme", JobKind::Reopen, metadata).await;
        assert_eq!(work(&bed.parts, &bed.hold("acme", LEASE).await).await, None);
        assert_eq!(bed.job(job).await, None);
        let similar = bed.similar("unplug").await;
        assert_eq!(similar.len(), offered, "{reopened_at:?}");
    }
}

#[tokio::test]
async fn a_dead_letter_says_what_could_not_be_read_and_where() {
    let bed = Bed::new().await;
    let job = bed.accept_ticket("acme", "17").await;
    let error =
        PluginError::Malformed("GET /api/v3/requests/17: the tool's answer 200 is not as it has to be".to_owned());
    settle::settle(&bed.parts, &bed.hold("acme", LEASE).await, Err(Failure::Fetch(CallError::Plugin(error)))).await;
    let view = bed.job(job).await.unwrap();
    assert_eq!((view.state, view.outcome.as_deref()), (JobState::Dead, Some("malformed")));
    let message = &view.errors[0].message;
    assert!(message.starts_with("getting the ticket failed: ") && message.contains("requests/17: "), "{message}");
}

#[tokio::test]
async fn without_plugin_or_tenant_a_claimed_job_waits_and_spends_no_attempt() {
    let bed = Bed::new().await;
    let job = bed.accept_ticket("acme", "17").await;
    let (directory, acme) = (&bed.parts.directory, id("acme"));
    for change in ["no plugin", "tenant disabled", "tenant paused", "all paused"] {
        match change {
            "tenant disabled" => drop(directory.disable(&acme).await.unwrap()),
            "tenant paused" => drop(directory.pause(&acme).await.unwrap()),
            "all paused" => directory.pause_all().await.unwrap(),
            _ => {}
        }
        let due_ms = work(&bed.parts, &bed.hold("acme", LEASE).await).await.expect("it is due again");
        let view = bed.job(job).await.unwrap();
        assert_eq!((view.state, view.attempt, view.due_ms), (JobState::Waiting, 0, Some(due_ms)), "{change}");
        assert!(view.errors.is_empty(), "{change}");
        bed.parts.clock.advance_ms(due_ms - bed.parts.clock.now_ms());
    }
}

#[tokio::test]
async fn each_end_of_an_attempt_is_on_disk() {
    let api = || CallError::Plugin(PluginError::Api { status: Some(500), message: "down".to_owned() });
    let not_found = || CallError::Plugin(PluginError::NotFound(String::new()));
    let malformed = || CallError::Plugin(PluginError::Malformed("GET /7: no JSON".to_owned()));
    for (ended, state, attempt, errors, outcome) in [
        (posted(), JobState::Done, 1, 0, Some("done")),
        (Err(Failure::Fetch(api())), JobState::Waiting, 1, 1, None),
        (Err(Failure::Fetch(CallError::Closed)), JobState::Waiting, 0, 0, None),
        (Err(Failure::CredentialRefused { until_ms: i64::MAX }), JobState::Waiting, 0, 0, None),
        (Err(NoRoute::Quarantined.into()), JobState::Waiting, 0, 0, None),
        (Err(Failure::Fetch(not_found())), JobState::Waiting, 1, 1, None),
        (Err(no_place()), JobState::Dead, 1, 1, Some("not_found")),
        (Err(Failure::NoTicket), JobState::Waiting, 1, 1, None),
        (Err(Failure::Fetch(malformed())), JobState::Dead, 1, 1, Some("malformed")),
        (Err(Failure::TenantRemoved), JobState::Dead, 1, 1, Some("tenant_removed")),
        (Err(Failure::LeaseLost), JobState::Running, 1, 0, None),
    ] {
        let bed = Bed::new().await;
        let job = bed.accept_ticket("acme", "17").await;
        let held = bed.hold("acme", LEASE).await;
        let told = format!("{:?}", ended.as_ref().err());
        settle::settle(&bed.parts, &held, ended).await;
        let view = bed.job(job).await.unwrap();
        let found = (view.state, view.attempt, view.errors.len(), view.outcome.as_deref());
        assert_eq!(found, (state, attempt, errors, outcome), "{told}");
    }
}

#[tokio::test]
async fn the_history_has_the_note_and_what_went_wrong_before_it() {
    let bed = Bed::new().await;
    let job = bed.accept_ticket("acme", "17").await;
    let due_ms = settle::settle(&bed.parts, &bed.hold("acme", LEASE).await, Err(Failure::NotTaken)).await.unwrap();
    bed.parts.clock.advance_ms(due_ms - bed.parts.clock.now_ms());
    settle::settle(&bed.parts, &bed.hold("acme", LEASE).await, posted()).await;
    let view = bed.job(job).await.unwrap();
    assert_eq!((view.state, view.attempt, view.note.as_deref()), (JobState::Done, 2, Some("t patchbay:1")));
    assert_eq!(view.errors.iter().map(|error| error.kind.as_str()).collect::<Vec<_>>(), ["not_taken"]);
}

#[tokio::test]
async fn a_dead_letter_that_was_thrown_away_is_not_done() {
    let bed = Bed::new().await;
    let job = bed.accept_ticket("acme", "17").await;
    settle::settle(&bed.parts, &bed.hold("acme", LEASE).await, Err(no_place())).await;
    let done = || JobFilter { state: Some(JobState::Done), limit: 10, ..JobFilter::default() };
    assert_eq!(bed.parts.store.jobs(done()).await.unwrap(), [], "it is a dead letter");
    assert_eq!(bed.parts.store.purge_dead(DeadLetters::ALL).await, Ok(1));
    let view = bed.job(job).await.unwrap();
    assert_eq!((view.state, view.outcome.as_deref(), view.errors.len()), (JobState::Purged, Some("dead"), 1));
    assert_eq!(bed.parts.store.jobs(done()).await.unwrap(), []);
}

#[tokio::test]
async fn nothing_is_changed_by_who_has_lost_the_lease() {
    for ended in [posted(), Err(Failure::NotTaken), Err(no_place()), Err(Failure::Fetch(CallError::Saturated))] {
        let bed = Bed::new().await;
        let job = bed.accept_ticket("acme", "17").await;
        let first = bed.hold("acme", LEASE).await;
        bed.parts.clock.advance_ms(LEASE_MS);
        bed.claim("acme").await;
        let buried = matches!(ended, Err(Failure::Post(_)));
        settle::settle(&bed.parts, &first, ended).await;
        let live = bed.job(job).await.unwrap();
        assert_eq!((live.state, live.attempt), (JobState::Running, 2));
        assert!(bed.counted("patchbay_job_attempts_total{outcome=\"lost\"} 1"));
        if buried {
            let given_up = JobFilter { state: Some(JobState::Purged), limit: 10, ..JobFilter::default() };
            assert_eq!(bed.parts.store.jobs(given_up).await.unwrap(), [], "the history says nothing of it");
        }
    }
}

#[tokio::test]
async fn a_lease_is_extended_when_a_third_is_over_until_somebody_else_has_it() {
    let bed = Bed::new().await;
    let job = bed.accept_ticket("acme", "17").await;
    let claimed = bed.claim("acme").await;
    let a_third_is_over = || {
        let claimed_at = Instant::now() - LEASE / 3;
        Held::new(bed.parts.store.clone(), claimed.clone(), claimed_at, LEASE)
    };
    bed.parts.clock.advance_ms(LEASE_MS / 3);
    let held = a_third_is_over();
    let extended = async {
        while bed.job(job).await.unwrap().due_ms == Some(claimed.lease_ends_ms) {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = held.lost() => panic!("the lease is ours"),
        () = extended => {}
    }
    bed.parts.clock.advance_ms(2 * LEASE_MS);
    bed.claim("acme").await;
    tokio::time::timeout(LEASE / 3, a_third_is_over().lost()).await.expect("the lease is lost");
}

#[tokio::test]
async fn jobs_of_a_removed_tenant_are_given_up_and_others_wait_unclaimed() {
    let bed = Bed::new().await;
    let before_start = bed.accept_ticket("gone-before", "17").await;
    let waits = bed.accept_ticket("acme", "17").await;
    let worker = Worker::start(bed.parts.clone(), LastEnd::Unexplained).await.unwrap();
    assert_eq!(bed.dead(before_start).await.outcome.as_deref(), Some("tenant_removed"));
    let woken = bed.accept_ticket("gone-later", "17").await;
    bed.parts.wakes.wake(&id("acme"));
    bed.parts.wakes.wake(&id("gone-later"));
    bed.dead(woken).await;
    let found_by_all = bed.accept_ticket("gone-last", "17").await;
    bed.parts.wakes.wake_all();
    bed.dead(found_by_all).await;
    let waiting = bed.job(waits).await.unwrap();
    assert_eq!((waiting.state, waiting.attempt), (JobState::Queued, 0));
    worker.drained(Duration::ZERO).await;
    worker.drained(Duration::ZERO).await;
    let unseen = bed.accept_ticket("gone-too-late", "17").await;
    bed.parts.wakes.wake_all();
    assert_eq!(bed.job(unseen).await.unwrap().state, JobState::Queued);
}

#[tokio::test]
async fn what_runs_on_when_the_drain_is_over_is_handed_back_with_its_mark() {
    let bed = Bed::new().await;
    let job = bed.accept_ticket("acme", "17").await;
    let lease = bed.claim("acme").await.lease;
    assert_eq!(bed.parts.store.mark_sent(lease).await.unwrap(), Fenced::Done);
    let (sender, drain_by) = watch::channel(Some(Instant::now()));
    let mut claims = Claims::new(Arc::new(bed.parts.clone()), &[], Vec::new(), Vec::new(), drain_by);
    claims.track(Running { tenant: id("acme"), lease, asks_since: None }, std::future::pending());
    claims.track(Running { tenant: id("acme"), lease, asks_since: None }, async { None });
    claims.run().await;
    drop(sender);
    let view = bed.job(job).await.unwrap();
    assert_eq!((view.state, view.attempt, view.sent), (JobState::Queued, 0, true));
}

#[tokio::test]
async fn a_drain_waits_for_jobs_that_end_in_time() {
    let bed = Bed::new().await;
    let (ended, end) = tokio::sync::oneshot::channel();
    let (asked, drain_by) = watch::channel(None);
    let mut claims = Claims::new(Arc::new(bed.parts.clone()), &[], Vec::new(), Vec::new(), drain_by);
    bed.accept_ticket("acme", "17").await;
    let lease = bed.claim("acme").await.lease;
    let (begun, begin) = tokio::sync::oneshot::channel();
    claims.track(Running { tenant: id("acme"), lease, asks_since: None }, async move {
        begin.await.unwrap();
        assert_eq!(ended.send("ended"), Ok(()));
        None
    });
    let claims = tokio::spawn(claims.run());
    asked.send_replace(Some(Instant::now() + LEASE));
    begun.send(()).unwrap();
    claims.await.unwrap();
    assert_eq!(end.await, Ok("ended"));
}

#[tokio::test]
async fn what_a_killed_process_left_running_is_due_at_the_start() {
    let bed = Bed::new().await;
    let job = bed.accept_ticket("acme", "17").await;
    bed.claim("acme").await;
    assert_eq!(bed.job(job).await.unwrap().state, JobState::Running);
    let worker = Worker::start(bed.parts.clone(), LastEnd::Unexplained).await.unwrap();
    let left = bed.job(job).await.unwrap();
    assert_eq!((left.state, left.attempt), (JobState::Queued, 1), "the attempt that was cut off counts");
    worker.drained(Duration::ZERO).await;
}
