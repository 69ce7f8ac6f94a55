//! "My customer's ticket got no note": the job is found by what people have at hand, says what it waits for, and is
//! retried.

use std::time::Duration;

use patchbay_tests::{Artifact, Host, Line, WAIT_MAX, resolved, told, wait_until};
use sandbox::{
    Effect, Fault, Target,
    webhook::{Event, Webhook},
};
use serde_json::{Value, json};

const HOUR: Duration = Duration::from_secs(3_600);

fn line(tenants: &[&str]) -> Line {
    let line = Line::with(&[Artifact::SERVICEDESK_PLUS]);
    tenants.iter().for_each(|tenant| line.add_tenant(tenant, "servicedesk_plus", &[]));
    line
}

fn status(status: u16) -> Effect {
    Effect::Status { status, body: None, content_type: None }
}

/// Accepts a webhook whose time fits the host's clock, which is this far ahead.
#[track_caller]
fn accepted(line: &Line, tenant: &str, ticket: &str, ahead: Duration) {
    let mut webhook = Webhook::new(tenant, Event::Created, ticket);
    webhook.ticket.created_at += time::Duration::try_from(ahead).unwrap();
    assert_eq!(line.host.send(&told(&webhook)).status, 202);
}

/// Makes a dead letter at once, by a tool that refuses.
#[track_caller]
fn give_up(line: &Line, tenant: &str, ticket: &str, answer: u16) -> Value {
    line.open_ticket(ticket);
    line.fail(Target::Note, None, status(answer));
    accepted(line, tenant, ticket, Duration::ZERO);
    line.job(ticket, "dead", |job| job["state"] == "dead")
}

/// The tickets of the jobs that a command lists.
#[track_caller]
fn tickets(line: &Line, args: &[&str]) -> Vec<String> {
    let jobs = line.host.ctl(args);
    jobs.as_array().unwrap().iter().map(|job| job["ticket_id"].as_str().unwrap().to_owned()).collect()
}

fn text<'a>(job: &'a Value, name: &str) -> &'a str {
    job[name].as_str().unwrap_or_else(|| panic!("no {name} in {job:#}"))
}

#[test]
fn a_job_is_found_by_ticket_correlation_id_and_the_beginning_of_its_id() {
    let line = line(&["acme", "other"]);
    for (tenant, ticket) in [("acme", "4711"), ("other", "4712")] {
        line.open_ticket(ticket);
        accepted(&line, tenant, ticket, Duration::ZERO);
        line.note_on(ticket);
    }
    let done = line.job("4711", "done", |job| job["state"] == "done");
    let other = line.job("4712", "done", |job| job["state"] == "done");
    let dead = give_up(&line, "other", "4711", 404);
    let id = text(&done, "id");
    for (found, expected) in [
        ("4711", vec![text(&dead, "id"), id]),
        (text(&done, "correlation_id"), vec![id]),
        (id, vec![id]),
        (&id[..id.len() - 2], vec![id]),
        ("471", vec![]),
    ] {
        let jobs = line.host.ctl(&["job", "find", found]);
        let ids: Vec<_> = jobs.as_array().unwrap().iter().map(|job| text(job, "id")).collect();
        assert_eq!(ids, expected, "{found}");
    }
    assert_eq!(line.host.ctl(&["job", "show", &id[..id.len() - 2]])["id"], id);
    // All ids of one period begin alike.
    let failure = line.host.try_ctl(&["job", "show", &id[..1]]).failure();
    assert_eq!(failure["code"], "AMBIGUOUS_JOB", "{failure:#}");
    let message = text(&failure, "message");
    assert!([&done, &other, &dead].iter().all(|job| message.contains(text(job, "id"))), "{message}");
    // A short prefix changes no job, even if it matches only one.
    let failure = line.host.try_ctl(&["job", "retry", &text(&dead, "id")[..7]]).failure();
    assert_eq!(failure["code"], "BAD_REQUEST", "{failure:#}");
    assert!(text(&failure, "message").contains("7 of at least 8 digits"), "{failure:#}");
    let failure = line.host.try_ctl(&["job", "show", "ffffffff"]).failure();
    assert_eq!(failure["code"], "UNKNOWN_JOB", "{failure:#}");
}

#[test]
fn a_resolved_ticket_has_a_job_that_can_be_shown_when_it_is_done() {
    let line = line(&["acme"]);
    assert_eq!(line.host.send(&resolved("acme", "88")).status, 202);
    line.idle();
    let [found] = line.host.ctl(&["job", "find", "88"]).as_array().unwrap().clone().try_into().unwrap();
    let wanted = json!({"state": "done", "kind": "record", "outcome": "done", "attempts": 1, "ticket_id": "88"});
    for (name, value) in wanted.as_object().unwrap() {
        assert_eq!(&found[name], value, "{found:#}");
    }
    let shown = line.host.ctl(&["job", "show", text(&found, "id")]);
    assert_eq!((&shown["kind"], &shown["errors"]), (&json!("record"), &json!([])), "{shown:#}");
    let by_webhook = line.host.ctl(&["job", "find", text(&found, "correlation_id")]);
    assert_eq!(by_webhook[0]["id"], found["id"]);
    assert_eq!(tickets(&line, &["job", "list", "--state", "done"]), ["88"]);
    assert_eq!(tickets(&line, &["job", "list"]), [""; 0], "what is done is listed when it is asked for");
}

#[test]
fn a_list_is_narrowed_by_ticket_time_and_reason_and_pages_on() {
    let line = line(&["acme", "other"]);
    give_up(&line, "acme", "1", 404);
    give_up(&line, "acme", "2", 400);
    line.host.advance_clock(2 * HOUR);
    line.fail(Target::Any, None, status(503));
    accepted(&line, "other", "3", 2 * HOUR);
    line.job("3", "waits", |job| job["state"] == "waiting");
    for (args, expected) in [
        (&["--ticket", "2"][..], &["2"][..]),
        (&["--ticket", "2", "--tenant", "other"], &[]),
        (&["--since", "1h"], &["3"]),
        (&["--since", "3h"], &["3", "2", "1"]),
        (&["--since", "2020-01-01T00:00:00Z"], &["3", "2", "1"]),
        (&["--since", "2999-01-01T00:00:00+01:00"], &[]),
        (&["--reason", "not_found"], &["1"]),
        (&["--reason", "validation"], &["2"]),
        (&["--reason", "api"], &["3"]),
        (&["--reason", "api", "--state", "dead"], &[]),
        (&["--reason", "bored"], &[]),
        (&["--limit", "2"], &["3", "2"]),
    ] {
        assert_eq!(tickets(&line, &[&["job", "list"], args].concat()), expected, "{args:?}");
    }
    let page = line.host.ctl(&["job", "list", "--limit", "2"]);
    assert_eq!(tickets(&line, &["job", "list", "--after", text(&page[1], "id")]), ["1"]);
    for args in [
        &["list"][..],
        &["list", "--state", "done"],
        &["retry", "--dead"],
        &["retry", "--waiting"],
        &["purge", "--yes"],
    ] {
        let ended = line.host.try_ctl(&[&["job"], args, &["--tenant", "nobody"]].concat());
        assert_eq!((ended.code, &ended.failure()["code"]), (1, &json!("UNKNOWN_TENANT")), "{args:?}");
    }
    assert_eq!(line.host.ctl(&["job", "retry", "--dead", "--tenant", "other"])["jobs"], 0, "it is there");
}

#[test]
fn dead_letters_are_put_back_and_thrown_away_by_tenant_and_reason() {
    let line = line(&["acme", "other"]);
    let first = give_up(&line, "acme", "1", 404);
    for (tenant, ticket, answer) in [("acme", "2", 400), ("other", "3", 404), ("other", "4", 400)] {
        give_up(&line, tenant, ticket, answer);
    }
    line.repair();
    let retried = line.host.ctl(&["job", "retry", "--dead", "--tenant", "acme", "--reason", "not_found"]);
    assert_eq!(retried["jobs"], 1);
    line.note_on("1");
    let again = line.job("1", "done", |job| job["state"] == "done");
    assert_eq!(again["accepted_at"], first["accepted_at"], "it was accepted when it was");
    assert_eq!(first["retried_at"], Value::Null);
    assert!(text(&again, "retried_at") >= text(&first, "ended_at"), "{again:#}");
    assert_eq!(tickets(&line, &["job", "list", "--state", "dead"]), ["4", "3", "2"]);

    assert_eq!(line.host.ctl(&["job", "purge", "--yes", "--tenant", "other", "--reason", "validation"])["jobs"], 1);
    assert_eq!(tickets(&line, &["job", "list", "--state", "dead"]), ["3", "2"]);
    assert_eq!(line.host.ctl(&["job", "retry", "--dead", "--tenant", "acme"])["jobs"], 1);
    assert_eq!(line.host.ctl(&["job", "purge", "--yes"])["jobs"], 1);
    let neither = line.host.try_ctl(&["job", "retry"]);
    assert_eq!(neither.code, 2);
    for way in ["--dead", "--waiting"] {
        assert!(neither.stderr.contains(way), "{}", neither.stderr);
    }
}

#[test]
fn a_dead_letter_that_was_put_back_has_its_time_to_give_up_anew() {
    let line = line(&["acme"]);
    line.open_ticket("1");
    line.fail(Target::Any, None, status(503));
    accepted(&line, "acme", "1", Duration::ZERO);
    line.job("1", "waits", |job| job["state"] == "waiting");
    line.host.advance_clock(25 * HOUR);
    let dead = line.job("1", "dead", |job| job["state"] == "dead");
    line.host.ctl(&["job", "retry", text(&dead, "id")]);
    let again = line.job("1", "waits again", |job| job["state"] == "waiting");
    assert_eq!(again["accepted_at"], dead["accepted_at"]);
    line.host.advance_clock(25 * HOUR);
    let dead = line.job("1", "dead again", |job| job["state"] == "dead");
    assert_eq!((&dead["outcome"], &dead["retried_at"]), (&json!("gave_up"), &again["retried_at"]), "{dead:#}");
}

#[test]
fn what_waits_for_its_time_is_hurried() {
    let builder = Host::builder().plugin(Artifact::SERVICEDESK_PLUS);
    // None of these waits ends by itself during the test.
    let line = Line::start(builder.config("retry.base_s", 900).config("retry.max_s", 900));
    for (tenant, ticket) in [("acme", "1"), ("acme", "2"), ("other", "3")] {
        if ticket != "2" {
            line.add_tenant(tenant, "servicedesk_plus", &[]);
        }
        line.open_ticket(ticket);
        line.fail(Target::Any, None, status(503));
        accepted(&line, tenant, ticket, Duration::ZERO);
        line.job(ticket, "waits", |job| job["state"] == "waiting");
    }
    line.repair();
    let waiting = line.job("1", "waits", |job| job["state"] == "waiting");
    line.host.ctl(&["job", "retry", text(&waiting, "id")]);
    line.note_on("1");
    assert_eq!(tickets(&line, &["job", "list", "--state", "waiting"]), ["3", "2"]);
    assert_eq!(line.host.ctl(&["job", "retry", "--waiting", "--tenant", "acme"])["jobs"], 1);
    line.note_on("2");
    assert_eq!(tickets(&line, &["job", "list", "--state", "waiting"]), ["3"]);
    assert_eq!(line.host.ctl(&["job", "retry", "--waiting"])["jobs"], 1);
    line.note_on("3");
    let done = line.job("3", "done", |job| job["state"] == "done");
    let failure = line.host.try_ctl(&["job", "retry", text(&done, "id")]).failure();
    assert!(text(&failure, "message").contains("is done"), "{failure:#}");
}

#[test]
fn a_job_that_runs_or_is_due_is_not_hurried() {
    let line = line(&["acme"]);
    line.open_ticket("1");
    let hangs = Fault { operation: Target::Get, times: Some(1), delay_ms: 600_000, ..Fault::default() };
    line.tool.set_faults(vec![hangs]).unwrap();
    accepted(&line, "acme", "1", Duration::ZERO);
    let running = line.job("1", "runs", |job| job["state"] == "running");
    let refusal = |job: &Value| {
        let ended = line.host.try_ctl(&["job", "retry", text(job, "id")]);
        assert_eq!(ended.code, 1, "{ended:?}");
        text(&ended.failure(), "message").to_owned()
    };
    assert!(refusal(&running).ends_with("is running"), "{}", refusal(&running));
    line.host.ctl(&["tenant", "pause", "acme"]);
    accepted(&line, "acme", "2", Duration::ZERO);
    let queued = line.job("2", "is due", |job| job["state"] == "queued");
    assert!(refusal(&queued).contains("is queued: it is due already"), "{}", refusal(&queued));
}

/// The waits of this ticket's job: their reasons, and whether each is over.
fn waits(job: &Value) -> Vec<(String, bool)> {
    let waits = job["waits"].as_array().unwrap();
    waits.iter().map(|wait| (text(wait, "reason").to_owned(), wait["until"] != Value::Null)).collect()
}

#[track_caller]
fn waits_for(line: &Line, ticket: &str, reason: &str) -> Value {
    let lasts = |job: &Value| waits(job).contains(&(reason.to_owned(), false));
    let job = line.job(ticket, reason, lasts);
    assert_eq!(job["attempts"], 0, "{job:#}");
    job
}

#[test]
fn a_job_says_what_it_waits_for_and_since_when_also_after_a_restart_and_when_it_is_done() {
    let mut line = line(&["acme"]);
    line.open_ticket("1");
    line.host.ctl(&["tenant", "pause", "acme"]);
    accepted(&line, "acme", "1", Duration::ZERO);
    let paused = waits_for(&line, "1", "paused");
    assert_eq!(waits(&paused).len(), 1, "{paused:#}");
    let wait = &paused["waits"][0];
    assert!(text(wait, "message").contains("plugin-ctl tenant resume acme"), "{wait:#}");
    assert!(text(wait, "since") >= text(&paused, "accepted_at"), "{paused:#}");
    line.host.restart();
    assert_eq!(waits_for(&line, "1", "paused")["waits"][0]["since"], wait["since"]);

    line.host.ctl(&["disable", "servicedesk_plus"]);
    line.host.ctl(&["tenant", "resume", "acme"]);
    waits_for(&line, "1", "plugin_disabled");
    line.host.ctl(&["tenant", "disable", "acme"]);
    line.host.ctl(&["enable", "servicedesk_plus"]);
    waits_for(&line, "1", "tenant_disabled");
    line.host.ctl(&["tenant", "enable", "acme"]);
    line.note_on("1");
    let done = line.job("1", "done", |job| job["state"] == "done");
    let over = ["paused", "plugin_disabled", "tenant_disabled"].map(|reason| (reason.to_owned(), true));
    assert_eq!(waits(&done), over, "{done:#}");

    // A job that comes later did not wait for any of it.
    line.open_ticket("2");
    accepted(&line, "acme", "2", Duration::ZERO);
    line.note_on("2");
    let later = line.job("2", "done", |job| job["state"] == "done");
    assert_eq!(waits(&later), [], "{later:#}");
}

#[test]
fn a_wait_for_a_plugin_or_a_credential_is_told_too() {
    let line = line(&["acme"]);
    let plugin = line.host.plugins().join("libservicedesk_plus.so");
    line.open_ticket("1");
    line.host.ctl(&["tenant", "pause", "acme"]);
    accepted(&line, "acme", "1", Duration::ZERO);
    let away = line.host.folder().join("away");
    std::fs::rename(&plugin, &away).unwrap();
    line.host.ctl(&["reload"]);
    line.host.ctl(&["tenant", "resume", "acme"]);
    let job = waits_for(&line, "1", "no_plugin");
    let message = text(job["waits"].as_array().unwrap().last().unwrap(), "message").to_owned();
    assert!(message.contains("no plugin serves servicedesk_plus"), "{message}");
    line.fail(Target::Get, None, status(401));
    std::fs::rename(&away, &plugin).unwrap();
    line.host.ctl(&["reload"]);
    for ticket in ["2", "3"] {
        line.open_ticket(ticket);
        accepted(&line, "acme", ticket, Duration::ZERO);
    }
    wait_until("the tool's refusals are too many", WAIT_MAX, || {
        let listed = line.host.ctl(&["job", "list"]);
        let last = listed[0]["id"].as_str()?.to_owned();
        let job = line.host.ctl(&["job", "show", &last]);
        waits(&job).contains(&("credential_refused".to_owned(), false)).then_some(())
    });
    // The tool accepts the credential again, and nobody tells the host.
    line.repair();
    line.host.advance_clock(HOUR / 12);
    for ticket in ["1", "2", "3"] {
        line.note_on(ticket);
        let done = line.job(ticket, "done", |job| job["state"] == "done");
        assert!(waits(&done).iter().all(|(_, is_over)| *is_over), "{done:#}");
    }
}
