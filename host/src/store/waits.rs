//! Periods in which tenants' jobs could not run. A period is one row, added when it begins and changed when it ends;
//! jobs have no rows of their own.

use rusqlite::{Connection, Row, named_params, params};

use super::{Store, StoreError, dead::ROWS_PER_COMMIT, views::column};
use crate::{
    ids::TenantId,
    queue::{
        job::JobView,
        wait::{JobWait, TenantWait, WAITS_KEPT, WaitReason},
    },
};

impl Store {
    /// Stores waits that have begun or ended. The last [`WAITS_KEPT`] of each tenant and reason stay. Storing one twice
    /// changes nothing.
    pub async fn keep_waits(&self, waits: &[TenantWait]) -> Result<(), StoreError> {
        for part in waits.chunks(ROWS_PER_COMMIT as usize) {
            let part = part.to_vec();
            self.inner.main.apply(move |connection| part.iter().try_for_each(|wait| keep(connection, wait))).await?;
        }
        Ok(())
    }

    /// Waits that have not ended, as far as is known, oldest first.
    pub async fn open_waits(&self) -> Result<Vec<TenantWait>, StoreError> {
        self.inner
            .main_reads
            .read(|connection| {
                connection
                    .prepare_cached(
                        "SELECT tenant, incarnation, reason, since_ms, until_ms FROM tenant_waits WHERE until_ms IS NULL
                         ORDER BY since_ms",
                    )?
                    .query_map([], |row| {
                        Ok(TenantWait {
                            tenant: column(row, 0, TenantId::parse)?,
                            incarnation: row.get(1)?,
                            reason: reason(row, 2)?,
                            since_ms: row.get(3)?,
                            until_ms: row.get(4)?,
                        })
                    })?
                    .collect()
            })
            .await
    }

    /// Waits of the job's tenant during the job's life, oldest first.
    pub async fn waits_of(&self, job: &JobView) -> Result<Vec<JobWait>, StoreError> {
        let (tenant, incarnation) = (job.tenant.clone(), job.incarnation);
        let (from_ms, ended_ms) = (job.accepted_ms, job.ended_ms);
        self.inner
            .main_reads
            .read(move |connection| {
                connection
                    .prepare_cached(
                        "SELECT reason, max(since_ms, :from),
                                CASE WHEN :ended IS NULL THEN until_ms ELSE min(coalesce(until_ms, :ended), :ended) END
                         FROM tenant_waits
                         WHERE tenant = :tenant AND incarnation = :incarnation
                           AND (until_ms IS NULL OR until_ms > :from) AND (:ended IS NULL OR since_ms < :ended)
                         ORDER BY since_ms",
                    )?
                    .query_map(
                        named_params! {
                            ":tenant": tenant.as_str(), ":incarnation": incarnation, ":from": from_ms, ":ended": ended_ms,
                        },
                        |row| Ok(JobWait { reason: reason(row, 0)?, since_ms: row.get(1)?, until_ms: row.get(2)? }),
                    )?
                    .collect()
            })
            .await
    }
}

fn keep(connection: &Connection, wait: &TenantWait) -> rusqlite::Result<()> {
    let (tenant, reason) = (wait.tenant.as_str(), wait.reason.as_str());
    connection
        .prepare_cached(
            "INSERT INTO tenant_waits (tenant, incarnation, reason, since_ms, until_ms) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO UPDATE SET until_ms = excluded.until_ms",
        )?
        .execute(params![tenant, wait.incarnation, reason, wait.since_ms, wait.until_ms])?;
    connection
        .prepare_cached(
            "DELETE FROM tenant_waits
             WHERE tenant = ?1 AND incarnation = ?2 AND reason = ?3 AND since_ms NOT IN (
                 SELECT since_ms FROM tenant_waits WHERE tenant = ?1 AND incarnation = ?2 AND reason = ?3
                 ORDER BY since_ms DESC LIMIT ?4)",
        )?
        .execute(params![tenant, wait.incarnation, reason, WAITS_KEPT])
        .map(drop)
}

fn reason(row: &Row<'_>, index: usize) -> rusqlite::Result<WaitReason> {
    column(row, index, |text| WaitReason::parse(text).ok_or_else(|| format!("{text:?} is no reason to wait")))
}
