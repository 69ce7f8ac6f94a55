//! The journal has everything that is done to tenants and jobs: what, when, by whom and why, and nothing secret.

use std::fs;

use patchbay_tests::{API_KEY, Artifact, Host, Line, WEBHOOK_SECRET, created};
use serde_json::{Value, json};

const BASE_URL: &str = "--base-url=https://a.example";

fn events(host: &Host, args: &[&str]) -> Vec<Value> {
    let events = host.ctl(&[&["events", "--limit", "10000"], args].concat());
    events.as_array().unwrap().clone()
}

fn codes(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["code"].as_str().unwrap()).collect()
}

#[test]
fn every_change_of_a_tenant_is_noted_with_who_and_why() {
    let line = Line::with(&[Artifact::GOOD]);
    let host = &line.host;
    let file = host.folder().join("tenants");
    fs::write(&file, r#"{"id": "acme", "tool_type": "desk_good", "base_url": "https://a.example"}"#).unwrap();
    let secret = format!("api_key={API_KEY}");
    let asked_by = format!("uid {}", rustix::process::getuid().as_raw());
    for (args, code, words) in [
        (&["import", file.to_str().unwrap()][..], "tenant_added", "https://a.example"),
        (
            &["update", "acme", "--set", "project=canary-setting", "--secret", &secret],
            "tenant_changed",
            "set: project; secrets: api_key",
        ),
        (&["rotate-secret", "acme", "api_key", WEBHOOK_SECRET], "secret_set", "secret api_key"),
        (&["remove-secret", "acme", "api_key", "--yes"], "secret_removed", "secret api_key"),
        (&["pause", "acme"], "tenant_paused", ""),
        (&["resume", "acme"], "tenant_resumed", ""),
        (&["disable", "acme"], "tenant_disabled", ""),
        (&["enable", "acme"], "tenant_enabled", ""),
    ] {
        let reason = format!("ticket 4711: {code} & more");
        host.ctl(&[&["tenant"], args, &["--reason", &reason]].concat());
        // The entry exists as soon as the command has ended.
        let noted = events(host, &["--tenant", "acme"]).pop().unwrap();
        assert_eq!((&noted["code"], &noted["tenant"]), (&code.into(), &"acme".into()), "{noted:#}");
        assert_eq!((&noted["who"], &noted["why"]), (&asked_by.clone().into(), &reason.into()), "{noted:#}");
        assert_eq!((&noted["tool_type"], &noted["generation"]), (&"desk_good".into(), &Value::Null), "{noted:#}");
        assert!(noted["message"].as_str().unwrap().contains(words), "{noted:#}");
    }
    host.ctl(&["tenant", "update", "acme", "--base-url", "https://b.example"]);
    let all = events(host, &["--tenant", "acme"]);
    assert_eq!(all.last().unwrap()["why"], Value::Null, "without a reason there is none");
    let text = json!(all).to_string();
    for secret in [API_KEY, WEBHOOK_SECRET, "canary-setting"] {
        assert!(!text.contains(secret), "{text}");
    }
    // Nothing is recorded for a refused change.
    let refused = host.try_ctl(&["tenant", "update", "acme", "--base-url", "ftp://b.example"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert_eq!(host.try_ctl(&["tenant", "pause", "acme", "--reason", "two\nlines"]).code, 2);
    assert_eq!(events(host, &["--tenant", "acme"]).len(), all.len());
}

#[test]
fn of_a_removed_tenant_stays_that_it_was_removed() {
    let line = Line::with(&[Artifact::GOOD]);
    let host = &line.host;
    let add = |note: &str| {
        line.add_tenant("acme", "desk_good", &[]);
        host.ctl(&["tenant", "update", "acme", "--set", &format!("{note}=1"), "--reason", note]);
        // Webhooks are refused from here on, for which the host makes an entry of its own.
        let mut forged = created("acme", "1");
        forged.body.push(b' ');
        assert_eq!(host.send(&forged).status, 401);
    };
    let of_acme = || events(host, &["--tenant", "acme"]);
    add("first");
    host.ctl(&["tenant", "remove", "acme", "--yes", "--reason", "they left"]);
    let left = of_acme();
    assert_eq!((codes(&left), &left[0]["why"]), (vec!["tenant_removed"], &"they left".into()), "{left:#?}");

    add("second");
    host.ctl(&["tenant", "remove", "acme", "--keep", "7", "--yes"]);
    assert!(json!(of_acme()).to_string().contains("second"), "what is kept is kept");
    add("third");
    host.ctl(&["tenant", "erase", "acme", "--yes", "--reason", "they asked"]);
    let text = json!(of_acme()).to_string();
    assert!(text.contains("third") && !text.contains("second") && !text.contains("first"), "{text}");
    let stays: Vec<_> = of_acme().into_iter().filter(|event| event["message"].to_string().contains("acme")).collect();
    assert_eq!(
        codes(&stays).into_iter().filter(|code| *code != "tenant_refused").collect::<Vec<_>>(),
        ["tenant_removed", "tenant_removed", "tenant_added", "tenant_changed", "tenant_erased"],
    );
}

#[test]
fn many_tenants_at_once_do_not_push_all_else_out() {
    let host = Host::builder().start();
    let import = |count: usize, prefix: &str| {
        let line = |n| format!("{}\n", json!({"id": format!("{prefix}{n}"), "base_url": "https://a.example"}));
        fs::write(host.folder().join("tenants"), (0..count).map(line).collect::<String>()).unwrap();
        host.ctl(&["tenant", "import", "tenants", "--reason", prefix]);
        events(&host, &[]).into_iter().filter(|event| event["why"] == prefix).collect::<Vec<_>>()
    };
    assert_eq!(import(100, "a").len(), 100);
    let one = import(101, "b");
    assert_eq!((one.len(), &one[0]["tenant"]), (1, &Value::Null), "{one:#?}");
    assert!(one[0]["message"].as_str().unwrap().starts_with("101 tenants"), "{one:#?}");
    host.ctl(&["tenant", "add", "acme", BASE_URL]);
    assert_eq!(codes(&events(&host, &["--tenant", "acme"])), ["tenant_added"]);
}

#[test]
fn people_read_who_and_why() {
    let host = Host::builder().start();
    host.ctl(&["tenant", "add", "acme", BASE_URL, "--reason", "a new customer"]);
    let mut command = std::process::Command::new(Artifact::PLUGIN_CTL.path());
    let ended = command.arg("--socket").arg(host.socket()).args(["events", "--tenant", "acme"]).output().unwrap();
    let text = String::from_utf8(ended.stdout).unwrap();
    for words in ["tenant_added", "tenant acme", "why: a new customer"] {
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn what_is_done_to_jobs_is_noted() {
    let line = Line::with(&[Artifact::GOOD]);
    line.add_tenant("acme", "desk_good", &[]);
    let give_up = |ticket: &str| {
        // The ticket does not exist, and the tool always says so.
        assert_eq!(line.host.send(&created("acme", ticket)).status, 202);
        line.run_out();
        let dead = line.host.ctl(&["job", "list", "--state", "dead"]);
        dead[0]["id"].as_str().unwrap().to_owned()
    };
    let job = give_up("404");
    let noted = |args: &[&str]| {
        let before = events(&line.host, &[]).len();
        line.host.ctl(&[args, &["--why", "the tool is back"]].concat());
        let mut after = events(&line.host, &[]).split_off(before);
        assert_eq!(after.len(), 1, "{after:#?}");
        assert_eq!(after[0]["why"], "the tool is back", "{after:#?}");
        assert!(after[0]["who"].as_str().unwrap().starts_with("uid "), "{after:#?}");
        after.remove(0)
    };
    for (args, code) in [(["job", "pause"], "jobs_paused"), (["job", "resume"], "jobs_resumed")] {
        let event = noted(&args);
        assert_eq!((&event["code"], &event["tenant"]), (&code.into(), &Value::Null), "{event:#}");
    }
    let event = noted(&["job", "retry", &job]);
    assert_eq!((&event["code"], &event["tenant"]), (&"jobs_retried".into(), &"acme".into()), "{event:#}");
    assert!(event["message"].as_str().unwrap().contains(&job), "{event:#}");
    line.run_out();
    let event = noted(&["job", "retry", "--dead", "--tenant", "acme"]);
    assert_eq!((&event["code"], &event["tenant"]), (&"jobs_retried".into(), &"acme".into()), "{event:#}");
    line.run_out();
    let event = noted(&["job", "purge", "--yes"]);
    assert_eq!((&event["code"], &event["tenant"]), (&"jobs_purged".into(), &Value::Null), "{event:#}");
    assert_eq!(event["message"], "dead letters deleted: 1");
    // Commands without an effect make no entry.
    let before = events(&line.host, &[]).len();
    line.host.ctl(&["job", "purge", "--yes"]);
    assert_eq!(events(&line.host, &[]).len(), before);
}
