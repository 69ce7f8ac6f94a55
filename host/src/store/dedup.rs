//! The window in which a second delivery is recognised: two generations of keys, the older emptied whole.

use rusqlite::{Connection, params};

use crate::queue::job::DedupKey;

/// Keeps the key unless it is known; says whether it was new. Runs inside the transaction that accepts the job.
pub(super) fn remember(
    connection: &Connection,
    slot: u16,
    key: &DedupKey,
    now_ms: i64,
    window_ms: i64,
) -> rusqlite::Result<bool> {
    let mut state = look(connection, slot, key)?;
    if now_ms.saturating_sub(state.since_ms) >= window_ms {
        rotate(connection, &state, now_ms, window_ms)?;
        state = look(connection, slot, key)?;
    }
    if state.known {
        return Ok(false);
    }
    let insert = match state.current {
        0 => "INSERT INTO dedup_0 (slot, key) VALUES (?1, ?2)",
        _ => "INSERT INTO dedup_1 (slot, key) VALUES (?1, ?2)",
    };
    connection.prepare_cached(insert)?.execute(params![slot, key.as_bytes()])?;
    Ok(true)
}

struct State {
    /// The generation that takes new keys.
    current: i64,
    /// Its beginning.
    since_ms: i64,
    /// Whether either generation holds the key.
    known: bool,
}

fn look(connection: &Connection, slot: u16, key: &DedupKey) -> rusqlite::Result<State> {
    connection
        .prepare_cached(
            "SELECT (SELECT value FROM meta WHERE key = 'dedup_current'),
                    (SELECT value FROM meta WHERE key = 'dedup_since_ms'),
                    EXISTS (SELECT 1 FROM dedup_0 WHERE slot = ?1 AND key = ?2)
                 OR EXISTS (SELECT 1 FROM dedup_1 WHERE slot = ?1 AND key = ?2)",
        )?
        .query_row(params![slot, key.as_bytes()], |row| {
            Ok(State { current: row.get(0)?, since_ms: row.get(1)?, known: row.get(2)? })
        })
}

/// Empties the older generation and makes it the current one, which begins where its predecessor's window ended: so a key
/// stays for one window at least and two at most. After a silence of two windows all keys are too old.
fn rotate(connection: &Connection, state: &State, now_ms: i64, window_ms: i64) -> rusqlite::Result<()> {
    let all_are_old = now_ms.saturating_sub(state.since_ms) >= window_ms.saturating_mul(2);
    // Without a WHERE clause SQLite frees the pages and visits no row.
    if state.current == 1 || all_are_old {
        connection.execute("DELETE FROM dedup_0", [])?;
    }
    if state.current == 0 || all_are_old {
        connection.execute("DELETE FROM dedup_1", [])?;
    }
    let begins_ms = if all_are_old { now_ms } else { state.since_ms.saturating_add(window_ms) };
    let mut set = connection.prepare_cached("UPDATE meta SET value = ?2 WHERE key = ?1")?;
    set.execute(params!["dedup_current", 1 - state.current])?;
    set.execute(params!["dedup_since_ms", begins_ms])?;
    Ok(())
}
