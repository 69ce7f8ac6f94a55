//! The queue on real files. The clock is moved, never waited for.

use plugin_abi::types::{Event, TicketMetadata};
use tempfile::TempDir;

use super::*;
use crate::{
    ids::{CorrelationId, Incarnation, JobId, TenantId, ToolType},
    plugin::journal::Happened,
    queue::job::{
        Accepted, ClaimWish, ClaimedJob, DedupKey, Fenced, JOB_ERRORS_MAX, JobError, JobKind, JobState, Lease, NewJob,
    },
    tenant::{NewTenant, Tenant},
};

mod aside;
mod changes;
mod faults;
mod found;
mod incarnations;

const HOUR_MS: i64 = 3_600_000;
const LEASE_MS: i64 = 90_000;
const DEDUP_HOURS: u32 = 72;

struct Bed {
    store: Store,
    clock: Clock,
    folder: TempDir,
}

impl Bed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::system();
        Self { store: open(&folder, &clock), clock, folder }
    }

    async fn reopened(self) -> Self {
        self.store.close().await.unwrap();
        Self { store: open(&self.folder, &self.clock), ..self }
    }

    async fn accept(&self, tenant: &str, ticket: &str) -> JobId {
        match self.deliver(tenant, ticket).await {
            Accepted::New(id) => id,
            other => panic!("{tenant} {ticket}: {other:?}"),
        }
    }

    async fn deliver(&self, tenant: &str, ticket: &str) -> Accepted {
        let (job, key) = self.job(tenant, ticket).await;
        self.store.accept(job, key, TenantRoom::UNBOUNDED).await.unwrap()
    }

    /// A job of a tenant that exists.
    async fn job(&self, tenant: &str, ticket: &str) -> (NewJob, DedupKey) {
        let incarnation = there(&self.store, tenant).await;
        let metadata = TicketMetadata::new(ticket, Event::Created);
        let key = DedupKey::new(&id(tenant), incarnation, &metadata, b"");
        let job = NewJob {
            tenant: id(tenant),
            incarnation,
            tool_type: ToolType::parse("jira").unwrap(),
            base_url: "https://desk.example".parse().unwrap(),
            kind: JobKind::Enhance,
            correlation_id: CorrelationId::parse("c-1").unwrap(),
            metadata,
        };
        (job, key)
    }

    async fn claim(&self, tenant: &str, max: u32) -> Vec<ClaimedJob> {
        self.claims(&[(tenant, max)]).await.remove(0).jobs
    }

    async fn claims(&self, wishes: &[(&str, u32)]) -> Vec<crate::queue::job::TenantClaim> {
        let wishes = wishes.iter().map(|(tenant, max)| ClaimWish { tenant: id(tenant), max: *max }).collect();
        self.store.claim(wishes, self.clock.now_ms(), LEASE_MS).await.unwrap()
    }

    /// The lease of the one job that is due.
    async fn lease(&self, tenant: &str) -> Lease {
        let [job] = self.claim(tenant, 10).await.try_into().expect("one job is due");
        job.lease
    }

    async fn state(&self, id: JobId) -> Option<JobState> {
        self.store.job(id).await.unwrap().map(|job| job.state)
    }

    fn in_ms(&self, ms: i64) -> i64 {
        self.clock.now_ms() + ms
    }
}

fn open(folder: &TempDir, clock: &Clock) -> Store {
    let config =
        StoreConfig { path: folder.path().join("patchbay.db"), dedup_hours: DEDUP_HOURS, hooks: Hooks::default() };
    Store::open(config, clock.clone()).unwrap()
}

fn id(tenant: &str) -> TenantId {
    TenantId::parse(tenant).unwrap()
}

/// The number of the tenant. The tenant is added if necessary.
pub(super) async fn there(store: &Store, name: &str) -> Incarnation {
    let sql = "SELECT max(incarnation) FROM tenants WHERE id = ?1";
    let of = id(name);
    // Read by the writer, so that no reader holds the file open.
    let known = store.inner.main.apply(move |connection| connection.query_row(sql, [of.as_str()], |row| row.get(0)));
    match known.await.unwrap() {
        Some(incarnation) => incarnation,
        None => store.insert_tenant(tenant(name), Vec::new()).await.unwrap(),
    }
}

/// A webhook's job that stored a solved ticket.
pub(super) fn kept_by(job: JobId) -> KeptBy {
    KeptBy { job, correlation_id: CorrelationId::parse("c-2").unwrap(), kind: JobKind::Record, attempts: 1 }
}

fn tenant(name: &str) -> Tenant {
    NewTenant::new(id(name), ToolType::parse("jira").unwrap(), "https://desk.example").check().unwrap()
}

fn failure(attempt: u32) -> JobError {
    JobError::new(attempt, i64::from(attempt), "api", format_args!("attempt {attempt} failed"))
}

#[tokio::test]
async fn an_accepted_job_is_claimed_with_all_that_it_was_accepted_with() {
    let bed = Bed::new();
    let accepted = bed.accept("acme", "17").await;
    let bed = bed.reopened().await;
    let [claimed] = bed.claim("acme", 10).await.try_into().unwrap();
    assert_eq!(claimed.lease, Lease { slot: 555, id: accepted, fence: 1 });
    assert_eq!((claimed.attempt, claimed.sent, claimed.errors.len()), (1, false, 0));
    assert_eq!(claimed.metadata, TicketMetadata::new("17", Event::Created));
    assert_eq!((claimed.tool_type.as_str(), claimed.kind), ("jira", JobKind::Enhance));
    assert_eq!(claimed.correlation_id.as_str(), "c-1");
    assert!(bed.claim("acme", 10).await.is_empty(), "a leased job is not claimed again");
}

#[tokio::test]
async fn a_second_delivery_is_a_duplicate_in_the_same_tick_and_after_a_restart() {
    let bed = Bed::new();
    let (one, other) = (bed.job("acme", "17").await, bed.job("acme", "17").await);
    let accept = async |(job, key)| bed.store.accept(job, key, TenantRoom::UNBOUNDED).await.unwrap();
    let (first, second) = tokio::join!(accept(one), accept(other));
    assert!(matches!((first, second), (Accepted::New(_), Accepted::Duplicate)), "{first:?} {second:?}");
    let bed = bed.reopened().await;
    assert_eq!(bed.deliver("acme", "17").await, Accepted::Duplicate);
    bed.accept("other", "17").await;
    assert_eq!(bed.store.depth().await.unwrap().live, 2);
}

#[tokio::test]
async fn a_delivery_is_remembered_for_one_window_at_least_and_two_at_most() {
    let window_ms = i64::from(DEDUP_HOURS) * HOUR_MS;
    for (kept_at_ms, asked_after_ms, duplicate) in [
        (0, window_ms - HOUR_MS, true),
        (0, window_ms + HOUR_MS, true),
        (0, 2 * window_ms + HOUR_MS, false),
        (window_ms - HOUR_MS, window_ms - HOUR_MS, true),
        (window_ms - HOUR_MS, window_ms + 2 * HOUR_MS, false),
        (window_ms + HOUR_MS, window_ms - HOUR_MS, true),
        (0, 10 * window_ms, false),
    ] {
        let bed = Bed::new();
        bed.accept("acme", "first").await;
        bed.clock.advance_ms(kept_at_ms);
        bed.accept("acme", "17").await;
        bed.clock.advance_ms(asked_after_ms);
        let expected = bed.deliver("acme", "17").await == Accepted::Duplicate;
        assert_eq!(expected, duplicate, "kept at {kept_at_ms}, asked {asked_after_ms} later");
    }
}

#[tokio::test]
async fn under_constant_traffic_a_delivery_is_remembered_just_as_long() {
    for kept_at_h in [0, 1, 40, 71, 72, 100] {
        let bed = Bed::new();
        let mut hour = 0;
        let forgotten_at_h = loop {
            bed.accept("acme", &format!("noise {hour}")).await;
            if hour == kept_at_h {
                bed.accept("acme", "17").await;
            } else if hour > kept_at_h && bed.deliver("acme", "17").await != Accepted::Duplicate {
                break hour;
            }
            bed.clock.advance_ms(HOUR_MS);
            hour += 1;
        };
        let window_h = DEDUP_HOURS;
        let kept_h = forgotten_at_h - kept_at_h;
        assert!((window_h..=2 * window_h).contains(&kept_h), "kept at {kept_at_h} for {kept_h} hours");
    }
}

#[tokio::test]
async fn a_claim_takes_the_oldest_of_each_tenant_asked_for_and_says_when_more_is_due() {
    let bed = Bed::new();
    for ticket in ["1", "2", "3"] {
        bed.accept("acme", ticket).await;
        bed.clock.advance_ms(10);
    }
    bed.accept("other", "1").await;
    let claims = bed.claims(&[("acme", 2), ("none", 5), ("other", 5)]).await;
    let tickets: Vec<Vec<_>> =
        claims.iter().map(|claim| claim.jobs.iter().map(|job| job.metadata.ticket_id.as_str()).collect()).collect();
    assert_eq!(tickets, [vec!["1", "2"], vec![], vec!["1"]]);
    assert!(claims[0].next_due_ms.unwrap() <= bed.clock.now_ms(), "one more is due now");
    assert_eq!(claims[1].next_due_ms, None);
    assert_eq!(claims[2].next_due_ms, Some(claims[2].jobs[0].lease_ends_ms));
}

#[tokio::test]
async fn an_expired_lease_is_rescued_with_the_attempt_counted_and_the_old_fence_changes_nothing() {
    let bed = Bed::new();
    bed.accept("acme", "17").await;
    let stale = bed.lease("acme").await;
    assert_eq!(bed.store.mark_sent(stale).await, Ok(Fenced::Done));
    bed.clock.advance_ms(LEASE_MS + 1_000);
    let [rescued] = bed.claim("acme", 10).await.try_into().unwrap();
    assert_eq!((rescued.attempt, rescued.lease.fence, rescued.sent), (2, 2, true));
    for (what, outcome) in [
        ("extend", bed.store.extend(stale, LEASE_MS).await),
        ("mark_sent", bed.store.mark_sent(stale).await),
        ("complete", bed.store.complete(stale).await),
        ("retry", bed.store.retry(stale, 0, failure(1)).await),
        ("postpone", bed.store.postpone(stale, 0).await),
        ("dead", bed.store.dead(stale, "gave_up", failure(1)).await),
    ] {
        assert_eq!(outcome, Ok(Fenced::Lost), "{what}");
    }
    let view = bed.store.job(stale.id).await.unwrap().unwrap();
    assert_eq!((view.state, view.attempt, view.errors.len()), (JobState::Running, 2, 0));
    assert_eq!(bed.store.complete(rescued.lease).await, Ok(Fenced::Done));
    assert_eq!(bed.store.complete(rescued.lease).await, Ok(Fenced::Lost));
    assert_eq!(bed.state(stale.id).await, None);
}

#[tokio::test]
async fn an_extended_lease_outlives_its_first_end() {
    let bed = Bed::new();
    bed.accept("acme", "17").await;
    let lease = bed.lease("acme").await;
    bed.clock.advance_ms(LEASE_MS - 1_000);
    assert_eq!(bed.store.extend(lease, LEASE_MS).await, Ok(Fenced::Done));
    bed.clock.advance_ms(2_000);
    assert!(bed.claim("acme", 10).await.is_empty());
    bed.clock.advance_ms(LEASE_MS);
    assert_eq!(bed.lease("acme").await.fence, 2);
}

#[tokio::test]
async fn a_retry_waits_keeps_its_error_and_a_postponed_job_spends_no_attempt() {
    let bed = Bed::new();
    let job = bed.accept("acme", "17").await;
    let lease = bed.lease("acme").await;
    assert_eq!(bed.store.retry(lease, bed.in_ms(2_000), failure(1)).await, Ok(Fenced::Done));
    assert_eq!(bed.state(job).await, Some(JobState::Waiting));
    assert!(bed.claim("acme", 10).await.is_empty());
    bed.clock.advance_ms(3_000);
    assert_eq!(bed.state(job).await, Some(JobState::Queued));
    let [second] = bed.claim("acme", 10).await.try_into().unwrap();
    assert_eq!((second.attempt, &*second.errors), (2, &[failure(1)][..]));
    assert_eq!(bed.store.postpone(second.lease, bed.in_ms(0)).await, Ok(Fenced::Done));
    let [again] = bed.claim("acme", 10).await.try_into().unwrap();
    assert_eq!((again.attempt, again.lease.fence), (2, 3));
}

#[tokio::test]
async fn the_oldest_errors_go_first() {
    let bed = Bed::new();
    let job = bed.accept("acme", "17").await;
    let attempts = u32::try_from(JOB_ERRORS_MAX).unwrap() + 1;
    for attempt in 1..=attempts {
        let lease = bed.lease("acme").await;
        assert_eq!(bed.store.retry(lease, bed.in_ms(0), failure(attempt)).await, Ok(Fenced::Done));
    }
    let errors = bed.store.job(job).await.unwrap().unwrap().errors;
    assert_eq!(errors, (2..=attempts).map(failure).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_job_that_was_cut_off_is_due_at_once_and_its_attempt_counts_and_is_seen() {
    let bed = Bed::new();
    let waiting = bed.accept("acme", "1").await;
    let lease = bed.lease("acme").await;
    assert_eq!(bed.store.retry(lease, bed.in_ms(HOUR_MS), failure(1)).await, Ok(Fenced::Done));
    bed.accept("acme", "2").await;
    let lease = bed.lease("acme").await;
    let bed = bed.reopened().await;
    assert_eq!(
        bed.store.rescue(HOUR_MS, LEASE_MS, LastEnd::Unexplained, "gave_up").await,
        Ok(Rescued { put_back: 1, given_up: 0, end_the_host: 0 })
    );
    assert_eq!(bed.store.complete(lease).await, Ok(Fenced::Lost), "nobody holds it");
    let [again] = bed.claim("acme", 10).await.try_into().unwrap();
    assert_eq!((again.lease.id, again.attempt), (lease.id, 2));
    let seen: Vec<_> = again.errors.iter().map(|error| (error.attempt, error.kind.as_str())).collect();
    assert_eq!(seen, [(1, "host_ended")]);
    assert_eq!(bed.state(waiting).await, Some(JobState::Waiting), "a wait is no lease");
}

#[tokio::test]
async fn a_job_that_is_cut_off_when_its_time_is_over_is_given_up() {
    let bed = Bed::new();
    let job = bed.accept("acme", "17").await;
    for (attempts, state) in [(1, JobState::Queued), (2, JobState::Dead)] {
        bed.lease("acme").await;
        bed.clock.advance_ms(HOUR_MS / 2);
        let dead = usize::from(state == JobState::Dead);
        let rescued = bed.store.rescue(HOUR_MS, LEASE_MS, LastEnd::Unexplained, "gave_up").await;
        assert_eq!(rescued, Ok(Rescued { put_back: 1 - dead, given_up: dead, end_the_host: 0 }), "{attempts}");
        let view = bed.store.job(job).await.unwrap().unwrap();
        assert_eq!((view.state, view.attempt, view.errors.len()), (state, attempts, view.attempt as usize));
    }
}

#[tokio::test]
async fn a_row_that_cannot_be_read_goes_to_the_dead_letters_and_stops_nobody() {
    let bed = Bed::new();
    let broken = bed.accept("acme", "1").await;
    let good = bed.accept("acme", "2").await;
    bed.store.close().await.unwrap();
    rusqlite::Connection::open(bed.folder.path().join("patchbay.db"))
        .unwrap()
        .execute("UPDATE jobs SET metadata = '{\"version\":9}' WHERE id = ?1", [broken.as_bytes()])
        .unwrap();
    let bed = bed.reopened().await;
    let claimed: Vec<_> = bed.claim("acme", 10).await.iter().map(|job| job.lease.id).collect();
    assert_eq!(claimed, [good]);
    let view = bed.store.job(broken).await.unwrap().unwrap();
    assert_eq!((view.state, view.outcome.as_deref()), (JobState::Dead, Some("unreadable")));
    assert!(view.errors[0].message.contains("version 9"), "{view:?}");
}

#[tokio::test]
async fn claims_and_gauges_read_no_more_than_the_index() {
    let bed = Bed::new();
    for (sql, steps) in [
        (
            jobs::CLAIM,
            &[
                "SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)",
                "LIST SUBQUERY 1",
                "SEARCH jobs USING COVERING INDEX jobs_due (slot=? AND tenant=? AND due_ms<?)",
            ][..],
        ),
        (jobs::NEXT_DUE, &["SEARCH jobs USING COVERING INDEX jobs_due (slot=? AND tenant=?)"]),
        ("SELECT count(*), min(accepted_ms) FROM jobs", &["SCAN jobs USING COVERING INDEX jobs_due"]),
    ] {
        let explain = move |connection: &rusqlite::Connection| {
            let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
            let mut rows = statement.raw_query();
            let mut plan: Vec<String> = Vec::new();
            while let Some(row) = rows.next()? {
                plan.push(row.get(3)?);
            }
            Ok(plan)
        };
        assert_eq!(bed.store.inner.main_reads.read(explain).await.unwrap(), steps, "{sql}");
    }
}

#[tokio::test]
async fn the_journal_of_plugins_keeps_order_and_its_limit() {
    let bed = Bed::new();
    let event = |at_ms| PluginEvent { at_ms, generation: Some(at_ms), ..PluginEvent::new(Happened::Loaded, "") };
    bed.store.record_plugin_events((0..3).map(event).collect()).await.unwrap();
    bed.store.record_plugin_events(Vec::new()).await.unwrap();
    let times = |events: Vec<PluginEvent>| events.iter().map(|event| event.at_ms).collect::<Vec<_>>();
    let jira = ToolType::parse("jira").unwrap();
    let event = PluginEvent { at_ms: 3, ..PluginEvent::new(Happened::Loaded, "").of(&jira) };
    bed.store.record_plugin_events(vec![event]).await.unwrap();
    for (from, tool_type, limit, expected) in [
        (EventsFrom::Newest, None, 2, &[2, 3][..]),
        (EventsFrom::After(2), None, 9, &[2, 3]),
        (EventsFrom::After(1), None, 2, &[1, 2]),
        (EventsFrom::After(4), None, 9, &[]),
        (EventsFrom::Newest, Some(jira.clone()), 2, &[3]),
        (EventsFrom::After(0), Some(jira.clone()), 9, &[3]),
    ] {
        let filter = EventFilter { tool_type, tenant: None };
        let events = bed.store.plugin_events(from, filter, limit).await.unwrap();
        assert_eq!(times(events), expected, "{from:?} {limit}");
    }
}

#[tokio::test]
async fn entries_about_a_tenant_go_with_what_is_stored_for_it() {
    let bed = Bed::new();
    let acme = TenantId::parse("acme").unwrap();
    let about = |incarnation: Option<i64>, message: &str| PluginEvent {
        incarnation: incarnation.map(Incarnation::new),
        ..PluginEvent::new(Happened::TenantChanged, message).of_any(&acme)
    };
    let entries = vec![
        about(Some(1), "of the one before"),
        about(None, "removed"),
        about(Some(2), "of the one now"),
        PluginEvent::new(Happened::JobsPaused, "of nobody"),
    ];
    bed.store.record_plugin_events(entries).await.unwrap();
    let messages = async |tenant: Option<&TenantId>| {
        let filter = EventFilter { tenant: tenant.cloned(), tool_type: None };
        let events = bed.store.plugin_events(EventsFrom::Newest, filter, 9).await.unwrap();
        events.into_iter().map(|event| event.message).collect::<Vec<_>>()
    };
    assert_eq!(messages(Some(&acme)).await, ["of the one before", "removed", "of the one now"]);
    assert_eq!(messages(TenantId::parse("other").ok().as_ref()).await, [""; 0]);
    bed.store.erase_tenant(&acme, Incarnation::new(1)).await.unwrap();
    assert_eq!(messages(None).await, ["removed", "of the one now", "of nobody"]);
}

#[tokio::test]
async fn a_closed_store_answers_so() {
    let bed = Bed::new();
    assert_eq!(bed.store.ping().await, Ok(()));
    let (job, key) = bed.job("acme", "17").await;
    bed.store.close().await.unwrap();
    assert!(matches!(bed.store.ping().await, Err(StoreError::Closed { .. })));
    assert!(matches!(bed.store.accept(job, key, TenantRoom::UNBOUNDED).await, Err(StoreError::Closed { .. })));
}
