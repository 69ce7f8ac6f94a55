//! Tests whether a plugin keeps its contract: a table of cases. Each runs in its own confined process against the very
//! file that will be shipped.
//!
//! The parent ([`run`]) starts one process after another and collects the results. The child ([`run_if_asked`]) opens
//! the library, plays the host with scripted answers, and reports one sentence.

use std::{
    io,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use self::{
    cases::{CASES, Case},
    given::Given,
    report::{CaseReport, Failure, Outcome, Report},
    tried::Tried,
};
use crate::plugin::{
    artifact::InspectedArtifact,
    probe::{ProbeProcess, Prober},
    refusal::Code,
    trial::{self, Start},
};

mod cases;
mod child;
mod delivery;
pub mod given;
pub mod report;
mod script;
mod signing;
mod subject;
mod told;
mod tried;
mod workshop;

/// The hidden argument that starts a child.
const ARGUMENT: &str = "__conformance";
/// Maximum time of a case.
const TIME_MAX: Duration = Duration::from_secs(60);

/// Which cases to run, and how.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Runs cases up to this level.
    pub level: u8,
    /// Runs only this case.
    pub case: Option<String>,
    /// Duration of level 5.
    pub fuzz_time: Duration,
    /// Seed of level 5.
    pub seed: u64,
    /// The command line that repeats the run, shown with a failure.
    pub again: String,
}

/// Maximum duration of level 5, in seconds: a week.
pub const FUZZ_S_MAX: u32 = 7 * 24 * 60 * 60;
/// The highest level.
pub const LEVEL_MAX: u8 = 5;

/// The names of all cases, in order.
pub fn names() -> impl Iterator<Item = &'static str> {
    CASES.iter().map(|case| case.name)
}

/// The task of a case's process.
#[derive(Serialize, Deserialize)]
struct Task {
    case: String,
    given: Option<Given>,
    random: Random,
}

/// Parameters of the level of random damage.
#[derive(Clone, Serialize, Deserialize)]
struct Random {
    seed: u64,
    time: Duration,
    /// See [`Wanted::again`].
    again: String,
}

/// Runs the selected cases, one process after another.
///
/// # Errors
/// If no process can be started for a case, which says nothing about the plugin.
pub fn run(artifact: &InspectedArtifact, given: Option<&Given>, wanted: &Wanted) -> io::Result<Report> {
    let cases = CASES.iter().filter(|case| match &wanted.case {
        Some(name) => case.name == name,
        None => case.level <= wanted.level,
    });
    let prober = Prober::default();
    let mut sound = true;
    let cases = cases
        .map(|case| {
            let started = Instant::now();
            let outcome = match case.missing(given) {
                _ if !sound => Outcome::Skipped("a host would refuse the file".to_owned()),
                Some(missing) => Outcome::Skipped(missing.to_owned()),
                None => carry_out(case, artifact, given, wanted, &prober)?,
            };
            // A plugin that cannot be loaded would fail all other cases in the same way: once is enough.
            sound &= case.level > 1 || !matches!(outcome, Outcome::Failed(_));
            Ok(CaseReport { case, outcome, took: started.elapsed() })
        })
        .collect::<io::Result<_>>()?;
    Ok(Report { info: artifact.info.clone(), sha256: artifact.sha256, seed: wanted.seed, cases })
}

fn carry_out(
    case: &Case,
    artifact: &InspectedArtifact,
    given: Option<&Given>,
    wanted: &Wanted,
    prober: &Prober,
) -> io::Result<Outcome> {
    let failed = |found, mend| Outcome::Failed(Failure { found, mend });
    Ok(match case.run {
        cases::Run::Inspected => Outcome::Passed,
        cases::Run::Probe => match artifact.try_out(prober) {
            Ok(_) => Outcome::Passed,
            Err(refusal) if refusal.code == Code::ProbeFailed => return Err(io::Error::other(refusal.reason)),
            Err(refusal) => failed(refusal.to_string(), refusal.code.mend()),
        },
        _ => match in_process(case, artifact, given, wanted, prober)? {
            Ok(Tried::Whole) => Outcome::Passed,
            Ok(Tried::Wanting(why)) => Outcome::Skipped(why),
            Ok(Tried::Nothing(why)) => Outcome::NotApplicable(why),
            Err(found) => failed(found, case.mend),
        },
    })
}

fn in_process(
    case: &Case,
    artifact: &InspectedArtifact,
    given: Option<&Given>,
    wanted: &Wanted,
    prober: &Prober,
) -> io::Result<Result<Tried, String>> {
    let surroundings = prober.surroundings().map_err(|refusal| io::Error::other(refusal.reason))?;
    if !surroundings.level().bytes.stands() {
        return Err(io::Error::other(format!("a case needs files in memory, which are denied here: {surroundings}")));
    }
    let random = Random { seed: wanted.seed, time: wanted.fuzz_time, again: wanted.again.clone() };
    let task = Task { case: case.name.to_owned(), given: given.cloned(), random };
    let task = serde_json::to_vec(&task).expect("texts and numbers have a JSON form");
    let library = trial::sealed("plugin", artifact.bytes())?;
    let start = Start {
        program: Path::new("/proc/self/exe"),
        argument: ARGUMENT,
        left_out: surroundings.left_out(),
        library: Some(&library),
        input: Some(&task),
        time_max: TIME_MAX + if case.level == LEVEL_MAX { wanted.fuzz_time } else { Duration::ZERO },
    };
    match start.run()?.verdict::<Result<Tried, String>>() {
        Ok(found) => Ok(found),
        Err(death) if death.had_begun => Ok(Err(death.to_string())),
        Err(death) => Err(io::Error::other(death.to_string())),
    }
}

/// Runs a case if this process was started for one. Must be called first in `main`, like the probe's.
pub fn run_if_asked() -> Option<ExitCode> {
    let (here, order) = ProbeProcess::if_asked(ARGUMENT)?;
    let token = order.token.clone();
    Some(trial::tell_verdict(&token, &child::attempt(&here, order)))
}
