//! `verify`: makes the host's checks of a file here, without a host.

use std::path::Path;

use plugin_abi::{declared::Declaration, export::InfoRecord};
use serde::Serialize;

use super::{
    Shown,
    declared::declared_text,
    failure::Failure,
    plugins::build_fields,
    table::{fields, plain_lines},
};
use crate::{
    admin::wire::{Confinement, Problem},
    plugin::{
        artifact::{self, InspectedArtifact, Sha256Sum, Stamp, Uninspected},
        confine::Level,
        glibc::Glibc,
        probe::Prober,
        refusal::{Code, Refusal},
        signature::{Signature, Trust, TrustedKey},
    },
};

/// The JSON of a verdict.
#[derive(Debug, Serialize)]
struct Verdict {
    path: String,
    verdict: &'static str,
    size_bytes: Option<u64>,
    sha256: Option<String>,
    signature: Option<String>,
    /// The confinement of the process that tried it here; null if it was refused.
    confinement: Option<Confinement>,
    info: Option<InfoRecord>,
    /// The settings and secrets that it declares; null if it declares none, or was refused.
    declares: Option<Declaration>,
    /// The oldest glibc that can open it; null if it was refused before this was checked.
    glibc: Option<String>,
    code: Option<&'static str>,
    reason: Option<String>,
    mend: Option<&'static str>,
    /// Present with `--verbose` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<String>,
}

/// The file's bytes, if they pass the checks of `verify`.
///
/// # Errors
/// Why a host that trusts these keys would refuse the file.
pub(super) fn sound(file: &Path, trust: &Trust) -> Result<InspectedArtifact, Failure> {
    let before = |refusal: &Refusal| refused_before(file, refusal);
    let artifact = artifact::inspect(file, trust).map_err(|uninspected| before(&uninspected.refusal))?;
    artifact.trusted.clone().map_err(|refusal| before(&refusal))?;
    artifact.try_out(&Prober::default()).map_err(|refusal| before(&refusal))?;
    Ok(artifact)
}

/// The failure for a refused file, when nothing has been changed yet.
pub(super) fn refused_before(file: &Path, refusal: &Refusal) -> Failure {
    let mut failure = refused(file, refusal);
    failure.problem.state = Some("nothing was changed".to_owned());
    failure
}

pub(super) fn refused(file: &Path, refusal: &Refusal) -> Failure {
    let message = match refusal.code {
        Code::Open => "this file cannot be read",
        _ => "a host would refuse this file",
    };
    Failure::failed(Problem {
        file: Some(file.to_string_lossy().into_owned()),
        why: Some(refusal.reason.clone()),
        mend: Some(refusal.code.mend().to_owned()),
        ..Problem::new(refusal.code.as_str(), message)
    })
}

/// The results, as far as the checks went.
struct Found {
    sha256: Option<Sha256Sum>,
    stamp: Option<Stamp>,
    signature: Option<Signature>,
    info: Option<InfoRecord>,
    declares: Option<Declaration>,
    glibc: Option<Glibc>,
    outcome: Result<Level, Refusal>,
}

/// Reads the file's information, judges its signature, and tries it in a process of its own. Shows what is known even
/// if the file is refused. If keys are given, one of them must have signed it.
pub(super) fn run(file: &Path, keys: Vec<TrustedKey>, verbose: bool) -> Result<Shown, Failure> {
    let required = !keys.is_empty();
    let found = match artifact::inspect(file, &Trust { keys, required }) {
        Ok(artifact) => Found {
            glibc: artifact.glibc_needed(),
            outcome: artifact.trusted.clone().and_then(|()| artifact.try_out(&Prober::default())),
            sha256: Some(artifact.sha256),
            stamp: Some(artifact.stamp),
            signature: Some(artifact.signature),
            info: Some(artifact.info),
            declares: artifact.declares,
        },
        Err(uninspected) => {
            let Uninspected { sha256, stamp, signature, refusal } = *uninspected;
            Found { sha256, stamp, signature, info: None, declares: None, glibc: None, outcome: Err(refusal) }
        }
    };
    Ok(shown(file, verbose, found))
}

fn shown(file: &Path, verbose: bool, found: Found) -> Shown {
    let Found { sha256, stamp, signature, info, declares, glibc, outcome } = found;
    let trusted = signature.as_ref().is_some_and(Signature::is_trusted);
    let failure = outcome.as_ref().err().map(|refusal| refused(file, refusal));
    let (confinement, refusal) = match outcome {
        Ok(level) => (Some(level.into()), None),
        Err(refusal) => (None, Some(refusal)),
    };
    let verdict = Verdict {
        path: file.to_string_lossy().into_owned(),
        verdict: if refusal.is_some() { "refused" } else { "sound" },
        size_bytes: stamp.map(|stamp| stamp.size),
        sha256: sha256.map(|sum| sum.to_string()),
        signature: signature.map(|signature| signature.to_string()),
        confinement,
        info,
        declares,
        glibc: glibc.map(|version| version.to_string()),
        code: refusal.as_ref().map(|refusal| refusal.code.as_str()),
        mend: refusal.as_ref().map(|refusal| refusal.code.mend()),
        details: refusal.as_ref().and_then(|refusal| refusal.details.clone()).filter(|_| verbose),
        reason: refusal.map(|refusal| refusal.reason),
    };
    let found = [
        ("file", Some(verdict.path.clone())),
        ("size", verdict.size_bytes.map(|bytes| format!("{bytes} bytes"))),
        ("sha256", verdict.sha256.clone()),
        ("signature", verdict.signature.clone()),
        ("tool type", verdict.info.as_ref().map(|info| info.tool_type.clone())),
        ("version", verdict.info.as_ref().map(|info| info.version.clone())),
        ("vendor", verdict.info.as_ref().map(|info| info.vendor.clone()).filter(|vendor| !vendor.is_empty())),
        ("confinement", verdict.confinement.as_ref().map(|confinement| confinement.text.clone())),
    ];
    let build = verdict.info.iter().filter(|_| verbose).flat_map(build_fields);
    let glibc = ("glibc", verdict.glibc.as_ref().filter(|_| verbose).map(|version| format!("{version} or newer")));
    let mut text = fields(found.into_iter().chain(build).chain([glibc]));
    if verdict.info.is_some() {
        text.push_str(&declared_text(verdict.declares.as_ref()));
    }
    if failure.is_none() {
        text.push_str(match trusted {
            true => "It is sound: a host of this version takes it.\n",
            false => "It is sound: a host of this version takes it, unless it requires signatures.\n",
        });
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
    use crate::plugin::confine::Wall;

    #[test]
    fn a_sound_file_is_shown_with_its_confinement() {
        let level = Level { files: Wall::Absent, ..Level::default() };
        let found = Found {
            sha256: None,
            stamp: None,
            signature: None,
            info: None,
            declares: None,
            glibc: None,
            outcome: Ok(level),
        };
        let shown = shown(Path::new("libgood.so"), false, found);
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
            let shown = run(file, Vec::new(), true).unwrap();
            assert_eq!(shown.json["verdict"], "refused");
            assert_eq!(shown.json["code"], code);
            assert!(shown.json["confinement"].is_null());
            let problem = shown.failure.unwrap().problem;
            assert_eq!(problem.code, code);
            assert!(problem.why.is_some() && problem.mend.is_some(), "{problem:?}");
        }
    }
}
