//! Everything that outlives the process: tenants, queue and history in two SQLite files. SQL is written in this module only.

use std::{path::PathBuf, sync::Arc};

use crate::clock::Clock;

mod connection;
mod dead;
mod dedup;
mod encoding;
mod error;
mod events;
mod history;
mod jobs;
mod migrations;
mod reader;
mod tenants;
mod views;
mod writer;

pub use self::{
    dead::DeadLetters,
    error::StoreError,
    events::{PLUGIN_EVENTS_MAX, PluginEvent},
    history::{DEAD, DONE, EnhancementRecord, POSSIBLY_TWICE, ResolvedTicket, SIMILAR_TERMS_MAX, SimilarTicket},
    jobs::Rescued,
    reader::READERS_MAX,
    tenants::{RemovedTenant, SecretRow},
    views::{Depth, JobFilter, TenantDue},
    writer::{CommitStats, WRITES_PER_COMMIT_MAX, WRITES_WAITING_MAX},
};
use self::{dedup::DedupWindow, reader::Readers, writer::Writer};

/// Name of the file beside the main one that holds history and its full-text index.
pub const HISTORY_FILE: &str = "history.db";

/// How to open a [`Store`].
#[derive(Clone)]
pub struct StoreConfig {
    /// The main file; its folder must exist. The history is kept beside it as [`HISTORY_FILE`].
    pub path: PathBuf,
    /// How long a webhook is recognised as delivered before: at least this many hours, at most twice that.
    pub dedup_hours: u32,
    /// Who is told what the writers do.
    pub hooks: Hooks,
}

/// Called by the writer threads. Keep them short: the next commit waits for them.
#[derive(Clone)]
pub struct Hooks {
    /// After every commit or failed commit.
    pub on_commit: Arc<dyn Fn(CommitStats) + Send + Sync>,
    /// Once on each thread that the store starts, before anything else runs on it.
    pub on_thread_start: Arc<dyn Fn() + Send + Sync>,
}

impl Default for Hooks {
    fn default() -> Self {
        Self { on_commit: Arc::new(|_| {}), on_thread_start: Arc::new(|| {}) }
    }
}

/// One of the two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreFile {
    /// Tenants, queue, plugin events.
    Main,
    /// Enhancements and resolved tickets.
    History,
}

impl StoreFile {
    /// `main` or `history`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::History => "history",
        }
    }
}

/// The store. Cheap to clone; all clones are one store. Writes may be awaited on any runtime; reads need Tokio's blocking
/// pool. A write that was answered `Ok` is on disk; one that was not may be repeated. The writer threads end, after what is
/// queued, when the last clone is dropped.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    clock: Clock,
    dedup_ms: i64,
    main: Writer<DedupWindow>,
    history: Writer,
    main_reads: Readers,
    history_reads: Readers,
}

impl Store {
    /// Opens both files, makes them if need be, brings their schema up to date and starts their writer threads. Blocks;
    /// called once at start.
    pub fn open(config: StoreConfig, clock: Clock) -> Result<Self, StoreError> {
        connection::assert_sqlite_version()?;
        let history_path = config.path.with_file_name(HISTORY_FILE);
        if history_path == config.path {
            return Err(StoreError::damaged(&config.path, "this name belongs to the history"));
        }
        let main = migrations::open_migrated(StoreFile::Main, &config.path)?;
        let history = migrations::open_migrated(StoreFile::History, &history_path)?;
        let inner = Inner {
            clock,
            dedup_ms: i64::from(config.dedup_hours) * 3_600_000,
            main: Writer::start(StoreFile::Main, &config.path, main, config.hooks.clone())?,
            history: Writer::start(StoreFile::History, &history_path, history, config.hooks)?,
            main_reads: Readers::new(&config.path),
            history_reads: Readers::new(&history_path),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The clock by which leases and due times are reckoned.
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// Reads from both files and passes both writers once, so it succeeds only while accepting would.
    pub async fn ping(&self) -> Result<(), StoreError> {
        fn look(connection: &rusqlite::Connection) -> rusqlite::Result<()> {
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
        }
        self.inner.main_reads.read(look).await?;
        self.inner.history_reads.read(look).await?;
        self.inner.main.apply(look).await?;
        self.inner.history.apply(look).await
    }

    /// Commits what is queued and ends the writer threads. Later writes through any clone get [`StoreError::Closed`].
    pub async fn close(&self) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.inner);
        let ended = tokio::task::spawn_blocking(move || {
            inner.main.close();
            inner.history.close();
        });
        ended.await.map_err(|error| StoreError::unavailable(self.inner.main_reads.path(), error))
    }
}

#[cfg(test)]
mod tests;
