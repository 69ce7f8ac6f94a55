//! The end of a host and its next start: accepted webhooks stay accepted, whatever ended it.

use std::time::Duration;

use patchbay_tests::{Artifact, Host, Line, TOOL, WAIT_MAX, created};
use sandbox::{Effect, Fault, Target};

/// Longer than a job waits after its first failures, but shorter than a lease: a running job must not lose its own.
const SKIP: Duration = Duration::from_secs(60);
const TICKETS: usize = 20;

#[test]
fn accepted_jobs_survive_kill_9_and_give_one_note_each() {
    let mut line = Line::with(&[Artifact::SERVICEDESK_PLUS]);
    line.add_tenant("acme", "servicedesk_plus", &[]);
    let tickets: Vec<_> = (1..=TICKETS).map(|ticket| ticket.to_string()).collect();
    tickets.iter().for_each(|ticket| line.open_ticket(ticket));
    line.fail(Target::Any, None, Effect::Status { status: 503, body: None, content_type: None });
    for ticket in &tickets {
        assert_eq!(line.host.send(&created("acme", ticket)).status, 202);
    }
    line.host.kill9();
    line.repair();
    line.host.start();
    line.host.advance_clock(SKIP);
    for ticket in &tickets {
        line.tool.wait_for_notes(TOOL, ticket, 1, WAIT_MAX).unwrap();
    }
    line.idle();
    for ticket in &tickets {
        assert_eq!(line.notes(ticket).len(), 1, "ticket {ticket}");
    }
}

#[test]
fn a_note_whose_answer_a_crash_cut_off_is_not_posted_again() {
    let mut line = Line::with(&[Artifact::SERVICEDESK_PLUS]);
    line.add_tenant("acme", "servicedesk_plus", &[]);
    line.open_ticket("1");
    // The note is accepted, but its answer is held back until the host is gone.
    let held = Fault {
        operation: Target::Note,
        times: Some(1),
        delay_ms: 0,
        effect: Some(Effect::CutBody),
        ..Fault::default()
    };
    line.tool.set_faults(vec![held]).unwrap();
    assert_eq!(line.host.send(&created("acme", "1")).status, 202);
    line.tool.wait_for_notes(TOOL, "1", 1, WAIT_MAX).unwrap();
    line.host.kill9();
    line.host.start();
    line.host.advance_clock(SKIP);
    line.job("1", "done", |job| job["state"] == "done");
    assert_eq!(line.notes("1").len(), 1);
}

#[test]
fn duplicates_are_known_over_a_restart() {
    let mut line = Line::with(&[Artifact::SERVICEDESK_PLUS]);
    line.add_tenant("acme", "servicedesk_plus", &[]);
    line.open_ticket("1");
    let webhook = created("acme", "1");
    assert_eq!(line.host.send(&webhook).json()["status"], "accepted");
    line.note_on("1");
    line.host.restart();
    assert_eq!(line.host.send(&webhook).json()["status"], "duplicate");
    line.host.kill9();
    line.host.start();
    assert_eq!(line.host.send(&webhook).json()["status"], "duplicate");
    line.idle();
    assert_eq!(line.notes("1").len(), 1);
}

#[test]
fn a_second_host_on_the_same_state_is_refused_and_told_who_holds_it() {
    let host = Host::builder().start();
    let second = host.run_to_end(&["serve", "--config", "patchbay.toml"]);
    assert_eq!(second.code, Some(1), "{}", second.log);
    assert!(second.log.contains(&host.process_id().to_string()), "{}", second.log);
    assert_eq!(host.http("GET", "/healthz", &[], b"").status, 200, "the first is not disturbed");
    assert_eq!(host.try_ctl(&["list"]).code, 0, "its socket is still there");
}

#[test]
fn a_socket_that_a_crash_left_behind_is_cleaned_up() {
    let mut host = Host::builder().start();
    host.kill9();
    assert!(host.socket().exists(), "else there is nothing to clean up");
    assert_eq!(host.try_ctl(&["list"]).code, 3, "nobody answers on it");
    host.start();
    host.ctl(&["list"]);
}

#[test]
fn sigterm_ends_with_zero_and_leaves_nothing_that_runs() {
    let mut line = Line::with(&[Artifact::GOOD]);
    line.add_tenant("acme", "desk_good", &[]);
    line.open_ticket("1");
    assert_eq!(line.host.send(&created("acme", "1")).status, 202);
    line.note_on("1");
    let ended = line.host.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert!(!line.host.socket().exists(), "the socket's name goes with the host");
    line.host.start();
    assert_eq!(line.host.plugin("desk_good")["state"], "active");
}

#[test]
fn private_copies_of_an_earlier_run_are_removed() {
    let mut host = Host::builder().plugin(Artifact::GOOD).start();
    host.kill9();
    host.start();
    assert_eq!(host.copies().len(), 1, "{:#?}", host.copies());
}
