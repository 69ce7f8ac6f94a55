//! What each tenant has in the store, as triggers count it, and how much that may be.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Row};

use super::{
    Store, StoreError,
    views::{column, count},
};
use crate::ids::{Incarnation, TenantId};

/// What one tenant may have in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenantRoom {
    /// Live jobs.
    pub jobs_max: u64,
    /// Bytes of the texts of its jobs, dead letters, solved tickets and notes.
    pub bytes_max: u64,
}

/// What one tenant has in the main file.
#[derive(Debug, Clone, Copy)]
pub(super) struct JobUsage {
    /// Live jobs.
    jobs: u64,
    /// Bytes of the texts of jobs and dead letters.
    bytes: u64,
}

/// What is stored for a tenant, in rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Live jobs.
    pub jobs: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// Solved tickets.
    pub solved_tickets: u64,
    /// Ended enhancements, most of them with their note.
    pub notes: u64,
}

/// Bytes of the texts that each tenant has in the history.
pub(super) type HistoryBytes = HashMap<(TenantId, Incarnation), u64>;

impl TenantRoom {
    /// Without limits.
    pub const UNBOUNDED: Self = Self { jobs_max: u64::MAX, bytes_max: u64::MAX };

    pub(super) fn is_full(self, queue: JobUsage, history_bytes: u64) -> bool {
        queue.jobs >= self.jobs_max || queue.bytes.saturating_add(history_bytes) >= self.bytes_max
    }
}

impl JobUsage {
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { jobs: count(row, 0)?, bytes: count(row, 1)? })
    }
}

impl Holdings {
    /// Whether there is nothing.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// Which rows that bear a tenant's id are meant.
#[derive(Debug, Clone)]
pub struct Owned {
    tenant: TenantId,
    incarnation: Incarnation,
    /// All but those of `incarnation`, instead of those.
    others: bool,
}

impl Owned {
    /// Those of this very tenant.
    pub fn by(tenant: &TenantId, incarnation: Incarnation) -> Self {
        Self { tenant: tenant.clone(), incarnation, others: false }
    }

    /// Those of every tenant that had the id before `incarnation`, the one that has it now; of all when nobody has.
    pub fn before(tenant: &TenantId, incarnation: Option<Incarnation>) -> Self {
        Self { tenant: tenant.clone(), incarnation: incarnation.unwrap_or(Incarnation::new(-1)), others: true }
    }

    /// A condition on the columns `tenant` and `incarnation` for [`params`](Self::params), numbered 1 and 2.
    pub(super) fn condition(&self) -> &'static str {
        if self.others { "tenant = ?1 AND incarnation <> ?2" } else { "tenant = ?1 AND incarnation = ?2" }
    }

    pub(super) fn params(&self) -> (&str, Incarnation) {
        (self.tenant.as_str(), self.incarnation)
    }

    pub(super) fn slot(&self) -> u16 {
        self.tenant.slot()
    }
}

impl Store {
    /// What is stored for a tenant.
    pub async fn holdings(&self, owned: Owned) -> Result<Holdings, StoreError> {
        let of = owned.clone();
        let (jobs, dead_letters) = self
            .inner
            .main_reads
            .read(move |connection| {
                let jobs = sum(connection, "job_usage", "jobs", &of)?;
                let dead_letters = connection
                    .prepare_cached(&format!("SELECT count(*) FROM dead_letters WHERE {}", of.condition()))?
                    .query_row(of.params(), |row| count(row, 0))?;
                Ok((jobs, dead_letters))
            })
            .await?;
        let (solved_tickets, notes) = self
            .inner
            .history_reads
            .read(move |connection| {
                let sum = |column| sum(connection, "history_usage", column, &owned);
                Ok((sum("tickets")?, sum("notes")?))
            })
            .await?;
        Ok(Holdings { jobs, dead_letters, solved_tickets, notes })
    }

    /// The number of the tenant that has this id now.
    pub(super) async fn incarnation(&self, tenant: &TenantId) -> Result<Option<Incarnation>, StoreError> {
        let tenant = tenant.clone();
        self.inner
            .main_reads
            .read(move |connection| {
                connection
                    .prepare_cached("SELECT incarnation FROM tenants WHERE id = ?1")?
                    .query_row([tenant.as_str()], |row| row.get(0))
                    .optional()
            })
            .await
    }

    /// Looks how much each tenant has in the history. What is written there since is not in the count: it comes from jobs,
    /// of which there are not many.
    pub async fn measure_history(&self) -> Result<(), StoreError> {
        let measured: HistoryBytes = self
            .inner
            .history_reads
            .read(|connection| {
                connection
                    .prepare_cached("SELECT tenant, incarnation, bytes FROM history_usage")?
                    .query_map([], |row| Ok(((column(row, 0, TenantId::parse)?, row.get(1)?), count(row, 2)?)))?
                    .collect()
            })
            .await?;
        self.inner.history_bytes.store(measured.into());
        Ok(())
    }

    pub(super) fn history_bytes(&self, tenant: &TenantId, incarnation: Incarnation) -> u64 {
        self.inner.history_bytes.load().get(&(tenant.clone(), incarnation)).copied().unwrap_or(0)
    }
}

fn sum(connection: &Connection, table: &str, column: &str, of: &Owned) -> rusqlite::Result<u64> {
    connection
        .prepare_cached(&format!("SELECT coalesce(sum({column}), 0) FROM {table} WHERE {}", of.condition()))?
        .query_row(of.params(), |row| count(row, 0))
}
