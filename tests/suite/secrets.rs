//! Secrets stay in the host: they are not in clear text in its files, in its log or in anything that it shows.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use patchbay_tests::{API_KEY, Artifact, Line, WEBHOOK_SECRET, created};
use sandbox::{Effect, Target};

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn no_secret_is_in_files_logs_or_answers() {
    let mut line = Line::with(&[Artifact::SERVICEDESK_PLUS]);
    line.add_tenant("acme", "servicedesk_plus", &[]);
    line.add_tenant("token", "servicedesk_plus", &[("webhook_auth", "token")]);
    line.open_ticket("1");
    line.open_ticket("2");
    // The secrets take every path: verified, refused, sent to the tool, and sent to a failing tool.
    assert_eq!(line.host.send(&created("acme", "1")).status, 202);
    line.note_on("1");
    line.fail(Target::Any, None, Effect::Status { status: 401, body: None, content_type: None });
    assert_eq!(line.host.send(&created("acme", "2")).status, 202);
    line.job("2", "was refused", |job| job["last_error"]["code"] == "authentication");
    let mut wrong = created("token", "3");
    wrong.headers.push(("x-webhook-token", format!("{WEBHOOK_SECRET}x")));
    assert_eq!(line.host.send(&wrong).status, 401);
    line.host.ctl(&["tenant", "rotate-secret", "acme", "api_key", "another-key"]);

    let mut shown = vec![("metrics", line.host.metrics().text())];
    for args in [&["tenant", "list"][..], &["tenant", "show", "acme"], &["job", "list"], &["list"]] {
        shown.push((args[0], line.host.ctl(args).to_string()));
    }
    let check = |what: &str, bytes: &[u8]| {
        for secret in [WEBHOOK_SECRET, API_KEY] {
            assert!(!holds(bytes, secret), "{secret} is in {what}");
        }
    };
    shown.iter().for_each(|(what, text)| check(what, text.as_bytes()));
    for file in files(&line.host.state()) {
        check(&file.display().to_string(), &fs::read(&file).unwrap_or_default());
    }
    let ended = line.host.terminate();
    check("the log", ended.log.as_bytes());
    let state = files(&line.host.state());
    assert!(state.iter().any(|path| path.ends_with("patchbay.db")), "{state:#?}");
    state.iter().for_each(|file| check(&file.display().to_string(), &fs::read(file).unwrap()));
}

#[test]
fn the_state_folder_is_its_owners_alone() {
    let line = Line::with(&[Artifact::GOOD]);
    line.add_tenant("acme", "desk_good", &[]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&line.host.state()), 0o700);
    assert_eq!(mode(&line.host.socket()), 0o600);
    assert_eq!(mode(&line.host.state().join("secret.key")), 0o600);
}
