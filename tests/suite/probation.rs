//! New versions that are worse than their predecessors are rolled back by the host itself. Mistakes of their senders
//! and tools do not count.

use patchbay_tests::{
    Line, Supervisor, WAIT_MAX, created,
    hostile::{FILE, PEACE, TOOL_TYPE, builder, events, ordered},
    versions::versioned,
    wait_until,
};
use sandbox::webhook::{Event, Scheme, Webhook, signed};
use serde_json::Value;

/// Number of tenants that the orders apply to. Five faults shut a tenant out, and every tenth call must not always hit
/// the same one.
const TENANTS: u32 = 11;
const EVERY_TENTH: &str = "validate:panic-tenth";
/// Number of calls of a probation.
const CALLS_MAX: u64 = 200;

fn line() -> Line {
    Line::stopped(builder().config("plugins.fast_deadline_ms", 5_000))
}

fn add_tenants(line: &Line) {
    for tenant in 0..TENANTS {
        line.add_tenant(&format!("evil-{tenant}"), TOOL_TYPE, &[("evil", "yes")]);
    }
}

fn put(line: &Line, version: &str, orders: &str) {
    line.host.put_file(FILE, &versioned(ordered(orders), version));
    let _refused_when_rolled_back = line.host.try_ctl(&["reload"]);
}

/// Sends this many webhooks as a tool does, repeating those answered 503. Returns how many repetitions there were.
fn send(line: &Line, name: &str, count: u32) -> u32 {
    let mut again = 0;
    for ticket in 0..count {
        let webhook = created(&format!("evil-{}", ticket % TENANTS), &format!("{name}-{ticket}"));
        wait_until("the webhook is accepted", WAIT_MAX, || {
            let answer = line.host.send(&webhook);
            again += u32::from(answer.status == 503);
            assert!([202, 503].contains(&answer.status), "{}", answer.text());
            (answer.status == 202).then_some(())
        });
    }
    again
}

#[track_caller]
fn serves(line: &Line, version: &str) -> Value {
    let row = line.host.plugin(TOOL_TYPE);
    assert_eq!((&row["state"], &row["version"]), (&"active".into(), &version.into()), "{row:#}");
    row
}

/// The only event of the host's own rollback.
#[track_caller]
fn rolled_back(line: &Line) -> Value {
    let found = events(line, "the rollback", 1, |event| event["code"] == "rolled_back");
    assert_eq!((found.len(), &found[0]["who"]), (1, &"host".into()), "{found:#?}");
    found[0].clone()
}

#[test]
fn a_version_that_panics_in_every_tenth_call_is_rolled_back_and_every_webhook_accepted() {
    let mut line = line();
    line.host.start();
    add_tenants(&line);
    put(&line, "1.0.0", PEACE);
    assert_eq!(send(&line, "before", 100), 0);
    put(&line, "1.1.0", EVERY_TENTH);
    serves(&line, "1.1.0");
    let again = send(&line, "during", 300);
    assert!(again >= 3, "the panics were met: {again}");
    let row = serves(&line, "1.0.0");
    assert_eq!((&row["candidate"]["code"], &row["candidate"]["version"]), (&"ROLLED_BACK".into(), &"1.1.0".into()));
    let event = rolled_back(&line);
    assert_eq!(event["version"], "1.1.0", "{event:#}");
    let why = event["why"].as_str().unwrap();
    let calls: u64 = why.split(' ').filter_map(|word| word.parse().ok()).nth(1).unwrap();
    assert!(calls <= CALLS_MAX && why.contains("as ordered"), "{why}");

    // The same bytes are not tried again, even across a restart; others are.
    put(&line, "1.1.0", EVERY_TENTH);
    serves(&line, "1.0.0");
    line.host.restart();
    serves(&line, "1.0.0");
    put(&line, "1.1.1", PEACE);
    serves(&line, "1.1.1");
    assert_eq!(send(&line, "after", 100), 0);
}

#[test]
fn a_version_that_is_no_worse_than_the_one_before_stays() {
    let mut line = line();
    line.host.start();
    add_tenants(&line);
    put(&line, "1.0.0", EVERY_TENTH);
    assert!(send(&line, "before", 90) >= 9);
    put(&line, "1.1.0", EVERY_TENTH);
    assert!(send(&line, "after", 90) >= 9);
    serves(&line, "1.1.0");
}

#[test]
fn what_senders_and_tools_do_wrong_does_not_count() {
    let mut line = line();
    line.host.start();
    add_tenants(&line);
    put(&line, "1.0.0", PEACE);
    put(&line, "1.1.0", PEACE);
    for ticket in 0..30 {
        let webhook = Webhook::new("evil-0", Event::Created, format!("forged-{ticket}"));
        let forged = signed(&webhook, Scheme::HubHeader, "not the secret").unwrap();
        assert_eq!(line.host.send(&forged).status, 401);
    }
    // The tool has none of these tickets.
    assert_eq!(send(&line, "unknown", 30), 0);
    wait_until("all jobs have asked", WAIT_MAX, || {
        let jobs = line.host.ctl(&["job", "list"]);
        let jobs = jobs.as_array()?;
        (jobs.len() == 30 && jobs.iter().all(|job| job["last_error"]["code"] == "not_found")).then_some(())
    });
    let row = serves(&line, "1.1.0");
    assert_eq!(row["errors"], 0, "{row:#}");
}

#[test]
fn a_version_that_ends_the_host_in_its_probation_is_rolled_back_at_the_next_start() {
    let line = line();
    let supervisor = Supervisor::start(&line.host);
    add_tenants(&line);
    put(&line, "1.0.0", PEACE);
    put(&line, "1.1.0", "validate:segv");
    serves(&line, "1.1.0");
    assert_eq!(supervisor.send(&created("evil-0", "1")), None);
    supervisor.up_after(1);
    serves(&line, "1.0.0");
    assert!(rolled_back(&line)["why"].as_str().unwrap().contains("ended the host"));
    assert_eq!(supervisor.send(&created("evil-0", "1")), Some(202));
}

#[test]
fn the_first_version_of_all_is_quarantined_since_there_is_nothing_to_go_back_to() {
    let mut line = line();
    line.host.start();
    add_tenants(&line);
    put(&line, "1.0.0", "validate:panic");
    for ticket in 0..20 {
        line.host.send(&created(&format!("evil-{}", ticket % TENANTS), &ticket.to_string()));
    }
    assert_eq!(line.host.plugin(TOOL_TYPE)["state"], "quarantined");
    assert_eq!(line.host.send(&created("evil-0", "30")).problem_code(), "plugin_quarantined");
    put(&line, "1.0.1", PEACE);
    serves(&line, "1.0.1");
}
