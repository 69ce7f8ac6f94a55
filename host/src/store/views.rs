//! Queries of the scheduler and the gauges about the queue. They only read, and never go through the writer.

use rusqlite::{Connection, Row, types::Type};

use super::{Store, StoreError};
use crate::ids::TenantId;

/// The length of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// Live jobs: queued, running and waiting.
    pub live: u64,
    /// How long ago the oldest live job was accepted, milliseconds; 0 without jobs.
    pub oldest_age_ms: i64,
    /// Dead letters.
    pub dead: u64,
}

/// Summary of a tenant's live jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantDue {
    /// The tenant.
    pub tenant: TenantId,
    /// When the first of its jobs falls due, milliseconds since the epoch; past times mean now.
    pub next_due_ms: i64,
    /// How many jobs it has.
    pub jobs: u64,
}

impl Store {
    /// The length and age of the queue. Reads an index of the whole queue, so it is for gauges, not for every webhook.
    pub async fn depth(&self) -> Result<Depth, StoreError> {
        let now_ms = self.inner.clock.now_ms();
        self.inner
            .main_reads
            .read(move |connection| {
                connection
                    .prepare_cached("SELECT count(*), min(accepted_ms), (SELECT count(*) FROM dead_letters) FROM jobs")?
                    .query_row([], |row| {
                        let oldest_ms: Option<i64> = row.get(1)?;
                        Ok(Depth {
                            live: count(row, 0)?,
                            oldest_age_ms: oldest_ms.map_or(0, |oldest| now_ms.saturating_sub(oldest).max(0)),
                            dead: count(row, 2)?,
                        })
                    })
            })
            .await
    }

    /// Every tenant that has live jobs, for the scheduler's start.
    pub async fn due_by_tenant(&self) -> Result<Vec<TenantDue>, StoreError> {
        self.inner
            .main_reads
            .read(|connection| {
                connection
                    .prepare_cached("SELECT tenant, min(due_ms), count(*) FROM jobs GROUP BY slot, tenant")?
                    .query_map([], |row| {
                        Ok(TenantDue {
                            tenant: column(row, 0, TenantId::parse)?,
                            next_due_ms: row.get(1)?,
                            jobs: count(row, 2)?,
                        })
                    })?
                    .collect()
            })
            .await
    }

    /// How many live jobs a tenant has, which removing it would give up.
    pub async fn live_jobs(&self, tenant: &TenantId) -> Result<u64, StoreError> {
        let tenant = tenant.clone();
        self.inner.main_reads.read(move |connection| live_jobs(connection, &tenant)).await
    }
}

/// How many live jobs a tenant has.
pub(super) fn live_jobs(connection: &Connection, tenant: &TenantId) -> rusqlite::Result<u64> {
    connection
        .prepare_cached("SELECT count(*) FROM jobs WHERE slot = ?1 AND tenant = ?2")?
        .query_row((tenant.slot(), tenant.as_str()), |row| count(row, 0))
}

/// SQL for the slots that have rows in a table keyed by slot. It steps from slot to slot instead of reading all rows.
pub(super) fn slots_of(table: &str) -> String {
    format!(
        "WITH RECURSIVE slots (slot) AS (
             SELECT min(slot) FROM {table}
             UNION ALL
             SELECT (SELECT min(slot) FROM {table} WHERE slot > slots.slot) FROM slots WHERE slots.slot IS NOT NULL)"
    )
}

/// Reads a text column and parses it.
pub(super) fn column<T, E: ToString>(
    row: &Row<'_>,
    index: usize,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> rusqlite::Result<T> {
    let text = row.get_ref(index)?.as_str().map_err(|error| conversion(index, &error))?;
    parse(text).map_err(|error| conversion(index, &error))
}

fn conversion(index: usize, error: &impl ToString) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(index, Type::Text, error.to_string().into())
}

/// A number that is never below zero.
pub(super) fn count(row: &Row<'_>, index: usize) -> rusqlite::Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(index)?).unwrap_or(0))
}
