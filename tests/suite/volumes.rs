//! Folders on volumes whose modes and owners cannot be changed, as Kubernetes makes them: `plugins.permissions` says
//! whether they are accepted as they are, and the start says what that gives up.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown, symlink},
    path::Path,
    process::Command,
};

use patchbay_tests::{Artifact, Host, HostBuilder, Line, created};

/// A user and a group without anything here.
const HOST: u32 = 4321;
const GROUP: u32 = 2000;
/// The user who built an image, and the one that OpenShift runs it as.
const BUILDER: u32 = 1001;
const RANDOM: u32 = 1_000_680_000;

fn builder(policy: &str) -> HostBuilder {
    Host::builder().plugin(Artifact::GOOD).config("plugins.permissions", format!("{policy:?}"))
}

#[track_caller]
fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Applies `act` to the folder and everything in it.
fn all(folder: &Path, act: &impl Fn(&Path)) {
    act(folder);
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() { all(&path, act) } else { act(&path) }
    }
}

/// The words that run a host as somebody else, if possible here; prints if not.
fn can_be(user: u32, group: u32, groups: &str) -> Option<Vec<String>> {
    let words = ["/usr/bin/setpriv", "--reuid", &user.to_string(), "--regid", &group.to_string(), groups];
    let words: Vec<_> = words.into_iter().map(str::to_owned).collect();
    let ended = Command::new(&words[0]).args(&words[1..]).arg(Artifact::PATCHBAY.path()).arg("--version").output();
    if ended.is_ok_and(|ended| ended.status.success()) {
        return Some(words);
    }
    eprintln!("skipped: the host cannot be run as user {user} here");
    None
}

/// Prepares owners and modes of the folders before the host starts.
type Prepare = fn(&Host);

fn empty_dir(host: &Host) {
    [host.plugins(), host.state()].iter().for_each(|folder| mode(folder, 0o777));
}

fn empty_dir_with_group(host: &Host) {
    for folder in [host.plugins(), host.state()] {
        chown(&folder, Some(0), Some(GROUP)).unwrap();
        mode(&folder, 0o2777);
    }
}

fn image_of_somebody(host: &Host) {
    all(host.folder(), &|path| {
        chown(path, Some(BUILDER), Some(0)).unwrap();
        mode(path, if path.is_dir() { 0o775 } else { 0o664 });
    });
}

/// Makes a config map's volume: names are links into a folder that is replaced as a whole.
fn projected(host: &Host) {
    empty_dir(host);
    let name = Artifact::GOOD.path().file_name().unwrap().to_owned();
    let of_now = host.plugins().join("..2026_11_28_12_00_00.123456789");
    fs::create_dir(&of_now).unwrap();
    mode(&of_now, 0o755);
    fs::rename(host.plugins().join(&name), of_now.join(&name)).unwrap();
    symlink(of_now.file_name().unwrap(), host.plugins().join("..data")).unwrap();
    symlink(Path::new("..data").join(&name), host.plugins().join(&name)).unwrap();
}

#[test]
fn a_volume_is_taken_as_it_is_and_a_stricter_policy_says_why_not() {
    let cases: [(&str, u32, u32, &str, Prepare, &str); 4] = [
        ("emptyDir", HOST, HOST, "--clear-groups", empty_dir, "can be written by everybody"),
        ("fsGroup", HOST, HOST, "--groups=2000", empty_dir_with_group, "can be written by everybody"),
        ("OpenShift", RANDOM, 0, "--clear-groups", image_of_somebody, "belongs to another user"),
        ("projected", HOST, HOST, "--clear-groups", projected, "can be written by everybody"),
    ];
    for (name, user, group, groups, prepare, finding) in cases {
        // Cases that need no other owner run as the current user.
        let words = if rustix::process::geteuid().is_root() {
            match can_be(user, group, groups) {
                Some(words) => words,
                None => continue,
            }
        } else if name == "emptyDir" || name == "projected" {
            vec!["/usr/bin/env".to_owned()]
        } else {
            eprintln!("skipped: {name} needs root, to give files away");
            continue;
        };
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        for policy in ["strict", "group", "volume"] {
            let mut host = builder(policy).under(&words).stopped();
            fs::create_dir(host.state()).unwrap();
            mode(host.folder(), 0o755);
            prepare(&host);
            host.start();
            let row = host.plugin("desk_good");
            if policy == "volume" {
                assert_eq!(row["state"], "active", "{name}: {row:#}");
                host.wait_for_log(&["WARN", "plugins.permissions = \"volume\"", "can run code as this host", finding]);
            } else {
                let message = row["last_error"]["message"].as_str().unwrap();
                assert_eq!(row["last_error"]["code"], "PERMISSIONS", "{name}: {row:#}");
                assert!(message.contains(finding), "{name}: {message}");
                assert!(message.contains(&format!("plugins.permissions = \"{policy}\"")), "{name}: {message}");
                host.wait_for_log(&["ERROR", "others can write the state folder", finding]);
            }
        }
    }
}

/// Plugins run from copies in the state folder, so anybody who can write there can replace them.
#[test]
fn a_state_folder_that_others_can_write_counts_as_the_plugin_folder_does() {
    for (policy, state, refused) in [
        ("strict", 0o700, None),
        ("strict", 0o755, None),
        ("strict", 0o777, Some("can be written by everybody")),
        ("group", 0o777, Some("can be written by everybody")),
        ("volume", 0o777, None),
    ] {
        let mut host = builder(policy).stopped();
        fs::create_dir(host.state()).unwrap();
        mode(&host.state(), state);
        host.start();
        let row = host.plugin("desk_good");
        assert_eq!(row["state"], if refused.is_none() { "active" } else { "refused" }, "{policy} {state:o}: {row:#}");
        if let Some(finding) = refused {
            let error = &row["last_error"];
            assert_eq!(error["code"], "PERMISSIONS", "{row:#}");
            for words in [finding, "/state (mode 0777", &format!("plugins.permissions = \"{policy}\"")] {
                assert!(error["message"].as_str().unwrap().contains(words), "{words}: {row:#}");
            }
            host.wait_for_log(&["ERROR", "no plugin can be loaded", "/state (mode 0777", finding]);
            // Once fixed, the folder is accepted without a restart.
            mode(&host.state(), 0o700);
            host.ctl(&["reload"]);
            assert_eq!(host.plugin("desk_good")["state"], "active");
        }
    }
}

#[test]
fn nobody_else_can_enter_the_folder_of_the_private_copies() {
    let mut host = builder("strict").start();
    let (copies, kept) = (host.state().join("plugins"), host.state().join("plugins/kept"));
    let modes = || [&copies, &kept].map(|folder| fs::metadata(folder).unwrap().permissions().mode() & 0o7777);
    assert_eq!(modes(), [0o700; 2]);
    // The modes that an earlier version left.
    [&copies, &kept].into_iter().for_each(|folder| mode(folder, 0o755));
    host.restart();
    assert_eq!(modes(), [0o700; 2]);
}

/// The kubelet gives everything on a volume to the group, at each mount.
#[test]
fn a_volume_that_lays_everything_open_to_a_group_does_not_stop_the_next_start() {
    for policy in ["strict", "group", "volume"] {
        let mut line = Line::start(builder(policy));
        line.add_tenant("acme", "desk_good", &[]);
        line.open_ticket("1");
        line.host.terminate();
        all(&line.host.state(), &|path| mode(path, if path.is_dir() { 0o2770 } else { 0o660 }));
        if policy == "strict" {
            let ended = line.host.run_to_end(&["serve", "--config", "patchbay.toml"]);
            assert_eq!(ended.code, Some(1), "{}", ended.log);
            for words in ["secret.key has mode 660", "chmod 600", "plugins.permissions"] {
                assert!(ended.log.contains(words), "{words}: {}", ended.log);
            }
            continue;
        }
        line.host.start();
        assert_eq!(line.host.send(&created("acme", "1")).status, 202, "{policy}");
        line.note_on("1");
    }
}

#[test]
fn a_key_that_everybody_can_read_is_taken_on_a_volume_alone() {
    for (policy, starts) in [("group", false), ("volume", true)] {
        let mut host = builder(policy).start();
        host.terminate();
        mode(&host.state().join("secret.key"), 0o644);
        if starts {
            host.start();
            host.wait_for_log(&["WARN", "others can get at", "secret.key (mode 0644)"]);
        } else {
            assert!(host.run_to_end(&["serve", "--config", "patchbay.toml"]).log.contains("secret.key has mode 644"));
        }
    }
}

/// The kubelet creates a new folder and redirects the single link: every file changes at once.
#[test]
fn a_projected_volume_that_changes_is_taken() {
    let mut host = builder("volume").stopped();
    fs::create_dir(host.state()).unwrap();
    projected(&host);
    host.start();
    assert_eq!(host.plugin("desk_good")["version"], "1.0.0");
    let name = Artifact::GOOD.path().file_name().unwrap().to_owned();
    let of_now = host.plugins().join("..2026_11_28_13_00_00.987654321");
    fs::create_dir(&of_now).unwrap();
    fs::write(of_now.join(&name), Artifact::GOOD_V2.bytes()).unwrap();
    symlink(of_now.file_name().unwrap(), host.plugins().join("..data_tmp")).unwrap();
    fs::rename(host.plugins().join("..data_tmp"), host.plugins().join("..data")).unwrap();
    host.ctl(&["reload"]);
    assert_eq!(host.plugin("desk_good")["version"], "2.0.0");
}

#[test]
fn what_is_given_up_for_nothing_is_told_as_well() {
    let host = builder("volume").start();
    host.wait_for_log(&["INFO", "plugins.permissions = \"volume\"", "\"strict\" would do"]);
}

/// A plugin that is elsewhere is not on the volume.
#[test]
fn a_link_out_of_the_volume_is_looked_at() {
    let elsewhere = tempfile::tempdir_in("/dev/shm");
    let Ok(elsewhere) = elsewhere else {
        eprintln!("skipped: there is no second file system");
        return;
    };
    let target = elsewhere.path().join("libgood.so");
    fs::write(&target, Artifact::GOOD.bytes()).unwrap();
    let host = Host::builder().config("plugins.permissions", "\"volume\"").start();
    symlink(&target, host.plugins().join("libgood.so")).unwrap();
    mode(&target, 0o666);
    assert_eq!(host.try_ctl(&["reload"]).failure()["code"], "PERMISSIONS");
    let message = host.plugin("desk_good")["last_error"]["message"].clone();
    assert!(message.as_str().unwrap().contains("outside of the volume"), "{message}");
    mode(&target, 0o644);
    host.ctl(&["reload"]);
    assert_eq!(host.plugin("desk_good")["state"], "active");
}
