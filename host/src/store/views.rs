//! What people and gauges ask about the queue: reads only, never through the writer.

use rusqlite::{Connection, OptionalExtension, Row, ToSql, named_params, types::Type};

use super::{Store, StoreError, encoding::errors_from_json};
use crate::{
    ids::{CorrelationId, Incarnation, JobId, TenantId, ToolType},
    queue::job::{JobKind, JobState, JobView},
};

/// Which jobs to list.
#[derive(Debug, Clone)]
pub struct JobFilter {
    /// Only jobs in this state; without it all that are not done.
    pub state: Option<JobState>,
    /// Only jobs of this tenant.
    pub tenant: Option<TenantId>,
    /// At most this many, the newest.
    pub limit: u32,
}

/// How much waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// Live jobs: queued, running and waiting.
    pub live: u64,
    /// How long ago the oldest live job was accepted, milliseconds; 0 without jobs.
    pub oldest_age_ms: i64,
    /// Dead letters.
    pub dead: u64,
}

/// A tenant's live jobs in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantDue {
    /// The tenant.
    pub tenant: TenantId,
    /// When the first of its jobs falls due, milliseconds since the epoch; past times mean now.
    pub next_due_ms: i64,
    /// How many jobs it has.
    pub jobs: u64,
}

/// The columns of a [`JobView`], from each table that holds jobs in one of their states.
const LIVE: &str = "SELECT id, tenant, tool_type, kind, ticket_id, correlation_id, attempt, errors, sent, accepted_ms,
    due_ms, NULL, NULL, NULL,
    CASE WHEN running = 1 THEN 'running' WHEN due_ms <= :now THEN 'queued' ELSE 'waiting' END AS state FROM jobs";
const DEAD: &str = "SELECT id, tenant, tool_type, kind, ticket_id, correlation_id, attempt, errors, sent, accepted_ms,
    NULL, died_ms, reason, NULL, 'dead' AS state FROM dead_letters";
const DONE: &str = "SELECT job_id AS id, tenant, tool_type, 'enhance', ticket_id, correlation_id, attempts, errors,
    note IS NOT NULL, accepted_ms, NULL, finished_ms, outcome, note,
    CASE outcome WHEN 'dead' THEN 'purged' ELSE 'done' END AS state FROM enhancement_history";

impl Store {
    /// Jobs that the filter lets through, newest first.
    pub async fn jobs(&self, filter: JobFilter) -> Result<Vec<JobView>, StoreError> {
        let now_ms = self.inner.clock.now_ms();
        let incarnation = match &filter.tenant {
            Some(tenant) => self.incarnation(tenant).await?,
            None => None,
        };
        let (tables, file): (&[&str], _) = match filter.state {
            None => (&[LIVE, DEAD], &self.inner.main_reads),
            Some(JobState::Queued | JobState::Running | JobState::Waiting) => (&[LIVE], &self.inner.main_reads),
            Some(JobState::Dead) => (&[DEAD], &self.inner.main_reads),
            Some(JobState::Done | JobState::Purged) => (&[DONE], &self.inner.history_reads),
        };
        file.read(move |connection| {
            let mut found = Vec::new();
            for table in tables {
                found.extend(list(connection, table, &filter, incarnation, now_ms)?);
            }
            found.sort_by_key(|job| std::cmp::Reverse(job.id));
            found.truncate(usize::try_from(filter.limit).unwrap_or(usize::MAX));
            Ok(found)
        })
        .await
    }

    /// One job wherever it is: live, dead, or in the history of enhancements. (A done record is known by its ticket only.)
    pub async fn job(&self, id: JobId) -> Result<Option<JobView>, StoreError> {
        let now_ms = self.inner.clock.now_ms();
        let live_or_dead = self
            .inner
            .main_reads
            .read(move |connection| match find(connection, LIVE, "jobs", id, now_ms)? {
                Some(job) => Ok(Some(job)),
                None => find(connection, DEAD, "dead_letters", id, now_ms),
            })
            .await?;
        if live_or_dead.is_some() {
            return Ok(live_or_dead);
        }
        self.inner
            .history_reads
            .read(move |connection| {
                connection
                    .prepare_cached(&format!("{DONE} WHERE job_id = :id"))?
                    .query_row(named_params! { ":id": id.as_bytes() }, view)
                    .optional()
            })
            .await
    }

    /// How much waits and for how long. Reads an index of the whole queue: for gauges, not for every webhook.
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

    /// How many live jobs a tenant has: what removing it would give up.
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

/// Those of a tenant are not those of another one that had its id before; when nobody has it now, they are all there.
fn list(
    connection: &Connection,
    table: &str,
    filter: &JobFilter,
    incarnation: Option<Incarnation>,
    now_ms: i64,
) -> rusqlite::Result<Vec<JobView>> {
    let mut sql = format!("SELECT * FROM ({table}");
    let mut values: Vec<(&str, &dyn ToSql)> = vec![(":limit", &filter.limit)];
    if table == LIVE {
        values.push((":now", &now_ms));
    }
    let tenant = filter.tenant.as_ref().map(|tenant| (tenant.slot(), tenant.as_str()));
    if let Some((slot, tenant)) = &tenant {
        sql.push_str(" WHERE slot = :slot AND tenant = :tenant");
        values.extend([(":slot", slot as &dyn ToSql), (":tenant", tenant)]);
    }
    if let Some(incarnation) = &incarnation {
        sql.push_str(" AND incarnation = :incarnation");
        values.push((":incarnation", incarnation));
    }
    let state = filter.state.map(JobState::as_str);
    sql.push(')');
    if let Some(state) = &state {
        sql.push_str(" WHERE state = :state");
        values.push((":state", state));
    }
    sql.push_str(" ORDER BY id DESC LIMIT :limit");
    connection.prepare_cached(&sql)?.query_map(&*values, view)?.collect()
}

/// A job's id does not tell its slot, so its row is looked up in every slot that has rows.
fn find(
    connection: &Connection,
    columns: &str,
    table: &str,
    id: JobId,
    now_ms: i64,
) -> rusqlite::Result<Option<JobView>> {
    // Both tables' statements name both parameters, also where the columns do not need the time.
    let slots = slots_of(table);
    connection
        .prepare_cached(&format!(
            "{slots} {columns} WHERE slot IN (SELECT slot FROM slots) AND id = :id AND :now IS NOT NULL"
        ))?
        .query_row(named_params! { ":id": id.as_bytes(), ":now": now_ms }, view)
        .optional()
}

/// The slots that have rows in a table keyed by slot, found by stepping from one to the next, not by reading all rows.
pub(super) fn slots_of(table: &str) -> String {
    format!(
        "WITH RECURSIVE slots (slot) AS (
             SELECT min(slot) FROM {table}
             UNION ALL
             SELECT (SELECT min(slot) FROM {table} WHERE slot > slots.slot) FROM slots WHERE slots.slot IS NOT NULL)"
    )
}

fn view(row: &Row<'_>) -> rusqlite::Result<JobView> {
    let known = |text: &str, what: &str| format!("{text:?} is no {what}");
    Ok(JobView {
        id: JobId::from_bytes(row.get(0)?),
        tenant: column(row, 1, TenantId::parse)?,
        tool_type: column(row, 2, ToolType::parse)?,
        kind: column(row, 3, |text| JobKind::parse(text).ok_or_else(|| known(text, "kind of job")))?,
        ticket_id: row.get(4)?,
        correlation_id: column(row, 5, CorrelationId::parse)?,
        attempt: row.get(6)?,
        errors: column(row, 7, errors_from_json)?,
        sent: row.get(8)?,
        accepted_ms: row.get(9)?,
        due_ms: row.get(10)?,
        ended_ms: row.get(11)?,
        outcome: row.get(12)?,
        note: row.get(13)?,
        state: column(row, 14, |text| JobState::parse(text).ok_or_else(|| known(text, "state of a job")))?,
    })
}

/// Reads a text column into the type that it stands for.
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
