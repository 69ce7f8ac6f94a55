//! Searches for jobs: by state, tenant, ticket, time and reason, or by an id. They only read, and never go through the
//! writer.
//!
//! A search by ticket or correlation id reads all rows of the queue, and rows of the history where no index helps. Such
//! searches are rare and made by hand; an index would cost something for each note.

use std::collections::HashSet;

use rusqlite::{Connection, Row, ToSql};

use super::{
    Store, StoreError,
    encoding::errors_from_json,
    views::{column, slots_of},
};
use crate::{
    ids::{CorrelationId, Incarnation, JobId, JobIdPrefix, TenantId, ToolType},
    queue::job::{JobKind, JobState, JobView},
};

/// How many digits the beginning of an id needs to be searched for in addition to tickets of the same text.
const TELLING_DIGITS_MIN: usize = 8;

/// Which jobs to list. A field that is `None` excludes nothing.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// Only jobs in this state. Without it: all unfinished jobs or, if a ticket is given, all jobs.
    pub state: Option<JobState>,
    /// Only jobs of this tenant.
    pub tenant: Option<TenantId>,
    /// Only jobs of this ticket.
    pub ticket: Option<String>,
    /// Only jobs accepted at this time or later, milliseconds since the epoch.
    pub since_ms: Option<i64>,
    /// Only jobs that ended for this reason, or whose last error has this code.
    pub reason: Option<String>,
    /// Only jobs older than this one.
    pub after: Option<JobId>,
    /// Maximum number of jobs; the newest are returned.
    pub limit: u32,
}

/// A table that holds jobs in one state, and how its rows become [`JobView`]s.
struct Table {
    name: &'static str,
    columns: &'static str,
    /// The condition that selects its jobs.
    jobs: &'static str,
    /// The name of its job id column.
    id: &'static str,
    /// The condition for jobs of the ticket `:ticket`.
    of_ticket: &'static str,
    /// The condition for jobs of the ticket or webhook `:text`.
    of_text: &'static str,
    /// Whether its ids are sorted within each slot. Otherwise all ids are in one order.
    by_slot: bool,
}

const LIVE: Table = Table {
    name: "jobs",
    columns: "id, tenant, tool_type, kind, ticket_id, correlation_id, attempt, errors, sent,
        coalesce(first_accepted_ms, accepted_ms) AS accepted_ms, due_ms, NULL AS ended_ms, NULL AS outcome, NULL AS note,
        CASE WHEN running = 1 THEN 'running' WHEN due_ms <= :now THEN 'queued' ELSE 'waiting' END AS state, incarnation,
        CASE WHEN first_accepted_ms IS NOT NULL THEN accepted_ms END AS retried_ms",
    jobs: ":now IS NOT NULL",
    id: "id",
    of_ticket: "ticket_id = :ticket",
    of_text: "(ticket_id = :text OR correlation_id = :text)",
    by_slot: true,
};

const DEAD: Table = Table {
    name: "dead_letters",
    columns: "id, tenant, tool_type, kind, ticket_id, correlation_id, attempt, errors, sent,
        coalesce(first_accepted_ms, accepted_ms) AS accepted_ms, NULL AS due_ms, died_ms AS ended_ms, reason AS outcome,
        NULL AS note, 'dead' AS state, incarnation,
        CASE WHEN first_accepted_ms IS NOT NULL THEN accepted_ms END AS retried_ms",
    ..LIVE
};

const ENHANCED: Table = Table {
    name: "enhancement_history",
    columns:
        "job_id AS id, tenant, tool_type, 'enhance' AS kind, ticket_id, correlation_id, attempts AS attempt, errors,
        note IS NOT NULL AS sent, accepted_ms, NULL AS due_ms, finished_ms AS ended_ms, outcome, note,
        CASE outcome WHEN 'dead' THEN 'purged' ELSE 'done' END AS state, incarnation, retried_ms",
    id: "job_id",
    by_slot: false,
    ..LIVE
};

const RECORDED: Table = Table {
    name: "ticket_history",
    columns: "job_id AS id, tenant, tool_type, job_kind AS kind, ticket_id, correlation_id, job_attempts AS attempt,
        '[]' AS errors, 0 AS sent, coalesce(told_ms, recorded_ms) AS accepted_ms, NULL AS due_ms, recorded_ms AS ended_ms,
        'done' AS outcome, NULL AS note, 'done' AS state, incarnation, NULL AS retried_ms",
    jobs: "job_id IS NOT NULL AND :now IS NOT NULL",
    id: "job_id",
    // Uses indexes only: rows are long.
    of_ticket: "id IN (SELECT id FROM ticket_history WHERE ticket_id = :ticket)",
    of_text: "id IN (SELECT id FROM ticket_history WHERE ticket_id = :text
                     UNION SELECT id FROM ticket_history WHERE job_id IS NOT NULL AND correlation_id = :text)",
    by_slot: false,
};

const QUEUE: &[Table] = &[LIVE, DEAD];
const HISTORY: &[Table] = &[ENHANCED, RECORDED];

impl Store {
    /// Jobs that match the filter, newest first.
    pub async fn jobs(&self, filter: JobFilter) -> Result<Vec<JobView>, StoreError> {
        let incarnation = match &filter.tenant {
            Some(tenant) => self.incarnation(tenant).await?,
            None => None,
        };
        let (queue, history): (&[Table], &[Table]) = match filter.state {
            None if filter.ticket.is_some() => (QUEUE, HISTORY),
            None => (QUEUE, &[]),
            Some(JobState::Queued | JobState::Running | JobState::Waiting) => (&[LIVE], &[]),
            Some(JobState::Dead) => (&[DEAD], &[]),
            Some(JobState::Done | JobState::Purged) => (&[], HISTORY),
        };
        let limit = filter.limit;
        self.look(queue, history, limit, move |connection, table, now_ms| {
            list(connection, table, &filter, incarnation, now_ms)
        })
        .await
    }

    /// Jobs of this ticket or webhook, and jobs whose ids begin with this text, newest first. Includes finished jobs.
    pub async fn find_jobs(&self, text: &str, limit: u32) -> Result<Vec<JobView>, StoreError> {
        let of_text = text.to_owned();
        let mut found = self
            .look(QUEUE, HISTORY, limit, move |connection, table, now_ms| {
                select(connection, table, table.of_text, &[(":text", &of_text)], limit, now_ms)
            })
            .await?;
        // A few digits are the beginning of many ids, and more likely a ticket.
        if let Ok(prefix) = JobIdPrefix::parse(text)
            && (found.is_empty() || prefix.digits() >= TELLING_DIGITS_MIN)
        {
            found.extend(self.jobs_beginning(&prefix, limit).await?);
            newest(&mut found, limit);
        }
        Ok(found)
    }

    /// Jobs whose ids begin with these digits, in any state, newest first.
    pub async fn jobs_beginning(&self, prefix: &JobIdPrefix, limit: u32) -> Result<Vec<JobView>, StoreError> {
        let (first, last) = prefix.range();
        self.between(first, last, limit).await
    }

    /// A job in any state: live, dead, or in the history. If several jobs stored the same solved ticket, only the last
    /// is known.
    pub async fn job(&self, id: JobId) -> Result<Option<JobView>, StoreError> {
        Ok(self.between(id, id, 1).await?.pop())
    }

    async fn between(&self, first: JobId, last: JobId, limit: u32) -> Result<Vec<JobView>, StoreError> {
        self.look(QUEUE, HISTORY, limit, move |connection, table, now_ms| {
            // A job's id does not contain its slot, so its row is looked up in every slot that has rows.
            let slot = if table.by_slot { "slot IN (SELECT slot FROM slots) AND " } else { "" };
            let condition = format!("{slot}{} BETWEEN :first AND :last", table.id);
            let values: [(&str, &dyn ToSql); 2] = [(":first", first.as_bytes()), (":last", last.as_bytes())];
            select(connection, table, &condition, &values, limit, now_ms)
        })
        .await
    }

    /// Searches the queue's tables first and then the history's, because a job that finishes meanwhile is in the
    /// history by then. A job that is in both is returned as the queue has it.
    async fn look<F>(
        &self,
        queue: &'static [Table],
        history: &'static [Table],
        limit: u32,
        list: F,
    ) -> Result<Vec<JobView>, StoreError>
    where
        F: Fn(&Connection, &Table, i64) -> rusqlite::Result<Vec<JobView>> + Clone + Send + 'static,
    {
        let now_ms = self.inner.clock.now_ms();
        let mut found = Vec::new();
        for (tables, file) in [(queue, &self.inner.main_reads), (history, &self.inner.history_reads)] {
            if tables.is_empty() {
                continue;
            }
            let list = list.clone();
            let more = file.read(move |connection| {
                let each = tables.iter().map(|table| list(connection, table, now_ms));
                Ok(each.collect::<rusqlite::Result<Vec<_>>>()?.concat())
            });
            found.extend(more.await?);
        }
        newest(&mut found, limit);
        Ok(found)
    }
}

/// Removes duplicates, keeping the first found, and returns the newest.
fn newest(found: &mut Vec<JobView>, limit: u32) {
    let mut known = HashSet::new();
    found.retain(|job| known.insert(job.id));
    found.sort_by_key(|job| std::cmp::Reverse(job.id));
    found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
}

/// If the tenant exists, only its own jobs count, not those of an earlier tenant with its id. If no tenant has the id
/// now, all of them count.
fn list(
    connection: &Connection,
    table: &Table,
    filter: &JobFilter,
    incarnation: Option<Incarnation>,
    now_ms: i64,
) -> rusqlite::Result<Vec<JobView>> {
    let mut conditions = Vec::new();
    let mut values: Vec<(&str, &dyn ToSql)> = Vec::new();
    let tenant = filter.tenant.as_ref().map(|tenant| (tenant.slot(), tenant.as_str()));
    if let Some((slot, tenant)) = &tenant {
        conditions.push("slot = :slot AND tenant = :tenant");
        values.extend([(":slot", slot as &dyn ToSql), (":tenant", tenant)]);
    }
    if let Some(incarnation) = &incarnation {
        conditions.push("incarnation = :incarnation");
        values.push((":incarnation", incarnation));
    }
    if let Some(ticket) = &filter.ticket {
        conditions.push(table.of_ticket);
        values.push((":ticket", ticket));
    }
    let after = filter.after.map(|after| *after.as_bytes());
    let before = format!("{} < :after", table.id);
    if let Some(after) = &after {
        conditions.push(&before);
        values.push((":after", after));
    }
    let mut shown = vec!["TRUE"];
    let state = filter.state.map(JobState::as_str);
    if let Some(state) = &state {
        shown.push("state = :state");
        values.push((":state", state));
    }
    if let Some(since_ms) = &filter.since_ms {
        shown.push("accepted_ms >= :since");
        values.push((":since", since_ms));
    }
    if let Some(reason) = &filter.reason {
        shown.push("(outcome = :reason OR errors ->> '$[#-1].kind' = :reason)");
        values.push((":reason", reason));
    }
    conditions.push("TRUE");
    select_shown(connection, table, [&conditions.join(" AND "), &shown.join(" AND ")], &values, filter.limit, now_ms)
}

/// The rows that match a condition, newest first.
fn select(
    connection: &Connection,
    table: &Table,
    condition: &str,
    values: &[(&str, &dyn ToSql)],
    limit: u32,
    now_ms: i64,
) -> rusqlite::Result<Vec<JobView>> {
    select_shown(connection, table, [condition, "TRUE"], values, limit, now_ms)
}

/// The rows that match a condition on the row and another on the columns that are shown, newest first.
fn select_shown(
    connection: &Connection,
    table: &Table,
    [condition, shown]: [&str; 2],
    values: &[(&str, &dyn ToSql)],
    limit: u32,
    now_ms: i64,
) -> rusqlite::Result<Vec<JobView>> {
    let Table { name, columns, jobs, .. } = table;
    let slots = if table.by_slot { slots_of(name) } else { String::new() };
    let sql = format!(
        "{slots} SELECT * FROM (SELECT {columns} FROM {name} WHERE {jobs} AND {condition})
         WHERE {shown} ORDER BY id DESC LIMIT :limit"
    );
    let mut values = values.to_vec();
    values.extend([(":limit", &limit as &dyn ToSql), (":now", &now_ms)]);
    connection.prepare_cached(&sql)?.query_map(&*values, view)?.collect()
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
        incarnation: row.get(15)?,
        retried_ms: row.get(16)?,
    })
}
