//! A plugin's file is replaced while webhooks arrive, in every way in which files come into a folder. The new one
//! serves, and no webhook is refused.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::Write as _,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use patchbay::plugin::artifact::Sha256Sum;
use patchbay_tests::{
    Artifact, Host, HostBuilder, Line, WAIT_MAX, created,
    hostile::{StopWhenDropped, beside_the_good_one},
    http::{self, Connection},
    wait_until,
};
use sandbox::{Effect, Target};
use serde_json::Value;

const FILE: &str = "libdesk.so";
/// Duration of a slow copy; the number of its pieces follows.
const SLOW: Duration = Duration::from_secs(10);
const PIECES: usize = 100;
const FILES_AT_ONCE: usize = 50;
const STORM: usize = 10_000;
const REPLACEMENTS: usize = 20;
/// The tenants together send 20,000 webhooks; a tenant's jobs must fit into one list.
const TENANTS: usize = 20;
const WEBHOOKS_EACH: usize = 1_000;

/// A watched folder. The fast deadline does not matter here, because the machine may be busy.
fn builder() -> HostBuilder {
    let builder = Host::builder().config("plugins.watch", true).config("plugins.fast_deadline_ms", 10_000);
    builder.config("log.level", "\"info\"")
}

/// A host whose tenant `good` is served by [`FILE`].
fn line(builder: HostBuilder) -> Line {
    let line = Line::stopped(builder);
    line.host.put_file(FILE, &Artifact::GOOD.bytes());
    started(line)
}

fn started(mut line: Line) -> Line {
    line.host.start();
    line.add_tenant("good", "desk_good", &[]);
    line
}

/// The good plugin with another digest for each number: nothing reads bytes after the last header.
fn numbered(artifact: Artifact, number: u64) -> Vec<u8> {
    [&artifact.bytes()[..], &number.to_le_bytes()].concat()
}

/// A file outside the plugin folder, with its future name.
fn draft(host: &Host, bytes: &[u8]) -> PathBuf {
    let draft = host.folder().join("draft.so");
    fs::write(&draft, bytes).unwrap();
    draft
}

#[track_caller]
fn run(program: &str, args: &[&dyn AsRef<OsStr>]) {
    let status = Command::new(program).args(args.iter().map(AsRef::as_ref)).status().unwrap();
    assert!(status.success(), "{program}: {status}");
}

/// Waits until these bytes serve, and returns the plugin's row.
#[track_caller]
fn serves(line: &Line, bytes: &[u8]) -> Value {
    let digest = Sha256Sum::of(bytes).to_string();
    wait_until(&format!("{digest} serves"), WAIT_MAX, || {
        let list = line.host.ctl(&["list"]);
        let mut rows = list.as_array().unwrap().iter();
        rows.find(|row| row["state"] == "active" && row["sha256"] == digest).cloned()
    })
}

/// A way to replace a file by these bytes.
type Way = fn(&Host, &Path, &[u8]);

const WAYS: &[(&str, Way)] = &[
    ("cp", |host, file, bytes| run("cp", &[&draft(host, bytes), &file])),
    ("cp that unlinks first", |host, file, bytes| {
        run("cp", &[&"--remove-destination", &draft(host, bytes), &file]);
    }),
    ("cp that keeps times", |host, file, bytes| {
        let draft = draft(host, bytes);
        run("touch", &[&"-d", &"2020-01-01", &draft]);
        run("cp", &[&"-p", &draft, &file]);
    }),
    ("mv", |host, file, bytes| run("mv", &[&draft(host, bytes), &file])),
    ("install", |host, file, bytes| run("install", &[&"-m", &"755", &draft(host, bytes), &file])),
    ("rsync", |_, file, bytes| {
        let partial = file.with_file_name(".libdesk.so.x2Yc1a");
        let mut copy = File::create(&partial).unwrap();
        bytes.chunks(256 << 10).for_each(|piece| copy.write_all(piece).unwrap());
        drop(copy);
        fs::rename(partial, file).unwrap();
    }),
    ("an editor that keeps the old file meanwhile", |_, file, bytes| {
        let backup = file.with_file_name("libdesk.so~");
        fs::rename(file, &backup).unwrap();
        let mut new = File::create(file).unwrap();
        new.write_all(bytes).and_then(|()| new.sync_all()).unwrap();
        fs::remove_file(backup).unwrap();
    }),
    ("an editor that writes beside it", |_, file, bytes| {
        let beside = file.with_file_name("4913.so.tmp");
        let mut new = File::create(&beside).unwrap();
        new.write_all(bytes).and_then(|()| new.sync_all()).unwrap();
        fs::rename(beside, file).unwrap();
    }),
    ("a file taken away and put back", |host, file, bytes| {
        let draft = draft(host, bytes);
        fs::remove_file(file).unwrap();
        fs::rename(draft, file).unwrap();
    }),
    ("another name, and the old one goes", |_, file, bytes| {
        fs::write(file.with_file_name("libdesk-next.so"), bytes).unwrap();
        fs::remove_file(file).unwrap();
        fs::rename(file.with_file_name("libdesk-next.so"), file).unwrap();
    }),
];

#[test]
fn every_way_to_replace_a_file_ends_with_the_new_one_serving() {
    let line = line(builder());
    beside_the_good_one(&line, || {
        for (number, (what, way)) in (1..).zip(WAYS) {
            eprintln!("{what}");
            let generation = line.host.plugin("desk_good")["generation"].as_u64().unwrap();
            let bytes = numbered([Artifact::GOOD, Artifact::GOOD_V2][number % 2], number as u64);
            way(&line.host, &line.host.plugins().join(FILE), &bytes);
            let row = serves(&line, &bytes);
            assert_eq!(row["generation"].as_u64(), Some(generation + 1), "{what}: {row:#}");
        }
    });
    assert!(!line.host.log().contains("refused"), "nothing was refused on the way");
}

/// Each tenant sends its webhooks one after the other over one connection.
#[test]
fn twenty_thousand_webhooks_during_twenty_replacements_are_each_accepted_and_done_once() {
    let mut line = Line::stopped(builder().config("log.level", "\"error\"").config("plugins.settle_ms", 100));
    line.host.put_file(FILE, &Artifact::SCHEMES.bytes());
    line.host.start();
    let tenants: Vec<_> = (0..TENANTS).map(|number| format!("t{number}")).collect();
    tenants.iter().for_each(|tenant| line.add_tenant(tenant, "desk_schemes", &[]));
    let sent = AtomicUsize::new(0);
    thread::scope(|scope| {
        for tenant in &tenants {
            scope.spawn(|| {
                let connection = Connection::open(line.host.address()).unwrap();
                for ticket in 1..=WEBHOOKS_EACH {
                    let request = http::delivery(&created(tenant, &ticket.to_string()));
                    let answer = connection.exchange(&request).expect("the connection holds");
                    assert_eq!(answer.status, 202, "{}", answer.text());
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for number in 0..REPLACEMENTS {
            // The replacements are spread over all webhooks.
            let sent_by_then = number * TENANTS * WEBHOOKS_EACH / REPLACEMENTS;
            wait_until("webhooks", WAIT_MAX, || (sent.load(Ordering::Relaxed) >= sent_by_then).then_some(()));
            let bytes = numbered(Artifact::SCHEMES, number as u64);
            let (_, way) = WAYS[number % WAYS.len()];
            way(&line.host, &line.host.plugins().join(FILE), &bytes);
            serves(&line, &bytes);
        }
    });
    assert_eq!(line.host.plugin("desk_schemes")["generation"], REPLACEMENTS + 1);
    wait_until("no live jobs", WAIT_MAX, || {
        line.host.ctl(&["job", "list", "--limit=1"]).as_array().unwrap().is_empty().then_some(())
    });
    for tenant in &tenants {
        let jobs = line.host.ctl(&["job", "list", "--limit=1000", "--state=done", "--tenant", tenant]);
        let jobs = jobs.as_array().unwrap();
        assert!(jobs.iter().all(|job| job["outcome"] == "done"), "{tenant}: {jobs:#?}");
        let mut tickets: Vec<usize> =
            jobs.iter().map(|job| job["ticket_id"].as_str().unwrap().parse().unwrap()).collect();
        tickets.sort_unstable();
        assert_eq!(tickets, (1..=WEBHOOKS_EACH).collect::<Vec<_>>(), "{tenant}");
    }
}

#[test]
fn a_slow_copy_is_taken_when_it_is_whole_and_holds_up_nothing() {
    let line = line(builder());
    let bytes = numbered(Artifact::GOOD_V2, 1);
    beside_the_good_one(&line, || {
        let mut copy = File::create(line.host.plugins().join(FILE)).unwrap();
        for (number, piece) in bytes.chunks(bytes.len().div_ceil(PIECES)).enumerate() {
            copy.write_all(piece).unwrap();
            if number == PIECES / 10 {
                line.host.put_plugin(Artifact::SCHEMES);
            }
            if number == PIECES / 2 {
                assert_eq!(line.host.plugin("desk_schemes")["state"], "active", "the slow copy held it up");
            }
            // The pace of the copy.
            thread::sleep(SLOW / u32::try_from(PIECES).unwrap());
        }
        let row = line.host.plugin("desk_good");
        assert_eq!((&row["generation"], &row["candidate"]), (&1.into(), &Value::Null), "{row:#}");
        drop(copy);
        serves(&line, &bytes);
    });
    assert!(!line.host.log().contains("refused"), "a copy under way is nothing to be refused");
}

#[test]
fn a_link_is_turned_to_another_version() {
    let line = Line::stopped(builder());
    let versions = ["v1.so", "v2.so"].map(|name| line.host.folder().join(name));
    let link = line.host.plugins().join(FILE);
    let turn = |to: &Path| {
        let new = line.host.plugins().join(".new");
        symlink(to, &new).and_then(|()| fs::rename(new, &link)).unwrap();
    };
    let bytes = [numbered(Artifact::GOOD, 1), numbered(Artifact::GOOD_V2, 2)];
    versions.iter().zip(&bytes).for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
    turn(&versions[0]);
    let line = started(line);
    let turn = |to: &Path| run("ln", &[&"-sfn", &to, &line.host.plugins().join(FILE)]);
    beside_the_good_one(&line, || {
        for at in [1, 0, 1] {
            turn(&versions[at]);
            serves(&line, &bytes[at]);
        }
    });
}

/// A volume as the kubelet writes it: a folder for each version, a link to it, and links through that one.
#[test]
fn a_kubernetes_volume_is_swapped() {
    let line = Line::stopped(builder().config("plugins.permissions", "\"group\""));
    let volume = line.host.plugins();
    let write = |version: &str, bytes: &[u8]| {
        let folder = volume.join(version);
        fs::create_dir(&folder).unwrap();
        let file = folder.join(FILE);
        fs::write(&file, bytes).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o664)).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o775)).unwrap();
        symlink(version, volume.join("..data_tmp")).unwrap();
        fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    };
    fs::set_permissions(&volume, fs::Permissions::from_mode(0o775)).unwrap();
    write("..2026_01", &numbered(Artifact::GOOD, 1));
    symlink(Path::new("..data").join(FILE), volume.join(FILE)).unwrap();
    let line = started(line);
    beside_the_good_one(&line, || {
        for (old, new) in [("..2026_01", "..2026_02"), ("..2026_02", "..2026_03")] {
            let bytes = numbered(Artifact::GOOD_V2, u64::from(new.as_bytes()[8]));
            write(new, &bytes);
            fs::remove_dir_all(volume.join(old)).unwrap();
            serves(&line, &bytes);
        }
    });
    assert!(!line.host.log().contains("refused"), "nothing was refused on the way");
}

#[test]
fn fifty_files_come_at_once() {
    let line = line(builder());
    let others = [Artifact::SCHEMES, Artifact::PANICS, Artifact::HANGS, Artifact::ALLOCATOR, Artifact::HOSTILE];
    let bytes = numbered(Artifact::GOOD_V2, 1);
    let tool_types = ["desk_schemes", "desk_panics", "desk_hangs", "desk_allocator", "desk_hostile"];
    beside_the_good_one(&line, || {
        let crate_of_files = line.host.folder().join("crate");
        fs::create_dir(&crate_of_files).unwrap();
        let put = |name: &str, bytes: &[u8]| fs::write(crate_of_files.join(name), bytes).unwrap();
        put(FILE, &bytes);
        others.iter().zip(tool_types).for_each(|(other, name)| put(&format!("{name}.so"), &other.bytes()));
        for number in others.len() + 1..FILES_AT_ONCE {
            put(&format!("noise-{number}.so"), format!("no plugin {number}").as_bytes());
        }
        run("cp", &[&"-r", &crate_of_files.join("."), &line.host.plugins()]);
        serves(&line, &bytes);
        for tool_type in tool_types {
            wait_until(&format!("{tool_type} serves"), WAIT_MAX, || {
                let list = line.host.ctl(&["list"]);
                let mut rows = list.as_array().unwrap().iter();
                rows.any(|row| row["tool_type"] == tool_type && row["state"] == "active").then_some(())
            });
        }
    });
    assert_eq!(line.host.ctl(&["list", "--files"]).as_array().map(Vec::len), Some(FILES_AT_ONCE));
}

#[test]
fn the_same_bytes_and_another_name_are_no_replacement() {
    let line = line(builder());
    let (old, new) = (line.host.plugins().join(FILE), line.host.plugins().join("another-name.so"));
    beside_the_good_one(&line, || {
        run("touch", &[&old]);
        fs::write(&old, Artifact::GOOD.bytes()).unwrap();
        // Returns when everything has settled and was checked.
        line.host.ctl(&["reload"]);
        assert_eq!(line.host.plugin("desk_good")["generation"], 1);
        for (from, to) in [(&old, &new), (&new, &old)] {
            fs::rename(from, to).unwrap();
            wait_until("the new name is shown", WAIT_MAX, || {
                (line.host.plugin("desk_good")["path"] == to.to_str()?).then_some(())
            });
        }
        assert_eq!(line.host.plugin("desk_good")["generation"], 1);
        // Under its new name it is the same plugin, and a file written there replaces it.
        fs::rename(&old, &new).unwrap();
        let bytes = numbered(Artifact::GOOD_V2, 1);
        run("mv", &[&draft(&line.host, &bytes), &new]);
        serves(&line, &bytes);
    });
    assert!(!line.host.log().contains("refused"), "nothing was refused on the way");
}

#[test]
fn a_file_that_is_taken_away_is_missed_until_it_comes_back() {
    let line = line(builder());
    line.open_ticket("1");
    line.fail(Target::Get, Some(1), Effect::Status { status: 503, body: None, content_type: None });
    assert_eq!(line.host.send(&created("good", "1")).status, 202);
    line.job("1", "waits", |job| job["state"] == "waiting" && job["attempts"] == 1);
    let file = line.host.plugins().join(FILE);
    fs::remove_file(&file).unwrap();
    let mut number = 1;
    let answer = wait_until("it is missing", WAIT_MAX, || {
        number += 1;
        let answer = line.host.send(&created("good", &number.to_string()));
        (answer.status != 202).then_some(answer)
    });
    assert_eq!((answer.status, answer.problem_code().as_str()), (503, "plugin_missing"));
    assert!(answer.retry_after_s().is_some_and(|seconds| (1..60).contains(&seconds)), "{answer:?}");
    assert_eq!(line.host.plugin("desk_good")["state"], "missing");
    line.skip_wait(1);
    line.job("1", "is put off", |job| job["state"] != "running" && job["attempts"] == 1);
    line.host.put_file(FILE, &Artifact::GOOD.bytes());
    serves(&line, &Artifact::GOOD.bytes());
    assert_eq!(line.host.send(&created("good", "again")).status, 202);
    line.host.advance_clock(Duration::from_secs(60));
    line.note_on("1");
}

/// Whatever happens to the folder, the serving plugin continues, and files in the next folder are seen.
#[test]
fn the_folder_itself_comes_and_goes() {
    let mut line = Line::stopped(builder());
    let (folder, aside) = (line.host.plugins(), line.host.folder().join("aside"));
    fs::remove_dir(&folder).unwrap();
    line.host.start();
    line.host.wait_for_log(&["WARN", "the plugin folder cannot be read"]);
    line.add_tenant("good", "desk_good", &[]);
    fs::create_dir(&folder).unwrap();
    line.host.put_file(FILE, &Artifact::GOOD.bytes());
    serves(&line, &Artifact::GOOD.bytes());
    let next = |number: u64| {
        let bytes = numbered(Artifact::GOOD_V2, number);
        line.host.put_file(FILE, &bytes);
        serves(&line, &bytes);
    };
    let gone = |how: &str| {
        let ended = line.host.try_ctl(&["reload"]);
        assert_eq!(ended.code, 1, "{how}: {ended:?}");
        assert_eq!(line.host.plugin("desk_good")["state"], "active", "{how}");
    };
    beside_the_good_one(&line, || {
        fs::remove_dir_all(&folder).unwrap();
        gone("removed");
        fs::create_dir(&folder).unwrap();
        next(1);
        fs::rename(&folder, &aside).unwrap();
        gone("moved away");
        fs::write(&folder, "no folder").unwrap();
        gone("replaced by a file");
        fs::remove_file(&folder).unwrap();
        fs::rename(&aside, &folder).unwrap();
        next(2);
        let (releases, link) =
            (["r1", "r2"].map(|name| line.host.folder().join(name)), line.host.folder().join("link"));
        fs::rename(&folder, &releases[0]).unwrap();
        symlink(&releases[0], &folder).unwrap();
        next(3);
        let bytes = numbered(Artifact::GOOD, 4);
        fs::create_dir(&releases[1]).unwrap();
        fs::write(releases[1].join(FILE), &bytes).unwrap();
        symlink(&releases[1], &link).and_then(|()| fs::rename(&link, &folder)).unwrap();
        serves(&line, &bytes);
        next(5);
    });
}

#[test]
fn a_storm_of_hints_hides_no_replacement() {
    let line = line(builder());
    let bytes = numbered(Artifact::GOOD_V2, 1);
    beside_the_good_one(&line, || {
        let other = line.host.plugins().join("notes.txt");
        for at in 0..STORM {
            fs::write(&other, at.to_le_bytes()).unwrap();
            if at == STORM / 2 {
                line.host.put_file(FILE, &bytes);
            }
        }
        serves(&line, &bytes);
    });
}

#[test]
fn without_a_watch_a_reload_takes_what_is_quiet_and_waits_for_the_rest() {
    let line = line(builder().config("plugins.watch", false));
    let (bytes, file) = (numbered(Artifact::GOOD_V2, 1), line.host.plugins().join(FILE));
    beside_the_good_one(&line, || {
        fs::write(&file, &bytes).unwrap();
        line.host.ctl(&["reload"]);
        assert_eq!(line.host.plugin("desk_good")["sha256"], Sha256Sum::of(&bytes).to_string());
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let _stopped = StopWhenDropped(&stop);
            let busy = line.host.plugins().join("busy.so");
            fs::write(&busy, "").unwrap();
            scope.spawn(|| {
                let mut busy = File::create(busy).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    busy.write_all(b".").unwrap();
                    // The pace of the copy.
                    thread::sleep(Duration::from_millis(5));
                }
            });
            line.host.put_plugin(Artifact::SCHEMES);
            let ended = line.host.try_ctl(&["reload"]);
            assert_eq!(ended.code, 1, "{ended:?}");
            assert!(ended.failure().to_string().contains("UNSETTLED"), "{ended:?}");
            assert_eq!(line.host.plugin("desk_schemes")["state"], "active");
        });
        assert_eq!(line.host.plugin("desk_good")["generation"], 2);
    });
}
