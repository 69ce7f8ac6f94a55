//! Machines where a layer of the probe's confinement is missing or denied. The layer is left out and reported
//! everywhere. Nothing that the surroundings deny is the plugin's fault.

use std::process::Command;

use libc::{
    SYS_capset, SYS_landlock_add_rule, SYS_landlock_create_ruleset, SYS_landlock_restrict_self, SYS_memfd_create,
    SYS_pidfd_open, SYS_prctl, SYS_prlimit64, SYS_seccomp, SYS_setgroups, SYS_setpriority, SYS_setresgid,
    SYS_setresuid, SYS_wait4,
};
use patchbay_tests::{
    Artifact,
    Denial::{self, Deadly, Refused, Unknown},
    Host, HostBuilder, Line, confines_fully, created, demand_full,
    hostile::events,
};

const SETPRIV: &str = "/usr/bin/setpriv";
const UNSHARE: &str = "/usr/bin/unshare";
/// A user who owns no files here.
const STRANGER: &str = "4321";

fn denying(denied: &[(i64, Denial)]) -> HostBuilder {
    let builder = Host::builder().plugin(Artifact::GOOD);
    denied.iter().fold(builder, |builder, (call, how)| builder.denying(*call, *how))
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether plugin-ctl can run under these words here; prints if not.
fn can(words: &[&str]) -> bool {
    let ended = Command::new(words[0]).args(&words[1..]).arg(Artifact::PLUGIN_CTL.path()).arg("--version").output();
    let can = ended.is_ok_and(|ended| ended.status.success());
    if !can {
        eprintln!("skipped: {} cannot be used here", words.join(" "));
    }
    can
}

/// The result of `verify` for a good plugin: its confinement, or the code and the reason of a refusal.
#[track_caller]
fn verified(builder: HostBuilder) -> Result<String, (String, String)> {
    let ended = builder.stopped().try_ctl(&["verify", Artifact::GOOD.path().to_str().unwrap()]);
    let said = ended.json();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    match ended.code {
        0 => Ok(text(&said["confinement"]["text"])),
        _ => Err((text(&said["code"]), text(&said["reason"]))),
    }
}

/// Whether confinement is full here without a filter. Only then can the words for what a filter removes be compared.
fn is_full_here() -> bool {
    demand_full(&verified(Host::builder()).unwrap())
}

#[test]
fn a_missing_layer_is_left_out_and_said() {
    let (landlock, seccomp) = ((SYS_landlock_create_ruleset, Unknown), (SYS_seccomp, Unknown));
    for (denied, files, calls, text) in [
        (&[landlock][..], false, true, "no Landlock in this kernel"),
        (&[seccomp], true, false, "no seccomp on this machine"),
        (&[landlock, seccomp], false, false, "limits only"),
        (&[(SYS_landlock_create_ruleset, Deadly)], false, true, "Landlock is denied here"),
        (&[(SYS_seccomp, Refused)], true, false, "seccomp is denied here"),
    ] {
        let line = Line::start(denying(denied));
        let log = line.host.log();
        let warnings: Vec<_> = log.lines().filter(|line| line.contains("WARN") && line.contains("confine")).collect();
        assert!(warnings.len() == 1 && warnings[0].contains(text), "{denied:?}: {warnings:?}");
        let surroundings = text.contains("denied") == warnings[0].contains("SystemCallFilter");
        assert!(surroundings, "{denied:?}: {warnings:?}");
        let confinement = line.host.ctl(&["info", "desk_good"])["confinement"].clone();
        let expected = serde_json::json!({ "files": files, "calls": calls, "text": text });
        if confinement != expected {
            // The other layer may be missing here anyway.
            assert!(!confines_fully(), "{confinement}");
            eprintln!("skipped: level {}", confinement["text"]);
            assert_eq!((&confinement["files"], &confinement["calls"]), (&false.into(), &false.into()), "{confinement}");
        }
        let level = confinement["text"].as_str().unwrap();
        events(&line, "the level in the event", 1, |event| {
            event["code"] == "swapped" && event["message"].as_str().unwrap().contains(level)
        });
        // The remaining layers still work.
        line.add_tenant("good", "desk_good", &[]);
        assert_eq!(line.host.send(&created("good", "1")).status, 202);
        line.host.put_plugin(Artifact::PANICS_IN_NEW);
        assert_eq!(line.host.try_ctl(&["reload"]).code, 1);
        assert_eq!(line.host.plugin("desk_good")["candidate"]["code"], "INIT_PANIC");
    }
}

/// Calls denied as in units hardened by `systemd-analyze security`: by an error, or by a signal.
#[test]
fn whatever_call_is_denied_a_good_plugin_is_sound() {
    const RIGHTS: &str = "not all of the host's rights are dropped";
    let root_only = if is_root() { RIGHTS } else { "full" };
    let full_here = is_full_here();
    for (call, text) in [
        (SYS_capset, "full"),
        (SYS_setgroups, root_only),
        (SYS_setresgid, root_only),
        (SYS_setresuid, root_only),
        (SYS_setpriority, "full"),
        (SYS_landlock_create_ruleset, "Landlock is denied here"),
        (SYS_landlock_restrict_self, "Landlock is denied here"),
        (SYS_landlock_add_rule, "full"),
        (SYS_seccomp, "seccomp is denied here"),
        (SYS_prctl, "limits only, it may outlive the host"),
        (SYS_memfd_create, "tried from a file on disk"),
        (SYS_pidfd_open, "full"),
    ] {
        for how in [Refused, Deadly] {
            let level =
                verified(denying(&[(call, how)])).unwrap_or_else(|refused| panic!("{call} {how:?}: {refused:?}"));
            if full_here {
                assert_eq!(level, text, "{call} {how:?}");
            }
        }
    }
    // If this call is deadly, no program starts.
    let level = verified(denying(&[(SYS_prlimit64, Refused)])).unwrap();
    assert!(level.ends_with("no limits of memory and time"), "{level}");
}

/// Leaves out the most steps at once. Each is found by a process that it ends.
#[test]
fn a_host_that_is_denied_everything_serves_and_says_what_is_missing() {
    let mut denied: Vec<_> = [
        SYS_capset,
        SYS_setgroups,
        SYS_setresgid,
        SYS_setresuid,
        SYS_setpriority,
        SYS_landlock_create_ruleset,
        SYS_memfd_create,
        SYS_pidfd_open,
        SYS_seccomp,
    ]
    .map(|call| (call, Deadly))
    .into();
    denied.push((SYS_prlimit64, Refused));
    let line = Line::start(denying(&denied));
    let info = line.host.ctl(&["info", "desk_good"]);
    let level = info["confinement"]["text"].as_str().unwrap();
    for missing in ["neither Landlock nor seccomp", "no limits of memory and time", "tried from a file on disk"] {
        assert!(level.contains(missing), "{missing}: {level}");
    }
    let warning = line.host.wait_for_log(&["WARN", "confined less"]);
    for call in ["memfd_create: SIGSYS", "seccomp: SIGSYS", "prlimit64: Operation not permitted"] {
        assert!(warning.contains(call), "{call}: {warning}");
    }
    line.add_tenant("acme", "desk_good", &[]);
    assert_eq!(line.host.send(&created("acme", "1")).status, 202);
    // The remaining layers do not hide the plugin's own failures.
    line.host.put_plugin(Artifact::PANICS_IN_NEW);
    assert_eq!(line.host.try_ctl(&["reload"]).code, 1);
    assert_eq!(line.host.plugin("desk_good")["candidate"]["code"], "INIT_PANIC");
}

/// A user without rights to drop is fully confined without dropping any.
#[test]
fn whoever_has_no_rights_need_not_drop_them() {
    let full_here = is_full_here();
    let no_capabilities = &[SETPRIV, "--bounding-set", "-all", "--inh-caps", "-all"][..];
    let no_ids = &[SETPRIV, "--bounding-set", "-setuid,-setgid", "--inh-caps", "-all"];
    let stranger = &[SETPRIV, "--reuid", STRANGER, "--regid", STRANGER, "--clear-groups"];
    for (root_only, words) in [
        (true, no_capabilities),
        (true, no_ids),
        (true, stranger),
        (false, &[SETPRIV, "--no-new-privs"]),
        (false, &[UNSHARE, "-Ur"]),
        (false, &[UNSHARE, "-U"]),
    ] {
        if root_only && !is_root() {
            eprintln!("skipped: {} needs root", words.join(" "));
            continue;
        }
        if !can(words) {
            continue;
        }
        let level = verified(Host::builder().under(words)).unwrap_or_else(|refused| panic!("{words:?}: {refused:?}"));
        if full_here {
            assert_eq!(level, "full", "{words:?}");
        }
    }
}

#[test]
fn a_root_without_capabilities_serves() {
    for words in [&[SETPRIV, "--bounding-set", "-all", "--inh-caps", "-all"][..], &[UNSHARE, "-Ur"]] {
        if words[0] == SETPRIV && !is_root() {
            eprintln!("skipped: {} needs root", words.join(" "));
            continue;
        }
        if can(words) {
            let host = Host::builder().plugin(Artifact::GOOD).under(words).start();
            assert_eq!(host.plugin("desk_good")["state"], "active", "{words:?}");
        }
    }
}

/// A required step that fails is reported with its call and its remedy, and blamed on the surroundings only.
#[test]
fn a_process_that_cannot_be_started_or_followed_is_no_fault_of_the_plugin() {
    let mut cases = vec![("wait4", "SystemCallFilter", denying(&[(SYS_wait4, Refused)]))];
    let few = &["/usr/bin/prlimit", "--nproc=1:1"][..];
    let few = if is_root() { [&[SETPRIV, "--reuid", STRANGER, "--clear-groups"], few].concat() } else { few.to_vec() };
    if can(&few) {
        cases.push(("TasksMax", "limits of processes", Host::builder().under(&few)));
    }
    for (named, mend, builder) in cases {
        let host = builder.stopped();
        let ended = host.try_ctl(&["verify", Artifact::GOOD.path().to_str().unwrap()]);
        let said = ended.json();
        assert_eq!((ended.code, &said["code"]), (1, &"PROBE_FAILED".into()), "{named}: {ended:?}");
        let (reason, how) = (said["reason"].as_str().unwrap(), said["mend"].as_str().unwrap());
        assert!(reason.contains(named), "{named}: {reason}");
        assert!(how.contains(mend) && !how.contains("vendor"), "{named}: {how}");
    }
}

#[test]
fn with_every_layer_there_is_no_warning() {
    let host = Host::builder().plugin(Artifact::GOOD).start();
    if !demand_full(host.ctl(&["info", "desk_good"])["confinement"]["text"].as_str().unwrap()) {
        return;
    }
    assert!(!host.log().contains("confined less"), "{}", host.log());
}

/// The level in the file of verdicts is one that no probe of this run would return.
#[test]
fn a_restart_believes_the_verdicts_of_its_own_build() {
    let mut host = denying(&[(SYS_landlock_create_ruleset, Unknown), (SYS_seccomp, Unknown)]).start();
    host.terminate();
    let verdicts = host.state().join("plugins/verdicts.json");
    let kept = std::fs::read_to_string(&verdicts).unwrap();
    assert!(kept.contains("false"), "{kept}");
    std::fs::write(&verdicts, kept.replace("false", "true")).unwrap();
    host.start();
    assert_eq!(host.ctl(&["info", "desk_good"])["confinement"]["text"], "full", "nothing was tried again");
}

#[test]
fn what_was_confined_less_is_tried_again_when_more_can_be_done() {
    let mut host = denying(&[(SYS_landlock_create_ruleset, Refused), (SYS_seccomp, Refused)]).start();
    assert_eq!(host.ctl(&["info", "desk_good"])["confinement"]["text"], "limits only");
    host.restart();
    assert_eq!(host.ctl(&["info", "desk_good"])["confinement"]["text"], "limits only");
    host.terminate();
    host.set_free();
    host.start();
    let level = host.ctl(&["info", "desk_good"])["confinement"]["text"].clone();
    assert_eq!(level, verified(Host::builder()).unwrap().as_str());
}
