//! Copies of what has served, in the state folder: to go back to, and to serve when the folder's file has gone bad.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use crate::plugin::{
    artifact::{Sha256Sum, VerifiedArtifact},
    folders, signature,
};

/// The folder of copies, each named by its digest.
#[derive(Debug)]
pub(super) struct KeptCopies(PathBuf);

impl KeptCopies {
    /// Makes the folder if there is none.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn open(folder: PathBuf) -> io::Result<Self> {
        folders::make_private(&folder)?;
        Ok(Self(folder))
    }

    /// Where the copy with this digest is, or would be.
    pub(super) fn path(&self, sha256: Sha256Sum) -> PathBuf {
        self.0.join(format!("{sha256}.so"))
    }

    /// Whether there is a copy. What it holds is proven anew before it is mapped.
    pub(super) fn holds(&self, sha256: Sha256Sum) -> bool {
        self.path(sha256).is_file()
    }

    /// Keeps a copy of an artifact with its signature, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn keep(&self, artifact: &VerifiedArtifact) -> io::Result<()> {
        let path = self.path(artifact.sha256());
        if let Some(minisig) = artifact.minisig() {
            self.put(&signature::beside(&path), |draft| fs::write(draft, minisig))?;
        }
        if !self.holds(artifact.sha256()) {
            self.put(&path, |draft| fs::copy(artifact.opened_from(), draft).map(drop))?;
        }
        Ok(())
    }

    fn put(&self, path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
        let draft = self.0.join(".new");
        // A private copy is read-only; so is its copy, and could not be written a second time.
        let _absent = fs::remove_file(&draft);
        write(&draft)?;
        File::open(&draft)?.sync_all()?;
        fs::rename(&draft, path)?;
        File::open(&self.0)?.sync_all()
    }

    /// Removes all copies but these.
    ///
    /// # Errors
    /// When the folder cannot be read or a file not be removed.
    pub(super) fn retain(&self, kept: &BTreeSet<Sha256Sum>) -> io::Result<()> {
        let files = kept.iter().map(|sha256| self.path(*sha256));
        let kept: BTreeSet<_> = files.flat_map(|path| [signature::beside(&path), path]).collect();
        for entry in fs::read_dir(&self.0)? {
            let path = entry?.path();
            if !kept.contains(&path) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}
