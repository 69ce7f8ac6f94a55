//! Under load, a plugin's file is replaced by a bad one, in each way in which a file can be bad. The previous version
//! keeps serving, the reason is shown, and a good file afterwards is loaded.

use patchbay::plugin::artifact::Sha256Sum;
use patchbay_tests::{
    Artifact, Host, Line, WAIT_MAX,
    hostile::{self, PEACE, TOOL_TYPE, add_tenants, beside, ordered},
    wait_until,
};
use serde_json::Value;

use super::patched::{self, Bytes};

const GOOD_FILE: &str = "libdesk_good.so";
/// What the plugin does before its first call, and the resulting code.
const ORDERS: &[(&str, &str)] = &[
    ("constructor:segv", "PROBE_CRASHED"),
    ("constructor:exit", "PROBE_CRASHED"),
    ("new:panic", "INIT_PANIC"),
    ("new:abort", "PROBE_CRASHED"),
    ("new:overflow", "PROBE_CRASHED"),
    ("new:alloc", "PROBE_CRASHED"),
    ("new:thread", "THREADS"),
    ("new:hang", "PROBE_TIMEOUT"),
    ("new:exec", "PROBE_CRASHED"),
    ("new:connect", "PROBE_CRASHED"),
    ("drop:panic", "INIT_PANIC"),
    ("destructor:segv", "PROBE_CRASHED"),
];

/// Tool type, file name, what is wrong, code, and the file's bytes.
type Case = (&'static str, &'static str, &'static str, &'static str, Vec<u8>);

fn cases() -> Vec<Case> {
    let good = Artifact::GOOD.bytes();
    let whole = [
        ("noise", "NOT_A_PLUGIN", b"no plugin at all".to_vec()),
        ("empty", "NOT_A_PLUGIN", Vec::new()),
        ("half of it", "TRUNCATED", good[..good.len() / 2].to_vec()),
        ("larger than is read", "TOO_LARGE", vec![0; (64 << 20) + 1]),
        ("no plugin", "NOT_A_PLUGIN", Artifact::NO_PLUGIN.bytes()),
        ("no layout", "NO_LAYOUT", Artifact::NO_LAYOUT.bytes()),
        ("another layout", "LAYOUT", Artifact::OTHER_LAYOUT.bytes()),
        ("one that cannot be made", "INIT_PANIC", Artifact::PANICS_IN_NEW.bytes()),
    ];
    let whole = whole.map(|(what, code, bytes)| ("desk_good", GOOD_FILE, what, code, bytes));
    let patched = patched::CASES.iter().map(|(what, code, change)| {
        let mut file = Bytes(good.clone());
        change(&mut file);
        ("desk_good", GOOD_FILE, *what, *code, file.0)
    });
    let hostile = ORDERS.iter().map(|(orders, code)| (TOOL_TYPE, hostile::FILE, *orders, *code, ordered(orders)));
    whole.into_iter().chain(patched).chain(hostile).collect()
}

#[test]
fn the_one_before_serves_on_and_a_good_one_afterwards_is_taken() {
    let builder = Host::builder().config("plugins.watch", true).config("plugins.settle_ms", 0);
    let mut line = Line::stopped(builder.config("plugins.fast_deadline_ms", 10_000).config("log.level", "\"error\""));
    line.host.put_file(GOOD_FILE, &Artifact::GOOD.bytes());
    line.host.put_file(hostile::FILE, &ordered(PEACE));
    line.host.start();
    add_tenants(&line);
    beside(&line, &["good", "calm"], || {
        for (number, (tool_type, file, what, code, bytes)) in cases().into_iter().enumerate() {
            let before = line.host.plugin(tool_type);
            line.host.put_file(file, &bytes);
            let refused = wait_until(&format!("{what}: {code}"), WAIT_MAX, || {
                let files = line.host.ctl(&["list", "--files"]);
                let mut rows = files.as_array()?.iter();
                rows.find(|row| row["path"].as_str().is_some_and(|path| path.ends_with(file)) && row["code"] == code)
                    .cloned()
            });
            assert_eq!(refused["state"], "refused", "{what}: {refused:#}");
            assert!(refused["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{what}: {refused:#}");
            let row = line.host.plugin(tool_type);
            for key in ["state", "generation", "sha256"] {
                assert_eq!(row[key], before[key], "{what}: {row:#}");
            }
            let good = if tool_type == TOOL_TYPE { ordered(PEACE) } else { Artifact::GOOD.bytes() };
            // Another digest each time: nothing reads bytes after the last header.
            let good = [good, number.to_le_bytes().to_vec()].concat();
            line.host.put_file(file, &good);
            let sha256 = Sha256Sum::of(&good).to_string();
            let row = wait_until(&format!("after {what}: a good one serves"), WAIT_MAX, || {
                Some(line.host.plugin(tool_type)).filter(|row| row["sha256"] == sha256)
            });
            assert_eq!((&row["state"], &row["candidate"]), (&"active".into(), &Value::Null), "after {what}: {row:#}");
        }
    });
}
