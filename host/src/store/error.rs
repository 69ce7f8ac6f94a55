//! Failures of the store, worded so that an operator knows what to do next.

use std::{path::Path, sync::Arc};

use crate::ids::TenantId;

/// A failure of the store. Only [`Saturated`](Self::Saturated) and [`Unavailable`](Self::Unavailable) can pass without
/// help; the others need a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The write queue is full: webhooks arrive faster than the disk takes them. Nothing was written; try again
    /// shortly.
    #[error("the store is saturated: {waiting_max} operations wait for {file}; the disk is too slow for what arrives")]
    Saturated {
        /// The file whose writer is behind.
        file: Arc<str>,
        /// The length of the queue, in operations.
        waiting_max: usize,
    },
    /// The operation was not confirmed. Treat it as not done.
    #[error("{file} cannot be used now: {reason}; look for a full or failing disk")]
    Unavailable {
        /// The file.
        file: Arc<str>,
        /// The message of SQLite or the system.
        reason: Arc<str>,
    },
    /// The store was closed, or its writer thread has ended.
    #[error("{file} is closed")]
    Closed {
        /// The file.
        file: Arc<str>,
    },
    /// The file was written by a later version of Patchbay. It was not changed.
    #[error(
        "{file} has schema version {found}, this program knows up to {known}; run the newer program, or put back the \
         copy {file}.v{known}-backup that the newer one made"
    )]
    Newer {
        /// The file.
        file: Arc<str>,
        /// The version in the file.
        found: u32,
        /// The highest version that this program knows.
        known: u32,
    },
    /// The file is not a Patchbay database, or it is broken. It was not changed.
    #[error("{file} is not a usable database: {reason}; move it away, or put a backup in its place")]
    Damaged {
        /// The file.
        file: Arc<str>,
        /// What is wrong with it.
        reason: Arc<str>,
    },
    /// One of the two files is missing. Neither was changed.
    #[error(
        "{file} is missing, but {beside} is there; put it back, or a backup of both. Where what it held may be lost, \
         make an empty file of that name"
    )]
    Missing {
        /// The missing file.
        file: Arc<str>,
        /// The file that exists.
        beside: Arc<str>,
    },
    /// SQLite before 3.51.3 can corrupt the write-ahead log when two connections commit or checkpoint at once.
    #[error("SQLite {found} is too old, 3.51.3 or later is needed; build with the bundled one")]
    OldSqlite {
        /// The version that the program is linked with.
        found: Arc<str>,
    },
    /// A row cannot be decoded.
    #[error("{file} holds a row that cannot be read: {reason}; correct the row, or put back a backup")]
    UnreadableRow {
        /// The file.
        file: Arc<str>,
        /// The column and what is wrong with it.
        reason: Arc<str>,
    },
    /// A tenant with this id exists already. Nothing was changed.
    #[error("tenant {0} exists already")]
    TenantExists(TenantId),
    /// There is no such tenant. Nothing was changed.
    #[error("there is no tenant {0}")]
    UnknownTenant(TenantId),
    /// The tenant cannot switch to another tool while it has jobs for the current one. Nothing was changed.
    #[error("tenant {tenant} has {jobs} live {} for the tool that it has now", if *jobs == 1 { "job" } else { "jobs" })]
    LiveJobs {
        /// The tenant.
        tenant: TenantId,
        /// How many jobs.
        jobs: u64,
    },
}

impl StoreError {
    pub(super) fn unavailable(file: &Path, reason: impl ToString) -> Self {
        Self::Unavailable { file: shown(file), reason: reason.to_string().into() }
    }

    pub(super) fn closed(file: &Path) -> Self {
        Self::Closed { file: shown(file) }
    }

    pub(super) fn damaged(file: &Path, reason: impl ToString) -> Self {
        Self::Damaged { file: shown(file), reason: reason.to_string().into() }
    }

    /// Distinguishes a broken file or row from a file that is only unavailable for now.
    pub(super) fn from_sqlite(file: &Path, error: &rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        if matches!(error, rusqlite::Error::FromSqlConversionFailure(..)) {
            return Self::UnreadableRow { file: shown(file), reason: error.to_string().into() };
        }
        match error.sqlite_error_code() {
            Some(DatabaseCorrupt | NotADatabase) => Self::damaged(file, error),
            _ => Self::unavailable(file, error),
        }
    }
}

/// A path as messages show it.
pub(super) fn shown(file: &Path) -> Arc<str> {
    file.to_string_lossy().into()
}
