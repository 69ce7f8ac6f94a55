//! Plays a service manager: whenever the host ends, it is started again.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use rustix::process::Signal;
use sandbox::webhook::SignedRequest;

use crate::{
    host::{Host, SERVE},
    http,
    process::{Ended, Process, send_signal},
    surroundings::Surroundings,
    wait::WAIT_MAX,
};

/// Number of runs after which the supervisor gives up, together with everything that waits for the host.
const RUNS_MAX: usize = 24;

/// Keeps a host running in its folder until dropped, like `Restart=always` in the unit file.
#[derive(Debug)]
pub struct Supervisor {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    now: Mutex<Now>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Now {
    up: Option<Up>,
    ended: Vec<Ended>,
    stop: bool,
}

#[derive(Clone, Copy, Debug)]
struct Up {
    id: u32,
    webhooks: SocketAddr,
}

impl Supervisor {
    /// Starts the host in this folder, which must not be running, and keeps it running. Returns when it is up.
    ///
    /// # Panics
    /// When it does not come up.
    #[track_caller]
    pub fn start(host: &Host) -> Self {
        let shared = Arc::<Shared>::default();
        let thread = thread::spawn({
            let (shared, folder) = (Arc::clone(&shared), host.folder().to_owned());
            move || shared.keep_running(&folder)
        });
        let supervisor = Self { shared, thread: Some(thread) };
        supervisor.up_after(0);
        supervisor
    }

    /// Waits until the host has ended this many times and is up again. Returns how it ended each time.
    ///
    /// # Panics
    /// When it is not up in time, or has ended once more.
    #[track_caller]
    pub fn up_after(&self, ends: usize) -> Vec<Ended> {
        let now = self.shared.wait_until(|now| now.ended.len() >= ends && now.up.is_some());
        assert_eq!(now.ended.len(), ends, "how often the host ended: {:#?}", now.ended);
        assert!(now.up.is_some(), "the host is not up; it ended {ends} times: {:#?}", now.ended.last());
        now.ended.clone()
    }

    /// Waits until the host is up, however often it has ended.
    ///
    /// # Panics
    /// When it does not come up.
    #[track_caller]
    pub fn up(&self) {
        self.shared.wait_until(|now| now.up.is_some()).up.expect("the host comes up again");
    }

    /// How often the host has ended so far.
    pub fn ends(&self) -> usize {
        self.shared.lock().ended.len()
    }

    /// Delivers a webhook to the host as soon as it is up. Returns the answer's status, or `None` if the host ended
    /// meanwhile.
    #[track_caller]
    pub fn send(&self, webhook: &SignedRequest) -> Option<u16> {
        let up = self.shared.wait_until(|now| now.up.is_some()).up.expect("the host comes up again");
        let answer = http::try_over_tcp(up.webhooks, &http::delivery(webhook))?;
        if answer.status != 202 {
            eprintln!("{}: {} {}", webhook.path, answer.status, answer.text());
        }
        Some(answer.status)
    }

    /// Kills the host with SIGKILL from outside, unrelated to any plugin. Returns when it is up again.
    #[track_caller]
    pub fn kill9(&self) {
        let ends = self.ends();
        self.end_by(Signal::KILL);
        self.up_after(ends + 1);
    }

    /// Sends the host a signal that ends it, as soon as it is up. Waits for nothing.
    #[track_caller]
    pub fn end_by(&self, signal: Signal) {
        let now = self.shared.wait_until(|now| now.up.is_some());
        send_signal(now.up.expect("the host comes up again").id, signal);
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        {
            let mut now = self.shared.lock();
            now.stop = true;
            now.up.iter().for_each(|up| send_signal(up.id, Signal::KILL));
        }
        let ended = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            ended.into_iter().for_each(|ended| ended.expect("the supervisor does not panic"));
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_until(&self, wanted: impl Fn(&Now) -> bool) -> MutexGuard<'_, Now> {
        let waiting = |now: &mut Now| !wanted(now) && now.ended.len() < RUNS_MAX;
        self.changed.wait_timeout_while(self.lock(), WAIT_MAX, waiting).unwrap_or_else(PoisonError::into_inner).0
    }

    fn keep_running(&self, folder: &Path) {
        while !self.lock().stop && self.lock().ended.len() < RUNS_MAX {
            let ended = match Process::start(folder, SERVE, &[], &Surroundings::default()) {
                Err(ended) => ended,
                Ok(process) => {
                    {
                        let mut now = self.lock();
                        if now.stop {
                            return;
                        }
                        now.up = Some(Up { id: process.id(), webhooks: process.addresses.webhooks });
                    }
                    self.changed.notify_all();
                    process.wait();
                    // Must come before the number can belong to another process.
                    self.lock().up = None;
                    process.end()
                }
            };
            self.lock().ended.push(ended);
            self.changed.notify_all();
        }
    }
}
