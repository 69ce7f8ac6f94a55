//! A reopened ticket leaves the search results until it is solved again, even with the same words as before if a tool
//! has no others.

use std::time::Duration;

use patchbay_tests::{Artifact, Line, TOOL, minimal};
use sandbox::TicketFields;

/// How long an unproven `resolved` is remembered. After that, the same words are checked again.
const CONFIRMED: Duration = Duration::from_secs(10 * 60);

fn line(plugin: Artifact, tool_type: &str) -> Line {
    let line = Line::with(&[plugin]);
    line.add_tenant("acme", tool_type, &[]);
    line
}

/// Puts a ticket about a gryphon into the tool.
fn put(line: &Line, ticket: &str, status: &str, resolution: &str) {
    let fields = TicketFields {
        subject: format!("Gryphon {ticket}"),
        status: status.to_owned(),
        resolution: Some(resolution.to_owned()),
        ..TicketFields::default()
    };
    line.tool.put_ticket(TOOL, ticket, fields).unwrap();
}

/// Delivers the same few words about the ticket at each call.
#[track_caller]
fn tell(line: &Line, ticket: &str, event: &str, expected: &str) {
    let answer = line.host.send(&minimal("acme", ticket, event));
    assert_eq!((answer.status, answer.json()["status"].as_str()), (202, Some(expected)), "{event} {}", answer.text());
}

/// The note that a new ticket about gryphons gets.
#[track_caller]
fn note(line: &Line, ticket: &str) -> String {
    put(line, ticket, "Open", "");
    tell(line, ticket, "ticket_created", "accepted");
    line.note_on(ticket).body
}

#[test]
fn it_is_offered_while_it_is_solved() {
    let line = line(Artifact::GOOD, "desk_good");
    for round in 1..=3 {
        let new_ticket = |step: u32| (10 * round + step).to_string();
        tell(&line, "1", "ticket_resolved", "accepted");
        tell(&line, "1", "ticket_resolved", "duplicate");
        line.idle();
        assert!(note(&line, &new_ticket(1)).contains("Feed the gryphon"), "round {round}: it is solved");
        tell(&line, "1", "ticket_reopened", "accepted");
        // This holds whether or not the worker has processed it.
        assert!(!note(&line, &new_ticket(2)).contains("Feed the gryphon"), "round {round}: it is open again");
        tell(&line, "1", "ticket_reopened", "duplicate");
    }
    assert!(line.notes("1").is_empty(), "a reopened ticket gets no note");
}

#[test]
fn a_late_word_of_a_created_ticket_makes_no_second_note() {
    let line = line(Artifact::GOOD, "desk_good");
    put(&line, "1", "Open", "");
    tell(&line, "1", "ticket_created", "accepted");
    line.note_on("1");
    for event in ["ticket_resolved", "ticket_reopened"] {
        tell(&line, "1", event, "accepted");
        line.idle();
        tell(&line, "1", "ticket_created", "duplicate");
    }
    line.note_on("1");
}

#[test]
fn of_a_hint_the_tool_is_asked_again_after_a_reopening_and_after_ten_minutes() {
    let line = line(Artifact::HINTS, "desk_hints");
    put(&line, "1", "Resolved", "Feed the gryphon");
    tell(&line, "1", "ticket_resolved", "accepted");
    line.idle();
    tell(&line, "1", "ticket_resolved", "duplicate");
    assert!(note(&line, "11").contains("Feed the gryphon"));

    tell(&line, "1", "ticket_reopened", "accepted");
    assert!(!note(&line, "12").contains("Feed the gryphon"));
    put(&line, "1", "Resolved", "Stroke the gryphon");
    tell(&line, "1", "ticket_resolved", "accepted");
    tell(&line, "1", "ticket_resolved", "duplicate");
    line.idle();
    assert!(note(&line, "13").contains("Stroke the gryphon"));

    // The ticket was reopened and solved again, and nobody reported the reopening.
    put(&line, "1", "Resolved", "Leave the gryphon alone");
    tell(&line, "1", "ticket_resolved", "duplicate");
    line.host.advance_clock(CONFIRMED + Duration::from_secs(1));
    tell(&line, "1", "ticket_resolved", "accepted");
    tell(&line, "1", "ticket_resolved", "duplicate");
    line.idle();
    assert!(note(&line, "14").contains("Leave the gryphon alone"));
}

#[test]
fn a_hint_of_a_ticket_that_was_not_solved_again_changes_nothing() {
    let line = line(Artifact::HINTS, "desk_hints");
    put(&line, "1", "Resolved", "Feed the gryphon");
    tell(&line, "1", "ticket_resolved", "accepted");
    line.idle();
    let told = [("ticket_reopened", "Open"), ("ticket_resolved", "Open"), ("ticket_resolved", "Cancelled")];
    for (new_ticket, (event, status)) in (11..).zip(told) {
        put(&line, "1", status, "Feed the gryphon");
        line.host.advance_clock(CONFIRMED + Duration::from_secs(1));
        tell(&line, "1", event, "accepted");
        line.run_out();
        assert!(!note(&line, &new_ticket.to_string()).contains("Feed the gryphon"), "{event} {status}");
    }
}

#[test]
fn it_is_known_after_a_restart() {
    let mut line = line(Artifact::GOOD, "desk_good");
    tell(&line, "1", "ticket_resolved", "accepted");
    tell(&line, "1", "ticket_reopened", "accepted");
    line.host.restart();
    tell(&line, "1", "ticket_reopened", "duplicate");
    line.idle();
    assert!(!note(&line, "11").contains("Feed the gryphon"));
    tell(&line, "1", "ticket_resolved", "accepted");
    line.host.restart();
    tell(&line, "1", "ticket_resolved", "duplicate");
    line.idle();
    assert!(note(&line, "12").contains("Feed the gryphon"));
}
