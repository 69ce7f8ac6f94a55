//! A consistent copy of both files, taken through read-only connections while a host may be writing to them.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rusqlite::{
    Connection, OpenFlags,
    backup::{Backup, StepResult},
};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{HISTORY_FILE, connection::open_reader, error::StoreError, migrations::inspect};

/// Pages copied in one step: all of them, because a copy in several steps starts over whenever the host commits in
/// between.
const ALL_PAGES: i32 = -1;

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupReport {
    /// The copy of the history, beside the requested file.
    pub history: PathBuf,
    /// Total size of both copies.
    pub bytes: u64,
}

/// Why a backup failed. Existing files are unchanged, and no partial copy is left.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file of that name exists. Backups never replace a file.
    #[error("{} is there already; a backup replaces nothing, choose another name or move that file away", .0.display())]
    Exists(PathBuf),
    /// No host has ever run on this store.
    #[error("there is no database at {}; is this the right configuration?", .0.display())]
    NoStore(PathBuf),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The copy cannot be written.
    #[error("the backup {} cannot be written: {reason}", file.display())]
    Target {
        /// The file.
        file: PathBuf,
        /// The message of SQLite or the system.
        reason: String,
    },
}

/// Copies the store whose main file is `main` to `target`, and its history to `<target>-history`. A copy gets its name
/// once it is complete and on disk, `target` last. Blocks; accepting continues meanwhile.
///
/// The main file is copied first: a job that finishes between the two copies is in both, and a job that is in neither
/// was accepted later. A restored job may therefore have posted its note already, so each is marked to look for its
/// note before it posts.
pub fn back_up(main: &Path, target: &Path) -> Result<BackupReport, BackupError> {
    if !main.exists() {
        return Err(BackupError::NoStore(main.to_owned()));
    }
    let history = main.with_file_name(HISTORY_FILE);
    inspect(main, &history)?;
    let kept = [target.to_owned(), with_suffix(target, "-history")];
    let [main_copy, history_copy] = [Copy::begin(&kept[0])?, Copy::begin(&kept[1])?];
    main_copy.fill(main, mark_sent)?;
    history_copy.fill(&history, |_| Ok(()))?;
    let [_, history] = kept;
    let history_bytes = history_copy.finish()?;
    let main_bytes = main_copy.finish().inspect_err(|_| discard(&history))?;
    Ok(BackupReport { history, bytes: history_bytes + main_bytes })
}

fn mark_sent(copy: &Connection) -> rusqlite::Result<()> {
    // A host that has not been started since its update may still have a file from before the `jobs` table existed.
    if copy.table_exists(None::<&str>, "jobs")? {
        copy.execute("UPDATE jobs SET sent = 1 WHERE sent = 0", [])?;
        copy.execute("UPDATE dead_letters SET sent = 1 WHERE sent = 0", [])?;
    }
    Ok(())
}

/// An unfinished copy under a temporary name. Dropping it deletes the file.
struct Copy {
    partial: PathBuf,
    target: PathBuf,
}

impl Copy {
    fn begin(target: &Path) -> Result<Self, BackupError> {
        if target.symlink_metadata().is_ok() {
            return Err(BackupError::Exists(target.to_owned()));
        }
        let partial = with_suffix(target, ".partial");
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial) {
            Ok(_empty) => Ok(Self { partial, target: target.to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(BackupError::Exists(partial)),
            Err(error) => Err(failed(target, &error)),
        }
    }

    fn fill(&self, source: &Path, then: impl FnOnce(&Connection) -> rusqlite::Result<()>) -> Result<(), BackupError> {
        let from = open_reader(source)?;
        let write = || -> rusqlite::Result<StepResult> {
            let mut copy = Connection::open_with_flags(&self.partial, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            let step = Backup::new(&from, &mut copy)?.step(ALL_PAGES)?;
            if step == StepResult::Done {
                // A single file without a log, so that it can be moved around.
                copy.pragma_update(None, "journal_mode", "DELETE")?;
                then(&copy)?;
            }
            Ok(step)
        };
        match write() {
            Ok(StepResult::Done) => Ok(()),
            Ok(step) => Err(failed(&self.target, &format_args!("{} is {step:?}; try again", source.display()))),
            Err(error) => Err(failed(&self.target, &error)),
        }
    }

    /// Gives the copy its final name once it is on disk. Returns its length.
    fn finish(&self) -> Result<u64, BackupError> {
        let place = || -> io::Result<u64> {
            let file = File::open(&self.partial)?;
            file.sync_all()?;
            renameat_with(CWD, &self.partial, CWD, &self.target, RenameFlags::NOREPLACE)?;
            let folder = self.target.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
            Ok(file.metadata()?.len())
        };
        place().map_err(|error| failed(&self.target, &error))
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        discard(&self.partial);
    }
}

fn discard(file: &Path) {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(file = %file.display(), "half a backup stays behind: {error}");
        }
        _ => {}
    }
}

fn failed(target: &Path, error: &dyn std::fmt::Display) -> BackupError {
    BackupError::Target { file: target.to_owned(), reason: error.to_string() }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests;
