//! How much memory an answer may take. Each is read in a process of its own: memory that was given back may stay with a
//! process, and would hide what the next one takes.

#![allow(clippy::unwrap_used, reason = "in a test, also in the functions that its tests share")]

use std::{env, fs, process::Command};

use plugin_abi::{prelude::*, testing::FakeHost};
use servicedesk_plus::ServiceDeskPlus;

/// Bytes of an answer: so many that nothing else counts.
const ANSWER_BYTES: usize = 2 << 20;
/// How often its size reading it may take at most, itself counted.
const TIMES_MAX: usize = 3;
/// What it may take whatever the answer, in bytes: code that is read from the disk, and a description's text.
const BESIDE_BYTES: usize = 1 << 20;
/// Tells the process which of the answers to read.
const CASE: &str = "TEST_ANSWER_OF_CASE";

/// What stands before, in and behind as many units as fit.
const ANSWERS: &[[&str; 3]] = &[
    [r#"{"response_status":["#, "{},", "{}]}"],
    [r#"{"response_status":{"status_code":4000,"messages":["#, "{},", "{}]}}"],
    [r#"{"response_status":{"status_code":4000,"messages":["#, r#"{"message":"x"},"#, "7]}}"],
    [r#"{"response_status":{"status_code":2000},"notes":["#, "{},", "7]}"],
    [r#"{"response_status":{"status_code":2000},"notes":["#, "7,", "7]}"],
    [r#"{"response_status":{"status_code":2000},"notes":[{"description":""#, "<p>", r#""}]}"#],
    [r#"{"response_status":{"status_code":2000},"request":{"id":"7","closure_info":["#, "1,", "7]}}"],
    [r#"{"response_status":{"status_code":2000},"request":{"id":"7","description":""#, "a", r#""}}"#],
    // Has to be mended.
    [r#"{"response_status":{"status_code":2000},"request":{"subject":"\ud83d","x":["#, "{},", "7]}}"],
    [r#"{"response_status":{"status_code":2000},"notes":[{"description":"\ud83d"},"#, "{},", "7]}"],
];

#[test]
fn an_answer_takes_at_most_three_times_its_size() {
    if let Ok(case) = env::var(CASE) {
        return check(ANSWERS[case.parse::<usize>().unwrap()]);
    }
    for (case, answer) in ANSWERS.iter().enumerate() {
        let test = ["an_answer_takes_at_most_three_times_its_size", "--exact", "--nocapture"];
        let ended = Command::new(env::current_exe().unwrap()).args(test).env(CASE, case.to_string()).output().unwrap();
        assert!(ended.status.success(), "{answer:?}: {}", String::from_utf8_lossy(&ended.stderr));
    }
}

#[track_caller]
fn check([before, unit, after]: [&str; 3]) {
    let units = (ANSWER_BYTES - before.len() - after.len()) / unit.len();
    let body = [before, &unit.repeat(units), after].concat();
    let host = FakeHost::new().secret("api_key", "k").attempt(2);
    forget_peak();
    let without = peak_bytes() - body.len();
    let host = host.answer_with(Ok(Response::new(200, Vec::new(), body)));
    if before.contains("notes") {
        let _said = ServiceDeskPlus.update_ticket(&host.tenant(), "7", &Note::new("", "x", "x", "[patchbay n1]"));
    } else {
        let _said = ServiceDeskPlus.get_ticket(&host.tenant(), "7");
    }
    let taken = peak_bytes() - without;
    assert!(
        taken <= TIMES_MAX * ANSWER_BYTES + BESIDE_BYTES,
        "{} KiB for an answer of {}",
        taken >> 10,
        ANSWER_BYTES >> 10
    );
}

/// From now on the peak is what the process has, not what it had.
fn forget_peak() {
    fs::write("/proc/self/clear_refs", "5").unwrap();
}

/// The most that this process has had in memory, in bytes.
fn peak_bytes() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: usize = line.trim().strip_suffix(" kB").unwrap().trim().parse().unwrap();
    kib << 10
}
