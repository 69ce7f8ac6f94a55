//! What the manager tells those who ask: rows for `plugin-ctl` and counts for the metrics.

use std::path::PathBuf;

use super::{FileRecord, GenerationState, InfoRecord, Known, Level, PluginManager, Refusal, Sha256Sum, ToolType};
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
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The file.
    pub path: PathBuf,
    /// Its version, where it could be read.
    pub version: Option<String>,
    /// Its digest, where it could be read.
    pub sha256: Option<Sha256Sum>,
    /// Why.
    pub refusal: Refusal,
}

impl Candidate {
    pub(super) fn of(record: &FileRecord, refusal: &Refusal) -> Self {
        Self {
            path: record.path.clone(),
            version: record.found.as_ref().ok().map(|(_, version, _)| version.to_string()),
            sha256: record.sha256,
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

/// Everything about one tool type.
#[derive(Clone, Debug)]
pub struct PluginDetail {
    /// Its row in the list.
    pub row: PluginRow,
    /// What the plugin says of itself.
    pub info: Option<InfoRecord>,
    /// The private copy that is mapped.
    pub copy: Option<PathBuf>,
    /// Which walls stood around the process that tried it.
    pub confinement: Option<Level>,
    /// All of its generations that are in memory.
    pub generations: Vec<GenerationRow>,
}

impl PluginManager {
    /// One row for each tool type, then one for each refused file that names none.
    pub fn list(&self) -> Vec<PluginRow> {
        let known = self.shared.lock();
        let tools = known.tools.keys().map(|tool_type| known.row(tool_type));
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
            row: known.row(tool_type),
            info: artifact.map(|artifact| artifact.info().clone()),
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
            loaded_at_ms: None,
            in_flight: 0,
            calls: 0,
            errors: 0,
            last_error: None,
            candidate: None,
        }
    }
}

fn refused(refusal: &Refusal, at_ms: i64) -> LastError {
    LastError { code: refusal.code.as_str(), message: refusal.reason.clone(), at_ms }
}

impl Known {
    fn row(&self, tool_type: &ToolType) -> PluginRow {
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
        let (calls, errors) = active.counts();
        PluginRow {
            version: Some(active.version().to_string()),
            generation: Some(active.number()),
            path: Some(active.artifact().path().to_owned()),
            sha256: Some(active.artifact().sha256()),
            loaded_at_ms: Some(active.loaded_at_ms()),
            in_flight: active.in_flight(),
            calls,
            errors,
            last_error: active.last_error(),
            candidate,
            ..PluginRow::empty(
                Some(tool_type.clone()),
                if active.is_quarantined() { PluginState::Quarantined } else { PluginState::Active },
            )
        }
    }

    fn file_row(&self, record: &FileRecord) -> FileRow {
        let named = record.found.as_ref().ok();
        let tool = named.and_then(|(tool_type, ..)| self.tools.get(tool_type));
        let tried = tool.and_then(|tool| tool.candidate.as_ref()).map(|(candidate, _)| candidate);
        let tried = tried.filter(|candidate| candidate.path == record.path && candidate.sha256 == record.sha256);
        let refusal = record.found.as_ref().err().or_else(|| tried.map(|candidate| &candidate.refusal)).cloned();
        let serves = tool.and_then(|tool| tool.active.as_ref()).is_some_and(|active| {
            active.artifact().path() == record.path && Some(active.artifact().sha256()) == record.sha256
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
            refusal,
        }
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
