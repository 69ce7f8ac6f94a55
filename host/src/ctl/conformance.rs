//! `conformance`: tests the whole contract on the very file that a vendor will ship.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use plugin_abi::export::InfoRecord;

use super::{Shown, args, failure::Failure, table::plain_lines, verify::refused};
use crate::{
    admin::wire::Problem,
    conformance::{
        self, Wanted,
        given::{self, Given},
        report::Report,
    },
    plugin::{artifact, signature::Trust},
};

/// Runs the cases. A failed case is a failure; a case that could not be tried is not.
pub(super) fn run(wanted: &args::Conformance) -> Result<Shown, Failure> {
    let file = &wanted.file;
    let artifact =
        artifact::inspect(file, &Trust::default()).map_err(|uninspected| refused(file, &uninspected.refusal))?;
    artifact.trusted.clone().map_err(|refusal| refused(file, &refusal))?;
    let path = wanted.with.clone().or_else(|| beside(file));
    let given = path.as_deref().map(|path| Given::read(path).map_err(|fault| unusable(path, &fault))).transpose()?;
    let seed = match wanted.seed {
        Some(seed) => seed,
        // A short number, so that it is easy to type again.
        None => getrandom::u32()
            .map_err(|fault| Failure::failed(Problem::new("SEED", fault.to_string()).mend("name one: --seed N")))?
            .into(),
    };
    let asked = Wanted {
        level: wanted.level,
        case: wanted.case.clone(),
        fuzz_time: Duration::from_secs(wanted.fuzz_time.into()),
        seed,
        again: again(file, path.as_deref()),
    };
    let report = conformance::run(&artifact, given.as_ref(), &asked).map_err(|fault| untried(&fault))?;
    if let Some(junit) = &wanted.junit {
        fs::write(junit, report.junit()).map_err(|fault| {
            let problem = Problem::new("OUTPUT", "the report cannot be written").why(fault.to_string());
            Failure::failed(Problem { file: Some(junit.display().to_string()), ..problem })
        })?;
    }
    Ok(shown(file, path.as_deref(), &artifact.info, &report))
}

/// The command line for the same file and fixtures, quoted for a shell.
fn again(file: &Path, given: Option<&Path>) -> String {
    let quoted = |path: &Path| format!("'{}'", path.display().to_string().replace('\'', r"'\''"));
    let with = given.map(|path| format!(" --with {}", quoted(path))).unwrap_or_default();
    format!("plugin-ctl conformance {}{with}", quoted(file))
}

/// The default fixtures file for a plugin, if there is one.
fn beside(file: &Path) -> Option<PathBuf> {
    let beside = file.with_file_name(given::FILE);
    [beside, PathBuf::from(given::FILE)].into_iter().find(|path| path.is_file())
}

fn unusable(path: &Path, fault: &given::GivenFault) -> Failure {
    let problem = Problem::new("CONFORMANCE_FILE", "what is given for the cases cannot be used").why(fault.to_string());
    Failure::failed(Problem {
        file: Some(path.display().to_string()),
        ..problem.mend("docs/reference/conformance.md shows each key")
    })
}

fn untried(fault: &io::Error) -> Failure {
    let problem = Problem::new("CONFORMANCE_PROCESS", "a case could not be tried").why(fault.to_string());
    Failure::failed(problem.mend("this says nothing of the plugin: see the machine's limits of memory and processes"))
}

fn shown(file: &Path, given: Option<&Path>, info: &InfoRecord, report: &Report) -> Shown {
    let given = given.map_or_else(|| "nothing: no conformance.toml".to_owned(), |path| path.display().to_string());
    let text = format!("file:   {}\ngiven:  {given}\n{}", file.display(), report.text());
    let causes: Vec<_> =
        report.failures().map(|(name, found, mend)| Problem::new(name, found.to_owned()).mend(mend)).collect();
    let failure = (!causes.is_empty()).then(|| {
        let count = causes.len();
        let message = format!("{} {}: {count} of its cases failed", info.tool_type, info.version);
        Failure::failed(Problem { causes, ..Problem::new("CONFORMANCE", message) })
    });
    Shown { text: plain_lines(&text).into_owned(), json: report.json(), failure }
}
