//! Operations that a plugin cannot do while it is tried, one per row, each with a control: in the same process without
//! walls it succeeds. Also operations that are allowed on purpose.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Command};

use libc::{SYS_capset, SYS_landlock_create_ruleset, SYS_seccomp, SYS_setgroups, SYS_setresgid, SYS_setresuid};
use patchbay_tests::{
    Artifact, Ctl, Denial, Host, HostBuilder, confines_fully, created,
    hostile::{self, FILE, ordered},
};
use tempfile::TempDir;

/// The result of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The operation fails, and the plugin is sound.
    Fails,
    /// The operation ends the process.
    Ends,
    /// The operation succeeds. For a forbidden one, the plugin reports that by a panic.
    Succeeds,
}
use Outcome::{Ends, Fails, Succeeds};

/// Where the control must succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Control {
    Everywhere,
    /// Where this user may do it: it needs rights, or a container's profile or a kernel setting may deny it.
    WhereLet,
}
use Control::{Everywhere, WhereLet};

/// The operation, its result in a constructor and in `new`, and where its control must succeed.
///
/// In a constructor, the dynamic linker's own calls are still allowed: Landlock prevents opening a file, but not
/// checking whether one exists; and memory may become executable, because mapping a library needs that.
const OPERATIONS: [(&str, Outcome, Outcome, Control); 45] = [
    // Files.
    ("open", Fails, Fails, Everywhere),
    ("environ", Fails, Fails, Everywhere),
    ("list", Fails, Fails, Everywhere),
    ("look", Succeeds, Fails, Everywhere),
    ("follow", Succeeds, Fails, Everywhere),
    ("unlink", Fails, Fails, Everywhere),
    ("chroot", Fails, Fails, WhereLet),
    ("mount", Fails, Fails, WhereLet),
    // Descriptors: only its own exist.
    ("dup", Fails, Fails, Everywhere),
    ("pipe", Fails, Fails, Everywhere),
    ("ioctl", Fails, Fails, Everywhere),
    ("stat", Succeeds, Fails, Everywhere),
    ("take-file", Ends, Ends, WhereLet),
    // The network, and sockets of this machine.
    ("connect", Ends, Ends, Everywhere),
    ("udp", Ends, Ends, Everywhere),
    ("unix", Ends, Ends, Everywhere),
    ("socketpair", Fails, Fails, Everywhere),
    // Other programs and processes.
    ("exec", Ends, Ends, Everywhere),
    ("execve", Ends, Ends, Everywhere),
    ("execveat", Ends, Ends, Everywhere),
    ("fork", Ends, Ends, Everywhere),
    ("ptrace", Ends, Ends, WhereLet),
    ("read-other", Ends, Ends, WhereLet),
    ("write-other", Ends, Ends, WhereLet),
    ("kill", Fails, Fails, Everywhere),
    ("signal", Fails, Fails, Everywhere),
    ("tkill", Fails, Fails, Everywhere),
    ("queue", Fails, Fails, Everywhere),
    ("pidfd", Fails, Fails, Everywhere),
    ("renice", Fails, Fails, Everywhere),
    // The walls themselves.
    ("outlive", Fails, Fails, Everywhere),
    ("dumpable", Fails, Fails, Everywhere),
    ("limit", Fails, Fails, Everywhere),
    ("setuid", Fails, Fails, WhereLet),
    ("unshare", Fails, Fails, WhereLet),
    ("handle", Fails, Fails, Everywhere),
    // Memory that is executable or shared, and entries into the kernel.
    ("map-exec", Succeeds, Fails, Everywhere),
    ("protect-exec", Succeeds, Fails, Everywhere),
    ("memfd", Fails, Fails, Everywhere),
    ("shared", Fails, Fails, Everywhere),
    ("uring", Ends, Ends, WhereLet),
    ("userfault", Ends, Ends, WhereLet),
    ("bpf", Ends, Ends, WhereLet),
    ("perf", Ends, Ends, WhereLet),
    ("key", Fails, Fails, WhereLet),
];

/// Operations that a plugin may do on purpose. Each is done while a sound plugin is created, and panics if it fails.
/// Threads are counted afterwards; memory and time are limited.
const ALLOWED: [&str; 4] = ["work", "thread-ends", "memory", "flood"];
/// Operations beyond those limits.
const BOUNDED: [(&str, &str); 3] = [("thread", "THREADS"), ("alloc", "PROBE_CRASHED"), ("spin", "PROBE_TIMEOUT")];

/// Runs `verify` as one user, with all walls and without.
struct Tried {
    behind_walls: Host,
    without: Host,
    /// A folder that any user can read.
    folder: TempDir,
}

impl Tried {
    fn by(user: fn(HostBuilder) -> HostBuilder, denied: &[i64]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let denied = [SYS_landlock_create_ruleset, SYS_seccomp].iter().chain(denied);
        let without = denied.fold(user(Host::builder()), |builder, call| builder.denying(*call, Denial::Refused));
        Self { behind_walls: user(Host::builder()).stopped(), without: without.stopped(), folder }
    }

    fn file(&self, orders: &str) -> PathBuf {
        let file = self.folder.path().join("libtried.so");
        fs::write(&file, ordered(orders)).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        file
    }

    fn behind_walls(&self, orders: &str) -> Ctl {
        self.behind_walls.try_ctl(&["verify", self.file(orders).to_str().unwrap()])
    }

    fn without(&self, orders: &str) -> Ctl {
        self.without.try_ctl(&["verify", self.file(orders).to_str().unwrap()])
    }
}

#[track_caller]
fn outcome(ended: &Ctl) -> Outcome {
    let said = ended.json();
    let reason = said["reason"].as_str().unwrap_or_default();
    match said["code"].as_str() {
        None if ended.code == 0 => Fails,
        Some("PROBE_CRASHED") if reason.ends_with("died of SIGSYS") => Ends,
        // A panic in a constructor cannot be caught.
        Some("PROBE_CRASHED") if reason == "opening the library died of SIGABRT" => Succeeds,
        Some("INIT_PANIC") if reason.contains("it was let through") => Succeeds,
        _ => panic!("{said:#}"),
    }
}

fn check(who: &str, user: fn(HostBuilder) -> HostBuilder, denied: &[i64]) {
    if !confines_fully() {
        eprintln!("skipped: this kernel cannot confine a process fully");
        return;
    }
    let tried = Tried::by(user, denied);
    let sound = tried.behind_walls("none:none");
    assert_eq!(sound.json()["confinement"]["text"], "full", "{who}: {sound:?}");
    for (operation, in_constructor, in_new, control) in OPERATIONS {
        for (place, expected) in [("constructor", in_constructor), ("new", in_new)] {
            let found = outcome(&tried.behind_walls(&format!("{place}:{operation}")));
            assert_eq!(found, expected, "{who}: {operation} in {place}");
        }
        match (outcome(&tried.without(&format!("new:{operation}"))), control) {
            (Succeeds, _) => {}
            (Fails, WhereLet) => eprintln!("{who}: {operation} is denied to this user without walls as well"),
            (found, _) => panic!("{who}: without walls {operation} comes to {found:?}"),
        }
    }
    for operation in ALLOWED {
        let ended = tried.behind_walls(&format!("new:{operation}"));
        assert_eq!(ended.code, 0, "{who}: {operation}: {ended:?}");
    }
    for (operation, code) in BOUNDED {
        let ended = tried.behind_walls(&format!("new:{operation}"));
        assert_eq!(ended.json()["code"], code, "{who}: {operation}: {ended:?}");
    }
}

#[test]
fn whoever_runs_the_host_what_is_tried_can_do_nothing_but_compute() {
    let root = rustix::process::geteuid().is_root();
    // The control keeps root's rights.
    let denied: &[i64] = if root { &[SYS_capset, SYS_setgroups, SYS_setresgid, SYS_setresuid] } else { &[] };
    check("this user", |builder| builder, denied);
}

#[test]
fn for_a_host_that_is_not_root_the_walls_stand_as_well() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: the other test runs as an ordinary user already");
        return;
    }
    let nobody = |builder: HostBuilder| {
        builder.under(&["/usr/bin/setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"])
    };
    check("nobody", nobody, &[]);
}

/// The control is the host itself, which has an environment.
#[test]
fn what_is_tried_has_no_environment() {
    let line = hostile::line();
    for place in ["constructor", "new"] {
        line.host.put_file(FILE, &ordered(&format!("{place}:environment")));
        let mut verify = Command::new(Artifact::PLUGIN_CTL.path());
        verify.env("TEST_SECRET", "x").arg("verify").arg(line.host.plugins().join(FILE));
        let ended = verify.output().unwrap();
        assert!(ended.status.success(), "{place}: {ended:?}");
    }
    line.host.put_file(FILE, &ordered("validate:environment"));
    line.host.ctl(&["reload"]);
    let answer = line.host.send(&created("evil", "1"));
    assert_eq!(answer.problem_code(), "plugin_panicked", "{}", answer.text());
}
