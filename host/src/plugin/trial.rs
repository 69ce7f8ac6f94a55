//! A process for code that nobody trusts yet: this very program, started again with a hidden argument and an empty
//! environment, followed until it has ended or its time has.

use std::{
    fmt,
    fs::File,
    io::{self, Read, Write},
    os::{fd::AsFd, unix::process::ExitStatusExt as _},
    path::Path,
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::SeekFrom,
    io::Errno,
};
use serde::{Serialize, de::DeserializeOwned};

use super::confine::Step;

mod files;

pub(crate) use files::{is_noexec, on_disk, sealed};

/// Where the process finds the plugin's bytes.
pub(crate) const LIBRARY: &str = "/proc/self/fd/1";
/// What a process says before it opens a plugin. What ends it before that is no plugin's doing.
pub(crate) const OPENING: &str = "opening the library";
/// Bytes of a [`Token`] as they are sent: in hexadecimal.
const TOKEN_CHARS: usize = 32;
/// Most bytes of a report that are kept: its end, where the verdict stands with its details.
const REPORT_BYTES_MAX: usize = 512 << 10;
/// How often a process that is silent is looked at: below a second.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How often one is looked at that has closed its output, which it does by ending.
const LOOK_EVERY_CLOSED: Duration = Duration::from_millis(1);

/// A process that is to be started.
pub(crate) struct Start<'a> {
    /// This very program, or another that looks at the hidden argument.
    pub(crate) program: &'a Path,
    /// The hidden argument.
    pub(crate) argument: &'a str,
    /// Steps that it must not take.
    pub(crate) left_out: &'a [Step],
    /// What it finds at [`LIBRARY`].
    pub(crate) library: Option<&'a File>,
    /// What it is told beside its arguments.
    pub(crate) input: Option<&'a [u8]>,
    /// It is killed after this.
    pub(crate) time_max: Duration,
}

/// What a verdict begins with. A plugin can write to the same pipe, but it does not know the token: the process takes it
/// from standard input before it maps the plugin. A plugin that searches the process's memory can still find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token(String);

impl Token {
    fn fresh() -> io::Result<Self> {
        let mut bytes = [0; TOKEN_CHARS / 2];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        Ok(Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }
}

/// What a process was told when it was started.
pub(crate) struct Order {
    /// The host.
    pub(crate) parent: u32,
    /// Steps that it must not take.
    pub(crate) left_out: Vec<Step>,
    /// See [`Start::input`].
    pub(crate) input: Vec<u8>,
    /// For [`tell_verdict`].
    pub(crate) token: Token,
}

impl Order {
    /// When this process was started with this hidden argument. Takes everything from standard input.
    pub(crate) fn of_this_process(argument: &str) -> Option<Self> {
        let mut arguments = std::env::args().skip(1);
        if arguments.next()? != argument {
            return None;
        }
        let parent = arguments.next().and_then(|parent| parent.parse().ok()).unwrap_or(0);
        let left_out = arguments.filter_map(|call| Step::of(&call)).collect();
        // Without a token no verdict counts: then the host says how the process ended.
        let (token, input) = take_input().unwrap_or_default();
        Some(Self { parent, left_out, input, token: Token(token) })
    }
}

/// The token, and what is behind it.
fn take_input() -> io::Result<(String, Vec<u8>)> {
    // A file in memory stands where its writer left it. A pipe cannot be rewound, and need not be.
    let _rewound = rustix::fs::seek(io::stdin(), SeekFrom::Start(0));
    let mut input = Vec::new();
    io::stdin().lock().read_to_end(&mut input)?;
    let rest = input.split_off(input.len().min(TOKEN_CHARS));
    Ok((String::from_utf8(input).map_err(io::Error::other)?, rest))
}

impl Start<'_> {
    /// Starts it and follows it; at the time limit it is killed. Called on a thread that lives as long: the process dies
    /// with it.
    ///
    /// # Errors
    /// When it cannot be started or followed, in a sentence with what mends it.
    pub(crate) fn run(&self) -> io::Result<Ended> {
        let token = Token::fresh()?;
        // A pipe takes a token at once, and needs no file in memory.
        let input = match self.input {
            Some(input) => Stdio::from(sealed("input", &[token.0.as_bytes(), input].concat())?),
            None => Stdio::piped(),
        };
        let library = self.library.map(File::try_clone).transpose()?.map_or_else(Stdio::null, Stdio::from);
        let mut child = Command::new(self.program)
            .args([self.argument, &std::process::id().to_string()])
            .args(self.left_out.iter().map(|step| step.call()))
            .env_clear()
            .stdin(input)
            .stdout(library)
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|fault| not_started(self.program, &fault))?;
        if let Some(mut pipe) = child.stdin.take() {
            // This fails when the process has ended already; how it ended is seen below.
            let _told = pipe.write_all(token.0.as_bytes());
        }
        // What the plugin itself wrote stands beside the report.
        let mut report = Vec::new();
        let followed = follow(&mut child, &mut report, self.time_max).and_then(|status| match status {
            Some(status) => Ok(Some(status)),
            None => child.kill().and_then(|()| child.wait()).map(|_| None),
        });
        let status = followed.map_err(|fault| {
            // What it comes to makes no difference: there is no process to be followed.
            let _killed = child.kill();
            not_followed(&fault)
        })?;
        Ok(Ended { status, report: String::from_utf8_lossy(&report).into_owned(), token, time_max: self.time_max })
    }
}

fn not_followed(fault: &io::Error) -> io::Error {
    let mend = "a filter of system calls around the host must let ioctl, poll, read, kill and wait4 pass";
    io::Error::new(fault.kind(), format!("the process in which plugins are tried cannot be followed: {fault}; {mend}"))
}

fn not_started(program: &Path, fault: &io::Error) -> io::Error {
    let mend = match fault.raw_os_error() {
        Some(libc::EAGAIN) => "raise the limit of processes (a unit's TasksMax, a container's pids limit, ulimit -u)",
        Some(libc::ENOMEM) => "the machine, or the host's container, has no memory left",
        Some(libc::EMFILE | libc::ENFILE) => "raise the limit of open files",
        Some(libc::ENOENT) => "/proc must be mounted, and /dev/null be there, where the host runs",
        _ => {
            "a filter of system calls or a security module around the host must let pipe2, clone, clone3 and execve pass"
        }
    };
    io::Error::new(fault.kind(), format!("{} cannot be started as a process: {fault}; {mend}", program.display()))
}

/// A process that is over.
pub(crate) struct Ended {
    /// `None`: it was killed at the time limit.
    status: Option<ExitStatus>,
    report: String,
    token: Token,
    time_max: Duration,
}

/// A process that ended without its verdict.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Death {
    /// What it said last that it was about to do.
    pub(crate) stage: String,
    /// Whether it had begun to open the plugin.
    pub(crate) had_begun: bool,
    how: How,
}

#[derive(Debug, PartialEq, Eq)]
enum How {
    Busy(Duration),
    Signal(i32),
    Exit(ExitStatus),
}

impl Ended {
    /// What the process found.
    ///
    /// # Errors
    /// How it ended instead.
    pub(crate) fn verdict<T: DeserializeOwned>(&self) -> Result<T, Death> {
        let stage = self.report.lines().rev().find_map(|line| line.strip_prefix("stage ")).unwrap_or("start");
        // Only a plugin writes so much that the beginning is lost.
        let had_begun = self.report.len() >= REPORT_BYTES_MAX
            || self.report.lines().any(|line| line.strip_prefix("stage ") == Some(OPENING));
        let death = |how| Death { stage: stage.to_owned(), had_begun, how };
        let status = self.status.ok_or_else(|| death(How::Busy(self.time_max)))?;
        if let Some(signal) = status.signal() {
            return Err(death(How::Signal(signal)));
        }
        let own = |line: &str| serde_json::from_str(line.strip_prefix(&self.token.0)?).ok();
        let verdict = self.report.lines().rev().find_map(own);
        verdict.filter(|_| status.success()).ok_or_else(|| death(How::Exit(status)))
    }
}

impl Death {
    /// Whether it did not end by itself.
    pub(crate) fn is_hang(&self) -> bool {
        matches!(self.how, How::Busy(_))
    }

    /// The step that a filter of system calls ended it for.
    pub(crate) fn denied(&self) -> Option<Step> {
        Step::of(&self.stage).filter(|_| self.how == How::Signal(libc::SIGSYS))
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = &self.stage;
        match self.how {
            How::Busy(time_max) => write!(f, "it was still busy with {stage} after {} s", time_max.as_secs()),
            How::Signal(signal) => write!(f, "{stage} died of {}", signal_name(signal)),
            How::Exit(status) => write!(f, "{stage} ended the process with {status}"),
        }
    }
}

/// In the process: says what it is about to do, should it not come back.
pub(crate) fn stage(name: &str) {
    // Without its report the process has no purpose; what follows will say that the pipe is broken.
    let _told = tell(&format!("stage {name}"));
}

/// In the process: says what it found, and gives the exit code that is due.
pub(crate) fn tell_verdict(token: &Token, verdict: &impl Serialize) -> ExitCode {
    let told = serde_json::to_string(verdict).map_err(io::Error::other);
    let told = told.and_then(|line| tell(&format!("{}{line}", token.0)));
    if told.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn tell(line: &str) -> io::Result<()> {
    // In one piece, and on a line of its own: what the plugin writes must stand neither in the middle of it nor before it.
    io::stderr().lock().write_all(format!("\n{line}\n").as_bytes())
}

/// Reads what the child writes, so that it never has to wait for that, until it has ended; `None` at the time limit.
fn follow(child: &mut Child, report: &mut Vec<u8>, time_max: Duration) -> io::Result<Option<ExitStatus>> {
    let mut output = child.stderr.take().ok_or_else(|| io::Error::other("the child has no output"))?;
    // Where nothing confines the child, a process of its own may hold the pipe open for ever.
    rustix::io::ioctl_fionbio(&output, true)?;
    let deadline = Instant::now() + time_max;
    let mut open = true;
    loop {
        let ended = child.try_wait()?;
        open = open && read_tail(&mut output, report)?;
        let left = deadline.saturating_duration_since(Instant::now());
        if ended.is_some() || left.is_zero() {
            return Ok(ended);
        }
        // Its end closes the pipe, and so is seen at once. A child that closes it before, or leaves it to another, is
        // looked at now and then: not every system gives a descriptor of the process to wait for.
        if open {
            wait_for(&output, left.min(LOOK_EVERY))?;
        } else {
            std::thread::sleep(left.min(LOOK_EVERY_CLOSED));
        }
    }
}

/// Waits until there is something to read.
fn wait_for(output: &impl AsFd, time_max: Duration) -> io::Result<()> {
    let timeout = Timespec { tv_sec: 0, tv_nsec: time_max.subsec_nanos().into() };
    match poll(&mut [PollFd::new(output, PollFlags::IN)], Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(fault) => Err(fault.into()),
    }
}

/// Reads what is there and keeps the end of it; false when there will be no more.
fn read_tail(output: &mut impl Read, report: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0; 16 << 10];
    // Not for ever, should somebody write faster than this reads.
    let mut left = REPORT_BYTES_MAX;
    while left > 0 {
        let bytes = match output.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(bytes) => bytes,
            Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => break,
            Err(fault) if fault.kind() == io::ErrorKind::Interrupted => continue,
            Err(fault) => return Err(fault),
        };
        report.extend_from_slice(&buffer[..bytes]);
        report.drain(..report.len().saturating_sub(REPORT_BYTES_MAX));
        left = left.saturating_sub(bytes);
    }
    Ok(true)
}

fn signal_name(signal: i32) -> String {
    let known =
        [(4, "SIGILL"), (6, "SIGABRT"), (7, "SIGBUS"), (8, "SIGFPE"), (9, "SIGKILL"), (11, "SIGSEGV"), (31, "SIGSYS")];
    known
        .iter()
        .find(|(number, _)| *number == signal)
        .map_or_else(|| format!("signal {signal}"), |(_, name)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_a_process_before_the_plugin_is_opened_is_not_the_plugins() {
        let (plain, opened) = ("\nstage seccomp\n", "\nstage seccomp\n\nstage opening the library\n");
        let flood = format!("{}\nstage seccomp\n", "x".repeat(REPORT_BYTES_MAX));
        for (status, report, denied, had_begun) in [
            (libc::SIGSYS, plain, Some(Step::Seccomp), false),
            (libc::SIGKILL, plain, None, false),
            (libc::SIGSYS, "", None, false),
            (libc::SIGSYS, opened, None, true),
            (libc::SIGSYS, &flood, Some(Step::Seccomp), true),
        ] {
            let status = Some(ExitStatus::from_raw(status));
            let token = Token::fresh().unwrap();
            let ended = Ended { status, report: report.to_owned(), token, time_max: Duration::ZERO };
            let death = ended.verdict::<()>().unwrap_err();
            assert_eq!((death.denied(), death.had_begun), (denied, had_begun), "{death}");
        }
    }

    #[test]
    fn only_a_verdict_with_the_token_counts() {
        let token = Token::fresh().unwrap();
        let own = format!("\n{}7\n", token.0);
        for (report, expected) in [
            (own.clone(), Some(7)),
            (format!("{own}\n8\n"), Some(7)),
            (format!("\n{}8\n{own}", "0".repeat(TOKEN_CHARS)), Some(7)),
            ("\n8\n".to_owned(), None),
            (format!("\n{}8\n", Token::fresh().unwrap().0), None),
        ] {
            let status = Some(ExitStatus::from_raw(0));
            let ended = Ended { status, report: report.clone(), token: token.clone(), time_max: Duration::ZERO };
            assert_eq!(ended.verdict::<u8>().ok(), expected, "{report}");
        }
    }
}
