//! `plugin-ctl new`: the crate that it writes builds without a network, conforms, and serves, outside this repository.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use patchbay_tests::{Host, Line, WAIT_MAX, WEBHOOK_SECRET};
use sandbox::{
    TicketFields, Tool,
    webhook::{Event, Scheme, Webhook, signed},
};

const CHECKOUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Runs cargo on the crate in this folder, offline. Its target folder is beside the tests' own, so the dependencies are
/// compiled once.
#[track_caller]
fn cargo(folder: &Path, args: &[&str]) {
    let ended = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(args)
        .current_dir(folder)
        .env("CARGO_NET_OFFLINE", "true")
        .env("CARGO_TARGET_DIR", target())
        .output()
        .unwrap();
    // rustfmt reports changes on standard output, the compiler its opinion on standard error.
    let said = [ended.stdout, ended.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(ended.status.success(), "cargo {args:?}: {said}");
}

fn target() -> PathBuf {
    let program = env::current_exe().unwrap();
    let profile = program.ancestors().find(|folder| folder.join("deps").is_dir()).unwrap();
    profile.join("new-plugins")
}

/// From nothing to a note with this scheme.
#[track_caller]
fn check(option: &str, word: &str, scheme: Scheme) {
    let name = format!("desk_{word}");
    let line = Line::with(&[]);
    let written = line.host.ctl(&["new", &name, option, word, "--plugin-abi", CHECKOUT]);
    assert_eq!(written["folder"], name.as_str(), "{written:#}");
    assert!(written["local_since"].is_null(), "whoever names a folder knows that it is one: {written:#}");
    let folder = line.host.folder().join(&name);
    cargo(&folder, &["fmt", "--check"]);
    cargo(&folder, &["build"]);
    let plugin = target().join("debug").join(format!("lib{name}.so"));
    let (plugin, given) = (plugin.to_str().unwrap(), folder.join("conformance.toml"));

    let with = ["--with", given.to_str().unwrap(), "--fuzz-time", "1s"];
    let report = line.host.ctl(&[&["conformance", plugin][..], &with].concat());
    assert_eq!(report["verdict"], "passed", "{report:#}");

    line.host.ctl(&["install", plugin]);
    let declares = line.host.ctl(&["info", &name])["declares"].clone();
    assert_eq!(declares["secrets"][0]["name"], "webhook_secret", "{declares:#}");
    line.add_tenant_at("acme", &name, &line.tool.base_url(Tool::Generic), &[]);
    let webhook = Webhook { tool: Tool::Generic, ..Webhook::new("acme", Event::Created, "101") };
    line.tool.put_ticket(Tool::Generic, "101", webhook.ticket.clone()).unwrap();
    let answer = line.host.send(&signed(&webhook, scheme, WEBHOOK_SECRET).unwrap());
    assert_eq!(answer.status, 202, "{}", answer.text());
    let ticket = line.tool.wait_for_notes(Tool::Generic, "101", 1, WAIT_MAX).unwrap();
    assert!(ticket.notes[0].internal && ticket.notes[0].body.contains(&TicketFields::default().subject), "{ticket:#?}");
}

/// The schemes run one after another, because all of them build into one folder.
#[test]
fn every_scheme_builds_conforms_and_serves() {
    for (option, word, scheme) in [
        ("--scheme", "hub", Scheme::HubHeader),
        ("--scheme", "timestamped", Scheme::Timestamped),
        ("--scheme", "stripe", Scheme::Stripe),
        ("--scheme", "token", Scheme::StaticToken),
        // The option's old name.
        ("--template", "basic", Scheme::Basic),
    ] {
        check(option, word, scheme);
    }
}

#[test]
fn the_written_crate_tests_itself() {
    let host = Host::builder().stopped();
    host.ctl(&["new", "desk_tested", "--plugin-abi", CHECKOUT]);
    cargo(&host.folder().join("desk_tested"), &["test"]);
}

#[test]
fn what_cannot_be_written_is_refused() {
    let host = Host::builder().stopped();
    fs::create_dir(host.folder().join("there")).unwrap();
    for (args, exit, code) in [
        (&["new", "there", "--plugin-abi", CHECKOUT][..], 1, "NEW"),
        (&["new", "match", "--plugin-abi", CHECKOUT], 2, "NAME"),
        (&["new", "7desk", "--plugin-abi", CHECKOUT], 2, "NAME"),
        (&["new", "Desk", "--plugin-abi", CHECKOUT], 2, "USAGE"),
        (&["new", "desk", "--plugin-abi", "/absent"], 2, "NEW"),
    ] {
        let ended = host.try_ctl(args);
        assert_eq!((ended.code, &ended.failure()["code"]), (exit, &code.into()), "{args:?}: {ended:?}");
    }
    assert!(!host.folder().join("desk").exists(), "nothing is left of what was refused");
    assert_eq!(fs::read_dir(host.folder().join("there")).unwrap().count(), 0, "what was there is untouched");
}
