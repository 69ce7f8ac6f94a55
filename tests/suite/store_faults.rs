//! A disk that cannot be written for a while: nobody gets a 202, nothing with an earlier 202 is lost, and no note is
//! doubled.
//!
//! The fault is a limit on the size of the host's files: every write to both databases fails with EFBIG while it lasts.

use std::thread;

use patchbay_tests::{Artifact, Host, Line, TOOL, WAIT_MAX, created, wait_until};
use sandbox::{Effect, Fault, Target};

/// How long the tool takes for a note: enough time to spoil the disk meanwhile, and far less than a call's deadline.
const NOTE_MS: u64 = 5_000;

fn line(config: &[(&str, u32)]) -> Line {
    let builder = Host::builder().plugin(Artifact::SERVICEDESK_PLUS);
    let line = Line::start(config.iter().fold(builder, |builder, (key, value)| builder.config(key, value)));
    line.add_tenant("acme", "servicedesk_plus", &[]);
    line
}

#[test]
fn a_full_disk_is_503_and_ends_by_itself() {
    let line = line(&[]);
    for round in ["1", "2"] {
        let ready = || line.host.http("GET", "/readyz", &[], b"").status;
        line.open_ticket(round);
        let webhook = created("acme", round);
        line.host.limit_files(Some(0));
        for _ in 0..5 {
            let refused = line.host.send(&webhook);
            assert_eq!((refused.status, refused.problem_code().as_str()), (503, "store_unavailable"));
            assert!(refused.retry_after_s().is_some_and(|seconds| (1..60).contains(&seconds)));
        }
        assert_eq!(ready(), 503);
        assert_eq!(line.host.http("GET", "/healthz", &[], b"").status, 200);
        line.host.limit_files(None);
        let taken = line.host.send(&webhook);
        assert_eq!((taken.status, &taken.json()["status"]), (202, &"accepted".into()), "what was refused is not there");
        line.note_on(round);
        assert_eq!(ready(), 200);
    }
}

#[test]
fn what_was_accepted_before_the_fault_survives_a_kill_during_it() {
    let mut line = line(&[]);
    line.fail(Target::Any, None, Effect::Status { status: 503, body: None, content_type: None });
    let (accepted, refused): (Vec<_>, Vec<_>) = (1..=20).map(|ticket| ticket.to_string()).partition(|ticket| {
        line.open_ticket(ticket);
        line.host.limit_files((ticket.len() > 1).then_some(0));
        line.host.send(&created("acme", ticket)).status == 202
    });
    assert_eq!((accepted.len(), refused.len()), (9, 11));
    line.host.kill9();
    line.repair();
    line.host.start();
    for ticket in &accepted {
        line.note_on(ticket);
    }
    line.idle();
    assert!(refused.iter().all(|ticket| line.notes(ticket).is_empty()));
}

#[test]
fn under_load_and_a_disk_that_comes_and_goes_each_202_gives_one_note() {
    let line = line(&[]);
    let tickets = |sender: u32| (0..40).map(move |ticket| (sender * 1_000 + ticket).to_string());
    (1..=4).flat_map(tickets).for_each(|ticket| line.open_ticket(&ticket));
    thread::scope(|scope| {
        for sender in 1..=4 {
            let line = &line;
            scope.spawn(move || {
                for (number, ticket) in tickets(sender).enumerate() {
                    let spoils = sender == 1 && number % 5 == 0;
                    let webhook = created("acme", &ticket);
                    if spoils {
                        line.host.limit_files(Some(0));
                    }
                    wait_until("the webhook is taken", WAIT_MAX, || match line.host.send(&webhook).status {
                        202 => Some(()),
                        503 if spoils => {
                            line.host.limit_files(None);
                            None
                        }
                        503 => None,
                        other => panic!("{other}"),
                    });
                }
            });
        }
    });
    for ticket in (1..=4).flat_map(tickets) {
        line.note_on(&ticket);
    }
    line.idle();
    for ticket in (1..=4).flat_map(tickets) {
        assert_eq!(line.notes(&ticket).len(), 1, "ticket {ticket}");
    }
    assert_eq!(line.host.ctl(&["job", "list", "--state", "dead"]).as_array().map(Vec::len), Some(0));
}

/// Spoils the disk while the tool is accepting the note.
fn spoiled_while_the_note_is_posted(line: &Line) {
    line.open_ticket("1");
    let slow = Fault { operation: Target::Note, times: Some(1), delay_ms: NOTE_MS, ..Fault::default() };
    line.tool.set_faults(vec![slow]).unwrap();
    assert_eq!(line.host.send(&created("acme", "1")).status, 202);
    wait_until("the note is on its way", WAIT_MAX, || {
        line.tool.requests().iter().any(|request| request.method == "POST").then_some(())
    });
    line.host.limit_files(Some(0));
    line.tool.wait_for_notes(TOOL, "1", 1, WAIT_MAX).unwrap();
    line.host.wait_for_log(&["what became of the job is not kept yet"]);
}

#[test]
fn a_job_whose_end_cannot_be_written_is_written_when_the_disk_has_room() {
    let line = line(&[]);
    spoiled_while_the_note_is_posted(&line);
    line.host.limit_files(None);
    let job = line.job("1", "done", |job| job["state"] == "done");
    assert_eq!(job["attempts"], 1, "{job:#}");
    line.note_on("1");
}

#[test]
fn a_job_whose_lease_ran_out_meanwhile_finds_its_note() {
    let line = line(&[("worker.lease_s", 10)]);
    spoiled_while_the_note_is_posted(&line);
    line.host.wait_for_log(&["it is taken up again when its lease ends"]);
    line.host.limit_files(None);
    let job = line.job("1", "done", |job| job["state"] == "done");
    assert_eq!(job["attempts"], 2, "{job:#}");
    line.note_on("1");
}

#[test]
fn jobs_wait_while_they_cannot_be_claimed() {
    let line = line(&[]);
    line.open_ticket("1");
    line.fail(Target::Any, Some(1), Effect::Status { status: 503, body: None, content_type: None });
    assert_eq!(line.host.send(&created("acme", "1")).status, 202);
    line.job("1", "waits", |job| job["state"] == "waiting");
    line.host.limit_files(Some(0));
    line.skip_wait(1);
    line.host.wait_for_log(&["cannot claim jobs", "disk I/O error"]);
    assert_eq!(line.tool.requests().len(), 1, "nothing is begun that could not be kept");
    line.host.limit_files(None);
    assert_eq!(line.job("1", "done", |job| job["state"] == "done")["attempts"], 2);
    line.note_on("1");
}
