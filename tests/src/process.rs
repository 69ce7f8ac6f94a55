//! One run of the `patchbay` binary: its standard error, its addresses, its signals and its end.

use std::{
    ffi::OsString,
    fmt, fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Child, ChildStderr, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, getrlimit, kill_process, prlimit, waitid};

use crate::{
    artifacts::Artifact,
    surroundings::Surroundings,
    wait::{WAIT_MAX, wait_until},
};

/// Maximum time for a host to end; its own drain takes at most 30 s.
const END_TIME_MAX: Duration = Duration::from_secs(45);
const READY: &str = "patchbay ready ";

/// A running host. It is killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: Log,
    reader: Option<JoinHandle<()>>,
    pub(crate) addresses: Addresses,
}

/// The addresses in the ready line.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    pub(crate) webhooks: SocketAddr,
    pub(crate) metrics: SocketAddr,
    /// The line as printed.
    pub(crate) line: String,
}

/// A run of the binary that has ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Everything on standard error.
    pub log: String,
    /// Whether the system dumped a core.
    pub left_a_core: bool,
}

/// What a process has written to standard error so far. It is cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<(Mutex<Written>, Condvar)>);

#[derive(Default)]
struct Written {
    text: String,
    ended: bool,
}

impl Process {
    /// Starts `patchbay` with these arguments in `folder`. Returns when it is ready, or has ended before that.
    pub(crate) fn start(
        folder: &Path,
        args: &[&str],
        environment: &[(String, OsString)],
        surroundings: &Surroundings,
    ) -> Result<Self, Ended> {
        let mut command = surroundings.command(&Artifact::PATCHBAY.path());
        command
            .args(args)
            .current_dir(folder)
            // Clears the environment, so that nothing in it counts as configuration.
            .env_clear()
            .env("RUST_BACKTRACE", "1")
            .envs(environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = surroundings.spawn(&mut command).expect("the host's binary runs");
        let log = Log::default();
        let reader = thread::spawn({
            let (log, stderr) = (log.clone(), child.stderr.take().expect("it is piped"));
            move || log.follow(stderr)
        });
        let ready = log.wait_for(WAIT_MAX, |text| {
            Some(text.split_inclusive('\n').find(|line| line.starts_with(READY) && line.ends_with('\n'))?.to_owned())
        });
        let mut process = Self { child, log, reader: Some(reader), addresses: Addresses::none() };
        match ready {
            Some(line) => {
                process.addresses = Addresses::read(&line);
                Ok(process)
            }
            None => Err(process.end()),
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send_signal(self.id(), signal);
    }

    pub(crate) fn limit_files(&self, bytes_max: Option<u64>) {
        let maximum = getrlimit(Resource::Fsize).maximum;
        let limit = Rlimit { current: bytes_max.or(maximum), maximum };
        prlimit(Some(pid(self.id())), Resource::Fsize, limit).expect("the child is ours");
    }

    /// Allows it to leave a core, as far as its hard limit allows.
    pub(crate) fn allow_core(&self) {
        let maximum = getrlimit(Resource::Core).maximum;
        prlimit(Some(pid(self.id())), Resource::Core, Rlimit { current: maximum, maximum }).expect("the child is ours");
    }

    /// Waits until the process has ended, without a time limit. Its number stays reserved until [`end`](Self::end).
    pub(crate) fn wait(&self) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(pid(self.id())), options).expect("the child is ours");
    }

    /// Waits until the process has ended and all of its output has been read.
    pub(crate) fn end(mut self) -> Ended {
        let status = wait_until(&format!("the end of the host\n{}", self.log.text()), END_TIME_MAX, || {
            self.child.try_wait().expect("the child is ours")
        });
        self.reader.take().into_iter().for_each(|reader| reader.join().expect("reading a pipe does not panic"));
        Ended { code: status.code(), log: self.log.text(), left_a_core: status.core_dumped() }
    }

    /// A line of `/proc/<id>/status` in KiB, such as `RssAnon`.
    pub(crate) fn status_kib(&self, name: &str) -> u64 {
        let status = self.proc_file("status");
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib = value.and_then(|value| value.split_whitespace().next()?.parse().ok());
        kib.unwrap_or_else(|| panic!("{name} is not in {status}"))
    }

    /// Resets the peak that `VmHWM` shows.
    pub(crate) fn forget_peak(&self) {
        let path = format!("/proc/{}/clear_refs", self.id());
        fs::write(&path, "5").unwrap_or_else(|fault| panic!("{path}: {fault}"));
    }

    pub(crate) fn proc_file(&self, name: &str) -> String {
        let path = format!("/proc/{}/{name}", self.id());
        fs::read_to_string(&path).unwrap_or_else(|fault| panic!("{path}: {fault}\n{}", self.log.text()))
    }
}

fn pid(id: u32) -> Pid {
    i32::try_from(id).ok().and_then(Pid::from_raw).expect("a process id is a positive int")
}

/// Sends a signal to a child that has not been waited for.
pub(crate) fn send_signal(id: u32, signal: Signal) {
    kill_process(pid(id), signal).expect("the child has not been waited for");
}

impl Drop for Process {
    fn drop(&mut self) {
        // The process has ended already, or does now.
        let _ended = self.child.kill();
        let _waited = self.child.wait();
        if thread::panicking() && self.reader.is_some() {
            eprintln!("--- what the host wrote ---\n{}--- end ---", self.log.text());
        }
    }
}

impl Addresses {
    fn none() -> Self {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { webhooks: nowhere, metrics: nowhere, line: String::new() }
    }

    fn read(line: &str) -> Self {
        let value = |name: &str| line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        let address = |name| {
            let url = value(name).unwrap_or_else(|| panic!("no {name} in {line:?}"));
            let address = url.strip_prefix("http://").and_then(|address| address.parse().ok());
            address.unwrap_or_else(|| panic!("{name} is {url:?}"))
        };
        Self { webhooks: address("webhooks"), metrics: address("metrics"), line: line.trim().to_owned() }
    }
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Written> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn follow(&self, stderr: ChildStderr) {
        let mut lines = BufReader::new(stderr);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
            self.lock().text.push_str(&String::from_utf8_lossy(&line));
            self.0.1.notify_all();
            line.clear();
        }
        self.lock().ended = true;
        self.0.1.notify_all();
    }

    pub(crate) fn text(&self) -> String {
        self.lock().text.clone()
    }

    /// Waits until `look` finds something in the log. `None` if the log or the time ends before.
    pub(crate) fn wait_for<T>(&self, time_max: Duration, look: impl Fn(&str) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + time_max;
        let mut written = self.lock();
        loop {
            let seen = look(&written.text);
            let left = deadline.saturating_duration_since(Instant::now());
            if seen.is_some() || written.ended || left.is_zero() {
                return seen;
            }
            written = self.0.1.wait_timeout(written, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}
