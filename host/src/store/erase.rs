//! Permanent deletion: what removed tenants leave behind, and what is older than the operator's retention.
//!
//! Deletion uses small commits, so that accepting never waits long. Each commit records what is left, and a host that
//! is cut off continues there.

use rusqlite::{Connection, params, params_from_iter, types::Value};

use super::{
    Store, StoreError, StoreFile,
    dead::ROWS_PER_COMMIT,
    migrations::COUNT_HISTORY,
    usage::{Holdings, Owned},
    views::{column, count},
};
use crate::ids::{Incarnation, TenantId};

/// How long a removed tenant's history is checked for late rows: an attempt that was running at the removal may still
/// write some.
const LATE_MS: i64 = 24 * 3_600_000;

/// What a removed tenant left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemovedTenant {
    /// Which tenant with this id was removed.
    pub incarnation: Incarnation,
    /// What the tenant had in the store.
    pub holdings: Holdings,
    /// When that will be erased, milliseconds since the epoch; `None` if it is gone.
    pub kept_until_ms: Option<i64>,
}

/// How long finished things are kept, in milliseconds; `None` keeps them without limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keeping {
    /// Retention of dead letters.
    pub dead_letters_ms: Option<i64>,
    /// Retention of solved tickets.
    pub solved_ms: Option<i64>,
    /// Retention of ended enhancements with their notes.
    pub notes_ms: Option<i64>,
}

impl Store {
    /// Removes a tenant with its secrets; its jobs become dead letters. Everything stored for it can then be
    /// [erased](Self::erase_tenant), or stays for `keep_ms`. A later tenant with the same id sees none of it.
    pub async fn remove_tenant(&self, id: &TenantId, keep_ms: Option<i64>) -> Result<RemovedTenant, StoreError> {
        let unknown = || StoreError::UnknownTenant(id.clone());
        let incarnation = self.incarnation(id).await?.ok_or_else(unknown)?;
        let holdings = self.holdings(Owned::by(id, incarnation)).await?;
        let (tenant, now_ms) = (id.clone(), self.inner.clock.now_ms());
        let erase_ms = now_ms.saturating_add(keep_ms.unwrap_or(0));
        let removed = self
            .inner
            .main
            .apply_mirrored(move |connection, known| {
                known.reopenings.forget_tenant(connection, &tenant)?;
                let of = params![tenant.as_str(), incarnation];
                let removed = connection.execute("DELETE FROM tenants WHERE id = ?1 AND incarnation = ?2", of)?;
                if removed == 1 {
                    connection.execute(
                        "INSERT INTO removed_tenants (tenant, incarnation, removed_ms, erase_ms) VALUES (?1, ?2, ?3, ?4)",
                        params![tenant.as_str(), incarnation, now_ms, erase_ms],
                    )?;
                }
                Ok(removed)
            })
            .await?;
        if removed == 0 {
            return Err(unknown());
        }
        // Nothing is accepted for this tenant any more. If this is interrupted, the worker gives up the rest.
        if let Err(error) = self.dead_letter_tenant(id).await {
            tracing::error!(tenant = %id, "the jobs of a removed tenant cannot be given up yet: {error}");
        }
        Ok(RemovedTenant { incarnation, holdings, kept_until_ms: keep_ms.map(|_| erase_ms) })
    }

    /// Erases what is stored for a removed tenant.
    pub async fn erase_tenant(&self, id: &TenantId, incarnation: Incarnation) -> Result<(), StoreError> {
        self.erase(Owned::by(id, incarnation)).await
    }

    /// What is still stored for removed tenants that had this id.
    pub async fn remains(&self, id: &TenantId) -> Result<Holdings, StoreError> {
        self.holdings(Owned::before(id, self.incarnation(id).await?)).await
    }

    /// Erases what removed tenants with this id have left. Returns what it was.
    pub async fn erase_remains(&self, id: &TenantId) -> Result<Holdings, StoreError> {
        let remains = Owned::before(id, self.incarnation(id).await?);
        let holdings = self.holdings(remains.clone()).await?;
        self.erase(remains).await?;
        Ok(holdings)
    }

    /// Erases the data of removed tenants whose retention is over.
    pub async fn erase_removed(&self) -> Result<(), StoreError> {
        let now_ms = self.inner.clock.now_ms();
        let due: Vec<(TenantId, Incarnation, i64)> = self
            .inner
            .main_reads
            .read(move |connection| {
                connection
                    .prepare_cached("SELECT tenant, incarnation, erase_ms FROM removed_tenants WHERE erase_ms <= ?1")?
                    .query_map([now_ms], |row| Ok((column(row, 0, TenantId::parse)?, row.get(1)?, row.get(2)?)))?
                    .collect()
            })
            .await?;
        for (tenant, incarnation, erase_ms) in due {
            self.erase(Owned::by(&tenant, incarnation)).await?;
            if now_ms.saturating_sub(erase_ms) >= LATE_MS {
                let of = (tenant, incarnation);
                self.inner
                    .main
                    .apply(move |connection| {
                        connection
                            .prepare_cached("DELETE FROM removed_tenants WHERE tenant = ?1 AND incarnation = ?2")?
                            .execute(params![of.0.as_str(), of.1])
                    })
                    .await?;
            }
        }
        Ok(())
    }

    /// Deletes finished rows whose retention is over. Returns how many rows were deleted.
    pub async fn forget_ended(&self, keeping: Keeping) -> Result<u64, StoreError> {
        use StoreFile::{History, Main};
        let before = |kept_ms: i64| self.inner.clock.now_ms().saturating_sub(kept_ms);
        let mut gone = 0;
        if let Some(kept_ms) = keeping.dead_letters_ms {
            let values = vec![before(kept_ms).into()];
            gone += self.delete(Main, "dead_letters", "slot, id", "died_ms < ?1", values).await?;
        }
        if let Some(kept_ms) = keeping.solved_ms {
            let values = vec![before(kept_ms).into()];
            gone += self.delete(History, "ticket_history", "rowid", "resolved_ms < ?1", values).await?;
        }
        if let Some(kept_ms) = keeping.notes_ms {
            let condition = "tenant = ?1 AND incarnation = ?2 AND finished_ms < ?3";
            for (tenant, incarnation) in self.with_notes().await? {
                let values = vec![tenant.into(), incarnation.into(), before(kept_ms).into()];
                gone += self.delete(History, "enhancement_history", "rowid", condition, values).await?;
            }
        }
        Ok(gone)
    }

    /// Tenants that have notes, as id and number.
    async fn with_notes(&self) -> Result<Vec<(String, i64)>, StoreError> {
        self.inner
            .history_reads
            .read(|connection| {
                connection
                    .prepare_cached("SELECT tenant, incarnation FROM history_usage WHERE notes > 0")?
                    .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                    .collect()
            })
            .await
    }

    async fn erase(&self, owned: Owned) -> Result<(), StoreError> {
        use StoreFile::{History, Main};
        let (condition, (tenant, incarnation)) = (owned.condition(), owned.params());
        let in_slot = format!("slot = {} AND {condition}", owned.slot());
        for (file, table, key, condition) in [
            (Main, "jobs", "rowid", in_slot.as_str()),
            (Main, "dead_letters", "slot, id", condition),
            (Main, "job_usage", "tenant, incarnation", condition),
            (Main, "plugin_events", "id", condition),
            (Main, "tenant_waits", "tenant, incarnation, reason, since_ms", condition),
            (History, "ticket_history", "rowid", condition),
            (History, "enhancement_history", "rowid", condition),
            (History, "reopened_tickets", "tenant, incarnation, ticket_id", condition),
            (History, "history_usage", "tenant, incarnation", condition),
        ] {
            let values = vec![tenant.to_owned().into(), incarnation.number().into()];
            self.delete(file, table, key, condition, values).await?;
        }
        Ok(())
    }

    /// Bytes in both files that deleted rows have freed and new rows fill before a file grows.
    pub async fn reusable_bytes(&self) -> Result<u64, StoreError> {
        let look = |connection: &Connection| {
            let number = |name: &str| connection.pragma_query_value(None, name, |row| count(row, 0));
            Ok(number("freelist_count")? * number("page_size")?)
        };
        Ok(self.inner.main_reads.read(look).await? + self.inner.history_reads.read(look).await?)
    }

    /// Frees space in the full-text index that deleted tickets held. Does a little at a time, in a commit of its own.
    pub async fn merge_words(&self) -> Result<(), StoreError> {
        const PAGES: i64 = 500;
        self.inner
            .history
            .apply(|connection| {
                connection
                    .prepare_cached("INSERT INTO ticket_text (ticket_text, rank) VALUES ('merge', ?1)")?
                    .execute([-PAGES])
                    .map(drop)
            })
            .await
    }

    /// Deletes the rows that match the condition, which refers to these values by number. Returns how many.
    async fn delete(
        &self,
        file: StoreFile,
        table: &str,
        key: &str,
        condition: &str,
        values: Vec<Value>,
    ) -> Result<u64, StoreError> {
        let sql = format!(
            "DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} WHERE {condition} LIMIT {ROWS_PER_COMMIT})"
        );
        let mut deleted = 0;
        loop {
            let (sql, values) = (sql.clone(), values.clone());
            let delete = move |connection: &Connection| connection.prepare(&sql)?.execute(params_from_iter(values));
            let batch = match file {
                StoreFile::Main => self.inner.main.apply(delete).await?,
                StoreFile::History => self.inner.history.apply(delete).await?,
            };
            deleted += batch as u64;
            if batch < ROWS_PER_COMMIT as usize {
                return Ok(deleted);
            }
        }
    }
}

/// Runs once after the columns are added: history that is older than the tenant with its id belonged to an earlier
/// tenant.
pub(super) fn attribute_history(main: &Connection, history: &Connection) -> rusqlite::Result<()> {
    let done: bool =
        main.query_row("SELECT value FROM meta WHERE key = 'history_incarnations'", [], |row| row.get(0))?;
    if done {
        return Ok(());
    }
    let tenants: Vec<(String, i64)> = main
        // A tenant dated in the future was added while the clock was wrong.
        .prepare("SELECT id, created_ms FROM tenants WHERE created_ms <= unixepoch() * 1000")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let transaction = history.unchecked_transaction()?;
    let mut moved = 0;
    for (tenant, created_ms) in tenants {
        for (table, at) in
            [("ticket_history", "recorded_ms"), ("enhancement_history", "accepted_ms"), ("reopened_tickets", "told_ms")]
        {
            moved += transaction.execute(
                &format!("UPDATE {table} SET incarnation = 0 WHERE tenant = ?1 AND incarnation = 1 AND {at} < ?2"),
                params![tenant, created_ms],
            )?;
        }
    }
    if moved > 0 {
        tracing::info!(
            rows = moved,
            "what the history has of tenants from before those of their ids is theirs no more"
        );
        transaction.execute_batch(COUNT_HISTORY)?;
    }
    transaction.commit()?;
    main.execute("UPDATE meta SET value = 1 WHERE key = 'history_incarnations'", []).map(drop)
}
