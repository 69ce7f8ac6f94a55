//! How a generation ends: drained, its lanes joined, its instance dropped, its library closed, and looked for.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use plugin_abi::host::HostSide;

use super::{CallError, Generation};
use crate::{
    plugin::{
        capability::Capability,
        crash::{Step, Watched, handled_within},
        loader::{LoadedLibrary, LoadedPlugin, mapped},
    },
    threads,
};

/// How long one step of opening or closing a library may take on its thread.
pub(super) const STEP_TIME_MAX: Duration = Duration::from_secs(10);
/// The step whose loss blocks the dynamic linker.
const CLOSING: &str = "closing its library has not ended";

/// How far a generation has been taken apart.
pub(super) enum Stage {
    /// Not at all.
    Made(Arc<LoadedPlugin<Capability>>),
    /// The instance is dropped. The callbacks stay: a thread that the plugin left behind may still use them.
    Dropped(LoadedLibrary, Box<HostSide<Capability>>),
    /// The library is closed.
    Closed,
    /// A step has not come back, and has what it works on.
    Lost(&'static str),
}

/// Why a generation could not be taken apart: it stays in memory, counted and listed with this reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retained {
    /// What keeps it.
    pub reason: String,
    /// Whether closing its library has not come back, and with it every later opening, closing and start of a thread.
    pub loader_stuck: bool,
}

impl Retained {
    /// It is kept, and nothing else suffers.
    pub fn because(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), loader_stuck: false }
    }
}

impl Generation {
    /// Takes no more calls, and waits until those that are there have ended; false when they did not in time.
    pub async fn drain(&self, time_max: Duration) -> bool {
        self.draining.store(true, Ordering::SeqCst);
        let drained = async {
            loop {
                let emptied = self.emptied.notified();
                tokio::pin!(emptied);
                emptied.as_mut().enable();
                if self.in_flight.load(Ordering::SeqCst) == 0 {
                    return;
                }
                emptied.await;
            }
        };
        let drained = tokio::time::timeout(time_max, drained).await.is_ok();
        if !drained && let Stage::Made(plugin) = &*self.stage.lock().unwrap_or_else(PoisonError::into_inner) {
            plugin.host().0.cancel();
        }
        drained
    }

    /// Ends the lanes, drops the instance, closes the library, each where it leaves nothing behind, and looks whether
    /// the file is really unmapped. Blocks, for `lanes_max` at most while calls do not return; after
    /// [`drain`](Self::drain). What could not be done may be tried again later, from where it stopped.
    ///
    /// # Errors
    /// [`Retained`], with what keeps it.
    pub fn dismantle(&self, lanes_max: Duration) -> Result<(), Retained> {
        self.fast.close();
        self.slow.close();
        let deadline = Instant::now() + lanes_max;
        if !(self.fast.join(deadline) && self.slow.join(deadline)) {
            return Err(Retained::because("a call of it has not returned"));
        }
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let before = std::mem::replace(&mut *stage, Stage::Lost("it is being taken apart"));
            let (after, retained) = match before {
                Stage::Made(plugin) => match Arc::try_unwrap(plugin) {
                    Ok(plugin) => (self.drop_instance(plugin), None),
                    Err(plugin) => (Stage::Made(plugin), Some("its instance is still in use".to_owned())),
                },
                Stage::Dropped(library, host) => match strangers().or_else(|| self.handled()) {
                    None => self.close_library(library, host),
                    Some(reason) => (Stage::Dropped(library, host), Some(reason)),
                },
                Stage::Closed => match mapped(self.artifact.copy()) {
                    Ok(None) => {
                        *stage = Stage::Closed;
                        return Ok(());
                    }
                    Ok(Some(_)) => (Stage::Closed, Some("its library is closed, but still mapped".to_owned())),
                    Err(fault) => (Stage::Closed, Some(format!("/proc/self/maps cannot be read: {fault}"))),
                },
                Stage::Lost(CLOSING) => {
                    *stage = Stage::Lost(CLOSING);
                    return Err(Retained { reason: CLOSING.to_owned(), loader_stuck: true });
                }
                Stage::Lost(step) => (Stage::Lost(step), Some(step.to_owned())),
            };
            *stage = after;
            if let Some(reason) = retained {
                return Err(Retained::because(reason));
            }
        }
    }

    /// Which signal would run code of the library after it is gone.
    fn handled(&self) -> Option<String> {
        match mapped(self.artifact.copy()) {
            Ok(place) => handled_within(&place?).map(|signal| format!("it handles signal {signal} of the process")),
            Err(fault) => Some(format!("/proc/self/maps cannot be read: {fault}")),
        }
    }

    fn drop_instance(&self, plugin: LoadedPlugin<Capability>) -> Stage {
        let Some((library, host, fault)) =
            on_own_thread(format!("drop-{}", self.number), &self.watched, Step::Drop, move || plugin.destroy())
        else {
            return Stage::Lost("dropping its instance has not ended");
        };
        if let Some(fault) = fault {
            let error = CallError::from(fault);
            tracing::warn!(tool_type = %self.tool_type, generation = self.number, "while the plugin was dropped: {error}");
        }
        Stage::Dropped(library, host)
    }

    fn close_library(&self, library: LoadedLibrary, host: Box<HostSide<Capability>>) -> (Stage, Option<String>) {
        match on_own_thread(format!("close-{}", self.number), &self.watched, Step::Close, move || library.close()) {
            Some(Ok(())) => {
                drop(host);
                (Stage::Closed, None)
            }
            Some(Err(fault)) => {
                std::mem::forget(host);
                (Stage::Closed, Some(format!("it could not be closed: {fault}")))
            }
            None => {
                std::mem::forget(host);
                (Stage::Lost(CLOSING), None)
            }
        }
    }
}

/// A thread that the host has not started may be running plugin code, of whichever plugin.
fn strangers() -> Option<String> {
    match threads::strangers() {
        Ok(strangers) => strangers.first().map(|(tid, name)| {
            format!("thread {tid} ({name:?}), which a plugin started, still runs; {} such in all", strangers.len())
        }),
        Err(fault) => Some(format!("the threads cannot be counted: {fault}")),
    }
}

/// Runs one step on a thread that has ended when this returns; `None` when it did not end in time, then it is left alone.
pub(super) fn on_own_thread<T: Send + 'static>(
    name: String,
    watched: &Arc<Watched>,
    does: Step,
    step: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let watched = Arc::clone(watched);
    let deadline = Instant::now() + STEP_TIME_MAX;
    let (done, finished) = crossbeam_channel::bounded(1);
    let thread = std::thread::Builder::new()
        .name(name)
        .spawn(move || {
            threads::register();
            let thread = watched.this_thread();
            thread.does(does);
            let result = step();
            // Nobody waits when the time was up: then the result, a library, must not be dropped here. The journal's entry
            // goes along: until this thread has ended, the destructors of its locals may run, which are the plugin's.
            if let Err(late) = done.send((result, thread)) {
                std::mem::forget(late);
            }
        })
        .ok()?;
    let (result, watched) = finished.recv_deadline(deadline).ok()?;
    if threads::join_all(vec![thread], deadline) {
        Some(result)
    } else {
        std::mem::forget((result, watched));
        None
    }
}
