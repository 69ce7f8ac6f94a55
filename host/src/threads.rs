//! Distinguishes the host's own threads from others. Any other thread runs, or may run, a plugin's code, and no plugin
//! loaded since may then be unmapped. Also keeps the host's threads going while the dynamic linker is stuck.

use std::{
    collections::BTreeSet,
    fs, io,
    sync::{Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use parking_lot::Condvar;

use crate::{ids::CorrelationId, telemetry::REHEARSAL_TARGET};

/// Time between the looks that must agree.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// Number of looks that must agree. A thread of the host that has just started has its parent's name and has not
/// registered; on a busy machine it may take a while until it runs at all.
const LOOKS: u32 = 100;
/// Number of looks at the start for threads that have not registered. Nothing but the start waits for them.
const LOOKS_AT_START: u32 = 1000;

static OWN: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// Registers the current thread as the host's, and prepares it to continue while the dynamic linker is stuck. Must be
/// called first on every thread that the host starts.
pub fn register() {
    use_thread_locals();
    // Must come last: after `register_all` has seen it, a plugin may be mapped.
    let tid = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
    OWN.lock().unwrap_or_else(PoisonError::into_inner).insert(tid);
}

/// Waits until all existing threads have registered; must be called before the first plugin is mapped. A thread that
/// has not registered in time counts as the host's too.
///
/// # Errors
/// If /proc cannot be read.
pub fn register_all() -> io::Result<()> {
    for (tid, thread) in strangers_after(LOOKS_AT_START)? {
        tracing::warn!(thread, "this thread has not begun in time; should opening a library hang, it may have to wait");
        OWN.lock().unwrap_or_else(PoisonError::into_inner).insert(tid);
    }
    Ok(())
}

/// Uses each thread-local of our libraries that has a destructor. At the first use on a thread, glibc registers the
/// destructor under the dynamic linker's lock, and would wait there for a plugin whose constructor hangs.
///
/// The list is complete: the tests of a stuck linker check every thread-local in the program.
fn use_thread_locals() {
    // The thread-locals of the standard library and crossbeam, used when waiting for a message. The channel has no
    // room, so this returns at once.
    let (_sender, receiver) = mpsc::sync_channel::<()>(0);
    let _timed_out = receiver.recv_timeout(Duration::ZERO);
    let (_sender, receiver) = crossbeam_channel::bounded::<()>(0);
    let _timed_out = receiver.recv_timeout(Duration::ZERO);
    // The thread-local of parking_lot, used when waiting for a lock of the metrics.
    let _timed_out = Condvar::new().wait_for(&mut parking_lot::Mutex::new(()).lock(), Duration::ZERO);
    // The thread-local of arc-swap, used when loading a pointer.
    drop(arc_swap::ArcSwap::from_pointee(()).load());
    // The thread-local of tokio, used when waking a task.
    let _none_here = tokio::runtime::Handle::try_current();
    // The thread-local of rand, used when creating an id.
    drop(CorrelationId::fresh());
    // The three thread-locals of tracing, used by the first span and the first line. This line is formatted, but not
    // written.
    tracing::error_span!(target: REHEARSAL_TARGET, "rehearsal")
        .in_scope(|| tracing::error!(target: REHEARSAL_TARGET, "a thread begins"));
}

/// Threads that the host has not started, by number and name. Also forgets the host's threads that have ended.
///
/// # Errors
/// If /proc cannot be read.
pub fn strangers() -> io::Result<Vec<(u32, String)>> {
    strangers_after(LOOKS)
}

fn strangers_after(looks: u32) -> io::Result<Vec<(u32, String)>> {
    let mut strangers = unknown()?;
    for _ in 1..looks {
        if strangers.is_empty() {
            break;
        }
        thread::sleep(LOOK_EVERY);
        let again = unknown()?;
        strangers.retain(|tid| again.contains(tid));
    }
    Ok(strangers.into_iter().map(|tid| (tid, name_of(tid))).collect())
}

/// Waits until these threads have ended, including the destructors of their thread-locals. Returns false if they have
/// not in time; they are then left alone.
pub fn join_all(threads: Vec<JoinHandle<()>>, deadline: Instant) -> bool {
    // A join has no timeout, so another thread does it.
    let (done, joined) = crossbeam_channel::bounded(1);
    let joiner = thread::Builder::new().name("joiner".to_owned()).spawn(move || {
        register();
        // A panic of the thread was caught and reported where it happened.
        threads.into_iter().for_each(|thread| drop(thread.join()));
        let _given_up = done.send(());
    });
    joiner.is_ok() && joined.recv_deadline(deadline).is_ok()
}

fn unknown() -> io::Result<BTreeSet<u32>> {
    // Locked before the look, so that a thread that registers meanwhile is not missed.
    let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
    let all = tasks()?;
    own.retain(|tid| all.contains(tid));
    Ok(all.difference(&own).copied().collect())
}

fn tasks() -> io::Result<BTreeSet<u32>> {
    let mut tasks = BTreeSet::new();
    for entry in fs::read_dir("/proc/self/task")? {
        if let Some(tid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
            tasks.insert(tid);
        }
    }
    Ok(tasks)
}

fn name_of(tid: u32) -> String {
    // A thread that has ended meanwhile has no name.
    fs::read_to_string(format!("/proc/self/task/{tid}/comm")).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_did_not_register_is_a_stranger_until_it_ends() {
        let (tell, told) = mpsc::sync_channel(1);
        let (end, ended) = mpsc::sync_channel::<()>(1);
        let thread = thread::Builder::new()
            .name("stranger".to_owned())
            .spawn(move || {
                tell.send(rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs()).unwrap();
                let _ended = ended.recv();
            })
            .unwrap();
        let tid = told.recv().unwrap();
        assert!(strangers().unwrap().contains(&(tid, "stranger".to_owned())));
        drop(end);
        thread.join().unwrap();
        assert!(!strangers().unwrap().iter().any(|(other, _)| *other == tid));
    }

    #[test]
    fn a_thread_that_registered_is_none() {
        let (tell, told) = mpsc::sync_channel(1);
        let (end, ended) = mpsc::sync_channel::<()>(1);
        let thread = thread::spawn(move || {
            register();
            tell.send(rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs()).unwrap();
            let _ended = ended.recv();
        });
        let tid = told.recv().unwrap();
        assert!(!strangers().unwrap().iter().any(|(other, _)| *other == tid));
        drop(end);
        thread.join().unwrap();
    }
}
