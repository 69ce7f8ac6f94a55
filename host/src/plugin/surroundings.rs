//! What the host's surroundings let a process do that is to try a plugin: found out once, by a process without a plugin.
//!
//! A filter of system calls denies by an error or by ending the process (SIGSYS, as systemd's does when it is told
//! nothing else). The first is seen by who calls. For the second a process has to be lost: it has said which step it was
//! about to take, and the next one leaves that out.

use std::{fmt, fs::File, io, path::Path, process::ExitCode, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    confine::{self, Level, Step, Steps, Tasks},
    refusal::{Code, Refusal},
    trial::{self, Order, Start},
};

/// The hidden argument.
const ARGUMENT: &str = "__surroundings";

/// What was found out.
#[derive(Debug)]
pub struct Surroundings {
    level: Level,
    denied: Vec<String>,
    left_out: Vec<Step>,
}

#[derive(Serialize, Deserialize)]
struct Found {
    level: Level,
    denied: Vec<String>,
}

/// Starts processes until one has been through all steps but those that end it.
///
/// # Errors
/// `PROBE_FAILED`, when there is no such process here.
pub(super) fn explore(program: &Path, time_max: Duration) -> Result<Surroundings, Refusal> {
    let failed = |reason: String| Refusal::new(Code::ProbeFailed, reason);
    let mut left_out = Vec::new();
    // Each round leaves one more step out.
    loop {
        let start = Start { program, argument: ARGUMENT, left_out: &left_out, library: None, input: None, time_max };
        let ended = start.run().map_err(|fault| failed(fault.to_string()))?;
        match ended.verdict::<Result<Found, String>>() {
            Ok(Ok(Found { level, denied })) => {
                if !level.bytes.stands() && !left_out.contains(&Step::Memory) {
                    left_out.push(Step::Memory);
                }
                return Ok(Surroundings { level, denied, left_out });
            }
            Ok(Err(reason)) => return Err(failed(reason)),
            Err(death) => match death.denied().filter(|step| !left_out.contains(step)) {
                Some(step) => left_out.push(step),
                None => return Err(failed(format!("a process without any plugin does not get as far here: {death}"))),
            },
        }
    }
}

/// Becomes such a process when this one was started as one.
pub(super) fn run_if_asked() -> Option<ExitCode> {
    let order = Order::of_this_process(ARGUMENT)?;
    let token = order.token.clone();
    Some(trial::tell_verdict(&token, &attempt(order)))
}

/// All that a probe does before it opens the library and after it.
fn attempt(order: Order) -> Result<Found, String> {
    let failed = |fault: io::Error| format!("no process can be confined here: {fault}");
    trial::stage("confining the process");
    confine::close_inherited().map_err(failed)?;
    let mut steps = Steps::new(order.left_out);
    let bytes = steps.take(Step::Memory, || trial::sealed("nothing", b"nothing").map(drop));
    let mut tasks = Tasks::open().map_err(failed)?;
    let level = confine::enter(order.parent, Duration::from_secs(1), &mut steps).map_err(failed)?;
    confine::tighten(level).map_err(failed)?;
    tasks.count().map_err(failed)?;
    Ok(Found { level: Level { bytes, ..level }, denied: steps.into_denied() })
}

impl Surroundings {
    /// How far a process can shut itself in.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Steps that no process may take: those that end it, and memory that cannot be had.
    pub(crate) fn left_out(&self) -> &[Step] {
        &self.left_out
    }

    /// A file with these bytes for a process to open: in memory, or else in this folder.
    ///
    /// # Errors
    /// `PROBE_FAILED`, when neither can be had.
    pub(crate) fn library(&self, bytes: &[u8], scratch: &Path) -> Result<File, Refusal> {
        if self.level.bytes.stands() {
            return trial::sealed("plugin", bytes)
                .map_err(|fault| Refusal::new(Code::ProbeFailed, format!("memfd_create: {fault}")));
        }
        trial::on_disk(scratch, bytes).map_err(|fault| {
            let reason = format!("memfd_create is denied here, and there cannot be {fault}; allow memfd_create");
            Refusal::new(Code::ProbeFailed, reason)
        })
    }
}

/// In a sentence for whoever can change them.
impl fmt::Display for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.level)?;
        if !self.denied.is_empty() {
            write!(f, " ({})", self.denied.join("; "))?;
        }
        if self.level.is_denied() {
            f.write_str(
                "; what is around the host denies this: a unit's SystemCallFilter or a container's seccomp profile",
            )?;
        }
        Ok(())
    }
}
