//! What stands in the operator's folder, and which file should serve which tool type. Looks and compares; loads nothing.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use plugin_abi::export::InfoRecord;

use crate::{
    ids::ToolType,
    plugin::{
        artifact::{self, Sha256Sum, Stamp, Uninspected},
        refusal::{Code, Refusal},
    },
};

/// How many times the quiet period is waited for.
const SETTLE_ROUNDS_MAX: usize = 25;
/// Most files of the folder that are looked at.
const FILES_MAX: usize = 1000;

/// A file of the folder, as it was when it was last read.
#[derive(Clone, Debug)]
pub(super) struct FileRecord {
    /// Where it is.
    pub(super) path: PathBuf,
    /// Digest of its bytes, when they could be read.
    pub(super) sha256: Option<Sha256Sum>,
    /// Its state, when it could be seen.
    pub(super) stamp: Option<Stamp>,
    /// What its note says, or why it was refused.
    pub(super) found: Result<(ToolType, semver::Version, InfoRecord), Refusal>,
    /// When this was found out, in milliseconds since the epoch.
    pub(super) at_ms: i64,
}

/// Reads the folder, once what has just been written there is `quiet` for so long. A file that has not changed since `known` is not read again.
///
/// # Errors
/// When the folder itself cannot be read.
pub(super) fn scan(
    folder: &Path,
    known: &BTreeMap<PathBuf, FileRecord>,
    quiet: Duration,
    now_ms: i64,
) -> io::Result<BTreeMap<PathBuf, FileRecord>> {
    let mut files = BTreeMap::new();
    let mut changed = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        // Hidden names belong to copies under way (rsync, editors) and to Kubernetes; signatures belong to their plugin.
        if name.starts_with(b".") || name.ends_with(b".minisig") {
            continue;
        }
        if files.len() + changed.len() == FILES_MAX {
            tracing::warn!(folder = %folder.display(), "the plugin folder has over {FILES_MAX} files; the others are not looked at");
            break;
        }
        match known.get(&path) {
            Some(record) if record.stamp.is_some() && record.stamp == artifact::stamp_of(&path) => {
                files.insert(path, record.clone());
            }
            _ => changed.push(path),
        }
    }
    settle(&changed, quiet);
    for path in changed {
        let record = read(&path, now_ms);
        files.insert(path, record);
    }
    Ok(files)
}

/// Waits until files that were written to a moment ago are quiet: a copy may be under way. Those that are not by then are
/// left to be refused as unsettled.
fn settle(paths: &[PathBuf], quiet: Duration) {
    for _ in 0..SETTLE_ROUNDS_MAX {
        let before: Vec<_> = paths.iter().map(|path| artifact::stamp_of(path)).collect();
        let youngest = before.iter().flatten().map(Stamp::age).min();
        let Some(age) = youngest.filter(|age| *age < quiet) else { return };
        std::thread::sleep(quiet - age);
        if before.iter().zip(paths).all(|(before, path)| *before == artifact::stamp_of(path)) {
            return;
        }
    }
}

fn read(path: &Path, now_ms: i64) -> FileRecord {
    let path = path.to_owned();
    if path.extension().is_none_or(|extension| extension != "so") {
        let refusal = Refusal::new(Code::NotAPlugin, "its name does not end in .so");
        return FileRecord { path, sha256: None, stamp: None, found: Err(refusal), at_ms: now_ms };
    }
    match artifact::inspect(&path) {
        Err(uninspected) => {
            let Uninspected { sha256, stamp, refusal } = *uninspected;
            FileRecord { path, sha256, stamp, found: Err(refusal), at_ms: now_ms }
        }
        Ok(artifact) => {
            let found = names(&artifact.info).map(|(tool_type, version)| (tool_type, version, artifact.info.clone()));
            FileRecord { path, sha256: Some(artifact.sha256), stamp: Some(artifact.stamp), found, at_ms: now_ms }
        }
    }
}

fn names(info: &InfoRecord) -> Result<(ToolType, semver::Version), Refusal> {
    let tool_type =
        ToolType::parse(&info.tool_type).map_err(|fault| Refusal::new(Code::NotAPlugin, fault.to_string()))?;
    let version = semver::Version::parse(&info.version)
        .map_err(|fault| Refusal::new(Code::NotAPlugin, format!("its version: {fault}")))?;
    Ok((tool_type, version))
}

/// The files of each tool type, the one that should serve first: the highest version, among equals the one that changed
/// last.
pub(super) fn ranked(files: &BTreeMap<PathBuf, FileRecord>) -> BTreeMap<ToolType, Vec<FileRecord>> {
    let mut ranked: BTreeMap<ToolType, Vec<FileRecord>> = BTreeMap::new();
    for record in files.values() {
        if let Ok((tool_type, ..)) = &record.found {
            ranked.entry(tool_type.clone()).or_default().push(record.clone());
        }
    }
    for records in ranked.values_mut() {
        records.sort_by_key(|record| {
            let version = record.found.as_ref().map(|(_, version, _)| version.clone()).ok();
            Reverse((version, record.stamp.map(|stamp| stamp.modified_ns)))
        });
    }
    ranked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(path: &str, version: &str, modified_ns: i128) -> FileRecord {
        let info = InfoRecord {
            tool_type: "desk".into(),
            name: "desk".into(),
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
        let stamp = Some(Stamp::for_test(modified_ns));
        FileRecord { path: path.into(), sha256: None, stamp, found: Ok((tool_type, version, info)), at_ms: 0 }
    }

    #[test]
    fn the_highest_version_serves_and_among_equals_the_latest() {
        for (files, expected) in [
            (vec![record("a.so", "1.2.0", 5), record("b.so", "1.10.0", 1)], "b.so"),
            (vec![record("a.so", "1.2.0", 5), record("b.so", "1.2.0", 9)], "b.so"),
            (vec![record("a.so", "1.2.0", 5), record("b.so", "1.2.0-rc.1", 9)], "a.so"),
        ] {
            let files = files.into_iter().map(|record| (record.path.clone(), record)).collect();
            let ranked = ranked(&files);
            assert_eq!(ranked[&ToolType::parse("desk").unwrap()][0].path, PathBuf::from(expected));
        }
    }
}
