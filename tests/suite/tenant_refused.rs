//! A tenant whose webhooks are refused: its operator sees how many, why, and when it begins.

use std::time::Duration;

use patchbay_tests::{Artifact, Line, WAIT_MAX, WEBHOOK_SECRET, created, wait_until};
use sandbox::webhook::{Scheme, SignedRequest, proof};
use serde_json::{Value, json};

/// Any body, signed as the tool signs.
fn signed(tenant: &str, body: &[u8]) -> SignedRequest {
    let headers = vec![proof(Scheme::HubHeader, WEBHOOK_SECRET, body).unwrap()];
    SignedRequest { path: format!("/webhooks/{tenant}"), headers, body: body.to_vec() }
}

/// A tool's body for a created ticket, with these fields replaced.
fn body(changes: &Value) -> Vec<u8> {
    let mut body = json!({"tenant_id": "acme", "ticket_id": "1", "event": "ticket_created", "subject": "s"});
    body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    body.to_string().into_bytes()
}

fn refusals(line: &Line, tenant: &str) -> Value {
    line.host.ctl(&["tenant", "show", tenant])["refusals"].clone()
}

/// The events of this kind so far: tool type and message.
fn told(line: &Line) -> Vec<(String, String)> {
    let events = line.host.ctl(&["events", "--limit", "10000"]);
    let events = events.as_array().unwrap().iter().filter(|event| event["code"] == "tenant_refused");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    events.map(|event| (text(&event["tool_type"]), text(&event["message"]))).collect()
}

/// Waits for this many events.
#[track_caller]
fn wait_told(line: &Line, count: usize) -> Vec<(String, String)> {
    wait_until("the events", WAIT_MAX, || Some(told(line)).filter(|told| told.len() >= count))
}

#[test]
fn refusals_are_counted_by_status_with_the_last_reason() {
    let line = Line::with(&[Artifact::GOOD]);
    line.add_tenant("acme", "desk_good", &[]);
    line.add_tenant("asleep", "desk_good", &[]);
    line.add_tenant("nowhere", "desk_gone", &[]);
    line.host.ctl(&["tenant", "disable", "asleep"]);
    line.host.ctl(&["tenant", "add", "bare", "--tool-type", "desk_good", "--base-url", "https://a.example"]);
    let forged = |mut request: SignedRequest| {
        request.headers.retain(|(name, _)| !name.contains("signature"));
        request
    };
    let in_body = |request: SignedRequest| SignedRequest { path: "/api/webhooks/ticket-created".into(), ..request };
    let (missing, wrong) = ("signature is missing", "the signature does not belong to this body");
    for (what, tenant, request, status, reason) in [
        ("no signature", "acme", forged(created("acme", "1")), 401, missing),
        ("another's signature", "acme", SignedRequest { body: b"{}".to_vec(), ..created("acme", "1") }, 401, wrong),
        ("the tenant in the body", "acme", in_body(forged(created("acme", "1"))), 401, missing),
        (
            "no secret at all",
            "bare",
            created("bare", "1"),
            401,
            "plugin-ctl tenant update bare --secret webhook_secret=",
        ),
        ("disabled", "asleep", created("asleep", "1"), 401, "the tenant is disabled"),
        (
            "a broken template",
            "acme",
            signed("acme", br#"{"ticket_id":"980","subject":"the "blue" folder"}"#),
            400,
            "line 1 column",
        ),
        ("an empty body", "acme", signed("acme", b""), 400, "line 1 column 0"),
        ("no JSON", "acme", signed("acme", b"<ticket/>"), 400, "line 1 column 1"),
        (
            "another's tenant",
            "acme",
            signed("acme", &body(&json!({"tenant_id": "other"}))),
            422,
            "tenant_id: is another",
        ),
        ("no ticket", "acme", signed("acme", &body(&json!({"ticket_id": ""}))), 422, "ticket_id: must have 1 to 100"),
        (
            "two faults",
            "acme",
            signed("acme", &body(&json!({"ticket_id": "x".repeat(101), "tenant_id": "other"}))),
            422,
            "came for; ticket_id: must",
        ),
        (
            "no plugin",
            "nowhere",
            created("nowhere", "1"),
            503,
            "no plugin serves this tool type; served are: desk_good",
        ),
    ] {
        let before = refusals(&line, tenant)[status.to_string()]["count"].as_u64().unwrap();
        assert_eq!(line.host.send(&request).status, status, "{what}");
        let after = refusals(&line, tenant)[status.to_string()].clone();
        assert_eq!(after["count"], before + 1, "{what}: {after:#}");
        assert!(after["last_reason"].as_str().unwrap().contains(reason), "{what}: {after:#}");
        assert!(after["last_at"].is_string(), "{what}: {after:#}");
    }
    let unknown = refusals(&line, "acme");
    assert_eq!(line.host.send(&created("nobody", "1")).status, 401);
    assert_eq!(line.host.http("POST", "/webhook/acme", &[], b"").status, 404);
    assert_eq!(refusals(&line, "acme"), unknown, "of others nothing is counted");
    let none = json!({"count": 0, "last_at": null, "last_reason": null});
    assert_eq!(refusals(&line, "nowhere")["401"], none);
}

#[test]
fn a_tenant_that_sends_too_much_is_told_its_rate() {
    let builder = patchbay_tests::Host::builder().plugin(Artifact::GOOD);
    let line = Line::start(builder.config("server.tenant_rate_per_s", 1).config("server.tenant_burst", 3));
    line.add_tenant("acme", "desk_good", &[]);
    let mut sent = 0;
    let refused = loop {
        sent += 1;
        if line.host.send(&created("acme", &sent.to_string())).status == 429 {
            break refusals(&line, "acme")["429"].clone();
        }
        assert!(sent < 10_000, "nothing is refused");
    };
    assert_eq!(refused["count"], 1, "{refused:#}");
    let reason = "more than server.tenant_rate_per_s = 1 (server.tenant_burst = 3)";
    assert_eq!(refused["last_reason"], reason, "{refused:#}");
    let told = wait_told(&line, 1);
    assert_eq!(
        told,
        [("desk_good".to_owned(), format!("tenant acme: 429, {reason}; see plugin-ctl tenant show acme"))]
    );
}

#[test]
fn a_reason_holds_no_secret_and_stays_short() {
    let line = Line::with(&[Artifact::GOOD]);
    line.add_tenant("acme", "desk_good", &[]);
    for (body, words) in [
        (json!(WEBHOOK_SECRET).to_string(), "[secret]"),
        (json!(format!("{}{WEBHOOK_SECRET}", "x".repeat(290))).to_string(), "xxx"),
        (json!("x".repeat(10_000)).to_string(), "xxx"),
        (json!("a\nb").to_string(), "invalid type"),
    ] {
        assert_eq!(line.host.send(&signed("acme", body.as_bytes())).status, 400);
        let reason = refusals(&line, "acme")["400"]["last_reason"].as_str().unwrap().to_owned();
        assert!(reason.contains(words) && reason.len() <= 300, "{reason}");
        assert!(!reason.contains(&WEBHOOK_SECRET[..8]) && !reason.contains('\n'), "{reason}");
    }
}

#[test]
fn the_journal_is_told_when_it_begins_and_not_of_each() {
    let line = Line::with(&[Artifact::GOOD]);
    for tenant in ["acme", "other"] {
        line.add_tenant(tenant, "desk_good", &[]);
    }
    let broken = |tenant: &str| assert_eq!(line.host.send(&signed(tenant, b"no JSON")).status, 400);
    let number = std::cell::Cell::new(0);
    let taken = |tenant: &str| {
        number.set(number.get() + 1);
        assert_eq!(line.host.send(&created(tenant, &number.get().to_string())).status, 202);
    };
    (0..20).for_each(|_| broken("acme"));
    let first = wait_told(&line, 1);
    assert_eq!(first.len(), 1, "{first:#?}");
    let (tool_type, message) = &first[0];
    assert_eq!(tool_type, "desk_good");
    assert!(
        message.starts_with("tenant acme: 400, ") && message.ends_with("see plugin-ctl tenant show acme"),
        "{message}"
    );
    line.host.wait_for_log(&["WARN", "the tenant's webhooks are refused", "tenant=acme"]);

    // The tenant works and breaks again within the hour; another tenant has its own hour.
    taken("acme");
    broken("acme");
    broken("other");
    let second = wait_told(&line, 2);
    assert!(second.len() == 2 && second[1].1.starts_with("tenant other: 400"), "{second:#?}");

    line.host.advance_clock(Duration::from_secs(3_601));
    broken("acme");
    let third = wait_told(&line, 3);
    assert!(third.len() == 3 && third[2].1.starts_with("tenant acme: 400"), "what was not told yet: {third:#?}");

    // The refusals continue for hours: reported once.
    line.host.advance_clock(Duration::from_secs(36_000));
    broken("acme");
    assert_eq!(line.host.send(&SignedRequest { headers: vec![], ..created("acme", "1") }).status, 401);
    taken("other");
    broken("other");
    let fourth = wait_told(&line, 4);
    assert!(fourth.len() == 4 && fourth[3].1.starts_with("tenant other: 400"), "{fourth:#?}");
    assert_eq!(refusals(&line, "acme")["400"]["count"], 23);
}
