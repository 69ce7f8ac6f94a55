//! A credential that a tool refuses: the tool is asked rarely, so that no account is locked and no job is lost.

use std::time::Duration;

use patchbay_tests::{API_KEY, Artifact, Host, Line, WAIT_MAX, created, wait_until};
use plugin_abi::types::{Event, TicketMetadata};
use serde_json::Value;

use crate::stored::put_in;

const JOBS: usize = 1_000;
const PER_TENANT: usize = 4;
/// The first pause; each further one is twice as long. None ends by itself during the test.
const PAUSE: Duration = Duration::from_secs(60);

fn line() -> Line {
    let builder = Host::builder().plugin(Artifact::GOOD).config("worker.per_tenant", PER_TENANT);
    let line = Line::start(builder.config("retry.base_s", PAUSE.as_secs()));
    line.add_tenant("acme", "desk_good", &[]);
    line.add_tenant("other", "desk_good", &[]);
    line
}

/// A duration after which the pause is over: jitter moves a pause by up to a fifth.
fn jittered(pause: Duration) -> Duration {
    pause + pause / 4
}

fn rotate(line: &Line, key: &str) {
    line.host.ctl(&["tenant", "rotate-secret", "acme", "api_key", key, "--grace", "0s"]);
}

fn refused(line: &Line) -> usize {
    line.tool.requests().iter().filter(|request| request.status == Some(401)).count()
}

/// Runs another tenant's job: the worker has then looked at everything that was due before.
#[track_caller]
fn others_run(line: &Line, ticket: &str) {
    line.open_ticket(ticket);
    assert_eq!(line.host.send(&created("other", ticket)).status, 202);
    line.note_on(ticket);
}

/// All unfinished jobs, including dead letters.
fn all(line: &Line) -> Vec<Value> {
    let listed = line.host.ctl(&["job", "list", "--tenant", "acme", "--limit", "1000"]);
    listed.as_array().unwrap().clone()
}

#[track_caller]
fn wait_until_none_runs(line: &Line) {
    wait_until("none runs", WAIT_MAX, || all(line).iter().all(|job| job["state"] != "running").then_some(()));
}

#[test]
fn of_a_thousand_jobs_few_ask_and_all_run_once_the_key_is_new() {
    let mut line = line();
    (1..=JOBS).for_each(|ticket| line.open_ticket(&ticket.to_string()));
    rotate(&line, "revoked");
    line.host.terminate();
    put_in(&line, "acme", (1..=JOBS).map(|ticket| TicketMetadata::new(ticket.to_string(), Event::Created)));
    line.host.start();
    line.host.wait_for_log(&["WARN", "refused the tenant's credential 3 times", "rotate-secret acme NAME"]);
    others_run(&line, "5001");
    // The jobs that ran at the same time, and no others.
    wait_until_none_runs(&line);
    let at_first = refused(&line);
    assert!((3..=PER_TENANT + 2).contains(&at_first), "{at_first}");

    for (tries, pause, ticket) in [(1, PAUSE, "5002"), (2, PAUSE * 2, "5003")] {
        line.host.advance_clock(jittered(pause));
        wait_until("one tries", WAIT_MAX, || (refused(&line) > at_first + tries - 1).then_some(()));
        others_run(&line, ticket);
        wait_until_none_runs(&line);
        assert_eq!(refused(&line), at_first + tries);
    }
    let waiting = all(&line);
    assert_eq!(waiting.iter().filter(|job| job["attempts"] == 0).count(), JOBS - at_first - 2);
    let refused = waiting.iter().filter(|job| job["credential_refused"] == true && job["paused"] == false);
    assert_eq!(refused.count(), JOBS);
    assert!(line.host.metrics().text().contains("patchbay_tenants_credential_refused 1\n"));

    rotate(&line, API_KEY);
    line.host.wait_for_log(&["INFO", "was changed: its jobs run", "tenant=acme"]);
    // The job that failed itself waits for its time.
    line.host.advance_clock(PAUSE * 4);
    let mut left = JOBS;
    while left > 0 {
        left = wait_until("jobs are done", WAIT_MAX, || Some(all(&line).len()).filter(|now| *now < left));
    }
    (1..=JOBS).for_each(|ticket| assert_eq!(line.notes(&ticket.to_string()).len(), 1, "{ticket}"));
    let log = line.host.log();
    assert_eq!(log.matches("has refused the tenant's credential").count(), 1, "{log}");
    assert!(line.host.metrics().text().contains("patchbay_tenants_credential_refused 0\n"));
}

#[test]
fn the_first_that_is_taken_lets_the_others_run() {
    let line = line();
    let fault = sandbox::Effect::Status { status: 401, body: None, content_type: None };
    line.fail(sandbox::Target::Get, None, fault);
    let tickets = ["1", "2", "3", "4", "5", "6"];
    for (asked, ticket) in (1..).zip(&tickets[..3]) {
        line.open_ticket(ticket);
        assert_eq!(line.host.send(&created("acme", ticket)).status, 202);
        wait_until("it is refused", WAIT_MAX, || (refused(&line) == asked).then_some(()));
    }
    line.host.wait_for_log(&["refused the tenant's credential 3 times"]);
    for ticket in &tickets[3..] {
        line.open_ticket(ticket);
        assert_eq!(line.host.send(&created("acme", ticket)).status, 202);
        let job = line.job(ticket, "waits", |job| job["credential_refused"] == true);
        assert_eq!(job["attempts"], 0, "{job:#}");
    }
    // The tool works again, and nobody has told the host.
    line.repair();
    line.host.advance_clock(jittered(PAUSE));
    line.host.wait_for_log(&["takes the tenant's credential again"]);
    line.idle();
    for ticket in tickets {
        line.note_on(ticket);
        assert_eq!(line.job(ticket, "done", |job| job["state"] == "done")["credential_refused"], false);
    }
}
