//! Dead letters: jobs that were given up. They stay until an operator retries or purges them.

use rusqlite::{Connection, ToSql, named_params, params};

use super::{Store, StoreError, views::slots_of};
use crate::ids::{Incarnation, JobId, TenantId};

/// Rows that one commit moves. The limit keeps accepting from waiting long behind an operator's command.
pub(super) const ROWS_PER_COMMIT: u32 = 1_000;
/// Reason of the dead letters of a removed tenant.
pub(super) const TENANT_REMOVED: &str = "tenant_removed";
/// Reason of the dead letters of a tenant that switched to another tool.
pub const TENANT_CHANGED: &str = "tenant_changed";

/// Which dead letters an operation applies to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeadLetters {
    /// A single dead letter.
    One(JobId),
    /// All dead letters that match both conditions.
    Of {
        /// Only dead letters of this tenant.
        tenant: Option<TenantId>,
        /// Only dead letters with this reason, or whose last error has this code.
        reason: Option<String>,
    },
}

impl DeadLetters {
    /// Every dead letter.
    pub const ALL: Self = Self::Of { tenant: None, reason: None };
}

/// The key of a row.
pub(super) type Key = (u16, [u8; 16]);

impl Store {
    /// Puts dead letters back as jobs that are due now. Their errors are kept, no attempt is counted, and their retry
    /// time starts anew. Dead letters stay if their tenant is gone, or if they were accepted for another tool type than
    /// their tenant has now. Returns how many were put back.
    pub async fn retry_dead(&self, which: DeadLetters) -> Result<u64, StoreError> {
        let clock = self.inner.clock.clone();
        self.each_dead(which, move |connection, (slot, id)| {
            let put_back = connection
                .prepare_cached(
                    "INSERT INTO jobs (slot, id, tenant, tool_type, kind, ticket_id, correlation_id, metadata,
                                       accepted_ms, due_ms, fence, errors, sent, incarnation, first_accepted_ms)
                     SELECT slot, id, tenant, tool_type, kind, ticket_id, correlation_id, metadata,
                            ?3, ?3, fence, errors, sent, incarnation, coalesce(first_accepted_ms, accepted_ms)
                     FROM dead_letters
                     WHERE slot = ?1 AND id = ?2
                       AND (tenant, incarnation, tool_type) IN (SELECT id, incarnation, tool_type FROM tenants)",
                )?
                .execute(params![slot, id, clock.now_ms()])?;
            if put_back == 0 {
                return Ok(0);
            }
            connection
                .prepare_cached(
                    "INSERT INTO job_usage (tenant, incarnation, jobs, bytes)
                     SELECT tenant, incarnation, 1, octet_length(metadata) + octet_length(errors)
                     FROM jobs WHERE slot = ?1 AND id = ?2
                     ON CONFLICT DO UPDATE SET jobs = jobs + 1, bytes = bytes + excluded.bytes",
                )?
                .execute(params![slot, id])?;
            delete(connection, (slot, id))
        })
        .await
    }

    /// Deletes dead letters permanently. Returns how many.
    pub async fn purge_dead(&self, which: DeadLetters) -> Result<u64, StoreError> {
        self.each_dead(which, delete).await
    }

    /// How many dead letters match.
    pub async fn count_dead(&self, which: DeadLetters) -> Result<u64, StoreError> {
        let owner = self.owner(&which).await?;
        let (mut counted, mut after) = (0, (0, [0; 16]));
        loop {
            let keys = self.choose_dead(&which, owner, after).await?;
            counted += keys.len() as u64;
            match keys.last() {
                Some(last) if matches!(which, DeadLetters::Of { .. }) => after = *last,
                _ => return Ok(counted),
            }
        }
    }

    /// Gives up all jobs of a removed tenant. Running jobs lose their leases. Returns how many.
    pub async fn dead_letter_tenant(&self, tenant: &TenantId) -> Result<u64, StoreError> {
        let mut moved = 0;
        loop {
            let (tenant, now_ms) = (tenant.clone(), self.inner.clock.now_ms());
            let batch = self
                .inner
                .main
                .apply(move |connection| bury_tenant(connection, &tenant, now_ms, ROWS_PER_COMMIT))
                .await?;
            moved += u64::from(batch);
            if batch < ROWS_PER_COMMIT {
                return Ok(moved);
            }
        }
    }

    /// The tenant that owns the selected dead letters. Read once, because another tenant may get the id meanwhile.
    async fn owner(&self, which: &DeadLetters) -> Result<Option<Incarnation>, StoreError> {
        match which {
            DeadLetters::Of { tenant: Some(tenant), .. } => self.incarnation(tenant).await,
            DeadLetters::Of { tenant: None, .. } | DeadLetters::One(_) => Ok(None),
        }
    }

    async fn choose_dead(
        &self,
        which: &DeadLetters,
        owner: Option<Incarnation>,
        after: Key,
    ) -> Result<Vec<Key>, StoreError> {
        let which = which.clone();
        self.inner.main_reads.read(move |connection| choose(connection, &which, owner, after)).await
    }

    /// Reads the keys first and then changes rows by key, so that the writer never searches.
    async fn each_dead<F>(&self, which: DeadLetters, change: F) -> Result<u64, StoreError>
    where
        F: Fn(&Connection, Key) -> rusqlite::Result<usize> + Clone + Send + 'static,
    {
        let owner = self.owner(&which).await?;
        let (mut changed, mut after) = (0, (0, [0; 16]));
        loop {
            let keys = self.choose_dead(&which, owner, after).await?;
            let Some(last) = keys.last().copied() else { return Ok(changed) };
            let change = change.clone();
            changed += self
                .inner
                .main
                .apply(move |connection| {
                    keys.into_iter().try_fold(0, |sum, key| Ok(sum + change(connection, key)? as u64))
                })
                .await?;
            if matches!(which, DeadLetters::One(_)) {
                return Ok(changed);
            }
            after = last;
        }
    }
}

/// Inserts jobs as dead letters. The caller appends the condition that selects them.
const BURIED: &str = "INSERT INTO dead_letters (slot, id, tenant, tool_type, kind, ticket_id, correlation_id, metadata,
                               accepted_ms, fence, attempt, errors, sent, died_ms, reason, incarnation,
                               first_accepted_ms)
     SELECT slot, id, tenant, tool_type, kind, ticket_id, correlation_id, metadata,
            accepted_ms, fence, attempt, errors, sent, ?3, ?4, incarnation, first_accepted_ms
     FROM jobs WHERE slot = ?1 AND";

/// Moves one job to the dead letters. The caller has checked that it exists. Returns how many were moved.
pub(super) fn bury(
    connection: &Connection,
    slot: u16,
    id: &[u8; 16],
    now_ms: i64,
    reason: &str,
) -> rusqlite::Result<usize> {
    connection.prepare_cached(&format!("{BURIED} id = ?2"))?.execute(params![slot, id, now_ms, reason])?;
    connection.prepare_cached("DELETE FROM jobs WHERE slot = ?1 AND id = ?2")?.execute(params![slot, id])
}

/// Moves all jobs of a tenant. Running jobs lose their leases. Returns how many were moved.
pub(super) fn bury_all(
    connection: &Connection,
    tenant: &TenantId,
    now_ms: i64,
    reason: &str,
) -> rusqlite::Result<usize> {
    let (slot, tenant) = (tenant.slot(), tenant.as_str());
    connection.prepare_cached(&format!("{BURIED} tenant = ?2"))?.execute(params![slot, tenant, now_ms, reason])?;
    connection.prepare_cached("DELETE FROM jobs WHERE slot = ?1 AND tenant = ?2")?.execute(params![slot, tenant])
}

/// Moves up to `max` jobs of a removed tenant. Returns how many.
pub(super) fn bury_tenant(connection: &Connection, tenant: &TenantId, now_ms: i64, max: u32) -> rusqlite::Result<u32> {
    let slot = tenant.slot();
    let ids = connection
        .prepare_cached("SELECT id FROM jobs WHERE slot = ?1 AND tenant = ?2 LIMIT ?3")?
        .query_map(params![slot, tenant.as_str(), max], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<[u8; 16]>>>()?;
    for id in &ids {
        bury(connection, slot, id, now_ms, TENANT_REMOVED)?;
    }
    Ok(u32::try_from(ids.len()).unwrap_or(u32::MAX))
}

/// The next keys in order. If the tenant exists, only its own dead letters count, not those of an earlier tenant with
/// its id. If no tenant has the id now, all of them count.
fn choose(
    connection: &Connection,
    which: &DeadLetters,
    incarnation: Option<Incarnation>,
    after: Key,
) -> rusqlite::Result<Vec<Key>> {
    let read_key = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let (tenant, reason) = match which {
        DeadLetters::One(id) => {
            return connection
                .prepare(&format!(
                    "{} SELECT slot, id FROM dead_letters WHERE slot IN (SELECT slot FROM slots) AND id = ?1",
                    slots_of("dead_letters")
                ))?
                .query_map([id.as_bytes()], read_key)?
                .collect();
        }
        DeadLetters::Of { tenant, reason } => (tenant, reason),
    };
    let tenant = tenant.as_ref().map(|tenant| (tenant.slot(), tenant.as_str()));
    let mut sql = "SELECT slot, id FROM dead_letters WHERE (slot, id) > (:slot, :id)".to_owned();
    let mut values: Vec<(&str, &dyn ToSql)> =
        named_params! { ":slot": after.0, ":id": after.1, ":max": ROWS_PER_COMMIT }.to_vec();
    if let Some((slot, tenant)) = &tenant {
        sql.push_str(" AND slot = :of AND tenant = :tenant");
        values.extend([(":of", slot as &dyn ToSql), (":tenant", tenant)]);
    }
    if let Some(incarnation) = &incarnation {
        sql.push_str(" AND incarnation = :incarnation");
        values.push((":incarnation", incarnation));
    }
    if let Some(code) = reason {
        sql.push_str(" AND (reason = :reason OR errors ->> '$[#-1].kind' = :reason)");
        values.push((":reason", code));
    }
    sql.push_str(" ORDER BY slot, id LIMIT :max");
    connection.prepare_cached(&sql)?.query_map(&*values, read_key)?.collect()
}

fn delete(connection: &Connection, (slot, id): Key) -> rusqlite::Result<usize> {
    connection.prepare_cached("DELETE FROM dead_letters WHERE slot = ?1 AND id = ?2")?.execute(params![slot, id])
}
