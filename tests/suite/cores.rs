//! A crashing host leaves no core, because it would contain secrets of tenants.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        process::ExitStatusExt as _,
    },
    process::Command,
};

use patchbay_tests::{Artifact, Ended, Host, HostBuilder};
use rustix::process::Signal;

fn crashed(host: &mut Host) -> Ended {
    host.signal(Signal::QUIT);
    let ended = host.end();
    assert_eq!(ended.code, None, "it died of a signal: {}", ended.log);
    ended
}

/// Whether cores are written here; prints if not.
fn are_taken() -> bool {
    let folder = tempfile::tempdir().unwrap();
    let dies = "ulimit -S -c \"$(ulimit -H -c)\" && kill -QUIT $$";
    let status = Command::new("/bin/sh").args(["-c", dies]).current_dir(folder.path()).status().unwrap();
    if !status.core_dumped() {
        eprintln!("not seen: what would happen otherwise, since no process leaves a core here");
    }
    status.core_dumped()
}

fn builder() -> HostBuilder {
    Host::builder().plugin(Artifact::GOOD)
}

/// The control: once allowed, a crash leaves a core.
#[test]
fn a_crash_leaves_no_core_until_somebody_lets_it() {
    let mut host = builder().start();
    assert!(!crashed(&mut host).left_a_core);
    host.start();
    host.allow_core();
    assert_eq!(crashed(&mut host).left_a_core, are_taken());
}

/// If the limit cannot be set to the value that keeps cores from collecting programs, there is another way: a process
/// that cannot be dumped belongs to root under /proc. The control: if the limit can be set, it belongs to its user.
#[test]
fn where_the_limit_is_fixed_nothing_is_dumped_at_all() {
    const SOMEBODY: u32 = 4321;
    let somebody = SOMEBODY.to_string();
    let dropped = ["/usr/bin/setpriv", "--reuid", &somebody, "--regid", &somebody, "--clear-groups"];
    for (limit, owner) in [("--core=0:0", 0), ("--core=0:unlimited", SOMEBODY)] {
        let under = [&dropped[..], &["/usr/bin/prlimit", limit]].concat();
        let mut host = builder().config("plugins.permissions", "\"volume\"").under(&under).stopped();
        fs::create_dir(host.state()).unwrap();
        for (folder, mode) in [(host.folder(), 0o755), (&host.state(), 0o777)] {
            fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
        }
        if host.try_ctl(&["--version"]).code != 0 {
            eprintln!("skipped: the host cannot be run as another user here, with the limit {limit}");
            return;
        }
        host.start();
        assert_eq!(host.plugin("desk_good")["state"], "active", "nothing else is different");
        let status = format!("/proc/{}/status", host.process_id());
        assert_eq!(fs::metadata(status).unwrap().uid(), owner, "{limit}");
        assert!(!crashed(&mut host).left_a_core);
    }
}
