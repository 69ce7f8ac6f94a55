//! A tenant's list of sources, for tools that cannot sign. Webhooks from elsewhere are refused like a bad signature,
//! and a proxy is believed about their source only if an operator trusts it.

use std::fs;

use patchbay_tests::{Answer, Artifact, Host, Line, created};
use rustix::process::Signal;
use sandbox::webhook::SignedRequest;
use serde_json::json;

const PLUGIN: &str = "desk_good";
const ALLOWED: &str = "192.0.2.0/24";
const ELSEWHERE: &str = "198.51.100.9";

/// A host that the test reaches from `127.0.0.1`, where `acme` accepts webhooks from [`ALLOWED`] only.
fn line(trusted_proxies: &[&str]) -> Line {
    let builder = Host::builder().plugin(Artifact::GOOD).config("server.trusted_proxies", json!(trusted_proxies));
    let line = Line::start(builder);
    line.add_tenant("acme", PLUGIN, &[]);
    let changed = line.host.ctl(&["tenant", "update", "acme", "--allow-from", ALLOWED]);
    assert_eq!(changed["allow_from"], json!([ALLOWED]), "{changed:#}");
    line
}

/// Delivers a webhook as a proxy with these headers passes it on.
fn send(line: &Line, webhook: SignedRequest, forwarded_for: &[&str]) -> Answer {
    let mut webhook = webhook;
    webhook.headers.extend(forwarded_for.iter().map(|value| ("x-forwarded-for", (*value).to_owned())));
    line.host.send(&webhook)
}

#[track_caller]
fn refusal(line: &Line, count: u64) -> String {
    let shown = line.host.ctl(&["tenant", "show", "acme"]);
    let refused = &shown["refusals"]["401"];
    assert_eq!(refused["count"], count, "{shown:#}");
    refused["last_reason"].as_str().expect("a refusal has a reason").to_owned()
}

/// Everything that a sender sees, except the id of its own request.
fn seen(mut answer: Answer) -> (u16, Vec<(String, String)>, serde_json::Value) {
    let mut body = answer.json();
    body.as_object_mut().expect("a problem is an object").remove("correlation_id");
    answer.headers.retain(|(name, _)| !matches!(name.as_str(), "x-correlation-id" | "date"));
    answer.headers.sort();
    (answer.status, answer.headers, body)
}

#[test]
fn what_comes_from_elsewhere_is_refused_as_a_bad_signature_is() {
    let mut line = line(&[]);
    line.open_ticket("1");
    let from_elsewhere = line.host.send(&created("acme", "1"));
    assert_eq!(refusal(&line, 1), "it came from 127.0.0.1, which is not in the tenant's allow_from");
    line.host.wait_for_log(&["the tenant's webhooks are refused", "127.0.0.1", "allow_from"]);
    let mut forged = created("acme", "1");
    forged.body.push(b' ');
    let calls = || line.host.plugin(PLUGIN)["calls"].as_u64().expect("calls are counted");
    let before = calls();
    let unsigned = line.host.send(&forged);
    let of_forged = calls() - before;
    assert_eq!(seen(from_elsewhere), seen(unsigned));
    assert_eq!(refusal(&line, 2), "it came from 127.0.0.1, which is not in the tenant's allow_from");
    let before = calls();
    assert_eq!(line.host.send(&created("acme", "1")).status, 401);
    assert_eq!(calls() - before, of_forged, "the plugin is asked, whoever sends");
    line.host.restart();
    assert_eq!(line.host.send(&created("acme", "1")).status, 401, "the list is on disk");
    assert_eq!(line.notes("1").len(), 0);

    // The same webhook, with no list or with the right network.
    for (args, ticket) in [
        (&["--allow-from", "127.0.0.0/8", "--allow-from", "::1"][..], "1"),
        (&["--remove-from", ALLOWED], "2"),
        (&["--unset", "allow_from"], "3"),
    ] {
        line.open_ticket(ticket);
        line.host.ctl(&[&["tenant", "update", "acme"], args].concat());
        assert_eq!(line.host.send(&created("acme", ticket)).status, 202, "{args:?}");
        line.note_on(ticket);
    }
    assert_eq!(line.host.ctl(&["tenant", "show", "acme"])["allow_from"], json!([]));
}

#[test]
fn who_is_no_trusted_proxy_is_not_believed() {
    let line = line(&[]);
    assert_eq!(send(&line, created("acme", "1"), &["192.0.2.7"]).status, 401);
    assert!(refusal(&line, 1).contains("127.0.0.1"));
}

#[test]
fn a_trusted_proxy_is_believed_about_the_last_address_that_is_no_proxy() {
    let line = line(&["127.0.0.1", "10.0.0.0/8"]);
    let ways: [(&[&str], bool, &str); 11] = [
        (&["192.0.2.7"], true, ""),
        (&["::ffff:192.0.2.7"], true, ""),
        (&["192.0.2.7, 10.1.1.1"], true, ""),
        (&[ELSEWHERE, "192.0.2.7"], true, ""),
        // The sender's own entries are on the left.
        (&["192.0.2.7, 198.51.100.9"], false, ELSEWHERE),
        (&["192.0.2.7", ELSEWHERE], false, ELSEWHERE),
        (&["192.0.2.7", "198.51.100.9, 10.1.1.1"], false, ELSEWHERE),
        (&[], false, "127.0.0.1"),
        (&["10.1.1.1"], false, "10.1.1.1"),
        (&["192.0.2.7, unknown"], false, "names no address"),
        (&[""], false, "names no address"),
    ];
    let mut refused = 0;
    for (number, (forwarded_for, taken, reason)) in ways.into_iter().enumerate() {
        let answer = send(&line, created("acme", &number.to_string()), forwarded_for);
        assert_eq!(answer.status, if taken { 202 } else { 401 }, "{forwarded_for:?}: {}", answer.text());
        if !taken {
            refused += 1;
            let found = refusal(&line, refused);
            assert!(found.contains(reason), "{forwarded_for:?}: {found}");
        }
    }
}

#[test]
fn who_is_a_trusted_proxy_is_read_again_by_a_sighup() {
    let line = line(&[]);
    assert_eq!(send(&line, created("acme", "1"), &["192.0.2.7"]).status, 401);
    let file = line.host.folder().join("patchbay.toml");
    let config = fs::read_to_string(&file).unwrap();
    fs::write(&file, config.replace("trusted_proxies = []", "trusted_proxies = [\"127.0.0.1\"]")).unwrap();
    line.host.signal(Signal::HUP);
    line.host.wait_for_log(&["configuration reloaded"]);
    assert_eq!(send(&line, created("acme", "1"), &["192.0.2.7"]).status, 202);
}
