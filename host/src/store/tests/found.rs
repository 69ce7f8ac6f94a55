//! Jobs are found by what people have at hand, filtered by their fields, and hurried.

use super::*;
use crate::{
    ids::JobIdPrefix,
    queue::wait::{JobWait, TenantWait, WAITS_KEPT, WaitReason},
};

impl Bed {
    /// A dead letter with this reason, after an error with the code `api`.
    async fn buried(&self, tenant: &str, ticket: &str, reason: &str) -> JobId {
        let job = self.accept(tenant, ticket).await;
        let lease = self.lease(tenant).await;
        assert_eq!(self.store.dead(lease, reason, failure(1)).await, Ok(Fenced::Done));
        job
    }

    async fn found(&self, text: &str) -> Vec<JobId> {
        self.store.find_jobs(text, 10).await.unwrap().iter().map(|job| job.id).collect()
    }

    async fn list(&self, filter: JobFilter) -> Vec<JobId> {
        let filter = JobFilter { limit: 10, ..filter };
        self.store.jobs(filter).await.unwrap().iter().map(|job| job.id).collect()
    }

    /// A finished job that stored a solved ticket.
    async fn recorded(&self, tenant: &str, ticket: &str) -> JobId {
        let (job, now_ms) = (JobId::fresh(), self.clock.now_ms());
        let solved = ResolvedTicket {
            tenant: id(tenant),
            incarnation: there(&self.store, tenant).await,
            tool_type: ToolType::parse("jira").unwrap(),
            ticket_id: ticket.to_owned(),
            subject: None,
            description: None,
            resolution: None,
            tags: Vec::new(),
            url: None,
            resolved_ms: now_ms,
            as_of_ms: now_ms,
            told_ms: now_ms,
            kept_by: kept_by(job),
        };
        self.store.record_resolved(solved).await.unwrap();
        job
    }
}

#[tokio::test]
async fn a_text_finds_jobs_of_each_table_once() {
    let bed = Bed::new();
    let dead = bed.buried("other", "17", "api").await;
    let recorded = bed.recorded("acme", "17").await;
    let live = bed.accept("acme", "17").await;
    let foreign = bed.accept("other", "18").await;
    assert_eq!(bed.found("17").await, [live, recorded, dead]);
    assert_eq!(bed.found("c-1").await, [foreign, live, dead], "the correlation id");
    assert_eq!(bed.found("c-2").await, [recorded]);
    assert_eq!(bed.found(&recorded.to_string()).await, [recorded]);
    assert_eq!(bed.found("1").await, [] as [JobId; 0]);
    let all = bed.found(&live.to_string()[..1]).await;
    assert_eq!(all, [foreign, live, recorded, dead], "all of one time begin alike");
    let view = bed.store.job(recorded).await.unwrap().unwrap();
    assert_eq!((view.state, view.kind, view.attempt), (JobState::Done, JobKind::Record, 1));
    // The ticket is solved again: only the job that stored it last is known.
    let again = bed.recorded("acme", "17").await;
    assert_eq!(bed.found("17").await, [again, live, dead]);
    assert_eq!(bed.store.job(recorded).await, Ok(None));
}

#[tokio::test]
async fn a_ticket_of_digits_is_not_taken_for_the_beginning_of_ids() {
    let bed = Bed::new();
    let other = bed.accept("acme", "other").await;
    let beginning = other.to_string()[..2].to_owned();
    let named_so = bed.accept("acme", &beginning).await;
    assert_eq!(bed.found(&beginning).await, [named_so]);
    let telling = other.to_string();
    let named_so = bed.accept("acme", &telling[..20]).await;
    assert_eq!(bed.found(&telling[..20]).await, [named_so, other]);
    let prefix = JobIdPrefix::parse(&telling[..30]).unwrap();
    assert_eq!(bed.store.jobs_beginning(&prefix, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_list_is_narrowed_by_each_part_of_its_filter() {
    let bed = Bed::new();
    let dead = bed.buried("acme", "1", "gave_up").await;
    bed.clock.advance_ms(HOUR_MS);
    let since_ms = bed.clock.now_ms();
    let waiting = bed.accept("acme", "2").await;
    let lease = bed.lease("acme").await;
    assert_eq!(bed.store.retry(lease, bed.in_ms(HOUR_MS), failure(1)).await, Ok(Fenced::Done));
    let queued = bed.accept("other", "2").await;
    let recorded = bed.recorded("acme", "2").await;
    let none = JobFilter::default;
    for (filter, expected) in [
        (none(), vec![queued, waiting, dead]),
        (JobFilter { ticket: Some("2".to_owned()), ..none() }, vec![recorded, queued, waiting]),
        (JobFilter { ticket: Some("2".to_owned()), tenant: Some(id("other")), ..none() }, vec![queued]),
        (JobFilter { ticket: Some("2".to_owned()), state: Some(JobState::Done), ..none() }, vec![recorded]),
        (JobFilter { since_ms: Some(since_ms), ..none() }, vec![queued, waiting]),
        (JobFilter { reason: Some("gave_up".to_owned()), ..none() }, vec![dead]),
        (JobFilter { reason: Some("api".to_owned()), ..none() }, vec![waiting, dead]),
        (JobFilter { after: Some(queued), ..none() }, vec![waiting, dead]),
        (JobFilter { after: Some(dead), ..none() }, vec![]),
        (JobFilter { state: Some(JobState::Done), after: Some(recorded), ..none() }, vec![]),
    ] {
        assert_eq!(bed.list(filter.clone()).await, expected, "{filter:?}");
    }
}

#[tokio::test]
async fn dead_letters_are_chosen_by_tenant_and_reason() {
    let bed = Bed::new();
    let of = |tenant: Option<&str>, reason: Option<&str>| DeadLetters::Of {
        tenant: tenant.map(id),
        reason: reason.map(str::to_owned),
    };
    for (tenant, reason) in [("acme", "gave_up"), ("acme", "not_found"), ("other", "gave_up")] {
        bed.buried(tenant, reason, reason).await;
    }
    for (which, count) in [
        (DeadLetters::ALL, 3),
        (of(Some("acme"), None), 2),
        (of(None, Some("gave_up")), 2),
        (of(None, Some("api")), 3),
        (of(Some("other"), Some("not_found")), 0),
        (of(Some("nobody"), None), 0),
    ] {
        assert_eq!(bed.store.count_dead(which.clone()).await, Ok(count), "{which:?}");
    }
    assert_eq!(bed.store.retry_dead(of(Some("acme"), Some("gave_up"))).await, Ok(1));
    assert_eq!(bed.store.purge_dead(of(None, Some("gave_up"))).await, Ok(1));
    assert_eq!(bed.store.depth().await.unwrap().dead, 1);
}

#[tokio::test]
async fn a_job_was_accepted_when_it_was_however_often_it_is_put_back() {
    let bed = Bed::new();
    let job = bed.accept("acme", "17").await;
    let accepted_ms = bed.store.job(job).await.unwrap().unwrap().accepted_ms;
    for _ in 0..2 {
        let lease = bed.lease("acme").await;
        assert_eq!(bed.store.dead(lease, "gave_up", failure(1)).await, Ok(Fenced::Done));
        bed.clock.advance_ms(48 * HOUR_MS);
        let retried_ms = bed.clock.now_ms();
        assert_eq!(bed.store.retry_dead(DeadLetters::One(job)).await, Ok(1));
        let view = bed.store.job(job).await.unwrap().unwrap();
        assert_eq!(view.accepted_ms, accepted_ms);
        assert!(view.retried_ms.is_some_and(|at_ms| at_ms >= retried_ms), "{view:?}");
        assert!(bed.store.depth().await.unwrap().oldest_age_ms < HOUR_MS, "it is in the queue since then");
    }
    // After an interruption, the age of a job also decides whether it is given up.
    bed.claim("acme", 1).await;
    let rescued = bed.store.rescue(HOUR_MS, LEASE_MS, LastEnd::Explained, "gave_up").await;
    assert_eq!(rescued, Ok(Rescued { put_back: 1, ..Rescued::default() }));
}

#[tokio::test]
async fn what_waits_for_its_time_is_made_due_and_nothing_else() {
    let bed = Bed::new();
    let mut waiting = Vec::new();
    for (tenant, ticket) in [("acme", "1"), ("acme", "2"), ("other", "3")] {
        waiting.push(bed.accept(tenant, ticket).await);
        let lease = bed.lease(tenant).await;
        assert_eq!(bed.store.retry(lease, bed.in_ms(HOUR_MS), failure(1)).await, Ok(Fenced::Done));
    }
    let running = bed.accept("acme", "4").await;
    bed.lease("acme").await;
    assert_eq!(bed.store.hurry(running).await, Ok(false));
    assert_eq!(bed.store.hurry(JobId::fresh()).await, Ok(false));
    assert_eq!(bed.store.hurry(waiting[0]).await, Ok(true));
    assert_eq!(bed.store.hurry(waiting[0]).await, Ok(false), "it is due");
    assert_eq!(bed.state(waiting[0]).await, Some(JobState::Queued));
    assert_eq!(bed.store.hurry_waiting(Some(&id("acme"))).await, Ok(1));
    assert_eq!(bed.state(waiting[2]).await, Some(JobState::Waiting));
    assert_eq!(bed.store.hurry_waiting(None).await, Ok(1));
    assert_eq!(bed.state(running).await, Some(JobState::Running));
    let [first, second] = bed.claim("acme", 10).await.try_into().unwrap();
    assert_eq!((first.attempt, second.attempt), (2, 2), "what was tried counts");
}

#[tokio::test]
async fn a_job_shows_the_part_of_a_wait_that_it_was_there_for() {
    let bed = Bed::new();
    let job = bed.accept("acme", "17").await;
    let view = bed.store.job(job).await.unwrap().unwrap();
    let from_ms = view.accepted_ms;
    let wait = |reason, since_ms, until_ms| TenantWait {
        tenant: id("acme"),
        incarnation: view.incarnation,
        reason,
        since_ms,
        until_ms,
    };
    use WaitReason::{CredentialRefused, NoPlugin, Paused};
    let kept = vec![
        wait(NoPlugin, from_ms - 9, Some(from_ms - 5)),
        wait(NoPlugin, from_ms - 4, Some(from_ms + 5)),
        wait(CredentialRefused, from_ms + 6, Some(from_ms + 7)),
        wait(Paused, from_ms + 8, None),
    ];
    bed.store.keep_waits(&kept).await.unwrap();
    let shown = |reason, since_ms, until_ms| JobWait { reason, since_ms, until_ms };
    let before =
        [shown(NoPlugin, from_ms, Some(from_ms + 5)), shown(CredentialRefused, from_ms + 6, Some(from_ms + 7))];
    let lasting = [&before[..], &[shown(Paused, from_ms + 8, None)]].concat();
    assert_eq!(bed.store.waits_of(&view).await.unwrap(), lasting);
    for (ended_ms, expected) in [
        (from_ms + 8, before.to_vec()),
        (from_ms + 9, [&before[..], &[shown(Paused, from_ms + 8, Some(from_ms + 9))]].concat()),
    ] {
        let ended = crate::queue::job::JobView { ended_ms: Some(ended_ms), ..view.clone() };
        assert_eq!(bed.store.waits_of(&ended).await.unwrap(), expected);
    }
    assert_eq!(bed.store.open_waits().await.unwrap(), [wait(Paused, from_ms + 8, None)]);
    bed.store.keep_waits(&[wait(Paused, from_ms + 8, Some(from_ms + 9))]).await.unwrap();
    assert_eq!(bed.store.open_waits().await.unwrap(), []);
}

#[tokio::test]
async fn the_last_waits_of_each_reason_are_kept_and_go_with_their_tenant() {
    let bed = Bed::new();
    let job = bed.accept("acme", "17").await;
    let view = bed.store.job(job).await.unwrap().unwrap();
    let mut waits = Vec::new();
    for reason in [WaitReason::Paused, WaitReason::NoPlugin] {
        waits.extend((1..=i64::from(WAITS_KEPT) + 3).map(|n| TenantWait {
            tenant: id("acme"),
            incarnation: view.incarnation,
            reason,
            since_ms: view.accepted_ms + 10 * n,
            until_ms: Some(view.accepted_ms + 10 * n + 5),
        }));
    }
    bed.store.keep_waits(&waits).await.unwrap();
    let kept = bed.store.waits_of(&view).await.unwrap();
    assert_eq!(kept.len(), 2 * WAITS_KEPT as usize);
    assert!(kept.iter().all(|wait| wait.since_ms > view.accepted_ms + 30), "{kept:?}");
    let removed = bed.store.remove_tenant(&id("acme"), None).await.unwrap();
    bed.store.erase_tenant(&id("acme"), removed.incarnation).await.unwrap();
    assert_eq!(bed.store.waits_of(&view).await.unwrap(), []);
}
