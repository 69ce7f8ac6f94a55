//! A process for code that nobody trusts yet: this very program, started again with a hidden argument and an empty
//! environment, followed until it has ended or its time has.
//!
//! The plugin's bytes are in a sealed memory file, so that what is tried cannot be changed any more.

use std::{
    fmt,
    fs::File,
    io::{self, Read, Write},
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{MemfdFlags, SealFlags},
    process::{Pid, PidfdFlags},
};
use serde::{Serialize, de::DeserializeOwned};

/// Where the process finds the plugin's bytes.
pub(crate) const LIBRARY: &str = "/proc/self/fd/1";
/// Most bytes of a report that are kept: its end, where the verdict stands with its details.
const REPORT_BYTES_MAX: usize = 512 << 10;

/// A file in memory that nobody can change any more.
///
/// # Errors
/// When the system has no memory for it.
pub(crate) fn sealed(name: &str, bytes: &[u8]) -> io::Result<File> {
    let memory = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut memory = File::from(memory);
    memory.write_all(bytes)?;
    seal(&memory)?;
    Ok(memory)
}

/// Not with `F_SEAL_WRITE`: as long as anything in the kernel holds one of the pages, which compaction may do at any time,
/// that one waits and then fails with EBUSY. What it does besides is to refuse a file that somebody has mapped for
/// writing, and nobody has.
fn seal(memory: &File) -> io::Result<()> {
    let seals = SealFlags::FUTURE_WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    Ok(rustix::fs::fcntl_add_seals(memory, seals)?)
}

/// Starts `program` with the hidden argument, the library at [`LIBRARY`] and `input` on its standard input, and follows
/// it; at the time limit it is killed. Called on a thread that lives as long: the process dies with it.
///
/// # Errors
/// When it cannot be started or followed.
pub(crate) fn run(
    program: &Path,
    argument: &str,
    library: &File,
    input: Option<&File>,
    time_max: Duration,
) -> io::Result<Ended> {
    let input = input.map(File::try_clone).transpose()?;
    let mut child = Command::new(program)
        .args([argument, &std::process::id().to_string()])
        .env_clear()
        .stdin(input.map_or_else(Stdio::null, Stdio::from))
        .stdout(Stdio::from(library.try_clone()?))
        .stderr(Stdio::piped())
        .spawn()?;
    // What the plugin itself wrote stands beside the report.
    let mut report = Vec::new();
    let ended = follow(&mut child, &mut report, time_max);
    if !matches!(ended, Ok(Some(_))) {
        child.kill().and_then(|()| child.wait())?;
    }
    Ok(Ended { status: ended?, report: String::from_utf8_lossy(&report).into_owned(), time_max })
}

/// A process that is over.
pub(crate) struct Ended {
    /// `None`: it was killed at the time limit.
    status: Option<ExitStatus>,
    report: String,
    time_max: Duration,
}

/// A process that ended without its verdict.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Death {
    /// What it said last that it was about to do.
    pub(crate) stage: String,
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
        let death = |how| Death { stage: stage.to_owned(), how };
        let status = self.status.ok_or_else(|| death(How::Busy(self.time_max)))?;
        if let Some(signal) = status.signal() {
            return Err(death(How::Signal(signal)));
        }
        let verdict = self.report.lines().rev().find_map(|line| serde_json::from_str(line).ok());
        verdict.filter(|_| status.success()).ok_or_else(|| death(How::Exit(status)))
    }
}

impl Death {
    /// Whether it did not end by itself.
    pub(crate) fn is_hang(&self) -> bool {
        matches!(self.how, How::Busy(_))
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
pub(crate) fn tell_verdict(verdict: &impl Serialize) -> ExitCode {
    let told = serde_json::to_string(verdict).map_err(io::Error::other).and_then(|line| tell(&line));
    if told.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn tell(line: &str) -> io::Result<()> {
    // In one piece, and on a line of its own: what the plugin writes must stand neither in the middle of it nor before it.
    io::stderr().lock().write_all(format!("\n{line}\n").as_bytes())
}

/// Reads what the child writes, so that it never has to wait for that, until it has ended; `None` at the time limit.
fn follow(child: &mut Child, report: &mut Vec<u8>, time_max: Duration) -> io::Result<Option<ExitStatus>> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("the child's number is none"))?;
    let ended = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    let mut output = child.stderr.take().ok_or_else(|| io::Error::other("the child has no output"))?;
    // Where nothing confines the child, a process of its own may hold the pipe open for ever.
    rustix::io::ioctl_fionbio(&output, true)?;
    let deadline = Instant::now() + time_max;
    let mut open = true;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout =
            Timespec { tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: left.subsec_nanos().into() };
        let mut watched = [PollFd::new(&ended, PollFlags::IN), PollFd::new(&output, PollFlags::IN)];
        match poll(&mut watched[..1 + usize::from(open)], Some(&timeout)) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(fault) => return Err(fault.into()),
        }
        let has_ended = !watched[0].revents().is_empty();
        open = open && read_tail(&mut output, report)?;
        if has_ended {
            return child.wait().map(Some);
        }
        if left.is_zero() {
            return Ok(None);
        }
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
    use std::{
        fs::OpenOptions,
        io::ErrorKind,
        os::{fd::AsRawFd as _, unix::fs::FileExt as _},
    };

    use rustix::{
        fs::FallocateFlags,
        pipe::{SpliceFlags, pipe, splice},
    };

    use super::*;

    #[test]
    fn nobody_can_change_a_sealed_file() {
        let memory = sealed("test", b"proven").unwrap();
        let again = format!("/proc/self/fd/{}", memory.as_raw_fd());
        let again = OpenOptions::new().read(true).write(true).open(again).unwrap();
        for file in [&memory, &again] {
            let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            for outcome in [
                file.write_at(b"x", 0).map(drop),
                file.write_at(b"x", 6).map(drop),
                file.set_len(0),
                file.set_len(7),
                rustix::fs::fallocate(file, hole, 0, 4096).map_err(io::Error::from),
                rustix::fs::fcntl_add_seals(file, SealFlags::WRITE).map_err(io::Error::from),
            ] {
                assert_eq!(outcome.unwrap_err().kind(), ErrorKind::PermissionDenied);
            }
        }
        assert_eq!(std::fs::read(format!("/proc/self/fd/{}", memory.as_raw_fd())).unwrap(), b"proven");
    }

    #[test]
    fn pages_that_somebody_holds_keep_nothing_from_being_sealed() {
        let mut memory = File::from(rustix::fs::memfd_create("test", MemfdFlags::ALLOW_SEALING).unwrap());
        memory.write_all(&[7; 4096]).unwrap();
        // A pipe takes the page itself, and holds it until it is read.
        let (_reader, writer) = pipe().unwrap();
        assert_eq!(splice(&memory, Some(&mut 0), &writer, None, 4096, SpliceFlags::empty()).unwrap(), 4096);
        seal(&memory).unwrap();
    }
}
