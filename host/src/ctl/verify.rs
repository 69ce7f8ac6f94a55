//! `verify`: the checks that the host makes before it loads a file, made here and without a host.

use std::path::Path;

use plugin_abi::export::InfoRecord;
use serde::Serialize;

use super::{Shown, failure::Failure, plugins::build_fields, table::fields};
use crate::{
    admin::wire::{Problem, UNSIGNED},
    plugin::{
        artifact::{self, Sha256Sum, Stamp},
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
    info: Option<InfoRecord>,
    code: Option<&'static str>,
    reason: Option<String>,
    mend: Option<&'static str>,
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
    Ok(shown(file, verbose, sha256, stamp, info, outcome.err()))
}

fn shown(
    file: &Path,
    verbose: bool,
    sha256: Option<Sha256Sum>,
    stamp: Option<Stamp>,
    info: Option<InfoRecord>,
    refusal: Option<Refusal>,
) -> Shown {
    let verdict = Verdict {
        path: file.to_string_lossy().into_owned(),
        verdict: if refusal.is_some() { "refused" } else { "sound" },
        size_bytes: stamp.map(|stamp| stamp.size),
        sha256: sha256.map(|sum| sum.to_string()),
        signature: sha256.map(|_| UNSIGNED),
        info,
        code: refusal.as_ref().map(|refusal| refusal.code.as_str()),
        mend: refusal.as_ref().map(|refusal| refusal.code.mend()),
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
    Shown { failure, ..Shown::new(text, &verdict) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_file_is_refused_with_its_reason() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("libnothing.so");
        std::fs::write(&file, "#!/bin/sh\n").unwrap();
        for (file, code) in [(file.as_path(), "NOT_A_PLUGIN"), (&folder.path().join("absent.so"), "OPEN")] {
            let shown = run(file, true).unwrap();
            assert_eq!(shown.json["verdict"], "refused");
            assert_eq!(shown.json["code"], code);
            let problem = shown.failure.unwrap().problem;
            assert_eq!(problem.code, code);
            assert!(problem.why.is_some() && problem.mend.is_some(), "{problem:?}");
        }
    }
}
