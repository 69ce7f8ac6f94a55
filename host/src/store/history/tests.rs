//! The history on a real file.

use super::*;
use crate::{
    clock::Clock,
    queue::job::{JobKind, JobState},
    store::{Hooks, JobFilter, StoreConfig, tests::kept_by},
};

fn store() -> (Store, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let config = StoreConfig { path: folder.path().join("patchbay.db"), dedup_hours: 72, hooks: Hooks::default() };
    (Store::open(config, Clock::system()).unwrap(), folder)
}

fn tenant(id: &str) -> TenantId {
    TenantId::parse(id).unwrap()
}

fn resolved(tenant_id: &str, ticket: &str, subject: &str, resolution: &str, resolved_ms: i64) -> ResolvedTicket {
    ResolvedTicket {
        tenant: tenant(tenant_id),
        incarnation: Incarnation::FIRST,
        tool_type: ToolType::parse("jira").unwrap(),
        ticket_id: ticket.to_owned(),
        subject: Some(subject.to_owned()),
        description: None,
        resolution: Some(resolution.to_owned()),
        tags: vec!["a".to_owned()],
        url: None,
        resolved_ms,
        as_of_ms: resolved_ms,
        told_ms: resolved_ms,
        kept_by: kept_by(JobId::fresh()),
    }
}

async fn found(store: &Store, tenant_id: &str, text: &str) -> Vec<String> {
    let tickets = store.similar_resolved((&tenant(tenant_id), Incarnation::FIRST), text, 10).await.unwrap();
    tickets.into_iter().map(|ticket| ticket.ticket_id).collect()
}

#[tokio::test]
async fn a_finished_job_is_known_from_the_history_and_recorded_once() {
    let (store, _folder) = store();
    let mut record = EnhancementRecord {
        job_id: JobId::fresh(),
        tenant: tenant("acme"),
        incarnation: Incarnation::FIRST,
        tool_type: ToolType::parse("jira").unwrap(),
        ticket_id: "17".to_owned(),
        correlation_id: CorrelationId::parse("c-1").unwrap(),
        outcome: "posted".to_owned(),
        note: Some("first".to_owned()),
        attempts: 2,
        errors: vec![JobError::new(1, 5, "api", "502")],
        accepted_ms: 1,
        retried_ms: None,
        finished_ms: 9,
    };
    store.record_enhancement(record.clone()).await.unwrap();
    record.note = Some("second".to_owned());
    store.record_enhancement(record.clone()).await.unwrap();
    let view = store.job(record.job_id).await.unwrap().unwrap();
    assert_eq!((view.state, view.kind, view.attempt), (JobState::Done, JobKind::Enhance, 2));
    assert_eq!((view.note.as_deref(), view.ended_ms, view.errors), (Some("second"), Some(9), record.errors));
    for (tenant_id, count) in [("acme", 1), ("other", 0)] {
        let filter = JobFilter {
            state: Some(JobState::Done),
            tenant: Some(tenant(tenant_id)),
            limit: 10,
            ..JobFilter::default()
        };
        assert_eq!(store.jobs(filter).await.unwrap().len(), count, "{tenant_id}");
    }
}

#[tokio::test]
async fn the_later_resolution_counts_in_row_and_index() {
    let (store, _folder) = store();
    for (resolution, at_ms, kept) in [
        ("replaced tray", 100, Kept::Inserted),
        ("changed drum", 200, Kept::Updated),
        ("stale words", 150, Kept::Unchanged),
    ] {
        let ticket = resolved("acme", "1", "printer jam", resolution, at_ms);
        assert_eq!(store.record_resolved(ticket).await, Ok(kept), "{resolution}");
    }
    store
        .record_resolved(ResolvedTicket { subject: None, ..resolved("acme", "1", "", "changed drum", 200) })
        .await
        .unwrap();
    let [ticket] =
        store.similar_resolved((&tenant("acme"), Incarnation::FIRST), "drum", 10).await.unwrap().try_into().unwrap();
    assert_eq!((ticket.resolution.as_deref(), ticket.resolved_ms), (Some("changed drum"), 200));
    assert_eq!(ticket.subject.as_deref(), Some("printer jam"), "a text that is missing later stays");
    assert!(found(&store, "acme", "tray stale").await.is_empty());
}

#[tokio::test]
async fn a_search_finds_the_most_alike_of_the_tenants_own_tickets() {
    let (store, _folder) = store();
    for (tenant_id, ticket, subject, resolution) in [
        ("acme", "vpn", "VPN drops every hour", "updated the client"),
        ("acme", "mail", "mail is slow", "VPN was not the cause"),
        ("acme", "door", "door does not open", "new badge"),
        ("acme-2", "foreign", "VPN drops every hour", "secret of another tenant"),
    ] {
        store.record_resolved(resolved(tenant_id, ticket, subject, resolution, 1)).await.unwrap();
    }
    for (tenant_id, text, expected) in [
        ("acme", "the vpn drops again", vec!["vpn", "mail"]),
        ("acme-2", "VPN", vec!["foreign"]),
        ("ACME", "VPN", vec![]),
        ("acme", "secret", vec![]),
        ("acme", "no", vec![]),
        ("acme", "", vec![]),
        ("acme", "\"door\" OR NEAR( * tenant:foreign ^{ -- '; DROP TABLE ticket_history", vec!["door"]),
        ("acme", "b\u{0}dge badge", vec!["door"]),
    ] {
        assert_eq!(found(&store, tenant_id, text).await, expected, "{tenant_id} {text:?}");
    }
}

#[test]
fn a_search_uses_no_more_words_than_its_limit() {
    let text: String = (100..200).map(|n| format!("word{n} ")).collect();
    let expression = search_expression(&tenant("acme"), &text).unwrap();
    assert_eq!(expression.matches("word").count(), SIMILAR_TERMS_MAX);
}
