//! What a case works with in its process: the library, instances of the plugin, and the process's own memory.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _},
    os::{fd::AsRawFd as _, unix::fs::FileExt as _},
    path::{Path, PathBuf},
    thread,
};

use super::{
    given::Given,
    subject::{Checked, Subject},
};
use crate::plugin::{
    confine::{self, Level},
    probe::ProbeProcess,
    trial,
};

/// The name of both copies in the kernel's list of mappings.
const MAPPED_AS: &str = "/memfd:plugin";

/// What a case can work with.
pub(super) struct Workshop<'a> {
    pub(super) here: &'a ProbeProcess,
    pub(super) given: Given,
    second_copy: File,
    memory: (File, &'static str),
    maps: File,
}

impl<'a> Workshop<'a> {
    /// The workshop of this process, with what it can no longer open once it is confined.
    pub(super) fn open(here: &'a ProbeProcess, given: Given) -> io::Result<Self> {
        let library = std::fs::read(trial::LIBRARY)?;
        let second_copy = trial::sealed("plugin", &library)?;
        Ok(Self { here, given, second_copy, memory: memory()?, maps: File::open("/proc/self/maps")? })
    }
    /// Creates the plugin, then allows nothing but computation, and drops it at the end.
    pub(super) fn with_subject<T>(&self, level: Level, run: impl FnOnce(&Subject) -> Checked<T>) -> Checked<T> {
        let subject = self.first()?;
        confine::tighten(level).map_err(|fault| format!("its process could not be confined: {fault}"))?;
        let tried = run(&subject)?;
        subject.end()?;
        Ok(tried)
    }

    /// Opens the library and creates the plugin.
    pub(super) fn first(&self) -> Checked<Subject> {
        Subject::open(self.here, Path::new(trial::LIBRARY), &self.given)
    }

    /// Opens and creates it once more, from a file of its own, as every generation has one.
    pub(super) fn second(&self) -> Checked<Subject> {
        let path = PathBuf::from(format!("/proc/self/fd/{}", self.second_copy.as_raw_fd()));
        Subject::open(self.here, &path, &self.given)
    }

    /// Runs plugin code on a thread of its own, as on a lane: its thread-locals go with the thread.
    pub(super) fn on_a_thread<T: Send>(&self, run: impl FnOnce(&Self) -> Checked<T> + Send) -> Checked<T> {
        thread::scope(|scope| {
            let thread = thread::Builder::new().spawn_scoped(scope, || run(self));
            let thread = thread.map_err(|fault| format!("no thread could be started: {fault}"))?;
            thread.join().unwrap_or_else(|_| Err("the case itself failed; this is a bug in Patchbay".to_owned()))
        })
    }

    /// Memory that the process itself has filled, in KiB. Cached files do not count, because the kernel decides about
    /// them.
    pub(super) fn memory_kib(&self) -> Checked<u64> {
        let (file, line) = &self.memory;
        let mut text = [0; 4096];
        let bytes = file.read_at(&mut text, 0).map_err(|fault| format!("the kernel's account of memory: {fault}"))?;
        let text = String::from_utf8_lossy(&text[..bytes]);
        let kib = text.lines().find_map(|text| text.strip_prefix(line)?.split_whitespace().next()?.parse().ok());
        kib.ok_or_else(|| format!("the kernel's account of memory has no line {line}"))
    }

    /// Whether any part of the plugin is mapped.
    pub(super) fn is_mapped(&mut self) -> Checked<bool> {
        let mut maps = String::new();
        let read = self.maps.rewind().and_then(|()| self.maps.read_to_string(&mut maps));
        read.map_err(|fault| format!("/proc/self/maps: {fault}"))?;
        Ok(maps.contains(MAPPED_AS))
    }
}

/// Where the kernel reports a process's own memory, and in which line. The first file counts pages; the second, for
/// kernels without it, may lag behind a little for each processor.
fn memory() -> io::Result<(File, &'static str)> {
    let exact = File::open("/proc/self/smaps_rollup").map(|file| (file, "Anonymous:"));
    exact.or_else(|_| Ok((File::open("/proc/self/status")?, "RssAnon:")))
}
