//! Paused jobs: webhooks are accepted, nothing is tried, no attempt is used up, and a restart changes nothing.

use patchbay_tests::{Artifact, Line, created};
use serde_json::json;

#[track_caller]
fn state(line: &Line, tenant: &str) -> (bool, bool) {
    let shown = line.host.ctl(&["tenant", "show", tenant]);
    (shown["enabled"].as_bool().unwrap(), shown["paused"].as_bool().unwrap())
}

/// The waiting jobs: ticket, whether shown as paused, and attempts.
#[track_caller]
fn waiting(line: &Line) -> Vec<serde_json::Value> {
    let jobs = line.host.ctl(&["job", "list"]);
    let mut jobs: Vec<_> = jobs
        .as_array()
        .unwrap()
        .iter()
        .map(|job| json!([job["ticket_id"], job["paused"], job["state"], job["attempts"]]))
        .collect();
    jobs.sort_by_key(ToString::to_string);
    jobs
}

#[test]
fn one_tenant_waits_and_the_others_do_not() {
    let mut line = Line::with(&[Artifact::SERVICEDESK_PLUS]);
    for (tenant, ticket) in [("acme", "1"), ("other", "2")] {
        line.add_tenant(tenant, "servicedesk_plus", &[]);
        line.open_ticket(ticket);
    }
    assert_eq!(line.host.ctl(&["tenant", "pause", "acme"])["paused"], true);
    assert_eq!(line.host.send(&created("acme", "1")).status, 202);
    assert_eq!(line.host.send(&created("other", "2")).status, 202);
    // When this note is posted, the worker has looked at everything that was due.
    line.note_on("2");
    line.host.restart();
    assert_eq!((state(&line, "acme"), state(&line, "other")), ((true, true), (true, false)));
    assert_eq!(waiting(&line), [json!(["1", true, "queued", 0])]);
    assert!(line.host.metrics().text().contains("patchbay_tenants_paused 1\n"));
    assert!(line.notes("1").is_empty());

    assert_eq!(line.host.ctl(&["tenant", "resume", "acme"])["paused"], false);
    line.note_on("1");
    assert_eq!(line.job("1", "done", |job| job["state"] == "done")["attempts"], 1);
    assert_eq!(line.host.try_ctl(&["tenant", "pause", "nobody"]).failure()["code"], "UNKNOWN_TENANT");
}

#[test]
fn all_wait_until_all_may_run_but_not_who_is_paused_alone() {
    let mut line = Line::with(&[Artifact::SERVICEDESK_PLUS]);
    for (tenant, ticket) in [("acme", "1"), ("other", "2")] {
        line.add_tenant(tenant, "servicedesk_plus", &[]);
        line.open_ticket(ticket);
    }
    assert_eq!(line.host.ctl(&["job", "pause"])["paused"], true);
    line.host.ctl(&["tenant", "pause", "acme"]);
    assert_eq!(line.host.send(&created("acme", "1")).status, 202);
    assert_eq!(line.host.send(&created("other", "2")).status, 202);
    line.host.kill9();
    line.host.start();
    assert_eq!((state(&line, "acme"), state(&line, "other")), ((true, true), (true, true)));
    assert_eq!(waiting(&line), [json!(["1", true, "queued", 0]), json!(["2", true, "queued", 0])]);
    assert!(line.tool.requests().is_empty(), "{:#?}", line.tool.requests());

    let queue = line.host.ctl(&["job", "resume"]);
    assert_eq!((&queue["paused"], &queue["live"]), (&json!(false), &json!(2)), "{queue:#}");
    line.job("2", "done", |job| job["state"] == "done");
    assert_eq!(waiting(&line), [json!(["1", true, "queued", 0])]);
    line.host.ctl(&["tenant", "resume", "acme"]);
    line.note_on("1");
}
