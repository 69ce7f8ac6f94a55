//! What the manager tells those who ask: rows for `plugin-ctl` and counts for the metrics.

use std::path::{Path, PathBuf};

use super::choice::Offer;
use super::record::Because;
use super::{
    Code, Counts, Declaration, FileRecord, GenerationState, InfoRecord, Known, Level, Pin, PluginManager, Refusal,
    Sha256Sum, Signature, Tool, ToolRecord, ToolType,
};
use crate::plugin::generation::{Generation, LastError};

/// What a plugin, or a file, is to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PluginState {
    /// Refused: it does not serve.
    Refused,
    /// Its file is gone.
    Missing,
    /// Kept from serving by the host.
    Quarantined,
    /// Kept from serving by an operator.
    Disabled,
    /// Could not be unmapped.
    Retained,
    /// Ends its last calls.
    Draining,
    /// Good, but another file serves.
    Standby,
    /// Serves.
    Active,
}

impl PluginState {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Missing => "missing",
            Self::Quarantined => "quarantined",
            Self::Disabled => "disabled",
            Self::Retained => "retained",
            Self::Draining => "draining",
            Self::Standby => "standby",
            Self::Active => "active",
        }
    }
}

/// A newer file that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The file.
    pub path: PathBuf,
    /// Its version, where it could be read.
    pub version: Option<String>,
    /// Its digest, where it could be read.
    pub sha256: Option<Sha256Sum>,
    /// What its signature is worth, where both could be read.
    pub signature: Option<Signature>,
    /// Why.
    pub refusal: Refusal,
}

impl Candidate {
    pub(super) fn of_offer(offer: &Offer, refusal: Refusal) -> Self {
        Self {
            path: offer.path.clone(),
            version: Some(offer.version.to_string()),
            sha256: Some(offer.sha256),
            signature: offer.signature.clone(),
            refusal,
        }
    }

    pub(super) fn of(record: &FileRecord, refusal: &Refusal) -> Self {
        Self {
            path: record.path.clone(),
            version: record.found.as_ref().ok().map(|(_, version, _)| version.to_string()),
            sha256: record.sha256,
            signature: record.signature.clone(),
            refusal: refusal.clone(),
        }
    }
}

/// One tool type, or a refused file that names none.
#[derive(Clone, Debug)]
pub struct PluginRow {
    /// The tool type.
    pub tool_type: Option<ToolType>,
    /// The version that serves.
    pub version: Option<String>,
    /// What serves.
    pub state: PluginState,
    /// The generation that serves.
    pub generation: Option<u64>,
    /// The file that it was loaded from.
    pub path: Option<PathBuf>,
    /// Its digest.
    pub sha256: Option<Sha256Sum>,
    /// What the file's signature is worth: now, where the file is still the one that was loaded.
    pub signature: Option<Signature>,
    /// When it was loaded, in milliseconds since the epoch.
    pub loaded_at_ms: Option<i64>,
    /// Calls under way.
    pub in_flight: usize,
    /// Calls of this generation.
    pub calls: u64,
    /// Those that failed by its own fault.
    pub errors: u64,
    /// The last of those; for a refused file, why.
    pub last_error: Option<LastError>,
    /// A newer file that was refused.
    pub candidate: Option<Candidate>,
    /// The version or digest that alone may serve.
    pub pinned: Option<Pin>,
}

/// One file of the folder.
#[derive(Clone, Debug)]
pub struct FileRow {
    /// Where it is.
    pub path: PathBuf,
    /// What it is to the host.
    pub state: PluginState,
    /// Its tool type, where it could be read.
    pub tool_type: Option<ToolType>,
    /// Its version, where it could be read.
    pub version: Option<String>,
    /// Its digest, where it could be read.
    pub sha256: Option<Sha256Sum>,
    /// What its signature is worth, where both could be read.
    pub signature: Option<Signature>,
    /// Why it was refused.
    pub refusal: Option<Refusal>,
}

/// One generation of a tool type.
#[derive(Clone, Debug)]
pub struct GenerationRow {
    /// Its number.
    pub number: u64,
    /// The plugin's version.
    pub version: String,
    /// The artifact's digest.
    pub sha256: Sha256Sum,
    /// What it is doing.
    pub state: GenerationState,
    /// Why it is retained.
    pub reason: Option<String>,
}

/// An artifact that has served and is kept.
#[derive(Clone, Debug)]
pub struct KeptRow {
    /// The plugin's version.
    pub version: semver::Version,
    /// Its digest.
    pub sha256: Sha256Sum,
    /// When it began to serve the last time, in milliseconds since the epoch.
    pub served_at_ms: i64,
    /// The file of the folder that it came from.
    pub path: PathBuf,
    /// Where its bytes are kept.
    pub copy: PathBuf,
    /// Why it is passed over.
    pub passed_over: Option<String>,
}

/// Everything about one tool type.
#[derive(Clone, Debug)]
pub struct PluginDetail {
    /// Its row in the list.
    pub row: PluginRow,
    /// What the plugin says of itself.
    pub info: Option<InfoRecord>,
    /// The settings and secrets that the plugin declares; `None` when it declares nothing, or nothing serves.
    pub declares: Option<Declaration>,
    /// The private copy that is mapped.
    pub copy: Option<PathBuf>,
    /// Which walls stood around the process that tried it.
    pub confinement: Option<Level>,
    /// All of its generations that are in memory.
    pub generations: Vec<GenerationRow>,
    /// What can be gone back to, the latest first.
    pub kept: Vec<KeptRow>,
}

impl PluginManager {
    /// One row for each tool type, then one for each refused file that names none.
    pub fn list(&self) -> Vec<PluginRow> {
        let known = self.shared.lock();
        let tools = known.tools.keys().map(|tool_type| self.shared.row(&known, tool_type));
        let nameless = known.files.values().filter_map(|record| {
            let refusal = record.found.as_ref().err()?;
            let named_so = record.path.extension().is_some_and(|extension| extension == "so");
            let candidate = known
                .tools
                .values()
                .any(|tool| tool.candidate.as_ref().is_some_and(|(candidate, _)| candidate.path == record.path));
            (named_so && !candidate).then(|| PluginRow {
                path: Some(record.path.clone()),
                sha256: record.sha256,
                signature: record.signature.clone(),
                last_error: Some(refused(refusal, record.at_ms)),
                ..PluginRow::empty(None, PluginState::Refused)
            })
        });
        tools.chain(nameless).collect()
    }

    /// One row for each file of the folder.
    pub fn files(&self) -> Vec<FileRow> {
        let known = self.shared.lock();
        known.files.values().map(|record| known.file_row(record)).collect()
    }

    /// Everything about one tool type.
    pub fn info(&self, tool_type: &ToolType) -> Option<PluginDetail> {
        let known = self.shared.lock();
        let tool = known.tools.get(tool_type)?;
        let artifact = tool.active.as_ref().map(|active| active.artifact());
        let generations = known.generations().filter(|(generation, ..)| generation.tool_type() == tool_type);
        Some(PluginDetail {
            row: self.shared.row(&known, tool_type),
            info: artifact.map(|artifact| artifact.info().clone()),
            declares: artifact.and_then(|artifact| artifact.declares().cloned()),
            copy: artifact.map(|artifact| artifact.copy().to_owned()),
            confinement: artifact.map(|artifact| artifact.confinement()),
            generations: generations
                .map(|(generation, state, reason)| GenerationRow {
                    number: generation.number(),
                    version: generation.version().to_string(),
                    sha256: generation.artifact().sha256(),
                    state,
                    reason,
                })
                .collect(),
            kept: self.shared.kept_of(&known, tool_type),
        })
    }

    /// How many generations of each tool type are in each state.
    pub fn generation_counts(&self) -> Vec<(ToolType, GenerationState, usize)> {
        let mut counts: Vec<(ToolType, GenerationState, usize)> = Vec::new();
        for (generation, state, _) in self.shared.lock().generations() {
            match counts.iter_mut().find(|(tool, known, _)| tool == generation.tool_type() && *known == state) {
                Some((.., count)) => *count += 1,
                None => counts.push((generation.tool_type().clone(), state, 1)),
            }
        }
        counts
    }
}

impl PluginRow {
    fn empty(tool_type: Option<ToolType>, state: PluginState) -> Self {
        Self {
            tool_type,
            version: None,
            state,
            generation: None,
            path: None,
            sha256: None,
            signature: None,
            loaded_at_ms: None,
            in_flight: 0,
            calls: 0,
            errors: 0,
            last_error: None,
            candidate: None,
            pinned: None,
        }
    }
}

pub(super) fn refused(refusal: &Refusal, at_ms: i64) -> LastError {
    LastError { code: refusal.code.as_str(), message: refusal.reason.clone(), at_ms }
}

impl Known {
    pub(super) fn row(&self, tool_type: &ToolType) -> PluginRow {
        let record = self.records.get(tool_type);
        let pinned = record.and_then(|record| record.pinned.clone());
        match record.is_some_and(|record| record.disabled) {
            true => PluginRow {
                pinned,
                last_error: record.and_then(|record| record.disabled_because.as_ref()).map(Because::shown),
                ..PluginRow::empty(Some(tool_type.clone()), PluginState::Disabled)
            },
            false => PluginRow { pinned, ..self.row_of_tool(tool_type) },
        }
    }

    fn row_of_tool(&self, tool_type: &ToolType) -> PluginRow {
        let Some(tool) = self.tools.get(tool_type) else {
            return PluginRow::empty(Some(tool_type.clone()), PluginState::Missing);
        };
        let candidate = tool.candidate.as_ref().map(|(candidate, _)| candidate.clone());
        let Some(active) = &tool.active else {
            return match &tool.candidate {
                Some((candidate, at_ms)) => PluginRow {
                    version: candidate.version.clone(),
                    path: Some(candidate.path.clone()),
                    sha256: candidate.sha256,
                    signature: candidate.signature.clone(),
                    last_error: Some(refused(&candidate.refusal, *at_ms)),
                    ..PluginRow::empty(
                        Some(tool_type.clone()),
                        if candidate.refusal.code.is_quarantine() {
                            PluginState::Quarantined
                        } else {
                            PluginState::Refused
                        },
                    )
                },
                None => PluginRow::empty(Some(tool_type.clone()), PluginState::Missing),
            };
        };
        let Counts { calls, faults } = active.counts();
        PluginRow {
            version: Some(active.version().to_string()),
            generation: Some(active.number()),
            path: tool.path.clone(),
            sha256: Some(active.artifact().sha256()),
            signature: Some(self.signature_of(tool, active)),
            loaded_at_ms: Some(active.loaded_at_ms()),
            in_flight: active.in_flight(),
            calls,
            errors: faults,
            last_error: active.last_error(),
            candidate,
            ..PluginRow::empty(
                Some(tool_type.clone()),
                if active.is_quarantined() { PluginState::Quarantined } else { PluginState::Active },
            )
        }
    }

    fn signature_of(&self, tool: &Tool, active: &Generation) -> Signature {
        let artifact = active.artifact();
        let file = tool.path.as_ref().and_then(|path| self.files.get(path));
        let file = file.filter(|file| file.sha256 == Some(artifact.sha256()));
        file.and_then(|file| file.signature.as_ref()).unwrap_or_else(|| artifact.signature()).clone()
    }

    fn file_row(&self, record: &FileRecord) -> FileRow {
        let named = record.found.as_ref().ok();
        let tool = named.and_then(|(tool_type, ..)| self.tools.get(tool_type));
        let tried = tool.and_then(|tool| tool.candidate.as_ref()).map(|(candidate, _)| candidate);
        let tried = tried.filter(|candidate| candidate.path == record.path && candidate.sha256 == record.sha256);
        let tried = tried.map(|candidate| &candidate.refusal);
        let refusal = record.found.as_ref().err().or(record.distrusted.as_ref()).or(tried).cloned();
        let serves = tool.and_then(|tool| tool.active.as_ref()).is_some_and(|active| {
            Some(active.artifact().sha256()) == record.sha256
                && tool.and_then(|tool| tool.path.as_ref()) == Some(&record.path)
        });
        FileRow {
            path: record.path.clone(),
            state: match (&refusal, serves) {
                (Some(_), _) => PluginState::Refused,
                (None, true) => PluginState::Active,
                (None, false) => PluginState::Standby,
            },
            tool_type: named.map(|(tool_type, ..)| tool_type.clone()),
            version: named.map(|(_, version, _)| version.to_string()),
            sha256: record.sha256,
            signature: record.signature.clone(),
            refusal,
        }
    }

    /// The tool type that a file with this path has served.
    pub(super) fn loaded_from(&self, path: &Path) -> Option<ToolType> {
        let from_here = |record: &ToolRecord| record.served.iter().any(|served| served.path == path);
        self.records.iter().find(|(_, record)| from_here(record)).map(|(tool_type, _)| tool_type.clone())
    }

    /// The file that stands where a plugin of this tool type once was, and is none: nothing can be read of it, or it is
    /// another tool type's and stands where the last one was.
    pub(super) fn spoiled(&self, tool_type: &ToolType) -> Option<Candidate> {
        let served = &self.records.get(tool_type)?.served;
        let mut there = served.iter().rev().filter_map(|served| self.files.get(&served.path));
        let last = served.last().and_then(|last| self.files.get(&last.path));
        let anothers = last.and_then(|file| {
            let (of, ..) = file.found.as_ref().ok().filter(|(of, ..)| of != tool_type)?;
            let message = format!("the file is a plugin of {of} now");
            Some(Candidate::of(file, &Refusal::new(Code::NotAPlugin, message)))
        });
        anothers.or_else(|| there.find_map(|file| Some(Candidate::of(file, file.found.as_ref().err()?))))
    }

    /// Whether this refusal of the tool type's best file is known.
    pub(super) fn is_candidate(&self, tool_type: &ToolType, offer: &Offer, refusal: &Refusal) -> bool {
        let known = self.tools.get(tool_type).and_then(|tool| tool.candidate.as_ref());
        known.is_some_and(|(known, _)| known.sha256 == Some(offer.sha256) && known.refusal == *refusal)
    }

    fn generations(&self) -> impl Iterator<Item = (&Generation, GenerationState, Option<String>)> {
        let active = self.tools.values().filter_map(|tool| tool.active.as_deref());
        let retired = self.retired.iter().map(|retiring| {
            let state = if retiring.retained.is_some() { GenerationState::Retained } else { GenerationState::Draining };
            (&*retiring.generation, state, retiring.retained.clone())
        });
        let active = active.map(|generation| {
            let quarantined = generation.is_quarantined();
            let state = if quarantined { GenerationState::Quarantined } else { GenerationState::Active };
            (generation, state, None)
        });
        active.chain(retired)
    }
}
