//! What is told of a tool type that nothing serves because its file is gone, or because an operator wants it so; and what
//! is kept of it.

use super::{
    Code, Known, PluginManager, Refusal, Shared, ToolType,
    record::Because,
    report::{KeptRow, PluginRow, PluginState, refused},
};
use crate::plugin::generation::LastError;

impl PluginManager {
    /// Why a tool type is missing; none when it is not.
    pub fn why_missing(&self, tool_type: &ToolType) -> Option<Refusal> {
        let known = self.shared.lock();
        let missing = known.tools.contains_key(tool_type) && known.row(tool_type).state == PluginState::Missing;
        missing.then(|| self.shared.why_missing(&known, tool_type))
    }
}

impl Because {
    pub(super) fn shown(&self) -> LastError {
        LastError { code: Code::Disabled.as_str(), message: self.sentence(), at_ms: self.at_ms }
    }
}

impl Shared {
    pub(super) fn row(&self, known: &Known, tool_type: &ToolType) -> PluginRow {
        let row = known.row(tool_type);
        if row.state != PluginState::Missing {
            return row;
        }
        let since_ms = known.tools.get(tool_type).and_then(|tool| tool.missing_since_ms);
        let refusal = self.why_missing(known, tool_type);
        PluginRow { last_error: since_ms.map(|at_ms| refused(&refusal, at_ms)), ..row }
    }

    /// That the folder has no file, and what is kept all the same.
    pub(super) fn why_missing(&self, known: &Known, tool_type: &ToolType) -> Refusal {
        let kept = self.kept_of(known, tool_type).into_iter().find(|kept| kept.passed_over.is_none());
        let kept = kept.map_or_else(
            || "nothing is kept".to_owned(),
            |kept| format!("{} ({:.8}) is kept", kept.version, kept.sha256.to_string()),
        );
        Refusal::new(Code::Missing, format!("no file in {}; {kept}", self.config.dir.display()))
    }

    pub(super) fn kept_of(&self, known: &Known, tool_type: &ToolType) -> Vec<KeptRow> {
        let served = known.records.get(tool_type).into_iter().flat_map(|record| record.served.iter().rev());
        let kept = served.filter(|served| self.kept.holds(served.sha256)).map(|served| KeptRow {
            version: served.version.clone(),
            sha256: served.sha256,
            served_at_ms: served.at_ms,
            path: served.path.clone(),
            copy: self.kept.path(served.sha256),
            passed_over: served.passed_over.clone(),
        });
        kept.collect()
    }
}
