//! A plugin that panics or hangs hurts its own tenants only.

use std::{
    net::TcpListener,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use patchbay_tests::{Artifact, Host, Line, WAIT_MAX, created, wait_until};
use rustix::process::Signal;
use serde_json::Value;

const FAST_DEADLINE_MS: u64 = 400;
/// Number of panics or overruns after which a tenant is shut out of a plugin for a while.
const FAULTS_MAX: usize = 5;
/// Number of deliveries to the good plugin while the bad ones are called.
const DELIVERIES: usize = 300;

fn line() -> Line {
    let builder = [Artifact::GOOD, Artifact::PANICS, Artifact::HANGS]
        .iter()
        .fold(Host::builder(), |builder, plugin| builder.plugin(*plugin))
        .config("plugins.fast_deadline_ms", FAST_DEADLINE_MS)
        .config("plugins.slow_deadline_s", 3)
        .config("http.connect_s", 1)
        .config("http.read_s", 1)
        .config("log.level", "\"info\"");
    let line = Line::start(builder);
    line.add_tenant("good", "desk_good", &[]);
    line
}

/// Delivers webhooks of the good plugin's tenant until `stop`, and at least a minimum number. All must be accepted.
fn load(line: &Line, first: usize, stop: &AtomicBool) -> Vec<Duration> {
    let mut took = Vec::new();
    while took.len() < DELIVERIES || !stop.load(Ordering::Relaxed) {
        let started = Instant::now();
        let answer = line.host.send(&created("good", &(first + took.len()).to_string()));
        took.push(started.elapsed());
        assert_eq!(answer.status, 202, "delivery {}: {}", took.len(), answer.text());
    }
    took
}

/// Calls the bad plugin's tenant until it is shut out: each answer must be 503 with this code.
#[track_caller]
fn suffer(line: &Line, tenant: &str, code: &str) {
    for at in 0..=FAULTS_MAX {
        // A webhook that waits for another lane until the deadline has not reached the plugin.
        let answer = wait_until("it has met the plugin", WAIT_MAX, || {
            Some(line.host.send(&created(tenant, &at.to_string()))).filter(|answer| {
                assert_eq!(answer.status, 503, "{tenant}: {}", answer.text());
                answer.problem_code() != "plugin_saturated"
            })
        });
        let expected = if at < FAULTS_MAX { code } else { "plugin_shut_out" };
        assert_eq!(answer.problem_code(), expected, "{tenant}, delivery {at}");
        assert!(answer.retry_after_s().is_some_and(|seconds| (1..60).contains(&seconds)), "{answer:?}");
    }
}

fn beside_the_good_one(line: &Line, bad: impl Fn() + Sync) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let loads: Vec<_> = [1, 1_000_000]
            .into_iter()
            .map(|first| {
                scope.spawn({
                    let stop = &stop;
                    move || load(line, first, stop)
                })
            })
            .collect();
        let suffered = catch_unwind(AssertUnwindSafe(&bad));
        stop.store(true, Ordering::Relaxed);
        for load in loads {
            let slowest = load.join().expect("the good plugin's webhooks are all accepted").into_iter().max();
            assert!(slowest.is_some_and(|slowest| slowest < Duration::from_secs(2)), "the slowest took {slowest:?}");
        }
        suffered.unwrap_or_else(|fault| resume_unwind(fault));
    });
    let good = line.host.plugin("desk_good");
    assert_eq!((&good["state"], &good["errors"]), (&"active".into(), &0.into()), "{good:#}");
}

#[test]
fn panics_are_503_and_the_good_one_goes_on() {
    let line = line();
    for method in ["validate", "extract"] {
        line.add_tenant(&format!("in-{method}"), "desk_panics", &[("in", method)]);
        line.add_tenant(&format!("bomb-{method}"), "desk_panics", &[("in", method), ("payload", "bomb")]);
    }
    line.add_tenant("calm", "desk_panics", &[]);
    // Together these are fewer faults than quarantine the whole plugin.
    let tenants = ["in-validate", "in-extract", "bomb-extract"];
    beside_the_good_one(&line, || tenants.iter().for_each(|tenant| suffer(&line, tenant, "plugin_panicked")));
    let bad = line.host.plugin("desk_panics");
    assert_eq!(bad["state"], "active", "{bad:#}");
    assert_eq!(bad["errors"], tenants.len() * FAULTS_MAX, "{bad:#}");
    assert_eq!(bad["last_error"]["code"], "panicked", "{bad:#}");
    assert_eq!(line.host.send(&created("calm", "1")).status, 202, "its other tenants are served");
}

#[test]
fn a_panic_while_a_job_runs_is_a_failed_attempt() {
    let line = line();
    for method in ["get", "update"] {
        line.add_tenant(method, "desk_panics", &[("in", method)]);
        line.open_ticket(method.replace("get", "41").replace("update", "42").as_str());
    }
    for (tenant, ticket) in [("get", "41"), ("update", "42")] {
        assert_eq!(line.host.send(&created(tenant, ticket)).status, 202);
        let job = line.job(ticket, "failed once", |job| job["state"] == "waiting" && job["attempts"] == 1);
        assert_eq!(job["last_error"]["code"], "panicked", "{job:#}");
        let message = job["last_error"]["message"].as_str().unwrap();
        assert!(message.contains("ordered panic in"), "{message}");
        assert!(line.notes(ticket).is_empty());
    }
}

#[test]
fn hanging_calls_are_503_at_their_deadline_and_the_good_one_goes_on() {
    let line = line();
    line.add_tenant("in-validate", "desk_hangs", &[("in", "validate")]);
    beside_the_good_one(&line, || {
        let started = Instant::now();
        suffer(&line, "in-validate", "plugin_overrun");
        let each = started.elapsed() / u32::try_from(FAULTS_MAX).expect("a handful");
        assert!(each >= Duration::from_millis(FAST_DEADLINE_MS), "{each:?}");
        assert!(each < Duration::from_millis(5 * FAST_DEADLINE_MS), "{each:?}");
    });
    let bad = line.host.plugin("desk_hangs");
    assert_eq!(bad["errors"], FAULTS_MAX, "{bad:#}");
    assert_eq!(bad["last_error"]["code"], "overrun", "{bad:#}");
}

#[test]
fn one_hanging_call_leaves_the_plugins_other_tenants_served() {
    let line = line();
    line.add_tenant("in-extract", "desk_hangs", &[("in", "extract")]);
    line.add_tenant("calm", "desk_hangs", &[]);
    wait_until("a call that hangs, not one that waits for a busy machine", WAIT_MAX, || {
        let code = line.host.send(&created("in-extract", "1")).problem_code();
        assert!(["plugin_overrun", "plugin_saturated"].contains(&code.as_str()), "{code}");
        (code == "plugin_overrun").then_some(())
    });
    // Its lane is replaced within a moment; a real sender would retry.
    let taken = || (line.host.send(&created("calm", "1")).status == 202).then_some(());
    wait_until("another lane", WAIT_MAX, taken);
}

#[test]
fn a_job_that_hangs_fails_its_attempt_and_others_are_worked_on() {
    let line = line();
    line.add_tenant("stuck", "desk_hangs", &[("in", "get")]);
    line.open_ticket("1");
    line.open_ticket("2");
    assert_eq!(line.host.send(&created("stuck", "1")).status, 202);
    assert_eq!(line.host.send(&created("good", "2")).status, 202);
    line.note_on("2");
    let job = line.job("1", "failed once", |job| job["state"] == "waiting");
    assert_eq!(job["last_error"]["code"], "overrun", "{job:#}");
}

#[test]
fn a_lane_that_waits_for_a_tool_is_not_stuck() {
    let line = line();
    // Accepts connections and answers nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    line.add_tenant_at("waits", "desk_good", &format!("http://{}", silent.local_addr().unwrap()), &[]);
    line.add_tenant("hangs", "desk_hangs", &[("in", "get")]);
    for (tenant, ticket, code) in [("waits", "1", "api"), ("hangs", "2", "overrun")] {
        assert_eq!(line.host.send(&created(tenant, ticket)).status, 202);
        line.job(ticket, "failed once", |job| job["last_error"]["code"] == code);
    }
    let stuck = |tool_type: &str| {
        let series = format!("patchbay_plugin_stuck_calls_total{{tool_type=\"{tool_type}\"}} ");
        let metrics = line.host.metrics().text();
        metrics.lines().find_map(|line| line.strip_prefix(&series)?.parse::<u64>().ok()).unwrap_or(0)
    };
    // Its deadline was the later one, so the other lane has been checked as well.
    wait_until("the lane to be given up", WAIT_MAX, || (stuck("desk_hangs") > 0).then_some(()));
    assert_eq!(stuck("desk_good"), 0);
}

#[test]
fn a_panic_in_drop_does_not_keep_the_old_generation() {
    let line = Line::with(&[Artifact::PANICS_IN_DROP]);
    line.add_tenant("acme", "desk_panics_in_drop", &[]);
    line.open_ticket("1");
    assert_eq!(line.host.send(&created("acme", "1")).status, 202);
    line.note_on("1");
    let before = line.host.plugin("desk_panics_in_drop");
    line.host.ctl(&["reload", "desk_panics_in_drop"]);
    line.host.wait_for_log(&["ordered panic in drop"]);
    line.host.wait_for_log(&["plugin generation is gone", "desk_panics_in_drop"]);
    let after = line.host.plugin("desk_panics_in_drop");
    assert_eq!(after["state"], "active", "{after:#}");
    let number = |row: &Value| row["generation"].as_u64().unwrap();
    assert!(number(&after) > number(&before), "{before:#} {after:#}");
}

#[test]
fn a_second_signal_ends_a_host_that_waits_for_a_hanging_job() {
    let mut line = line();
    line.add_tenant("stuck", "desk_hangs", &[("in", "get")]);
    line.open_ticket("1");
    assert_eq!(line.host.send(&created("stuck", "1")).status, 202);
    line.job("1", "runs", |job| job["state"] == "running");
    line.host.signal(Signal::TERM);
    line.host.wait_for_log(&["draining"]);
    line.host.signal(Signal::TERM);
    assert_eq!(line.host.end().code, Some(1));
}
