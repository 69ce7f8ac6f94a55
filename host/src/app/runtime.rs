//! The host's runtime and its threads, all of which are there before the first plugin is mapped.

use std::{
    sync::{Arc, Barrier},
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinSet,
};

use crate::threads;

/// Threads for what blocks: the store's readers, and one generation at a time that is taken apart.
const BLOCKING_THREADS: usize = 8;
/// Time after which an idle thread of the blocking pool ends: not while the host runs.
const KEEP_ALIVE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Makes the runtime that [`App`](super::App) is built and runs in.
///
/// # Errors
/// When the system gives no thread, or no epoll.
pub fn runtime() -> std::io::Result<Runtime> {
    Builder::new_multi_thread()
        .enable_all()
        .thread_name("patchbay")
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_keep_alive(KEEP_ALIVE)
        .on_thread_start(threads::register)
        .build()
}

/// Starts all threads of the blocking pool: once a plugin is mapped, the start of a thread may have to wait for it.
pub(super) async fn start_blocking_threads() -> anyhow::Result<()> {
    let all_there = Arc::new(Barrier::new(BLOCKING_THREADS));
    let mut waiting = JoinSet::new();
    for _ in 0..BLOCKING_THREADS {
        let all_there = Arc::clone(&all_there);
        waiting.spawn_blocking(move || all_there.wait());
    }
    while let Some(waited) = waiting.join_next().await {
        waited.context("the blocking pool")?;
    }
    Ok(())
}
