//! Whose plugins are loaded: real signatures beside real files, their display, and refusals.

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    process::Command,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use minisign::KeyPair;
use patchbay_tests::{Artifact, Host, HostBuilder, Line, WAIT_MAX, created, hostile::StopWhenDropped, wait_until};
use rustix::process::Signal;
use serde_json::Value;

const FILE: &str = "libdesk.so";
const MINISIG: &str = "libdesk.so.minisig";
const V1: &str = "name=desk_good version=1.0.0";
/// The trusted comment of version 2. The crate's name is accepted in place of the tool type.
const V2: &str = "version=2.0.0 name=test-plugin-good-v2";
/// minisign's default comment.
const NOBODY_SAID: &str = "timestamp:1556193335\tfile:libdesk.so\thashed";

/// A signer.
struct Vendor(KeyPair);

impl Vendor {
    fn new() -> Self {
        Self(KeyPair::generate_unencrypted_keypair().unwrap())
    }

    fn key(&self) -> String {
        self.0.pk.to_base64()
    }

    fn id(&self) -> String {
        format!("{:016X}", u64::from_le_bytes(self.0.pk.keynum().try_into().unwrap()))
    }

    fn sign(&self, file: &[u8], comment: &str) -> Vec<u8> {
        minisign::sign(None, &self.0.sk, file, Some(comment), None).unwrap().into_string().into_bytes()
    }
}

fn keys(vendors: &[&Vendor]) -> String {
    format!("{:?}", vendors.iter().map(|vendor| vendor.key()).collect::<Vec<_>>())
}

fn trusting(vendors: &[&Vendor]) -> HostBuilder {
    Host::builder().config("plugins.trusted_keys", keys(vendors))
}

fn requiring(vendors: &[&Vendor]) -> HostBuilder {
    trusting(vendors).config("plugins.require_signature", true)
}

/// Changes a key of the configuration and makes the host reload it.
fn hang_up(host: &Host, key: &str, value: &str) {
    let path = host.folder().join("patchbay.toml");
    let text = fs::read_to_string(&path).unwrap();
    let others = text.lines().filter(|line| !line.starts_with(key)).map(|line| format!("{line}\n"));
    fs::write(&path, others.collect::<String>() + &format!("{key} = {value}\n")).unwrap();
    host.signal(Signal::HUP);
}

/// The row of `list --files` for the file.
#[track_caller]
fn file_row(host: &Host) -> Value {
    let files = host.ctl(&["list", "--files"]);
    let mut rows = files.as_array().unwrap().iter();
    rows.find(|row| row["path"].as_str().unwrap().ends_with(FILE)).unwrap_or_else(|| panic!("{files:#}")).clone()
}

#[test]
fn each_state_is_shown_and_a_signature_that_comes_later_is_noticed() {
    let (vendor, stranger) = (Vendor::new(), Vendor::new());
    let host = trusting(&[&vendor]).start();
    let bytes = Artifact::GOOD.bytes();
    let file = host.put_file(FILE, &bytes);
    let check = |minisig: Option<Vec<u8>>, shown: &str, code: Option<&str>| {
        match minisig {
            Some(minisig) => drop(host.put_file(MINISIG, &minisig)),
            None => fs::remove_file(host.plugins().join(MINISIG)).unwrap_or_default(),
        }
        let reload = host.try_ctl(&["reload"]);
        assert_eq!(reload.code, i32::from(code.is_some()), "{reload:?}");
        let (list, info, in_folder) = (host.plugin("desk_good"), host.ctl(&["info", "desk_good"]), file_row(&host));
        for row in [&list, &info, &in_folder] {
            assert_eq!(row["signature"], shown, "{row:#}");
        }
        // It served before its signature was changed, so it keeps serving as generation 1, whatever is beside it.
        assert_eq!((&list["state"], &list["generation"]), (&"active".into(), &1.into()), "{list:#}");
        assert_eq!((&list["candidate"]["code"], &in_folder["code"]), (&code.into(), &code.into()), "{list:#}");
        let verify = host.try_ctl(&["verify", file.to_str().unwrap(), "--trusted-key", &vendor.key()]);
        assert_eq!(verify.json()["signature"], shown, "{verify:?}");
        assert_eq!(verify.json()["verdict"] == "sound", shown.starts_with("trusted") && code.is_none(), "{verify:?}");
    };
    let trusted = format!("trusted({})", vendor.id());
    check(None, "unsigned", None);
    check(Some(vendor.sign(&bytes, V1)), &trusted, None);
    check(Some(stranger.sign(&bytes, V1)), &format!("unknown key({})", stranger.id()), None);
    check(Some(vendor.sign(b"other bytes", V1)), "modified", Some("MODIFIED"));
    check(Some(vendor.sign(&bytes, V1)[..200].to_vec()), "modified", Some("MODIFIED"));
    check(Some(vendor.sign(&bytes, NOBODY_SAID)), &trusted, Some("SIGNATURE_COMMENT"));
    check(None, "unsigned", None);
}

#[test]
fn verify_without_a_key_names_the_key_that_signed() {
    let vendor = Vendor::new();
    let host = Host::builder().stopped();
    let bytes = Artifact::GOOD.bytes();
    let file = host.put_file(FILE, &bytes);
    host.put_file(MINISIG, &vendor.sign(&bytes, V1));
    let verify = host.try_ctl(&["verify", file.to_str().unwrap()]);
    assert_eq!((verify.code, &verify.json()["verdict"]), (0, &"sound".into()), "{verify:?}");
    assert_eq!(verify.json()["signature"], format!("unknown key({})", vendor.id()));
    for (key, code) in [(vendor.key(), 0), (Vendor::new().key(), 1), ("RWxyz".to_owned(), 2)] {
        let verify = host.try_ctl(&["verify", file.to_str().unwrap(), "--trusted-key", &key]);
        assert_eq!(verify.code, code, "{verify:?}");
    }
}

#[test]
fn where_signatures_are_required_only_a_good_one_is_taken() {
    let (vendor, stranger) = (Vendor::new(), Vendor::new());
    let line = Line::start(requiring(&[&vendor]));
    line.add_tenant("acme", "desk_good", &[]);
    let bytes = Artifact::GOOD.bytes();
    line.host.put_file(FILE, &bytes);
    for (minisig, code) in [
        (None, "UNSIGNED"),
        (Some(stranger.sign(&bytes, V1)), "UNKNOWN_KEY"),
        (Some(vendor.sign(&bytes[1..], V1)), "MODIFIED"),
        (Some(b"garbage".to_vec()), "MODIFIED"),
        (Some(vendor.sign(&bytes, NOBODY_SAID)), "SIGNATURE_COMMENT"),
        (Some(vendor.sign(&bytes, V2)), "SIGNATURE_COMMENT"),
        (Some(vendor.sign(&bytes, "name=another version=1.0.0")), "SIGNATURE_COMMENT"),
    ] {
        minisig.iter().for_each(|minisig| drop(line.host.put_file(MINISIG, minisig)));
        for command in [&["reload"][..], &["reload", "desk_good"]] {
            let reload = line.host.try_ctl(command);
            assert_eq!((reload.code, &reload.failure()["code"]), (1, &code.into()), "{reload:?}");
        }
        let row = line.host.plugin("desk_good");
        assert_eq!((&row["state"], &row["last_error"]["code"]), (&"refused".into(), &code.into()), "{row:#}");
        assert_eq!(line.host.send(&created("acme", "1")).problem_code(), "plugin_missing");
    }
    line.host.put_file(MINISIG, &vendor.sign(&bytes, V1));
    line.host.ctl(&["reload"]);
    assert_eq!(line.host.plugin("desk_good")["signature"], format!("trusted({})", vendor.id()));
    assert_eq!(line.host.send(&created("acme", "1")).status, 202);
}

#[test]
fn a_newer_file_without_a_signature_does_not_keep_the_signed_one_from_serving() {
    let vendor = Vendor::new();
    let mut host = requiring(&[&vendor]).plugin(Artifact::GOOD_V2).stopped();
    host.put_file(FILE, &Artifact::GOOD.bytes());
    host.put_file(MINISIG, &vendor.sign(&Artifact::GOOD.bytes(), V1));
    host.start();
    let row = host.plugin("desk_good");
    assert_eq!((&row["state"], &row["version"]), (&"active".into(), &"1.0.0".into()), "{row:#}");
}

#[test]
fn a_file_that_is_not_what_was_signed_is_refused_also_where_none_need_be() {
    let vendor = Vendor::new();
    let line = Line::start(trusting(&[&vendor]));
    line.add_tenant("acme", "desk_good", &[]);
    let bytes = Artifact::GOOD.bytes();
    line.host.put_file(MINISIG, &vendor.sign(&bytes, V1));
    line.host.put_file(FILE, &bytes);
    line.host.ctl(&["reload"]);
    let flipped = |at: usize| {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        flipped
    };
    // Bytes that no ELF file can have, bytes that can be anything, and bytes that no check of the file itself notices.
    let cases = [flipped(0), flipped(20), flipped(bytes.len() / 2), [&bytes[..], b"\0"].concat(), bytes[1..].to_vec()];
    for (case, modified) in cases.iter().enumerate() {
        line.host.put_file(FILE, modified);
        let reload = line.host.try_ctl(&["reload"]);
        assert_eq!((reload.code, &reload.failure()["code"]), (1, &"MODIFIED".into()), "case {case}: {reload:?}");
        let row = line.host.plugin("desk_good");
        assert_eq!((&row["state"], &row["generation"]), (&"active".into(), &1.into()), "case {case}: {row:#}");
        assert_eq!(row["signature"], format!("trusted({})", vendor.id()), "of what serves: {row:#}");
        assert_eq!(file_row(&line.host)["signature"], "modified");
        assert_eq!(line.host.send(&created("acme", &case.to_string())).status, 202);
    }
}

#[test]
fn file_and_signature_may_be_replaced_in_either_order_under_load() {
    let vendor = Vendor::new();
    let watched = requiring(&[&vendor]).config("plugins.watch", true).config("plugins.settle_ms", 20);
    let line = Line::start(watched);
    line.add_tenant("acme", "desk_good", &[]);
    let put = |name: &str, bytes: &[u8]| drop(line.host.put_file(name, bytes));
    let shows = |what: &str, wanted: &dyn Fn(&Value) -> bool| {
        wait_until(what, WAIT_MAX, || {
            let list = line.host.ctl(&["list"]);
            list.as_array().unwrap().iter().find(|row| row["tool_type"] == "desk_good" && wanted(row)).cloned()
        })
    };
    let one = Artifact::GOOD.bytes();
    put(MINISIG, &vendor.sign(&one, V1));
    put(FILE, &one);
    shows("1.0.0 serves", &|row| row["version"] == "1.0.0" && row["state"] == "active");
    let two = Artifact::GOOD_V2.bytes();
    // Bytes after the last segment make another file of the same version.
    let three = [&two[..], b"another build"].concat();
    let (stop, delivered) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let at = delivered.fetch_add(1, Ordering::Relaxed);
                let answer = line.host.send(&created("acme", &at.to_string()));
                assert_eq!(answer.status, 202, "{}", answer.text());
            }
        });
        let _stop = StopWhenDropped(&stop);
        for (generation, bytes, signature_first) in [(2, &two, false), (3, &three, true)] {
            let minisig = vendor.sign(bytes, V2);
            let steps: [(&str, &[u8]); 2] = [(FILE, bytes), (MINISIG, &minisig)];
            let [first, then] = if signature_first { [steps[1], steps[0]] } else { steps };
            put(first.0, first.1);
            let between = shows("the half that came is refused", &|row| row["candidate"]["code"] == "MODIFIED");
            assert_eq!((&between["state"], &between["generation"]), (&"active".into(), &(generation - 1).into()));
            let before = delivered.load(Ordering::Relaxed);
            wait_until("webhooks meanwhile", WAIT_MAX, || {
                (delivered.load(Ordering::Relaxed) > before + 2).then_some(())
            });
            put(then.0, then.1);
            let after = shows("both fit", &|row| row["generation"] == generation && row["candidate"].is_null());
            assert_eq!((&after["version"], &after["state"]), (&"2.0.0".into(), &"active".into()), "{after:#}");
            assert_eq!(after["signature"], format!("trusted({})", vendor.id()), "{after:#}");
        }
    });
}

#[test]
fn sighup_changes_who_is_trusted_and_takes_the_file_that_waits() {
    let (known, coming) = (Vendor::new(), Vendor::new());
    let host = requiring(&[&known]).start();
    let bytes = Artifact::GOOD.bytes();
    host.put_file(MINISIG, &coming.sign(&bytes, V1));
    host.put_file(FILE, &bytes);
    let reload = host.try_ctl(&["reload"]);
    assert_eq!(reload.failure()["code"], "UNKNOWN_KEY", "{reload:?}");

    hang_up(&host, "plugins.trusted_keys", "[\"RWnothing\"]");
    host.wait_for_log(&["the configuration was not reloaded", "plugins.trusted_keys", "number 1"]);
    assert_eq!(host.plugin("desk_good")["state"], "refused");

    let row_shows = |what: &str, wanted: &dyn Fn(&Value) -> bool| {
        wait_until(what, WAIT_MAX, || Some(host.plugin("desk_good")).filter(|row| wanted(row)))
    };
    hang_up(&host, "plugins.trusted_keys", &keys(&[&known, &coming]));
    let row = row_shows("it serves", &|row| row["state"] == "active");
    assert_eq!((&row["generation"], &row["candidate"]), (&1.into(), &Value::Null), "{row:#}");
    assert_eq!(row["signature"], format!("trusted({})", coming.id()), "{row:#}");

    // A key that is no longer trusted stops nothing that serves, but it is reported.
    hang_up(&host, "plugins.trusted_keys", &keys(&[&known]));
    let row = row_shows("it is marked", &|row| row["candidate"]["code"] == "UNKNOWN_KEY");
    assert_eq!((&row["state"], &row["generation"]), (&"active".into(), &1.into()), "{row:#}");
    hang_up(&host, "plugins.require_signature", "false");
    let row = row_shows("no more", &|row| row["candidate"].is_null());
    assert_eq!(row["signature"], format!("unknown key({})", coming.id()), "{row:#}");
}

#[test]
fn what_is_no_longer_good_enough_is_warned_of_once() {
    let host = trusting(&[&Vendor::new()]).plugin(Artifact::GOOD).start();
    hang_up(&host, "plugins.require_signature", "true");
    let is_marked = || (host.plugin("desk_good")["candidate"]["code"] == "UNSIGNED").then_some(());
    wait_until("it is marked", WAIT_MAX, is_marked);
    let warned = host.log().lines().filter(|line| line.contains("WARN") && line.contains("UNSIGNED")).count();
    assert_eq!(warned, 1, "{}", host.log());
}

#[test]
fn an_older_signed_version_is_refused() {
    let vendor = Vendor::new();
    let host = requiring(&[&vendor]).start();
    for (artifact, comment, code) in [(Artifact::GOOD_V2, V2, None), (Artifact::GOOD, V1, Some("DOWNGRADE"))] {
        host.put_file(MINISIG, &vendor.sign(&artifact.bytes(), comment));
        host.put_file(FILE, &artifact.bytes());
        let reload = host.try_ctl(&["reload"]);
        assert_eq!(reload.code, i32::from(code.is_some()), "{reload:?}");
        let row = host.plugin("desk_good");
        assert_eq!((&row["version"], &row["generation"]), (&"2.0.0".into(), &1.into()), "{row:#}");
        assert_eq!(row["candidate"]["code"], Value::from(code), "{row:#}");
    }
}

#[test]
fn what_no_trusted_key_has_signed_is_said_at_the_start() {
    let vendor = Vendor::new();
    let start = |builder: HostBuilder| builder.plugin(Artifact::GOOD).plugin(Artifact::PANICS).start();
    let host = start(trusting(&[&vendor]));
    host.wait_for_log(&["WARN", "no trusted key has signed these plugins", "desk_good, desk_panics"]);
    let host = start(Host::builder());
    host.wait_for_log(&["INFO", "no trusted key has signed these plugins", "desk_good, desk_panics"]);
    let host = Host::builder().start();
    host.wait_for_log(&["INFO", "plugins.require_signature is off"]);
    let host = requiring(&[&vendor]).start();
    let said = host.log().contains("plugins.require_signature is off");
    assert!(!said, "{}", host.log());
}

#[test]
fn whatever_lies_in_the_place_of_a_signature_is_read_to_an_end() {
    let host = trusting(&[&Vendor::new()]).start();
    host.put_file(FILE, &Artifact::GOOD.bytes());
    let place = host.plugins().join(MINISIG);
    let check = |shown: &str, code: Option<&str>| {
        let reload = host.try_ctl(&["reload", "desk_good"]);
        assert_eq!(reload.code, i32::from(code.is_some()), "{reload:?}");
        let row = file_row(&host);
        assert_eq!((&row["signature"], &row["code"]), (&shown.into(), &code.into()), "{row:#}");
    };
    assert!(Command::new("mkfifo").arg(&place).status().unwrap().success());
    check("modified", Some("MODIFIED"));
    fs::remove_file(&place).unwrap();
    fs::create_dir(&place).unwrap();
    check("modified", Some("MODIFIED"));
    fs::remove_dir(&place).unwrap();
    File::create(&place).and_then(|file| file.set_len(1 << 40)).unwrap();
    check("modified", Some("MODIFIED"));
    fs::remove_file(&place).unwrap();
    symlink("/nowhere/at/all", &place).unwrap();
    check("unsigned", None);
}
