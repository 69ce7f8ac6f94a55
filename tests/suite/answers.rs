//! Plugins whose answers and log lines no honest plugin would write, and what they leave behind in the process.

use patchbay_tests::{
    WAIT_MAX, created,
    hostile::{FILE, PEACE, TOOL_TYPE, beside_the_good_one, line, ordered},
    wait_until,
};
use rustix::process::Signal;

#[test]
fn lies_about_a_ticket_and_a_note_fail_the_attempt() {
    let line = line();
    beside_the_good_one(&line, || {
        for (at, (orders, code)) in [
            ("lie-get:huge", "invalid_reply"),
            ("lie-get:text", "invalid_reply"),
            ("lie-update:huge", "invalid_reply"),
            ("lie-update:text", "api"),
            ("lie-update:no", "not_taken"),
        ]
        .into_iter()
        .enumerate()
        {
            let ticket = at.to_string();
            line.open_ticket(&ticket);
            line.host.put_file(FILE, &ordered(orders));
            line.host.ctl(&["reload"]);
            assert_eq!(line.host.send(&created("evil", &ticket)).status, 202, "{orders}");
            let job = line.job(&ticket, "failed", |job| job["state"] == "waiting" && job["attempts"] == 1);
            assert_eq!(job["last_error"]["code"], code, "{orders}: {job:#}");
            assert!(job["last_error"]["message"].as_str().unwrap().len() < 4 << 10, "{orders}: {job:#}");
        }
    });
}

#[test]
fn a_ticket_of_another_id_gets_no_note() {
    let line = line();
    line.host.put_file(FILE, &ordered("lie-get:id"));
    line.host.ctl(&["reload"]);
    line.open_ticket("7");
    line.open_ticket("8");
    assert_eq!(line.host.send(&created("evil", "7")).status, 202);
    line.note_on("7");
    assert!(line.notes("8").is_empty());
}

#[test]
fn a_wait_that_a_plugin_asks_for_ends_with_the_job() {
    let line = line();
    line.host.put_file(FILE, &ordered("lie-update:wait"));
    line.host.ctl(&["reload"]);
    line.open_ticket("7");
    assert_eq!(line.host.send(&created("evil", "7")).status, 202);
    let job = line.job("7", "a dead letter", |job| job["state"] == "dead");
    assert_eq!(job["last_error"]["code"], "rate_limit", "{job:#}");
}

/// Once the library is unmapped, the signal would run whatever is at that address.
#[test]
fn a_signal_handler_that_a_plugin_leaves_behind_keeps_its_generation() {
    let line = line();
    line.host.put_file(FILE, &ordered("new@host:handler"));
    line.host.ctl(&["reload"]);
    line.host.put_file(FILE, &ordered(PEACE));
    line.host.ctl(&["reload"]);
    let reason = wait_until("the old generation is retained", WAIT_MAX, || {
        let info = line.host.ctl(&["info", TOOL_TYPE]);
        let generations = info["generations"].as_array()?.clone();
        generations.into_iter().find(|generation| generation["state"] == "retained")?["reason"]
            .as_str()
            .map(str::to_owned)
    });
    assert!(reason.contains("handles signal 10"), "faults are the host's again: {reason}");
    line.host.signal(Signal::USR1);
    assert_eq!(line.host.send(&created("calm", "1")).status, 202);
}

#[test]
fn a_plugin_that_logs_without_end_is_heard_in_part() {
    /// Maximum length of a plugin's log line; the part beyond 4096 is the host's.
    const LINE_BYTES_MAX: usize = 4096 + 512;
    /// Maximum number of lines per second; the flood may last until the deadline.
    const LINES_MAX: usize = 50 * 3;
    let line = line();
    line.host.put_file(FILE, &ordered("validate:log"));
    line.host.ctl(&["reload"]);
    line.host.send(&created("evil", "1"));
    line.host.wait_for_log(&["flood"]);
    assert_eq!(line.host.send(&created("calm", "2")).status, 202);
    let log = line.host.log();
    let flood: Vec<_> = log.lines().filter(|line| line.contains("flood")).collect();
    assert!((1..=LINES_MAX).contains(&flood.len()), "{} lines", flood.len());
    assert!(flood.iter().all(|line| line.len() <= LINE_BYTES_MAX), "{}", flood[0]);
}
