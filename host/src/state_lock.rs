//! One host in a state folder at a time, and what the lock's file tells the next one of how this one ended.

use std::{
    fs,
    io::{Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context as _, bail};

/// What is written behind the rest once the host has been asked to end.
const ASKED: &str = "asked to end";
/// Another one after each start of the machine.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Holds the lock until it is dropped.
#[derive(Debug)]
pub struct StateLock {
    file: Mutex<fs::File>,
    before: Before,
}

/// What became of the host before this one, as far as its lock tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// There was none, somebody asked it to end, in whatever way it ended then, or it ended with the machine.
    Explained,
    /// It was cut off: by a fault, by the kernel, or by somebody who did not ask.
    CutOff,
}

impl StateLock {
    /// Makes the state folder if need be, and takes its lock.
    ///
    /// # Errors
    /// When another host has it, or the folder cannot be written.
    pub fn take(folder: &Path) -> anyhow::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .with_context(|| format!("state_dir {} cannot be made", folder.display()))?;
        let path = folder.join("lock");
        let mut file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("{} cannot be opened", path.display()))?;
        let is_free = match file.try_lock() {
            Ok(()) => true,
            Err(fs::TryLockError::WouldBlock) => false,
            Err(fs::TryLockError::Error(fault)) => {
                return Err(fault).with_context(|| format!("{} cannot be locked", path.display()));
            }
        };
        let mut written = String::new();
        file.read_to_string(&mut written).with_context(|| format!("{} cannot be read", path.display()))?;
        if !is_free {
            let holder = written.split_whitespace().next().unwrap_or("unknown");
            bail!(
                "the state folder {} is in use by the host with process id {holder}; stop that one, or give this one another state_dir",
                folder.display()
            );
        }
        // Where the system does not tell, all starts are one.
        let boot_id = fs::read_to_string(BOOT_ID).unwrap_or_default();
        let before = before(&written, boot_id.trim());
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}\n{}", std::process::id(), boot_id.trim())?;
        Ok(Self { file: Mutex::new(file), before })
    }

    /// What became of the host before this one.
    pub fn before(&self) -> Before {
        self.before
    }

    /// Notes that somebody has asked this host to end: what cuts it off from now on is none of its faults.
    pub fn asked_to_end(&self) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(fault) = writeln!(file, "{ASKED}") {
            tracing::warn!("it cannot be noted that the host was asked to end: {fault}");
        }
    }
}

fn before(written: &str, boot_id: &str) -> Before {
    let mut lines = written.lines().skip(1);
    match (lines.next(), lines.next()) {
        (Some(before), None) if before == boot_id => Before::CutOff,
        // Of a program that wrote no more than its process id, nothing is known but that.
        (None, None) if !written.is_empty() => Before::CutOff,
        _ => Before::Explained,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_host_knows_whether_this_one_was_asked_to_end() {
        let folder = tempfile::tempdir().unwrap();
        let lock = StateLock::take(folder.path()).unwrap();
        assert_eq!(lock.before(), Before::Explained, "there was none");
        let message = StateLock::take(folder.path()).unwrap_err().to_string();
        assert!(message.contains(&std::process::id().to_string()), "{message}");
        drop(lock);
        let lock = StateLock::take(folder.path()).unwrap();
        assert_eq!(lock.before(), Before::CutOff);
        lock.asked_to_end();
        drop(lock);
        assert_eq!(StateLock::take(folder.path()).unwrap().before(), Before::Explained);
    }

    #[test]
    fn a_host_that_ended_with_its_machine_was_not_cut_off_by_itself() {
        for (written, expected) in [
            ("", Before::Explained),
            ("7\n", Before::CutOff),
            ("7\nboot-1\n", Before::CutOff),
            ("7\nboot-0\n", Before::Explained),
            ("7\nboot-1\nasked to end\n", Before::Explained),
        ] {
            assert_eq!(before(written, "boot-1"), expected, "{written:?}");
        }
    }
}
