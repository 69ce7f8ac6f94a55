//! More webhooks than a plugin can take: the excess is refused at once for a retry, and nobody else is affected.

use std::{
    thread,
    time::{Duration, Instant},
};

use patchbay_tests::{Answer, Artifact, Host, HostBuilder, Line, WAIT_MAX, created, wait_until};

fn builder(fast_lanes: usize, lane_queue: usize, fast_deadline: Duration) -> HostBuilder {
    Host::builder()
        .plugin(Artifact::HANGS)
        .config("plugins.fast_lanes", fast_lanes)
        .config("plugins.lane_queue", lane_queue)
        .config("plugins.fast_deadline_ms", fast_deadline.as_millis())
}

/// Waits until this gauge of the plugin's fast lanes is 1.
#[track_caller]
fn one(line: &Line, gauge: &str) {
    wait_until(gauge, WAIT_MAX, || {
        let metrics = line.host.metrics().text();
        let mut samples = metrics.lines().filter(|line| line.starts_with(gauge) && line.contains("fast"));
        samples.any(|line| line.ends_with(" 1")).then_some(())
    });
}

#[track_caller]
fn is_too_much(answer: &Answer) {
    assert_eq!((answer.status, answer.problem_code().as_str()), (503, "plugin_saturated"), "{}", answer.text());
    assert!(answer.retry_after_s().is_some_and(|seconds| (1..60).contains(&seconds)), "{answer:?}");
}

/// Longer than anything here takes, so that whatever comes sooner has not waited.
const LONG: Duration = Duration::from_secs(5);

#[test]
fn a_tenant_has_its_share_of_the_queue_before_it_is_known_to_be_authentic() {
    // The tenant's share is one.
    let line = Line::start(builder(2, 4, LONG));
    line.add_tenant("stuck", "desk_hangs", &[("in", "validate")]);
    line.add_tenant("calm", "desk_hangs", &[]);
    thread::scope(|scope| {
        let first = scope.spawn(|| line.host.send(&created("stuck", "1")));
        one(&line, "patchbay_plugin_lane_in_flight");
        let started = Instant::now();
        is_too_much(&line.host.send(&created("stuck", "2")));
        assert_eq!(line.host.send(&created("calm", "3")).status, 202, "another tenant's share is its own");
        assert!(started.elapsed() < LONG, "at once");
        assert_eq!(first.join().expect("it is answered").problem_code(), "plugin_overrun");
    });
}

#[test]
fn all_tenants_together_have_the_queue_and_no_more() {
    let line = Line::start(builder(1, 1, LONG));
    line.add_tenant("stuck", "desk_hangs", &[("in", "validate")]);
    line.add_tenant("second", "desk_hangs", &[]);
    line.add_tenant("third", "desk_hangs", &[]);
    thread::scope(|scope| {
        let first = scope.spawn(|| line.host.send(&created("stuck", "1")));
        one(&line, "patchbay_plugin_lane_in_flight");
        let second = scope.spawn(|| line.host.send(&created("second", "2")));
        one(&line, "patchbay_plugin_lane_queue_length");
        let started = Instant::now();
        is_too_much(&line.host.send(&created("third", "3")));
        assert!(started.elapsed() < LONG, "at once");
        assert_eq!(first.join().expect("it is answered").problem_code(), "plugin_overrun");
        assert!([202, 503].contains(&second.join().expect("it is answered").status));
    });
}

#[test]
fn a_plugin_that_has_too_much_to_do_is_not_at_fault() {
    /// Number of rounds: more than would quarantine a plugin if each were a fault.
    const ROUNDS: usize = 4;
    const TENANTS: usize = 10;
    // It can take three or four of ten at once.
    let line = Line::start(builder(1, 1_024, Duration::from_millis(350)));
    let tenants: Vec<_> = (0..TENANTS).map(|at| format!("t-{at}")).collect();
    tenants.iter().for_each(|tenant| line.add_tenant(tenant, "desk_hangs", &[("slow_ms", "100")]));
    for round in 0..ROUNDS {
        let answers: Vec<_> = thread::scope(|scope| {
            let host = &line.host;
            let send = |tenant| scope.spawn(move || host.send(&created(tenant, &round.to_string())));
            let sent: Vec<_> = tenants.iter().map(|tenant| send(tenant)).collect();
            sent.into_iter().map(|answer| answer.join().expect("it is answered")).collect()
        });
        let late = answers.iter().filter(|answer| answer.status == 503);
        // A webhook whose turn comes just before its deadline overruns it.
        let late: Vec<_> = late.filter(|answer| answer.problem_code() != "plugin_overrun").collect();
        assert!(late.len() >= TENANTS / 2, "round {round}: {answers:#?}");
        late.into_iter().for_each(is_too_much);
    }
    assert_eq!(line.host.plugin("desk_hangs")["state"], "active");
    line.add_tenant("calm", "desk_hangs", &[]);
    assert_eq!(line.host.send(&created("calm", "1")).status, 202);
}
