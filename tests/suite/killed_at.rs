//! The host is killed between any two steps of a job. The sender and the next start make one job of it and, if the
//! plugin can look for its note, one note.

use patchbay_tests::{Artifact, Line, TOOL, created, minimal};
use sandbox::TicketFields;
use serde_json::json;

/// Where the host is killed, how the repetition is answered, and how many attempts it takes.
const PLACES: [(&str, &str, u32); 9] = [
    ("inserted", "accepted", 1),
    ("accepted", "duplicate", 1),
    ("claimed", "duplicate", 2),
    ("fetched", "duplicate", 2),
    ("written", "duplicate", 2),
    ("marked_sent", "duplicate", 2),
    ("posted", "duplicate", 2),
    // The history has the attempt that posted the note.
    ("history_written", "duplicate", 1),
    ("completed", "duplicate", 1),
];

/// Kills the host at this point, restarts it, repeats the webhook as a sender without an answer would, and returns the
/// answer to the repetition and the resulting job.
#[track_caller]
fn killed_at(line: &mut Line, place: &str, ticket: &str) -> (String, serde_json::Value) {
    line.open_ticket(ticket);
    line.host.kill_at(place);
    let webhook = created("acme", ticket);
    // From "claimed" on, the answer and the end race each other, as they should.
    let answer = line.host.try_send(&webhook);
    assert!(answer.is_none_or(|answer| answer.status == 202), "{place}");
    assert_eq!(line.host.end().code, None, "{place}: it was killed");
    line.host.start();
    let again = line.host.send(&webhook);
    assert_eq!(again.status, 202, "{place}: {}", again.text());
    let job = line.job(ticket, "done", |job| job["state"] == "done");
    (again.json()["status"].as_str().unwrap().to_owned(), job)
}

#[test]
fn each_ticket_gets_one_note() {
    let mut line = Line::with(&[Artifact::SERVICEDESK_PLUS]);
    line.add_tenant("acme", "servicedesk_plus", &[]);
    for (ticket, (place, again, attempts)) in (1..).zip(PLACES) {
        let ticket = ticket.to_string();
        let (status, job) = killed_at(&mut line, place, &ticket);
        assert_eq!((status.as_str(), &job["attempts"]), (again, &json!(attempts)), "{place}: {job:#}");
        let cut_off: Vec<_> = (1..attempts).map(|attempt| json!([attempt, "host_ended"])).collect();
        let errors = job["errors"].as_array().unwrap().iter();
        let errors: Vec<_> = errors.map(|error| json!([error["attempt"], error["code"]])).collect();
        assert_eq!(errors, cut_off, "{place}: {job:#}");
        assert_eq!(job["outcome"], "done", "{place}: {job:#}");
        assert_eq!(line.notes(&ticket).len(), 1, "{place}");
    }
}

#[test]
fn each_ticket_that_is_reopened_leaves_the_answers() {
    const SOLVED: &str = "Feed the gryphon";
    let mut line = Line::with(&[Artifact::GOOD]);
    line.add_tenant("acme", "desk_good", &[]);
    for (number, (place, again)) in (1..).zip([
        ("inserted", "accepted"),
        ("accepted", "duplicate"),
        ("claimed", "duplicate"),
        ("history_written", "duplicate"),
        ("completed", "duplicate"),
    ]) {
        // The new ticket is found by its number, which is in the solved one's subject.
        let (solved, new) = (format!("1000{number}"), format!("2000{number}"));
        let told = |line: &Line, event| {
            let answer = line.host.send(&minimal("acme", &solved, event));
            answer.json()["status"].as_str().map(str::to_owned)
        };
        assert_eq!(told(&line, "ticket_resolved").as_deref(), Some("accepted"), "{place}");
        line.idle();
        line.host.kill_at(place);
        let answer = line.host.try_send(&minimal("acme", &solved, "ticket_reopened"));
        assert!(answer.is_none_or(|answer| answer.status == 202), "{place}");
        assert_eq!(line.host.end().code, None, "{place}: it was killed");
        line.host.start();
        assert_eq!(told(&line, "ticket_reopened").as_deref(), Some(again), "{place}");
        for (step, offered) in [("open", false), ("solved again", true)] {
            if offered {
                assert_eq!(told(&line, "ticket_resolved").as_deref(), Some("accepted"), "{place}");
                line.idle();
            }
            let ticket = format!("{new}{}", u8::from(offered));
            let fields = TicketFields { subject: format!("As in {solved}"), ..TicketFields::default() };
            line.tool.put_ticket(TOOL, &ticket, fields).unwrap();
            assert_eq!(line.host.send(&created("acme", &ticket)).status, 202);
            assert_eq!(line.note_on(&ticket).body.contains(SOLVED), offered, "{place}: {step}");
        }
        line.idle();
        assert_eq!(line.host.ctl(&["job", "list"]), json!([]), "{place}");
    }
}

#[test]
fn of_a_plugin_that_cannot_look_the_history_says_possibly_twice() {
    let mut line = Line::with(&[Artifact::GOOD]);
    line.add_tenant("acme", "desk_good", &[]);
    for (ticket, place, outcome, notes) in [
        ("1", "written", "done", 1),
        ("2", "marked_sent", "possibly_twice", 1),
        ("3", "posted", "possibly_twice", 2),
        // A note that is in the history need not be looked for at the tool.
        ("4", "history_written", "done", 1),
    ] {
        let (_, job) = killed_at(&mut line, place, ticket);
        assert_eq!(job["outcome"], outcome, "{place}: {job:#}");
        assert_eq!(line.notes(ticket).len(), notes, "{place}");
    }
}
