//! The window in which a second delivery is recognised: two generations of keys, the older emptied whole.
//!
//! Keys come in no order, and each alone would dirty a page of its own in a table that is sorted by them. So they are
//! appended to a run, which is mirrored in memory, and a full run is sorted into its generation, a few keys with each
//! commit: neighbours share a page.

use std::collections::HashSet;

use rusqlite::{Connection, params};

use crate::queue::job::DedupKey;

/// Keys of a run before it is sorted in. Two runs are in memory at most: a few megabytes.
const RUN_KEYS: usize = 65_536;
/// Keys that a commit sorts in for each new one, so that a run is done long before the next is full.
const SORTED_PER_NEW: usize = 2;
/// ... and for each operation of any other kind.
const SORTED_PER_COMMIT: usize = 16;

/// The runs in memory, and where the window stands.
pub(super) struct DedupWindow {
    /// The generation that takes new keys, 0 or 1.
    generation: usize,
    /// Its beginning.
    since_ms: i64,
    /// The run that takes new keys, 0 or 1.
    run: usize,
    /// Its keys.
    appended: HashSet<Entry>,
    /// The keys of the other run, in order.
    sorting: Vec<Entry>,
    /// So many of them are in the generation already.
    sorted: usize,
    /// Keys that came in this commit.
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
    /// As the file has it.
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

    /// Sorts some keys in; once in each transaction.
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

    /// Ends a generation whose window is over; says whether it was. To be called before each [`remember`](Self::remember).
    pub(super) fn turn(&mut self, connection: &Connection, now_ms: i64, window_ms: i64) -> rusqlite::Result<bool> {
        if now_ms < self.since_ms {
            // The clock was wrong when the generation began. Else it would take keys until that time comes.
            self.since_ms = now_ms;
            set(connection, "dedup_since_ms", now_ms)?;
        }
        let over = now_ms.saturating_sub(self.since_ms) >= window_ms;
        if over {
            self.rotate(connection, now_ms, window_ms)?;
        }
        Ok(over)
    }

    /// Keeps the key unless it is known; says whether it was new. Runs inside the transaction that accepts the job.
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

    /// Empties the older generation and makes it the current one, which begins where its predecessor's window ended: so a
    /// key stays for one window at least and two at most. After a silence of two windows all keys are too old.
    fn rotate(&mut self, connection: &Connection, now_ms: i64, window_ms: i64) -> rusqlite::Result<()> {
        // What waits belongs to the generation that ends. Once in a window a commit takes the longer for it.
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
