//! Refused deliveries: each has its status and body, and nothing is stored.

use std::{collections::BTreeSet, time::Duration};

use patchbay_tests::{Answer, Artifact, Host, Line, WEBHOOK_SECRET, created};
use sandbox::webhook::{Event, Scheme, SignedRequest, Webhook, proof, signed};
use serde_json::{Value, json};
use time::OffsetDateTime;

fn line() -> Line {
    let line = Line::with(&[Artifact::SERVICEDESK_PLUS]);
    line.add_tenant("acme", "servicedesk_plus", &[]);
    line.add_tenant("other", "servicedesk_plus", &[]);
    line
}

/// Any body, properly signed.
fn signed_body(tenant: &str, body: &[u8]) -> SignedRequest {
    let mut request = created(tenant, "1");
    request.headers = vec![proof(Scheme::SignatureHeader, WEBHOOK_SECRET, body).unwrap()];
    request.body = body.to_vec();
    request
}

#[track_caller]
fn nothing_was_kept(host: &Host) {
    let jobs = host.ctl(&["job", "list"]);
    assert_eq!(jobs.as_array().map(Vec::len), Some(0), "{jobs:#}");
}

/// A 401's body without the parts that differ by request.
#[track_caller]
fn anonymous(answer: &Answer) -> Value {
    assert_eq!(answer.status, 401, "{}", answer.text());
    assert_eq!(answer.problem_code(), "not_authentic");
    let mut body = answer.json();
    assert!(body.as_object_mut().unwrap().remove("correlation_id").is_some());
    body
}

#[test]
fn all_that_is_not_authentic_gets_one_body() {
    let line = line();
    line.add_tenant("asleep", "servicedesk_plus", &[]);
    line.host.ctl(&["tenant", "disable", "asleep"]);
    let age = |seconds: i64| {
        let mut webhook = Webhook::new("acme", Event::Created, "1");
        webhook.ticket.created_at = OffsetDateTime::now_utc() - time::Duration::seconds(seconds);
        signed(&webhook, Scheme::HubHeader, WEBHOOK_SECRET).unwrap()
    };
    let forged = {
        let mut request = created("acme", "1");
        let at = request.body.len() / 2;
        request.body[at] ^= 1;
        request
    };
    let with_headers = |headers| SignedRequest { headers, ..created("acme", "1") };
    let body = created("acme", "1").body;
    let (name, digits) = proof(Scheme::SignatureHeader, WEBHOOK_SECRET, &body).unwrap();
    let wrong = signed(&Webhook::new("acme", Event::Created, "1"), Scheme::HubHeader, "another-secret").unwrap();
    let bodies: Vec<_> = [
        ("forged", forged),
        ("wrong secret", wrong),
        ("too old", age(301)),
        ("from the future", age(-40)),
        ("no signature", with_headers(vec![])),
        ("half a signature", with_headers(vec![(name, digits[..32].to_owned())])),
        ("no hex", with_headers(vec![(name, "z".repeat(64))])),
        ("empty", with_headers(vec![(name, String::new())])),
        ("two signatures", with_headers(vec![(name, digits.clone()), (name, "0".repeat(64))])),
        ("unknown tenant", created("nobody", "1")),
        ("tenant id that cannot be", created("no_such.tenant", "1")),
        ("other case", created("ACME", "1")),
        ("disabled tenant", created("asleep", "1")),
    ]
    .into_iter()
    .map(|(what, request)| (what, anonymous(&line.host.send(&request))))
    .collect();
    for (what, body) in &bodies {
        assert_eq!(*body, bodies[0].1, "{what}");
    }
    assert_eq!(line.host.send(&age(290)).status, 202, "within the window");
    assert_eq!(line.host.ctl(&["job", "list"]).as_array().map(Vec::len), Some(1), "the refused ones left nothing");
}

#[test]
fn a_tenant_that_is_enabled_again_is_known_again() {
    let line = line();
    for (command, status) in [("disable", 401), ("enable", 202)] {
        line.host.ctl(&["tenant", command, "acme"]);
        assert_eq!(line.host.send(&created("acme", "1")).status, status, "{command}");
    }
}

#[test]
fn a_tenant_without_a_secret_refuses_everything() {
    let line = line();
    line.host.ctl(&["tenant", "add", "bare", "--base-url", "https://desk.example"]);
    let mut request = created("bare", "1");
    // The signature that an empty key would give.
    request.headers = vec![(
        "x-servicedesk-signature",
        "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad".to_owned(),
    )];
    request.body.clear();
    anonymous(&line.host.send(&request));
}

#[test]
fn malformed_bodies_are_400_once_they_are_authentic() {
    let line = line();
    for body in [&b"{"[..], b"not json", b"", b"\xff\xfe", b"[1,2]"] {
        let answer = line.host.send(&signed_body("acme", body));
        assert_eq!(answer.status, 400, "{body:?}: {}", answer.text());
        assert_eq!(answer.problem_code(), "malformed");
        anonymous(&line.host.send(&SignedRequest { headers: vec![], ..signed_body("acme", body) }));
    }
    nothing_was_kept(&line.host);
}

#[test]
fn every_field_at_fault_is_listed() {
    let line = line();
    let check = |body: Value, expected: &[&str]| {
        let answer = line.host.send(&signed_body("acme", body.to_string().as_bytes()));
        assert_eq!(answer.status, 422, "{body}: {}", answer.text());
        assert_eq!(answer.problem_code(), "invalid");
        let errors = answer.json()["errors"].clone();
        let errors = errors.as_array().unwrap();
        assert!(errors.iter().all(|error| !error["message"].as_str().unwrap().is_empty()), "{errors:?}");
        let fields: BTreeSet<_> = errors.iter().map(|error| error["field"].as_str().unwrap()).collect();
        assert_eq!(fields, expected.iter().copied().collect(), "{body}");
    };
    let whole: Value = serde_json::from_slice(&created("acme", "1").body).unwrap();
    let with = |field: &str, value: Value| {
        let mut body = whole.clone();
        body[field] = value;
        body
    };
    check(
        json!({ "tenant_id": "acme", "event": "ticket_created" }),
        &["ticket_id", "description", "priority", "created_at"],
    );
    check(with("tenant_id", json!("other")), &["tenant_id"]);
    check(with("ticket_id", json!("x".repeat(101))), &["ticket_id"]);
    check(with("created_at", json!("yesterday")), &["created_at"]);
    check(with("subject", json!(7)), &["subject"]);
    nothing_was_kept(&line.host);
}

#[test]
fn without_a_plugin_the_sender_is_asked_to_come_again() {
    let line = line();
    line.add_tenant("later", "desk_of_tomorrow", &[]);
    let answer = line.host.send(&created("later", "1"));
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(answer.problem_code(), "plugin_missing");
    assert!(answer.retry_after_s().is_some_and(|seconds| (1..60).contains(&seconds)), "{answer:?}");
}

#[test]
fn a_broken_configuration_of_the_tenant_is_503() {
    let line = line();
    line.add_tenant("broken", "servicedesk_plus", &[("edition", "moon")]);
    let answer = line.host.send(&created("broken", "1"));
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(answer.problem_code(), "tenant_configuration");
    assert!(answer.retry_after_s().is_some_and(|seconds| (1..60).contains(&seconds)), "{answer:?}");
    assert!(!answer.text().contains("moon"), "the sender is told of the operator's settings: {}", answer.text());
}

#[test]
fn the_tenant_in_the_body_must_be_there_once() {
    let line = line();
    let text = String::from_utf8(created("acme", "1").body).unwrap();
    for path in ["/api/webhooks/ticket-created", "/webhook/servicedesk/resolved-ticket"] {
        let send = |body: &str| {
            line.host.send(&SignedRequest { path: path.to_owned(), ..signed_body("acme", body.as_bytes()) })
        };
        anonymous(&send("not json"));
        anonymous(&send(r#"{"ticket_id":"1"}"#));
        anonymous(&send(&text.replacen('{', r#"{"tenant_id":"acme","#, 1)));
        anonymous(&send(&text.replacen('{', r#"{"\u0074enant_id":"other","#, 1)));
        anonymous(&send(&text.replace("acme", "nobody")));
    }
    nothing_was_kept(&line.host);
}

#[test]
fn unknown_routes_and_methods() {
    let host = Host::builder().start();
    for path in ["/", "/webhooks", "/webhooks/", "/webhooks/a/b", "/metrics", "/v1/plugins", "/healthz/x"] {
        let answer = host.http("POST", path, &[], b"{}");
        assert_eq!((answer.status, answer.problem_code().as_str()), (404, "not_found"), "{path}");
    }
    for (method, path, allow) in [
        ("GET", "/webhooks/acme", "POST"),
        ("PUT", "/webhooks/acme", "POST"),
        ("DELETE", "/api/webhooks/ticket-created", "POST"),
        ("POST", "/healthz", "GET, HEAD"),
        ("POST", "/readyz", "GET, HEAD"),
    ] {
        let answer = host.http(method, path, &[], b"");
        assert_eq!((answer.status, answer.problem_code().as_str()), (405, "method_not_allowed"), "{method} {path}");
        assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
    }
}

#[test]
fn only_a_good_correlation_id_is_taken_over() {
    let host = Host::builder().start();
    let returned = |id: &str| {
        let answer = host.http("POST", "/nowhere", &[("x-correlation-id", id)], b"");
        answer.problem_code();
        answer.header("x-correlation-id").unwrap().to_owned()
    };
    let longest = "a".repeat(64);
    for good in ["a", "A.b_c-9", &longest] {
        assert_eq!(returned(good), good);
    }
    let too_long = "a".repeat(65);
    for bad in ["", "a b", "ä", "a/b", &too_long] {
        let made = returned(bad);
        assert_ne!(made, bad);
        assert_eq!(made.len(), 36, "a UUID: {made}");
    }
}

#[test]
fn a_401_waits_for_its_tick() {
    let line = line();
    let started = std::time::Instant::now();
    anonymous(&line.host.send(&created("nobody", "1")));
    assert!(started.elapsed() >= Duration::from_millis(25), "{:?}", started.elapsed());
}
