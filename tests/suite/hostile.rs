//! Malicious files and plugins: each is refused or serves, all webhooks of the other plugin are accepted meanwhile, and
//! `list` and `events` say why. If the process must die, it comes back, blames the right plugin, and has lost nothing.

use std::{fs, os::unix::fs::symlink, process::Command};

use patchbay_tests::{
    Artifact, Host, Line, created, demand_full,
    hostile::{FILE, PEACE, TOOL_TYPE, beside_the_good_one, events, line, ordered},
    wait_until,
};
use serde_json::Value;

/// Puts the bytes into the folder and reloads. They must be refused with this code, in `reload`, `list` and `events`.
#[track_caller]
fn refused(line: &Line, name: &str, bytes: &[u8], code: &str, reason: &str) {
    line.host.put_file(name, bytes);
    let ended = line.host.try_ctl(&["reload"]);
    assert_eq!(ended.code, 1, "{name}: {ended:?}");
    let files = line.host.ctl(&["list", "--files"]);
    let file = files.as_array().unwrap().iter().find(|file| file["path"].as_str().unwrap().ends_with(name)).unwrap();
    assert_eq!((&file["state"], &file["code"]), (&"refused".into(), &code.into()), "{name}: {file:#}");
    assert!(file["reason"].as_str().unwrap().contains(reason), "{name}: {file:#}");
    events(line, "the event", 1, |event| {
        event["code"] == "refused" && event["message"].as_str().unwrap().contains(code)
    });
}

#[test]
fn what_a_plugin_does_before_its_first_call_happens_to_a_probe() {
    let line = line();
    beside_the_good_one(&line, || {
        for (orders, code, reason) in [
            ("constructor:segv", "PROBE_CRASHED", "opening the library died of SIGSEGV"),
            ("constructor:abort", "PROBE_CRASHED", "died of SIGABRT"),
            ("constructor:exit", "PROBE_CRASHED", "ended the process"),
            ("constructor:_exit-7", "PROBE_CRASHED", "exit status: 7"),
            ("new:wild-free", "PROBE_CRASHED", "new died of SIG"),
            ("new:panic-c", "PROBE_CRASHED", "new died of SIGABRT"),
            ("new:panic", "INIT_PANIC", "as ordered"),
            ("new:panic-payload", "INIT_PANIC", "panicked"),
            ("new:panic-unwinding", "PROBE_CRASHED", "new died of SIGABRT"),
            ("new:segv", "PROBE_CRASHED", "new died of SIGSEGV"),
            ("new:overflow", "PROBE_CRASHED", "new died of SIGSEGV"),
            ("new:exit", "PROBE_CRASHED", "ended the process"),
            ("new:alloc", "PROBE_CRASHED", "new died of SIGABRT"),
            ("new:thread", "THREADS", "still ran"),
            ("constructor:forge", "PROBE_CRASHED", "ended the process"),
            ("new:forge", "PROBE_CRASHED", "ended the process"),
            ("new:exec", "PROBE_CRASHED", "SIGSYS"),
            ("constructor:exec", "PROBE_CRASHED", "SIGSYS"),
            ("new:fork", "PROBE_CRASHED", "SIGSYS"),
            ("constructor:fork", "PROBE_CRASHED", "SIGSYS"),
            ("new:connect", "PROBE_CRASHED", "SIGSYS"),
            ("constructor:connect", "PROBE_CRASHED", "SIGSYS"),
            ("drop:panic", "INIT_PANIC", "while it was dropped"),
            ("drop:segv", "PROBE_CRASHED", "dropping the plugin died of SIGSEGV"),
            ("destructor:segv", "PROBE_CRASHED", "closing the library died of SIGSEGV"),
        ] {
            refused(&line, FILE, &ordered(orders), code, reason);
        }
    });
    assert_eq!(line.host.send(&created("calm", "1")).problem_code(), "plugin_missing");
}

#[test]
fn hangs_before_the_first_call_end_with_the_probe() {
    let line = line();
    beside_the_good_one(&line, || {
        for (orders, reason) in [
            ("constructor:hang", "opening the library"),
            ("new:hang", "new"),
            ("drop:hang", "dropping the plugin"),
            ("destructor:hang", "closing the library"),
        ] {
            refused(&line, FILE, &ordered(orders), "PROBE_TIMEOUT", reason);
        }
    });
}

/// The control for the refusals above: outside the probe the same deeds succeed, and the plugin reports it by a panic.
/// Inside, some are refused silently, so this plugin passes there.
#[test]
fn the_probe_is_confined_and_the_host_is_not() {
    let line = line();
    for deed in ["open", "exec", "fork", "signal", "outlive", "inherit"] {
        line.host.put_file(FILE, &ordered(&format!("validate:{deed}")));
        line.host.ctl(&["reload"]);
        let answer = line.host.send(&created("evil", "1"));
        assert_eq!(answer.problem_code(), "plugin_panicked", "{deed}: {}", answer.text());
        assert!(line.host.plugin(TOOL_TYPE)["last_error"]["message"].as_str().unwrap().contains("it was let through"));
    }
    for orders in
        ["constructor:open", "new:open", "constructor:signal", "new:signal", "constructor:outlive", "new:outlive"]
    {
        line.host.put_file(FILE, &ordered(orders));
        let ended = line.host.try_ctl(&["verify", line.host.plugins().join(FILE).to_str().unwrap()]);
        assert_eq!(ended.code, 0, "{orders}: {ended:?}");
        demand_full(ended.json()["confinement"]["text"].as_str().unwrap());
    }
}

#[test]
fn what_is_tried_sees_no_descriptor_that_the_host_was_left() {
    let line = line();
    for place in ["constructor", "new"] {
        line.host.put_file(FILE, &ordered(&format!("{place}:inherit")));
        let leave_one = ["-c", "exec 9</dev/null; exec \"$@\"", "sh"];
        let mut verify = Command::new("/bin/sh");
        verify.args(leave_one).arg(Artifact::PLUGIN_CTL.path()).arg("verify").arg(line.host.plugins().join(FILE));
        let ended = verify.output().unwrap();
        assert!(ended.status.success(), "{place}: {ended:?}");
    }
}

#[test]
fn a_thread_that_a_plugin_leaves_behind_keeps_its_generation_and_nothing_else() {
    for deed in ["thread", "c-thread"] {
        let line = line();
        line.host.put_file(FILE, &ordered(&format!("extract:{deed}")));
        line.host.ctl(&["reload"]);
        assert_eq!(line.host.send(&created("evil", "1")).status, 202);
        line.host.ctl(&["reload", TOOL_TYPE]);
        let retained = wait_until("the old generation is retained", patchbay_tests::WAIT_MAX, || {
            let info = line.host.ctl(&["info", TOOL_TYPE]);
            let generations = info["generations"].as_array().unwrap().clone();
            generations.into_iter().find(|generation| generation["state"] == "retained")
        });
        assert!(retained["reason"].as_str().unwrap().contains("a plugin started"), "{deed}: {retained:#}");
        assert_eq!(line.host.send(&created("calm", "2")).status, 202);
        let metrics = line.host.metrics().text();
        let counted =
            metrics.lines().any(|line| line.contains(TOOL_TYPE) && line.contains("retained") && line.ends_with(" 1"));
        assert!(counted, "{deed}: {metrics}");
    }
}

#[test]
fn beyond_so_many_retained_generations_no_more_are_loaded() {
    let builder = Host::builder().config("plugins.retained_max", 1).config("plugins.settle_ms", 0);
    let line = Line::start(builder);
    line.add_tenant("evil", TOOL_TYPE, &[("evil", "yes")]);
    line.host.put_file(FILE, &ordered("extract:thread"));
    line.host.ctl(&["reload"]);
    assert_eq!(line.host.send(&created("evil", "1")).status, 202);
    line.host.ctl(&["reload", TOOL_TYPE]);
    line.host.wait_for_log(&["retained in memory"]);
    let ended = line.host.try_ctl(&["reload", TOOL_TYPE]);
    assert_eq!((ended.code, &ended.failure()["code"]), (1, &"RETAINED".into()), "{ended:?}");
    assert_eq!(line.host.send(&created("evil", "2")).status, 202, "what served goes on");
}

#[test]
fn hanging_lanes_are_replaced_and_the_generation_quarantined_when_several_tenants_meet_it() {
    let line = line();
    line.add_tenant("evil-2", TOOL_TYPE, &[("evil", "yes")]);
    line.host.put_file(FILE, &ordered("validate:panic"));
    line.host.ctl(&["reload"]);
    // Four tenants are shut out after five faults each, which makes twenty.
    for tenant in ["evil", "evil-2", "evil-3", "evil-4"] {
        if tenant > "evil-2" {
            line.add_tenant(tenant, TOOL_TYPE, &[("evil", "yes")]);
        }
        (0..5).for_each(|at| drop(line.host.send(&created(tenant, &at.to_string()))));
    }
    let answer = line.host.send(&created("calm", "1"));
    assert_eq!((answer.status, answer.problem_code().as_str()), (503, "plugin_quarantined"), "{}", answer.text());
    assert_eq!(line.host.plugin(TOOL_TYPE)["state"], "quarantined");
    line.host.ctl(&["enable", TOOL_TYPE]);
    assert_eq!(line.host.send(&created("calm", "1")).status, 202);
}

#[test]
fn what_a_plugin_changes_for_the_whole_process_hurts_nobody_here() {
    use std::os::unix::fs::PermissionsExt as _;
    for deed in ["chdir", "umask", "setenv"] {
        let line = line();
        line.host.put_file(FILE, &ordered(&format!("new:{deed}")));
        line.host.ctl(&["reload"]);
        line.open_ticket("7");
        assert_eq!(line.host.send(&created("good", "7")).status, 202, "{deed}");
        line.note_on("7");
        // A later load still finds its files, and writes its private copy for the host only.
        line.host.ctl(&["reload", "desk_good"]);
        let info = line.host.ctl(&["info", "desk_good"]);
        let mode = fs::metadata(info["copy"].as_str().unwrap()).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o500, "{deed}");
    }
}

#[test]
fn files_that_are_anything_but_a_plugin_are_refused_at_once() {
    let line = line();
    let good = Artifact::GOOD.bytes();
    beside_the_good_one(&line, || {
        for percent in (0..95).step_by(5) {
            let cut = &good[..good.len() * percent / 100];
            line.host.put_file("libcut.so", cut);
            let ended = line.host.try_ctl(&["reload"]);
            assert_eq!(ended.code, 1, "cut at {percent} %: {ended:?}");
        }
        fs::remove_file(line.host.plugins().join("libcut.so")).unwrap();
        let sparse = line.host.plugins().join("libsparse.so");
        fs::File::create(&sparse).unwrap().set_len(2 << 30).unwrap();
        let pipe = line.host.plugins().join("libpipe.so");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::from(0o600)).unwrap();
        fs::create_dir(line.host.plugins().join("libfolder.so")).unwrap();
        symlink("/dev/zero", line.host.plugins().join("libdevice.so")).unwrap();
        symlink("nowhere", line.host.plugins().join("libdangling.so")).unwrap();
        symlink("libround.so", line.host.plugins().join("libround.so")).unwrap();
        let ended = line.host.try_ctl(&["reload"]);
        assert_eq!(ended.code, 1, "{ended:?}");
    });
    let files = line.host.ctl(&["list", "--files"]);
    for (name, code) in [
        ("libsparse.so", "TOO_LARGE"),
        ("libpipe.so", "NOT_A_FILE"),
        ("libfolder.so", "NOT_A_FILE"),
        ("libdevice.so", "NOT_A_FILE"),
        ("libdangling.so", "OPEN"),
        ("libround.so", "OPEN"),
    ] {
        let row = files.as_array().unwrap().iter().find(|row| row["path"].as_str().unwrap().ends_with(name));
        assert_eq!(row.map(|row| &row["code"]), Some(&Value::from(code)), "{name}: {files:#}");
    }
}

#[test]
fn flipped_bits_in_the_headers_are_refused_or_harmless() {
    let line = line();
    let good = ordered(PEACE);
    beside_the_good_one(&line, || {
        for at in (0..64 + 56 * 12).step_by(7) {
            let mut flipped = good.clone();
            flipped[at] ^= 0x40;
            line.host.put_file(FILE, &flipped);
            // Whatever the result, the host answers, and the other plugin's webhooks are accepted.
            let ended = line.host.try_ctl(&["reload"]);
            assert!(ended.code == 0 || ended.code == 1, "byte {at}: {ended:?}");
        }
    });
    line.host.put_file(FILE, &good);
    line.host.ctl(&["reload"]);
    assert_eq!(line.host.send(&created("calm", "1")).status, 202);
}

#[test]
fn others_that_can_write_a_plugin_are_a_reason_to_refuse_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let line = line();
    let path = line.host.put_file(FILE, &ordered(PEACE));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let ended = line.host.try_ctl(&["reload"]);
    assert_eq!(ended.code, 1, "{ended:?}");
    let row = line.host.plugin(TOOL_TYPE);
    let reason = row["last_error"]["message"].as_str().unwrap();
    assert_eq!(row["last_error"]["code"], "PERMISSIONS", "{row:#}");
    assert!(reason.contains("0666") && reason.contains("plugins.permissions"), "{reason}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    line.host.ctl(&["reload"]);
    assert_eq!(line.host.plugin(TOOL_TYPE)["state"], "active");
}

#[test]
fn lies_are_found_out() {
    let line = line();
    beside_the_good_one(&line, || {
        for (lie, status, code) in [
            ("tenant", 422, "invalid"),
            ("no-id", 422, "invalid"),
            ("control", 422, "invalid"),
            ("huge", 503, "plugin_invalid_reply"),
            ("many", 503, "plugin_invalid_reply"),
            ("text", 503, "plugin_invalid_reply"),
        ] {
            line.host.put_file(FILE, &ordered(&format!("lie:{lie}")));
            line.host.ctl(&["reload"]);
            let answer = line.host.send(&created("evil", "1"));
            assert_eq!((answer.status, answer.problem_code().as_str()), (status, code), "{lie}: {}", answer.text());
            assert_eq!(line.host.send(&created("calm", lie)).status, 202, "{lie}");
        }
    });
}

#[test]
fn a_thousand_reloads_with_caught_panics_leave_nothing_behind() {
    const ROUNDS: usize = 1000;
    const WARM: usize = 200;
    const GROWTH_KIB_MAX: u64 = 2 << 10;
    let line = line();
    line.host.put_file(FILE, &ordered("extract:panic"));
    let mut before = 0;
    for round in 0..ROUNDS {
        line.host.ctl(&["reload", TOOL_TYPE]);
        let answer = line.host.send(&created("evil", &round.to_string()));
        assert_eq!(answer.problem_code(), "plugin_panicked", "round {round}: {}", answer.text());
        if round == WARM {
            alone(&line);
            before = line.host.anonymous_kib();
        }
    }
    alone(&line);
    let after = line.host.anonymous_kib();
    assert!(after <= before + GROWTH_KIB_MAX, "anonymous memory went from {before} to {after} KiB");
    assert!(!line.host.log().contains("retained"), "no generation was retained on the way");
}

/// Waits until one generation is left, and checks that only its copy is mapped.
#[track_caller]
fn alone(line: &Line) {
    let info = wait_until("one generation", patchbay_tests::WAIT_MAX, || {
        let info = line.host.ctl(&["info", TOOL_TYPE]);
        (info["generations"].as_array().map(Vec::len) == Some(1)).then_some(info)
    });
    let copy = info["copy"].as_str().expect("an active plugin has a copy");
    let (good, maps) = (line.host.plugin("desk_good"), line.host.maps());
    let others = maps.lines().filter(|line| {
        line.contains("/state/plugins/") && !line.contains(copy) && !line.contains(good["sha256"].as_str().unwrap())
    });
    assert_eq!(others.collect::<Vec<_>>(), Vec::<&str>::new());
}
