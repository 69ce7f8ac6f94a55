//! Which bytes are being tried: noted on disk before their probe starts, so that a start after a host that died of it
//! knows them.

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};

/// What is tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    /// The file that the bytes were read from.
    pub path: PathBuf,
    /// Digest of the bytes.
    pub sha256: String,
    /// As the file's note says.
    pub tool_type: String,
    /// As above.
    pub version: String,
}

/// The note on disk. One probe runs at a time, so there is one note at most.
#[derive(Debug)]
pub struct OnTrial {
    folder: PathBuf,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Notes,
    /// The host ends in order: what ends a probe from now on is no plugin's doing.
    Ends,
}

impl OnTrial {
    /// In this folder, which only the host can write.
    pub fn in_folder(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), state: Mutex::new(State::Notes) }
    }

    /// What an earlier host was trying when it ended without order. What cannot be understood is told in the log and forgotten.
    ///
    /// # Errors
    /// When the note is there and cannot be read.
    pub fn left_behind(&self) -> io::Result<Option<Tried>> {
        let bytes = match fs::read(self.path()) {
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read?,
        };
        serde_json::from_slice(&bytes).map(Some).or_else(|fault| {
            tracing::warn!(path = %self.path().display(), "what an earlier host was trying cannot be read: {fault}");
            self.forget()?;
            Ok(None)
        })
    }

    /// Notes what is tried, on disk before this returns, until the guard is dropped.
    ///
    /// # Errors
    /// When it cannot be written; then nothing is noted.
    pub fn note(&self, tried: &Tried) -> io::Result<Noted<'_>> {
        let state = self.lock();
        if *state == State::Notes {
            let mut draft = tempfile::NamedTempFile::new_in(&self.folder)?;
            serde_json::to_writer(&mut draft, tried)?;
            draft.flush()?;
            draft.as_file().sync_all()?;
            draft.persist(self.path())?;
            self.sync()?;
        }
        Ok(Noted(self))
    }

    /// Forgets what is tried, and notes no more: the host ends in order, whatever a probe is doing.
    pub fn end(&self) {
        *self.lock() = State::Ends;
        self.forget_or_warn();
    }

    /// Forgets what an earlier host was trying.
    ///
    /// # Errors
    /// When the note stays.
    pub fn forget(&self) -> io::Result<()> {
        match fs::remove_file(self.path()) {
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(()),
            // A machine that fails a moment later must not bring the note back.
            removed => removed.and_then(|()| self.sync()),
        }
    }

    fn forget_or_warn(&self) {
        if let Err(fault) = self.forget() {
            let path = self.path();
            tracing::warn!(path = %path.display(), "the file stays behind, and the next start blames the plugin that it names; delete it: {fault}");
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.join("on-trial.json")
    }

    fn sync(&self) -> io::Result<()> {
        fs::File::open(&self.folder)?.sync_all()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A note that is there while its probe runs.
#[derive(Debug)]
pub struct Noted<'a>(&'a OnTrial);

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        self.0.forget_or_warn();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried() -> Tried {
        let text = str::to_owned;
        Tried { path: "plugins/lib.so".into(), sha256: text("ab"), tool_type: text("desk"), version: text("1.0.0") }
    }

    #[test]
    fn the_note_is_there_while_the_probe_runs() {
        let folder = tempfile::tempdir().unwrap();
        let (host, next) = (OnTrial::in_folder(folder.path()), OnTrial::in_folder(folder.path()));
        assert_eq!(next.left_behind().unwrap(), None);
        let noted = host.note(&tried()).unwrap();
        assert_eq!(next.left_behind().unwrap(), Some(tried()));
        drop(noted);
        assert_eq!(next.left_behind().unwrap(), None);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "no draft stays behind");
    }

    #[test]
    fn a_host_that_ends_in_order_leaves_no_note() {
        let folder = tempfile::tempdir().unwrap();
        let (host, next) = (OnTrial::in_folder(folder.path()), OnTrial::in_folder(folder.path()));
        let _runs = host.note(&tried()).unwrap();
        host.end();
        assert_eq!(next.left_behind().unwrap(), None);
        let _starts_late = host.note(&tried()).unwrap();
        assert_eq!(next.left_behind().unwrap(), None);
    }

    #[test]
    fn what_cannot_be_understood_blames_nobody_and_what_cannot_be_written_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let host = OnTrial::in_folder(folder.path());
        fs::write(host.path(), b"{").unwrap();
        assert_eq!(host.left_behind().unwrap(), None);
        assert!(!host.path().exists());
        assert!(OnTrial::in_folder(&folder.path().join("nowhere")).note(&tried()).is_err());
    }
}
