//! The journal of plugins as operators use it: the entries of a replacement, following it across a restart, and every
//! outcome of `install`.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use minisign::KeyPair;
use patchbay_tests::{
    Artifact, Ctl, Host, WAIT_MAX, created,
    hostile::{self, ordered},
    wait_until,
};
use serde_json::Value;

const TOOL_TYPE: &str = "desk_good";
const REASON: &str = "ticket 4711: tables";

/// A plugin-ctl that follows the journal; killed when dropped.
struct Follower {
    process: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Follower {
    fn start(host: &Host, args: &[&str]) -> Self {
        let mut process = follow(host, args);
        let out = BufReader::new(process.stdout.take().unwrap());
        let lines = Arc::new(Mutex::new(Vec::new()));
        let read = Arc::clone(&lines);
        thread::spawn(move || out.lines().map_while(Result::ok).for_each(|line| read.lock().unwrap().push(line)));
        Self { process, lines }
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// Waits for the first matching event, and returns all up to it.
    #[track_caller]
    fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        wait_until(what, WAIT_MAX, || {
            let mut events: Vec<Value> = self.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
            let last = events.iter().position(&wanted)?;
            events.truncate(last + 1);
            Some(events)
        })
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.process.kill();
        let _status = self.process.wait();
    }
}

fn follow(host: &Host, args: &[&str]) -> Child {
    let mut command = Command::new(Artifact::PLUGIN_CTL.path());
    command.arg("--socket").arg(host.socket()).args(["events", "--follow"]).args(args);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn install(host: &Host, file: &Path, more: &[&str]) -> Ctl {
    host.try_ctl(&[&["install", file.to_str().unwrap()], more].concat())
}

fn folder(host: &Host) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(host.plugins()).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap_or_default()))
        .collect();
    files.sort();
    files
}

fn codes(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["code"].as_str().unwrap()).collect()
}

#[test]
fn a_replacement_is_followed_from_who_to_the_end_of_the_old_one() {
    let host = Host::builder().plugin(Artifact::GOOD).start();
    let follower = Follower::start(&host, &["--json", "--tool-type", TOOL_TYPE]);
    let before = follower.until("the start", |event| event["code"] == "swapped");
    // The reload is for another tool type only.
    host.put_plugin(Artifact::PANICS);
    let installed = install(&host, &Artifact::GOOD_V2.path(), &["--reason", REASON]);
    assert_eq!((installed.code, &installed.json()[0]["version"]), (0, &"2.0.0".into()), "{installed:?}");

    let events = follower.until("the old one is gone", |event| event["code"] == "drained").split_off(before.len());
    assert_eq!(codes(&events), ["installed", "found", "loaded", "swapped", "drained"], "{events:#?}");
    let ids: Vec<_> = events.iter().map(|event| event["id"].as_i64().unwrap()).collect();
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    let asked_by = Value::from(format!("uid {}", rustix::process::getuid().as_raw()));
    for (event, version, generation, who, why) in [
        (&events[0], "2.0.0", Value::Null, &asked_by, REASON.into()),
        (&events[1], "2.0.0", Value::Null, &"host".into(), Value::Null),
        (&events[2], "2.0.0", events[3]["generation"].clone(), &"host".into(), Value::Null),
        (&events[3], "2.0.0", installed.json()[0]["generation"].clone(), &"host".into(), Value::Null),
        (&events[4], "1.0.0", 1.into(), &"host".into(), Value::Null),
    ] {
        assert_eq!((&event["tool_type"], &event["version"]), (&TOOL_TYPE.into(), &version.into()), "{event:#}");
        assert_eq!((&event["generation"], &event["who"], &event["why"]), (&generation, who, &why), "{event:#}");
        let same = event["sha256"] == installed.json()[0]["sha256"];
        assert_eq!(same, version == "2.0.0", "{event:#}");
    }
    assert!(events[2]["message"].as_str().unwrap().starts_with("proven in "), "{:#}", events[2]);
}

#[test]
fn what_the_host_does_against_a_plugin_is_noted_once() {
    let line = hostile::line();
    line.host.put_file(hostile::FILE, &ordered("validate:panic"));
    line.host.ctl(&["reload"]);
    // Four tenants are shut out after five faults each: twenty, one more than is tolerated.
    for tenant in ["evil", "evil-2", "evil-3", "evil-4"] {
        if tenant != "evil" {
            line.add_tenant(tenant, hostile::TOOL_TYPE, &[("evil", "yes")]);
        }
        (0..5).for_each(|at| drop(line.host.send(&created(tenant, &at.to_string()))));
    }
    hostile::events(&line, "it is quarantined", 1, |event| event["code"] == "quarantined");
    line.host.put_file(hostile::FILE, b"no plugin");
    assert_eq!(line.host.try_ctl(&["reload"]).code, 1);
    let noted = hostile::events(&line, "it is refused", 1, |event| event["code"] == "refused");
    assert!(noted[0]["message"].as_str().unwrap().contains("NOT_A_PLUGIN"), "{noted:#?}");
    let all = hostile::events(&line, "all of them", 1, |event| {
        ["quarantined", "found", "refused"].iter().any(|code| event["code"] == **code)
    });
    // First the file that was ordered to panic, last the one that is not a plugin.
    assert_eq!(codes(&all), ["found", "quarantined", "found", "refused"], "{all:#?}");
    assert_eq!((&all[1]["tool_type"], &all[1]["generation"]), (&hostile::TOOL_TYPE.into(), &2.into()), "{all:#?}");
    assert!(all[1]["message"].as_str().unwrap().contains("panicked"), "{all:#?}");
    assert_eq!((&all[2]["tool_type"], &all[2]["sha256"]), (&Value::Null, &all[3]["sha256"]), "{all:#?}");
}

#[test]
fn following_goes_on_over_a_restart_and_ends_with_its_reader() {
    let mut host = Host::builder().plugin(Artifact::GOOD).start();
    let follower = Follower::start(&host, &["--json"]);
    let before = follower.until("the first start", |event| event["code"] == "swapped");
    let mut text = follow(&host, &[]);
    let mut rows = BufReader::new(text.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(rows.next().unwrap().starts_with("TIME"));
    assert!(rows.next().unwrap().contains(" loaded "), "{before:?}");

    let ended = host.terminate();
    assert_eq!(ended.code, Some(0));
    assert!(!ended.log.contains("still under way"), "who waits holds the end up: {}", ended.log);
    host.start();
    let last = before.last().unwrap()["id"].as_i64().unwrap();
    let events =
        follower.until("the second start", |event| event["code"] == "swapped" && event["id"].as_i64() > Some(last));
    assert_eq!(codes(&events[before.len()..]), ["loaded", "swapped"], "nothing twice, nothing missing: {events:#?}");
    let row = rows.find(|row| row.contains(" swapped ") && row.contains("version 1.0.0 serves"));
    assert!(row.is_some());

    // `| head`: the end of the pipe is noticed even without an event to write.
    drop(rows);
    let status = wait_until("it ends", WAIT_MAX, || text.try_wait().unwrap());
    let mut said = String::new();
    text.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("went away") || said.contains("no host answers"), "{said}");
    assert!(said.contains("waiting up to 60 s") && said.lines().count() == 1, "{said}");
}

#[test]
fn an_install_says_what_serves_then() {
    let host = Host::builder().start();
    let (one, two) = (Artifact::GOOD.path(), Artifact::GOOD_V2.path());
    for (what, file, more, code, problem, serves) in [
        ("the first", &one, &[][..], 0, None, "1.0.0 1"),
        ("the same once more", &one, &[], 0, None, "1.0.0 1"),
        ("a newer one", &two, &[], 0, None, "2.0.0 2"),
        ("an older one", &one, &["--name", "old.so"], 1, Some("NOT_SERVING"), "2.0.0 2"),
        ("an older one in the place of the newer", &one, &["--name", "libtest_plugin_good_v2.so"], 0, None, "1.0.0 3"),
    ] {
        let ended = install(&host, file, more);
        assert_eq!(ended.code, code, "{what}: {ended:?}");
        let row = ended.json()[0].clone();
        assert_eq!(row, host.plugin(TOOL_TYPE), "{what}: it is read back");
        assert_eq!(format!("{} {}", row["version"].as_str().unwrap(), row["generation"]), serves, "{what}");
        match problem {
            None => assert_eq!(ended.stderr, "", "{what}"),
            Some(problem) => {
                let failure = ended.failure();
                assert_eq!(
                    (&failure["code"], &failure["state"]),
                    (&problem.into(), &"2.0.0 (generation 2) serves".into())
                );
                assert!(failure["why"].as_str().unwrap().contains("libtest_plugin_good_v2.so"), "{failure:#}");
            }
        }
    }
}

#[test]
fn an_install_that_is_refused_leaves_the_folder_as_it_was() {
    let host = Host::builder().plugin(Artifact::GOOD).start();
    let before = folder(&host);
    let named = "libtest_plugin_good.so";
    for (file, more, code, problem) in [
        (Artifact::NO_PLUGIN, &[][..], 1, "NOT_A_PLUGIN"),
        (Artifact::PANICS_IN_NEW, &[], 1, "INIT_PANIC"),
        (Artifact::PANICS_IN_NEW, &["--name", named], 1, "INIT_PANIC"),
        (Artifact::PANICS, &["--name", named], 1, "NAME_TAKEN"),
        (Artifact::GOOD_V2, &["--name", "lib.txt"], 2, "INVALID_NAME"),
        (Artifact::GOOD_V2, &["--name", ".so"], 2, "INVALID_NAME"),
        (Artifact::GOOD_V2, &["--name", "../lib.so"], 2, "INVALID_NAME"),
        (Artifact::GOOD_V2, &["--reason", "two\nlines"], 2, "USAGE"),
    ] {
        let ended = install(&host, &file.path(), more);
        assert_eq!((ended.code, &ended.failure()["code"]), (code, &problem.into()), "{file:?} {more:?}: {ended:?}");
        assert_eq!(folder(&host), before, "{file:?} {more:?}");
    }
    assert_eq!(host.plugin(TOOL_TYPE)["generation"], 1);

    fs::remove_dir_all(host.plugins()).unwrap();
    let ended = install(&host, &Artifact::GOOD_V2.path(), &[]);
    assert_eq!((ended.code, &ended.failure()["code"]), (1, &"NOT_INSTALLED".into()), "{ended:?}");
    fs::create_dir(host.plugins()).unwrap();
    if rustix::process::geteuid().is_root() {
        eprintln!("skipped for root, who may write everywhere: a folder that may not be written");
        return;
    }
    let mode = |mode| fs::set_permissions(host.plugins(), std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    mode(0o555);
    let ended = install(&host, &Artifact::GOOD_V2.path(), &[]);
    mode(0o755);
    assert_eq!((ended.code, &ended.failure()["code"]), (1, &"NOT_INSTALLED".into()), "{ended:?}");
    assert!(ended.failure()["mend"].as_str().unwrap().contains("its owner, or root"), "{ended:?}");
}

#[test]
fn what_the_hosts_own_rules_refuse_never_comes_into_the_folder() {
    let host = Host::builder().plugin(Artifact::GOOD).start();
    let before = folder(&host);
    fs::set_permissions(host.plugins(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let ended = install(&host, &Artifact::GOOD_V2.path(), &[]);
    assert_eq!((ended.code, &ended.failure()["code"]), (1, &"PERMISSIONS".into()), "{ended:?}");
    assert_eq!(ended.failure()["state"], "nothing was changed");
    assert_eq!(folder(&host), before);
}

#[test]
fn a_signature_goes_with_its_plugin_and_an_old_one_goes_away() {
    let host = Host::builder().start();
    let file = host.folder().join("libdesk.so");
    fs::write(&file, Artifact::GOOD.bytes()).unwrap();
    let key = KeyPair::generate_unencrypted_keypair().unwrap();
    let comment = Some("name=desk_good version=1.0.0");
    let signature = minisign::sign(None, &key.sk, &*Artifact::GOOD.bytes(), comment, None).unwrap().into_string();
    fs::write(host.folder().join("libdesk.so.minisig"), &signature).unwrap();
    assert_eq!(install(&host, &file, &["--name", "a.so"]).code, 0);
    let names = |host: &Host| folder(host).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(&host), ["a.so", "a.so.minisig"]);
    assert_eq!(fs::read(host.plugins().join("a.so.minisig")).unwrap(), signature.as_bytes());
    assert_eq!(install(&host, &Artifact::GOOD_V2.path(), &["--name", "a.so"]).code, 0);
    assert_eq!(names(&host), ["a.so"]);
}
