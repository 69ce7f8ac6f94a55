//! The key file at the start: if the store has secrets, only the right file is accepted, and none is created in its
//! place.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use patchbay_tests::{Artifact, Line, created};

#[test]
fn a_key_file_that_is_missing_or_wrong_is_said_and_never_replaced() {
    let mut line = Line::with(&[Artifact::SERVICEDESK_PLUS]);
    line.add_tenant("acme", "servicedesk_plus", &[]);
    line.open_ticket("1");
    let ended = line.host.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let key = line.host.state().join("secret.key");
    let right = fs::read(&key).unwrap();
    let set = |text: &[u8], mode: u32| {
        fs::write(&key, text).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
    };
    type Spoil<'a> = &'a dyn Fn(&Path);
    let cases: [(&str, Spoil<'_>, &[&str]); 5] = [
        ("missing", &|key| fs::remove_file(key).unwrap(), &["is missing", "Put it back"]),
        ("another", &|_| set("ab".repeat(32).as_bytes(), 0o600), &["does not hold", "put the right key file back"]),
        ("open to others", &|_| set(&right, 0o644), &["mode 644", "chmod 600"]),
        ("too short", &|_| set(&right[..62], 0o600), &["64 hexadecimal digits"]),
        ("empty", &|_| set(b"", 0o600), &["no key"]),
    ];
    for (what, spoil, words) in cases {
        spoil(&key);
        let before = fs::read(&key).ok();
        let ended = line.host.run_to_end(&["serve", "--config", "patchbay.toml"]);
        assert_eq!(ended.code, Some(1), "{what}: {}", ended.log);
        for word in words.iter().chain(&["secret.key"]) {
            assert!(ended.log.contains(word), "{what}: no {word:?} in {}", ended.log);
        }
        assert_eq!(fs::read(&key).ok(), before, "{what}: the file is as it was");
    }
    set(&right, 0o600);
    line.host.start();
    assert_eq!(line.host.send(&created("acme", "1")).status, 202, "nothing was lost meanwhile");
    line.note_on("1");
}
