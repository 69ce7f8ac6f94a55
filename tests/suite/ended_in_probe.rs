//! A file that ends the host while it is tried: the next start knows which file it was, and does not try the same bytes
//! again by itself.

use std::fs;

use libc::{SYS_capset, SYS_landlock_create_ruleset, SYS_seccomp, SYS_setgroups, SYS_setresgid, SYS_setresuid};
use patchbay::plugin::artifact::Sha256Sum;
use patchbay_tests::{
    Denial, HostBuilder, Line, WAIT_MAX, created, demand_full,
    hostile::{self, FILE, PEACE, TOOL_TYPE, events, ordered},
    wait_until,
};

const SERVE: [&str; 3] = ["serve", "--config", "patchbay.toml"];
/// Kills the parent of the probe's process.
const DEADLY: &str = "constructor:kill-host";

/// A host whose probe cannot confine itself and keeps the host's rights, so that it can kill the host.
fn without_walls() -> HostBuilder {
    [SYS_landlock_create_ruleset, SYS_seccomp, SYS_capset, SYS_setgroups, SYS_setresgid, SYS_setresuid]
        .into_iter()
        .fold(hostile::builder(), |builder, call| builder.denying(call, Denial::Refused))
}

/// Checks that the hostile plugin is left out, that an event says why, and that the good one serves.
#[track_caller]
fn is_left_out(line: &Line) {
    let row = line.host.plugin(TOOL_TYPE);
    assert_eq!((&row["state"], &row["last_error"]["code"]), (&"quarantined".into(), &"HOST_ENDED".into()), "{row:#}");
    assert!(row["last_error"]["message"].as_str().unwrap().contains(FILE), "{row:#}");
    let blamed = events(line, "the event", 1, |event| event["code"] == "ended_in_probe");
    let sha256 = Sha256Sum::of(&fs::read(line.host.plugins().join(FILE)).unwrap()).to_string();
    let last = blamed.last().unwrap();
    assert_eq!((&last["tool_type"], &last["sha256"]), (&TOOL_TYPE.into(), &sha256.into()), "{last:#}");
    assert_eq!(line.host.plugin("desk_good")["state"], "active");
}

#[test]
fn a_file_that_kills_the_host_while_it_is_tried_is_named_by_the_next_start_and_left_out() {
    let mut line = Line::stopped(without_walls());
    line.host.put_file(FILE, &ordered(DEADLY));
    let ended = line.host.run_to_end(&SERVE);
    assert_eq!(ended.code, None, "the host is killed before it is ready: {}", ended.log);
    line.host.start();
    line.host.wait_for_log(&["ERROR", "the host ended while it tried", FILE]);
    is_left_out(&line);
    hostile::add_tenants(&line);
    assert_eq!(line.host.send(&created("good", "1")).status, 202);
    assert_eq!(line.host.try_ctl(&["reload", TOOL_TYPE]).code, 1, "a reload is not enough");
    line.host.restart();
    is_left_out(&line);

    // The control: the host dies whenever the same bytes are tried, as at each start.
    assert_ne!(line.host.try_ctl(&["enable", TOOL_TYPE]).code, 0);
    let ended = line.host.end();
    assert_eq!(ended.code, None, "{}", ended.log);
    line.host.start();
    is_left_out(&line);

    line.host.put_file(FILE, &ordered(PEACE));
    line.host.ctl(&["reload"]);
    assert_eq!(line.host.plugin(TOOL_TYPE)["state"], "active", "other bytes are tried at once");
    assert_eq!(line.host.send(&created("calm", "2")).status, 202);
}

#[test]
fn what_served_before_such_a_file_serves_on() {
    let mut line = Line::stopped(without_walls());
    line.host.put_file(FILE, &ordered(PEACE));
    line.host.start();
    hostile::add_tenants(&line);
    line.host.put_file(FILE, &ordered(DEADLY));
    assert_ne!(line.host.try_ctl(&["reload"]).code, 0);
    assert_eq!(line.host.end().code, None);
    line.host.start();
    let row = line.host.plugin(TOOL_TYPE);
    assert_eq!((&row["state"], &row["candidate"]["code"]), (&"active".into(), &"HOST_ENDED".into()), "{row:#}");
    assert_eq!(line.host.send(&created("calm", "1")).status, 202);
}

#[test]
fn behind_walls_the_same_file_kills_nobody() {
    let line = Line::start(hostile::builder());
    line.host.put_file(FILE, &ordered(DEADLY));
    line.host.ctl(&["reload"]);
    demand_full(line.host.ctl(&["info", TOOL_TYPE])["confinement"]["text"].as_str().unwrap());
    assert_eq!(line.host.plugin(TOOL_TYPE)["state"], "active");
}

#[test]
fn a_kill_during_a_probe_blames_the_file_and_an_orderly_end_blames_none() {
    let mut line = Line::start(hostile::builder().config("plugins.watch", true));
    let tried = |line: &Line, bytes: &[u8]| {
        line.host.put_file(FILE, bytes);
        let note = line.host.state().join("plugins/on-trial.json");
        wait_until("the probe runs", WAIT_MAX, || fs::read_to_string(&note).ok())
    };
    assert!(tried(&line, &ordered("constructor:hang")).contains(TOOL_TYPE));
    let ended = line.host.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    line.host.start();
    let row = line.host.plugin(TOOL_TYPE);
    assert_eq!(row["last_error"]["code"], "PROBE_TIMEOUT", "it is tried again: {row:#}");
    assert_eq!(
        events(&line, "all events", 0, |event| event["code"] == "ended_in_probe"),
        Vec::<serde_json::Value>::new()
    );

    // Different bytes, which have been refused.
    tried(&line, &ordered("new:hang"));
    line.host.kill9();
    line.host.start();
    is_left_out(&line);
}
