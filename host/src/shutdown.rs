//! Signals become a request to drain that every part can wait for, and a stream of requests to reload.

use std::io;

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
};
use tracing::info;

use crate::process;

/// Reload requests that wait; one that finds another waiting is the same request.
const RELOADS_WAITING_MAX: usize = 1;

/// The exit code when a second signal does not leave the drain its time.
const EXIT_AT_ONCE: u8 = 1;

/// What parts hold to learn that the host is to drain. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shutdown {
    requested: watch::Receiver<bool>,
}

impl Shutdown {
    /// A pair: who asks, and who is asked.
    pub fn new() -> (ShutdownTrigger, Self) {
        let (sender, requested) = watch::channel(false);
        (ShutdownTrigger { sender }, Self { requested })
    }

    /// Ends when the host is to drain, at once when that is so already. Safe to drop and to wait for again. A host
    /// whose triggers are all gone is ending too.
    pub async fn requested(&self) {
        let mut requested = self.requested.clone();
        // Err: every trigger is gone, which the documentation gives the same meaning.
        let _ended = requested.wait_for(|requested| *requested).await;
    }

    /// Whether the host is to drain.
    pub fn is_requested(&self) -> bool {
        *self.requested.borrow() || self.requested.has_changed().is_err()
    }
}

/// Asks all holders of the [`Shutdown`] to drain. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ShutdownTrigger {
    sender: watch::Sender<bool>,
}

impl ShutdownTrigger {
    /// Asks; asking again changes nothing. True when this was the first time.
    pub fn request(&self) -> bool {
        !self.sender.send_replace(true)
    }
}

/// Takes SIGTERM, SIGINT and SIGHUP from now on, on a task of the current runtime. The first SIGTERM or SIGINT asks
/// for the drain; one that comes when a drain was asked for, by whomever, ends the process with exit code 1. Each
/// SIGHUP puts a request into the returned stream, unless one waits there already.
///
/// # Errors
/// When a handler cannot be set.
///
/// # Panics
/// Outside a tokio runtime.
pub fn on_signals(trigger: ShutdownTrigger) -> io::Result<mpsc::Receiver<()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    // A file that may not grow any more is an error of that write: without a handler it would end the process.
    drop(signal(SignalKind::from_raw(libc::SIGXFSZ))?);
    let (sender, reloads) = mpsc::channel(RELOADS_WAITING_MAX);
    tokio::spawn(async move {
        loop {
            let signal = tokio::select! {
                Some(()) = terminate.recv() => Signal::Stop("SIGTERM"),
                Some(()) = interrupt.recv() => Signal::Stop("SIGINT"),
                Some(()) = hang_up.recv() => Signal::Reload,
                else => break,
            };
            if take(&signal, &trigger, &sender) == Step::ExitAtOnce {
                process::end_now(EXIT_AT_ONCE);
            }
        }
    });
    Ok(reloads)
}

enum Signal {
    Stop(&'static str),
    Reload,
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    GoOn,
    ExitAtOnce,
}

fn take(signal: &Signal, trigger: &ShutdownTrigger, reloads: &mpsc::Sender<()>) -> Step {
    match signal {
        Signal::Stop(name) if trigger.request() => info!(signal = name, "draining; a second signal ends at once"),
        Signal::Stop(_) => return Step::ExitAtOnce,
        Signal::Reload => match reloads.try_send(()) {
            Ok(()) | Err(mpsc::error::TrySendError::Full(())) => info!("asked to reload the configuration"),
            Err(mpsc::error::TrySendError::Closed(())) => info!("the host is ending, the configuration stays"),
        },
    }
    Step::GoOn
}

#[cfg(test)]
mod tests {
    use rustix::process::{Signal as Posix, getpid, kill_process};

    use super::*;

    #[tokio::test]
    async fn everybody_is_told_early_or_late() {
        let (trigger, shutdown) = Shutdown::new();
        let early = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.requested().await }
        });
        assert!(!shutdown.is_requested());
        assert!(trigger.request());
        assert!(!trigger.request());
        assert!(shutdown.is_requested());
        early.await.unwrap();
        shutdown.requested().await;
        shutdown.requested().await;
    }

    #[tokio::test]
    async fn without_anybody_to_ask_the_host_is_ending() {
        let (trigger, shutdown) = Shutdown::new();
        drop(trigger);
        assert!(shutdown.is_requested());
        shutdown.requested().await;
    }

    #[test]
    fn the_second_stop_ends_at_once_and_reloads_are_one_while_they_wait() {
        let (trigger, shutdown) = Shutdown::new();
        let (sender, mut reloads) = mpsc::channel(RELOADS_WAITING_MAX);
        for _ in 0..3 {
            assert_eq!(take(&Signal::Reload, &trigger, &sender), Step::GoOn);
        }
        assert!(!shutdown.is_requested());
        assert!(reloads.try_recv().is_ok());
        assert!(reloads.try_recv().is_err());
        assert_eq!(take(&Signal::Stop("SIGINT"), &trigger, &sender), Step::GoOn);
        assert!(shutdown.is_requested());
        drop(reloads);
        assert_eq!(take(&Signal::Reload, &trigger, &sender), Step::GoOn);
        assert_eq!(take(&Signal::Stop("SIGTERM"), &trigger, &sender), Step::ExitAtOnce);
    }

    #[tokio::test]
    async fn real_signals_arrive() {
        let (trigger, shutdown) = Shutdown::new();
        let mut reloads = on_signals(trigger).unwrap();
        kill_process(getpid(), Posix::HUP).unwrap();
        assert_eq!(reloads.recv().await, Some(()));
        assert!(!shutdown.is_requested());
        kill_process(getpid(), Posix::TERM).unwrap();
        shutdown.requested().await;
    }
}
