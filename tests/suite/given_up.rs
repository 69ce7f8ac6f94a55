//! What is retried and what is given up at once: a ticket that is not visible yet, and one that cannot be read or is
//! refused.

use std::time::Duration;

use patchbay_tests::{Artifact, Line, created};
use sandbox::{Effect, Target};
use serde_json::json;

/// How long a tool may not show a ticket that it has reported.
const SHOWN_WITHIN: Duration = Duration::from_secs(10 * 60);

fn line() -> Line {
    let line = Line::with(&[Artifact::SERVICEDESK_PLUS]);
    line.add_tenant("acme", "servicedesk_plus", &[]);
    line
}

fn status(status: u16) -> Effect {
    Effect::Status { status, body: None, content_type: None }
}

#[test]
fn a_ticket_that_is_shown_late_gets_its_note() {
    for (ticket, effect, code) in [("1", None, "not_found"), ("2", Some(status(403)), "authentication")] {
        let line = line();
        if let Some(effect) = effect {
            line.open_ticket(ticket);
            line.fail(Target::Get, None, effect);
        }
        assert_eq!(line.host.send(&created("acme", ticket)).status, 202);
        let job = line.job(ticket, "waits", |job| job["state"] == "waiting");
        assert_eq!((&job["attempts"], &job["last_error"]["code"]), (&json!(1), &json!(code)), "{job:#}");
        line.open_ticket(ticket);
        line.repair();
        // The job is retried by itself, within seconds.
        line.note_on(ticket);
        let job = line.job(ticket, "done", |job| job["state"] == "done");
        assert_eq!((&job["outcome"], &job["errors"][0]["code"]), (&json!("done"), &json!(code)), "{job:#}");
    }
}

#[test]
fn one_that_is_never_shown_is_given_up_after_ten_minutes() {
    for (effect, code) in [(None, "not_found"), (Some(status(401)), "authentication")] {
        let line = line();
        if let Some(effect) = effect {
            line.open_ticket("1");
            line.fail(Target::Get, None, effect);
        }
        assert_eq!(line.host.send(&created("acme", "1")).status, 202);
        line.job("1", "waits", |job| job["state"] == "waiting");
        line.host.advance_clock(SHOWN_WITHIN);
        let job = line.job("1", "dead", |job| job["state"] == "dead");
        assert_eq!((&job["attempts"], &job["outcome"]), (&json!(2), &json!(code)), "{job:#}");
        // Once put back, the job has ten minutes again.
        line.repair();
        line.host.ctl(&["job", "retry", job["id"].as_str().unwrap()]);
        if code == "not_found" {
            line.job("1", "waits", |job| job["state"] == "waiting");
            line.open_ticket("1");
        }
        line.note_on("1");
    }
}

#[test]
fn a_note_that_has_no_place_is_given_up_at_once() {
    for (refused, code) in [(404, "not_found"), (403, "authentication"), (401, "authentication")] {
        let line = line();
        line.open_ticket("1");
        line.fail(Target::Note, None, status(refused));
        assert_eq!(line.host.send(&created("acme", "1")).status, 202);
        let job = line.job("1", "dead", |job| job["state"] == "dead");
        assert_eq!((&job["attempts"], &job["outcome"]), (&json!(1), &json!(code)), "{job:#}");
        let message = job["last_error"]["message"].as_str().unwrap();
        assert!(message.starts_with("posting the note failed: "), "{message}");
    }
}

#[test]
fn an_answer_that_cannot_be_read_is_a_dead_letter_that_says_what_and_where() {
    for (operation, body, what) in [
        (Target::Get, "{\"request\": [", "getting the ticket failed: "),
        (Target::Get, "[1, 2]", "getting the ticket failed: "),
        (Target::Note, "{\"note\"", "posting the note failed: "),
    ] {
        let line = line();
        line.open_ticket("1");
        let effect = Effect::Status { status: 200, body: Some(body.to_owned()), content_type: None };
        line.fail(operation, None, effect);
        assert_eq!(line.host.send(&created("acme", "1")).status, 202);
        let job = line.job("1", "dead", |job| job["state"] == "dead");
        assert_eq!((&job["attempts"], &job["outcome"]), (&json!(1), &json!("malformed")), "{body}: {job:#}");
        let message = job["last_error"]["message"].as_str().unwrap();
        assert!(message.starts_with(what) && message.contains("/requests/1") && message.contains(body), "{message}");
    }
}
