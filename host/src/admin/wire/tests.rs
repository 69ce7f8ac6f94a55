//! Names and forms that other programs rely on.

use serde_json::{Value, json};

use super::*;
use crate::plugin::confine::{Level, Wall};

fn check<T: Serialize + for<'de> Deserialize<'de>>(expected: &Value) {
    let read: T = serde_json::from_value(expected.clone()).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), *expected);
}

fn plugin() -> Value {
    json!({
        "tool_type": "jira", "version": "1.3.2", "state": "active", "generation": 17, "path": "plugins/libjira.so",
        "sha256": "9f", "signature": "unsigned", "loaded_at": "2026-11-20T10:00:00Z", "in_flight": 1, "calls": 7,
        "errors": 1, "last_error": {"code": "panicked", "message": "at lib.rs:7", "at": "2026-11-20T10:00:01Z"},
        "candidate": {"path": "plugins/libjira2.so", "version": "1.4.0", "sha256": "aa", "code": "VERSION", "reason": "r"},
        "pinned": "1.3.2",
    })
}

fn job() -> Value {
    json!({
        "id": "0193-…", "state": "waiting", "tenant": "acme", "tool_type": "jira", "kind": "enhance", "ticket_id": "17",
        "correlation_id": "c", "attempts": 2, "accepted_at": "t", "retried_at": null, "due_at": "t", "ended_at": null, "outcome": null,
        "last_error": null, "paused": false, "credential_refused": false,
    })
}

fn with(mut base: Value, more: Value) -> Value {
    base.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    base
}

#[test]
fn every_answer_survives_the_way_there_and_back() {
    check::<Plugin>(&plugin());
    check::<PluginFile>(&json!({
        "path": "p", "state": "refused", "tool_type": null, "version": null, "sha256": null, "signature": "unsigned",
        "code": "NOT_A_PLUGIN", "reason": "the file is empty",
    }));
    check::<PluginDetail>(&with(
        plugin(),
        json!({
            "info": {
                "tool_type": "jira", "name": "jira", "version": "1.3.2", "vendor": "", "sdk": "1.0.0", "abi_major": 1,
                "abi_minor": 0, "abi_minor_needed": 0, "abi_stable": "0.11.3", "rustc": "r", "target": "t",
                "panic": "unwind",
            },
            "declares": {
                "settings": [{"name": "api_user", "required": false, "about": "a"}],
                "secrets": [{"name": "api_key", "required": true, "about": "b"}],
            },
            "copy": "state/copies/9f-g17.so",
            "confinement": {"files": false, "calls": true, "text": "no Landlock in this kernel"},
            "generations": [{"number": 17, "version": "1.3.2", "sha256": "9f", "state": "active", "reason": null}],
            "kept": [{"version": "1.3.2", "sha256": "9f", "served_at": "2026-11-20T10:00:00Z", "passed_over": null,
                "path": "plugins/libjira.so", "copy": "state/plugins/kept/9f.so"}],
        }),
    ));
    check::<PluginEvent>(&json!({
        "id": 7, "at": "2026-11-20T10:00:00Z", "tool_type": "jira", "generation": null, "version": "1.3.2",
        "code": "refused", "message": "m", "sha256": "9f", "who": "uid 1000", "why": "a test", "tenant": null,
    }));
    let rules = json!({"require_signature": true, "trusted_keys": ["RW"], "permissions": "strict", "user": 1000});
    check::<Host>(
        &json!({"version": "0.1.0", "process_id": 7, "plugin_folder": "/p", "state_folder": "/s", "rules": rules}),
    );
    check::<Job>(&job());
    check::<JobDetail>(&with(
        job(),
        json!({
            "errors": [{"attempt": 1, "at": "t", "code": "api", "message": "m"}], "sent": true, "note": null,
            "waits": [{"reason": "paused", "message": "m", "since": "t", "until": null}],
        }),
    ));
    check::<NewTenant>(&json!({
        "id": "acme", "base_url": "https://desk.example", "secrets": {"key": "k"}, "settings": {"a": "b"},
        "allow_origins": ["https://login.example"], "allow_from": ["10.0.0.0/8"], "enabled": false,
    }));
    check::<ChangedTenant>(&json!({
        "id": "acme", "tool_type": "jira", "base_url": "https://desk.example/", "enabled": true, "paused": false,
        "settings": {"a": "b"}, "allow_origins": [], "allow_from": [], "replay_window_s": 300, "replay_ahead_s": 30,
        "enhance_on": ["created"], "secrets": [], "live_jobs": 0, "accepted": 7, "duplicate": 1, "ignored": 2,
        "last_accepted_at": "2026-11-20T10:00:00Z",
        "refusals": {
            "400": {"count": 0, "last_at": null, "last_reason": null},
            "401": {"count": 1, "last_at": "2026-11-20T10:00:00Z", "last_reason": "r"},
        },
        "dead_lettered": 3,
    }));
    check::<TenantChange>(&json!({
        "tool_type": "jira", "base_url": "https://desk.example", "secrets": {"key": "k"}, "settings": {"a": "b"},
        "unset": ["c"], "allow_origins": ["https://a.example"], "remove_origins": ["https://b.example"], "allow_from": ["10.0.0.0/8"], "remove_from": ["192.0.2.7"],
        "replay_window_s": 60, "replay_ahead_s": 0, "enhance_on": [], "dead_letter_jobs": true,
    }));
    check::<Problem>(&json!({"code": "C", "message": "m", "mend": "x", "causes": [{"code": "D", "message": "n"}]}));
}

#[test]
fn an_answer_of_a_newer_host_is_read_and_a_misspelt_request_is_not() {
    assert!(serde_json::from_value::<Plugin>(with(plugin(), json!({"weight": 3}))).is_ok());
    let misspelt = json!({"id": "acme", "base_url": "https://d.example", "secret": {}});
    assert!(serde_json::from_value::<NewTenant>(misspelt).is_err());
    assert!(serde_json::from_value::<Reload>(json!({"tooltype": "jira"})).is_err());
    assert_eq!(serde_json::from_value::<Reload>(json!({})).unwrap(), Reload::default());
    assert_eq!(serde_json::from_value::<Reason>(json!({})).unwrap(), Reason::default());
    for (reason, form) in [(None, json!({"file": "a.so"})), (Some("r"), json!({"file": "a.so", "reason": "r"}))] {
        let installed = Installed { file: "a.so".to_owned(), reason: reason.map(str::to_owned) };
        assert_eq!(serde_json::to_value(&installed).unwrap(), form);
        assert_eq!(serde_json::from_value::<Installed>(form).unwrap(), installed);
    }
    assert!(serde_json::from_value::<Installed>(json!({"file": "a.so", "why": "r"})).is_err());
}

#[test]
fn a_confinement_is_said_in_words_too() {
    let full = Level::default();
    for (level, files, calls, text) in [
        (full, true, true, "full"),
        (Level { files: Wall::Absent, ..full }, false, true, "no Landlock in this kernel"),
        (Level { calls: Wall::Denied, ..full }, true, false, "seccomp is denied here"),
        (Level { rights: Wall::Denied, ..full }, true, true, "not all of the host's rights are dropped"),
    ] {
        assert_eq!(Confinement::from(level), Confinement { files, calls, text: text.to_owned() });
    }
}

#[test]
fn neither_debug_nor_an_error_repeats_a_secret() {
    let tenant = |secrets: Value| {
        serde_json::from_value::<NewTenant>(json!({"id": "a", "base_url": "https://d.example", "secrets": secrets}))
    };
    let good = tenant(json!({"key": "hunter2"})).unwrap();
    assert!(!format!("{good:?}").contains("hunter2"), "{good:?}");
    for wrong in [json!("hunter2"), json!(["hunter2"]), json!({"key": ["hunter2"]}), json!({"key": {"hunter2": 1}})] {
        let error = tenant(wrong).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
    for wrong in [r#"{"value": 4711, "grace_s": 0}"#, r#"{"value": {"x": 4711}, "grace_s": 0}"#] {
        let error = serde_json::from_str::<RotateSecret>(wrong).unwrap_err().to_string();
        assert!(!error.contains("4711"), "{error}");
    }
}
