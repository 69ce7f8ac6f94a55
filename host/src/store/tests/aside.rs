//! Dead letters and rescued jobs, and the views in which people find them again.

use super::*;

#[tokio::test]
async fn a_dead_letter_is_kept_and_put_back_with_a_fence_that_no_old_lease_matches() {
    let bed = Bed::new();
    bed.store.insert_tenant(tenant("acme"), Vec::new()).await.unwrap();
    let job = bed.accept("acme", "17").await;
    let dead = bed.lease("acme").await;
    assert_eq!(bed.store.dead(dead, "gave_up", failure(1)).await, Ok(Fenced::Done));
    let view = bed.store.job(job).await.unwrap().unwrap();
    assert_eq!((view.state, view.outcome.as_deref()), (JobState::Dead, Some("gave_up")));
    assert_eq!((&*view.errors, view.ended_ms.is_some()), (&[failure(1)][..], true));
    assert_eq!(bed.store.depth().await.unwrap(), Depth { live: 0, oldest_age_ms: 0, dead: 1 });

    bed.clock.advance_ms(48 * HOUR_MS);
    assert_eq!(bed.store.retry_dead(DeadLetters::One(JobId::fresh())).await, Ok(0));
    assert_eq!(bed.store.retry_dead(DeadLetters::One(job)).await, Ok(1));
    assert_eq!(bed.store.retry_dead(DeadLetters::One(job)).await, Ok(0));
    let [again] = bed.claim("acme", 10).await.try_into().unwrap();
    assert_eq!((again.attempt, again.lease.fence, again.errors.len()), (1, 2, 1));
    assert!(bed.clock.now_ms() - again.queued_ms() < HOUR_MS, "its retry time starts anew");
    assert_eq!(again.accepted_ms, view.accepted_ms, "it was accepted when it was");
    assert_eq!(bed.store.complete(dead).await, Ok(Fenced::Lost));
}

#[tokio::test]
async fn dead_letters_are_retried_and_purged_in_batches_of_any_number() {
    const JOBS: usize = 2_001;
    let bed = Bed::new();
    bed.store.insert_tenant(tenant("acme"), Vec::new()).await.unwrap();
    let mut accepts = tokio::task::JoinSet::new();
    for ticket in 0..JOBS {
        let (store, (job, key)) = (bed.store.clone(), bed.job("acme", &ticket.to_string()).await);
        accepts.spawn(async move { store.accept(job, key, TenantRoom::UNBOUNDED).await });
    }
    assert!(accepts.join_all().await.iter().all(|outcome| matches!(outcome, Ok(Accepted::New(_)))));
    let all = JOBS as u64;
    assert_eq!(bed.store.live_jobs(&id("acme")).await, Ok(all));
    assert_eq!(bed.store.dead_letter_tenant(&id("acme")).await, Ok(all));
    assert_eq!(bed.store.retry_dead(DeadLetters::ALL).await, Ok(all));
    let removed = bed.store.remove_tenant(&id("acme"), Some(HOUR_MS)).await.unwrap();
    assert_eq!(removed.holdings, Holdings { jobs: all, ..Holdings::default() });
    assert_eq!(bed.store.retry_dead(DeadLetters::ALL).await, Ok(0), "the tenant is gone");
    assert_eq!(bed.store.purge_dead(DeadLetters::ALL).await, Ok(all));
    assert_eq!(bed.store.depth().await.unwrap().dead, 0);
}

#[tokio::test]
async fn a_removed_tenants_running_job_is_lost_to_its_worker() {
    let bed = Bed::new();
    bed.accept("acme", "17").await;
    let kept = bed.accept("other", "17").await;
    let lease = bed.lease("acme").await;
    assert_eq!(bed.store.dead_letter_tenant(&id("acme")).await, Ok(1));
    assert_eq!(bed.store.complete(lease).await, Ok(Fenced::Lost));
    assert_eq!(bed.state(kept).await, Some(JobState::Queued));
}

#[tokio::test]
async fn jobs_are_listed_by_state_and_tenant_newest_first() {
    let bed = Bed::new();
    let running = bed.accept("acme", "running").await;
    let lease = bed.lease("acme").await;
    let dead = bed.accept("acme", "dead").await;
    let doomed = bed.lease("acme").await;
    assert_eq!(bed.store.dead(doomed, "gave_up", failure(1)).await, Ok(Fenced::Done));
    let waiting = bed.accept("acme", "waiting").await;
    let later = bed.lease("acme").await;
    assert_eq!(bed.store.retry(later, bed.in_ms(HOUR_MS), failure(1)).await, Ok(Fenced::Done));
    let queued = bed.accept("acme", "queued").await;
    let foreign = bed.accept("other", "queued").await;
    assert_eq!(lease.id, running);
    for (state, tenant, limit, expected) in [
        (None, None, 10, vec![foreign, queued, waiting, dead, running]),
        (None, None, 2, vec![foreign, queued]),
        (None, Some("acme"), 10, vec![queued, waiting, dead, running]),
        (Some(JobState::Queued), None, 10, vec![foreign, queued]),
        (Some(JobState::Queued), Some("acme"), 10, vec![queued]),
        (Some(JobState::Running), None, 10, vec![running]),
        (Some(JobState::Waiting), Some("acme"), 10, vec![waiting]),
        (Some(JobState::Dead), Some("acme"), 10, vec![dead]),
        (Some(JobState::Dead), Some("other"), 10, vec![]),
        (Some(JobState::Done), Some("acme"), 10, vec![]),
    ] {
        let filter = JobFilter { state, tenant: tenant.map(id), limit, ..JobFilter::default() };
        let found: Vec<_> = bed.store.jobs(filter.clone()).await.unwrap().iter().map(|job| job.id).collect();
        assert_eq!(found, expected, "{filter:?}");
    }
}

#[tokio::test]
async fn the_scheduler_and_the_gauges_see_every_live_job() {
    let bed = Bed::new();
    let first_ms = bed.clock.now_ms();
    bed.accept("acme", "1").await;
    bed.clock.advance_ms(5_000);
    bed.accept("acme", "2").await;
    bed.accept("other", "1").await;
    let mut due = bed.store.due_by_tenant().await.unwrap();
    due.sort_by(|a, b| a.tenant.cmp(&b.tenant));
    let counts: Vec<_> = due.iter().map(|due| (due.tenant.as_str(), due.jobs)).collect();
    assert_eq!(counts, [("acme", 2), ("other", 1)]);
    assert!((first_ms..first_ms + 5_000).contains(&due[0].next_due_ms));
    let depth = bed.store.depth().await.unwrap();
    assert_eq!((depth.live, depth.dead), (3, 0));
    assert!(depth.oldest_age_ms >= 5_000, "{depth:?}");
}

/// Cuts the host off `ran_ms` after the job began, while this many other jobs run.
async fn cut_off(bed: &Bed, job: JobId, ran_ms: i64, others: usize) -> Rescued {
    for other in 0..others {
        bed.accept("other", &format!("{other} at {}", bed.clock.now_ms())).await;
    }
    assert_eq!(bed.claim("other", 10).await.len(), others);
    let lease = match bed.claim("acme", 10).await.pop() {
        Some(job) => job.lease,
        None => {
            let suspect = bed.store.suspects().await.unwrap().into_iter().find(|suspect| suspect.id == job).unwrap();
            bed.store.claim_suspect(suspect, LEASE_MS).await.unwrap().expect("it is due").lease
        }
    };
    bed.clock.advance_ms(ran_ms);
    if ran_ms > 0 {
        assert_eq!(bed.store.extend(lease, LEASE_MS).await, Ok(Fenced::Done));
    }
    let rescued = bed.store.rescue(1_000 * HOUR_MS, LEASE_MS, LastEnd::Unexplained, "gave_up").await.unwrap();
    for _ in 0..others {
        let lease = bed.lease("other").await;
        assert_eq!(bed.store.complete(lease).await, Ok(Fenced::Done));
    }
    rescued
}

#[tokio::test]
async fn a_job_that_ends_the_host_three_times_alone_is_a_dead_letter_and_no_other() {
    const LONG_MS: i64 = 60_000;
    for (ends, end_the_host) in [
        (&[(0, 0), (0, 0), (0, 0)][..], true),
        (&[(LONG_MS - 30_000, 0), (0, 1), (0, 0), (0, 1), (0, 0)], true),
        (&[(0, 0), (0, 0), (LONG_MS, 0)], false),
        (&[(0, 0), (0, 0), (0, 1), (0, 1), (0, 1), (0, 1)], false),
    ] {
        let bed = Bed::new();
        let job = bed.accept("acme", "17").await;
        let mut last = Rescued::default();
        for (number, (ran_ms, others)) in ends.iter().enumerate() {
            let suspects = bed.store.suspects().await.unwrap();
            assert_eq!(suspects.iter().any(|suspect| suspect.id == job), number >= 2, "{ends:?} {number}");
            last = cut_off(&bed, job, *ran_ms, *others).await;
        }
        assert_eq!(last.end_the_host, usize::from(end_the_host), "{ends:?}");
        let view = bed.store.job(job).await.unwrap().unwrap();
        let reason = view.outcome.as_deref();
        assert_eq!(reason, end_the_host.then_some(crate::store::ENDS_THE_HOST), "{ends:?}");
        assert_eq!(view.errors.len(), ends.len());
    }
}

#[tokio::test]
async fn an_end_that_is_explained_is_not_held_against_the_job() {
    let bed = Bed::new();
    let job = bed.accept("acme", "17").await;
    for _ in 0..5 {
        assert_eq!(bed.claim("acme", 10).await[0].lease.id, job);
        let rescued = bed.store.rescue(HOUR_MS, LEASE_MS, LastEnd::Explained, "gave_up").await;
        assert_eq!(rescued, Ok(Rescued { put_back: 1, ..Rescued::default() }));
    }
    assert_eq!(bed.store.suspects().await, Ok(Vec::new()));
}

#[tokio::test]
async fn an_attempt_that_ends_in_order_clears_its_job() {
    let bed = Bed::new();
    let job = bed.accept("acme", "17").await;
    cut_off(&bed, job, 0, 0).await;
    cut_off(&bed, job, 0, 0).await;
    let suspect = bed.store.suspects().await.unwrap().remove(0);
    assert!(bed.claim("acme", 10).await.is_empty(), "it is not claimed with others");
    let lease = bed.store.claim_suspect(suspect, LEASE_MS).await.unwrap().unwrap().lease;
    assert_eq!(bed.store.retry(lease, bed.in_ms(0), failure(3)).await, Ok(Fenced::Done));
    assert_eq!(bed.store.suspects().await, Ok(Vec::new()));
    assert_eq!(bed.claim("acme", 10).await.len(), 1);
}
