//! Output of `status` for healthy hosts and for others.

use serde_json::{Value, json};
use time::macros::datetime;

use super::*;

fn layout() -> Layout {
    Layout { width: Some(80), color: false, wide: false, now: datetime!(2026-11-20 10:00:00 UTC) }
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn plugin(state: &str) -> Plugin {
    read(json!({
        "tool_type": "zendesk", "version": null, "state": state, "generation": null, "path": null, "sha256": null,
        "signature": null, "loaded_at": null, "in_flight": 0, "calls": 0, "errors": 0, "candidate": null,
        "last_error": {"code": "MISSING", "message": "no file in /p; 1.0.0 (fc48fc48) is kept", "at": "t"},
    }))
}

fn tenant(last_accepted_at: Option<&str>, last_at: &str) -> Tenant {
    read(json!({
        "id": "acme", "tool_type": "jira", "base_url": "https://a.example/", "enabled": true, "settings": {},
        "allow_origins": [], "replay_window_s": 300, "enhance_on": ["created"], "secrets": [], "live_jobs": null,
        "last_accepted_at": last_accepted_at,
        "refusals": {
            "401": {"count": 1, "last_at": last_at, "last_reason": "the signature is wrong"},
            "503": {"count": 0, "last_at": null, "last_reason": null},
        },
    }))
}

fn status(wrong: Vec<Wrong>) -> Status {
    let host = json!({"version": "1.0.0", "process_id": 7, "plugin_folder": "/p", "state_folder": "/s"});
    let jobs = json!({"live": 1, "dead": 0, "oldest_age_ms": 300_000, "paused": false});
    let (plugins, tenants) = (tally(["active", "active", "missing"].into_iter()), tally(["enabled"].into_iter()));
    Status { host: read(host), plugins, tenants, jobs: read(jobs), wrong }
}

#[test]
fn a_host_that_is_well_takes_a_few_lines() {
    let expected = "\
patchbay:      1.0.0, process 7
plugins:       2 active, 1 missing
tenants:       1 enabled
waiting:       1 job, the oldest for 5m
dead letters:  0

Nothing is wrong.
";
    assert_eq!(text(&status(Vec::new()), &layout()), expected);
}

#[test]
fn what_is_wrong_is_shown_with_the_way_out() {
    let shown = text(&status(plugin_at_fault(&plugin("missing")).into_iter().collect()), &layout());
    let (_, wrong) = shown.split_once("\n\n").unwrap();
    let expected = "\
WRONG    WHERE
missing  zendesk
    MISSING: no file in /p; 1.0.0 (fc48fc48) is kept; plugin-ctl install --kept
    zendesk brings back what is kept, plugin-ctl install FILE another file
";
    assert_eq!(wrong, expected);
    let many = (0..9).filter_map(|_| plugin_at_fault(&plugin("quarantined"))).collect();
    assert!(text(&status(many), &layout()).ends_with("and 3 more: plugin-ctl status --json\n"));
}

#[test]
fn each_kind_of_fault_is_found() {
    for state in ["missing", "quarantined", "refused"] {
        assert_eq!(plugin_at_fault(&plugin(state)).map(|wrong| wrong.what), Some(state));
    }
    assert!(plugin_at_fault(&plugin("active")).is_none() && plugin_held_back(&plugin("active")).is_none());
    assert_eq!(plugin_held_back(&plugin("disabled")).map(|wrong| wrong.what), Some("disabled"));
    let queue = |dead: u64, paused: bool| -> Queue {
        read(json!({"live": 0, "dead": dead, "oldest_age_ms": 0, "paused": paused}))
    };
    assert_eq!(dead_letters(&queue(1, false)).map(|wrong| wrong.place), Some("1 job".to_owned()));
    assert!(dead_letters(&queue(0, false)).is_none() && paused(&queue(0, false)).is_none());
    assert!(paused(&queue(0, true)).is_some());
}

#[test]
fn a_tenant_is_refused_when_that_came_last_and_not_long_ago() {
    for (accepted, refused_at, expected) in [
        (None, "2026-11-20T09:55:00.000Z", true),
        (Some("2026-11-20T09:54:00.000Z"), "2026-11-20T09:55:00.000Z", true),
        (Some("2026-11-20T09:56:00.000Z"), "2026-11-20T09:55:00.000Z", false),
        (None, "2026-11-20T08:55:00.000Z", false),
    ] {
        let wrong = refused(&tenant(accepted, refused_at), &layout());
        assert_eq!(wrong.is_some(), expected, "{accepted:?} {refused_at}");
        let said = "1 webhook with 401, the last 5m ago: the signature is wrong";
        assert!(wrong.is_none_or(|wrong| wrong.reason.as_deref() == Some(said)));
    }
}
