//! What is decided about a tool type, by operators or by the host itself: which version serves, and whether any does.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Generation, Happened, Judgement, PluginEvent, Refusal, ReloadOutcome, Reloaded, Sha256Sum, Shared, ToolType,
    choice::{Offer, Ranking},
    record::{Because, Pin, Served, ToolRecord},
};
use crate::{plugin::journal::Decided, store::StoreError};

/// What can be decided about a tool type. It holds until something else is decided, over restarts too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// What serves is passed over until its file changes; what served before it serves.
    RollBack,
    /// This version or digest serves, whatever else comes.
    Pin(Pin),
    /// No longer.
    Unpin,
    /// The plugin does not serve: webhooks are answered 503, jobs wait.
    Disable,
    /// It serves again, and what the host kept it from serving for is forgotten: crashes, breakers, rollbacks.
    Enable,
}

/// Why something was not decided. All is as it was.
#[derive(Debug, thiserror::Error)]
pub enum Undecided {
    /// There is neither a file nor a memory of it.
    #[error("no plugin of this tool type is known")]
    Unknown,
    /// There is nothing to roll back.
    #[error("nothing serves this tool type")]
    NothingServes,
    /// There is nothing to roll back to.
    #[error("of what served before {0}, nothing is kept that was good")]
    NothingBefore(semver::Version),
    /// A pin stands against it.
    #[error("{0} is pinned")]
    Pinned(Pin),
    /// The plugin is disabled.
    #[error("the plugin is disabled")]
    Disabled,
    /// The version to pin is neither in the folder nor kept.
    #[error("{pin} is neither in the folder nor kept; there is: {there}")]
    NotThere {
        /// What was asked for.
        pin: Pin,
        /// Versions and digests that could be pinned.
        there: String,
    },
    /// A digest's first digits mean several artifacts.
    #[error("{0} is the beginning of several digests; give more digits")]
    Several(Pin),
    /// What is to serve was refused.
    #[error("{0}")]
    Refused(Refusal),
    /// The folder has no file of it.
    #[error("{0}")]
    Missing(Refusal),
    /// It cannot be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The host is ending.
    #[error("the host is ending")]
    Ending,
}

impl Shared {
    /// Takes over what an earlier host has kept. What ended that host during its probation is rolled back.
    pub(super) fn remember(&self, records: BTreeMap<ToolType, ToolRecord>, crashed: &BTreeSet<String>) {
        let used: BTreeSet<_> = self.services.directory.list().iter().map(|tenant| tenant.tool_type.clone()).collect();
        for (tool_type, record) in records {
            let ended_it = record.served.last().filter(|last| {
                let crashed = crashed.contains(&last.sha256.to_string());
                crashed && !last.proven && last.passed_over.is_none() && record.before(last.sha256).is_some()
            });
            let ended_it = ended_it.map(|last| last.sha256);
            {
                let mut known = self.lock();
                // Otherwise a plugin removed for good would be reported missing forever.
                if used.contains(&tool_type) || record.disabled || record.pinned.is_some() {
                    known.tools.entry(tool_type.clone()).or_default();
                }
                known.records.insert(tool_type.clone(), record);
            }
            if let Some(sha256) = ended_it {
                self.pass_over(&tool_type, sha256, "it ended the host during its probation");
            }
        }
    }

    pub(super) fn decide(
        self: &Arc<Self>,
        tool_type: &ToolType,
        decision: Decision,
        decided: &Decided,
    ) -> Result<Vec<Reloaded>, Undecided> {
        if !self.tool_types().contains(tool_type) {
            return Err(Undecided::Unknown);
        }
        match decision {
            Decision::RollBack => self.roll_back(tool_type, decided),
            Decision::Pin(pin) => self.pin(tool_type, pin, decided),
            Decision::Unpin => {
                let record = ToolRecord { pinned: None, ..self.record(tool_type) };
                let event = PluginEvent::new(Happened::Unpinned, "the highest version serves again");
                self.follow(tool_type, record, event, decided)
            }
            Decision::Disable => {
                let because = Because { why: decided.why.clone(), at_ms: self.now_ms() };
                let record = match self.record(tool_type) {
                    // Said again without a reason, the one that was given holds.
                    record if record.disabled && because.why.is_none() => record,
                    record => ToolRecord { disabled: true, disabled_because: Some(because), ..record },
                };
                let event = PluginEvent::new(Happened::Disabled, "its webhooks are answered 503, its jobs wait");
                let event = match self.active(tool_type) {
                    Some(active) => event.about(&active),
                    None => event,
                };
                self.follow(tool_type, record, event, decided)
            }
            Decision::Enable => {
                let reloaded = self.enable(tool_type, decided)?;
                let known = self.lock();
                match known.tools.get(tool_type).is_none_or(|tool| tool.active.is_none()) && reloaded.is_empty() {
                    true => Err(Undecided::Missing(self.why_missing(&known, tool_type))),
                    false => Ok(reloaded),
                }
            }
        }
    }

    fn roll_back(self: &Arc<Self>, tool_type: &ToolType, decided: &Decided) -> Result<Vec<Reloaded>, Undecided> {
        let record = self.record(tool_type);
        if record.disabled {
            return Err(Undecided::Disabled);
        }
        if let Some(pin) = &record.pinned {
            return Err(Undecided::Pinned(pin.clone()));
        }
        let active = self.active(tool_type).ok_or(Undecided::NothingServes)?;
        let sha256 = active.artifact().sha256();
        let before = self.before(&record, sha256).ok_or_else(|| Undecided::NothingBefore(active.version().clone()))?;
        let mut amended = record.clone();
        if let Some(bad) = amended.of_mut(sha256) {
            bad.passed_over =
                Some(decided.why.clone().unwrap_or_else(|| "by an operator, who gave no reason".to_owned()));
        }
        self.amend(tool_type, amended)?;
        let reloaded = self.serve_best_now(tool_type);
        if self.active(tool_type).is_some_and(|active| active.artifact().sha256() == sha256) {
            self.amend(tool_type, record)?;
            return Err(refusal_in(&reloaded, "it was not loaded"));
        }
        let message = passed_over(&active, &before);
        self.note(PluginEvent::new(Happened::RolledBack, message).about(&active).by(decided));
        Ok(reloaded)
    }

    fn pin(self: &Arc<Self>, tool_type: &ToolType, pin: Pin, decided: &Decided) -> Result<Vec<Reloaded>, Undecided> {
        let record = self.record(tool_type);
        let (pin, offer) = self.resolved(tool_type, pin, &record)?;
        let disabled = record.disabled;
        let event = PluginEvent::new(Happened::Pinned, format!("{pin} serves, whatever else comes"));
        let event = event.with_version(Some(&offer.version)).with_sha256(Some(offer.sha256));
        let amended = ToolRecord { pinned: Some(pin.clone()), ..record.clone() };
        let reloaded = self.follow(tool_type, amended, event, decided)?;
        let active = self.active(tool_type);
        let serves = active.as_ref().is_some_and(|now| pin.means(now.version(), now.artifact().sha256()));
        // With no file in the folder it waits for one.
        if !serves && !disabled && !reloaded.is_empty() {
            let undone = PluginEvent::new(Happened::Unpinned, format!("{pin} was refused; all is as it was"));
            self.follow(tool_type, record, undone, &Decided::BY_HOST)?;
            return Err(refusal_in(&reloaded, "it was not loaded"));
        }
        Ok(reloaded)
    }

    /// A version stays what it is; of a digest that is there, all digits. With what is to serve by it.
    fn resolved(&self, tool_type: &ToolType, pin: Pin, record: &ToolRecord) -> Result<(Pin, Offer), Undecided> {
        let pinned = ToolRecord { pinned: Some(pin.clone()), ..record.clone() };
        let files = self.files_of(tool_type);
        let mut ranking = Ranking::new(&files, false, &pinned, |sha256| self.kept.holds(sha256));
        let best = ranking.next();
        let others = std::iter::from_fn(|| ranking.next());
        match (&pin, best) {
            (_, None) => {
                let files = files.iter().filter_map(|file| Some((&file.found.as_ref().ok()?.1, file.sha256?)));
                let kept = record.served.iter().filter(|served| self.kept.holds(served.sha256));
                let all = files.chain(kept.map(|served| (&served.version, served.sha256)));
                let there: BTreeSet<_> =
                    all.map(|(version, sha256)| format!("{version} ({:.12})", sha256.to_string())).collect();
                let there = if there.is_empty() { "nothing".to_owned() } else { join(there) };
                Err(Undecided::NotThere { pin, there })
            }
            (Pin::Digest(_), Some(best)) if others.map(|offer| offer.sha256).any(|sha256| sha256 != best.sha256) => {
                Err(Undecided::Several(pin))
            }
            (Pin::Digest(_), Some(best)) => Ok((Pin::Digest(best.sha256.to_string()), best)),
            (Pin::Version(_), Some(best)) => Ok((pin, best)),
        }
    }

    fn enable(self: &Arc<Self>, tool_type: &ToolType, decided: &Decided) -> Result<Vec<Reloaded>, Undecided> {
        let mut record = self.record(tool_type);
        (record.disabled, record.disabled_because) = (false, None);
        record.served.iter_mut().for_each(|served| served.passed_over = None);
        let kept = record.served.iter().map(|served| served.sha256);
        let files = self.files_of(tool_type).into_iter().filter_map(|file| file.sha256);
        let forgiven: BTreeSet<_> = kept.chain(files).collect();
        self.amend(tool_type, record)?;
        for sha256 in forgiven {
            if self.lock().condemned.remove(&sha256.to_string()).is_some() {
                let event = PluginEvent::new(Happened::Enabled, "its crashes are forgotten").of(tool_type);
                self.note(event.with_sha256(Some(sha256)).by(decided));
            }
        }
        let event = PluginEvent::new(Happened::Enabled, "it serves again; crashes and rollbacks are forgotten");
        self.note(event.of(tool_type).by(decided));
        let mut reloaded = Vec::new();
        self.serve_best(tool_type, true, &mut reloaded);
        Ok(reloaded)
    }

    /// A generation's probation has ended.
    pub(super) fn judged(self: &Arc<Self>, generation: &Arc<Generation>, judgement: Judgement) {
        let (tool_type, sha256) = (generation.tool_type(), generation.artifact().sha256());
        match judgement {
            Judgement::Passed => self.amend_or_warn(tool_type, |record| {
                if let Some(good) = record.of_mut(sha256) {
                    good.proven = true;
                }
            }),
            Judgement::Failed(_) if !self.active(tool_type).is_some_and(|active| Arc::ptr_eq(&active, generation)) => {}
            Judgement::Quarantined { why, pause } => {
                let pause_s = pause.as_secs();
                self.note_quarantined(generation, &format!("{why}; one call is let through in {pause_s} s"));
            }
            Judgement::Released => {
                let message = "it has passed its trial, and gets calls again";
                self.note(PluginEvent::new(Happened::Released, message).about(generation));
                self.wakes.wake_all();
            }
            Judgement::Failed(account) => {
                let Some(before) = self.before(&self.record(tool_type), sha256) else {
                    return self.note_quarantined(generation, &account);
                };
                let message = passed_over(generation, &before);
                tracing::error!(%tool_type, generation = generation.number(), "rolled back: {account}; {message}");
                let event = PluginEvent::new(Happened::RolledBack, message).about(generation);
                self.note(PluginEvent { why: Some(account.clone()), ..event });
                self.metrics.reload(ReloadOutcome::RolledBack);
                self.amend_or_warn(tool_type, |record| {
                    if let Some(bad) = record.of_mut(sha256) {
                        bad.passed_over = Some(account);
                    }
                });
                self.serve_best_now(tool_type);
            }
        }
    }

    fn note_quarantined(&self, generation: &Generation, why: &str) {
        let message = format!("it failed too often and gets no calls for now: {why}");
        self.note(PluginEvent::new(Happened::Quarantined, message).about(generation));
    }

    fn pass_over(&self, tool_type: &ToolType, sha256: Sha256Sum, why: &str) {
        tracing::error!(%tool_type, %sha256, "rolled back: {why}");
        let event = PluginEvent::new(Happened::RolledBack, "it is passed over until its file changes").of(tool_type);
        self.note(PluginEvent { why: Some(why.to_owned()), ..event.with_sha256(Some(sha256)) });
        self.amend_or_warn(tool_type, |record| {
            if let Some(bad) = record.of_mut(sha256) {
                bad.passed_over = Some(why.to_owned());
            }
        });
    }

    /// Keeps the record, says so in the journal, and does what follows from it.
    fn follow(
        self: &Arc<Self>,
        tool_type: &ToolType,
        record: ToolRecord,
        event: PluginEvent,
        decided: &Decided,
    ) -> Result<Vec<Reloaded>, Undecided> {
        if self.record(tool_type) != record {
            self.amend(tool_type, record)?;
            self.note(event.of(tool_type).by(decided));
        }
        Ok(self.serve_best_now(tool_type))
    }

    fn serve_best_now(self: &Arc<Self>, tool_type: &ToolType) -> Vec<Reloaded> {
        let mut reloaded = Vec::new();
        self.serve_best(tool_type, false, &mut reloaded);
        reloaded
    }

    pub(super) fn record(&self, tool_type: &ToolType) -> ToolRecord {
        self.lock().records.get(tool_type).cloned().unwrap_or_default()
    }

    fn active(&self, tool_type: &ToolType) -> Option<Arc<Generation>> {
        self.lock().tools.get(tool_type).and_then(|tool| tool.active.clone())
    }

    /// What to go back to from these bytes.
    fn before(&self, record: &ToolRecord, sha256: Sha256Sum) -> Option<Served> {
        record.before(sha256).filter(|before| self.kept.holds(before.sha256)).cloned()
    }

    /// Keeps a record, on disk first.
    fn amend(&self, tool_type: &ToolType, record: ToolRecord) -> Result<(), StoreError> {
        self.runtime.block_on(self.store.keep_plugin_record(tool_type.to_string(), record.to_json()))?;
        self.lock().records.insert(tool_type.clone(), record);
        Ok(())
    }

    /// Changes a record as something has happened that cannot be undone; what cannot be kept holds until the host ends.
    pub(super) fn amend_or_warn(&self, tool_type: &ToolType, change: impl FnOnce(&mut ToolRecord)) {
        let mut record = self.record(tool_type);
        change(&mut record);
        if let Err(fault) = self.amend(tool_type, record.clone()) {
            tracing::warn!(%tool_type, "what serves now will not be known after a restart: {fault}");
            self.lock().records.insert(tool_type.clone(), record);
        }
    }
}

/// What was rolled back and what serves instead: by their digests too, where both bear one version.
fn passed_over(bad: &Generation, before: &Served) -> String {
    let same = *bad.version() == before.version;
    let digest = |sha256: Sha256Sum| if same { format!(" ({:.8})", sha256.to_string()) } else { String::new() };
    let (bad, its) = (bad.version(), digest(bad.artifact().sha256()));
    format!("{bad}{its} is passed over until its file changes; {}{} serves", before.version, digest(before.sha256))
}

fn refusal_in(reloaded: &[Reloaded], otherwise: &str) -> Undecided {
    let refusal = reloaded.iter().find_map(|reloaded| reloaded.outcome.as_ref().err().cloned());
    Undecided::Refused(refusal.unwrap_or_else(|| Refusal::new(super::Code::Load, otherwise)))
}

fn join(texts: BTreeSet<String>) -> String {
    texts.into_iter().collect::<Vec<_>>().join(", ")
}
