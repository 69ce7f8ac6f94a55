//! Trying a plugin in a process of its own: whatever its constructors and its `new` do, they do it there first.
//!
//! The process is this very program, started again with a hidden argument, with an empty environment and the bytes in a
//! sealed memory file, so that what is tried cannot be changed any more.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::File,
    io::{self, Read, Write},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use plugin_abi::{
    export::InfoRecord,
    host::{CallContext, CallFault, HostCalls, HostSide, WebhookParts, extract_metadata},
    http::{Request, Response},
    types::{KeyForm, LogLevel},
    {PluginError, time::OffsetDateTime},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{MemfdFlags, SealFlags},
    process::{Pid, PidfdFlags},
};
use serde::{Deserialize, Serialize};

use super::{
    confine::{self, Level},
    loader::LoadedLibrary,
    refusal::{Code, Refusal},
};

/// The hidden argument.
const ARGUMENT: &str = "__probe";
/// How long a plugin may take to be opened, made, called twice and dropped.
const TIME_MAX: Duration = Duration::from_secs(5);
/// Most bytes of a report that are kept: its end, where the verdict stands with its details.
const REPORT_BYTES_MAX: usize = 512 << 10;

/// Starts probe processes. Used from one long-lived thread, the plugin manager's.
#[derive(Clone, Debug)]
pub struct Prober {
    program: PathBuf,
    time_max: Duration,
}

impl Default for Prober {
    /// With this very program, also when its file has been replaced since.
    fn default() -> Self {
        Self { program: PathBuf::from("/proc/self/exe"), time_max: TIME_MAX }
    }
}

impl Prober {
    /// With another program that calls [`run_if_asked`], and another time limit: for tests.
    pub fn with_program(program: impl Into<PathBuf>, time_max: Duration) -> Self {
        Self { program: program.into(), time_max }
    }

    /// Tries these bytes. `info` is what their note says. Gives the walls that the process was shut in by.
    ///
    /// # Errors
    /// What was wrong, with the signal when the process died of one.
    pub fn probe(&self, bytes: &[u8], info: &InfoRecord) -> Result<Level, Refusal> {
        let failed = |fault: io::Error| Refusal::new(Code::ProbeFailed, format!("its process: {fault}"));
        let mut child = self.start(bytes).map_err(failed)?;
        // What the plugin itself wrote stands beside the report.
        let mut report = Vec::new();
        let ended = follow(&mut child, &mut report, self.time_max);
        if !matches!(ended, Ok(Some(_))) {
            child.kill().and_then(|()| child.wait()).map_err(failed)?;
        }
        let ended = ended.map_err(failed)?;
        let report = String::from_utf8_lossy(&report);
        let stage = report.lines().rev().find_map(|line| line.strip_prefix("stage ")).unwrap_or("start");
        let Some(status) = ended else {
            let message = format!("it was still busy with {stage} after {} s", self.time_max.as_secs());
            return Err(Refusal::new(Code::ProbeTimeout, message));
        };
        if let Some(signal) = status.signal() {
            return Err(Refusal::new(Code::ProbeCrashed, format!("{stage} died of {}", signal_name(signal))));
        }
        let verdict = report.lines().rev().find_map(|line| serde_json::from_str::<Report>(line).ok());
        let Some(verdict) = verdict.filter(|_| status.success()) else {
            let message = format!("{stage} ended the process with {status}");
            return Err(Refusal::new(Code::ProbeCrashed, message));
        };
        match verdict {
            Report::Refused(refusal) => Err(refusal),
            Report::Sound { info: module, level } => {
                let module = serde_json::from_str::<InfoRecord>(&module).ok();
                if module.as_ref() == Some(info) {
                    Ok(level)
                } else {
                    Err(Refusal::new(Code::InfoMismatch, "its module and its note describe two different plugins"))
                }
            }
        }
    }

    fn start(&self, bytes: &[u8]) -> io::Result<Child> {
        let memory = rustix::fs::memfd_create("plugin", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        let mut memory = File::from(memory);
        memory.write_all(bytes)?;
        rustix::fs::fcntl_add_seals(&memory, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
        Command::new(&self.program)
            .args([ARGUMENT, &std::process::id().to_string()])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::from(memory))
            .stderr(Stdio::piped())
            .spawn()
    }
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

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Report {
    Sound { info: String, level: Level },
    Refused(Refusal),
}

/// Proof that this process exists to try a plugin and for nothing else.
pub struct ProbeProcess(());

/// Becomes a probe when this process was started as one: to be called first thing in `main`, before any runtime starts.
pub fn run_if_asked() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().as_deref() != Some(OsStr::new(ARGUMENT)) {
        return None;
    }
    let parent = arguments.next().and_then(|parent| parent.to_str()?.parse().ok()).unwrap_or(0);
    let report = attempt(&ProbeProcess(()), parent).unwrap_or_else(Report::Refused);
    let told = serde_json::to_string(&report).map_err(io::Error::other).and_then(|line| tell(&line));
    Some(if told.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn attempt(here: &ProbeProcess, parent: u32) -> Result<Report, Refusal> {
    let unconfined =
        |fault: io::Error| Refusal::new(Code::ProbeFailed, format!("its process could not be confined: {fault}"));
    stage("confining the process");
    let mut tasks = confine::Tasks::open().map_err(unconfined)?;
    let level = confine::enter(parent, TIME_MAX).map_err(unconfined)?;
    stage("opening the library");
    let library = LoadedLibrary::open_in_probe(here, Path::new("/proc/self/fd/1"))?;
    confine::tighten(level).map_err(unconfined)?;
    let info = library.info().to_owned();
    stage("new");
    let plugin =
        library.create(Box::new(HostSide(NoServices)), env!("CARGO_PKG_VERSION"), 0).map_err(|(_, refusal)| refusal)?;
    stage("extract_metadata");
    for body in [&b""[..], b"\xff{\"no\":[sense"] {
        extract(&plugin, body)?;
    }
    stage("dropping the plugin");
    let (library, _host, fault) = plugin.destroy();
    if let Some(CallFault::Plugin(error)) = fault {
        return Err(Refusal::new(Code::InitPanic, format!("while it was dropped: {error}")));
    }
    stage("counting threads");
    let others = tasks.count().map_err(unconfined)?.saturating_sub(1);
    if others > 0 {
        return Err(Refusal::new(Code::Threads, format!("{others} of them still ran after it was dropped")));
    }
    stage("closing the library");
    library.close().map_err(|fault| Refusal::new(Code::Load, fault))?;
    stage("the end");
    Ok(Report::Sound { info, level })
}

/// Any error is an answer; a panic or a reply against the rules is not.
fn extract(plugin: &super::loader::LoadedPlugin<NoServices>, body: &[u8]) -> Result<(), Refusal> {
    let now = OffsetDateTime::now_utc();
    let context = CallContext {
        tenant_id: "probe",
        base_url: "https://probe.invalid",
        settings: &BTreeMap::new(),
        attempt: 0,
        idempotency_key: None,
        deadline: now + TIME_MAX,
        replay_window: Duration::from_secs(300),
    };
    let webhook = WebhookParts {
        method: "POST",
        path: "/webhooks/probe",
        query: "",
        headers: std::iter::empty,
        body,
        received_at: now,
    };
    let answer =
        context.with_webhook(&webhook, |request| extract_metadata(plugin.instance(), plugin.host(), 0, request));
    match answer {
        Ok(_) => Ok(()),
        Err(CallFault::Plugin(error @ PluginError::Panicked { .. })) => {
            Err(Refusal::new(Code::InitPanic, format!("extract_metadata with a body of {} bytes: {error}", body.len())))
        }
        Err(CallFault::Plugin(_)) => Ok(()),
        Err(CallFault::InvalidReply(reason)) => Err(Refusal::new(Code::Layout, format!("extract_metadata: {reason}"))),
    }
}

fn stage(name: &str) {
    // Without its report the process has no purpose; what follows will say that the pipe is broken.
    let _told = tell(&format!("stage {name}"));
}

fn tell(line: &str) -> io::Result<()> {
    // In one piece, and on a line of its own: what the plugin writes must stand neither in the middle of it nor before it.
    io::stderr().lock().write_all(format!("\n{line}\n").as_bytes())
}

/// A probe has no tenants, no network and no log.
struct NoServices;

impl NoServices {
    fn nothing<T>() -> Result<T, PluginError> {
        Err(PluginError::Configuration("not available while a plugin is tried".to_owned()))
    }
}

impl HostCalls for NoServices {
    fn log(&self, _call: u64, _level: LogLevel, _text: &str) {}

    fn now(&self, _call: u64) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }

    fn verify_hmac_sha256(&self, _: u64, _: &str, _: KeyForm, _: &[&[u8]], _: &[u8]) -> Result<bool, PluginError> {
        Self::nothing()
    }

    fn verify_secret(&self, _call: u64, _secret: &str, _presented: &[u8]) -> Result<bool, PluginError> {
        Self::nothing()
    }

    fn http(&self, _call: u64, _request: &Request) -> Result<Response, PluginError> {
        Self::nothing()
    }
}
