//! Plugins are replaced while webhooks arrive: nothing is lost, and nothing of the old ones remains.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use patchbay_tests::{Artifact, Host, Line, WAIT_MAX, created, wait_until};
use sandbox::{Effect, Target};
use serde_json::Value;

/// Longer than jobs wait for a plugin, but shorter than a lease: a running job must not lose its own.
const SKIP: Duration = Duration::from_secs(60);
const RELOADS: usize = 200;
/// Maximum growth over all reloads. Measured: about 450 KB stay for each generation that is not unmapped, besides what
/// its threads kept.
const GROWTH_KIB_MAX: u64 = 24 << 10;

fn line() -> Line {
    let line = Line::with(&[Artifact::GOOD]);
    line.add_tenant("acme", "desk_good", &[]);
    line
}

/// Waits until all old generations are gone. Then only the active copy may be mapped or in the state folder.
#[track_caller]
fn only_the_active_copy_is_left(line: &Line) {
    let info = wait_until("one generation", WAIT_MAX, || {
        let info = line.host.ctl(&["info", "desk_good"]);
        (info["generations"].as_array().map(Vec::len) == Some(1)).then_some(info)
    });
    let copy = info["copy"].as_str().expect("an active plugin has a copy");
    let maps = line.host.maps();
    let mut mapped: Vec<_> = maps.lines().filter_map(|line| line.splitn(6, ' ').nth(5)).map(str::trim).collect();
    mapped.retain(|path| path.contains(".so") && path.contains("/state/"));
    assert!(!mapped.is_empty(), "the active copy {copy} must be mapped:\n{maps}");
    assert!(mapped.iter().all(|path| *path == copy), "only {copy} may be mapped:\n{mapped:#?}");
    assert_eq!(line.host.copies(), [Path::new(copy)]);
}

#[test]
fn after_two_hundred_reloads_nothing_of_the_old_ones_is_mapped() {
    let line = line();
    let mut ticket = 0;
    let mut reload_and_use = || {
        line.host.ctl(&["reload", "desk_good"]);
        ticket += 1;
        line.open_ticket(&ticket.to_string());
        // When the note is posted, both a fast and a slow lane have used the plugin's thread-locals.
        assert_eq!(line.host.send(&created("acme", &ticket.to_string())).status, 202);
        line.note_on(&ticket.to_string());
    };
    // Things that are created once (allocator arenas, caches, the runtime's threads) exist after a tenth.
    (0..RELOADS / 10).for_each(|_| reload_and_use());
    only_the_active_copy_is_left(&line);
    let before = line.host.anonymous_kib();
    (RELOADS / 10..RELOADS).for_each(|_| reload_and_use());
    only_the_active_copy_is_left(&line);
    let after = line.host.anonymous_kib();
    assert!(after < before + GROWTH_KIB_MAX, "anonymous memory went from {before} to {after} KiB");
    let row = line.host.plugin("desk_good");
    assert_eq!(row["generation"], RELOADS + 1, "{row:#}");
    assert!(!line.host.log().contains("retained"), "no generation was retained on the way");
}

#[test]
fn a_new_version_takes_over_and_list_says_so() {
    let line = line();
    let before = line.host.plugin("desk_good");
    assert_eq!((&before["version"], &before["generation"]), (&"1.0.0".into(), &1.into()), "{before:#}");
    line.host.put_file("libtest_plugin_good.so", &Artifact::GOOD_V2.bytes());
    let unchanged = line.host.plugin("desk_good");
    assert_eq!(unchanged["version"], "1.0.0", "nothing is loaded before somebody says so: {unchanged:#}");
    line.host.ctl(&["reload"]);
    let after = line.host.plugin("desk_good");
    assert_eq!((&after["version"], &after["generation"]), (&"2.0.0".into(), &2.into()), "{after:#}");
    assert_ne!(after["sha256"], before["sha256"]);
    assert_eq!(after["calls"], 0, "counters are the generation's");
    only_the_active_copy_is_left(&line);
}

#[test]
fn the_highest_version_in_the_folder_serves() {
    let line = Line::with(&[Artifact::GOOD_V2, Artifact::GOOD]);
    assert_eq!(line.host.plugin("desk_good")["version"], "2.0.0");
    std::fs::remove_file(line.host.plugins().join("libtest_plugin_good_v2.so")).unwrap();
    line.host.ctl(&["reload"]);
    assert_eq!(line.host.plugin("desk_good")["version"], "1.0.0");
}

#[test]
fn reloading_what_has_not_changed_changes_nothing_unless_it_is_named() {
    let line = line();
    let generation = |line: &Line| line.host.plugin("desk_good")["generation"].clone();
    line.host.ctl(&["reload"]);
    assert_eq!(generation(&line), 1);
    line.host.ctl(&["reload", "desk_good"]);
    assert_eq!(generation(&line), 2);
    line.host.ctl(&["reload", "--all"]);
    assert_eq!(generation(&line), 3);
    assert_eq!(line.host.try_ctl(&["reload", "no_such_tool"]).code, 1);
}

#[test]
fn webhooks_during_reloads_are_all_accepted() {
    let line = line();
    let stop = AtomicBool::new(false);
    let delivered = AtomicUsize::new(0);
    thread::scope(|scope| {
        let senders: Vec<_> = (0..2_usize)
            .map(|sender| {
                let (line, stop, delivered) = (&line, &stop, &delivered);
                scope.spawn(move || {
                    let mut at = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let answer = line.host.send(&created("acme", &format!("{}", sender * 1_000_000 + at)));
                        assert_eq!(answer.status, 202, "{}", answer.text());
                        delivered.fetch_add(1, Ordering::Relaxed);
                        at += 1;
                    }
                })
            })
            .collect();
        for at in 0..20 {
            let next = if at % 2 == 0 { Artifact::GOOD_V2 } else { Artifact::GOOD };
            line.host.put_file("libtest_plugin_good.so", &next.bytes());
            line.host.ctl(&["reload"]);
        }
        stop.store(true, Ordering::Relaxed);
        senders.into_iter().for_each(|sender| sender.join().expect("every webhook is accepted"));
    });
    assert!(delivered.into_inner() > 20, "webhooks must flow while plugins are replaced");
    assert_eq!(line.host.plugin("desk_good")["generation"], 21);
    line.run_out();
    only_the_active_copy_is_left(&line);
}

#[test]
fn jobs_wait_while_the_plugin_is_missing_and_spend_no_attempt() {
    let line = line();
    line.open_ticket("1");
    line.fail(Target::Get, Some(1), Effect::Status { status: 503, body: None, content_type: None });
    assert_eq!(line.host.send(&created("acme", "1")).status, 202);
    line.job("1", "waits", |job| job["state"] == "waiting" && job["attempts"] == 1);
    let file = line.host.plugins().join("libtest_plugin_good.so");
    std::fs::remove_file(&file).unwrap();
    line.host.ctl(&["reload"]);
    assert_eq!(line.host.plugin("desk_good")["state"], "missing");
    assert_eq!(line.host.send(&created("acme", "2")).problem_code(), "plugin_missing");
    line.skip_wait(1);
    line.job("1", "is put off", |job: &Value| job["state"] != "running" && job["attempts"] == 1);
    line.host.put_plugin(Artifact::GOOD_V2);
    line.host.ctl(&["reload"]);
    line.host.advance_clock(SKIP);
    line.note_on("1");
    let job = line.job("1", "done", |job| job["state"] == "done");
    assert_eq!(job["attempts"], 2, "{job:#}");
}

#[test]
fn a_watched_folder_needs_no_command() {
    let builder = Host::builder().config("plugins.watch", true).config("plugins.settle_ms", 50);
    let line = Line::start(builder);
    line.add_tenant("acme", "desk_good", &[]);
    let serves = |version: &str| {
        wait_until(&format!("version {version} serves"), WAIT_MAX, || {
            let list = line.host.ctl(&["list"]);
            let row = list.as_array().unwrap().iter().find(|row| row["tool_type"] == "desk_good")?;
            (row["state"] == "active" && row["version"] == version).then_some(())
        });
    };
    let file = line.host.put_file("libdesk.so", &Artifact::GOOD.bytes());
    serves("1.0.0");
    assert_eq!(line.host.send(&created("acme", "1")).status, 202);
    // Replaced in place, as `cp` does, and by a rename, as `mv` and rsync do.
    std::fs::write(&file, Artifact::GOOD_V2.bytes()).unwrap();
    serves("2.0.0");
    line.host.put_file("libdesk.so", &Artifact::GOOD.bytes());
    serves("1.0.0");
    std::fs::remove_file(&file).unwrap();
    wait_until("it is missing", WAIT_MAX, || {
        let answer = line.host.send(&created("acme", "2"));
        (answer.status == 503 && answer.problem_code() == "plugin_missing").then_some(())
    });
    // The folder itself may go and come back.
    std::fs::remove_dir(line.host.plugins()).unwrap();
    std::fs::create_dir(line.host.plugins()).unwrap();
    line.host.put_file("libdesk.so", &Artifact::GOOD_V2.bytes());
    line.host.ctl(&["reload"]);
    serves("2.0.0");
    assert_eq!(line.host.send(&created("acme", "3")).status, 202);
}
