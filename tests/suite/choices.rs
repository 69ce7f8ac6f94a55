//! Which version serves after files came and went, operators decided, and the host restarted: a table of cases.

use std::fs;

use patchbay_tests::{
    Line, created,
    versions::{TOOL_TYPE, good},
};
use serde_json::Value;

/// One step of a case.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Puts this version into the folder under this name, and reloads.
    Put(&'static str, &'static str),
    /// Puts a file under this name that is not a plugin, and reloads, which reports it.
    Spoil(&'static str),
    /// Removes the file of this name, and reloads.
    Delete(&'static str),
    /// Renames the first file to the second, and reloads.
    Rename(&'static str, &'static str),
    /// Runs plugin-ctl with this verb, and these arguments after the tool type.
    Decide(&'static str, &'static str),
    /// Runs plugin-ctl in the same way, and expects a refusal with this code.
    Refused(&'static str, &'static str, &'static str),
    /// Ends the host and starts it again.
    Restart,
}
use Step::{Decide, Delete, Put, Refused, Rename, Restart, Spoil};

/// Runs the steps and checks what serves at the end, then once more after a restart.
#[track_caller]
fn check(name: &str, steps: &[Step], state: &str, version: Option<&str>) {
    let mut line = Line::with(&[]);
    line.add_tenant("acme", TOOL_TYPE, &[]);
    for step in steps {
        take(&mut line, name, *step);
    }
    let see = |line: &Line, when: &str| {
        let row = line.host.plugin(TOOL_TYPE);
        assert_eq!((row["state"].as_str(), row["version"].as_str()), (Some(state), version), "{name}, {when}: {row:#}");
        let answer = line.host.send(&created("acme", when));
        let expected = match state {
            "active" => (202, String::new()),
            state => (503, format!("plugin_{state}")),
        };
        let code = if answer.status == 202 { String::new() } else { answer.problem_code() };
        assert_eq!((answer.status, code), expected, "{name}, {when}");
    };
    see(&line, "at-once");
    take(&mut line, name, Restart);
    see(&line, "after-a-restart");
}

#[track_caller]
fn take(line: &mut Line, name: &str, step: Step) {
    match step {
        Put(file, version) => {
            line.host.put_file(file, &good(version));
            reload(line);
        }
        Spoil(file) => {
            line.host.put_file(file, b"no plugin");
            assert_eq!(line.host.try_ctl(&["reload"]).code, 1, "{name}: a spoiled file is complained of");
        }
        Delete(file) => {
            fs::remove_file(line.host.plugins().join(file)).unwrap();
            reload(line);
        }
        Rename(from, to) => {
            fs::rename(line.host.plugins().join(from), line.host.plugins().join(to)).unwrap();
            reload(line);
        }
        Decide(verb, to) => {
            line.host.ctl(&arguments(verb, to));
        }
        Refused(verb, to, code) => {
            let ended = line.host.try_ctl(&arguments(verb, to));
            assert_eq!(ended.code, 1, "{name}: {ended:?}");
            assert_eq!(ended.failure()["code"], code, "{name}: {ended:?}");
        }
        Restart => line.host.restart(),
    }
}

fn arguments(verb: &'static str, to: &'static str) -> Vec<&'static str> {
    [verb, TOOL_TYPE].into_iter().chain((!to.is_empty()).then_some(to)).collect()
}

/// Reloads. A file that is passed over or refused makes the exit code 1; here only the serving version matters.
fn reload(line: &Line) {
    let _passed_over = line.host.try_ctl(&["reload"]);
}

#[test]
fn the_folder_alone() {
    check("one", &[Put("a.so", "1.0.0")], "active", Some("1.0.0"));
    check("the higher", &[Put("a.so", "1.0.0"), Put("b.so", "1.2.0")], "active", Some("1.2.0"));
    check("in place, lower", &[Put("a.so", "1.2.0"), Put("a.so", "1.1.0")], "active", Some("1.1.0"));
    check("the higher goes", &[Put("a.so", "1.0.0"), Put("b.so", "1.2.0"), Delete("b.so")], "active", Some("1.0.0"));
    check("renamed", &[Put("a.so", "1.0.0"), Rename("a.so", "b.so")], "active", Some("1.0.0"));
    check("gone", &[Put("a.so", "1.0.0"), Delete("a.so")], "missing", None);
    check("put back", &[Put("a.so", "1.0.0"), Delete("a.so"), Put("a.so", "1.0.0")], "active", Some("1.0.0"));
}

#[test]
fn a_spoiled_file_leaves_what_was_loaded_from_it() {
    check("spoiled", &[Put("a.so", "1.2.0"), Spoil("a.so")], "active", Some("1.2.0"));
    check("beside a lower", &[Put("a.so", "1.2.0"), Put("b.so", "1.0.0"), Spoil("a.so")], "active", Some("1.2.0"));
    check("beside a higher", &[Put("a.so", "1.2.0"), Spoil("a.so"), Put("b.so", "1.3.0")], "active", Some("1.3.0"));
    check(
        "spoiled, restart, mended",
        &[Put("a.so", "1.2.0"), Spoil("a.so"), Restart, Put("a.so", "1.1.0")],
        "active",
        Some("1.1.0"),
    );
    check(
        "spoiled after a rename",
        &[Put("a.so", "1.2.0"), Rename("a.so", "b.so"), Spoil("b.so")],
        "active",
        Some("1.2.0"),
    );
    check("spoiled, then gone", &[Put("a.so", "1.2.0"), Spoil("a.so"), Delete("a.so")], "missing", None);
}

#[test]
fn rollback() {
    let two = [Put("a.so", "1.0.0"), Put("a.so", "1.1.0")];
    let then = |more: &[Step]| [&two[..], more].concat();
    let back = Decide("rollback", "");
    check("back", &then(&[back]), "active", Some("1.0.0"));
    check("back, and the same file again", &then(&[back, Put("a.so", "1.1.0")]), "active", Some("1.0.0"));
    check("back, and a new file", &then(&[back, Put("a.so", "1.1.1")]), "active", Some("1.1.1"));
    check("back, and a new lower file", &then(&[back, Put("a.so", "1.0.5")]), "active", Some("1.0.5"));
    check("back, and enabled", &then(&[back, Decide("enable", "")]), "active", Some("1.1.0"));
    check("back twice", &then(&[Put("a.so", "1.2.0"), back, back]), "active", Some("1.0.0"));
    check(
        "back further than there is",
        &then(&[back, Refused("rollback", "", "NOTHING_BEFORE")]),
        "active",
        Some("1.0.0"),
    );
    check("back, restart, spoiled", &then(&[back, Restart, Spoil("a.so")]), "active", Some("1.0.0"));
    check("back, then gone", &then(&[back, Delete("a.so")]), "missing", None);
    check("back, gone, put back", &then(&[back, Delete("a.so"), Put("a.so", "1.1.0")]), "active", Some("1.0.0"));
    check(
        "the first has nothing before",
        &[Put("a.so", "1.0.0"), Refused("rollback", "", "NOTHING_BEFORE")],
        "active",
        Some("1.0.0"),
    );
    check("disabled", &then(&[Decide("disable", ""), Refused("rollback", "", "DISABLED")]), "disabled", None);
    check("pinned", &then(&[Decide("pin", "1.1.0"), Refused("rollback", "", "PINNED")]), "active", Some("1.1.0"));
    check("missing", &then(&[Delete("a.so"), Refused("rollback", "", "NOTHING_SERVES")]), "missing", None);
}

#[test]
fn pin() {
    let two = [Put("a.so", "1.0.0"), Put("b.so", "1.1.0")];
    let then = |more: &[Step]| [&two[..], more].concat();
    let pinned = Decide("pin", "1.0.0");
    check("pinned", &then(&[pinned]), "active", Some("1.0.0"));
    check("pinned, a higher comes", &then(&[pinned, Put("c.so", "1.2.0")]), "active", Some("1.0.0"));
    check("pinned, its file goes", &then(&[pinned, Delete("a.so")]), "active", Some("1.0.0"));
    check("pinned, its file is replaced", &then(&[pinned, Put("a.so", "1.2.0")]), "active", Some("1.0.0"));
    check("pinned, all is spoiled", &then(&[pinned, Spoil("a.so"), Spoil("b.so")]), "active", Some("1.0.0"));
    check("pinned, all goes", &then(&[pinned, Delete("a.so"), Delete("b.so")]), "missing", None);
    check(
        "pinned, all goes, another comes",
        &then(&[pinned, Delete("a.so"), Delete("b.so"), Put("c.so", "1.2.0")]),
        "active",
        Some("1.0.0"),
    );
    check("unpinned", &then(&[pinned, Decide("unpin", "")]), "active", Some("1.1.0"));
    check("pinned anew", &then(&[pinned, Decide("pin", "1.1.0")]), "active", Some("1.1.0"));
    check("what is not there", &then(&[Refused("pin", "1.9.9", "NOT_THERE")]), "active", Some("1.1.0"));
    check("what is no version", &then(&[Refused("pin", "newest", "BAD_REQUEST")]), "active", Some("1.1.0"));
    check(
        "what was rolled back",
        &[Put("a.so", "1.0.0"), Put("a.so", "1.1.0"), Decide("rollback", ""), Decide("pin", "1.1.0")],
        "active",
        Some("1.1.0"),
    );
    check(
        "kept, and replaced in the folder",
        &[Put("a.so", "1.0.0"), Put("a.so", "1.1.0"), pinned],
        "active",
        Some("1.0.0"),
    );
    check(
        "unpinned after a rollback",
        &[
            Put("a.so", "1.0.0"),
            Put("a.so", "1.1.0"),
            Decide("rollback", ""),
            Decide("pin", "1.1.0"),
            Decide("unpin", ""),
        ],
        "active",
        Some("1.0.0"),
    );
}

#[test]
fn disable() {
    let one = [Put("a.so", "1.0.0"), Decide("disable", "")];
    let then = |more: &[Step]| [&one[..], more].concat();
    check("disabled", &one, "disabled", None);
    check("a new file", &then(&[Put("a.so", "1.1.0")]), "disabled", None);
    check("gone", &then(&[Delete("a.so")]), "disabled", None);
    check("named", &then(&[Refused("reload", "", "DISABLED")]), "disabled", None);
    check("enabled", &then(&[Decide("enable", "")]), "active", Some("1.0.0"));
    check("a new file, enabled", &then(&[Put("a.so", "1.1.0"), Decide("enable", "")]), "active", Some("1.1.0"));
    check("spoiled, enabled", &then(&[Spoil("a.so"), Restart, Decide("enable", "")]), "active", Some("1.0.0"));
    check("gone, enabled", &then(&[Delete("a.so"), Refused("enable", "", "MISSING")]), "missing", None);
    check(
        "pinned meanwhile, enabled",
        &[
            Put("a.so", "1.0.0"),
            Put("b.so", "1.1.0"),
            Decide("disable", ""),
            Decide("pin", "1.0.0"),
            Decide("enable", ""),
        ],
        "active",
        Some("1.0.0"),
    );
}

#[test]
fn a_digest_can_be_pinned_by_its_first_digits() {
    let line = Line::with(&[]);
    line.add_tenant("acme", TOOL_TYPE, &[]);
    line.host.put_file("a.so", &good("1.0.0"));
    line.host.ctl(&["reload"]);
    let first = line.host.plugin(TOOL_TYPE)["sha256"].as_str().unwrap().to_owned();
    line.host.put_file("a.so", &[good("1.0.0"), b"rebuilt".to_vec()].concat());
    line.host.ctl(&["reload"]);
    let second = line.host.plugin(TOOL_TYPE);
    assert_ne!(second["sha256"], first, "the same version with other bytes is taken too");
    line.host.ctl(&["pin", TOOL_TYPE, &first[..8], "--reason", "the other one was built by hand"]);
    let row = line.host.plugin(TOOL_TYPE);
    assert_eq!((&row["sha256"], &row["pinned"]), (&Value::from(first.clone()), &Value::from(first)), "{row:#}");
    let info = line.host.ctl(&["info", TOOL_TYPE]);
    assert_eq!(info["kept"].as_array().map(Vec::len), Some(2), "{info:#}");
}

#[test]
fn the_last_good_copies_are_few() {
    let line = Line::with(&[]);
    for patch in 0..6 {
        line.host.put_file("a.so", &good(&format!("1.0.{patch}")));
        line.host.ctl(&["reload"]);
    }
    let kept = fs::read_dir(line.host.state().join("plugins/kept")).unwrap();
    assert_eq!(kept.count(), 3);
}
