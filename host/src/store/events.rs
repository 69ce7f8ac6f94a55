//! The journal of what happened to plugins: loads, refusals, swaps. Bounded; the oldest entries go first.

use rusqlite::params;

use super::{Store, StoreError};

/// Entries that are kept.
pub const PLUGIN_EVENTS_MAX: u32 = 10_000;

/// One entry of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginEvent {
    /// When it happened, milliseconds since the epoch.
    pub at_ms: i64,
    /// The plugin's tool type, where it is known.
    pub tool_type: Option<String>,
    /// The generation, where there is one.
    pub generation: Option<i64>,
    /// The file's digest in hex, where there is one.
    pub sha256: Option<String>,
    /// A short code for programs.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

impl Store {
    /// Appends an entry and drops the oldest beyond [`PLUGIN_EVENTS_MAX`].
    pub async fn record_plugin_event(&self, event: PluginEvent) -> Result<(), StoreError> {
        self.inner
            .main
            .apply(move |connection| {
                connection
                    .prepare_cached(
                        "INSERT INTO plugin_events (at_ms, tool_type, generation, sha256, code, message)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                    )?
                    .execute(params![
                        event.at_ms,
                        event.tool_type,
                        event.generation,
                        event.sha256,
                        event.code,
                        event.message
                    ])?;
                connection
                    .prepare_cached("DELETE FROM plugin_events WHERE id <= ?1")?
                    .execute([connection.last_insert_rowid() - i64::from(PLUGIN_EVENTS_MAX)])?;
                Ok(())
            })
            .await
    }

    /// The last `limit` entries, oldest first.
    pub async fn plugin_events(&self, limit: u32) -> Result<Vec<PluginEvent>, StoreError> {
        self.inner
            .main_reads
            .read(move |connection| {
                connection
                    .prepare_cached(
                        "SELECT at_ms, tool_type, generation, sha256, code, message
                         FROM (SELECT * FROM plugin_events ORDER BY id DESC LIMIT ?1) ORDER BY id",
                    )?
                    .query_map([limit], |row| {
                        Ok(PluginEvent {
                            at_ms: row.get(0)?,
                            tool_type: row.get(1)?,
                            generation: row.get(2)?,
                            sha256: row.get(3)?,
                            code: row.get(4)?,
                            message: row.get(5)?,
                        })
                    })?
                    .collect()
            })
            .await
    }
}
