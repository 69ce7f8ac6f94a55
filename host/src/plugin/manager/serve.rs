//! From the best file of a tool type to the generation that serves: prove, load, swap, in this order.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
};

use super::{
    Candidate, Code, FileRecord, Generation, Refusal, ReloadOutcome, Reloaded, Route, Shared, ToolType, artifact,
};

impl Shared {
    /// The files that are newly refused by their bytes alone; one that stands where a plugin was loaded from is that
    /// plugin's candidate.
    pub(super) fn refused(
        &self,
        before: &BTreeMap<PathBuf, FileRecord>,
        files: &BTreeMap<PathBuf, FileRecord>,
    ) -> Vec<Reloaded> {
        let mut refused = Vec::new();
        for record in files.values() {
            let Err(refusal) = &record.found else { continue };
            let loaded_from = self.lock().tools.iter_mut().find_map(|(tool_type, tool)| {
                let here = tool.active.as_ref().is_some_and(|active| active.artifact().path() == record.path);
                here.then(|| {
                    tool.candidate = Some((Candidate::of(record, refusal), record.at_ms));
                    tool_type.clone()
                })
            });
            let known = before.get(&record.path).is_some_and(|known| known.found.as_ref().err() == Some(refusal));
            if !known {
                tracing::warn!(path = %record.path.display(), code = refusal.code.as_str(), "plugin file refused: {}; {}", refusal.reason, refusal.code.mend());
                self.metrics.reload(ReloadOutcome::Refused);
                let message = format!("{}: {refusal}", record.path.display());
                self.note("refused", loaded_from.as_ref(), None, record.sha256, message);
            }
            // Files that are not named like a plugin are shown, but they are not what a reload was about.
            if record.path.extension().is_some_and(|extension| extension == "so") {
                refused.push(Reloaded::of(record, loaded_from, Err(refusal.clone())));
            }
        }
        refused
    }

    /// Makes the best candidate serve; the next one only when nothing serves yet.
    pub(super) fn serve(
        self: &Arc<Self>,
        tool_type: &ToolType,
        candidates: &[FileRecord],
        forced: bool,
        reloaded: &mut Vec<Reloaded>,
    ) {
        for record in candidates {
            let (active, refused_before) = {
                let known = self.lock();
                let tool = known.tools.get(tool_type);
                let candidate = tool.and_then(|tool| tool.candidate.as_ref()).map(|(candidate, _)| candidate.clone());
                (tool.and_then(|tool| tool.active.clone()), candidate)
            };
            if !forced {
                if active.as_ref().is_some_and(|active| Some(active.artifact().sha256()) == record.sha256) {
                    if let Some(tool) = self.lock().tools.get_mut(tool_type) {
                        tool.candidate = None;
                    }
                    return;
                }
                let same = |known: &Candidate| known.sha256 == record.sha256 && known.refusal.code.is_of_the_bytes();
                if let Some(known) = refused_before.filter(same) {
                    reloaded.push(Reloaded::of(record, Some(tool_type.clone()), Err(known.refusal)));
                    if active.is_some() {
                        return;
                    }
                    continue;
                }
            }
            match self.load(tool_type, record) {
                Ok(generation) => {
                    let number = generation.number();
                    self.swap(tool_type, generation);
                    self.metrics.reload(ReloadOutcome::Active);
                    reloaded.push(Reloaded::of(record, Some(tool_type.clone()), Ok(number)));
                    return;
                }
                Err(refusal) => {
                    self.metrics.reload(ReloadOutcome::Refused);
                    let still = active.as_ref().map_or_else(
                        || "nothing serves this tool type".to_owned(),
                        |active| format!("{} (generation {}) still serves", active.version(), active.number()),
                    );
                    tracing::warn!(%tool_type, path = %record.path.display(), code = refusal.code.as_str(), "plugin refused: {}; {still}; {}", refusal.reason, refusal.code.mend());
                    self.note("refused", Some(tool_type), None, record.sha256, format!("{refusal}; {still}"));
                    let candidate = (Candidate::of(record, &refusal), self.now_ms());
                    self.lock().tools.entry(tool_type.clone()).or_default().candidate = Some(candidate);
                    if active.is_none() {
                        let route = refusal.code.is_quarantine().then_some(Route::Quarantined);
                        self.routes.set(tool_type, route);
                    }
                    reloaded.push(Reloaded::of(record, Some(tool_type.clone()), Err(refusal)));
                    if active.is_some() {
                        return;
                    }
                }
            }
        }
    }

    /// Proves, copies and maps a file.
    fn load(&self, tool_type: &ToolType, record: &FileRecord) -> Result<Generation, Refusal> {
        if self.stuck.load(Ordering::SeqCst) {
            return Err(Refusal::new(
                Code::LoaderStuck,
                "the dynamic linker is stuck; the host must be restarted first",
            ));
        }
        let condemned = record.sha256.and_then(|sha256| self.lock().condemned.get(&sha256.to_string()).cloned());
        if let Some(last) = condemned {
            return Err(Refusal::new(
                Code::Crashed,
                format!("quarantined after it ended the host again and again: {last}"),
            ));
        }
        let retained = self.lock().retained(tool_type);
        if retained >= self.config.retained_max {
            let message = format!(
                "{retained} generations of this tool type could not be unmapped; plugins.retained_max is reached"
            );
            return Err(Refusal::new(Code::Retained, message));
        }
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let inspected = artifact::inspect(&record.path).map_err(|uninspected| uninspected.refusal)?;
        if Some(inspected.sha256) != record.sha256 {
            return Err(Refusal::new(Code::Unsettled, "it changed while the folder was looked at"));
        }
        let verified = inspected.verify(self.config.permissions, &self.prober, &self.verdicts, &self.copies, number)?;
        let copy = verified.copy().to_owned();
        let services = self.services.clone();
        Generation::load(verified, number, &self.config, services, &self.metrics, &self.starter).inspect_err(
            |refusal| {
                if refusal.code == Code::LoaderStuck {
                    self.loader_stuck(tool_type, inspected.sha256, &refusal.reason);
                } else {
                    let _absent = fs::remove_file(&copy);
                }
            },
        )
    }

    /// From here on new calls go to this generation; the one before it is drained and taken apart beside it.
    fn swap(self: &Arc<Self>, tool_type: &ToolType, generation: Generation) {
        let generation = Arc::new(generation);
        let old = {
            let mut known = self.lock();
            let tool = known.tools.entry(tool_type.clone()).or_default();
            tool.candidate = None;
            tool.active.replace(Arc::clone(&generation))
        };
        self.routes.set(tool_type, Some(Route::Active(Arc::clone(&generation))));
        tracing::info!(
            %tool_type,
            generation = generation.number(),
            version = %generation.version(),
            sha256 = %generation.artifact().sha256(),
            confinement = %generation.artifact().confinement(),
            replaces = old.as_ref().map_or(0, |old| old.number()),
            "plugin serves"
        );
        let (number, sha256) = (generation.number(), generation.artifact().sha256());
        let message = format!(
            "version {} serves, tried in confinement: {}{}",
            generation.version(),
            generation.artifact().confinement(),
            old.as_ref().map_or_else(String::new, |old| format!(
                "; it replaces {} (generation {})",
                old.version(),
                old.number()
            ))
        );
        self.note("serves", Some(tool_type), Some(number), Some(sha256), message);
        (self.on_routes)();
        if let Some(old) = old {
            self.retire(old);
        }
    }
}
