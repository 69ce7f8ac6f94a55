//! A change of a tenant with its live jobs is one commit. Each job is either before it or after it.

use super::*;
use crate::store::{LiveJobs, SecretRow};

fn secret(name: &str, version: i64) -> SecretRow {
    let record = format!("record {version}").into_bytes();
    SecretRow { tenant: id("acme"), name: name.to_owned(), version, record, created_ms: 1, expires_ms: None }
}

/// The same tenant with its tool at another address.
fn moved() -> Tenant {
    Tenant { base_url: "https://new.example".parse().unwrap(), ..tenant("acme") }
}

/// The same tenant with another tool at the same address.
fn converted() -> Tenant {
    Tenant { tool_type: ToolType::parse("zendesk").unwrap(), ..tenant("acme") }
}

#[tokio::test]
async fn tenant_secrets_and_jobs_change_together_or_not_at_all() {
    for (jobs, waiting, expected, after) in [
        (LiveJobs::Stay, 2, Ok(0), (2, 0)),
        (LiveJobs::Refuse, 0, Ok(0), (0, 0)),
        (LiveJobs::Refuse, 2, Err(StoreError::LiveJobs { tenant: id("acme"), jobs: 2 }), (2, 0)),
        (LiveJobs::DeadLetter, 0, Ok(0), (0, 0)),
        (LiveJobs::DeadLetter, 2, Ok(2), (0, 2)),
    ] {
        let bed = Bed::new();
        let secrets = vec![secret("a", 1), secret("b", 1)];
        let incarnation = bed.store.insert_tenant(tenant("acme"), secrets).await.unwrap();
        for ticket in 0..waiting {
            bed.accept("acme", &ticket.to_string()).await;
        }
        let foreign = bed.accept("other", "1").await;
        let changed = bed.store.change_tenant(moved(), vec![secret("b", 2), secret("c", 2)], jobs).await;
        assert_eq!(changed, expected, "{jobs:?} {waiting}");
        let bed = bed.reopened().await;
        let (expected_tenant, expected_secrets) = match changed {
            Ok(_) => (moved(), vec![secret("a", 1), secret("b", 2), secret("c", 2)]),
            Err(_) => (tenant("acme"), vec![secret("a", 1), secret("b", 1)]),
        };
        let expected_tenant = Tenant { incarnation, ..expected_tenant };
        assert_eq!(bed.store.tenants().await.unwrap()[0], expected_tenant, "{jobs:?} {waiting}");
        assert_eq!(bed.store.secrets().await.unwrap(), expected_secrets, "{jobs:?} {waiting}");
        let dead = bed.store.depth().await.unwrap().dead;
        assert_eq!((bed.store.live_jobs(&id("acme")).await.unwrap(), dead), after, "{jobs:?} {waiting}");
        assert_eq!(bed.state(foreign).await, Some(JobState::Queued));
    }
    let bed = Bed::new();
    let unknown = bed.store.change_tenant(tenant("acme"), vec![secret("a", 1)], LiveJobs::DeadLetter).await;
    assert_eq!(unknown, Err(StoreError::UnknownTenant(id("acme"))));
    assert_eq!(bed.store.secrets().await.unwrap(), []);
}

#[tokio::test]
async fn a_running_job_is_a_dead_letter_too_and_lost_to_its_worker() {
    let bed = Bed::new();
    bed.store.insert_tenant(tenant("acme"), Vec::new()).await.unwrap();
    let job = bed.accept("acme", "17").await;
    let lease = bed.lease("acme").await;
    assert_eq!(bed.store.change_tenant(converted(), Vec::new(), LiveJobs::DeadLetter).await, Ok(1));
    for lost in [bed.store.mark_sent(lease).await, bed.store.complete(lease).await] {
        assert_eq!(lost, Ok(Fenced::Lost));
    }
    let view = bed.store.job(job).await.unwrap().unwrap();
    assert_eq!((view.state, view.outcome.as_deref()), (JobState::Dead, Some(TENANT_CHANGED)));
}

#[tokio::test]
async fn a_webhook_that_was_looked_at_before_the_change_makes_no_job_after_it() {
    for other in [moved(), converted()] {
        let bed = Bed::new();
        bed.store.insert_tenant(tenant("acme"), Vec::new()).await.unwrap();
        bed.accept("acme", "before").await;
        bed.store.change_tenant(other, Vec::new(), LiveJobs::DeadLetter).await.unwrap();
        for _ in 0..2 {
            assert_eq!(bed.deliver("acme", "late").await, Accepted::OtherTenant);
        }
        assert_eq!(bed.store.live_jobs(&id("acme")).await, Ok(0));
        bed.store.change_tenant(tenant("acme"), Vec::new(), LiveJobs::Refuse).await.unwrap();
        assert!(matches!(bed.deliver("acme", "late").await, Accepted::New(_)), "it was not taken for delivered before");
        assert_eq!(bed.deliver("acme", "before").await, Accepted::Duplicate);
    }
}

#[tokio::test]
async fn what_was_accepted_for_another_tool_type_is_not_put_back() {
    for (other, put_back) in [(moved(), 1), (converted(), 0)] {
        let bed = Bed::new();
        bed.store.insert_tenant(tenant("acme"), Vec::new()).await.unwrap();
        let job = bed.accept("acme", "17").await;
        bed.store.change_tenant(other, Vec::new(), LiveJobs::DeadLetter).await.unwrap();
        assert_eq!(bed.store.retry_dead(DeadLetters::One(job)).await, Ok(put_back));
        assert_eq!(bed.store.retry_dead(DeadLetters::ALL).await, Ok(0));
        bed.store.change_tenant(tenant("acme"), Vec::new(), LiveJobs::DeadLetter).await.unwrap();
        assert_eq!(bed.store.retry_dead(DeadLetters::ALL).await, Ok(1), "its tool is back");
    }
}
