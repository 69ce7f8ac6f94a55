//! How much each tenant has in the store, as triggers count it, and how much it may have.

use std::{collections::HashMap, ops::Add};

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    Store, StoreError,
    views::{column, count},
};
use crate::{
    ids::{Incarnation, TenantId},
    queue::job::NewJob,
};

/// How much one tenant may have in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenantRoom {
    /// Maximum number of live jobs.
    pub jobs_max: u64,
    /// Maximum size of the texts of its jobs, dead letters, solved tickets and notes.
    pub bytes_max: u64,
}

/// How much one tenant has in the main file.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct JobUsage {
    /// Live jobs.
    jobs: i64,
    /// Bytes of the texts of jobs and dead letters.
    bytes: i64,
}

/// Jobs accepted in this commit and not yet counted in the table `job_usage`. Triggers count everything else, row by
/// row. Accepted jobs are counted once per tenant and commit, which saves SQLite a copy of each page that a webhook
/// changes.
#[derive(Default)]
pub(super) struct NewJobs(HashMap<(TenantId, Incarnation), JobUsage>);

/// How many rows are stored for a tenant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Live jobs.
    pub jobs: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// Solved tickets.
    pub solved_tickets: u64,
    /// Ended enhancements, most with their note.
    pub notes: u64,
}

/// Bytes of texts that each tenant has in the history.
pub(super) type HistoryBytes = HashMap<(TenantId, Incarnation), u64>;

impl TenantRoom {
    /// No limits.
    pub const UNBOUNDED: Self = Self { jobs_max: u64::MAX, bytes_max: u64::MAX };

    pub(super) fn is_full(self, queue: JobUsage, history_bytes: u64) -> bool {
        let known = |count: i64| u64::try_from(count).unwrap_or(0);
        known(queue.jobs) >= self.jobs_max || known(queue.bytes).saturating_add(history_bytes) >= self.bytes_max
    }
}

impl NewJobs {
    /// The usage of the job's tenant, including this commit. `None` if the tenant is gone, or has another tool than the
    /// job is for.
    pub(super) fn usage_of_same(&self, connection: &Connection, job: &NewJob) -> rusqlite::Result<Option<JobUsage>> {
        let stored = connection
            .prepare_cached(
                "SELECT coalesce(u.jobs, 0), coalesce(u.bytes, 0)
                 FROM tenants t LEFT JOIN job_usage u ON u.tenant = t.id AND u.incarnation = t.incarnation
                 WHERE t.id = ?1 AND t.incarnation = ?2 AND t.tool_type = ?3 AND t.base_url = ?4",
            )?
            .query_row(
                params![job.tenant.as_str(), job.incarnation, job.tool_type.as_str(), job.base_url.as_str()],
                |row| Ok(JobUsage { jobs: row.get(0)?, bytes: row.get(1)? }),
            )
            .optional()?;
        let new = self.0.get(&(job.tenant.clone(), job.incarnation)).copied().unwrap_or_default();
        Ok(stored.map(|stored| stored + new))
    }

    /// Counts one more job, with this many bytes of text.
    pub(super) fn add(&mut self, job: NewJob, bytes: usize) {
        let of_tenant = self.0.entry((job.tenant, job.incarnation)).or_default();
        *of_tenant = *of_tenant + JobUsage { jobs: 1, bytes: i64::try_from(bytes).unwrap_or(i64::MAX) };
    }

    /// Adds the counts to the table. Called once in each transaction. A tenant without a row gets one.
    pub(super) fn tidy(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        for ((tenant, incarnation), JobUsage { jobs, bytes }) in self.0.drain() {
            connection
                .prepare_cached(
                    "INSERT INTO job_usage (tenant, incarnation, jobs, bytes) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT DO UPDATE SET jobs = jobs + excluded.jobs, bytes = bytes + excluded.bytes",
                )?
                .execute(params![tenant.as_str(), incarnation, jobs, bytes])?;
        }
        Ok(())
    }
}

impl Add for JobUsage {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self { jobs: self.jobs + more.jobs, bytes: self.bytes.saturating_add(more.bytes) }
    }
}

impl Holdings {
    /// Whether nothing is stored.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// Selects rows that have a tenant's id.
#[derive(Debug, Clone)]
pub struct Owned {
    tenant: TenantId,
    incarnation: Incarnation,
    /// Whether to select all rows except those of `incarnation`.
    others: bool,
}

impl Owned {
    /// Rows of exactly this tenant.
    pub fn by(tenant: &TenantId, incarnation: Incarnation) -> Self {
        Self { tenant: tenant.clone(), incarnation, others: false }
    }

    /// Rows of all earlier tenants with this id, before `incarnation`, which has it now. Without one, all rows with the
    /// id.
    pub fn before(tenant: &TenantId, incarnation: Option<Incarnation>) -> Self {
        Self { tenant: tenant.clone(), incarnation: incarnation.unwrap_or(Incarnation::new(-1)), others: true }
    }

    /// A condition on the columns `tenant` and `incarnation`, with [`params`](Self::params) numbered 1 and 2.
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
    /// How much is stored for a tenant.
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

    /// Measures how much each tenant has in the history. Later writes are missing from the count; they come from
    /// running jobs, of which there are few.
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
