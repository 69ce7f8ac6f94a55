//! Retires generations: drains those that are no longer routed to, unloads them, and reports those that cannot be unloaded.

use std::{
    fs,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{Generation, Happened, Known, PluginEvent, Retained, Retiring, Route, Sha256Sum, Shared, ToolType};
use crate::{config::WhenStuck, plugin::loader};

/// How long a generation's lanes may take to end after it has drained.
pub(super) const LANES_MAX: Duration = Duration::from_secs(10);
/// How often a generation that is retained is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl Shared {
    /// A tool type without any file is served no more.
    pub(super) fn missing(self: &Arc<Self>, tool_type: &ToolType) {
        let served = self.take_away(tool_type, None);
        let now_ms = self.now_ms();
        if let Some(tool) = self.lock().tools.get_mut(tool_type) {
            tool.missing_since_ms.get_or_insert(now_ms);
        }
        if served {
            self.note(PluginEvent::new(Happened::Missing, "its file is gone from the folder").of(tool_type));
            tracing::warn!(%tool_type, "the plugin's file is gone: its tenants' webhooks are answered 503, jobs wait");
        }
    }

    /// Lets nothing serve this tool type any more; false when nothing did.
    pub(super) fn take_away(self: &Arc<Self>, tool_type: &ToolType, route: Option<Route>) -> bool {
        let generation = self.lock().tools.get_mut(tool_type).and_then(|tool| {
            (tool.candidate, tool.path) = (None, None);
            tool.active.take()
        });
        self.routes.set(tool_type, route);
        let served = generation.is_some();
        generation.into_iter().for_each(|generation| self.retire(generation));
        served
    }

    /// Drains the generation and takes it apart; what keeps it is shown, and looked at again until it is gone.
    pub(super) fn retire(self: &Arc<Self>, generation: Arc<Generation>) {
        self.lock().retired.push(Retiring { generation: Arc::clone(&generation), retained: None });
        let shared = Arc::clone(self);
        self.runtime.spawn(async move {
            let drained = generation.drain(shared.config.drain).await;
            let (tool_type, number) = (generation.tool_type(), generation.number());
            let mut lanes_max = LANES_MAX;
            loop {
                let one_at_a_time = shared.dismantling.lock().await;
                let generation_too = Arc::clone(&generation);
                let taken_apart = tokio::task::spawn_blocking(move || {
                    generation_too.dismantle(lanes_max).inspect(|()| loader::give_freed_memory_back())
                });
                let outcome = taken_apart
                    .await
                    .unwrap_or_else(|fault| Err(Retained::because(format!("a fault of the host while it was taken apart: {fault}"))));
                drop(one_at_a_time);
                let Err(Retained { reason, loader_stuck }) = outcome else { break };
                let news = shared.lock().retain(number, &reason);
                if news {
                    shared.note(PluginEvent::new(Happened::Retained, reason.clone()).about(&generation));
                    tracing::warn!(%tool_type, generation = number, drained, "plugin generation is retained in memory: {reason}");
                }
                if loader_stuck {
                    shared.loader_stuck(tool_type, generation.artifact().sha256(), &reason);
                    return;
                }
                lanes_max = Duration::ZERO;
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            shared.lock().retired.retain(|retiring| retiring.generation.number() != number);
            if let Err(fault) = fs::remove_file(generation.artifact().copy()) {
                tracing::warn!(%tool_type, generation = number, "its private copy stays behind: {fault}");
            }
            shared.note(PluginEvent::new(Happened::Drained, "drained and unmapped").about(&generation));
            tracing::info!(%tool_type, generation = number, drained, "plugin generation is gone");
        });
    }

    /// The host cannot load or unload any more, nor start a thread: what serves goes on until it has been restarted.
    pub(super) fn loader_stuck(&self, tool_type: &ToolType, sha256: Sha256Sum, reason: &str) {
        if !self.stuck.swap(true, Ordering::SeqCst) {
            let then = match self.config.when_stuck {
                WhenStuck::Restart => "the host ends in order to be restarted without this plugin",
                WhenStuck::Stay => "no plugin can be loaded or unloaded until the host is restarted",
            };
            tracing::error!(%tool_type, %sha256, "the dynamic linker is stuck ({reason}); {then}");
            self.note(PluginEvent::new(Happened::LoaderStuck, reason).of(tool_type).with_sha256(Some(sha256)));
            if self.config.when_stuck == WhenStuck::Restart {
                self.shutdown.request();
            }
        }
    }
}

impl Known {
    pub(super) fn retained(&self, tool_type: &ToolType) -> usize {
        let retained = self.retired.iter().filter(|retiring| retiring.retained.is_some());
        retained.filter(|retiring| retiring.generation.tool_type() == tool_type).count()
    }

    /// Notes what keeps a generation; false when that was known.
    fn retain(&mut self, number: u64, reason: &str) -> bool {
        let retiring = self.retired.iter_mut().find(|retiring| retiring.generation.number() == number);
        retiring.is_some_and(|retiring| retiring.retained.replace(reason.to_owned()).as_deref() != Some(reason))
    }
}
