//! A generation that is replaced, and a host that is stopped, while calls wait for a tool.

use std::time::{Duration, Instant};

use patchbay_tests::{Artifact, Host, Line, created};
use sandbox::{Fault, Target};
use serde_json::json;

/// How long the tool takes for its one slow answer: longer than the drain, and far less than a call's deadline.
const SLOW: Duration = Duration::from_secs(2);

/// Far longer than a stop with a drain of one second, and shorter than one that waits for a call's deadline or a lane.
const END_TIME_MAX: Duration = Duration::from_secs(9);

#[test]
fn after_the_drain_its_calls_end_without_an_attempt_and_the_successor_does_the_job() {
    let line = Line::start(Host::builder().plugin(Artifact::GOOD).config("plugins.drain_s", 1));
    line.add_tenant("acme", "desk_good", &[]);
    line.open_ticket("1");
    let delay_ms = SLOW.as_millis().try_into().expect("two seconds");
    let slow = Fault { operation: Target::Get, times: Some(1), delay_ms, ..Fault::default() };
    line.tool.set_faults(vec![slow]).unwrap();
    assert_eq!(line.host.send(&created("acme", "1")).status, 202);
    line.job("1", "runs", |job| job["state"] == "running");
    line.host.put_file("libtest_plugin_good.so", &Artifact::GOOD_V2.bytes());
    line.host.ctl(&["reload"]);
    // The ticket arrives through the old generation, which may not post the note any more.
    line.host.wait_for_log(&["plugin generation is gone", "drained=false", "generation=1"]);
    line.note_on("1");
    let job = line.job("1", "done", |job| job["state"] == "done");
    assert_eq!(
        (&job["attempts"], &job["errors"]),
        (&1.into(), &json!([])),
        "what was cancelled is no attempt: {job:#}"
    );
    assert_eq!(line.host.plugin("desk_good")["calls"], 2, "the successor got the ticket and posted the note");
}

#[test]
fn a_stop_hands_back_what_hangs_and_the_next_start_looks_for_its_note() {
    let builder = Host::builder().plugin(Artifact::SERVICEDESK_PLUS).config("worker.drain_s", 1);
    let mut line = Line::start(builder);
    line.add_tenant("acme", "servicedesk_plus", &[]);
    line.open_ticket("1");
    let hangs = Fault { operation: Target::Note, times: Some(1), delay_ms: 600_000, ..Fault::default() };
    line.tool.set_faults(vec![hangs]).unwrap();
    assert_eq!(line.host.send(&created("acme", "1")).status, 202);
    line.job("1", "posts", |job| job["state"] == "running" && job["sent"] == true);
    let asked = Instant::now();
    let ended = line.host.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert!(ended.log.contains("handed back"), "{}", ended.log);
    assert!(asked.elapsed() < END_TIME_MAX, "{:?}: {}", asked.elapsed(), ended.log);

    let before = line.tool.requests().len();
    line.host.start();
    let job = line.job("1", "done", |job| job["state"] == "done");
    assert_eq!((&job["attempts"], &job["errors"]), (&1.into(), &json!([])), "it was handed back: {job:#}");
    assert_eq!(line.notes("1").len(), 1);
    let methods: Vec<_> = line.tool.requests().split_off(before).into_iter().map(|request| request.method).collect();
    assert_eq!(methods, ["GET", "GET", "POST"], "the ticket, its notes, the note");
}
