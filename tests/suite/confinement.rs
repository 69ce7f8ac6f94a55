//! Kernels that lack a layer around the process in which plugins are tried: it is left out, and said wherever one looks.

use patchbay_tests::{Artifact, Host, HostBuilder, Lacks, Line, created, hostile::events};

fn lacking(lacks: &[Lacks]) -> HostBuilder {
    lacks.iter().fold(Host::builder().plugin(Artifact::GOOD), |builder, lacks| builder.lacking(*lacks))
}

#[test]
fn a_missing_layer_is_left_out_and_said() {
    for (lacks, files, calls, text) in [
        (&[Lacks::Landlock][..], false, true, "no Landlock in this kernel"),
        (&[Lacks::Seccomp], true, false, "no seccomp on this machine"),
        (&[Lacks::Landlock, Lacks::Seccomp], false, false, "limits only"),
    ] {
        let line = Line::start(lacking(lacks));
        let log = line.host.log();
        let warnings: Vec<_> = log.lines().filter(|line| line.contains("WARN") && line.contains("confine")).collect();
        assert!(warnings.len() == 1 && warnings[0].contains(text), "{lacks:?}: {warnings:?}");
        let confinement = line.host.ctl(&["info", "desk_good"])["confinement"].clone();
        let expected = serde_json::json!({ "files": files, "calls": calls, "text": text });
        if confinement != expected {
            // The other layer may be missing here by itself.
            eprintln!("skipped: level {}", confinement["text"]);
            assert_eq!((&confinement["files"], &confinement["calls"]), (&false.into(), &false.into()), "{confinement}");
        }
        let level = confinement["text"].as_str().unwrap();
        events(&line, "the level in the event", 1, |event| {
            event["code"] == "swapped" && event["message"].as_str().unwrap().contains(level)
        });
        // What is left still does its work.
        line.add_tenant("good", "desk_good", &[]);
        assert_eq!(line.host.send(&created("good", "1")).status, 202);
        line.host.put_plugin(Artifact::PANICS_IN_NEW);
        assert_eq!(line.host.try_ctl(&["reload"]).code, 1);
        assert_eq!(line.host.plugin("desk_good")["candidate"]["code"], "INIT_PANIC");
    }
}

#[test]
fn with_every_layer_there_is_no_warning() {
    let host = Host::builder().plugin(Artifact::GOOD).start();
    let level = host.ctl(&["info", "desk_good"])["confinement"]["text"].clone();
    if level != "full" {
        eprintln!("skipped: level {level}");
        return;
    }
    assert!(!host.log().contains("confined less"), "{}", host.log());
}

/// The level in the file of verdicts is one that no probe of this run would find.
#[test]
fn a_restart_believes_the_verdicts_of_its_own_build() {
    let mut host = lacking(&[Lacks::Landlock, Lacks::Seccomp]).start();
    host.terminate();
    let verdicts = host.state().join("plugins/verdicts.json");
    let kept = std::fs::read_to_string(&verdicts).unwrap();
    assert!(kept.contains("false"), "{kept}");
    std::fs::write(&verdicts, kept.replace("false", "true")).unwrap();
    host.start();
    assert_eq!(host.ctl(&["info", "desk_good"])["confinement"]["text"], "full", "nothing was tried again");
}
