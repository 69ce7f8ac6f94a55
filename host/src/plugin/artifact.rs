//! From a file in the operator's folder to an artifact that may be mapped: read once, checked as bytes, tried in a
//! process of its own, and copied to where only the host writes.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::{
        fd::AsRawFd as _,
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use plugin_abi::{declared::Declaration, export::InfoRecord};
use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};

use super::{
    confine::Level,
    elf::{self, Notes},
    glibc::Glibc,
    on_trial::Tried,
    permissions,
    probe::Prober,
    refusal::{Code, Refusal},
    signature::{self, Signature, Trust},
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

    /// Reads 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 2 * bytes.len() || !text.is_ascii() {
            return None;
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
        }
        Some(Self(bytes))
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
    /// As above; nobody can set this one back.
    changed_ns: i128,
    inode: u64,
}

impl Stamp {
    /// How long ago the file was last written to; long ago for a time that is to come.
    pub fn age(&self) -> Duration {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let age = i128::try_from(now).unwrap_or(i128::MAX) - self.modified_ns;
        // A clock that was set back must not make a file young forever.
        u64::try_from(age).map_or(Duration::MAX, Duration::from_nanos)
    }

    fn of(metadata: &fs::Metadata) -> Self {
        let ns = |seconds, ns| i128::from(seconds) * 1_000_000_000 + i128::from(ns);
        Self {
            size: metadata.size(),
            modified_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
        }
    }
}

impl Stamp {
    #[cfg(test)]
    pub(super) fn for_test(modified_ns: i128) -> Self {
        Self { size: 1, modified_ns, changed_ns: modified_ns, inode: 1 }
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
    /// The settings and secrets that the plugin declares; `None` when it declares nothing.
    pub declares: Option<Declaration>,
    /// What the signature beside the file is worth.
    pub signature: Signature,
    minisig: Option<Vec<u8>>,
    /// Whether a file with this signature may serve.
    pub trusted: Result<(), Refusal>,
}

/// A file that could not become an [`InspectedArtifact`]; what is known of it all the same.
#[derive(Debug)]
pub struct Uninspected {
    /// Its digest, when it could be read.
    pub sha256: Option<Sha256Sum>,
    /// Its state, when it could be seen.
    pub stamp: Option<Stamp>,
    /// What the signature beside it is worth, when it could be read.
    pub signature: Option<Signature>,
    /// Why.
    pub refusal: Refusal,
}

/// Reads and checks a file and the signature beside it. Never blocks on a pipe or device, never maps anything.
///
/// # Errors
/// [`Uninspected`] with the reason.
pub fn inspect(path: &Path, trust: &Trust) -> Result<InspectedArtifact, Box<Uninspected>> {
    let unread = |refusal| Box::new(Uninspected { sha256: None, stamp: None, signature: None, refusal });
    let (bytes, stamp) = read(path, ARTIFACT_BYTES_MAX).map_err(unread)?;
    let sha256 = Sha256Sum::of(&bytes);
    let minisig = signature::beside(path);
    let minisig = stamp_of(&minisig).map(|_| read(&minisig, signature::BYTES_MAX).map(|(bytes, _)| bytes));
    let signature = trust.judge(&bytes, minisig.as_ref().map(Result::as_deref));
    match elf::inspect(&bytes) {
        Ok(Notes { info, declares }) => {
            let trusted = trust.check(&signature, &info);
            Ok(InspectedArtifact {
                path: path.to_owned(),
                bytes,
                sha256,
                stamp,
                info,
                declares,
                signature,
                minisig: minisig.and_then(Result::ok),
                trusted,
            })
        }
        Err(refusal) => {
            // A file that was signed whole and is broken is above all not what the vendor made.
            let refusal = signature.check_unmodified().err().unwrap_or(refusal);
            let (sha256, stamp, signature) = (Some(sha256), Some(stamp), Some(signature));
            Err(Box::new(Uninspected { sha256, stamp, signature, refusal }))
        }
    }
}

fn read(path: &Path, bytes_max: u64) -> Result<(Vec<u8>, Stamp), Refusal> {
    let open = |fault: io::Error| Refusal::new(Code::Open, fault.to_string());
    // O_NONBLOCK: opening a pipe without a writer must not wait for one.
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).expect("open flags fit an int");
    let mut file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path).map_err(open)?;
    let before = file.metadata().map_err(open)?;
    if !before.is_file() {
        return Err(Refusal::new(Code::NotAFile, "it is a folder, pipe, socket or device"));
    }
    if before.len() > bytes_max {
        let message = format!("it has {} bytes; at most {bytes_max} are taken", before.len());
        return Err(Refusal::new(Code::TooLarge, message));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(before.len()).unwrap_or(0));
    (&mut file).take(bytes_max + 1).read_to_end(&mut bytes).map_err(open)?;
    let (before, after) = (Stamp::of(&before), Stamp::of(&file.metadata().map_err(open)?));
    if before != after || bytes.len() as u64 != after.size {
        return Err(Refusal::new(Code::Unsettled, "its size or time changed while it was read"));
    }
    Ok((bytes, after))
}

/// A private copy of bytes that have been proven: the only thing that the loader takes.
///
/// It holds the copy open for as long as it lives. Keep it while its library may be mapped: glibc knows a library again by
/// the path that it was opened from, and would give this one for the next file of the same number.
#[derive(Debug)]
pub struct VerifiedArtifact {
    copy: PathBuf,
    opened: Opened,
    sha256: Sha256Sum,
    info: InfoRecord,
    declares: Option<Declaration>,
    signature: Signature,
    minisig: Option<Vec<u8>>,
    confinement: Level,
}

impl VerifiedArtifact {
    /// Which walls stood around the process that tried it.
    pub fn confinement(&self) -> Level {
        self.confinement
    }

    /// The private copy, by its name.
    pub fn copy(&self) -> &Path {
        &self.copy
    }

    /// The private copy, by its descriptor: these are the bytes that were proven, whatever bears its name by now.
    pub fn opened_from(&self) -> &Path {
        &self.opened.path
    }

    /// Digest of the copy's bytes.
    pub fn sha256(&self) -> Sha256Sum {
        self.sha256
    }

    /// What the plugin says of itself.
    pub fn info(&self) -> &InfoRecord {
        &self.info
    }

    /// The settings and secrets that the plugin declares; `None` when it declares nothing.
    pub fn declares(&self) -> Option<&Declaration> {
        self.declares.as_ref()
    }

    /// The text of the signature that lay beside the file.
    pub fn minisig(&self) -> Option<&[u8]> {
        self.minisig.as_deref()
    }

    /// What the signature beside the file was worth when it was proven.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }
}

impl InspectedArtifact {
    /// The bytes that have been checked.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Tries the bytes in a process of their own and keeps nothing: for `plugin-ctl verify`.
    ///
    /// # Errors
    /// What the probe found.
    pub fn try_out(&self, prober: &Prober) -> Result<Level, Refusal> {
        prober.probe(&self.bytes, &self.info).map_err(|refusal| match (self.glibc_needed(), Glibc::here()) {
            // The dynamic linker says this too, but at the end of a sentence about something else.
            (Some(needed), Some(here)) if refusal.code == Code::Load && needed > here => {
                let reason = format!("it needs glibc {needed}, this machine has {here}: {}", refusal.reason);
                Refusal { reason, ..refusal }
            }
            _ => refusal,
        })
    }

    /// The oldest glibc with which it can be opened.
    pub fn glibc_needed(&self) -> Option<Glibc> {
        Glibc::needed_by(&self.bytes)
    }

    /// Looks who vouches for the file and who else could have written it or can write in `folder`, tries the bytes in a
    /// process of their own unless they have passed there before, which is noted on disk meanwhile, then writes the private
    /// copy of generation `number` into `folder`: a fresh file every time, since glibc knows a library again by its inode.
    ///
    /// # Errors
    /// What signature, permissions and probe say against it, or that the copy could not be written.
    pub fn verify(
        &self,
        policy: config::Permissions,
        prober: &Prober,
        verdicts: &Verdicts,
        folder: &Path,
        number: u64,
    ) -> Result<VerifiedArtifact, Refusal> {
        self.trusted.clone()?;
        permissions::check(&self.path, policy)?;
        permissions::check(folder, policy)?;
        // What was confined less than it would be now is tried once more.
        let confined_less = |level: &Level| prober.surroundings().is_ok_and(|now| level.lacks_some_of(now.level()));
        let confinement = match verdicts.of(self.sha256).filter(|level| !confined_less(level)) {
            Some(level) => level,
            None => {
                let noted = verdicts.on_trial().note(&self.tried()).map_err(|fault| {
                    let reason = format!("it cannot be noted in {} that it is tried: {fault}", folder.display());
                    Refusal::new(Code::ProbeFailed, reason)
                })?;
                let level = self.try_out(prober).map_err(Refusal::without_details)?;
                verdicts.keep(self.sha256, level);
                drop(noted);
                level
            }
        };
        let copy = folder.join(format!("{}-g{number}.so", self.sha256));
        let opened = write_copy(&copy, &self.bytes).map_err(|fault| {
            let _absent = fs::remove_file(&copy);
            Refusal::new(Code::Copy, format!("{}: {fault}", copy.display()))
        })?;
        Ok(VerifiedArtifact {
            copy,
            opened,
            sha256: self.sha256,
            info: self.info.clone(),
            declares: self.declares.clone(),
            signature: self.signature.clone(),
            minisig: self.minisig.clone(),
            confinement,
        })
    }
}

impl InspectedArtifact {
    fn tried(&self) -> Tried {
        let (tool_type, version) = (self.info.tool_type.to_string(), self.info.version.to_string());
        Tried { path: self.path.clone(), sha256: self.sha256.to_string(), tool_type, version }
    }
}

/// An open file, and the path by which this process and its debuggers reach it.
#[derive(Debug)]
struct Opened {
    path: PathBuf,
    /// Read by nobody: it keeps its number.
    _file: File,
}

impl Opened {
    /// The same file, open for reading, whatever bears its name by now.
    fn again(file: &File) -> io::Result<Self> {
        // Not by `self`, which would be the debugger there.
        let process = Path::new("/proc").join(fs::read_link("/proc/self")?);
        let at = |file: &File| process.join("fd").join(file.as_raw_fd().to_string());
        let file = File::open(at(file))?;
        Ok(Self { path: at(&file), _file: file })
    }
}

fn write_copy(copy: &Path, bytes: &[u8]) -> io::Result<Opened> {
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o500).open(copy)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Opened::again(&file)
}
