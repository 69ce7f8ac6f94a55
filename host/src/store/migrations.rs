//! Brings a file to the schema that this program knows: in numbered steps, with a backup before the first. Newer files
//! are never changed.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags};
use rusqlite_migration::{M, Migrations};

use super::{
    StoreFile,
    connection::{make_private, open_reader, open_writer},
    error::{StoreError, shown},
};

/// The first bytes of every database file.
const SQLITE_HEADER: &[u8] = b"SQLite format 3\0";

/// Largest file that is checked completely at each start, which takes a fraction of a second.
const CHECKED_BYTES_MAX: u64 = 64 << 20;

const MAIN: &[M<'_>] = &[
    M::up(include_str!("migrations/0001_tenants.sql")),
    M::up(include_str!("migrations/0002_tool_type.sql")),
    M::up(include_str!("migrations/0003_tenant_secrets.sql")),
    M::up(include_str!("migrations/0004_queue.sql")),
    M::up(include_str!("migrations/0005_plugin_events.sql")),
    M::up(include_str!("migrations/0006_append.sql")),
    M::up(include_str!("migrations/0007_pause.sql")),
    M::up(include_str!("migrations/0008_journal.sql")),
    M::up(include_str!("migrations/0009_plugin_records.sql")),
    M::up(include_str!("migrations/0010_replay_ahead.sql")),
    M::up(include_str!("migrations/0011_reopenings.sql")),
    M::up(include_str!("migrations/0012_incarnations.sql")),
    M::up(include_str!("migrations/0013_allow_from.sql")),
    M::up(include_str!("migrations/0014_count_in_commits.sql")),
    M::up(include_str!("migrations/0015_retried.sql")),
    M::up(include_str!("migrations/0016_audit.sql")),
];
const HISTORY: &[M<'_>] = &[
    M::up(include_str!("migrations/history_0001.sql")),
    M::up(include_str!("migrations/history_0002.sql")),
    M::up(concat!(include_str!("migrations/history_0003.sql"), include_str!("migrations/history_count.sql"))),
    M::up(include_str!("migrations/history_0004.sql")),
];

/// Recounts what each tenant has in the history; otherwise triggers keep these counts.
pub(super) const COUNT_HISTORY: &str = include_str!("migrations/history_count.sql");

/// Refuses files that this program must not write: damaged, foreign, newer, or one without the other. Changes nothing.
/// Blocks.
pub(super) fn inspect(main: &Path, history: &Path) -> Result<(), StoreError> {
    let mut there = [false; 2];
    for (there, (file, path)) in there.iter_mut().zip([(StoreFile::Main, main), (StoreFile::History, history)]) {
        *there = path.try_exists().map_err(|error| StoreError::unavailable(path, error))?;
        if *there && schema_version(path, known(file))? > 0 {
            sound(path)?;
        }
    }
    // An empty file is a new one: an earlier first start was cut off between the two files.
    let holds = |path: &Path| path.metadata().is_ok_and(|file| file.len() > 0);
    let missing = |file, beside| Err(StoreError::Missing { file: shown(file), beside: shown(beside) });
    match there {
        [true, false] if holds(main) => missing(history, main),
        [false, true] if holds(history) => missing(main, history),
        _ => Ok(()),
    }
}

/// Opens the file for writing at the newest schema, and creates it if there is none. Blocks.
pub(super) fn open_migrated(file: StoreFile, path: &Path) -> Result<Connection, StoreError> {
    let (steps, known) = (steps(file), known(file));
    make_private(path).map_err(|error| StoreError::unavailable(path, error))?;
    let found = schema_version(path, known)?;
    if (1..known).contains(&found) {
        back_up(path, found)?;
        tracing::info!(file = %path.display(), from = found, to = known, "the schema is brought up to date");
    }
    let mut connection = open_writer(path)?;
    let unavailable = |error: &dyn std::fmt::Display| StoreError::unavailable(path, format_args!("{error}"));
    // A step may sort every row of a large file, which may not fit in memory.
    connection.pragma_update(None, "temp_store", "FILE").map_err(|error| unavailable(&error))?;
    Migrations::from_slice(steps).to_latest(&mut connection).map_err(|error| unavailable(&error))?;
    connection.pragma_update(None, "temp_store", "MEMORY").map_err(|error| unavailable(&error))?;
    Ok(connection)
}

fn steps(file: StoreFile) -> &'static [M<'static>] {
    match file {
        StoreFile::Main => MAIN,
        StoreFile::History => HISTORY,
    }
}

fn known(file: StoreFile) -> u32 {
    u32::try_from(steps(file).len()).expect("there are few migrations")
}

/// Reads every page of a file up to [`CHECKED_BYTES_MAX`]. Damage in a longer file is found when it is read.
fn sound(path: &Path) -> Result<(), StoreError> {
    let length = path.metadata().map_err(|error| StoreError::unavailable(path, error))?.len();
    if length > CHECKED_BYTES_MAX {
        return Ok(());
    }
    let verdict: String = open_reader(path)?
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| StoreError::from_sqlite(path, &error))?;
    if verdict == "ok" { Ok(()) } else { Err(StoreError::damaged(path, verdict.replace('\n', " "))) }
}

/// Reads the schema version without changing the file.
fn schema_version(path: &Path, known: u32) -> Result<u32, StoreError> {
    if !starts_as_database(path).map_err(|error| StoreError::unavailable(path, error))? {
        return Err(StoreError::damaged(path, "it is not a SQLite database"));
    }
    undo_cut_off(path).map_err(|error| StoreError::from_sqlite(path, &error))?;
    let connection = open_reader(path)?;
    let look = || -> rusqlite::Result<(i64, i64)> {
        let version = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        let objects = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        Ok((version, objects))
    };
    let (version, objects) = look().map_err(|error| StoreError::from_sqlite(path, &error))?;
    let found = u32::try_from(version).map_err(|_| StoreError::damaged(path, "its schema version is negative"))?;
    match found {
        0 if objects > 0 => Err(StoreError::damaged(path, "it is a database of another program")),
        found if found > known => Err(StoreError::Newer { file: shown(path), found, known }),
        found => Ok(found),
    }
}

/// Undoes what an interrupted start left in the file's journal. Opening the file for writing does that; a reader could
/// neither do it nor read the file.
fn undo_cut_off(path: &Path) -> rusqlite::Result<()> {
    if Path::new(&format!("{}-journal", path.display())).exists() {
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?.query_row(
            "SELECT count(*) FROM sqlite_schema",
            [],
            |_| Ok(()),
        )?;
    }
    Ok(())
}

/// Whether the file is empty or starts as a database. SQLite itself treats any file under 512 bytes as empty, and would
/// overwrite it.
fn starts_as_database(path: &Path) -> io::Result<bool> {
    let mut start = Vec::with_capacity(SQLITE_HEADER.len());
    File::open(path)?.take(SQLITE_HEADER.len() as u64).read_to_end(&mut start)?;
    Ok(start.is_empty() || start == SQLITE_HEADER)
}

/// Copies the database to `<file>.v<N>-backup`. A file of that name is complete and on disk.
fn back_up(path: &Path, version: u32) -> Result<(), StoreError> {
    let target = backup_path(path, version);
    let partial = PathBuf::from(format!("{}.partial", target.display()));
    let failed = |error: &dyn std::fmt::Display| {
        StoreError::unavailable(path, format_args!("no backup could be made at {}: {error}", target.display()))
    };
    match fs::remove_file(&partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&error)),
        _ => {}
    }
    let copy = make_private(&partial).map_err(|error| failed(&error))?;
    open_reader(path)?.execute("VACUUM INTO ?1", [partial.to_string_lossy()]).map_err(|error| failed(&error))?;
    let in_place = || -> io::Result<()> {
        copy.sync_all()?;
        fs::rename(&partial, &target)?;
        File::open(target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))?
            .sync_all()
    };
    in_place().map_err(|error| failed(&error))
}

fn backup_path(path: &Path, version: u32) -> PathBuf {
    PathBuf::from(format!("{}.v{version}-backup", path.display()))
}

#[cfg(test)]
mod tests;
