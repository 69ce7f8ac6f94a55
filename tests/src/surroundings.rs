//! The surroundings of a process under test: filters of system calls, and programs that change its rights before they
//! become it.

use std::{
    fs, io,
    path::Path,
    process::{Child, Command},
    thread,
};

use landlock::{ABI, Access as _, AccessFs, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// How a filter denies a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// Fails with ENOSYS, like a kernel without the call.
    Unknown,
    /// Fails with EPERM, like `SystemCallErrorNumber=EPERM` in a unit.
    Refused,
    /// Kills the process with SIGSYS, like a plain `SystemCallFilter` in a unit.
    Deadly,
}

/// How a process is started. The default has no surroundings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Surroundings {
    pub(crate) denied: Vec<(i64, Denial)>,
    /// A program and its arguments, followed by the process's own.
    pub(crate) under: Vec<String>,
}

impl Surroundings {
    /// A command for this program.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let Some((first, rest)) = self.under.split_first() else { return Command::new(program) };
        // The program becomes the process, with the same process id.
        let mut command = Command::new(first);
        command.args(rest).arg(program);
        command
    }

    /// Starts the command.
    pub(crate) fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        if self.denied.is_empty() {
            return command.spawn();
        }
        // A filter applies to its thread and everything started from it, so this thread ends here.
        thread::scope(|scope| {
            let confined = scope.spawn(|| {
                for denial in [Denial::Unknown, Denial::Refused, Denial::Deadly] {
                    let calls = self.denied.iter().filter(|(_, how)| *how == denial).map(|(call, _)| *call);
                    let calls: Vec<_> = calls.collect();
                    if !calls.is_empty() {
                        seccompiler::apply_filter(&filter(&calls, denial)).expect("this kernel has seccomp");
                    }
                }
                command.spawn()
            });
            confined.join().expect("starting a process does not panic")
        })
    }
}

/// Whether full confinement is possible here: the kernel has Landlock and seccomp, and nothing around the tests denies
/// either. If so, tests require `full`.
pub fn confines_fully() -> bool {
    let strict = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let landlock = strict.handle_access(AccessFs::from_all(ABI::V1)).and_then(Ruleset::create).is_ok();
    let status = fs::read_to_string("/proc/self/status").expect("Linux has /proc");
    landlock && status.lines().any(|line| line.starts_with("Seccomp:"))
}

/// Requires this confinement to be `full` if the kernel can do it. Returns whether it is.
///
/// # Panics
/// When it could be and is not.
#[track_caller]
pub fn demand_full(level: &str) -> bool {
    let full = level == "full";
    assert!(full || !confines_fully(), "this kernel has Landlock and seccomp, and the level is {level}");
    if !full {
        eprintln!("skipped: level {level}");
    }
    full
}

fn filter(calls: &[i64], denial: Denial) -> BpfProgram {
    let action = match denial {
        Denial::Unknown => SeccompAction::Errno(libc::ENOSYS.unsigned_abs()),
        Denial::Refused => SeccompAction::Errno(libc::EPERM.unsigned_abs()),
        Denial::Deadly => SeccompAction::KillProcess,
    };
    let rules = calls.iter().map(|call| (*call, Vec::new())).collect();
    let architecture = std::env::consts::ARCH.try_into().expect("seccompiler knows this processor");
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, architecture);
    filter.and_then(TryInto::try_into).expect("the filter is small and whole")
}
