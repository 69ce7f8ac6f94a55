//! The ABI over time: plugins of the first minor version, of a future one, and of another compiler, in today's host.

use std::{fs, path::Path, process::Command};

use patchbay_tests::{Artifact, Host, Line, created, vendor};
use sandbox::TicketFields;

/// The oldest glibc with which the golden plugin can be opened; docs/reference/abi-policy.md says it too.
const GOLDEN_GLIBC: &str = "2.34";

fn golden() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/libgolden_1_0.so");
    fs::read(&path).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()))
}

/// Checks that the plugin, put into a running host, accepts a webhook and posts the note with the ticket's subject.
#[track_caller]
fn check_serves(plugin: &[u8], tool_type: &str, subject: &str) {
    let line = Line::with(&[]);
    line.host.put_file("libunder_test.so", plugin);
    line.host.ctl(&["reload"]);
    let served = line.host.plugin(tool_type);
    assert_eq!(served["state"], "active", "{served:#}");
    line.add_tenant("acme", tool_type, &[]);
    line.open_ticket("101");
    let answer = line.host.send(&created("acme", "101"));
    assert_eq!(answer.status, 202, "{}", answer.text());
    let note = line.note_on("101");
    assert!(note.internal && note.body.contains(subject), "{}", note.body);
}

#[test]
fn the_plugin_that_was_built_against_1_0_serves() {
    check_serves(&golden(), "golden", &TicketFields::default().subject);
}

#[test]
fn verify_says_how_the_golden_plugin_was_built_and_which_glibc_it_needs() {
    let host = Host::builder().stopped();
    let path = host.folder().join("golden.so");
    fs::write(&path, golden()).unwrap();
    let verdict = host.ctl(&["verify", path.to_str().unwrap(), "--verbose"]);
    assert_eq!((&verdict["info"]["abi_major"], &verdict["info"]["abi_minor"]), (&1.into(), &0.into()), "{verdict:#}");
    assert_eq!(verdict["glibc"], GOLDEN_GLIBC, "{verdict:#}");
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/abi-policy.md")).unwrap();
    assert!(page.contains(&format!("glibc {GOLDEN_GLIBC}")), "the policy says the floor");
}

#[test]
fn a_plugin_of_a_newer_minor_version_serves() {
    check_serves(&Artifact::NEXT_MINOR.bytes(), "desk_next", "asked what is new, got 0 replies");
}

/// Replaces these bytes everywhere by others of the same length.
fn replaced(mut bytes: Vec<u8>, from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let places: Vec<_> =
        (0..=bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from.as_bytes())).collect();
    assert!(!places.is_empty(), "the plugin does not say {from}");
    places.into_iter().for_each(|at| bytes[at..at + to.len()].copy_from_slice(to.as_bytes()));
    bytes
}

#[track_caller]
fn check_refused(plugin: &[u8], code: &str, reason: &str) {
    let host = Host::builder().stopped();
    let path = host.folder().join("changed.so");
    fs::write(&path, plugin).unwrap();
    let ended = host.try_ctl(&["verify", path.to_str().unwrap()]);
    let verdict = ended.json();
    assert_eq!((ended.code, &verdict["code"]), (1, &code.into()), "{ended:?}");
    assert!(verdict["reason"].as_str().is_some_and(|said| said.starts_with(reason)), "{verdict:#}");
}

#[test]
fn a_plugin_that_cannot_do_without_a_newer_minor_version_is_refused() {
    let needs = replaced(Artifact::NEXT_MINOR.bytes(), r#""abi_minor_needed":0"#, r#""abi_minor_needed":2"#);
    check_refused(&needs, "VERSION", "it needs plugin ABI 1.2 or newer, this host speaks 1.1");
}

#[test]
fn a_plugin_for_a_newer_glibc_is_refused_with_both_versions() {
    let needs = replaced(golden(), "GLIBC_2.34\0", "GLIBC_9.34\0");
    check_refused(&needs, "LOAD", "it needs glibc 9.34, this machine has 2.");
}

/// Uses the compiler named by `PATCHBAY_TEST_RUSTC`, or any other toolchain that rustup knows.
#[test]
fn a_plugin_of_another_compiler_serves() {
    let own = vendor::version(&mut Command::new("rustc"));
    let Some((other, mut cargo)) = vendor::other_compiler(&own) else {
        eprintln!("skipped: no other toolchain than {own}; install one, or name a compiler in PATCHBAY_TEST_RUSTC");
        return;
    };
    let library = vendor::build(&mut cargo, "tests/golden/plugin", "golden_plugin", &other);
    let bytes = fs::read(library).unwrap();
    assert!(bytes.windows(other.len()).any(|text| text == other.as_bytes()), "the plugin says that {other} built it");
    check_serves(&bytes, "golden", &TicketFields::default().subject);
}
