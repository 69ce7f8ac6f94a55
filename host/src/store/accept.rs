//! Accepts webhooks: a delivery becomes a job unless it is known by its key or by earlier reports of its ticket.

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    Store, StoreError,
    dedup::DedupWindow,
    encoding::metadata_json,
    reopenings::Reopenings,
    usage::{NewJobs, TenantRoom},
    writer::Mirror,
};
use crate::{
    fault,
    ids::JobId,
    queue::job::{Accepted, DedupKey, JobKind, NewJob},
};

/// Minimum time between two jobs for the same webhook, if that webhook can only be confirmed by asking the tool.
pub(super) const CONFIRMED_MS: i64 = 10 * 60_000;

/// The errors of a job that has not been tried: an empty JSON list.
const NO_ERRORS: &str = "[]";

/// What the main file's writer keeps in memory.
pub(super) struct Known {
    window: DedupWindow,
    pub(super) reopenings: Reopenings,
    new: NewJobs,
}

impl Mirror for Known {
    fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let (window, reopenings) = (DedupWindow::read(connection)?, Reopenings::read(connection)?);
        Ok(Self { window, reopenings, new: NewJobs::default() })
    }

    fn tidy(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.new.tidy(connection)?;
        self.window.tidy(connection)
    }
}

impl Store {
    /// Stores the job, unless its event was delivered before, the tenant has no room for it, or the tenant has switched
    /// to another tool since the webhook was read. When this returns `New` or `Duplicate`, the job is on disk.
    pub async fn accept(&self, job: NewJob, key: DedupKey, room: TenantRoom) -> Result<Accepted, StoreError> {
        let history_bytes = self.history_bytes(&job.tenant, job.incarnation);
        let (clock, window_ms) = (self.inner.clock.clone(), self.inner.dedup_ms);
        let (id, slot, metadata) = (JobId::fresh(), job.tenant.slot(), metadata_json(&job.metadata));
        self.inner
            .main
            .apply_mirrored(move |connection, known| {
                match known.new.usage_of_same(connection, &job)? {
                    None => return Ok(Accepted::OtherTenant),
                    Some(usage) if room.is_full(usage, history_bytes) => return Ok(Accepted::TenantFull),
                    Some(_) => {}
                }
                let now_ms = clock.now_ms();
                known.forget_old(connection, now_ms, window_ms)?;
                if !known.is_news(connection, slot, &job, key, now_ms)? {
                    return Ok(Accepted::Duplicate);
                }
                connection
                    .prepare_cached(
                        "INSERT INTO jobs (slot, id, tenant, tool_type, kind, ticket_id, correlation_id, metadata,
                                           accepted_ms, due_ms, incarnation, errors)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?10, ?11)",
                    )?
                    .execute(params![
                        slot,
                        id.as_bytes(),
                        job.tenant.as_str(),
                        job.tool_type.as_str(),
                        job.kind.as_str(),
                        job.metadata.ticket_id,
                        job.correlation_id.as_str(),
                        metadata,
                        now_ms,
                        job.incarnation,
                        NO_ERRORS,
                    ])?;
                known.new.add(job, metadata.len() + NO_ERRORS.len());
                fault::reached(fault::Point::Inserted);
                Ok(Accepted::New(id))
            })
            .await
    }
}

impl Known {
    /// Forgets reopenings that only expired keys could refer to, whenever a window ends. One commit per window takes
    /// longer because of it.
    fn forget_old(&mut self, connection: &Connection, now_ms: i64, window_ms: i64) -> rusqlite::Result<()> {
        if self.window.turn(connection, now_ms, window_ms)? {
            let before_ms = now_ms.saturating_sub(window_ms.saturating_mul(2));
            self.reopenings.forget(connection, before_ms)?;
            connection.execute("DELETE FROM confirmed WHERE at_ms < ?1", [before_ms])?;
        }
        Ok(())
    }

    /// Whether the job is to be created. Records what its webhook says. After a ticket is reopened, the same message
    /// about it is new again. A created ticket is created only once, whatever follows.
    fn is_news(
        &mut self,
        connection: &Connection,
        slot: u16,
        job: &NewJob,
        key: DedupKey,
        now_ms: i64,
    ) -> rusqlite::Result<bool> {
        let (tenant, ticket_id) = (&job.tenant, job.metadata.ticket_id.as_str());
        let key = match job.kind {
            JobKind::Enhance => key,
            JobKind::Record | JobKind::Confirm => key.after(self.reopenings.times(tenant, ticket_id)),
            JobKind::Reopen => key.after(self.reopenings.told(tenant, ticket_id)),
        };
        let is_new = self.window.remember(connection, slot, &key)?;
        let is_news = is_new || job.kind == JobKind::Confirm && is_worth_a_look(connection, slot, &key, now_ms)?;
        if is_news {
            match job.kind {
                JobKind::Enhance => {}
                JobKind::Record => self.reopenings.closed(connection, tenant, ticket_id, now_ms)?,
                JobKind::Confirm => {
                    looked(connection, slot, &key, now_ms)?;
                    self.reopenings.closed(connection, tenant, ticket_id, now_ms)?;
                }
                JobKind::Reopen => self.reopenings.opened(connection, tenant, ticket_id, now_ms)?,
            }
        }
        Ok(is_news)
    }
}

/// Whether this webhook last made a job long enough ago. The ticket may have been reopened silently, and only the tool
/// can tell. A time in the future comes from a clock that was wrong.
fn is_worth_a_look(connection: &Connection, slot: u16, key: &DedupKey, now_ms: i64) -> rusqlite::Result<bool> {
    let at_ms: Option<i64> = connection
        .prepare_cached("SELECT at_ms FROM confirmed WHERE slot = ?1 AND key = ?2")?
        .query_row(params![slot, key.as_bytes()], |row| row.get(0))
        .optional()?;
    Ok(at_ms.is_none_or(|at_ms| !(0..=CONFIRMED_MS).contains(&now_ms.saturating_sub(at_ms))))
}

fn looked(connection: &Connection, slot: u16, key: &DedupKey, now_ms: i64) -> rusqlite::Result<usize> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO confirmed (slot, key, at_ms) VALUES (?1, ?2, ?3)")?
        .execute(params![slot, key.as_bytes(), now_ms])
}

#[cfg(test)]
mod tests;
