//! Opens connections in the one safe way: version checked, write-ahead log bounded, every commit synced.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, config::DbConfig};
use rustix::fs::{Access, access};

use super::error::StoreError;

/// Oldest safe SQLite, 3.51.3, as SQLite numbers it. In older ones, two connections that commit or checkpoint at once
/// can corrupt the log.
const SQLITE_VERSION_MIN: i32 = 3_051_003;
/// How long a statement waits for a lock before it fails.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Length of the log at which a commit moves it into the database.
const WAL_CHECKPOINT_PAGES: u32 = 4_000;
/// Length to which the log is cut back when it is restarted.
const WAL_KEPT_BYTES: u32 = 64 << 20;
/// Length of the log above which the writer waits for the readers, so that the log can be restarted.
const WAL_BYTES_MAX: u64 = 256 << 20;
/// Longest wait for the readers in each commit: a backup may be reading for minutes.
const WAL_WAIT_MAX: Duration = Duration::from_millis(50);
const PAGE_CACHE_KIB: u32 = 16 << 10;
const STATEMENTS_CACHED_MAX: usize = 64;

/// Refuses SQLite versions known to corrupt files.
pub(super) fn assert_sqlite_version() -> Result<(), StoreError> {
    if rusqlite::version_number() >= SQLITE_VERSION_MIN {
        Ok(())
    } else {
        Err(StoreError::OldSqlite { found: rusqlite::version().into() })
    }
}

/// The one connection that writes. The file must exist.
pub(super) fn open_writer(file: &Path) -> Result<Connection, StoreError> {
    // Without write permission SQLite would fall back to reading, and create a log that stays read-only. This checks
    // without opening the file, because closing it again would release the locks of all connections of this process.
    access(file, Access::WRITE_OK).map_err(|error| StoreError::unavailable(file, error))?;
    let prepare = || {
        let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE | base_flags())?;
        settle(&connection)?;
        // The order matters: the mode is stored in the file, the rest belongs to the connection.
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "wal_autocheckpoint", WAL_CHECKPOINT_PAGES)?;
        connection.pragma_update(None, "journal_size_limit", WAL_KEPT_BYTES)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        Ok(connection)
    };
    prepare().map_err(|error| StoreError::from_sqlite(file, &error))
}

/// A connection that can only read.
pub(super) fn open_reader(file: &Path) -> Result<Connection, StoreError> {
    let prepare = || {
        let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY | base_flags())?;
        settle(&connection)?;
        Ok(connection)
    };
    prepare().map_err(|error| StoreError::from_sqlite(file, &error))
}

/// Creates the file if it does not exist, empty and readable by its owner only. SQLite gives its log the same
/// permissions.
pub(super) fn make_private(file: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(file)
}

/// Restarts the log if constant reading has kept it from being cut back.
pub(super) fn bound_wal(connection: &Connection, file: &Path) -> rusqlite::Result<()> {
    let wal = PathBuf::from(format!("{}-wal", file.display()));
    if wal.metadata().is_ok_and(|log| log.len() > WAL_BYTES_MAX) {
        connection.busy_timeout(WAL_WAIT_MAX)?;
        let restarted = connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(()));
        connection.busy_timeout(BUSY_TIMEOUT)?;
        restarted?;
    }
    Ok(())
}

fn base_flags() -> OpenFlags {
    // Each connection is used by one thread at a time: the writer's, or the one that took it from the pool.
    OpenFlags::SQLITE_OPEN_NO_MUTEX
}

fn settle(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // A statement's plan must not depend on its bound values. Otherwise SQLite prepares one with "LIMIT ?" anew for
    // each run.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED_MAX);
    connection.pragma_update(None, "cache_size", -i64::from(PAGE_CACHE_KIB))?;
    connection.pragma_update(None, "temp_store", "MEMORY")
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;

    #[test]
    fn a_statement_is_prepared_once_whatever_is_bound_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("some.db");
        make_private(&file).unwrap();
        let times_prepared_again = |connection: &Connection| {
            for limit in 1..=3 {
                let mut statement = connection.prepare_cached("SELECT value FROM json_each('[1]') LIMIT ?1").unwrap();
                let _rows: Vec<i64> = statement.query_map([limit], |row| row.get(0)).unwrap().flatten().collect();
            }
            let statement = connection.prepare_cached("SELECT value FROM json_each('[1]') LIMIT ?1").unwrap();
            statement.get_status(StatementStatus::RePrepare)
        };
        let writer = open_writer(&file).unwrap();
        assert_eq!(times_prepared_again(&writer), 0);
        assert_eq!(times_prepared_again(&open_reader(&file).unwrap()), 0);
        assert!(times_prepared_again(&Connection::open_in_memory().unwrap()) > 0, "the control");
    }
}
