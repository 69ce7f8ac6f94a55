//! Which records open, which do not, and what a key file must be.

use std::{fs, os::unix::fs::PermissionsExt};

use super::*;

const CANARY: &str = "canary-7f3a";

fn tenant(id: &str) -> TenantId {
    TenantId::parse(id).unwrap()
}

fn ring(folder: &tempfile::TempDir, name: &str) -> KeyRing {
    KeyRing::load_or_create(&folder.path().join(name), false).unwrap()
}

fn canary() -> SecretText {
    SecretText::new(CANARY.to_owned()).unwrap()
}

fn key_file(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret.key");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    (folder, path)
}

#[test]
fn a_record_opens_in_its_own_place_only() {
    let folder = tempfile::tempdir().unwrap();
    let keys = ring(&folder, "key");
    let (acme, other) = (tenant("acme"), tenant("other"));
    let place = SecretPlace { tenant: &acme, name: "api_key", version: 3 };
    let record = keys.seal(place, &canary()).unwrap();
    assert_eq!(keys.open(place, &record).unwrap().expose(), CANARY);
    assert_ne!(record, keys.seal(place, &canary()).unwrap(), "the nonce is fresh each time");
    for wrong in [
        SecretPlace { tenant: &other, ..place },
        SecretPlace { name: "webhook_secret", ..place },
        SecretPlace { version: 2, ..place },
    ] {
        assert!(matches!(keys.open(wrong, &record), Err(SecretError::Tampered { .. })), "{wrong:?}");
    }
}

#[test]
fn a_record_with_any_bit_changed_or_cut_off_does_not_open() {
    let folder = tempfile::tempdir().unwrap();
    let keys = ring(&folder, "key");
    let acme = tenant("acme");
    let place = SecretPlace { tenant: &acme, name: "api_key", version: 3 };
    let record = keys.seal(place, &canary()).unwrap();
    for index in 0..record.len() {
        let mut changed = record.clone();
        changed[index] ^= 1;
        assert!(keys.open(place, &changed).is_err(), "byte {index}");
        assert!(keys.open(place, &record[..index]).is_err(), "{index} bytes");
    }
}

#[test]
fn a_key_ring_seals_with_its_first_key_and_opens_with_all() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (ring(&folder, "old"), ring(&folder, "new"));
    let line = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let (_both_folder, path) = key_file(&format!("# the new one first\n{}\n{}", line("new"), line("old")), 0o600);
    let both = KeyRing::load_or_create(&path, true).unwrap();
    let acme = tenant("acme");
    let place = SecretPlace { tenant: &acme, name: "api_key", version: 1 };
    let sealed_by_old = old.seal(place, &canary()).unwrap();
    let sealed_by_both = both.seal(place, &canary()).unwrap();
    assert!(both.open(place, &sealed_by_old).is_ok());
    assert!(new.open(place, &sealed_by_both).is_ok());
    assert!(matches!(new.open(place, &sealed_by_old), Err(SecretError::UnknownKey { .. })));
}

#[test]
fn a_key_file_is_made_once_private_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret.key");
    KeyRing::load_or_create(&path, false).unwrap();
    let made = fs::read(&path).unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    KeyRing::load_or_create(&path, false).unwrap();
    KeyRing::load_or_create(&path, true).unwrap();
    assert_eq!(fs::read(&path).unwrap(), made);
}

#[test]
fn a_lost_key_file_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret.key");
    assert!(matches!(KeyRing::load_or_create(&path, true), Err(KeyFileError::Lost { .. })));
    assert!(!path.exists());
}

#[test]
fn a_key_file_that_others_can_reach_or_that_holds_no_keys_is_refused() {
    let key = "ab".repeat(32);
    for (text, mode, refused) in [
        (key.as_str(), 0o600, None),
        (&key.to_uppercase(), 0o400, None),
        (&format!("{key}\n").repeat(KEYS_MAX), 0o600, None),
        (&format!("{key}\n").repeat(KEYS_MAX + 1), 0o600, Some("too many")),
        (&key, 0o640, Some("mode 640")),
        (&key, 0o604, Some("mode 604")),
        (&key, 0o620, Some("mode 620")),
        ("", 0o600, Some("no key")),
        ("# nothing\n", 0o600, Some("no key")),
        (&key[..62], 0o600, Some("64 hexadecimal")),
        (&format!("{key}ab"), 0o600, Some("64 hexadecimal")),
        (&format!("+{}", &key[..63]), 0o600, Some("64 hexadecimal")),
        (&"#".repeat(4_097), 0o600, Some("too long")),
    ] {
        let (_folder, path) = key_file(text, mode);
        let error = KeyRing::load_or_create(&path, true).err().map(|error| error.to_string());
        match (refused, error) {
            (None, None) => {}
            (Some(reason), Some(error)) => assert!(error.contains(reason), "{text:?}: {error}"),
            (refused, error) => panic!("{text:?} {mode:o}: expected {refused:?}, got {error:?}"),
        }
    }
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(KeyRing::load_or_create(folder.path(), true), Err(KeyFileError::Malformed { .. })));
}

#[test]
fn a_key_file_of_another_user_is_refused_where_owners_count() {
    const SOMEBODY: u32 = 4321;
    let (_folder, path) = key_file(&"ab".repeat(32), 0o600);
    KeyRing::load_or_create(&path, true).unwrap();
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can give a file away");
        return;
    }
    std::os::unix::fs::chown(&path, Some(SOMEBODY), None).unwrap();
    for policy in [Permissions::Strict, Permissions::Group] {
        let error = KeyRing::load_or_create(KeyFile::from(&path).under(policy), true).unwrap_err();
        assert!(matches!(error, KeyFileError::Foreign { owner: SOMEBODY, .. }), "{policy}: {error}");
    }
    KeyRing::load_or_create(KeyFile::from(&path).under(Permissions::Volume), true).unwrap();
}

#[test]
fn nothing_secret_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    let keys = ring(&folder, "key");
    let key = fs::read_to_string(folder.path().join("key")).unwrap();
    let printed = format!("{:?} {keys:?}", canary());
    assert!(printed.starts_with("[secret]"), "{printed}");
    assert!(!printed.contains(CANARY) && !printed.contains(&key[..16]), "{printed}");
}

#[test]
fn a_secret_has_its_limits() {
    for (bytes, taken) in [(0, false), (1, true), (SECRET_BYTES_MAX, true), (SECRET_BYTES_MAX + 1, false)] {
        assert_eq!(SecretText::new("x".repeat(bytes)).is_ok(), taken, "{bytes}");
    }
}
