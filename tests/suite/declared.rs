//! The settings and secrets that plugins declare: `verify` and `info` list them; a plugin of 1.0 declares none and serves.

use std::{fs, path::Path};

use patchbay_tests::{Artifact, Host};
use serde_json::{Value, json};

/// The output of `verify` for a file with these bytes.
fn verified(host: &Host, bytes: &[u8]) -> Value {
    let path = host.folder().join("libunder_test.so");
    fs::write(&path, bytes).unwrap();
    let ended = host.try_ctl(&["verify", path.to_str().unwrap()]);
    ended.json()
}

fn names(declared: &Value) -> Vec<&str> {
    declared.as_array().unwrap().iter().map(|declared| declared["name"].as_str().unwrap()).collect()
}

#[test]
fn the_five_plugins_declare_what_they_read() {
    let host = Host::builder().stopped();
    for (artifact, setting) in [
        (Artifact::SERVICEDESK_PLUS, "portal"),
        (Artifact::JIRA, "connect_base_path"),
        (Artifact::ZENDESK, "field_tags"),
        (Artifact::SERVICENOW, "signed_string"),
        (Artifact::FRESHSERVICE, "fields"),
    ] {
        let verdict = verified(&host, &artifact.bytes());
        assert!(names(&verdict["declares"]["settings"]).contains(&setting), "{artifact:?}: {verdict:#}");
        assert_eq!(names(&verdict["declares"]["secrets"]), ["webhook_secret", "api_key"], "{artifact:?}");
        let all_required = verdict["declares"]["secrets"].as_array().unwrap().iter().all(|one| one["required"] == true);
        assert!(all_required, "{verdict:#}");
    }
}

#[test]
fn what_serves_is_shown_with_its_declaration() {
    let host = Host::builder().plugin(Artifact::JIRA).plugin(Artifact::GOOD).start();
    let info = host.ctl(&["info", "jira"]);
    let user = info["declares"]["settings"].as_array().unwrap().iter().find(|one| one["name"] == "api_user").unwrap();
    assert_eq!(user["required"], false, "{info:#}");
    assert!(user["about"].as_str().unwrap().contains("e-mail address"), "{info:#}");
    assert_eq!(host.ctl(&["info", "desk_good"])["declares"], json!(null), "it declares nothing");
}

#[test]
fn a_plugin_of_1_0_declares_nothing_and_is_sound() {
    let host = Host::builder().stopped();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/libgolden_1_0.so");
    let verdict = verified(&host, &fs::read(golden).unwrap());
    assert_eq!((&verdict["verdict"], &verdict["declares"]), (&json!("sound"), &json!(null)), "{verdict:#}");
}

#[test]
fn a_declaration_that_cannot_be_read_is_refused() {
    let host = Host::builder().stopped();
    let mut broken = Artifact::JIRA.bytes();
    let begins = b"{\"settings\":[{";
    let at = broken.windows(begins.len()).position(|window| window == begins).unwrap();
    broken[at] = b'[';
    let verdict = verified(&host, &broken);
    assert_eq!((&verdict["verdict"], &verdict["code"]), (&json!("refused"), &json!("NOT_A_PLUGIN")), "{verdict:#}");
    assert!(verdict["reason"].as_str().unwrap().contains("settings and secrets"), "{verdict:#}");
}
