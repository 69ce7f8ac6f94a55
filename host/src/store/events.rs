//! The journal's rows: what happened to plugins, and what was done to tenants and jobs. The journal is bounded; the
//! oldest entries are dropped first.

use rusqlite::params;

use super::{Store, StoreError};
use crate::ids::{Incarnation, TenantId, ToolType};

/// Maximum number of entries in the journal.
pub const PLUGIN_EVENTS_MAX: u32 = 10_000;

/// One entry of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginEvent {
    /// The entry's number, which only rises; 0 until it is stored.
    pub id: i64,
    /// When it happened, milliseconds since the epoch.
    pub at_ms: i64,
    /// The plugin's tool type, if known.
    pub tool_type: Option<String>,
    /// The generation, if there is one.
    pub generation: Option<i64>,
    /// The plugin's version, if known.
    pub version: Option<String>,
    /// The file's SHA-256 in hex, if there is a file.
    pub sha256: Option<String>,
    /// A short code for programs.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// Who caused it: `host`, or `uid` and the number of the user who asked for it.
    pub who: String,
    /// The reason, in the words of the user who asked for it.
    pub why: Option<String>,
    /// The tenant concerned, if any.
    pub tenant: Option<String>,
    /// Which tenant with that id. An entry without it stays when the tenant's data is erased.
    pub incarnation: Option<Incarnation>,
}

/// Selects entries of the journal. All conditions must match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only entries about this tool type.
    pub tool_type: Option<ToolType>,
    /// Only entries about a tenant with this id.
    pub tenant: Option<TenantId>,
}

/// Where a list of entries begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventsFrom {
    /// Where a list must begin to end with the newest entry.
    Newest,
    /// After the entry with this number.
    After(i64),
}

impl Store {
    /// Appends entries in order, all or none, and drops the oldest beyond [`PLUGIN_EVENTS_MAX`].
    pub async fn record_plugin_events(&self, events: Vec<PluginEvent>) -> Result<(), StoreError> {
        if events.is_empty() {
            return Ok(());
        }
        self.inner
            .main
            .apply(move |connection| {
                let mut insert = connection.prepare_cached(
                    "INSERT INTO plugin_events (at_ms, tool_type, generation, version, sha256, code, message, who, why,
                                                tenant, incarnation)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
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
                        event.why,
                        event.tenant,
                        event.incarnation
                    ])?;
                }
                connection
                    .prepare_cached("DELETE FROM plugin_events WHERE id <= ?1")?
                    .execute([connection.last_insert_rowid() - i64::from(PLUGIN_EVENTS_MAX)])?;
                Ok(())
            })
            .await
    }

    /// At most `limit` of the entries that match the filter, oldest first.
    pub async fn plugin_events(
        &self,
        from: EventsFrom,
        filter: EventFilter,
        limit: u32,
    ) -> Result<Vec<PluginEvent>, StoreError> {
        let (after, order) = match from {
            EventsFrom::Newest => (0, "DESC"),
            EventsFrom::After(id) => (id, "ASC"),
        };
        self.inner
            .main_reads
            .read(move |connection| {
                let tool_type = filter.tool_type.as_ref().map(ToolType::as_str);
                let tenant = filter.tenant.as_ref().map(TenantId::as_str);
                connection
                    .prepare_cached(&format!(
                        "SELECT id, at_ms, tool_type, generation, version, sha256, code, message, who, why, tenant,
                                incarnation
                         FROM (SELECT * FROM plugin_events
                               WHERE id > ?1 AND (?2 IS NULL OR tool_type = ?2) AND (?4 IS NULL OR tenant = ?4)
                               ORDER BY id {order} LIMIT ?3)
                         ORDER BY id"
                    ))?
                    .query_map(params![after, tool_type, limit, tenant], |row| {
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
                            tenant: row.get(10)?,
                            incarnation: row.get(11)?,
                        })
                    })?
                    .collect()
            })
            .await
    }
}
