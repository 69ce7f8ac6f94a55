//! Looks at the operator's folder: whoever asks, and however much there is still being written to.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use super::{
    Candidate, Code, Command, Happened, PluginEvent, PluginManager, Refusal, ReloadOutcome, Sha256Sum, Shared,
    ToolType,
    choice::Offer,
    scan::{self, FileRecord, Look},
};
use crate::plugin::signature::Trust;

/// How long a reload that was asked for waits for files to become quiet, besides the quiet period itself.
const UNSETTLED_MAX: Duration = Duration::from_secs(5);

/// What a reload is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reload {
    /// Whatever has changed in the folder.
    Changed,
    /// This tool type, also when its file has not changed.
    One(ToolType),
    /// All, also those that have not changed.
    All,
}

/// What became of a file that a reload was about.
#[derive(Clone, Debug)]
pub struct Reloaded {
    /// Its tool type, where it could be read.
    pub tool_type: Option<ToolType>,
    /// The file.
    pub path: PathBuf,
    /// The generation that serves now, or why none of this file does.
    pub outcome: Result<u64, Refusal>,
    /// The plugin's version, where it could be read.
    pub version: Option<String>,
    /// The file's digest, where it could be read.
    pub sha256: Option<Sha256Sum>,
}

/// What a look at the folder does about files that were written to a moment ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsettled {
    /// Leaves them as they are: whoever asked for the look asks for another one.
    Leave,
    /// Says that they are unsettled.
    Refuse,
}

/// What a look at the folder has come to.
#[derive(Debug, Default)]
pub(super) struct Looked {
    reloaded: Vec<Reloaded>,
    /// When files that were left are worth another look.
    again_in: Option<Duration>,
}

impl PluginManager {
    /// Looks at the folder and loads what the request is about; returns when all of it serves or is refused. Files that are
    /// being written are waited for, for a while; meanwhile those that have changed and are quiet are taken.
    pub async fn reload(&self, what: Reload) -> Vec<Reloaded> {
        let refuse_at = Instant::now() + self.shared.config.settle + UNSETTLED_MAX;
        let mut reloaded = BTreeMap::new();
        loop {
            let unsettled = if Instant::now() < refuse_at { Unsettled::Leave } else { Unsettled::Refuse };
            let looked = self.command(|reply| Command::Look(what.clone(), unsettled, reply)).await;
            reloaded.extend(looked.reloaded.into_iter().map(|reloaded| (reloaded.path.clone(), reloaded)));
            let Some(again_in) = looked.again_in else { break };
            tokio::time::sleep_until(refuse_at.min(Instant::now() + again_in)).await;
        }
        self.shared.scanned.store(true, Ordering::Release);
        reloaded.into_values().collect()
    }

    /// Looks at the folder and takes what has changed and is quiet. When something is not, returns after what time it may
    /// be: the caller looks again then.
    pub async fn look(&self) -> Option<Duration> {
        self.command(|reply| Command::Look(Reload::Changed, Unsettled::Leave, reply)).await.again_in
    }

    /// Returns when all of the folder is quiet and read, or after the time for which a reload would wait.
    pub(super) async fn quiet(&self) {
        let enough = Instant::now() + self.shared.config.settle + UNSETTLED_MAX;
        while let Some(again_in) = self.command(Command::Read).await {
            let again = Instant::now() + again_in;
            if again >= enough {
                return;
            }
            tokio::time::sleep_until(again).await;
        }
    }

    async fn command<T: Default>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> T {
        let (reply, answer) = oneshot::channel();
        if self.commands.send(command(reply)).await.is_err() {
            return T::default();
        }
        answer.await.unwrap_or_default()
    }
}

impl Shared {
    /// Looks, and lets the best serve that there is of each tool type.
    pub(super) fn look(self: &Arc<Self>, reload: &Reload, unsettled: Unsettled) -> Looked {
        let before = self.lock().files.clone();
        let trust = self.limits.now().trust.clone();
        let look = match self.scan(reload, &trust, before.clone()) {
            Ok(look) => look,
            Err(refusal) => {
                let reloaded = vec![Reloaded::of_path(self.config.dir.clone(), None, Err(refusal))];
                return Looked { reloaded, again_in: None };
            }
        };
        let leave = unsettled == Unsettled::Leave;
        if leave && look.again_in.is_some() && *reload != Reload::Changed {
            // What is loaded anew is loaded once: when everything is quiet.
            let left = look.unsettled.iter().filter_map(|path| Some((path.clone(), look.files.get(path)?.clone())));
            self.lock().files.extend(left);
            return Looked { reloaded: Vec::new(), again_in: look.again_in };
        }
        let mut reloaded = self.found(&before, &look, trust);
        for tool_type in self.tool_types() {
            self.serve_best(&tool_type, reload.names(&tool_type), &mut reloaded);
        }
        if leave {
            // Another look says what becomes of a file that is being written. Until then only its bytes from before are known.
            reloaded.retain(|reloaded| !look.unsettled.contains(&reloaded.path));
            return Looked { reloaded, again_in: look.again_in };
        }
        reloaded.extend(look.unsettled.iter().map(|path| {
            let found = look.files.get(path).and_then(|record| record.found.as_ref().ok());
            let refusal = Refusal::new(Code::Unsettled, "it still changes, or is about to be replaced");
            Reloaded::of_path(path.clone(), found.map(|(tool_type, ..)| tool_type.clone()), Err(refusal))
        }));
        Looked { reloaded, again_in: None }
    }

    /// Looks, and lets serve what serves. When something is not quiet, returns after what time it may be.
    pub(super) fn read(&self) -> Option<Duration> {
        let before = self.lock().files.clone();
        let trust = self.limits.now().trust.clone();
        let look = self.scan(&Reload::Changed, &trust, before.clone()).ok()?;
        self.found(&before, &look, trust);
        look.again_in
    }

    /// Takes over what a look has found, and says what is refused by its bytes alone.
    fn found(&self, before: &BTreeMap<PathBuf, FileRecord>, look: &Look, trust: Trust) -> Vec<Reloaded> {
        if self.scanned.load(Ordering::Acquire) {
            self.note_found(before, &look.files);
        }
        let refused = self.refused(before, &look.files);
        let mut known = self.lock();
        known.files = look.files.clone();
        known.trust = trust;
        refused
    }

    /// Notes the files whose bytes are others than before. A file that cannot be read yet is noted once it can.
    fn note_found(&self, before: &BTreeMap<PathBuf, FileRecord>, files: &BTreeMap<PathBuf, FileRecord>) {
        for record in files.values().filter(|record| record.sha256.is_some()) {
            if before.get(&record.path).is_some_and(|known| known.sha256 == record.sha256) {
                continue;
            }
            let named = record.found.as_ref().ok();
            let event = PluginEvent::new(Happened::Found, record.path.display().to_string())
                .with_sha256(record.sha256)
                .with_version(named.map(|(_, version, _)| version));
            self.note(PluginEvent { tool_type: named.map(|(tool_type, ..)| tool_type.to_string()), ..event });
        }
    }

    /// The files that are newly refused by their bytes alone; one that stands where a plugin was loaded from is that
    /// plugin's candidate.
    fn refused(&self, before: &BTreeMap<PathBuf, FileRecord>, files: &BTreeMap<PathBuf, FileRecord>) -> Vec<Reloaded> {
        let mut refused = Vec::new();
        for record in files.values() {
            let Err(refusal) = &record.found else { continue };
            // Files that are not named like a plugin are shown, but nobody asked for them to be loaded.
            if record.path.extension().is_none_or(|extension| extension != "so") {
                continue;
            }
            let loaded_from = self.lock().loaded_from(&record.path);
            let known = before.get(&record.path).is_some_and(|known| known.found.as_ref().err() == Some(refusal));
            if !known {
                tracing::warn!(path = %record.path.display(), code = refusal.code.as_str(), "plugin file refused: {}; {}", refusal.reason, refusal.code.mend());
                self.metrics.reload(ReloadOutcome::Refused);
                let message = format!("{}: {refusal}", record.path.display());
                let event = PluginEvent::new(Happened::Refused, message).with_sha256(record.sha256);
                self.note(PluginEvent { tool_type: loaded_from.as_ref().map(ToString::to_string), ..event });
            }
            refused.push(Reloaded::of(record, loaded_from, Err(refusal.clone())));
        }
        refused
    }

    /// Looks at the folder, and reads anew what the request names; all of it when others are trusted than at the last look.
    /// When it cannot be read, what serves goes on.
    fn scan(&self, reload: &Reload, trust: &Trust, mut known: BTreeMap<PathBuf, FileRecord>) -> Result<Look, Refusal> {
        let judged_anew = self.lock().trust != *trust;
        for record in known.values_mut() {
            let named =
                record.found.as_ref().map_or(*reload != Reload::Changed, |(tool_type, ..)| reload.names(tool_type));
            if named || judged_anew {
                record.stamp = None;
            }
        }
        let scanned = scan::scan(&self.config.dir, &known, trust, self.config.settle, self.now_ms());
        let fault = scanned.as_ref().err().map(io::Error::kind);
        let told = std::mem::replace(&mut *self.unreadable.lock().unwrap_or_else(PoisonError::into_inner), fault);
        scanned.map_err(|fault| {
            let reason = format!("the plugin folder cannot be read: {fault}");
            if told != Some(fault.kind()) {
                let serves = self.lock().tools.values().any(|tool| tool.active.is_some());
                let state = match serves {
                    true => "what serves goes on",
                    false => "no plugin serves: make the folder, or set plugins.dir and start again",
                };
                tracing::warn!(folder = %self.config.dir.display(), "{reason}; {state}");
            }
            Refusal::new(Code::Open, reason)
        })
    }
}

impl Reload {
    /// Whether this tool type is loaded anew also when its file has not changed.
    pub(super) fn names(&self, tool_type: &ToolType) -> bool {
        match self {
            Self::Changed => false,
            Self::One(one) => one == tool_type,
            Self::All => true,
        }
    }
}

impl Reloaded {
    pub(super) fn of(record: &FileRecord, tool_type: Option<ToolType>, outcome: Result<u64, Refusal>) -> Self {
        let named = record.found.as_ref().ok();
        Self {
            tool_type: tool_type.or_else(|| named.map(|(tool_type, ..)| tool_type.clone())),
            path: record.path.clone(),
            outcome,
            version: named.map(|(_, version, _)| version.to_string()),
            sha256: record.sha256,
        }
    }

    pub(super) fn of_offer(tool_type: &ToolType, offer: &Offer, outcome: Result<u64, Refusal>) -> Self {
        Self {
            tool_type: Some(tool_type.clone()),
            path: offer.path.clone(),
            outcome,
            version: Some(offer.version.to_string()),
            sha256: Some(offer.sha256),
        }
    }

    pub(super) fn of_candidate(tool_type: &ToolType, candidate: &Candidate) -> Self {
        Self {
            tool_type: Some(tool_type.clone()),
            path: candidate.path.clone(),
            outcome: Err(candidate.refusal.clone()),
            version: candidate.version.clone(),
            sha256: candidate.sha256,
        }
    }

    fn of_path(path: PathBuf, tool_type: Option<ToolType>, outcome: Result<u64, Refusal>) -> Self {
        Self { tool_type, path, outcome, version: None, sha256: None }
    }
}
