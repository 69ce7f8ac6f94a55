//! The plugin folder: bad files are refused with a code and a reason, and the serving plugin continues.

use std::{fs, os::unix::fs::symlink, process::Command};

use patchbay_tests::{Artifact, Host, Line, created};
use serde_json::Value;

/// Maximum size of a plugin file, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// The row of `list --files` for this file.
#[track_caller]
fn file(host: &Host, name: &str) -> Value {
    let files = host.ctl(&["list", "--files"]);
    let mut rows = files.as_array().unwrap().iter();
    let found = rows.find(|row| row["path"].as_str().is_some_and(|path| path.ends_with(&format!("/{name}"))));
    found.unwrap_or_else(|| panic!("no {name} in {files:#}")).clone()
}

/// Random-looking bytes, the same in every run.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    (0..bytes).map(|_| next()).collect()
}

#[test]
fn bad_files_are_refused_with_code_and_reason() {
    let host = Host::builder().plugin(Artifact::GOOD).start();
    let good = Artifact::GOOD.bytes();
    let mut other_machine = good.clone();
    other_machine[18] = 0xf3; // e_machine: RISC-V
    let mut half_header = good.clone();
    half_header.truncate(40);
    let truncated = good[..good.len() / 2].to_vec();
    let cases: Vec<(&str, Vec<u8>, &[&str])> = vec![
        ("noise.so", noise(4_096), &["NOT_A_PLUGIN"]),
        ("empty.so", Vec::new(), &["NOT_A_PLUGIN"]),
        ("script.so", b"#!/bin/sh\nexit 1\n".to_vec(), &["NOT_A_PLUGIN"]),
        ("no_plugin.so", Artifact::NO_PLUGIN.bytes(), &["NOT_A_PLUGIN"]),
        ("other_machine.so", other_machine, &["MACHINE"]),
        ("half_header.so", half_header, &["TRUNCATED"]),
        ("truncated.so", truncated, &["TRUNCATED"]),
        ("elf_noise.so", [&b"\x7fELF\x02\x01\x01"[..], &noise(4_096)].concat(), &["TRUNCATED", "MACHINE"]),
    ];
    for (name, bytes, _) in &cases {
        host.put_file(name, bytes);
    }
    fs::create_dir(host.plugins().join("folder.so")).unwrap();
    symlink("/nowhere/at/all", host.plugins().join("dangling.so")).unwrap();
    assert!(Command::new("mkfifo").arg(host.plugins().join("pipe.so")).status().unwrap().success());
    host.put_file("notes.txt", b"no plugin by its name");
    for (name, bytes) in [("largest.so", FILE_BYTES_MAX), ("larger.so", FILE_BYTES_MAX + 1)] {
        fs::File::create(host.plugins().join(name)).and_then(|file| file.set_len(bytes)).unwrap();
    }

    let reload = host.try_ctl(&["reload"]);
    assert_eq!(reload.code, 1, "{reload:?}");
    let list = host.ctl(&["list"]);
    let check = |name: &str, codes: &[&str]| {
        let row = file(&host, name);
        assert_eq!(row["state"], "refused", "{row:#}");
        assert!(codes.contains(&row["code"].as_str().unwrap()), "{row:#}");
        assert!(row["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{row:#}");
        // Each also has its own row in `list`, because it names no tool type.
        let mut rows = list.as_array().unwrap().iter();
        let row = rows.find(|candidate| candidate["path"] == row["path"]).unwrap_or_else(|| panic!("{name}: {list:#}"));
        assert_eq!((&row["state"], &row["tool_type"]), (&"refused".into(), &Value::Null), "{row:#}");
        assert!(codes.contains(&row["last_error"]["code"].as_str().unwrap()), "{row:#}");
        assert!(row["last_error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{row:#}");
        assert!(row["last_error"]["at"].is_string(), "{row:#}");
    };
    for (name, _, codes) in &cases {
        check(name, codes);
    }
    check("folder.so", &["NOT_A_FILE"]);
    check("pipe.so", &["NOT_A_FILE"]);
    check("dangling.so", &["OPEN"]);
    check("largest.so", &["NOT_A_PLUGIN"]);
    check("larger.so", &["TOO_LARGE"]);
    assert_eq!(file(&host, "notes.txt")["code"], "NOT_A_PLUGIN");
    let good = host.plugin("desk_good");
    assert_eq!((&good["state"], &good["generation"]), (&"active".into(), &1.into()), "{good:#}");
}

#[test]
fn libraries_of_the_system_are_refused() {
    let host = Host::builder().start();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let libc = maps.lines().filter_map(|line| line.split_whitespace().nth(5)).find(|path| path.contains("libc.so"));
    host.put_file("libc.so", &fs::read(libc.expect("this process uses libc")).unwrap());
    host.put_file("true.so", &fs::read("/bin/true").unwrap());
    host.try_ctl(&["reload"]);
    for name in ["libc.so", "true.so"] {
        let row = file(&host, name);
        assert_eq!(row["state"], "refused", "{row:#}");
        assert_eq!(row["code"], "NOT_A_PLUGIN", "{row:#}");
    }
    assert_eq!(host.http("GET", "/healthz", &[], b"").status, 200);
}

#[test]
fn a_plugin_that_cannot_be_made_is_refused_and_the_host_lives() {
    let line = Line::with(&[Artifact::PANICS_IN_NEW]);
    let row = line.host.plugin("desk_good");
    assert_eq!(row["state"], "refused", "{row:#}");
    assert_eq!(row["last_error"]["code"], "INIT_PANIC", "{row:#}");
    assert!(row["last_error"]["message"].as_str().unwrap().contains("ordered panic in new"), "{row:#}");
    line.add_tenant("acme", "desk_good", &[]);
    assert_eq!(line.host.send(&created("acme", "1")).problem_code(), "plugin_missing");
}

/// Checks that a file in place of the good one, or beside it, is refused and the good one keeps serving.
#[track_caller]
fn keeps_the_good_one(name: &str, bytes: &[u8], version: Value, code: &str) {
    let line = Line::with(&[Artifact::GOOD]);
    line.add_tenant("acme", "desk_good", &[]);
    line.open_ticket("1");
    let before = line.host.plugin("desk_good");
    line.host.put_file(name, bytes);
    for command in [&["reload"][..], &["reload", "desk_good"]] {
        let reload = line.host.try_ctl(command);
        assert_eq!(reload.code, 1, "{reload:?}");
        assert!(reload.failure().to_string().contains(code), "{reload:?}");
        let row = line.host.plugin("desk_good");
        assert_eq!(row["state"], "active", "{row:#}");
        assert_eq!(row["generation"], before["generation"], "{row:#}");
        assert_eq!(row["sha256"], before["sha256"], "{row:#}");
        assert_eq!(row["version"], "1.0.0", "{row:#}");
        let candidate = &row["candidate"];
        assert_eq!(candidate["code"], code, "{row:#}");
        assert_eq!(candidate["version"], version, "{row:#}");
        assert!(candidate["path"].as_str().is_some_and(|path| path.ends_with(name)), "{row:#}");
        assert!(candidate["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{row:#}");
    }
    assert_eq!(line.host.send(&created("acme", "1")).status, 202);
    line.note_on("1");
}

#[test]
fn a_newer_version_that_cannot_be_made_leaves_the_good_one() {
    keeps_the_good_one("newer.so", &Artifact::PANICS_IN_NEW.bytes(), "3.0.0".into(), "INIT_PANIC");
}

#[test]
fn the_same_file_overwritten_by_one_that_cannot_be_made_leaves_the_good_one() {
    let name = "libtest_plugin_good.so";
    keeps_the_good_one(name, &Artifact::PANICS_IN_NEW.bytes(), "3.0.0".into(), "INIT_PANIC");
}

#[test]
fn the_same_file_overwritten_by_noise_leaves_the_good_one() {
    keeps_the_good_one("libtest_plugin_good.so", &noise(10_000), Value::Null, "NOT_A_PLUGIN");
}

#[test]
fn a_bad_replacement_that_is_mended_serves() {
    let line = Line::with(&[Artifact::GOOD]);
    let name = "libtest_plugin_good.so";
    line.host.put_file(name, b"bad");
    assert_eq!(line.host.try_ctl(&["reload"]).code, 1);
    line.host.put_file(name, &Artifact::GOOD_V2.bytes());
    line.host.ctl(&["reload"]);
    let row = line.host.plugin("desk_good");
    assert_eq!((&row["version"], &row["candidate"]), (&"2.0.0".into(), &Value::Null), "{row:#}");
}

/// The good plugin, importing a symbol that nothing exports.
fn without_memcpy() -> Vec<u8> {
    let mut bytes = Artifact::GOOD.bytes();
    let name = b"\0memcpy\0";
    let at = bytes.windows(name.len()).position(|window| window == name).expect("Rust copies memory");
    bytes[at + name.len() - 2] = b'x';
    bytes
}

#[test]
fn what_the_dynamic_linker_says_is_shown_whole_wherever_one_looks() {
    const WORDS: &str = "undefined symbol: memcpx";
    let host = Host::builder().start();
    let path = host.put_file("libgood.so", &without_memcpy());
    let reload = host.try_ctl(&["reload"]);
    let verify = host.try_ctl(&["verify", path.to_str().unwrap()]);
    for (ended, failure) in [(&reload, reload.failure()), (&verify, verify.failure())] {
        assert_eq!((ended.code, &failure["code"]), (1, &"LOAD".into()), "{ended:?}");
        assert!(failure["why"].as_str().unwrap().contains(WORDS), "{failure:#}");
        assert!(failure["mend"].as_str().unwrap().contains("vendor"), "{failure:#}");
    }
    let row = host.plugin("desk_good");
    assert!(row["last_error"]["message"].as_str().unwrap().contains(WORDS), "{row:#}");
    assert!(file(&host, "libgood.so")["reason"].as_str().unwrap().contains(WORDS));
    host.wait_for_log(&["WARN", WORDS]);
}

/// The folder is mounted where only the host sees it.
#[test]
fn a_state_folder_that_is_mounted_noexec_is_told_at_the_start_and_with_the_linkers_words() {
    let mount = "mount -t tmpfs -o noexec,mode=0755 none state/plugins && exec \"$0\" \"$@\"";
    let namespace = if rustix::process::geteuid().is_root() { "-m" } else { "-Urm" };
    let under = &["/usr/bin/unshare", namespace, "/bin/sh", "-c", mount];
    let mut host = Host::builder().plugin(Artifact::GOOD).under(under).stopped();
    fs::create_dir_all(host.state().join("plugins")).unwrap();
    if host.try_ctl(&["--version"]).code != 0 {
        eprintln!("skipped: nothing can be mounted here");
        return;
    }
    host.start();
    host.wait_for_log(&["ERROR", "no plugin can be loaded", "noexec", "state_dir"]);
    let message = host.plugin("desk_good")["last_error"]["message"].clone();
    for words in ["failed to map segment from shared object", "mounted noexec", "state_dir"] {
        assert!(message.as_str().unwrap().contains(words), "{words}: {message}");
    }
    assert_eq!(host.plugin("desk_good")["last_error"]["code"], "LOAD");
}

#[test]
fn verify_needs_no_host() {
    let host = Host::builder().stopped();
    let good = host.try_ctl(&["verify", Artifact::GOOD.path().to_str().unwrap()]);
    assert_eq!(good.code, 0, "{good:?}");
    assert!(good.stdout.contains("desk_good"), "{good:?}");
    let noise = host.put_file("noise.so", &noise(100));
    for (path, code) in [(Artifact::PANICS_IN_NEW.path(), "INIT_PANIC"), (noise, "NOT_A_PLUGIN")] {
        let bad = host.try_ctl(&["verify", path.to_str().unwrap()]);
        assert_eq!(bad.code, 1, "{bad:?}");
        assert!(bad.failure().to_string().contains(code), "{bad:?}");
    }
    assert_eq!(host.try_ctl(&["list"]).code, 3, "no host to ask");
}
