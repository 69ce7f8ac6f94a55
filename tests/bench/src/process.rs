//! A server under measurement in its own process: started until it is ready, observed in /proc, and ended.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// Clock ticks in a second of `/proc/<pid>/stat`; the same on every Linux.
const TICKS_PER_S: f64 = 100.0;

/// A running server. It is killed when this is dropped.
pub(crate) struct Server {
    child: Child,
    ready: String,
    took: Duration,
}

/// Memory of a process in KiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// All resident memory, including shared pages of files.
    pub(crate) resident_kib: u64,
    /// Memory that belongs to the process alone: heap and stacks.
    pub(crate) anonymous_kib: u64,
}

impl Server {
    /// Starts a program with its own environment and waits for the line on its standard error that begins with `<name>
    /// ready `. Later output goes to our own standard error.
    ///
    /// # Errors
    /// When it cannot be started, or ends before that line; with its output.
    pub(crate) fn start(name: &str, command: &mut Command) -> anyhow::Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path).stdin(Stdio::null()).stderr(Stdio::piped());
        let started = Instant::now();
        let mut child = command.spawn().with_context(|| format!("{name} cannot be started"))?;
        let mut lines = BufReader::new(child.stderr.take().context("standard error is a pipe")?).lines();
        let mut said = Vec::new();
        for line in &mut lines {
            let line = line?;
            if let Some(ready) = line.strip_prefix(name).and_then(|line| line.strip_prefix(" ready ")) {
                let (ready, took) = (ready.to_owned(), started.elapsed());
                thread::spawn(move || lines.map_while(Result::ok).for_each(|line| eprintln!("  {line}")));
                return Ok(Self { child, ready, took });
            }
            said.push(line);
        }
        bail!("{name} ended with {} before it was ready:\n{}", child.wait()?, said.join("\n"))
    }

    /// The value of `key=value` in the ready line.
    ///
    /// # Errors
    /// When it is not there.
    pub(crate) fn address(&self, key: &str) -> anyhow::Result<&str> {
        let mut words = self.ready.split_whitespace();
        let value = words.find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        value.with_context(|| format!("no {key} in {:?}", self.ready))
    }

    /// Time from its start until it was ready.
    pub(crate) fn took(&self) -> Duration {
        self.took
    }

    /// Processor time used so far, in user and kernel mode.
    ///
    /// # Errors
    /// When /proc does not show it.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name in parentheses may contain spaces. The fields after it are numbered from 3; utime and stime are 14
        // and 15.
        let (_, fields) = stat.rsplit_once(')').context("stat has a name in parentheses")?;
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u32>).sum::<Result<u32, _>>()?;
        Ok(Duration::from_secs_f64(f64::from(ticks) / TICKS_PER_S))
    }

    /// Its memory now.
    ///
    /// # Errors
    /// When /proc does not show it.
    pub(crate) fn memory(&self) -> anyhow::Result<Memory> {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id()))?;
        let kib = |name: &str| -> anyhow::Result<u64> {
            let line = rollup.lines().find_map(|line| line.strip_prefix(name));
            Ok(line.and_then(|line| line.split_whitespace().next()).context("smaps_rollup has it")?.parse()?)
        };
        Ok(Memory { resident_kib: kib("Rss:")?, anonymous_kib: kib("Anonymous:")? })
    }

    /// Asks it to end and waits until it has.
    ///
    /// # Errors
    /// When it ends with a failure.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("a process has a number")?;
        kill_process(pid, Signal::TERM)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "a server ended with {status}");
        Ok(())
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(self) {
        drop(self);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only for a process that has ended and been waited for.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> anyhow::Result<Server> {
        Server::start("shop", Command::new("sh").args(["-c", script]))
    }

    #[test]
    fn a_server_is_ready_when_it_says_so() {
        let server = shell("echo hello >&2; echo 'shop ready at=http://x n=1' >&2; exec sleep 100").unwrap();
        assert_eq!(server.address("at").unwrap(), "http://x");
        assert!(server.address("metrics").is_err());
        assert!(server.cpu().unwrap() < Duration::from_secs(1));
        let memory = server.memory().unwrap();
        assert!(0 < memory.anonymous_kib && memory.anonymous_kib <= memory.resident_kib, "{memory:?}");
    }

    #[test]
    fn one_that_ends_is_shown_with_what_it_said() {
        let fault = shell("echo no room >&2; exit 3").err().unwrap().to_string();
        assert!(fault.contains("no room") && fault.contains('3'), "{fault}");
    }
}
