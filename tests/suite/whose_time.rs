//! Whose fault a late call is: the plugin's time counts against it, the tool's and the machine's do not.

use std::{
    fs, hint,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use patchbay_tests::{
    Artifact, Host, HostBuilder, Line, TOOL, WAIT_MAX, created,
    hostile::{self, StopWhenDropped, events, ordered},
    wait_until,
};
use rustix::process::{Pid, Signal, setpriority_process};
use sandbox::{Fault, Target};
use serde_json::Value;

const TOOL_TYPE: &str = "desk_hangs";
/// Deadline of a call that talks to the tool, in seconds. Besides connecting and one answer, little fits into it.
const SLOW_DEADLINE_S: u64 = 4;
/// How late the tool answers: in time for each request, too late for three of them.
const LATE_MS: u64 = 1_500;
/// Number of panics and overruns of several tenants within a minute after which a plugin is quarantined.
const FAULTS_MAX: usize = 20;

fn builder() -> HostBuilder {
    Host::builder()
        .plugin(Artifact::HANGS)
        .config("plugins.slow_deadline_s", SLOW_DEADLINE_S)
        .config("http.connect_s", 1)
        .config("http.read_s", 2)
        .config("retry.base_s", 1)
}

fn late(line: &Line) {
    let late = Fault { operation: Target::Any, delay_ms: LATE_MS, ..Fault::default() };
    line.tool.set_faults(vec![late]).unwrap();
}

/// Sends a webhook as tools do: repeats it if it is answered 503.
#[track_caller]
fn send(host: &Host, tenant: &str, ticket: &str) {
    wait_until("it is accepted", 2 * WAIT_MAX, || {
        let answer = host.send(&created(tenant, ticket));
        assert!([202, 503].contains(&answer.status), "{}", answer.text());
        (answer.status == 202).then_some(())
    });
}

/// Checks that no fault is counted against the plugin or any tenant.
#[track_caller]
fn unblamed(line: &Line) {
    let row = line.host.plugin(TOOL_TYPE);
    assert_eq!((&row["state"], &row["errors"]), (&"active".into(), &0.into()), "{row:#}");
    assert_eq!(row["last_error"], Value::Null, "{row:#}");
    assert!(!line.host.log().contains("shut out"), "{}", line.host.log());
}

#[test]
fn a_slow_tool_is_nobodys_fault() {
    let line = Line::start(builder());
    // One gives up with its last request; the other continues and is cut off by the deadline.
    let tenants = [("asks", "asks", "3", "0"), ("asks-too", "asks", "3", "0"), ("thinks", "asks", "2", "1300")];
    for (tenant, name, asks, own_ms) in tenants {
        line.add_tenant(tenant, TOOL_TYPE, &[(name, asks), ("own_ms", own_ms)]);
    }
    late(&line);
    let tickets: Vec<_> = (0..=FAULTS_MAX).map(|at| (tenants[at % tenants.len()].0, at.to_string())).collect();
    for (tenant, ticket) in &tickets {
        line.open_ticket(ticket);
        assert_eq!(line.host.send(&created(tenant, ticket)).status, 202);
    }
    for (tenant, ticket) in &tickets {
        let job = line.job(ticket, "failed", |job| job["last_error"] != Value::Null);
        assert_eq!(job["last_error"]["code"], "api", "{tenant}: {job:#}");
        let message = job["last_error"]["message"].as_str().unwrap();
        assert!(*tenant != "thinks" || message.contains("the tool took"), "{message}");
    }
    unblamed(&line);
    line.repair();
    tickets.iter().for_each(|(_, ticket)| drop(line.note_on(ticket)));
    unblamed(&line);
}

#[test]
fn a_host_that_stood_still_blames_nobody() {
    const FAST_DEADLINE_MS: u64 = 6_000;
    /// Longer than any deadline.
    const STILL: Duration = Duration::from_millis(FAST_DEADLINE_MS + 1_000);
    const TENANTS: usize = 6;
    let tickets = |kind: &'static str, first: usize| {
        (0..=FAULTS_MAX).map(move |at| (format!("{kind}-{}", at % TENANTS), (first + at).to_string()))
    };
    let (fast, slow) = (|| tickets("fast", 100), || tickets("slow", 200));
    let builder =
        builder().config("plugins.fast_deadline_ms", FAST_DEADLINE_MS).config("plugins.fast_lanes", FAULTS_MAX + 1);
    let line = Line::start(builder);
    for at in 0..TENANTS {
        line.add_tenant(&format!("fast-{at}"), TOOL_TYPE, &[("slow_ms", "3000")]);
        line.add_tenant(&format!("slow-{at}"), TOOL_TYPE, &[]);
    }
    late(&line);
    for (tenant, ticket) in slow() {
        line.open_ticket(&ticket);
        send(&line.host, &tenant, &ticket);
    }
    thread::scope(|scope| {
        let host = &line.host;
        for (tenant, ticket) in fast() {
            line.open_ticket(&ticket);
            scope.spawn(move || send(host, &tenant, &ticket));
        }
        let in_flight = |lane: &str| {
            let metrics = host.metrics().text();
            let gauge = metrics.lines().find(|line| line.contains("lane_in_flight") && line.contains(lane))?.to_owned();
            gauge.rsplit_once(' ')?.1.parse::<usize>().ok()
        };
        wait_until("calls of both kinds are under way", WAIT_MAX, || {
            (in_flight("fast")? > FAULTS_MAX && in_flight("slow")? > 0).then_some(())
        });
        host.signal(Signal::STOP);
        let stopped = Instant::now();
        wait_until("the deadlines pass", 2 * STILL, || (stopped.elapsed() > STILL).then_some(()));
        host.signal(Signal::CONT);
    });
    line.repair();
    for (_, ticket) in fast().chain(slow()) {
        // The note may have been posted when the host was stopped, and this plugin cannot look for it.
        line.tool.wait_for_notes(TOOL, &ticket, 1, WAIT_MAX).unwrap();
    }
    unblamed(&line);
}

#[test]
fn a_plugin_that_hangs_is_quarantined_and_comes_back_when_it_works_again() {
    let builder = builder().config("plugins.fast_deadline_ms", 300).config("plugins.quarantine_s", 1);
    let line = Line::start(builder);
    let hangs = line.host.folder().join("hangs");
    fs::write(&hangs, "").unwrap();
    let tenants: Vec<_> = (0..6).map(|at| format!("stuck-{at}")).collect();
    for tenant in &tenants {
        line.add_tenant(tenant, TOOL_TYPE, &[("in", "validate"), ("while", hangs.to_str().unwrap())]);
    }
    line.add_tenant("calm", TOOL_TYPE, &[]);
    line.open_ticket("1");
    wait_until("it is quarantined", 2 * WAIT_MAX, || {
        thread::scope(|scope| {
            tenants.iter().for_each(|tenant| drop(scope.spawn(|| line.host.send(&created(tenant, "1")))));
        });
        (line.host.plugin(TOOL_TYPE)["state"] == "quarantined").then_some(())
    });
    // All lanes hang, so every trial fails.
    wait_until("a trial fails", 2 * WAIT_MAX, || {
        let answer = line.host.send(&created("calm", "1"));
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(answer.retry_after_s().is_some_and(|seconds| (1..60).contains(&seconds)), "{answer:?}");
        line.host.log().contains("one call is let through in 2 s").then_some(())
    });
    assert_eq!(line.host.plugin(TOOL_TYPE)["state"], "quarantined");
    fs::remove_file(&hangs).unwrap();
    send(&line.host, "calm", "1");
    line.note_on("1");
    assert_eq!(line.host.plugin(TOOL_TYPE)["state"], "active");
    let all = events(&line, "it is released", 1, |event| event["code"] == "released");
    assert_eq!(all.len(), 1, "{all:#?}");
    events(&line, "its quarantines", 2, |event| event["code"] == "quarantined");
}

#[test]
fn jobs_that_hung_are_done_once_the_plugin_works_again() {
    let line = Line::start(builder().config("plugins.quarantine_s", 1));
    let hangs = line.host.folder().join("hangs");
    fs::write(&hangs, "").unwrap();
    // One for each tenant, so that none of them is shut out.
    let tickets: Vec<_> = (0..=FAULTS_MAX).map(|at| (format!("stuck-{at}"), at.to_string())).collect();
    for (tenant, ticket) in &tickets {
        line.add_tenant(tenant, TOOL_TYPE, &[("in", "get"), ("while", hangs.to_str().unwrap())]);
        line.open_ticket(ticket);
    }
    tickets.iter().for_each(|(tenant, ticket)| send(&line.host, tenant, ticket));
    wait_until("it is quarantined", WAIT_MAX, || (line.host.plugin(TOOL_TYPE)["state"] == "quarantined").then_some(()));
    let last = line.host.plugin(TOOL_TYPE)["last_error"].clone();
    assert_eq!(last["code"], "overrun", "{last:#}");
    fs::remove_file(&hangs).unwrap();
    tickets.iter().for_each(|(_, ticket)| drop(line.note_on(ticket)));
    assert_eq!(line.host.plugin(TOOL_TYPE)["state"], "active");
}

/// Keeps the machine busy during `run`: many threads of this process compete for the processors with the host, which
/// gives way to everybody else.
fn on_a_busy_machine<T>(host: &Host, run: impl FnOnce() -> T) -> T {
    const THREADS_OF_EACH_PROCESSOR: usize = 5;
    const NICE: i32 = 5;
    for task in fs::read_dir(format!("/proc/{}/task", host.process_id())).unwrap() {
        let tid = task.unwrap().file_name().to_str().unwrap().parse().unwrap();
        setpriority_process(Pid::from_raw(tid), NICE).unwrap();
    }
    let stop = AtomicBool::new(false);
    let threads = THREADS_OF_EACH_PROCESSOR * thread::available_parallelism().unwrap().get();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                setpriority_process(None, NICE).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    hint::spin_loop();
                }
            });
        }
        let _stopped = StopWhenDropped(&stop);
        run()
    })
}

#[test]
fn on_a_busy_machine_who_gets_no_processor_is_told_from_who_computes() {
    /// The processor time of the honest plugin's work: small compared with its deadline, if there were no others.
    const WORK_MS: &str = "50";
    const DEADLINE_MS: u64 = 160;
    const LANES: usize = 3;
    /// Number of webhooks of each lane.
    const WEBHOOKS: usize = 12;
    let builder = builder().config("plugins.fast_deadline_ms", DEADLINE_MS).config("plugins.fast_lanes", LANES);
    let line = Line::start(builder.config("log.level", "\"info\""));
    line.host.put_file(hostile::FILE, &ordered("validate:spin"));
    line.host.ctl(&["reload"]);
    let tenants = |name: &'static str, count: usize| (0..count).map(move |at| format!("{name}-{at}"));
    tenants("works", LANES).for_each(|tenant| line.add_tenant(&tenant, TOOL_TYPE, &[("work_ms", WORK_MS)]));
    tenants("evil", 6).for_each(|tenant| line.add_tenant(&tenant, hostile::TOOL_TYPE, &[("evil", "yes")]));
    let still_serves = || {
        let (row, log) = (line.host.plugin(TOOL_TYPE), line.host.log());
        assert_eq!(row["state"], "active", "{row:#}");
        assert!(!log.lines().any(|line| line.contains("shut out") && line.contains(TOOL_TYPE)), "{log}");
    };
    on_a_busy_machine(&line.host, || {
        let late = AtomicUsize::new(0);
        thread::scope(|scope| {
            for tenant in tenants("works", LANES) {
                let (host, late) = (&line.host, &late);
                scope.spawn(move || {
                    for ticket in 0..WEBHOOKS {
                        let answer = host.send(&created(&tenant, &ticket.to_string()));
                        late.fetch_add(usize::from(answer.status == 503), Ordering::Relaxed);
                    }
                });
            }
        });
        assert!(late.into_inner() > FAULTS_MAX, "the machine is not busy enough");
        still_serves();
        wait_until("the one that spins is quarantined", 2 * WAIT_MAX, || {
            thread::scope(|scope| {
                for tenant in tenants("evil", 6) {
                    let host = &line.host;
                    scope.spawn(move || host.send(&created(&tenant, "1")));
                }
            });
            (line.host.plugin(hostile::TOOL_TYPE)["state"] == "quarantined").then_some(())
        });
    });
    still_serves();
}
