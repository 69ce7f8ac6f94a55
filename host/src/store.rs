//! Everything that outlives the process: tenants, queue and history in two SQLite files. SQL is written in this module only.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;

use crate::clock::Clock;

mod accept;
mod backup;
mod connection;
mod dead;
mod dedup;
mod encoding;
mod erase;
mod error;
mod events;
mod found;
mod history;
mod hurry;
mod jobs;
mod migrations;
mod plugin_records;
mod reader;
mod reopenings;
mod rescue;
mod tenants;
mod usage;
mod views;
mod waits;
mod writer;

use self::{accept::Known, reader::Readers, usage::HistoryBytes, writer::Writer};
pub use self::{
    backup::{BackupError, BackupReport, back_up},
    dead::{DeadLetters, TENANT_CHANGED},
    erase::{Keeping, RemovedTenant},
    error::StoreError,
    events::{EventFilter, EventsFrom, PLUGIN_EVENTS_MAX, PluginEvent},
    found::JobFilter,
    history::{
        DEAD, DONE, EnhancementRecord, Kept, KeptBy, POSSIBLY_TWICE, ReopenedTicket, ResolvedTicket, SIMILAR_TERMS_MAX,
        SimilarTicket,
    },
    reader::READERS_MAX,
    rescue::{ENDS_THE_HOST, LastEnd, Rescued},
    tenants::{LiveJobs, SecretRow},
    usage::{Holdings, Owned, TenantRoom},
    views::{Depth, TenantDue},
    writer::{CommitStats, WRITES_PER_COMMIT_MAX, WRITES_WAITING_MAX},
};

/// Name of the file beside the main one that holds history and its full-text index.
pub const HISTORY_FILE: &str = "history.db";

/// How to open a [`Store`].
#[derive(Clone)]
pub struct StoreConfig {
    /// The main file; its folder must exist. The history is kept beside it as [`HISTORY_FILE`].
    pub path: PathBuf,
    /// How long a webhook is recognised as delivered before: at least this many hours, at most twice that.
    pub dedup_hours: u32,
    /// Callbacks of the writer threads.
    pub hooks: Hooks,
}

/// Callbacks of the writer threads. They must be short: the next commit waits for them.
#[derive(Clone)]
pub struct Hooks {
    /// Called after every commit, failed or not.
    pub on_commit: Arc<dyn Fn(CommitStats) + Send + Sync>,
    /// Called once on each thread that the store starts, before anything else runs on it.
    pub on_thread_start: Arc<dyn Fn() + Send + Sync>,
}

impl Default for Hooks {
    fn default() -> Self {
        Self { on_commit: Arc::new(|_| {}), on_thread_start: Arc::new(|| {}) }
    }
}

/// One of the store's two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreFile {
    /// The main file: tenants, queue, plugin events.
    Main,
    /// The history file: enhancements and resolved tickets.
    History,
}

impl StoreFile {
    /// The file's name in logs and metrics: `main` or `history`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::History => "history",
        }
    }
}

/// The store. It is cheap to clone, and all clones are one store. Writes may be awaited on any runtime; reads need
/// Tokio's blocking pool. A write that was answered `Ok` is on disk; any other may be repeated. The writer threads end
/// when the last clone is dropped, after finishing their queues.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    clock: Clock,
    reopened: Arc<AtomicU64>,
    dedup_ms: i64,
    main: Writer<Known>,
    history: Writer,
    main_reads: Readers,
    history_reads: Readers,
    /// Size of each tenant's history when it was last measured.
    history_bytes: ArcSwap<HistoryBytes>,
}

impl Store {
    /// Opens both files, creates them if necessary, brings their schema up to date and starts their writer threads. If
    /// one of them is damaged, newer, or missing beside the other, neither is changed. Blocks; called once at start.
    pub fn open(config: StoreConfig, clock: Clock) -> Result<Self, StoreError> {
        connection::assert_sqlite_version()?;
        let history_path = config.path.with_file_name(HISTORY_FILE);
        if history_path == config.path {
            return Err(StoreError::damaged(&config.path, "this name belongs to the history"));
        }
        migrations::inspect(&config.path, &history_path)?;
        // Both names must exist before either file has content, so that a missing one means a loss.
        for path in [&history_path, &config.path] {
            connection::make_private(path).map_err(|error| StoreError::unavailable(path, error))?;
        }
        let main = migrations::open_migrated(StoreFile::Main, &config.path)?;
        let history = migrations::open_migrated(StoreFile::History, &history_path)?;
        erase::attribute_history(&main, &history).map_err(|error| StoreError::from_sqlite(&history_path, &error))?;
        let reopened = Arc::<AtomicU64>::default();
        let hooks = Hooks { on_commit: count_reopened(&reopened, config.hooks.on_commit), ..config.hooks };
        let inner = Inner {
            clock,
            reopened,
            dedup_ms: i64::from(config.dedup_hours) * 3_600_000,
            main: Writer::start(StoreFile::Main, &config.path, main, hooks.clone())?,
            history: Writer::start(StoreFile::History, &history_path, history, hooks)?,
            main_reads: Readers::new(&config.path),
            history_reads: Readers::new(&history_path),
            history_bytes: ArcSwap::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The clock that leases and due times are measured by.
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// How often the main file became writable again after a failed commit. The writes of a failed commit were reported
    /// as not done, but some may be on disk; callers that track the file's content must read it again.
    pub fn times_reopened(&self) -> u64 {
        self.inner.reopened.load(Ordering::Relaxed)
    }

    /// Reads from both files and writes to both, so it succeeds only while accepting would succeed.
    pub async fn ping(&self) -> Result<(), StoreError> {
        fn look(connection: &rusqlite::Connection) -> rusqlite::Result<i64> {
            connection.pragma_query_value(None, "user_version", |row| row.get(0))
        }
        // Writes the same value again: a transaction that changes nothing would succeed even on a full disk.
        fn touch(connection: &rusqlite::Connection) -> rusqlite::Result<()> {
            connection.pragma_update(None, "user_version", look(connection)?)
        }
        self.inner.main_reads.read(look).await?;
        self.inner.history_reads.read(look).await?;
        self.inner.main.apply(touch).await?;
        self.inner.history.apply(touch).await
    }

    /// Commits what is queued and ends the writer threads. Later reads and writes through any clone get
    /// [`StoreError::Closed`]. The readers close first, because the last connection to a file removes its log.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.inner.main_reads.close().await;
        self.inner.history_reads.close().await;
        let inner = Arc::clone(&self.inner);
        let ended = tokio::task::spawn_blocking(move || {
            inner.main.close();
            inner.history.close();
        });
        ended.await.map_err(|error| StoreError::unavailable(self.inner.main_reads.path(), error))
    }
}

/// Counts the commits to the main file that follow a failed one, before it calls `then`.
fn count_reopened(
    reopened: &Arc<AtomicU64>,
    then: Arc<dyn Fn(CommitStats) + Send + Sync>,
) -> Arc<dyn Fn(CommitStats) + Send + Sync> {
    let (reopened, failed) = (Arc::clone(reopened), AtomicBool::new(false));
    Arc::new(move |stats| {
        if stats.file == StoreFile::Main && failed.swap(!stats.committed, Ordering::Relaxed) && stats.committed {
            reopened.fetch_add(1, Ordering::Relaxed);
        }
        then(stats);
    })
}

#[cfg(test)]
mod tests;
