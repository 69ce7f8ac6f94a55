//! From a file in the operator's folder to an artifact that may be mapped: read once, checked as bytes, tried in a
//! process of its own, and copied to where only the host writes.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use plugin_abi::export::InfoRecord;
use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};

use super::{
    confine::Level,
    elf,
    probe::Prober,
    refusal::{Code, Refusal},
    verdicts::Verdicts,
};
use crate::config;

/// Most bytes of a plugin's file.
pub const ARTIFACT_BYTES_MAX: u64 = 64 << 20;

/// SHA-256 of an artifact's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sha256Sum([u8; 32]);

impl Sha256Sum {
    /// Digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest itself.
    pub fn bytes(self) -> [u8; 32] {
        self.0
    }
}

impl fmt::Display for Sha256Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What tells two states of a file apart without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since the epoch.
    pub modified_ns: i128,
    inode: u64,
}

impl Stamp {
    /// How long ago the file was last written to; long ago for a time that is to come.
    pub fn age(&self) -> Duration {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let age = i128::try_from(now).unwrap_or(i128::MAX) - self.modified_ns;
        // A clock that was set back must not make a file young for ever.
        u64::try_from(age).map_or(Duration::MAX, Duration::from_nanos)
    }

    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            size: metadata.size(),
            modified_ns: i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec()),
            inode: metadata.ino(),
        }
    }
}

impl Stamp {
    #[cfg(test)]
    pub(super) fn for_test(modified_ns: i128) -> Self {
        Self { size: 1, modified_ns, inode: 1 }
    }
}

/// The state of the file at this path, when it can be seen.
pub fn stamp_of(path: &Path) -> Option<Stamp> {
    fs::metadata(path).ok().map(|metadata| Stamp::of(&metadata))
}

/// A file whose bytes have been read and pass every check that runs nothing.
pub struct InspectedArtifact {
    path: PathBuf,
    bytes: Vec<u8>,
    /// Digest of the bytes.
    pub sha256: Sha256Sum,
    /// The file's state when it was read.
    pub stamp: Stamp,
    /// What the note says.
    pub info: InfoRecord,
}

/// A file that could not become an [`InspectedArtifact`]; what is known of it all the same.
#[derive(Debug)]
pub struct Uninspected {
    /// Its digest, when it could be read.
    pub sha256: Option<Sha256Sum>,
    /// Its state, when it could be seen.
    pub stamp: Option<Stamp>,
    /// Why.
    pub refusal: Refusal,
}

/// Reads and checks a file. Never blocks on a pipe or device, never maps anything.
///
/// # Errors
/// [`Uninspected`] with the reason.
pub fn inspect(path: &Path) -> Result<InspectedArtifact, Box<Uninspected>> {
    let unread = |refusal| Box::new(Uninspected { sha256: None, stamp: None, refusal });
    let (bytes, stamp) = read(path).map_err(unread)?;
    let sha256 = Sha256Sum::of(&bytes);
    match elf::inspect(&bytes) {
        Ok(info) => Ok(InspectedArtifact { path: path.to_owned(), bytes, sha256, stamp, info }),
        Err(refusal) => Err(Box::new(Uninspected { sha256: Some(sha256), stamp: Some(stamp), refusal })),
    }
}

fn read(path: &Path) -> Result<(Vec<u8>, Stamp), Refusal> {
    let open = |fault: io::Error| Refusal::new(Code::Open, fault.to_string());
    // O_NONBLOCK: opening a pipe without a writer must not wait for one.
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).expect("open flags fit an int");
    let mut file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path).map_err(open)?;
    let before = file.metadata().map_err(open)?;
    if !before.is_file() {
        return Err(Refusal::new(Code::NotAFile, "it is a folder, pipe, socket or device"));
    }
    if before.len() > ARTIFACT_BYTES_MAX {
        let message = format!("it has {} bytes; at most {ARTIFACT_BYTES_MAX} are taken", before.len());
        return Err(Refusal::new(Code::TooLarge, message));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(before.len()).unwrap_or(0));
    (&mut file).take(ARTIFACT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(open)?;
    let (before, after) = (Stamp::of(&before), Stamp::of(&file.metadata().map_err(open)?));
    if before != after || bytes.len() as u64 != after.size {
        return Err(Refusal::new(Code::Unsettled, "its size or time changed while it was read"));
    }
    Ok((bytes, after))
}

/// A private copy of bytes that have been proven: the only thing that the loader takes.
#[derive(Debug)]
pub struct VerifiedArtifact {
    path: PathBuf,
    copy: PathBuf,
    sha256: Sha256Sum,
    info: InfoRecord,
    confinement: Level,
}

impl VerifiedArtifact {
    /// Which walls stood around the process that tried it.
    pub fn confinement(&self) -> Level {
        self.confinement
    }

    /// The private copy.
    pub fn copy(&self) -> &Path {
        &self.copy
    }

    /// The file in the operator's folder that it was copied from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Digest of the copy's bytes.
    pub fn sha256(&self) -> Sha256Sum {
        self.sha256
    }

    /// What the plugin says of itself.
    pub fn info(&self) -> &InfoRecord {
        &self.info
    }
}

impl InspectedArtifact {
    /// Tries the bytes in a process of their own and keeps nothing: for `plugin-ctl verify`.
    ///
    /// # Errors
    /// What the probe found.
    pub fn try_out(&self, prober: &Prober) -> Result<Level, Refusal> {
        prober.probe(&self.bytes, &self.info)
    }

    /// Looks who else could have written the file, tries the bytes in a process of their own unless they have passed
    /// there before, then writes the private copy of generation `number` into `folder`:
    /// a fresh file every time, since glibc knows a library again by its inode.
    ///
    /// # Errors
    /// What the probe found, or that the copy could not be written.
    pub fn verify(
        &self,
        permissions: config::Permissions,
        prober: &Prober,
        verdicts: &Verdicts,
        folder: &Path,
        number: u64,
    ) -> Result<VerifiedArtifact, Refusal> {
        super::permissions::check(&self.path, permissions)?;
        let confinement = match verdicts.of(self.sha256) {
            Some(level) => level,
            None => {
                let level = self.try_out(prober).map_err(Refusal::without_details)?;
                verdicts.keep(self.sha256, level);
                level
            }
        };
        let copy = folder.join(format!("{}-g{number}.so", self.sha256));
        write_copy(&copy, &self.bytes).map_err(|fault| {
            let _absent = fs::remove_file(&copy);
            Refusal::new(Code::Copy, format!("{}: {fault}", copy.display()))
        })?;
        let (path, info) = (self.path.clone(), self.info.clone());
        Ok(VerifiedArtifact { path, copy, sha256: self.sha256, info, confinement })
    }
}

fn write_copy(copy: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o500).open(copy)?;
    file.write_all(bytes)?;
    file.sync_all()
}
