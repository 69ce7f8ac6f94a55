//! From what could serve a tool type to the generation that does: prove, load, swap, in this order.

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use super::{
    Candidate, Code, Counts, Generation, Happened, PluginEvent, Refusal, ReloadOutcome, Reloaded, Route, Shared,
    ToolType,
    artifact::{self, InspectedArtifact},
    choice::{Offer, Ranking, Source},
    record::Served,
};

/// What serves after an offer was taken.
enum Taken {
    /// The same as before.
    Already,
    /// A new generation with this number.
    Now(u64),
}

impl Shared {
    /// Makes the best that there is serve; what serves goes on when nothing better can be loaded.
    pub(super) fn serve_best(self: &Arc<Self>, tool_type: &ToolType, forced: bool, reloaded: &mut Vec<Reloaded>) {
        let (files, record) = (self.files_of(tool_type), self.record(tool_type));
        let spoiled = self.lock().spoiled(tool_type);
        let is_spoiled = spoiled.is_some();
        if record.disabled {
            self.take_away(tool_type, Some(Route::Disabled));
            if let Some(file) = files.first().filter(|_| forced) {
                let refusal = Refusal::new(Code::Disabled, "an operator has disabled the plugin");
                reloaded.push(Reloaded::of(file, Some(tool_type.clone()), Err(refusal)));
            }
            return;
        }
        if files.is_empty() && !is_spoiled {
            return self.missing(tool_type);
        }
        if let Some(tool) = self.lock().tools.get_mut(tool_type) {
            let is_there = |sha256| files.iter().any(|file| file.sha256 == Some(sha256)) || record.of(sha256).is_some();
            tool.refused.retain(|sha256, _| !forced && is_there(*sha256));
        }
        let passed_over = files.first().filter(|_| record.pinned.is_none()).and_then(|best| {
            let why = record.passed_over(best.sha256?)?;
            Some(Candidate::of(best, &Refusal::new(Code::RolledBack, format!("it was rolled back: {why}"))))
        });
        if let Some(candidate) = passed_over.as_ref().filter(|_| forced) {
            reloaded.push(Reloaded::of_candidate(tool_type, candidate));
        }
        let away = files.iter().any(|file| file.gone_since.is_some());
        let mut candidate = passed_over.or(spoiled);
        let mut ranking = Ranking::new(&files, is_spoiled || away, &record, |sha256| self.kept.holds(sha256));
        let mut tried = false;
        while let Some(offer) = ranking.next() {
            tried = true;
            let refusal = match self.serve(tool_type, &offer, forced, candidate.as_ref()) {
                Ok(Taken::Already) => break,
                Ok(Taken::Now(number)) => {
                    reloaded.push(Reloaded::of_offer(tool_type, &offer, Ok(number)));
                    break;
                }
                Err(refusal) => refusal,
            };
            reloaded.push(Reloaded::of_offer(tool_type, &offer, Err(refusal.clone())));
            candidate.get_or_insert_with(|| Candidate::of_offer(&offer, refusal));
            ranking.failed();
        }
        if let Some(pin) = record.pinned.as_ref().filter(|_| !tried)
            && let Some(file) = files.first()
        {
            let refusal = Refusal::new(Code::Pinned, format!("{pin} is pinned, and is neither in the folder nor kept"));
            candidate = Some(Candidate::of(file, &refusal));
            reloaded.push(Reloaded::of(file, Some(tool_type.clone()), Err(refusal)));
        }
        self.set_candidate(tool_type, candidate);
    }

    /// Loads an offer, unless it serves already or is known to be bad. `instead_of` was to serve and is not good; then what
    /// serves is not loaded anew.
    fn serve(
        self: &Arc<Self>,
        tool_type: &ToolType,
        offer: &Offer,
        forced: bool,
        instead_of: Option<&Candidate>,
    ) -> Result<Taken, Refusal> {
        let (active, known_bad) = {
            let known = self.lock();
            let tool = known.tools.get(tool_type);
            let known_bad = tool.and_then(|tool| tool.refused.get(&offer.sha256)).cloned();
            (tool.and_then(|tool| tool.active.clone()), known_bad)
        };
        let distrusted = self.distrusted(tool_type, offer);
        let serves = active.as_ref().is_some_and(|active| active.artifact().sha256() == offer.sha256);
        if serves && distrusted.is_none() && !(forced && instead_of.is_none()) {
            self.moved(tool_type, offer);
            return Ok(Taken::Already);
        }
        if let Some(refusal) = known_bad {
            return Err(refusal);
        }
        match distrusted.map_or_else(|| self.load(tool_type, offer), Err) {
            Ok(generation) => {
                let number = generation.number();
                self.swap(tool_type, offer, instead_of, generation);
                self.metrics.reload(ReloadOutcome::Active);
                Ok(Taken::Now(number))
            }
            Err(refusal) => {
                // The same bytes may be offered twice: from the folder, and as what was kept of them.
                let same =
                    |known: &&Candidate| known.sha256 == Some(offer.sha256) && known.refusal.code == refusal.code;
                let is_said = instead_of.filter(same).is_some() || self.lock().is_candidate(tool_type, offer, &refusal);
                if !is_said {
                    self.complain(tool_type, offer, &refusal, active.as_deref());
                }
                if refusal.code.is_of_the_bytes() {
                    let mut known = self.lock();
                    let tool = known.tools.entry(tool_type.clone()).or_default();
                    tool.refused.insert(offer.sha256, refusal.clone());
                }
                Err(refusal)
            }
        }
    }

    /// Says why an offer is not taken, and what serves all the same.
    fn complain(&self, tool_type: &ToolType, offer: &Offer, refusal: &Refusal, active: Option<&Generation>) {
        self.metrics.reload(ReloadOutcome::Refused);
        let still = active.map_or_else(
            || "nothing serves this tool type".to_owned(),
            |active| format!("{} (generation {}) still serves", active.version(), active.number()),
        );
        let path = self.place(offer);
        tracing::warn!(%tool_type, path = %path.display(), code = refusal.code.as_str(), "plugin refused: {}; {still}; {}", refusal.reason, refusal.code.mend());
        let event = PluginEvent::new(Happened::Refused, format!("{refusal}; {still}")).of(tool_type);
        self.note(event.with_sha256(Some(offer.sha256)).with_version(Some(&offer.version)));
    }

    /// Why a file of the folder may not serve, by its signature and by what has served. What was kept is looked at when it
    /// is loaded, and is no downgrade: the host, or an operator, goes back to it on purpose.
    fn distrusted(&self, tool_type: &ToolType, offer: &Offer) -> Option<Refusal> {
        if offer.source == Source::Kept {
            return None;
        }
        let known = self.lock();
        let file = known.files.get(&offer.path).filter(|file| file.sha256 == Some(offer.sha256))?;
        let record = known.records.get(tool_type);
        let served = record
            .filter(|record| record.pinned.is_none())
            .and_then(|record| record.good().find(|served| served.signed).map(|served| &served.version));
        let older = || file.signature.as_ref()?.check_not_older(&offer.version, served).err();
        file.distrusted.clone().or_else(older)
    }

    /// Where an offer's bytes are.
    fn place(&self, offer: &Offer) -> PathBuf {
        match offer.source {
            Source::Folder => offer.path.clone(),
            Source::Kept => self.kept.path(offer.sha256),
        }
    }

    /// What serves has been found at this place: renamed, or put back.
    fn moved(&self, tool_type: &ToolType, offer: &Offer) {
        if offer.source == Source::Kept {
            return;
        }
        if let Some(tool) = self.lock().tools.get_mut(tool_type) {
            tool.path = Some(offer.path.clone());
        }
        if self.record(tool_type).of(offer.sha256).is_some_and(|served| served.path != offer.path) {
            self.amend_or_warn(tool_type, |record| {
                if let Some(served) = record.of_mut(offer.sha256) {
                    served.path.clone_from(&offer.path);
                }
            });
        }
    }

    /// Proves, copies and maps an offer.
    fn load(&self, tool_type: &ToolType, offer: &Offer) -> Result<Generation, Refusal> {
        if self.stuck.load(Ordering::SeqCst) {
            return Err(Refusal::new(
                Code::LoaderStuck,
                "the dynamic linker is stuck; the host must be restarted first",
            ));
        }
        if let Some(refusal) = self.lock().condemned.get(&offer.sha256.to_string()) {
            return Err(refusal.clone());
        }
        let retained = self.lock().retained(tool_type);
        if retained >= self.config.retained_max {
            let generations = if retained == 1 { "generation" } else { "generations" };
            let message = format!(
                "{retained} {generations} of this tool type could not be unmapped; plugins.retained_max is reached"
            );
            return Err(Refusal::new(Code::Retained, message));
        }
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let inspected = self.inspected(offer)?;
        let began = Instant::now();
        let verified = inspected.verify(self.config.permissions, &self.prober, &self.verdicts, &self.copies, number)?;
        let (proven, copy) = (began.elapsed(), verified.copy().to_owned());
        let before = self.account_before(tool_type, offer);
        let services = self.services.clone();
        let generation =
            Generation::load(verified, number, before, &self.config, services, &self.metrics, &self.starter)
                .inspect_err(|refusal| {
                    if refusal.code == Code::LoaderStuck {
                        self.loader_stuck(tool_type, inspected.sha256, &refusal.reason);
                    } else {
                        let _absent = fs::remove_file(&copy);
                    }
                })?;
        let mapped = began.elapsed().saturating_sub(proven);
        let message = format!("proven in {} ms, mapped in {} ms", proven.as_millis(), mapped.as_millis());
        self.note(PluginEvent::new(Happened::Loaded, message).about(&generation));
        Ok(generation)
    }

    /// The offer's bytes: those that the look has read, where they were kept.
    fn inspected(&self, offer: &Offer) -> Result<Arc<InspectedArtifact>, Refusal> {
        let trust = &self.limits.now().trust;
        if offer.source == Source::Folder {
            let file = self.lock().files.get(&offer.path).filter(|file| file.sha256 == Some(offer.sha256)).cloned();
            let gone = || Refusal::new(Code::Unsettled, "it changed while the folder was looked at");
            return file.ok_or_else(gone)?.inspected(trust);
        }
        let kept =
            artifact::inspect(&self.kept.path(offer.sha256), trust).map_err(|uninspected| uninspected.refusal)?;
        if kept.sha256 != offer.sha256 {
            return Err(Refusal::new(Code::Copy, "what was kept has been changed in the state folder"));
        }
        Ok(Arc::new(kept))
    }

    /// What a new generation is compared with in its probation: none for bytes that have passed one, or where there is
    /// nothing to go back to.
    fn account_before(&self, tool_type: &ToolType, offer: &Offer) -> Option<Counts> {
        let known = self.lock();
        let record = known.records.get(tool_type)?;
        if record.of(offer.sha256).is_some_and(|served| served.proven) {
            return None;
        }
        record.before(offer.sha256)?;
        let active = known.tools.get(tool_type).and_then(|tool| tool.active.as_ref());
        Some(active.map(|active| active.counts()).unwrap_or_default())
    }

    /// From here on new calls go to this generation; the one before it is drained and taken apart beside it.
    fn swap(
        self: &Arc<Self>,
        tool_type: &ToolType,
        offer: &Offer,
        instead_of: Option<&Candidate>,
        generation: Generation,
    ) {
        let generation = Arc::new(generation);
        let now_ms = self.now_ms();
        let old = {
            let mut known = self.lock();
            let tool = known.tools.entry(tool_type.clone()).or_default();
            tool.is_to_be(instead_of, now_ms);
            tool.path = Some(self.place(offer));
            tool.missing_since_ms = None;
            tool.active.replace(Arc::clone(&generation))
        };
        self.routes.set(tool_type, Some(Route::Active(Arc::clone(&generation))));
        self.wakes.wake_all();
        tracing::info!(
            %tool_type,
            generation = generation.number(),
            version = %generation.version(),
            sha256 = %generation.artifact().sha256(),
            signature = %generation.artifact().signature(),
            confinement = %generation.artifact().confinement(),
            replaces = old.as_ref().map_or(0, |old| old.number()),
            "plugin serves"
        );
        let replaces = old.as_ref().map_or_else(String::new, |old| {
            let same = old.version() == generation.version() && old.artifact().sha256() != generation.artifact().sha256();
            if same {
                tracing::warn!(%tool_type, version = %old.version(), "other bytes under the same version: ask the vendor for a version of its own for each build");
            }
            let other_bytes = if same { ", of the same version with other bytes" } else { "" };
            format!("; it replaces {} (generation {}){other_bytes}", old.version(), old.number())
        });
        let message = format!(
            "version {} serves, tried in confinement: {}{replaces}",
            generation.version(),
            generation.artifact().confinement()
        );
        self.note(PluginEvent::new(Happened::Swapped, message).about(&generation));
        self.keep(tool_type, offer, &generation);
        if let Some(old) = old {
            self.retire(old);
        }
    }

    /// Keeps what serves, to go back to it one day, and forgets what is too old for that.
    fn keep(&self, tool_type: &ToolType, offer: &Offer, generation: &Generation) {
        let sha256 = offer.sha256;
        if let Err(fault) = self.kept.keep(generation.artifact()) {
            tracing::warn!(%tool_type, %sha256, "it cannot be kept, so there will be no going back to it: {fault}");
        }
        let record = self.record(tool_type);
        let now = Served {
            sha256,
            version: offer.version.clone(),
            path: offer.path.clone(),
            at_ms: self.now_ms(),
            proven: record.before(sha256).is_none(),
            signed: generation.artifact().signature().is_trusted(),
            passed_over: None,
        };
        // A start that finds what served before has nothing to write.
        if record.served.last().is_some_and(|last| last.is_still(&now)) {
            return;
        }
        self.amend_or_warn(tool_type, |record| record.serves(now));
        let kept: BTreeSet<_> = {
            let known = self.lock();
            known.records.values().flat_map(|record| record.worth_keeping()).collect()
        };
        if let Err(fault) = self.kept.retain(&kept) {
            tracing::warn!("copies that nobody needs stay in the state folder: {fault}");
        }
    }
}
