//! Unproven webhooks are hints: their content does not count, and the tool's answer does.

use std::time::Duration;

use patchbay_tests::{Artifact, Line, TOOL, created, told};
use sandbox::{
    Effect, Target, TicketFields,
    webhook::{Event, Webhook},
};
use serde_json::Value;

fn line() -> Line {
    let line = Line::with(&[Artifact::HINTS]);
    line.add_tenant("acme", "desk_hints", &[]);
    line
}

/// Puts the ticket into the tool.
fn put(line: &Line, ticket: &str, subject: &str, status: &str, resolution: &str) {
    let fields = TicketFields {
        subject: subject.to_owned(),
        status: status.to_owned(),
        resolution: Some(resolution.to_owned()),
        ..TicketFields::default()
    };
    line.tool.put_ticket(TOOL, ticket, fields).unwrap();
}

/// A webhook with a content that the tool's ticket does not have.
fn forged(event: Event, ticket: &str) -> sandbox::webhook::SignedRequest {
    let mut webhook = Webhook::new("acme", event, ticket);
    webhook.ticket.subject = "Forged gryphon".to_owned();
    webhook.ticket.resolution = Some("Forged: send your password".to_owned());
    told(&webhook)
}

#[track_caller]
fn deliver(line: &Line, event: Event, ticket: &str) -> Value {
    let answer = line.host.send(&forged(event, ticket));
    assert_eq!(answer.status, 202, "{}", answer.text());
    answer.json()["status"].clone()
}

#[test]
fn a_note_is_made_of_the_ticket_alone() {
    let line = line();
    put(&line, "1", "Genuine gryphon", "Open", "");
    assert_eq!(deliver(&line, Event::Created, "1"), "accepted");
    let note = line.note_on("1").body;
    assert!(note.contains("Genuine") && !note.contains("Forged"), "{note}");
}

#[test]
fn a_ticket_is_history_only_when_its_tool_says_that_it_is_solved() {
    let line = line();
    put(&line, "1", "Gryphon in the printer", "Open", "A draft for the gryphon");
    put(&line, "2", "Gryphon in the scanner", "Resolved", "Feed the gryphon");
    assert_eq!(deliver(&line, Event::Resolved, "1"), "accepted");
    line.job("1", "may be solved yet", |job| job["last_error"]["code"] == "not_solved");
    line.host.advance_clock(Duration::from_secs(60));
    line.host.wait_for_log(&["the tool does not say that the ticket is solved"]);
    assert_eq!(deliver(&line, Event::Resolved, "2"), "accepted");
    line.host.wait_for_log(&["the solved ticket is in the history"]);
    line.idle();

    put(&line, "3", "Gryphon again", "Open", "");
    assert_eq!(line.host.send(&created("acme", "3")).status, 202);
    let note = line.note_on("3").body;
    assert!(note.contains("Feed the gryphon"), "{note}");
    assert!(!note.contains("Forged") && !note.contains("A draft"), "{note}");
}

#[test]
fn a_tool_may_tell_of_a_solution_before_it_shows_it() {
    let line = line();
    put(&line, "1", "Gryphon in the printer", "Open", "");
    assert_eq!(deliver(&line, Event::Resolved, "1"), "accepted");
    line.job("1", "may be solved yet", |job| job["state"] == "waiting");
    put(&line, "1", "Gryphon in the printer", "Resolved", "Feed the gryphon");
    line.skip_wait(1);
    line.host.wait_for_log(&["the solved ticket is in the history"]);
}

#[test]
fn it_is_asked_again_like_any_other_job_and_known_when_it_comes_twice() {
    let line = line();
    put(&line, "1", "Gryphon in the printer", "Resolved", "Feed the gryphon");
    line.fail(Target::Get, Some(1), Effect::Status { status: 503, body: None, content_type: None });
    let webhook = forged(Event::Resolved, "1");
    for expected in ["accepted", "duplicate"] {
        assert_eq!(line.host.send(&webhook).json()["status"], expected);
    }
    let job = line.job("1", "waits", |job| job["state"] == "waiting");
    assert_eq!((&job["kind"], &job["last_error"]["code"]), (&"confirm".into(), &"api".into()), "{job:#}");
    line.skip_wait(1);
    line.host.wait_for_log(&["the solved ticket is in the history"]);
}

#[test]
fn of_a_ticket_that_the_tool_does_not_have_nothing_is_kept() {
    let line = line();
    assert_eq!(deliver(&line, Event::Resolved, "404"), "accepted");
    line.job("404", "may be shown yet", |job| job["state"] == "waiting");
    line.host.advance_clock(Duration::from_secs(10 * 60));
    assert_eq!(line.job("404", "dead", |job| job["state"] == "dead")["last_error"]["code"], "not_found");
}
