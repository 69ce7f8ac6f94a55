//! One look at the operator's folder: which files stand there, and what those say that are new and quiet. Loads nothing.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use plugin_abi::export::InfoRecord;

use crate::{
    ids::ToolType,
    plugin::{
        artifact::{self, InspectedArtifact, Sha256Sum, Stamp, Uninspected},
        refusal::{Code, Refusal},
        signature::{self, Signature, Trust},
    },
};

/// Most files of the folder that are looked at.
const FILES_MAX: usize = 1000;
/// Most bytes of files that are kept from reading to loading; what is beyond is read again.
const KEPT_BYTES_MAX: u64 = 16 << 20;
/// How many quiet periods a file has that ends before its own headers say: most likely its copy is held up.
const HELD_UP_PERIODS: u32 = 10;
/// Between two reads, at least, of a file that changes while it is read.
const READ_AGAIN: Duration = Duration::from_millis(20);

/// A file of the folder, as it was when it was last read.
#[derive(Clone, Debug)]
pub(super) struct FileRecord {
    /// Where it is.
    pub(super) path: PathBuf,
    /// Digest of its bytes, when they could be read.
    pub(super) sha256: Option<Sha256Sum>,
    /// Its state, when it could be seen.
    pub(super) stamp: Option<Stamp>,
    /// The state of the signature beside it, when there is one.
    pub(super) signature_stamp: Option<Stamp>,
    /// What that is worth, when both could be read.
    pub(super) signature: Option<Signature>,
    /// Why the file may not serve, however good it is.
    pub(super) distrusted: Option<Refusal>,
    /// What its note says, or why it was refused.
    pub(super) found: Result<(ToolType, semver::Version, InfoRecord), Refusal>,
    /// When this was found out, in milliseconds since the epoch.
    pub(super) at_ms: i64,
    /// Since when it is not there, while that may be a moment of its replacement: some programs take a file away first.
    pub(super) gone_since: Option<Instant>,
    /// Its bytes, as long as the look lasts that has read them.
    kept: Weak<InspectedArtifact>,
}

impl FileRecord {
    /// The file's bytes as they were read for this record; read again when they were not kept.
    ///
    /// # Errors
    /// As [`artifact::inspect`], and `UNSETTLED` when they are others now.
    pub(super) fn inspected(&self, trust: &Trust) -> Result<Arc<InspectedArtifact>, Refusal> {
        if let Some(kept) = self.kept.upgrade() {
            return Ok(kept);
        }
        let inspected = artifact::inspect(&self.path, trust).map_err(|uninspected| uninspected.refusal)?;
        if Some(inspected.sha256) != self.sha256 {
            return Err(Refusal::new(Code::Unsettled, "it changed while the folder was looked at"));
        }
        Ok(Arc::new(inspected))
    }

    fn refused(path: PathBuf, refusal: Refusal, at_ms: i64) -> Self {
        Self {
            path,
            sha256: None,
            stamp: None,
            signature_stamp: None,
            signature: None,
            distrusted: None,
            found: Err(refusal),
            at_ms,
            gone_since: None,
            kept: Weak::new(),
        }
    }
}

#[cfg(test)]
impl FileRecord {
    /// The record of a good file of the tool type `desk` with this content.
    pub(super) fn for_test(content: &str, version: &str, stamp: Stamp) -> Self {
        let tool_type = "desk";
        let info = InfoRecord {
            tool_type: tool_type.into(),
            name: tool_type.into(),
            version: version.into(),
            vendor: String::new(),
            sdk: "1.0.0".into(),
            abi_major: 1,
            abi_minor: 0,
            abi_minor_needed: 0,
            abi_stable: "0.11.3".into(),
            rustc: String::new(),
            target: String::new(),
            panic: "unwind".into(),
        };
        let (tool_type, version) = names(&info).unwrap();
        Self {
            stamp: Some(stamp),
            found: Ok((tool_type, version, info)),
            sha256: Some(Sha256Sum::of(content.as_bytes())),
            ..Self::refused(content.into(), Refusal::new(Code::Open, ""), 0)
        }
    }
}

/// What one look has found. The bytes of files that it has read are kept until it is dropped.
#[derive(Default)]
pub(super) struct Look {
    /// All files; those that are unsettled as they were before, when they were there.
    pub(super) files: BTreeMap<PathBuf, FileRecord>,
    /// Files that were written to, or taken away, less than the quiet period ago.
    pub(super) unsettled: Vec<PathBuf>,
    /// How long until the first of those may be quiet.
    pub(super) again_in: Option<Duration>,
    kept: Vec<Arc<InspectedArtifact>>,
}

/// Looks at the folder. A file that has not changed since `known`, nor the signature beside it, is not read again, and one
/// that was written to within `quiet`, or whose signature was, is left for a later look: its copy may be under way.
///
/// # Errors
/// When the folder itself cannot be read.
pub(super) fn scan(
    folder: &Path,
    known: &BTreeMap<PathBuf, FileRecord>,
    trust: &Trust,
    quiet: Duration,
    now_ms: i64,
) -> io::Result<Look> {
    let mut look = Look::default();
    for path in list(folder)? {
        let before = known.get(&path);
        let stamp = artifact::stamp_of(&path);
        let signature_stamp = artifact::stamp_of(&signature::beside(&path));
        let same = |record: &&FileRecord| {
            stamp.is_some() && record.stamp == stamp && record.signature_stamp == signature_stamp
        };
        let age = [stamp, signature_stamp].iter().flatten().map(Stamp::age).min();
        if let Some(record) = before.filter(same) {
            look.files.insert(path, FileRecord { gone_since: None, ..record.clone() });
        } else if path.extension().is_none_or(|extension| extension != "so") {
            let refusal = Refusal::new(Code::NotAPlugin, "its name does not end in .so");
            look.files.insert(path.clone(), FileRecord::refused(path, refusal, now_ms));
        } else if let Some(age) = age.filter(|age| *age < quiet) {
            look.leave(path, before.cloned(), quiet - age);
        } else {
            look.read(path, before, trust, quiet, now_ms);
        }
    }
    for (path, record) in known {
        if look.files.contains_key(path) || look.unsettled.contains(path) {
            continue;
        }
        let gone_since = record.gone_since.unwrap_or_else(Instant::now);
        if let Some(left) = quiet.checked_sub(gone_since.elapsed()).filter(|left| !left.is_zero()) {
            look.leave(path.clone(), Some(FileRecord { gone_since: Some(gone_since), ..record.clone() }), left);
        }
    }
    Ok(look)
}

/// The names in the folder that concern the host.
fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        // Hidden names belong to copies under way (rsync, editors) and to Kubernetes; signatures belong to their plugin.
        if name.starts_with(b".") || name.ends_with(signature::SUFFIX.as_bytes()) {
            continue;
        }
        if paths.len() == FILES_MAX {
            tracing::warn!(folder = %folder.display(), "the plugin folder has over {FILES_MAX} files; the others are not looked at");
            break;
        }
        paths.push(path);
    }
    Ok(paths)
}

impl Look {
    /// Leaves a file as it was for so long.
    fn leave(&mut self, path: PathBuf, before: Option<FileRecord>, left: Duration) {
        self.again_in = Some(self.again_in.map_or(left, |again_in| again_in.min(left)));
        if let Some(record) = before {
            self.files.insert(path.clone(), record);
        }
        self.unsettled.push(path);
    }

    fn read(&mut self, path: PathBuf, before: Option<&FileRecord>, trust: &Trust, quiet: Duration, now_ms: i64) {
        // Seen before it is read: one that is written meanwhile looks changed afterwards.
        let signature_stamp = artifact::stamp_of(&signature::beside(&path));
        match artifact::inspect(&path, trust) {
            // It was taken away since the folder was listed: it is no bad file, but none.
            Err(_) if is_gone(&path) => {}
            Err(uninspected) => {
                let Uninspected { sha256, stamp, signature, refusal } = *uninspected;
                let held_up =
                    refusal.code == Code::Truncated && stamp.is_some_and(|stamp| stamp.age() < quiet * HELD_UP_PERIODS);
                if held_up || refusal.code == Code::Unsettled {
                    self.leave(path, before.cloned(), quiet.max(READ_AGAIN));
                    return;
                }
                let refused = FileRecord::refused(path.clone(), refusal, now_ms);
                let record = FileRecord { sha256, stamp, signature_stamp, signature, ..refused };
                self.files.insert(path, record);
            }
            Ok(artifact) => {
                let artifact = Arc::new(artifact);
                let record = FileRecord {
                    path: path.clone(),
                    sha256: Some(artifact.sha256),
                    stamp: Some(artifact.stamp),
                    signature_stamp,
                    signature: Some(artifact.signature.clone()),
                    distrusted: artifact.trusted.clone().err(),
                    found: names(&artifact.info)
                        .map(|(tool_type, version)| (tool_type, version, artifact.info.clone())),
                    at_ms: now_ms,
                    gone_since: None,
                    kept: Arc::downgrade(&artifact),
                };
                self.files.insert(path, record);
                let kept: u64 = self.kept.iter().map(|artifact| artifact.stamp.size).sum();
                if kept + artifact.stamp.size <= KEPT_BYTES_MAX {
                    self.kept.push(artifact);
                }
            }
        }
    }
}

/// Whether nothing has this name. A link to nothing has it.
fn is_gone(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|fault| fault.kind() == io::ErrorKind::NotFound)
}

fn names(info: &InfoRecord) -> Result<(ToolType, semver::Version), Refusal> {
    let tool_type =
        ToolType::parse(&info.tool_type).map_err(|fault| Refusal::new(Code::NotAPlugin, fault.to_string()))?;
    let version = semver::Version::parse(&info.version)
        .map_err(|fault| Refusal::new(Code::NotAPlugin, format!("its version: {fault}")))?;
    Ok((tool_type, version))
}

#[cfg(test)]
mod tests {
    use std::{fs::File, time::SystemTime};

    use super::*;

    const QUIET: Duration = Duration::from_secs(60);

    /// Writes a file as if it had been written so long ago.
    fn write(path: &Path, bytes: &[u8], ago: Duration) {
        fs::write(path, bytes).unwrap();
        File::options().write(true).open(path).unwrap().set_modified(SystemTime::now() - ago).unwrap();
    }

    fn look(folder: &Path, known: &BTreeMap<PathBuf, FileRecord>, now_ms: i64) -> Look {
        scan(folder, known, &Trust::default(), QUIET, now_ms).unwrap()
    }

    #[test]
    fn what_is_quiet_is_read_once_and_the_rest_stays_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let [quiet, fresh] = ["quiet.so", "fresh.so"].map(|name| folder.path().join(name));
        write(&quiet, b"x", QUIET);
        write(&fresh, b"x", Duration::ZERO);
        let first = look(folder.path(), &BTreeMap::new(), 1);
        assert_eq!(first.files.keys().collect::<Vec<_>>(), [&quiet]);
        assert_eq!(first.unsettled, std::slice::from_ref(&fresh));
        assert!(first.again_in.is_some_and(|again_in| again_in <= QUIET), "{:?}", first.again_in);
        write(&fresh, b"x", QUIET);
        let second = look(folder.path(), &first.files, 2);
        assert_eq!((second.files[&quiet].at_ms, second.files[&fresh].at_ms, second.again_in), (1, 2, None));
        // Written to again, it is what it was before.
        write(&quiet, b"xy", Duration::ZERO);
        let third = look(folder.path(), &second.files, 3);
        assert_eq!((third.files[&quiet].at_ms, &third.unsettled[..]), (1, std::slice::from_ref(&quiet)));
    }

    #[test]
    fn a_file_is_gone_when_it_is_away_for_the_quiet_period() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.so");
        write(&path, b"x", QUIET);
        let mut files = look(folder.path(), &BTreeMap::new(), 1).files;
        fs::remove_file(&path).unwrap();
        files = look(folder.path(), &files, 2).files;
        let gone_since = files[&path].gone_since.expect("it is not there");
        files = look(folder.path(), &files, 3).files;
        assert_eq!(files[&path].gone_since, Some(gone_since));
        files.get_mut(&path).unwrap().gone_since = Some(gone_since - QUIET);
        assert!(look(folder.path(), &files, 4).files.is_empty());
        write(&path, b"x", QUIET);
        assert_eq!(look(folder.path(), &files, 5).files[&path].gone_since, None);
    }

    #[test]
    fn what_is_taken_away_while_it_is_looked_at_is_not_refused() {
        let folder = tempfile::tempdir().unwrap();
        let [gone, dangling] = ["gone.so", "dangling.so"].map(|name| folder.path().join(name));
        std::os::unix::fs::symlink(folder.path().join("nothing"), &dangling).unwrap();
        let mut look = Look::default();
        look.read(gone, None, &Trust::default(), QUIET, 1);
        look.read(dangling.clone(), None, &Trust::default(), QUIET, 1);
        assert_eq!(look.files.keys().collect::<Vec<_>>(), [&dangling]);
        assert!(look.unsettled.is_empty(), "{:?}", look.unsettled);
    }

    #[test]
    fn a_copy_that_is_held_up_is_refused_late() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.so");
        for (ago, refused) in [(QUIET, false), (QUIET * (HELD_UP_PERIODS - 1), false), (QUIET * HELD_UP_PERIODS, true)]
        {
            write(&path, b"\x7fELF\x02\x01\x01", ago);
            let look = look(folder.path(), &BTreeMap::new(), 1);
            let code = look.files.get(&path).and_then(|record| record.found.as_ref().err()).map(|refusal| refusal.code);
            assert_eq!((code, look.again_in.is_none()), (refused.then_some(Code::Truncated), refused), "{ago:?}");
        }
    }
}
