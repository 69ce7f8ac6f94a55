//! Which bytes have passed the probe of this very build of the host: so a start with plugins that are known tries none.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

use super::{artifact::Sha256Sum, confine::Level, on_trial::OnTrial};

/// Most verdicts that are kept; beyond it all are forgotten, and found again by trying.
const VERDICTS_MAX: usize = 4096;

/// Artifacts that passed, by digest, with the walls that stood around them.
#[derive(Debug)]
pub struct Verdicts {
    path: PathBuf,
    kept: Mutex<Kept>,
    on_trial: OnTrial,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    build: String,
    sound: BTreeMap<String, Level>,
}

impl Verdicts {
    /// Reads what an earlier run of this build has found. What cannot be read, or is of another build, is forgotten.
    pub fn load(path: PathBuf) -> Self {
        let build = this_build().unwrap_or_default();
        let kept = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
        let kept = kept.filter(|kept| !build.is_empty() && kept.build == build);
        let on_trial = OnTrial::in_folder(path.parent().unwrap_or(Path::new("")));
        Self { path, kept: Mutex::new(kept.unwrap_or_else(|| Kept { build, sound: BTreeMap::new() })), on_trial }
    }

    /// Where it is noted what is being tried: beside the verdicts.
    pub fn on_trial(&self) -> &OnTrial {
        &self.on_trial
    }

    /// The verdict on these bytes, when there is one.
    pub fn of(&self, sha256: Sha256Sum) -> Option<Level> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).sound.get(&sha256.to_string()).copied()
    }

    /// Keeps that these bytes have passed. A verdict that cannot be written is found again at the next start.
    pub fn keep(&self, sha256: Sha256Sum, level: Level) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.sound.len() >= VERDICTS_MAX {
            kept.sound.clear();
        }
        kept.sound.insert(sha256.to_string(), level);
        if let Err(fault) = self.write(&kept) {
            tracing::warn!(path = %self.path.display(), "verdicts cannot be kept, so plugins are tried again at the next start: {fault}");
        }
    }

    fn write(&self, kept: &Kept) -> io::Result<()> {
        let beside = self.path.with_extension("new");
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        serde_json::to_writer(&mut file, kept)?;
        fs::rename(beside, &self.path)
    }
}

/// Tells this build from every other that may have written the file: another probe may judge otherwise.
fn this_build() -> io::Result<String> {
    let program = fs::metadata("/proc/self/exe")?;
    let (inode, size, at) = (program.ino(), program.size(), program.mtime_nsec());
    Ok(format!("{} {inode} {size} {}.{at}", env!("CARGO_PKG_VERSION"), program.mtime()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::confine::Wall;

    #[test]
    fn verdicts_outlive_the_process_but_not_the_build() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("verdicts.json");
        let (known, other) = (Sha256Sum::of(b"known"), Sha256Sum::of(b"other"));
        let level = Level { calls: Wall::Absent, rights: Wall::Denied, ..Level::default() };
        Verdicts::load(path.clone()).keep(known, level);
        let again = Verdicts::load(path.clone());
        assert_eq!((again.of(known), again.of(other)), (Some(level), None));
        let text = fs::read_to_string(&path).unwrap().replace(env!("CARGO_PKG_VERSION"), "0.0.0");
        fs::write(&path, text).unwrap();
        assert_eq!(Verdicts::load(path.clone()).of(known), None);
        fs::write(&path, b"{").unwrap();
        assert_eq!(Verdicts::load(path).of(known), None);
    }
}
