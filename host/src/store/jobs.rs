//! Writes to the queue after a job was accepted: claims, and what a lease allows. Each names the tenant's slot, and
//! most share a commit with others.

use rusqlite::{Connection, OptionalExtension, Row, named_params, params};

use super::{
    Store, StoreError,
    dead::bury,
    encoding::{error_json, errors_from_json, metadata_from_json},
};
use crate::{
    ids::{CorrelationId, Incarnation, JobId, TenantId, ToolType},
    queue::job::{ClaimWish, ClaimedJob, Fenced, JOB_ERRORS_MAX, JobError, JobKind, Lease, Suspect, TenantClaim},
};

/// Builds the statement that leases the jobs matching a condition.
macro_rules! claim {
    ($condition:literal) => {
        concat!(
            "UPDATE jobs SET running = 1, due_ms = :until, fence = fence + 1, attempt = attempt + 1, began_ms = :now
             WHERE ",
            $condition,
            " RETURNING id, fence, tool_type, kind, correlation_id, metadata, accepted_ms, due_ms, attempt, errors, sent,
                        incarnation, first_accepted_ms"
        )
    };
}

/// Claims a tenant's due jobs, longest due first. It reads one range of `jobs_due`, however many jobs other tenants
/// have. Suspects are left out; each is claimed on its own.
pub(super) const CLAIM: &str = claim!(
    "seq IN (SELECT seq FROM jobs WHERE slot = :slot AND tenant = :tenant
             AND due_ms <= :now AND cut_off < 2 ORDER BY due_ms, accepted_ms LIMIT :max)"
);

/// When the tenant's next job that [`CLAIM`] can take falls due. It reads one entry of the same index, and the suspects
/// before it.
pub(super) const NEXT_DUE: &str =
    "SELECT due_ms FROM jobs WHERE slot = ?1 AND tenant = ?2 AND cut_off < 2 ORDER BY due_ms LIMIT 1";

/// Claims one job that [`CLAIM`] leaves out.
const CLAIM_SUSPECT: &str = claim!("slot = :slot AND id = :id AND cut_off >= 2 AND due_ms <= :now");

impl Store {
    /// Leases jobs that were due at `now_ms` for `lease_ms` from now, at most as many as each wish allows, and counts
    /// the attempt. A job whose lease has expired is due again like any other. The caller passes the time, because it
    /// may have just found that the clock was set and its own leases have not expired. Answers are in the order of the
    /// wishes. A job that this program cannot read moves to the dead letters.
    pub async fn claim(
        &self,
        wishes: Vec<ClaimWish>,
        now_ms: i64,
        lease_ms: i64,
    ) -> Result<Vec<TenantClaim>, StoreError> {
        let clock = self.inner.clock.clone();
        let granted: Vec<ClaimedRows> = self
            .inner
            .main
            .apply(move |connection| {
                let until_ms = clock.now_ms() + lease_ms;
                wishes.into_iter().map(|wish| claim_one(connection, wish, now_ms, until_ms)).collect()
            })
            .await?;
        let mut claims = Vec::with_capacity(granted.len());
        for ClaimedRows { tenant, rows, next_due_ms } in granted {
            let mut jobs = Vec::with_capacity(rows.len());
            for row in rows {
                let (lease, attempt) = (row.lease, row.attempt);
                match row.decode(&tenant) {
                    Ok(job) => jobs.push(job),
                    Err(reason) => self.put_away_unreadable(lease, attempt, &reason).await?,
                }
            }
            claims.push(TenantClaim { tenant, jobs, next_due_ms });
        }
        Ok(claims)
    }

    /// Leases a suspect that is due, as [`claim`](Self::claim) leases other jobs.
    pub async fn claim_suspect(&self, suspect: Suspect, lease_ms: i64) -> Result<Option<ClaimedJob>, StoreError> {
        let (clock, tenant) = (self.inner.clock.clone(), suspect.tenant.clone());
        let row = self
            .inner
            .main
            .apply(move |connection| {
                let (slot, now_ms) = (suspect.tenant.slot(), clock.now_ms());
                connection
                    .prepare_cached(CLAIM_SUSPECT)?
                    .query_row(
                        named_params! {
                            ":slot": slot, ":id": suspect.id.as_bytes(), ":now": now_ms, ":until": now_ms + lease_ms,
                        },
                        |row| ClaimedRow::read(slot, row),
                    )
                    .optional()
            })
            .await?;
        let Some(row) = row else { return Ok(None) };
        let (lease, attempt) = (row.lease, row.attempt);
        match row.decode(&tenant) {
            Ok(job) => Ok(Some(job)),
            Err(reason) => self.put_away_unreadable(lease, attempt, &reason).await.map(|()| None),
        }
    }

    /// Extends the lease to `lease_ms` from now.
    pub async fn extend(&self, lease: Lease, lease_ms: i64) -> Result<Fenced, StoreError> {
        let clock = self.inner.clock.clone();
        self.fenced(lease, move |connection, lease| extend(connection, lease, clock.now_ms() + lease_ms)).await
    }

    /// Adjusts due times after the clock was set by `step_ms`, forward or back. The caller's own leases end `lease_ms`
    /// from now; no other job waits longer because the clock was set back. Returns how many due times were moved. All
    /// of it is one commit of any size, because clocks are rarely set.
    pub async fn clock_was_set(&self, step_ms: i64, own: Vec<Lease>, lease_ms: i64) -> Result<usize, StoreError> {
        let clock = self.inner.clock.clone();
        self.inner
            .main
            .apply(move |connection| {
                let now_ms = clock.now_ms();
                let moved = if step_ms < 0 { bring_forward(connection, now_ms, -step_ms)? } else { 0 };
                for lease in own {
                    extend(connection, lease, now_ms + lease_ms)?;
                }
                Ok(moved)
            })
            .await
    }

    /// Brings waiting jobs forward at start, if the clock was set back while no host ran. The store detects that by
    /// webhooks and plugin events dated after now. Returns how many due times were moved.
    pub async fn find_clock_set_back(&self) -> Result<usize, StoreError> {
        let clock = self.inner.clock.clone();
        self.inner
            .main
            .apply(move |connection| {
                let now_ms = clock.now_ms();
                let latest_ms: i64 = connection.query_row(
                    "SELECT max(coalesce((SELECT max(accepted_ms) FROM jobs), 0),
                                coalesce((SELECT max(at_ms) FROM plugin_events), 0))",
                    [],
                    |row| row.get(0),
                )?;
                if latest_ms > now_ms { bring_forward(connection, now_ms, latest_ms - now_ms) } else { Ok(0) }
            })
            .await
    }

    /// Marks that a note may be posted from now on, so that a later attempt looks for it first.
    pub async fn mark_sent(&self, lease: Lease) -> Result<Fenced, StoreError> {
        self.fenced(lease, |connection, lease| {
            connection
                .prepare_cached("UPDATE jobs SET sent = 1 WHERE slot = ?1 AND id = ?2 AND fence = ?3 AND running = 1")?
                .execute(params![lease.slot, lease.id.as_bytes(), lease.fence])
        })
        .await
    }

    /// Finishes the job by deleting its row. Its history must be written first.
    pub async fn complete(&self, lease: Lease) -> Result<Fenced, StoreError> {
        self.fenced(lease, |connection, lease| {
            connection
                .prepare_cached("DELETE FROM jobs WHERE slot = ?1 AND id = ?2 AND fence = ?3 AND running = 1")?
                .execute(params![lease.slot, lease.id.as_bytes(), lease.fence])
        })
        .await
    }

    /// Puts the job back until `due_ms` and stores the error with it. Such an attempt has not ended the host, so the
    /// job is no longer a suspect.
    pub async fn retry(&self, lease: Lease, due_ms: i64, error: JobError) -> Result<Fenced, StoreError> {
        let put_back = "UPDATE jobs SET running = 0, due_ms = ?3, cut_off = 0, cut_off_alone = 0
                        WHERE slot = ?1 AND id = ?2";
        self.put_back(lease, due_ms, error, put_back).await
    }

    /// As [`retry`](Self::retry), for a job whose note was refused by the tool and cannot have been posted by an
    /// earlier attempt: clears the mark of [`mark_sent`](Self::mark_sent).
    pub async fn retry_unsent(&self, lease: Lease, due_ms: i64, error: JobError) -> Result<Fenced, StoreError> {
        let put_back = "UPDATE jobs SET running = 0, due_ms = ?3, cut_off = 0, cut_off_alone = 0, sent = 0
                        WHERE slot = ?1 AND id = ?2";
        self.put_back(lease, due_ms, error, put_back).await
    }

    async fn put_back(
        &self,
        lease: Lease,
        due_ms: i64,
        error: JobError,
        put_back: &'static str,
    ) -> Result<Fenced, StoreError> {
        self.fenced(lease, move |connection, lease| {
            if !keep_error(connection, lease, &error)? {
                return Ok(0);
            }
            connection.prepare_cached(put_back)?.execute(params![lease.slot, lease.id.as_bytes(), due_ms])
        })
        .await
    }

    /// Puts the job back until `due_ms` as if it had not been claimed: the attempt is not counted.
    pub async fn postpone(&self, lease: Lease, due_ms: i64) -> Result<Fenced, StoreError> {
        self.fenced(lease, move |connection, lease| {
            connection
                .prepare_cached(
                    "UPDATE jobs SET running = 0, due_ms = ?4, attempt = attempt - 1
                     WHERE slot = ?1 AND id = ?2 AND fence = ?3 AND running = 1",
                )?
                .execute(params![lease.slot, lease.id.as_bytes(), lease.fence, due_ms])
        })
        .await
    }

    /// Gives the job up: moves it to the dead letters with `reason`, a short code, and the last error.
    pub async fn dead(&self, lease: Lease, reason: impl Into<String>, error: JobError) -> Result<Fenced, StoreError> {
        let (clock, reason) = (self.inner.clock.clone(), reason.into());
        self.fenced(lease, move |connection, lease| {
            if !keep_error(connection, lease, &error)? {
                return Ok(0);
            }
            bury(connection, lease.slot, lease.id.as_bytes(), clock.now_ms(), &reason)
        })
        .await
    }

    async fn fenced<F>(&self, lease: Lease, change: F) -> Result<Fenced, StoreError>
    where
        F: FnOnce(&Connection, Lease) -> rusqlite::Result<usize> + Send + 'static,
    {
        let changed = self.inner.main.apply(move |connection| change(connection, lease)).await?;
        Ok(if changed == 0 { Fenced::Lost } else { Fenced::Done })
    }

    async fn put_away_unreadable(&self, lease: Lease, attempt: u32, reason: &str) -> Result<(), StoreError> {
        tracing::error!(job = %lease.id, reason, "a job cannot be read and goes to the dead letters");
        let error = JobError::new(attempt, self.inner.clock.now_ms(), "unreadable", reason);
        match self.dead(lease, "unreadable", error).await? {
            Fenced::Done => {}
            Fenced::Lost => tracing::warn!(job = %lease.id, "the unreadable job was taken away meanwhile"),
        }
        Ok(())
    }
}

fn extend(connection: &Connection, lease: Lease, until_ms: i64) -> rusqlite::Result<usize> {
    connection
        .prepare_cached("UPDATE jobs SET due_ms = ?4 WHERE slot = ?1 AND id = ?2 AND fence = ?3 AND running = 1")?
        .execute(params![lease.slot, lease.id.as_bytes(), lease.fence, until_ms])
}

/// After the clock was set back: makes jobs due that were due before, and keeps the remaining wait of the others.
fn bring_forward(connection: &Connection, now_ms: i64, by_ms: i64) -> rusqlite::Result<usize> {
    connection.execute("UPDATE jobs SET due_ms = max(?1, due_ms - ?2) WHERE due_ms > ?1", params![now_ms, by_ms])
}

/// Appends the error to a job leased with this fence, and drops the oldest errors beyond the limit. Returns false if
/// the lease is lost.
pub(super) fn keep_error(connection: &Connection, lease: Lease, error: &JobError) -> rusqlite::Result<bool> {
    let changed = connection
        .prepare_cached(
            "UPDATE jobs SET errors = json_insert(
                 CASE WHEN json_array_length(errors) >= ?5 THEN json_remove(errors, '$[0]') ELSE errors END,
                 '$[#]', json(?4))
             WHERE slot = ?1 AND id = ?2 AND fence = ?3 AND running = 1",
        )?
        .execute(params![
            lease.slot,
            lease.id.as_bytes(),
            lease.fence,
            error_json(error),
            i64::try_from(JOB_ERRORS_MAX).unwrap_or(i64::MAX)
        ])?;
    Ok(changed == 1)
}

/// The rows granted to one wish. They are decoded later, off the writer's thread.
struct ClaimedRows {
    tenant: TenantId,
    rows: Vec<ClaimedRow>,
    next_due_ms: Option<i64>,
}

struct ClaimedRow {
    lease: Lease,
    tool_type: String,
    kind: String,
    correlation_id: String,
    metadata: String,
    queued_ms: i64,
    first_accepted_ms: Option<i64>,
    lease_ends_ms: i64,
    attempt: u32,
    errors: String,
    sent: bool,
    incarnation: Incarnation,
}

fn claim_one(connection: &Connection, wish: ClaimWish, now_ms: i64, until_ms: i64) -> rusqlite::Result<ClaimedRows> {
    let ClaimWish { tenant, max } = wish;
    let slot = tenant.slot();
    let mut rows = connection
        .prepare_cached(CLAIM)?
        .query_map(
            named_params! {
                ":slot": slot, ":tenant": tenant.as_str(), ":now": now_ms, ":until": until_ms, ":max": max,
            },
            |row| ClaimedRow::read(slot, row),
        )?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    rows.sort_by_key(|row| (row.queued_ms, row.lease.id));
    let next_due_ms =
        connection.prepare_cached(NEXT_DUE)?.query_row(params![slot, tenant.as_str()], |row| row.get(0)).optional()?;
    Ok(ClaimedRows { tenant, rows, next_due_ms })
}

impl ClaimedRow {
    fn read(slot: u16, row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            lease: Lease { slot, id: JobId::from_bytes(row.get(0)?), fence: row.get(1)? },
            tool_type: row.get(2)?,
            kind: row.get(3)?,
            correlation_id: row.get(4)?,
            metadata: row.get(5)?,
            queued_ms: row.get(6)?,
            lease_ends_ms: row.get(7)?,
            attempt: row.get(8)?,
            errors: row.get(9)?,
            sent: row.get(10)?,
            incarnation: row.get(11)?,
            first_accepted_ms: row.get(12)?,
        })
    }

    fn decode(self, tenant: &TenantId) -> Result<ClaimedJob, String> {
        Ok(ClaimedJob {
            lease: self.lease,
            tenant: tenant.clone(),
            incarnation: self.incarnation,
            tool_type: ToolType::parse(&self.tool_type).map_err(|error| error.to_string())?,
            kind: JobKind::parse(&self.kind).ok_or_else(|| format!("unknown kind {:?}", self.kind))?,
            correlation_id: CorrelationId::parse(&self.correlation_id).map_err(|error| error.to_string())?,
            metadata: metadata_from_json(&self.metadata)?,
            accepted_ms: self.first_accepted_ms.unwrap_or(self.queued_ms),
            retried_ms: self.first_accepted_ms.map(|_| self.queued_ms),
            lease_ends_ms: self.lease_ends_ms,
            attempt: self.attempt,
            errors: errors_from_json(&self.errors)?,
            sent: self.sent,
        })
    }
}
