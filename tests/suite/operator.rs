//! An operator's commands and their output: installing by the host's own rules, restoring what is missing, and the
//! texts.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use minisign::KeyPair;
use patchbay_tests::{Artifact, Host, Line, created};
use serde_json::Value;

const FILE: &str = "libdesk.so";
const TOOL_TYPE: &str = "desk_good";

fn sign(keys: &KeyPair, file: &[u8], version: &str) -> Vec<u8> {
    let comment = format!("name={TOOL_TYPE} version={version}");
    minisign::sign(None, &keys.sk, file, Some(&comment), None).unwrap().into_string().into_bytes()
}

/// A plugin with its signature, outside the plugin folder.
fn draft(host: &Host, bytes: &[u8], signature: Option<&[u8]>) -> String {
    let path = host.folder().join("draft.so");
    let beside = host.folder().join("draft.so.minisig");
    fs::write(&path, bytes).unwrap();
    match signature {
        Some(signature) => fs::write(beside, signature).unwrap(),
        None => fs::remove_file(beside).unwrap_or_default(),
    }
    path.to_str().unwrap().to_owned()
}

/// Runs plugin-ctl as people do, on a terminal with this many columns or in a pipe.
fn typed(socket: &Path, args: &[&str], columns: Option<&str>) -> (i32, String, String) {
    let mut command = Command::new(Artifact::PLUGIN_CTL.path());
    command.env_clear().arg("--socket").arg(socket).args(args).stdin(Stdio::null());
    if let Some(columns) = columns {
        command.env("COLUMNS", columns);
    }
    let ended = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (ended.status.code().unwrap(), text(ended.stdout), text(ended.stderr))
}

#[test]
fn what_is_refused_never_takes_a_good_files_place() {
    let keys = KeyPair::generate_unencrypted_keypair().unwrap();
    let host = Host::builder()
        .config("plugins.trusted_keys", format!("[{:?}]", keys.pk.to_base64()))
        .config("plugins.require_signature", true)
        .start();
    let (one, two) = (Artifact::GOOD.bytes(), Artifact::GOOD_V2.bytes());
    let install = |bytes: &[u8], signature: Option<&[u8]>| {
        host.try_ctl(&["install", &draft(&host, bytes, signature), "--name", FILE])
    };
    let good = install(&two, Some(&sign(&keys, &two, "2.0.0")));
    assert_eq!((good.code, &good.json()[0]["version"]), (0, &"2.0.0".into()), "{good:?}");
    let before = host.plugin(TOOL_TYPE);
    let stranger = KeyPair::generate_unencrypted_keypair().unwrap();
    for (bytes, signature, code, state) in [
        (&one, None, "UNSIGNED", "nothing was changed"),
        (&two, Some(sign(&keys, &one, "2.0.0")), "MODIFIED", "nothing was changed"),
        (&two, Some(sign(&stranger, &two, "2.0.0")), "UNKNOWN_KEY", "nothing was changed"),
        (&b"no plugin".to_vec(), None, "NOT_A_PLUGIN", "nothing was changed"),
        // Only the host knows what has served before.
        (&one, Some(sign(&keys, &one, "1.0.0")), "DOWNGRADE", "the file that was there before is back"),
    ] {
        let refused = install(bytes, signature.as_deref());
        assert_eq!((refused.code, &refused.failure()["code"]), (1, &code.into()), "{refused:?}");
        assert!(refused.failure()["state"].as_str().unwrap().starts_with(state), "{refused:?}");
        assert!(refused.failure()["mend"].is_string(), "{refused:?}");
        assert_eq!(fs::read(host.plugins().join(FILE)).unwrap(), two, "{code}");
        let now = host.plugin(TOOL_TYPE);
        assert_eq!((&now["generation"], &now["candidate"]), (&before["generation"], &Value::Null), "{code}: {now:#}");
        assert_eq!(now["signature"], before["signature"], "{code}");
    }
    let names: Vec<_> = fs::read_dir(host.plugins()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "nothing but the plugin and its signature: {names:?}");
}

#[test]
fn the_first_line_is_said_only_when_the_new_bytes_serve() {
    let host = Host::builder().plugin(Artifact::GOOD).start();
    let name = Artifact::GOOD.path().file_name().unwrap().to_str().unwrap().to_owned();
    let v2 = Artifact::GOOD_V2.path();
    let install = |name: &str| typed(&host.socket(), &["install", v2.to_str().unwrap(), "--name", name], None);
    let (code, said, _) = install(&name);
    assert!(code == 0 && said.starts_with("desk_good 2.0.0 (sha256 "), "{said}");
    host.ctl(&["rollback", TOOL_TYPE]);
    let before = host.put_plugin(Artifact::GOOD);
    host.try_ctl(&["reload"]);
    let (code, said, why) = install(&name);
    assert_eq!(code, 1, "{said}{why}");
    assert!(said.starts_with("TOOL TYPE") && why.contains("error[ROLLED_BACK]"), "{said}{why}");
    assert!(why.contains("the file that was there before is back; 1.0.0"), "{why}");
    assert_eq!(fs::read(before).unwrap(), Artifact::GOOD.bytes());
}

#[test]
fn what_was_refused_in_its_place_is_not_told_of_the_new_file() {
    // The first look at the new file is during its quiet period.
    let host = Host::builder().plugin(Artifact::GOOD).config("plugins.settle_ms", 500).start();
    let good = Artifact::GOOD.path();
    let name = good.file_name().unwrap().to_str().unwrap();
    host.put_file(name, b"no plugin");
    assert_eq!(host.try_ctl(&["reload"]).code, 1);
    let (code, said, why) = typed(&host.socket(), &["install", good.to_str().unwrap(), "--name", name], None);
    assert!(code == 0 && said.starts_with("desk_good 1.0.0 (sha256 "), "{said}{why}");
}

#[test]
fn what_is_missing_says_what_is_kept_and_comes_back() {
    let line = Line::with(&[Artifact::GOOD]);
    line.add_tenant("acme", TOOL_TYPE, &[]);
    let before = line.host.plugin(TOOL_TYPE);
    let file = before["path"].as_str().unwrap().to_owned();
    fs::remove_file(&file).unwrap();
    line.host.try_ctl(&["reload"]);
    let row = line.host.plugin(TOOL_TYPE);
    assert_eq!((&row["state"], &row["last_error"]["code"]), (&"missing".into(), &"MISSING".into()), "{row:#}");
    let digits = before["sha256"].as_str().unwrap()[..8].to_owned();
    let said = format!("no file in {}; 1.0.0 ({digits}) is kept", line.host.plugins().display());
    assert_eq!(row["last_error"]["message"], said, "{row:#}");

    for command in [&["enable", TOOL_TYPE][..], &["reload", TOOL_TYPE]] {
        let failed = line.host.try_ctl(command);
        assert_eq!((failed.code, &failed.failure()["code"]), (1, &"MISSING".into()), "{failed:?}");
        let mend = failed.failure()["mend"].as_str().unwrap().to_owned();
        assert!(mend.contains("plugin-ctl install --kept desk_good"), "{mend}");
    }
    let status = line.host.ctl(&["status"]);
    assert_eq!((&status["wrong"][0]["what"], &status["wrong"][0]["where"]), (&"missing".into(), &TOOL_TYPE.into()));

    let back = line.host.ctl(&["install", "--kept", TOOL_TYPE, "--reason", "it was deleted"]);
    assert_eq!((&back[0]["state"], &back[0]["sha256"]), (&"active".into(), &before["sha256"]), "{back:#}");
    assert_eq!(back[0]["path"], file.as_str(), "under the name that it had");
    line.open_ticket("1");
    assert_eq!(line.host.send(&created("acme", "1")).status, 202);
    line.note_on("1");

    let never = line.host.try_ctl(&["install", "--kept", "jira"]);
    assert_eq!((never.code, &never.failure()["code"]), (1, &"UNKNOWN_PLUGIN".into()), "{never:?}");
}

#[test]
fn a_status_ends_with_0_and_names_what_is_wrong() {
    let line = Line::with(&[Artifact::GOOD]);
    line.add_tenant("acme", TOOL_TYPE, &[]);
    let (code, well, _) = typed(&line.host.socket(), &["status"], None);
    assert!(code == 0 && well.ends_with("Nothing is wrong.\n"), "{well}");

    line.host.put_file("libnothing.so", b"no plugin");
    line.host.try_ctl(&["reload"]);
    line.host.ctl(&["job", "pause"]);
    line.host.ctl(&["disable", TOOL_TYPE, "--reason", "the tool is being migrated"]);
    line.open_ticket("1");
    assert_eq!(line.host.send(&created("acme", "1")).status, 503);
    let status = line.host.ctl(&["status"]);
    let what: Vec<_> =
        status["wrong"].as_array().unwrap().iter().map(|wrong| wrong["what"].as_str().unwrap()).collect();
    assert_eq!(what, ["refused", "jobs paused", "webhooks refused", "disabled"], "{status:#}");
    let row = line.host.plugin(TOOL_TYPE);
    assert_eq!(row["last_error"]["message"], "an operator has disabled it: the tool is being migrated", "{row:#}");
    let (code, text, _) = typed(&line.host.socket(), &["status"], Some("80"));
    assert_eq!(code, 0);
    assert!(text.contains("WRONG") && text.contains("plugin-ctl job resume"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80 || !line.trim().contains(' ')), "{text}");
}

#[test]
fn tables_can_be_read_and_ids_copied_at_80_columns() {
    let line = Line::with(&[Artifact::GOOD]);
    line.add_tenant("acme", TOOL_TYPE, &[]);
    line.host.ctl(&["job", "pause"]);
    line.open_ticket("1");
    assert_eq!(line.host.send(&created("acme", "1")).status, 202);
    line.host.put_file("libnothing.so", b"no plugin");
    line.host.try_ctl(&["reload"]);
    let id = line.host.ctl(&["job", "list"])[0]["id"].as_str().unwrap().to_owned();
    let (_, jobs, _) = typed(&line.host.socket(), &["job", "list"], Some("80"));
    assert!(jobs.lines().any(|row| row.split_whitespace().next() == Some(&id)), "{jobs}");
    let (_, list, _) = typed(&line.host.socket(), &["list"], Some("80"));
    let lines: Vec<_> = list.lines().collect();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(lines[0]).join(" "), "TOOL TYPE STATE VERSION GEN CALLS ERRORS AGE");
    assert!(lines[2].starts_with("    NOT_A_PLUGIN: "), "{list}");
    assert_eq!(words(lines.last().unwrap())[..4], ["desk_good", "active", "1.0.0", "1"], "{list}");
    let (_, wide, _) = typed(&line.host.socket(), &["list", "--wide"], Some("80"));
    assert!(wide.contains("signature: unsigned"), "{wide}");
    // In a pipe, each row is a line.
    let (_, piped, _) = typed(&line.host.socket(), &["list"], None);
    assert_eq!(piped.lines().count(), 3, "{piped}");
    assert!(piped.lines().next().unwrap().ends_with("REASON"), "{piped}");
}

#[test]
fn near_misses_name_what_may_have_been_meant() {
    let host = Host::builder().plugin(Artifact::GOOD).start();
    let wrong = host.try_ctl(&["info", "desk_god"]);
    assert!(wrong.failure()["mend"].as_str().unwrap().starts_with("did you mean desk_good?"), "{wrong:?}");
    let (code, _, said) = typed(&host.socket(), &["instal"], None);
    assert!(code == 2 && said.contains("'install'"), "{said}");
}

#[test]
fn a_key_can_be_given_as_the_file_that_minisign_wrote() {
    let keys = KeyPair::generate_unencrypted_keypair().unwrap();
    let host = Host::builder().start();
    let bytes = Artifact::GOOD.bytes();
    let file = draft(&host, &bytes, Some(&sign(&keys, &bytes, "1.0.0")));
    let public = host.folder().join("acme.pub");
    fs::write(&public, keys.pk.to_box().unwrap().to_string()).unwrap();
    let given = format!("@{}", public.display());
    let verify = |key: &str| host.try_ctl(&["verify", &file, "--trusted-key", key]);
    let shown = verify(&given);
    assert!(shown.json()["signature"].as_str().unwrap().starts_with("trusted("), "{shown:?}");
    fs::write(&public, "untrusted comment: nothing\n").unwrap();
    assert_eq!(verify(&given).code, 2);
    let absent = host.try_ctl(&["verify", "absent.so"]);
    assert_eq!((&absent.failure()["code"], &absent.failure()["state"]), (&"OPEN".into(), &Value::Null), "{absent:?}");
}

#[test]
fn a_check_says_which_configuration_it_read() {
    let host = Host::builder().start();
    let check = |folder: &Path| {
        let mut command = Command::new(Artifact::PATCHBAY.path());
        let ended = command.arg("check-config").current_dir(folder).env_clear().output().unwrap();
        assert_eq!(ended.status.code(), Some(0));
        String::from_utf8(ended.stderr).unwrap()
    };
    let said = check(host.folder());
    assert!(said.contains(host.folder().join("patchbay.toml").to_str().unwrap()), "{said}");
    assert!(check(&host.plugins()).contains("no patchbay.toml here"));
}
