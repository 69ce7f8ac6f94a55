//! An operator's log: why each webhook was refused, once and not a thousand times, what the tools were asked, and what
//! needs fixing. Senders learn nothing of it.

use std::{
    fs,
    time::{Duration, Instant},
};

use patchbay_tests::{
    API_KEY, Artifact, Host, Line, WAIT_MAX, WEBHOOK_SECRET, created,
    hostile::{FILE, TOOL_TYPE, line as hostile_line, ordered},
    resolved, wait_until,
};
use sandbox::{
    Effect, Target,
    webhook::{Event, Scheme, SignedRequest, Webhook, proof, signed},
};
use serde_json::{Value, json};
use time::OffsetDateTime;

/// The host's interval between two lines of one kind.
const TOLD_EVERY: Duration = Duration::from_secs(60);

const DESK: &str = "servicedesk_plus";

/// A host whose log is JSON, with one tenant.
fn line() -> Line {
    let line = Line::start(Host::builder().plugin(Artifact::SERVICEDESK_PLUS).config("log.format", "\"json\""));
    line.add_tenant("acme", DESK, &[]);
    line
}

/// The lines at an operator's usual level. The hosts of these tests log everything.
fn lines(host: &Host) -> Vec<Value> {
    let log = host.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["level"] != "DEBUG").collect()
}

/// Waits for a line that has all of these fields.
#[track_caller]
fn wait_for_line(host: &Host, fields: &Value) -> Value {
    let fields = fields.as_object().unwrap();
    wait_until(&format!("a line with {fields:?}"), WAIT_MAX, || {
        lines(host).into_iter().find(|line| fields.iter().all(|(name, value)| &line[name] == value))
    })
}

/// Maximum number of lines of one kind after the time that has passed.
fn lines_max(since: Instant) -> usize {
    1 + usize::try_from(since.elapsed().as_secs() / TOLD_EVERY.as_secs()).unwrap()
}

fn signed_body(tenant: &str, body: &[u8]) -> SignedRequest {
    let headers = vec![proof(Scheme::SignatureHeader, WEBHOOK_SECRET, body).unwrap()];
    SignedRequest { path: format!("/webhooks/{tenant}"), headers, body: body.to_vec() }
}

fn aged(seconds: i64) -> SignedRequest {
    let mut webhook = Webhook::new("acme", Event::Created, "1");
    webhook.ticket.created_at = OffsetDateTime::now_utc() - time::Duration::seconds(seconds);
    signed(&webhook, Scheme::HubHeader, WEBHOOK_SECRET).unwrap()
}

#[test]
fn why_a_webhook_was_refused_stands_in_the_log_and_not_in_the_answer() {
    let line = line();
    line.add_tenant("asleep", DESK, &[]);
    line.add_tenant("nowhere", "desk_gone", &[]);
    line.add_tenant("broken", DESK, &[("edition", "moon")]);
    line.host.ctl(&["tenant", "disable", "asleep"]);
    line.host.ctl(&["tenant", "add", "bare", "--tool-type", DESK, "--base-url", "https://a.example"]);
    let unsigned = SignedRequest { headers: vec![], ..created("acme", "1") };
    let another = signed(&Webhook::new("acme", Event::Created, "1"), Scheme::HubHeader, "another-secret").unwrap();
    let mut bodies = Vec::new();
    for (tenant, request, status, reason, words) in [
        ("acme", unsigned, 401, "header_missing", "the header x-servicedesk-signature is missing"),
        ("acme", another, 401, "signature_wrong", "does not belong to this body and the secret webhook_secret"),
        ("acme", aged(1_000), 401, "stale", "300 s are allowed"),
        ("acme", aged(-1_000), 401, "ahead", "30 s are allowed"),
        ("bare", created("bare", "1"), 401, "secret_missing", "plugin-ctl tenant update bare --secret webhook_secret="),
        ("nobody", created("nobody", "1"), 401, "unknown_tenant", "there is no such tenant"),
        ("asleep", created("asleep", "1"), 401, "tenant_disabled", "the tenant is disabled"),
        ("acme", signed_body("acme", b"not json"), 400, "malformed", "not a JSON object"),
        ("acme", signed_body("acme", br#"{"event":"ticket_created"}"#), 422, "invalid", "ticket_id"),
        (
            "nowhere",
            created("nowhere", "1"),
            503,
            "plugin_missing",
            "webhooks of tenant nowhere are refused with 503 and will be resent: no plugin serves this tool type; served are: \
             servicedesk_plus",
        ),
        ("broken", created("broken", "1"), 503, "tenant_configuration", "moon"),
    ] {
        let answer = line.host.send(&request);
        assert_eq!(answer.status, status, "{reason}: {}", answer.text());
        let mut fields = json!({"reason": reason, "status": status});
        if tenant != "nobody" {
            fields["tenant"] = tenant.into();
        }
        let told = wait_for_line(&line.host, &fields);
        let message = told["message"].as_str().unwrap();
        assert!(message.contains(words), "{told:#}");
        assert_eq!(told["correlation_id"].as_str(), answer.header("x-correlation-id"), "{told:#}");
        assert!(["INFO", "WARN"].contains(&told["level"].as_str().unwrap()), "{told:#}");
        if status == 503 {
            assert_eq!(told["level"], "WARN", "{told:#}");
        }
        if tenant != "nobody" {
            assert!(told["tool_type"].is_string() && told["tool_type"] == told["platform"], "{told:#}");
        }
        if status == 401 {
            let mut body = answer.json();
            body.as_object_mut().unwrap().remove("correlation_id");
            bodies.push((reason, body));
        }
    }
    for (reason, body) in &bodies {
        assert_eq!(*body, bodies[0].1, "the sender is told {reason}");
    }
    let refusals = line.host.ctl(&["tenant", "show", "acme"])["refusals"].clone();
    assert!(refusals["401"]["last_reason"].as_str().unwrap().contains("is ahead by"), "{refusals:#}");
    assert!(!line.host.log().contains(WEBHOOK_SECRET));
}

#[test]
fn what_makes_no_job_is_told_with_its_event() {
    let line = line();
    line.open_ticket("1");
    let mut webhook = Webhook::new("acme", Event::Updated, "1");
    for _ in 0..2 {
        let answer = line.host.send(&patchbay_tests::told(&webhook));
        assert_eq!(answer.json()["status"], "ignored", "{}", answer.text());
    }
    let told = wait_for_line(&line.host, &json!({"tenant": "acme", "reason": "ignored"}));
    assert_eq!((&told["event"], &told["ticket"], &told["level"]), (&json!("updated"), &json!("1"), &json!("INFO")));
    webhook.event = Event::Created;
    let statuses: Vec<_> =
        (0..3).map(|_| line.host.send(&patchbay_tests::told(&webhook)).json()["status"].clone()).collect();
    assert_eq!(statuses, ["accepted", "duplicate", "duplicate"]);
    let told = wait_for_line(&line.host, &json!({"tenant": "acme", "reason": "duplicate"}));
    assert_eq!((&told["event"], &told["ticket"], &told["left_out"]), (&json!("created"), &json!("1"), &json!(0)));
}

#[test]
fn a_tenant_that_sends_too_much_is_told() {
    let builder = Host::builder().plugin(Artifact::SERVICEDESK_PLUS).config("log.format", "\"json\"");
    let line = Line::start(builder.config("server.tenant_rate_per_s", 1).config("server.tenant_burst", 1));
    line.add_tenant("acme", DESK, &[]);
    wait_until("one is refused", WAIT_MAX, || (line.host.send(&created("acme", "1")).status == 429).then_some(()));
    let told = wait_for_line(&line.host, &json!({"tenant": "acme", "reason": "rate_limited"}));
    assert!(told["message"].as_str().unwrap().contains("server.tenant_rate_per_s = 1"), "{told:#}");
}

#[test]
fn a_flood_of_refusals_is_a_few_lines() {
    const FLOOD: usize = 200;
    let line = line();
    let began = Instant::now();
    for at in 0..FLOOD {
        assert_eq!(line.host.send(&created(&format!("nobody-{at}"), "1")).status, 401);
        assert_eq!(line.host.send(&SignedRequest { headers: vec![], ..created("acme", "1") }).status, 401);
    }
    wait_for_line(&line.host, &json!({"tenant": "acme", "reason": "header_missing"}));
    wait_for_line(&line.host, &json!({"reason": "unknown_tenant"}));
    let told = lines(&line.host);
    for reason in ["unknown_tenant", "header_missing"] {
        let count = told.iter().filter(|line| line["reason"] == reason).count();
        assert!((1..=lines_max(began)).contains(&count), "{count} lines say {reason}");
    }
    let count = line.host.ctl(&["tenant", "show", "acme"])["refusals"]["401"]["count"].clone();
    assert_eq!(count, FLOOD, "each one is counted");
}

#[test]
fn a_store_that_cannot_be_written_is_a_line_at_both_ends() {
    const REFUSED: usize = 30;
    let line = line();
    let began = Instant::now();
    line.host.limit_files(Some(0));
    for _ in 0..REFUSED {
        assert_eq!(line.host.send(&created("acme", "1")).status, 503);
    }
    line.host.limit_files(None);
    assert_eq!(line.host.send(&created("acme", "1")).status, 202);
    let is_main = |line: &Value| line["file"].as_str().is_some_and(|file| file.ends_with("patchbay.db"));
    let over = wait_until("it is over", WAIT_MAX, || {
        let is_over = |line: &Value| line["message"].as_str().unwrap().contains("the store can be written again");
        lines(&line.host).into_iter().find(|line| is_main(line) && is_over(line))
    });
    assert!(over["commits"].as_u64().unwrap() >= REFUSED as u64, "{over:#}");
    let told = lines(&line.host);
    let errors = told.iter().filter(|line| is_main(line) && line["level"] == "ERROR").count();
    assert!((1..=lines_max(began)).contains(&errors), "{errors} lines");
    wait_for_line(&line.host, &json!({"tenant": "acme", "reason": "store_unavailable", "level": "WARN"}));
}

#[test]
fn a_start_says_whose_jobs_are_paused() {
    let mut line = line();
    line.host.ctl(&["tenant", "pause", "acme"]);
    line.host.restart();
    line.host.wait_for_log(&["WARN", "the jobs of tenant acme are paused", "plugin-ctl tenant resume"]);
    line.host.ctl(&["job", "pause"]);
    line.host.restart();
    line.host.wait_for_log(&["WARN", "the jobs of all tenants are paused", "plugin-ctl job resume"]);
    line.host.ctl(&["job", "resume"]);
    line.host.ctl(&["tenant", "resume", "acme"]);
    line.host.restart();
    assert!(!line.host.log().contains("are paused"), "{}", line.host.log());
}

#[test]
fn a_standby_file_that_is_taken_away_is_not_refused() {
    let host = Host::builder().plugin(Artifact::GOOD).plugin(Artifact::GOOD_V2).start();
    let files = || host.ctl(&["list", "--files"]).as_array().unwrap().len();
    assert_eq!(files(), 2);
    let standby =
        host.ctl(&["list", "--files"]).as_array().unwrap().iter().find(|file| file["state"] == "standby").cloned();
    fs::remove_file(standby.unwrap()["path"].as_str().unwrap()).unwrap();
    host.ctl(&["reload"]);
    assert_eq!(files(), 1);
    assert!(!host.log().contains("refused"), "{}", host.log());
}

#[test]
fn a_tool_that_fails_for_everybody_is_a_warning() {
    let line = line();
    line.add_tenant("other", DESK, &[]);
    line.fail(Target::Any, None, Effect::Status { status: 500, body: None, content_type: None });
    for (tenant, ticket) in [("acme", "1"), ("other", "2")] {
        line.open_ticket(ticket);
        assert_eq!(line.host.send(&created(tenant, ticket)).status, 202);
    }
    line.host.wait_for_log(&["WARN", "the tool fails for every tenant of tool type servicedesk_plus"]);
    let failed =
        wait_for_line(&line.host, &json!({"message": "request to the tool failed", "status": 500, "method": "GET"}));
    assert!(failed["correlation_id"].is_string() && failed["job"].is_string(), "{failed:#}");
    line.repair();
    for attempts in 1.. {
        line.skip_wait(attempts);
        if line.host.log().contains("works again") || attempts > 5 {
            break;
        }
    }
    for ticket in ["1", "2"] {
        line.note_on(ticket);
    }
    line.host.wait_for_log(&["INFO", "the tool of tenant", "works again"]);
}

#[test]
fn a_request_that_changes_something_is_told_without_its_secrets() {
    let line = line();
    line.open_ticket("1");
    let answer = line.host.send(&created("acme", "1"));
    line.note_on("1");
    let posted =
        wait_for_line(&line.host, &json!({"message": "request to the tool", "method": "POST", "tenant": "acme"}));
    assert_eq!(posted["correlation_id"].as_str(), answer.header("x-correlation-id"), "{posted:#}");
    assert!(posted["job"].is_string() && posted["duration_ms"].is_u64() && posted["status"].is_u64(), "{posted:#}");
    assert!(!posted["path"].as_str().unwrap().contains('?'), "{posted:#}");
    let done = wait_for_line(&line.host, &json!({"message": "the note is on the ticket"}));
    assert_eq!(
        (&done["operation"], &done["outcome"], &done["event"], &done["ticket"], &done["platform"]),
        (&json!("update"), &json!("done"), &json!("created"), &json!("1"), &json!(DESK))
    );
    assert_eq!(line.host.send(&resolved("acme", "1")).status, 202);
    let kept = wait_for_line(&line.host, &json!({"message": "the solved ticket is in the history"}));
    assert_eq!((&kept["action"], &kept["event"]), (&json!("inserted"), &json!("resolved")), "{kept:#}");
    let log = line.host.log();
    assert!(!log.contains(API_KEY) && !log.contains(WEBHOOK_SECRET), "{log}");
}

#[test]
fn a_call_over_its_budget_is_counted_and_told() {
    let line = hostile_line();
    line.host.put_file(FILE, &ordered("extract:nap"));
    line.host.ctl(&["reload"]);
    assert_eq!(line.host.send(&created("evil", "1")).status, 202);
    line.host.wait_for_log(&["WARN", "ms of its own", "should take 10 ms", "operation=extract", "tenant=evil"]);
    let counted =
        format!("patchbay_plugin_calls_over_budget_total{{tool_type=\"{TOOL_TYPE}\",method=\"extract_metadata\"}} 1");
    assert!(line.host.metrics().text().contains(&counted), "{}", line.host.metrics().text());
}

#[test]
fn an_operators_reason_stands_in_the_log() {
    let host = Host::builder().plugin(Artifact::GOOD).start();
    host.ctl(&["reload", "desk_good", "--reason", "ticket 4711"]);
    host.wait_for_log(&["a reload was asked for", "ticket 4711"]);
    host.ctl(&["disable", "desk_good", "--reason", "ticket 4712"]);
    host.wait_for_log(&["an operator decides", "ticket 4712"]);
}
