//! A clock that is set forward or back while jobs run and wait: no job is lost, done twice, or waits for the clock.

use std::time::Duration;

use patchbay_tests::{Artifact, Host, Line, TOOL, WAIT_MAX, created, told, wait_until};
use sandbox::{
    Effect, Fault, Target,
    webhook::{Event, Webhook},
};

/// The ticket that the tool is working on when the clock is set.
const RUNNING: &str = "1";
/// The ticket whose job has failed once and waits.
const WAITS: &str = "2";
/// The ticket that comes afterwards.
const AFTER: &str = "3";
const MINUTE_MS: i64 = 60_000;
/// How long the tool takes for a note: enough time to set the clock meanwhile, and far less than a call's deadline.
const NOTE_MS: u64 = 5_000;

/// A webhook of a sender whose clock is right while ours is off by this much.
fn created_by_a_clock(step_ms: i64, ticket: &str) -> sandbox::webhook::SignedRequest {
    let mut webhook = Webhook::new("acme", Event::Created, ticket);
    webhook.ticket.created_at += time::Duration::milliseconds(step_ms);
    told(&webhook)
}

fn line() -> Line {
    let line = Line::start(Host::builder().plugin(Artifact::SERVICEDESK_PLUS).config("retry.jitter", 0));
    line.add_tenant("acme", "servicedesk_plus", &[]);
    [RUNNING, WAITS, AFTER].iter().for_each(|ticket| line.open_ticket(ticket));
    line
}

fn fail_once() -> Fault {
    let effect = Effect::Status { status: 503, body: None, content_type: None };
    Fault { operation: Target::Get, times: Some(1), effect: Some(effect), ..Fault::default() }
}

#[track_caller]
fn check(step_ms: i64) {
    let line = line();
    line.tool.set_faults(vec![fail_once()]).unwrap();
    assert_eq!(line.host.send(&created("acme", WAITS)).status, 202);
    line.job(WAITS, "waits", |job| job["state"] == "waiting");
    let slow = Fault { operation: Target::Note, times: Some(1), delay_ms: NOTE_MS, ..Fault::default() };
    line.tool.set_faults(vec![slow]).unwrap();
    let running = created("acme", RUNNING);
    assert_eq!(line.host.send(&running).status, 202);
    wait_until("the note is on its way", WAIT_MAX, || {
        line.tool.requests().iter().any(|request| request.method == "POST").then_some(())
    });

    line.host.set_clock(step_ms);
    line.host.wait_for_log(&["the clock was set", "running=1"]);
    // Refused because of its signed time. The sender retries when our clock is right.
    assert_eq!(line.host.send(&running).status, 401, "its time is {step_ms} ms off");
    let after = created_by_a_clock(step_ms, AFTER);
    assert_eq!(line.host.send(&after).json()["status"], "accepted");
    assert_eq!(line.host.send(&after).json()["status"], "duplicate");
    for (ticket, attempts) in [(AFTER, 1), (RUNNING, 1), (WAITS, 2)] {
        let job = line.job(ticket, "done", |job| job["state"] == "done");
        assert_eq!(job["attempts"], attempts, "{step_ms}: {job:#}");
        assert_eq!(line.notes(ticket).len(), 1, "{step_ms}: {ticket}");
    }
    line.idle();
    line.host.set_clock(-step_ms);
    assert_eq!(line.host.send(&running).json()["status"], "duplicate", "once the clock is right");
    line.idle();
    assert_eq!(line.notes(RUNNING).len(), 1);
}

#[test]
fn ten_minutes_forward() {
    check(10 * MINUTE_MS);
}

#[test]
fn ten_minutes_back() {
    check(-10 * MINUTE_MS);
}

#[test]
fn an_hour_forward() {
    check(60 * MINUTE_MS);
}

#[test]
fn an_hour_back() {
    check(-60 * MINUTE_MS);
}

#[test]
fn a_clock_that_is_set_back_over_a_restart_keeps_no_job_waiting() {
    let mut line = line();
    // The clock of this run is ahead; that of the next run is right.
    line.host.set_clock(60 * MINUTE_MS);
    line.fail(Target::Any, None, Effect::Status { status: 503, body: None, content_type: None });
    assert_eq!(line.host.send(&created_by_a_clock(60 * MINUTE_MS, WAITS)).status, 202);
    line.job(WAITS, "waits", |job| job["state"] == "waiting");
    line.repair();
    line.host.restart();
    line.host.wait_for_log(&["the clock was set back since the last run"]);
    line.tool.wait_for_notes(TOOL, WAITS, 1, Duration::from_secs(30)).unwrap();
    line.note_on(WAITS);
}
