//! Tenants and their sealed secrets as rows. Only `tenant::secrets` knows the contents of a record.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, Row, params};
use serde_json::Value;

use super::{
    Store, StoreError,
    dead::{TENANT_CHANGED, TENANT_REMOVED, bury_all},
    views::{column, live_jobs},
};
use crate::{
    fault,
    ids::{Incarnation, TenantId, ToolType},
    networks::Networks,
    tenant::{EnhanceOn, Tenant},
};

/// A sealed secret as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretRow {
    /// The tenant that owns it.
    pub tenant: TenantId,
    /// Its name.
    pub name: String,
    /// Its version, which only rises.
    pub version: i64,
    /// The sealed record.
    pub record: Vec<u8>,
    /// When it was set, milliseconds since the epoch.
    pub created_ms: i64,
    /// Until when it stays valid after a newer one replaced it; `None` for the newest.
    pub expires_ms: Option<i64>,
}

/// How a change of a tenant treats its live jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiveJobs {
    /// The jobs stay: the tenant's tool is the same.
    Stay,
    /// The tool is another one. If there are any jobs, nothing is changed.
    Refuse,
    /// The tool is another one, and the jobs become dead letters.
    DeadLetter,
}

impl Store {
    /// Adds a tenant with its secrets, all or nothing, and gives it a number that no tenant has had. It therefore sees
    /// nothing that is stored for other tenants of its id.
    pub async fn insert_tenant(&self, tenant: Tenant, secrets: Vec<SecretRow>) -> Result<Incarnation, StoreError> {
        let (id, now_ms) = (tenant.id.clone(), self.inner.clock.now_ms());
        let inserted = self
            .inner
            .main
            .apply_mirrored(move |connection, known| {
                let incarnation = next_incarnation(connection)?;
                let inserted = connection.execute(
                    "INSERT OR IGNORE INTO tenants (id, slot, tool_type, base_url, settings, allow_origins, enabled,
                                                    replay_window_s, enhance_on, created_ms, updated_ms, paused,
                                                    replay_ahead_s, incarnation, allow_from)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10, ?11, ?12, ?13, ?14)",
                    params![
                        tenant.id.as_str(),
                        tenant.slot,
                        tenant.tool_type.as_str(),
                        tenant.base_url.as_str(),
                        settings_json(&tenant.settings),
                        Value::from(tenant.allow_origins).to_string(),
                        tenant.enabled,
                        tenant.replay_window_s,
                        events_json(&tenant.enhance_on),
                        now_ms,
                        tenant.paused,
                        tenant.replay_ahead_s,
                        incarnation,
                        Value::from(tenant.allow_from.texts()).to_string(),
                    ],
                )?;
                if inserted == 0 {
                    return Ok(None);
                }
                for secret in &secrets {
                    insert_secret(connection, secret)?;
                }
                // A program that did not know of numbers left these jobs.
                bury_all(connection, &tenant.id, now_ms, TENANT_REMOVED)?;
                known.reopenings.forget_tenant(connection, &tenant.id)?;
                Ok(Some(incarnation))
            })
            .await?;
        inserted.ok_or(StoreError::TenantExists(id))
    }

    /// Replaces everything about a tenant except its id and secrets.
    pub async fn update_tenant(&self, tenant: Tenant) -> Result<(), StoreError> {
        let (id, now_ms) = (tenant.id.clone(), self.inner.clock.now_ms());
        let updated = self.inner.main.apply(move |connection| update(connection, &tenant, now_ms)).await?;
        if updated == 1 { Ok(()) } else { Err(StoreError::UnknownTenant(id)) }
    }

    /// Replaces everything about a tenant except its id, replaces the given secrets, and treats its live jobs as `jobs`
    /// says: all in one commit, or nothing. Returns how many jobs became dead letters.
    ///
    /// # Errors
    /// [`StoreError::LiveJobs`] if there are live jobs that were not to be given up.
    pub async fn change_tenant(
        &self,
        tenant: Tenant,
        secrets: Vec<SecretRow>,
        jobs: LiveJobs,
    ) -> Result<u64, StoreError> {
        let now_ms = self.inner.clock.now_ms();
        let buried = self
            .inner
            .main
            .apply(move |connection| {
                let live = if jobs == LiveJobs::Refuse { live_jobs(connection, &tenant.id)? } else { 0 };
                if live > 0 {
                    return Ok(Err(StoreError::LiveJobs { tenant: tenant.id, jobs: live }));
                }
                if update(connection, &tenant, now_ms)? == 0 {
                    return Ok(Err(StoreError::UnknownTenant(tenant.id)));
                }
                for secret in &secrets {
                    connection
                        .prepare_cached("DELETE FROM tenant_secrets WHERE tenant = ?1 AND name = ?2")?
                        .execute([secret.tenant.as_str(), &secret.name])?;
                    insert_secret(connection, secret)?;
                }
                let buried = match jobs {
                    LiveJobs::Stay | LiveJobs::Refuse => 0,
                    // All jobs move in this commit, however many: any that stayed would be jobs for the wrong tool.
                    LiveJobs::DeadLetter => bury_all(connection, &tenant.id, now_ms, TENANT_CHANGED)?,
                };
                fault::reached(fault::Point::TenantChanging);
                Ok(Ok(buried as u64))
            })
            .await??;
        fault::reached(fault::Point::TenantChanged);
        Ok(buried)
    }

    /// Sets a secret. The previous one stays valid for `grace_ms`, but at most two are kept for a name. Without grace,
    /// only the new one is kept.
    pub async fn put_secret(&self, secret: SecretRow, grace_ms: i64) -> Result<(), StoreError> {
        let (id, now_ms) = (secret.tenant.clone(), self.inner.clock.now_ms());
        let known = self
            .inner
            .main
            .apply(move |connection| {
                let (tenant, name) = (secret.tenant.as_str(), secret.name.as_str());
                let known: bool =
                    connection
                        .query_row("SELECT EXISTS (SELECT 1 FROM tenants WHERE id = ?1)", [tenant], |row| row.get(0))?;
                if known {
                    connection.execute(
                        "UPDATE tenant_secrets SET expires_ms = ?3
                         WHERE tenant = ?1 AND name = ?2 AND expires_ms IS NULL",
                        params![tenant, name, now_ms.saturating_add(grace_ms)],
                    )?;
                    connection.execute(
                        "DELETE FROM tenant_secrets
                         WHERE tenant = ?1 AND name = ?2
                           AND (expires_ms <= ?3 OR version < (SELECT max(version) FROM tenant_secrets
                                                              WHERE tenant = ?1 AND name = ?2))",
                        params![tenant, name, now_ms],
                    )?;
                    insert_secret(connection, &secret)?;
                }
                Ok(known)
            })
            .await?;
        if known { Ok(()) } else { Err(StoreError::UnknownTenant(id)) }
    }

    /// Deletes a secret, with the earlier one that is still valid beside it.
    pub async fn remove_secret(&self, tenant: &TenantId, name: &str) -> Result<(), StoreError> {
        let (tenant, name) = (tenant.clone(), name.to_owned());
        let delete = move |connection: &Connection| {
            connection
                .execute("DELETE FROM tenant_secrets WHERE tenant = ?1 AND name = ?2", [tenant.as_str(), &name])
                .map(drop)
        };
        self.inner.main.apply(delete).await
    }

    /// All tenants, by id.
    pub async fn tenants(&self) -> Result<Vec<Tenant>, StoreError> {
        self.inner
            .main_reads
            .read(|connection| {
                connection
                    .prepare(
                        "SELECT id, tool_type, base_url, settings, allow_origins, enabled, replay_window_s, enhance_on,
                                paused, replay_ahead_s, incarnation, allow_from
                         FROM tenants ORDER BY id",
                    )?
                    .query_map([], tenant)?
                    .collect()
            })
            .await
    }

    /// Whether the jobs of all tenants are paused.
    pub async fn jobs_paused(&self) -> Result<bool, StoreError> {
        self.inner
            .main_reads
            .read(|connection| {
                connection.query_row("SELECT value FROM meta WHERE key = 'jobs_paused'", [], |row| row.get(0))
            })
            .await
    }

    /// Stores whether the jobs of all tenants are paused.
    pub async fn set_jobs_paused(&self, paused: bool) -> Result<(), StoreError> {
        self.inner
            .main
            .apply(move |connection| {
                connection.execute("UPDATE meta SET value = ?1 WHERE key = 'jobs_paused'", [paused]).map(drop)
            })
            .await
    }

    /// All sealed secrets, by tenant, name and version. Secrets whose grace is over are left out.
    pub async fn secrets(&self) -> Result<Vec<SecretRow>, StoreError> {
        let now_ms = self.inner.clock.now_ms();
        self.inner
            .main_reads
            .read(move |connection| {
                connection
                    .prepare(
                        "SELECT tenant, name, version, record, created_ms, expires_ms FROM tenant_secrets
                         WHERE expires_ms IS NULL OR expires_ms > ?1 ORDER BY tenant, name, version",
                    )?
                    .query_map([now_ms], |row| {
                        Ok(SecretRow {
                            tenant: column(row, 0, TenantId::parse)?,
                            name: row.get(1)?,
                            version: row.get(2)?,
                            record: row.get(3)?,
                            created_ms: row.get(4)?,
                            expires_ms: row.get(5)?,
                        })
                    })?
                    .collect()
            })
            .await
    }

    /// Whether any secret is stored. If so, a missing key file is a loss, not a first start.
    pub async fn has_secrets(&self) -> Result<bool, StoreError> {
        self.inner
            .main_reads
            .read(|connection| {
                connection.query_row("SELECT EXISTS (SELECT 1 FROM tenant_secrets)", [], |row| row.get(0))
            })
            .await
    }
}

fn next_incarnation(connection: &Connection) -> rusqlite::Result<Incarnation> {
    connection
        .query_row("UPDATE meta SET value = value + 1 WHERE key = 'incarnations' RETURNING value", [], |row| row.get(0))
}

fn update(connection: &Connection, tenant: &Tenant, now_ms: i64) -> rusqlite::Result<usize> {
    connection.execute(
        "UPDATE tenants SET tool_type = ?2, base_url = ?3, settings = ?4, allow_origins = ?5, enabled = ?6,
                            replay_window_s = ?7, enhance_on = ?8, updated_ms = ?9, paused = ?10,
                            replay_ahead_s = ?11, allow_from = ?12 WHERE id = ?1",
        params![
            tenant.id.as_str(),
            tenant.tool_type.as_str(),
            tenant.base_url.as_str(),
            settings_json(&tenant.settings),
            Value::from(tenant.allow_origins.as_slice()).to_string(),
            tenant.enabled,
            tenant.replay_window_s,
            events_json(&tenant.enhance_on),
            now_ms,
            tenant.paused,
            tenant.replay_ahead_s,
            Value::from(tenant.allow_from.texts()).to_string(),
        ],
    )
}

fn insert_secret(connection: &Connection, secret: &SecretRow) -> rusqlite::Result<usize> {
    connection
        .prepare_cached(
            "INSERT INTO tenant_secrets (tenant, name, version, record, created_ms, expires_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            secret.tenant.as_str(),
            secret.name,
            secret.version,
            secret.record,
            secret.created_ms,
            secret.expires_ms
        ])
}

fn tenant(row: &Row<'_>) -> rusqlite::Result<Tenant> {
    let id = column(row, 0, TenantId::parse)?;
    Ok(Tenant {
        slot: id.slot(),
        id,
        tool_type: column(row, 1, ToolType::parse)?,
        base_url: column(row, 2, url::Url::parse)?,
        settings: column(row, 3, |text| serde_json::from_str::<BTreeMap<String, String>>(text))?,
        allow_origins: column(row, 4, |text| serde_json::from_str::<Vec<String>>(text))?,
        enabled: row.get(5)?,
        replay_window_s: row.get(6)?,
        enhance_on: column(row, 7, events_from_json)?,
        paused: row.get(8)?,
        replay_ahead_s: row.get(9)?,
        incarnation: row.get(10)?,
        allow_from: column(row, 11, networks_from_json)?,
    })
}

fn settings_json(settings: &BTreeMap<String, String>) -> String {
    settings.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect::<Value>().to_string()
}

fn networks_from_json(json: &str) -> Result<Networks, String> {
    let texts: Vec<String> = serde_json::from_str(json).map_err(|error| error.to_string())?;
    Networks::parse_all(&texts).map_err(|(text, fault)| format!("{text:?}: {fault}"))
}

fn events_json(events: &BTreeSet<EnhanceOn>) -> String {
    events.iter().map(|event| event.as_str()).collect::<Value>().to_string()
}

fn events_from_json(json: &str) -> Result<BTreeSet<EnhanceOn>, String> {
    let names: Vec<String> = serde_json::from_str(json).map_err(|error| error.to_string())?;
    names.iter().map(|name| EnhanceOn::parse(name).ok_or_else(|| format!("{name:?} is no event to enhance"))).collect()
}
