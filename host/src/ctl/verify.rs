//! `verify`: the checks that the host makes before it loads a file, made here and without a host.

use std::path::Path;

use plugin_abi::export::InfoRecord;
use serde::Serialize;

use super::{
    Shown,
    failure::Failure,
    plugins::build_fields,
    table::{fields, plain_lines},
};
use crate::{
    admin::wire::{Confinement, Problem, UNSIGNED},
    plugin::{
        artifact::{self, Sha256Sum, Stamp},
        confine::Level,
        probe::Prober,
        refusal::Refusal,
    },
};

/// The JSON of a verdict.
#[derive(Debug, Serialize)]
struct Verdict {
    path: String,
    verdict: &'static str,
    size_bytes: Option<u64>,
    sha256: Option<String>,
    signature: Option<&'static str>,
    /// Of the process that tried it here; null when it was refused.
    confinement: Option<Confinement>,
    info: Option<InfoRecord>,
    code: Option<&'static str>,
    reason: Option<String>,
    mend: Option<&'static str>,
    /// With `--verbose` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<String>,
}

/// Reads the file's information, then tries it in a process of its own. Shows what is known also when it is refused.
pub(super) fn run(file: &Path, verbose: bool) -> Result<Shown, Failure> {
    let (sha256, stamp, info, outcome) = match artifact::inspect(file) {
        Ok(artifact) => {
            let outcome = artifact.try_out(&Prober::default());
            (Some(artifact.sha256), Some(artifact.stamp), Some(artifact.info), outcome)
        }
        Err(uninspected) => (uninspected.sha256, uninspected.stamp, None, Err(uninspected.refusal)),
    };
    Ok(shown(file, verbose, sha256, stamp, info, outcome))
}

fn shown(
    file: &Path,
    verbose: bool,
    sha256: Option<Sha256Sum>,
    stamp: Option<Stamp>,
    info: Option<InfoRecord>,
    outcome: Result<Level, Refusal>,
) -> Shown {
    let (confinement, refusal) = match outcome {
        Ok(level) => (Some(level.into()), None),
        Err(refusal) => (None, Some(refusal)),
    };
    let verdict = Verdict {
        path: file.to_string_lossy().into_owned(),
        verdict: if refusal.is_some() { "refused" } else { "sound" },
        size_bytes: stamp.map(|stamp| stamp.size),
        sha256: sha256.map(|sum| sum.to_string()),
        signature: sha256.map(|_| UNSIGNED),
        confinement,
        info,
        code: refusal.as_ref().map(|refusal| refusal.code.as_str()),
        mend: refusal.as_ref().map(|refusal| refusal.code.mend()),
        details: refusal.as_ref().and_then(|refusal| refusal.details.clone()).filter(|_| verbose),
        reason: refusal.map(|refusal| refusal.reason),
    };
    let found = [
        ("file", Some(verdict.path.clone())),
        ("size", verdict.size_bytes.map(|bytes| format!("{bytes} bytes"))),
        ("sha256", verdict.sha256.clone()),
        ("signature", verdict.signature.map(str::to_owned)),
        ("tool type", verdict.info.as_ref().map(|info| info.tool_type.clone())),
        ("version", verdict.info.as_ref().map(|info| info.version.clone())),
        ("vendor", verdict.info.as_ref().map(|info| info.vendor.clone()).filter(|vendor| !vendor.is_empty())),
        ("confinement", verdict.confinement.as_ref().map(|confinement| confinement.text.clone())),
    ];
    let build = verdict.info.iter().filter(|_| verbose).flat_map(build_fields);
    let mut text = fields(found.into_iter().chain(build));
    let failure = verdict.code.map(|code| {
        let problem = Problem {
            file: Some(verdict.path.clone()),
            why: verdict.reason.clone(),
            mend: verdict.mend.map(str::to_owned),
            ..Problem::new(code, "this file would be refused")
        };
        Failure::failed(problem.state("nothing was changed; no host was asked"))
    });
    if failure.is_none() {
        text.push_str("It is sound: a host of this version takes it.\n");
    }
    if let Some(details) = &verdict.details {
        text.push('\n');
        text.push_str(&plain_lines(details));
    }
    Shown { failure, ..Shown::new(text, &verdict) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sound_file_is_shown_with_its_confinement() {
        let level = Level { files: false, calls: true };
        let shown = shown(Path::new("libgood.so"), false, None, None, None, Ok(level));
        assert_eq!(shown.json["verdict"], "sound");
        assert_eq!(shown.json["confinement"]["files"], false);
        assert!(shown.text.contains("confinement:  no Landlock in this kernel\n"), "{}", shown.text);
        assert_eq!(shown.failure, None);
    }

    #[test]
    fn a_foreign_file_is_refused_with_its_reason() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("libnothing.so");
        std::fs::write(&file, "#!/bin/sh\n").unwrap();
        for (file, code) in [(file.as_path(), "NOT_A_PLUGIN"), (&folder.path().join("absent.so"), "OPEN")] {
            let shown = run(file, true).unwrap();
            assert_eq!(shown.json["verdict"], "refused");
            assert_eq!(shown.json["code"], code);
            assert!(shown.json["confinement"].is_null());
            let problem = shown.failure.unwrap().problem;
            assert_eq!(problem.code, code);
            assert!(problem.why.is_some() && problem.mend.is_some(), "{problem:?}");
        }
    }
}
