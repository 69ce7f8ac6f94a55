//! All tenants in memory, with their sealed secrets: an unknown tenant never touches the disk.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Instant,
};

use tokio::runtime::Handle;

use super::{
    InvalidTenant, NewTenant, Tenant, check_name,
    secrets::{KeyRing, SecretError, SecretPlace, SecretText, oauth2},
};
use crate::{
    clock::Clock,
    ids::TenantId,
    store::{RemovedTenant, SecretRow, Store, StoreError},
};

/// Secrets that one tenant may have, by name.
pub const SECRET_NAMES_MAX: usize = 32;

/// A change of the directory that was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// What was asked for is not allowed.
    #[error(transparent)]
    Invalid(#[from] InvalidTenant),
    /// A secret could not be sealed.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The store refused, or could not be reached.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A secret that was not exchanged for its successor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    /// Somebody has set another one meanwhile, which stays.
    #[error("the secret was set anew meanwhile")]
    Superseded,
    /// It is not on disk by the deadline; it may be later.
    #[error("the store was too slow")]
    Late,
    /// It was not made.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

/// A secret as it may be shown: everything but its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretInfo {
    /// Its name.
    pub name: String,
    /// When it was set, milliseconds since the epoch.
    pub created_ms: i64,
    /// Until when it is still good after a newer one has taken its place; `None` for the newest.
    pub expires_ms: Option<i64>,
}

/// The tenants. Cheap to clone; all clones are one directory. Looking up takes no lock that a disk can hold.
#[derive(Clone)]
pub struct TenantDirectory {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    keys: KeyRing,
    clock: Clock,
    /// Where changes run.
    runtime: Handle,
    cache_ms: i64,
    entries: RwLock<HashMap<String, Arc<Entry>>>,
    all_paused: AtomicBool,
    /// Held through a change: store first, then memory, one after the other.
    changing: tokio::sync::Mutex<()>,
}

struct Entry {
    tenant: Arc<Tenant>,
    /// By name, the oldest version first.
    sealed: BTreeMap<String, Vec<SecretRow>>,
    /// What was opened lately, by name.
    opened: Mutex<HashMap<String, Opened>>,
}

struct Opened {
    /// Of the newest.
    version: i64,
    secrets: Arc<[SecretText]>,
    from_ms: i64,
    until_ms: i64,
}

impl TenantDirectory {
    /// Reads all tenants. An opened secret is kept for `cache_s` seconds.
    ///
    /// # Errors
    /// When the store cannot be read, or holds a secret that none of these keys opens: that is the wrong key file, and
    /// webhooks of that tenant would be refused until somebody noticed.
    pub async fn load(store: &Store, keys: KeyRing, cache_s: u32) -> Result<Self, DirectoryError> {
        let mut entries: HashMap<String, Entry> = store
            .tenants()
            .await?
            .into_iter()
            .map(|tenant| (tenant.id.as_str().to_owned(), Entry::new(tenant, BTreeMap::new())))
            .collect();
        let now_ms = store.clock().now_ms();
        for secret in store.secrets().await? {
            if secret.expires_ms.is_none_or(|expires_ms| expires_ms > now_ms) {
                let place = SecretPlace { tenant: &secret.tenant, name: &secret.name, version: secret.version };
                keys.knows(place, &secret.record)?;
            }
            if let Some(entry) = entries.get_mut(secret.tenant.as_str()) {
                entry.sealed.entry(secret.name.clone()).or_default().push(secret);
            }
        }
        let inner = Inner {
            clock: store.clock().clone(),
            store: store.clone(),
            runtime: Handle::current(),
            keys,
            cache_ms: i64::from(cache_s) * 1_000,
            all_paused: AtomicBool::new(store.jobs_paused().await?),
            entries: RwLock::new(entries.into_iter().map(|(id, entry)| (id, Arc::new(entry))).collect()),
            changing: tokio::sync::Mutex::new(()),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The tenant of this id, enabled or not: another one whenever somebody has changed it or a secret of it, but not when a
    /// tool has given a secret in exchange. Never blocks on the disk; any thread.
    pub fn get(&self, id: &str) -> Option<Arc<Tenant>> {
        self.inner.entry(id).map(|entry| Arc::clone(&entry.tenant))
    }

    /// All tenants, by id.
    pub fn list(&self) -> Vec<Arc<Tenant>> {
        let entries = self.inner.entries.read().unwrap_or_else(PoisonError::into_inner);
        let mut tenants: Vec<_> = entries.values().map(|entry| Arc::clone(&entry.tenant)).collect();
        tenants.sort_by(|a, b| a.id.cmp(&b.id));
        tenants
    }

    /// The good secrets of this name, the newest first: one, or two during a rotation. Opened when first asked for. Does
    /// not touch the disk; may be called from any thread, lanes included.
    pub fn secrets(&self, tenant: &Tenant, name: &str) -> Result<Arc<[SecretText]>, SecretError> {
        self.versioned_secrets(tenant, name).map(|(_, secrets)| secrets)
    }

    /// The same, with the version of the newest for [`exchange_secret`](Self::exchange_secret).
    pub fn versioned_secrets(&self, tenant: &Tenant, name: &str) -> Result<(i64, Arc<[SecretText]>), SecretError> {
        let missing = || SecretError::Missing { tenant: tenant.id.clone(), name: name.to_owned() };
        let entry = self.inner.entry(tenant.id.as_str()).ok_or_else(missing)?;
        let now_ms = self.inner.clock.now_ms();
        let mut opened = entry.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = opened.get(name).filter(|opened| opened.is_good(now_ms)) {
            return Ok((found.version, Arc::clone(&found.secrets)));
        }
        opened.remove(name);
        let version = entry.sealed.get(name).and_then(|rows| rows.last()).map_or(0, |row| row.version);
        let mut until_ms = now_ms.saturating_add(self.inner.cache_ms);
        let mut secrets = Vec::with_capacity(2);
        for row in entry.sealed.get(name).into_iter().flatten().rev() {
            if row.expires_ms.is_none_or(|expires_ms| expires_ms > now_ms) {
                until_ms = until_ms.min(row.expires_ms.unwrap_or(i64::MAX));
                let place = SecretPlace { tenant: &tenant.id, name, version: row.version };
                secrets.push(self.inner.keys.open(place, &row.record)?);
            }
        }
        if secrets.is_empty() {
            return Err(missing());
        }
        let secrets: Arc<[SecretText]> = secrets.into();
        opened.insert(name.to_owned(), Opened { version, secrets: Arc::clone(&secrets), from_ms: now_ms, until_ms });
        Ok((version, secrets))
    }

    /// What secrets a tenant has, by name, without opening them.
    pub fn secret_infos(&self, id: &TenantId) -> Vec<SecretInfo> {
        let now_ms = self.inner.clock.now_ms();
        let Some(entry) = self.inner.entry(id.as_str()) else { return Vec::new() };
        entry
            .sealed
            .values()
            .flatten()
            .filter(|row| row.expires_ms.is_none_or(|expires_ms| expires_ms > now_ms))
            .map(|row| SecretInfo { name: row.name.clone(), created_ms: row.created_ms, expires_ms: row.expires_ms })
            .collect()
    }

    /// Overwrites opened secrets whose time is over. To be called every few seconds, so that what nobody asks for again
    /// does not stay in memory.
    pub fn forget_stale_secrets(&self) {
        let now_ms = self.inner.clock.now_ms();
        let entries: Vec<_> = {
            let entries = self.inner.entries.read().unwrap_or_else(PoisonError::into_inner);
            entries.values().cloned().collect()
        };
        for entry in entries {
            entry.opened.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, opened| opened.is_good(now_ms));
        }
    }

    /// Adds a tenant with its first secrets, by name.
    pub async fn add(&self, new: NewTenant, secrets: Vec<(String, SecretText)>) -> Result<Arc<Tenant>, DirectoryError> {
        let tenant = new.check()?;
        self.changing(|inner| async move {
            let mut sealed: BTreeMap<String, Vec<SecretRow>> = BTreeMap::new();
            for (name, secret) in &secrets {
                check_name(name)?;
                oauth2::check(&tenant, name, secret)?;
                if sealed.insert(name.clone(), vec![inner.seal(&tenant.id, name, secret, 0)?]).is_some() {
                    return Err(refused(name, "the secret is given twice"));
                }
            }
            if sealed.len() > SECRET_NAMES_MAX {
                return Err(refused("secrets", &format!("there may be {SECRET_NAMES_MAX} at most")));
            }
            inner.store.insert_tenant(tenant.clone(), sealed.values().flatten().cloned().collect()).await?;
            Ok(inner.put(Entry::new(tenant, sealed)))
        })
        .await
    }

    /// Lets a tenant's webhooks in again, and its jobs run.
    pub async fn enable(&self, id: &TenantId) -> Result<Arc<Tenant>, DirectoryError> {
        self.update(id, |tenant| tenant.enabled = true).await
    }

    /// Refuses a tenant's webhooks from now on; its jobs wait.
    pub async fn disable(&self, id: &TenantId) -> Result<Arc<Tenant>, DirectoryError> {
        self.update(id, |tenant| tenant.enabled = false).await
    }

    /// Lets a tenant's jobs wait, or run again. Its webhooks are taken either way.
    pub async fn set_paused(&self, id: &TenantId, paused: bool) -> Result<Arc<Tenant>, DirectoryError> {
        self.update(id, move |tenant| tenant.paused = paused).await
    }

    /// Lets the jobs of all tenants wait, or run again where the tenant itself is not paused.
    pub async fn set_all_paused(&self, paused: bool) -> Result<(), DirectoryError> {
        self.changing(move |inner| async move {
            inner.store.set_jobs_paused(paused).await?;
            inner.all_paused.store(paused, Ordering::Relaxed);
            Ok(())
        })
        .await
    }

    /// Whether the jobs of all tenants wait.
    pub fn is_all_paused(&self) -> bool {
        self.inner.all_paused.load(Ordering::Relaxed)
    }

    /// Whether a tenant's jobs wait because somebody paused them.
    pub fn is_paused(&self, tenant: &Tenant) -> bool {
        tenant.paused || self.is_all_paused()
    }

    /// Removes a tenant with its secrets; its jobs become dead letters. Its webhooks are refused first.
    pub async fn remove(&self, id: &TenantId) -> Result<RemovedTenant, DirectoryError> {
        let id = id.clone();
        self.changing(|inner| async move {
            let forget =
                |id: &TenantId| inner.entries.write().unwrap_or_else(PoisonError::into_inner).remove(id.as_str());
            let entry = forget(&id).ok_or_else(|| StoreError::UnknownTenant(id.clone()))?;
            match inner.store.remove_tenant(&id).await {
                Ok(removed) => Ok(removed),
                Err(error) => {
                    let mut entries = inner.entries.write().unwrap_or_else(PoisonError::into_inner);
                    entries.insert(id.as_str().to_owned(), entry);
                    Err(error.into())
                }
            }
        })
        .await
    }

    /// Sets a secret; the one before it stays good for `grace_ms` milliseconds more, so that the tool can be told. At most
    /// two of a name are good at a time.
    pub async fn set_secret(
        &self,
        id: &TenantId,
        name: &str,
        secret: SecretText,
        grace_ms: i64,
    ) -> Result<(), DirectoryError> {
        check_name(name)?;
        let (id, name, grace_ms) = (id.clone(), name.to_owned(), grace_ms.max(0));
        self.changing(move |inner| async move {
            let entry = inner.entry(id.as_str()).ok_or_else(|| StoreError::UnknownTenant(id.clone()))?;
            oauth2::check(&entry.tenant, &name, &secret)?;
            let changed = Arc::new(Tenant::clone(&entry.tenant));
            inner.put_secret(changed, &entry.sealed, &name, &secret, grace_ms).await.map(drop)
        })
        .await
    }

    /// Puts a secret in the place of the one with this version, which is over at once: for what a tool gave in exchange.
    /// Returns the new version when it is on disk. Blocks until then, at most until the deadline; for a lane.
    ///
    /// # Errors
    /// [`ExchangeError`].
    pub fn exchange_secret(
        &self,
        id: &TenantId,
        name: &str,
        version: i64,
        secret: Arc<SecretText>,
        deadline: Instant,
    ) -> Result<i64, ExchangeError> {
        let (directory, id, name) = (self.clone(), id.clone(), name.to_owned());
        let (reply, answer) = mpsc::sync_channel(1);
        self.inner.runtime.spawn(async move {
            let exchanged = directory.changing(move |inner| async move {
                let entry = inner.entry(id.as_str()).ok_or_else(|| StoreError::UnknownTenant(id.clone()))?;
                let newest = entry.sealed.get(&name).and_then(|rows| rows.last());
                if newest.is_none_or(|row| row.version != version) {
                    return Ok(None);
                }
                inner.put_secret(Arc::clone(&entry.tenant), &entry.sealed, &name, &secret, 0).await.map(Some)
            });
            // Nobody waits any more when the deadline has passed.
            let _given_up = reply.send(exchanged.await);
        });
        match answer.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(exchanged) => exchanged?.ok_or(ExchangeError::Superseded),
            Err(_) => Err(ExchangeError::Late),
        }
    }

    async fn update(
        &self,
        id: &TenantId,
        change: impl FnOnce(&mut Tenant) + Send + 'static,
    ) -> Result<Arc<Tenant>, DirectoryError> {
        let id = id.clone();
        self.changing(|inner| async move {
            let entry = inner.entry(id.as_str()).ok_or(StoreError::UnknownTenant(id))?;
            let mut tenant = Tenant::clone(&entry.tenant);
            change(&mut tenant);
            inner.store.update_tenant(tenant.clone()).await?;
            Ok(inner.put(Entry::new(tenant, entry.sealed.clone())))
        })
        .await
    }

    /// Runs a change to its end even when the one who asked goes away half-way: memory must not lag behind the store.
    async fn changing<T, F, R>(&self, change: F) -> Result<T, DirectoryError>
    where
        T: Send + 'static,
        F: FnOnce(Arc<Inner>) -> R + Send + 'static,
        R: Future<Output = Result<T, DirectoryError>> + Send,
    {
        let inner = Arc::clone(&self.inner);
        let task = self.inner.runtime.spawn(async move {
            let turn = Arc::clone(&inner);
            let _turn = turn.changing.lock().await;
            change(inner).await
        });
        match task.await {
            Ok(outcome) => outcome,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is shutting down.
                Err(_) => Err(StoreError::Closed { file: "the tenant directory".into() }.into()),
            },
        }
    }
}

impl Inner {
    fn entry(&self, id: &str) -> Option<Arc<Entry>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    fn put(&self, entry: Entry) -> Arc<Tenant> {
        let tenant = Arc::clone(&entry.tenant);
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        entries.insert(tenant.id.as_str().to_owned(), Arc::new(entry));
        tenant
    }

    /// Sets a secret on disk and then in memory, and returns its version.
    async fn put_secret(
        &self,
        tenant: Arc<Tenant>,
        sealed: &BTreeMap<String, Vec<SecretRow>>,
        name: &str,
        secret: &SecretText,
        grace_ms: i64,
    ) -> Result<i64, DirectoryError> {
        let mut sealed = sealed.clone();
        let rows = sealed.entry(name.to_owned()).or_default();
        let previous = rows.pop();
        let row = self.seal(&tenant.id, name, secret, previous.as_ref().map_or(0, |row| row.version))?;
        let version = row.version;
        rows.clear();
        rows.extend(
            previous
                .map(|previous| SecretRow { expires_ms: Some(row.created_ms.saturating_add(grace_ms)), ..previous }),
        );
        rows.push(row.clone());
        if sealed.len() > SECRET_NAMES_MAX {
            return Err(refused("secrets", &format!("there may be {SECRET_NAMES_MAX} at most")));
        }
        self.store.put_secret(row, grace_ms).await?;
        self.put(Entry::new(tenant, sealed));
        Ok(version)
    }

    /// Seals under a version above `last`. It is the time, so that no version comes back after a removal.
    fn seal(&self, tenant: &TenantId, name: &str, secret: &SecretText, last: i64) -> Result<SecretRow, SecretError> {
        let created_ms = self.clock.now_ms();
        let version = created_ms.max(last.saturating_add(1));
        let record = self.keys.seal(SecretPlace { tenant, name, version }, secret)?;
        Ok(SecretRow { tenant: tenant.clone(), name: name.to_owned(), version, record, created_ms, expires_ms: None })
    }
}

impl Entry {
    fn new(tenant: impl Into<Arc<Tenant>>, sealed: BTreeMap<String, Vec<SecretRow>>) -> Self {
        Self { tenant: tenant.into(), sealed, opened: Mutex::default() }
    }
}

impl Opened {
    fn is_good(&self, now_ms: i64) -> bool {
        (self.from_ms..self.until_ms).contains(&now_ms)
    }
}

fn refused(what: &str, reason: &str) -> DirectoryError {
    InvalidTenant::Other { what: what.to_owned(), reason: reason.to_owned() }.into()
}

#[cfg(test)]
mod tests;
