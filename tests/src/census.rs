//! The resources of a process as the kernel counts them: memory, threads, files and child processes.

use std::{fs, path::Path};

/// The resources of a process at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Memory that belongs to no file, in KiB.
    pub memory_kib: u64,
    /// Threads.
    pub threads: u64,
    /// Open descriptors.
    pub files: u64,
    /// Child processes that it has not waited for.
    pub children: u64,
}

impl Census {
    /// Counts the process with this number.
    ///
    /// # Panics
    /// When it is not running.
    pub fn of(process: u32) -> Self {
        let folder = format!("/proc/{process}");
        let status = fs::read_to_string(format!("{folder}/status")).unwrap_or_else(|fault| panic!("{folder}: {fault}"));
        let value = |name: &str| {
            let text = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let number = text.and_then(|text| text.split_whitespace().next()?.parse().ok());
            number.unwrap_or_else(|| panic!("{name} is not in {status}"))
        };
        let files = fs::read_dir(format!("{folder}/fd")).unwrap_or_else(|fault| panic!("{folder}/fd: {fault}")).count();
        Self {
            memory_kib: value("RssAnon"),
            threads: value("Threads"),
            files: files as u64,
            children: children_of(process),
        }
    }
}

fn children_of(process: u32) -> u64 {
    let all = fs::read_dir("/proc").expect("Linux has /proc");
    let parents = all.filter_map(|entry| parent_of(&entry.ok()?.path()));
    parents.filter(|parent| *parent == process).count() as u64
}

/// The parent's number. `None` if this is not a process, or it has ended.
fn parent_of(folder: &Path) -> Option<u32> {
    let stat = fs::read_to_string(folder.join("stat")).ok()?;
    // The fields after the name, which may contain anything: state, parent.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
