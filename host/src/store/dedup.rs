//! The window in which a second delivery is recognised: two generations of keys, of which the older is emptied as a
//! whole.
//!
//! Keys are random, so inserting each one directly into a sorted table would dirty one page per key. They are appended
//! to a run instead, which is mirrored in memory. A full run is sorted into its generation, a few keys with each
//! commit, and neighbours share a page.

use std::collections::HashSet;

use rusqlite::{Connection, params};

use crate::queue::job::DedupKey;

/// Keys in a run before it is sorted into its generation. At most two runs are in memory: a few megabytes.
const RUN_KEYS: usize = 65_536;
/// Keys that a commit sorts for each new one. It is large enough to finish a run long before the next is full.
const SORTED_PER_NEW: usize = 2;
/// Keys that a commit sorts for each operation of any other kind.
const SORTED_PER_COMMIT: usize = 16;

/// The runs in memory, and where the window stands.
pub(super) struct DedupWindow {
    /// The generation that takes new keys, 0 or 1.
    generation: usize,
    /// When the current generation began.
    since_ms: i64,
    /// The run that takes new keys, 0 or 1.
    run: usize,
    /// Keys of the current run.
    appended: HashSet<Entry>,
    /// The keys of the other run, in order.
    sorting: Vec<Entry>,
    /// How many keys of `sorting` are in the generation already.
    sorted: usize,
    /// Keys that arrived in this commit.
    new: usize,
}

type Entry = (u16, [u8; 16]);

const GENERATION_INSERT: [&str; 2] = [
    "INSERT OR IGNORE INTO dedup_0 (slot, key) VALUES (?1, ?2)",
    "INSERT OR IGNORE INTO dedup_1 (slot, key) VALUES (?1, ?2)",
];
// Without a WHERE clause SQLite frees the pages and visits no row.
const GENERATION_EMPTY: [&str; 2] = ["DELETE FROM dedup_0", "DELETE FROM dedup_1"];
const RUN_INSERT: [&str; 2] =
    ["INSERT INTO dedup_run_0 (slot, key) VALUES (?1, ?2)", "INSERT INTO dedup_run_1 (slot, key) VALUES (?1, ?2)"];
const RUN_READ: [&str; 2] = ["SELECT slot, key FROM dedup_run_0", "SELECT slot, key FROM dedup_run_1"];
const RUN_EMPTY: [&str; 2] = ["DELETE FROM dedup_run_0", "DELETE FROM dedup_run_1"];

impl DedupWindow {
    /// Reads the window from the file.
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let meta = |key: &str| -> rusqlite::Result<i64> {
            connection.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0))
        };
        let run = usize::from(meta("dedup_run")? == 1);
        let keys = |run: usize| -> rusqlite::Result<Vec<Entry>> {
            connection.prepare(RUN_READ[run])?.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        };
        let mut sorting = keys(1 - run)?;
        sorting.sort_unstable();
        Ok(Self {
            generation: usize::from(meta("dedup_current")? == 1),
            since_ms: meta("dedup_since_ms")?,
            run,
            appended: keys(run)?.into_iter().collect(),
            sorting,
            sorted: 0,
            new: 0,
        })
    }

    /// Sorts some keys into the generation. Called once in each transaction.
    pub(super) fn tidy(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let new = std::mem::take(&mut self.new);
        if self.sorting.is_empty() && self.appended.len() >= RUN_KEYS {
            self.sorting = self.appended.drain().collect();
            self.sorting.sort_unstable();
            self.run = 1 - self.run;
            set(connection, "dedup_run", self.run as i64)?;
        }
        if self.sorting.is_empty() {
            Ok(())
        } else {
            self.sort_in(connection, new * SORTED_PER_NEW + SORTED_PER_COMMIT)
        }
    }

    /// Ends a generation whose window is over. Returns whether it was over. Must be called before each
    /// [`remember`](Self::remember).
    pub(super) fn turn(&mut self, connection: &Connection, now_ms: i64, window_ms: i64) -> rusqlite::Result<bool> {
        if now_ms < self.since_ms {
            // The clock was wrong when the generation began. Without this, it would take keys until that time comes.
            self.since_ms = now_ms;
            set(connection, "dedup_since_ms", now_ms)?;
        }
        let over = now_ms.saturating_sub(self.since_ms) >= window_ms;
        if over {
            self.rotate(connection, now_ms, window_ms)?;
        }
        Ok(over)
    }

    /// Stores the key unless it is known. Returns whether it was new. Runs inside the transaction that accepts the job.
    pub(super) fn remember(&mut self, connection: &Connection, slot: u16, key: &DedupKey) -> rusqlite::Result<bool> {
        let entry = (slot, *key.as_bytes());
        if self.appended.contains(&entry) || self.waits(&entry) || is_sorted_in(connection, &entry)? {
            return Ok(false);
        }
        connection.prepare_cached(RUN_INSERT[self.run])?.execute(entry)?;
        self.appended.insert(entry);
        self.new += 1;
        Ok(true)
    }

    fn waits(&self, entry: &Entry) -> bool {
        self.sorting[self.sorted..].binary_search(entry).is_ok()
    }

    fn sort_in(&mut self, connection: &Connection, keys_max: usize) -> rusqlite::Result<()> {
        let until = self.sorting.len().min(self.sorted.saturating_add(keys_max));
        let mut insert = connection.prepare_cached(GENERATION_INSERT[self.generation])?;
        for entry in &self.sorting[self.sorted..until] {
            insert.execute(*entry)?;
        }
        self.sorted = until;
        if until == self.sorting.len() {
            connection.prepare_cached(RUN_EMPTY[1 - self.run])?.execute([])?;
            (self.sorting, self.sorted) = (Vec::new(), 0);
        }
        Ok(())
    }

    /// Empties the older generation and makes it the current one, beginning where its predecessor's window ended. A key
    /// therefore stays for at least one window and at most two. After a silence of two windows, all keys are too old.
    fn rotate(&mut self, connection: &Connection, now_ms: i64, window_ms: i64) -> rusqlite::Result<()> {
        // Waiting keys belong to the generation that ends. One commit per window takes longer because of it.
        self.sort_in(connection, usize::MAX)?;
        self.sorting = self.appended.drain().collect();
        self.sorting.sort_unstable();
        self.run = 1 - self.run;
        self.sort_in(connection, usize::MAX)?;

        let all_are_old = now_ms.saturating_sub(self.since_ms) >= window_ms.saturating_mul(2);
        if all_are_old {
            connection.execute(GENERATION_EMPTY[self.generation], [])?;
        }
        self.generation = 1 - self.generation;
        connection.execute(GENERATION_EMPTY[self.generation], [])?;
        self.since_ms = if all_are_old { now_ms } else { self.since_ms.saturating_add(window_ms) };
        set(connection, "dedup_run", self.run as i64)?;
        set(connection, "dedup_current", self.generation as i64)?;
        set(connection, "dedup_since_ms", self.since_ms)
    }
}

fn is_sorted_in(connection: &Connection, entry: &Entry) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM dedup_0 WHERE slot = ?1 AND key = ?2)
                 OR EXISTS (SELECT 1 FROM dedup_1 WHERE slot = ?1 AND key = ?2)",
        )?
        .query_row(*entry, |row| row.get(0))
}

fn set(connection: &Connection, key: &str, value: i64) -> rusqlite::Result<()> {
    connection.prepare_cached("UPDATE meta SET value = ?2 WHERE key = ?1")?.execute(params![key, value])?;
    Ok(())
}

#[cfg(test)]
mod tests;
