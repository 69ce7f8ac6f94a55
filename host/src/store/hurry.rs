//! Makes waiting jobs due at once, when someone knows that the cause of the wait is fixed.

use rusqlite::{Connection, ToSql, named_params, params};

use super::{
    Store, StoreError,
    dead::{Key, ROWS_PER_COMMIT},
    views::slots_of,
};
use crate::ids::{JobId, TenantId};

impl Store {
    /// Makes a waiting job due now. Its attempts and errors stay. Returns false if it is not waiting for a time.
    pub async fn hurry(&self, id: JobId) -> Result<bool, StoreError> {
        let keys = self
            .inner
            .main_reads
            .read(move |connection| {
                connection
                    .prepare_cached(&format!(
                        "{} SELECT slot, id FROM jobs WHERE slot IN (SELECT slot FROM slots) AND id = ?1",
                        slots_of("jobs")
                    ))?
                    .query_map([id.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))?
                    .collect()
            })
            .await?;
        Ok(self.hurry_each(keys).await? > 0)
    }

    /// Makes all jobs that wait for a time due now, or only those of one tenant. Returns how many.
    pub async fn hurry_waiting(&self, tenant: Option<&TenantId>) -> Result<u64, StoreError> {
        let (mut hurried, mut after): (u64, Key) = (0, (0, [0; 16]));
        loop {
            let (tenant, now_ms) = (tenant.cloned(), self.inner.clock.now_ms());
            let keys = self
                .inner
                .main_reads
                .read(move |connection| waiting(connection, tenant.as_ref(), now_ms, after))
                .await?;
            let Some(last) = keys.last().copied() else { return Ok(hurried) };
            hurried += self.hurry_each(keys).await?;
            after = last;
        }
    }

    async fn hurry_each(&self, keys: Vec<Key>) -> Result<u64, StoreError> {
        let clock = self.inner.clock.clone();
        self.inner
            .main
            .apply(move |connection| {
                let now_ms = clock.now_ms();
                keys.into_iter().try_fold(0, |sum, (slot, id)| {
                    let hurried = connection
                        .prepare_cached(
                            "UPDATE jobs SET due_ms = ?3 WHERE slot = ?1 AND id = ?2 AND running = 0 AND due_ms > ?3",
                        )?
                        .execute(params![slot, id, now_ms])?;
                    Ok(sum + hurried as u64)
                })
            })
            .await
    }
}

/// The next keys in order.
fn waiting(connection: &Connection, tenant: Option<&TenantId>, now_ms: i64, after: Key) -> rusqlite::Result<Vec<Key>> {
    let of = tenant.map(|tenant| (tenant.slot(), tenant.as_str()));
    let mut values: Vec<(&str, &dyn ToSql)> = named_params! {
        ":now": now_ms, ":slot": after.0, ":id": after.1, ":max": ROWS_PER_COMMIT,
    }
    .to_vec();
    let of_tenant = match &of {
        Some((slot, tenant)) => {
            values.extend([(":of", slot as &dyn ToSql), (":tenant", tenant)]);
            " AND slot = :of AND tenant = :tenant"
        }
        None => "",
    };
    let sql = format!(
        "SELECT slot, id FROM jobs WHERE running = 0 AND due_ms > :now AND (slot, id) > (:slot, :id){of_tenant}
         ORDER BY slot, id LIMIT :max"
    );
    connection.prepare_cached(&sql)?.query_map(&*values, |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}
