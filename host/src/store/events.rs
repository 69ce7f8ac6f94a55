//! The journal of what happened to plugins: loads, refusals, swaps. Bounded; the oldest entries go first.

use rusqlite::params;

use super::{Store, StoreError};
use crate::ids::ToolType;

/// Entries that are kept.
pub const PLUGIN_EVENTS_MAX: u32 = 10_000;

/// One entry of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginEvent {
    /// Its number, which rises; 0 until it is kept.
    pub id: i64,
    /// When it happened, milliseconds since the epoch.
    pub at_ms: i64,
    /// The plugin's tool type, where it is known.
    pub tool_type: Option<String>,
    /// The generation, where there is one.
    pub generation: Option<i64>,
    /// The plugin's version, where it is known.
    pub version: Option<String>,
    /// The file's digest in hex, where there is one.
    pub sha256: Option<String>,
    /// A short code for programs.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// Who did it: `host`, or `uid` and the number of the user who asked for it.
    pub who: String,
    /// Why, in the words of whoever asked for it.
    pub why: Option<String>,
}

/// Where a list of entries begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventsFrom {
    /// At the entry by which the list ends with the newest.
    Newest,
    /// After the entry with this number.
    After(i64),
}

impl Store {
    /// Appends entries in their order, all or none, and drops the oldest beyond [`PLUGIN_EVENTS_MAX`].
    pub async fn record_plugin_events(&self, events: Vec<PluginEvent>) -> Result<(), StoreError> {
        if events.is_empty() {
            return Ok(());
        }
        self.inner
            .main
            .apply(move |connection| {
                let mut insert = connection.prepare_cached(
                    "INSERT INTO plugin_events (at_ms, tool_type, generation, version, sha256, code, message, who, why)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                )?;
                for event in events {
                    insert.execute(params![
                        event.at_ms,
                        event.tool_type,
                        event.generation,
                        event.version,
                        event.sha256,
                        event.code,
                        event.message,
                        event.who,
                        event.why
                    ])?;
                }
                connection
                    .prepare_cached("DELETE FROM plugin_events WHERE id <= ?1")?
                    .execute([connection.last_insert_rowid() - i64::from(PLUGIN_EVENTS_MAX)])?;
                Ok(())
            })
            .await
    }

    /// At most `limit` entries, of this tool type or of all, the oldest first.
    pub async fn plugin_events(
        &self,
        from: EventsFrom,
        tool_type: Option<ToolType>,
        limit: u32,
    ) -> Result<Vec<PluginEvent>, StoreError> {
        let (after, order) = match from {
            EventsFrom::Newest => (0, "DESC"),
            EventsFrom::After(id) => (id, "ASC"),
        };
        self.inner
            .main_reads
            .read(move |connection| {
                connection
                    .prepare_cached(&format!(
                        "SELECT id, at_ms, tool_type, generation, version, sha256, code, message, who, why
                         FROM (SELECT * FROM plugin_events WHERE id > ?1 AND (?2 IS NULL OR tool_type = ?2)
                               ORDER BY id {order} LIMIT ?3)
                         ORDER BY id"
                    ))?
                    .query_map(params![after, tool_type.as_ref().map(ToolType::as_str), limit], |row| {
                        Ok(PluginEvent {
                            id: row.get(0)?,
                            at_ms: row.get(1)?,
                            tool_type: row.get(2)?,
                            generation: row.get(3)?,
                            version: row.get(4)?,
                            sha256: row.get(5)?,
                            code: row.get(6)?,
                            message: row.get(7)?,
                            who: row.get(8)?,
                            why: row.get(9)?,
                        })
                    })?
                    .collect()
            })
            .await
    }
}
