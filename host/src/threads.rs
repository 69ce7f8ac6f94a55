//! Which threads of this process are the host's own. Any other runs, or may run, a plugin's code: then no plugin that
//! was there since may be unmapped. And what keeps them going while the dynamic linker is stuck.

use std::{
    collections::BTreeSet,
    fs, io,
    sync::{Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use parking_lot::Condvar;

use crate::{ids::CorrelationId, telemetry::REHEARSAL_TARGET};

/// Between the looks that must agree.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// Looks that must agree. A thread of ours that has just begun bears its parent's name and has not said whose it is; on a
/// busy machine it may take a while until it runs at all.
const LOOKS: u32 = 100;
/// Looks for threads that have not begun, at the start, where nothing but the start waits for it.
const LOOKS_AT_START: u32 = 1000;

static OWN: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// First thing on every thread that the host starts: says that it is the host's, and is ready to go on while the dynamic
/// linker is stuck.
pub fn register() {
    use_thread_locals();
    // Last: who waits for it in `register_all` may map a plugin from now on.
    let tid = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
    OWN.lock().unwrap_or_else(PoisonError::into_inner).insert(tid);
}

/// Waits until all threads that there are have registered: before the first plugin is mapped. One that does not in time is
/// the host's all the same.
///
/// # Errors
/// When /proc cannot be read.
pub fn register_all() -> io::Result<()> {
    for (tid, thread) in strangers_after(LOOKS_AT_START)? {
        tracing::warn!(thread, "this thread has not begun in time; should opening a library hang, it may have to wait");
        OWN.lock().unwrap_or_else(PoisonError::into_inner).insert(tid);
    }
    Ok(())
}

/// Uses each thread-local that has a destructor and belongs to a library of ours. At the first use on a thread glibc notes the
/// destructor down under the dynamic linker's lock, and so would wait for a plugin whose constructor hangs.
///
/// None is missing: the tests of a stuck linker look at every thread-local in the program.
fn use_thread_locals() {
    // The standard library's and crossbeam's, used by who waits for a message: at once, when the channel has no room.
    let (_sender, receiver) = mpsc::sync_channel::<()>(0);
    let _timed_out = receiver.recv_timeout(Duration::ZERO);
    let (_sender, receiver) = crossbeam_channel::bounded::<()>(0);
    let _timed_out = receiver.recv_timeout(Duration::ZERO);
    // parking_lot's, used by who waits for a lock of the metrics.
    let _timed_out = Condvar::new().wait_for(&mut parking_lot::Mutex::new(()).lock(), Duration::ZERO);
    // arc-swap's, used by who loads a pointer.
    drop(arc_swap::ArcSwap::from_pointee(()).load());
    // tokio's, used by who wakes a task.
    let _none_here = tokio::runtime::Handle::try_current();
    // rand's, used by who makes an id.
    drop(CorrelationId::fresh());
    // tracing's three, used by the first span and the first line; this line is formatted, but not written.
    tracing::error_span!(target: REHEARSAL_TARGET, "rehearsal")
        .in_scope(|| tracing::error!(target: REHEARSAL_TARGET, "a thread begins"));
}

/// The threads that the host has not started, by number and name. Forgets those of its own that are gone.
///
/// # Errors
/// When /proc cannot be read.
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

/// Waits until these threads have ended, the destructors of their thread-locals included; false when they did not in
/// time, then they are left alone.
pub fn join_all(threads: Vec<JoinHandle<()>>, deadline: Instant) -> bool {
    // A join cannot be given up, so another thread makes it.
    let (done, joined) = crossbeam_channel::bounded(1);
    let joiner = thread::Builder::new().name("joiner".to_owned()).spawn(move || {
        register();
        // A thread's panic was caught and told where it happened.
        threads.into_iter().for_each(|thread| drop(thread.join()));
        let _given_up = done.send(());
    });
    joiner.is_ok() && joined.recv_deadline(deadline).is_ok()
}

fn unknown() -> io::Result<BTreeSet<u32>> {
    // Taken before the look, so that a thread which registers meanwhile is not missed by either.
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
    // A thread that is gone meanwhile has no name any more.
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
