//! All tenants in memory, with their sealed secrets. Looking up an unknown tenant never touches the disk.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::runtime::Handle;

use super::{
    InvalidTenant, NewTenant, Tenant, check_name,
    secrets::{KeyRing, SecretError, SecretPlace, SecretText, oauth2},
    tally::{Tally, ToldLimit},
};
use crate::{
    clock::Clock,
    ids::TenantId,
    store::{RemovedTenant, SecretRow, Store, StoreError},
};

mod change;
mod rotate;

pub use self::{
    change::{ChangeFaults, Changed},
    rotate::ExchangeError,
};

/// Maximum number of secret names of a tenant.
pub const SECRET_NAMES_MAX: usize = 32;

/// Why a change of the directory was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// The input is invalid.
    #[error(transparent)]
    Invalid(#[from] InvalidTenant),
    /// The change is not allowed.
    #[error(transparent)]
    Change(#[from] ChangeFaults),
    /// A secret could not be sealed.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The tenant has no secret of this name.
    #[error("tenant {tenant} has no secret {name:?}")]
    NoSecret {
        /// The tenant.
        tenant: TenantId,
        /// The name.
        name: String,
        /// The names that it has.
        known: Vec<String>,
    },
    /// The store refused, or is unavailable.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A secret as it may be shown: everything except its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretInfo {
    /// Its name.
    pub name: String,
    /// When it was set, milliseconds since the epoch.
    pub created_ms: i64,
    /// Until when it stays valid after a newer one replaced it; `None` for the newest.
    pub expires_ms: Option<i64>,
}

/// The tenants. The directory is cheap to clone, and all clones are one. A look-up takes no lock that is held during
/// disk IO.
#[derive(Clone)]
pub struct TenantDirectory {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    keys: KeyRing,
    clock: Clock,
    /// The runtime that changes run on.
    runtime: Handle,
    cache_ms: i64,
    entries: RwLock<HashMap<String, Arc<Entry>>>,
    /// Earlier versions of changed tenants, as long as a call holds them: such a call must keep using the secrets that
    /// belong to its version. A new key must not be sent to the previous tool.
    earlier: Mutex<Vec<Arc<Entry>>>,
    all_paused: AtomicBool,
    told_limit: Arc<ToldLimit>,
    /// Held during a change, which goes to the store first and then to memory. Changes run one at a time.
    changing: tokio::sync::Mutex<()>,
}

struct Entry {
    tenant: Arc<Tenant>,
    sealed: Sealed,
    /// Recently opened secrets, by name.
    opened: Mutex<HashMap<String, Opened>>,
    /// Stays with the tenant through all changes.
    tally: Arc<Tally>,
}

/// Sealed secrets by name, oldest version first.
type Sealed = BTreeMap<String, Vec<SecretRow>>;

struct Opened {
    /// The version of the newest secret.
    version: i64,
    secrets: Arc<[SecretText]>,
    from_ms: i64,
    until_ms: i64,
}

impl TenantDirectory {
    /// Reads all tenants. An opened secret is kept for `cache_s` seconds.
    ///
    /// # Errors
    /// If the store cannot be read, or has a secret that none of these keys opens. The latter means a wrong key file,
    /// and that tenant's webhooks would be refused until somebody noticed.
    pub async fn load(store: &Store, keys: KeyRing, cache_s: u32) -> Result<Self, DirectoryError> {
        let told_limit = Arc::<ToldLimit>::default();
        let now_ms = store.clock().now_ms();
        let mut entries = HashMap::new();
        for (tenant, sealed) in read(store).await? {
            for secret in sealed.values().flatten() {
                if secret.expires_ms.is_none_or(|expires_ms| expires_ms > now_ms) {
                    let place = SecretPlace { tenant: &secret.tenant, name: &secret.name, version: secret.version };
                    keys.knows(place, &secret.record)?;
                }
            }
            let tally = Arc::new(Tally::new(Arc::clone(&told_limit)));
            entries.insert(tenant.id.as_str().to_owned(), Arc::new(Entry::new(Arc::new(tenant), sealed, tally)));
        }
        let inner = Inner {
            clock: store.clock().clone(),
            store: store.clone(),
            runtime: Handle::current(),
            keys,
            cache_ms: i64::from(cache_s) * 1_000,
            all_paused: AtomicBool::new(store.jobs_paused().await?),
            entries: RwLock::new(entries),
            earlier: Mutex::default(),
            told_limit,
            changing: tokio::sync::Mutex::new(()),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The tenant with this id, enabled or not. A change of the tenant or its secrets replaces the returned object; a
    /// secret that a tool gave in exchange does not. Never blocks on the disk; can be called on any thread.
    pub fn get(&self, id: &str) -> Option<Arc<Tenant>> {
        self.inner.entry(id).map(|entry| Arc::clone(&entry.tenant))
    }

    /// The tally of the tenant with this id. As cheap as [`get`](Self::get).
    pub fn tally(&self, id: &str) -> Option<Arc<Tally>> {
        self.inner.entry(id).map(|entry| Arc::clone(&entry.tally))
    }

    /// All tenants, by id.
    pub fn list(&self) -> Vec<Arc<Tenant>> {
        let entries = self.inner.entries.read().unwrap_or_else(PoisonError::into_inner);
        let mut tenants: Vec<_> = entries.values().map(|entry| Arc::clone(&entry.tenant)).collect();
        tenants.sort_by(|a, b| a.id.cmp(&b.id));
        tenants
    }

    /// The valid secrets of this name, newest first: one, or two during a rotation. They are opened when first needed.
    /// For a tenant that was changed meanwhile, they are those of the given version. Does not touch the disk; can be
    /// called on any thread, lanes included.
    pub fn secrets(&self, tenant: &Tenant, name: &str) -> Result<Arc<[SecretText]>, SecretError> {
        self.versioned_secrets(tenant, name).map(|(_, secrets)| secrets)
    }

    /// As [`secrets`](Self::secrets), with the version of the newest for [`exchange_secret`](Self::exchange_secret).
    pub fn versioned_secrets(&self, tenant: &Tenant, name: &str) -> Result<(i64, Arc<[SecretText]>), SecretError> {
        let missing = || SecretError::Missing { tenant: tenant.id.clone(), name: name.to_owned() };
        let entry = self.inner.entry_of(tenant).ok_or_else(missing)?;
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

    /// The secrets of this version of a tenant, by name, without opening them.
    pub fn secret_infos(&self, tenant: &Tenant) -> Vec<SecretInfo> {
        let now_ms = self.inner.clock.now_ms();
        let Some(entry) = self.inner.entry_of(tenant) else { return Vec::new() };
        entry
            .sealed
            .values()
            .flatten()
            .filter(|row| row.expires_ms.is_none_or(|expires_ms| expires_ms > now_ms))
            .map(|row| SecretInfo { name: row.name.clone(), created_ms: row.created_ms, expires_ms: row.expires_ms })
            .collect()
    }

    /// Overwrites opened secrets whose time is over, and forgets earlier versions of tenants that no call holds. Must
    /// be called every few seconds, so that unused secrets do not stay in memory.
    pub fn forget_stale_secrets(&self) {
        let now_ms = self.inner.clock.now_ms();
        self.inner.forget_unused();
        let mut entries: Vec<_> = {
            let entries = self.inner.entries.read().unwrap_or_else(PoisonError::into_inner);
            entries.values().cloned().collect()
        };
        entries.extend(self.inner.earlier().iter().cloned());
        for entry in entries {
            entry.opened.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, opened| opened.is_good(now_ms));
        }
    }

    /// Adds a tenant with its first secrets, by name.
    pub async fn add(&self, new: NewTenant, secrets: Vec<(String, SecretText)>) -> Result<Arc<Tenant>, DirectoryError> {
        let tenant = new.check()?;
        self.changing(|inner| async move {
            let mut sealed = Sealed::new();
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
            let rows = sealed.values().flatten().cloned().collect();
            let incarnation = inner.store.insert_tenant(tenant.clone(), rows).await?;
            let tenant = Tenant { incarnation, ..tenant };
            let tally = Arc::new(Tally::new(Arc::clone(&inner.told_limit)));
            Ok(inner.put(Entry::new(Arc::new(tenant), sealed, tally)))
        })
        .await
    }

    /// Enables a tenant: its webhooks are accepted and its jobs run.
    pub async fn enable(&self, id: &TenantId) -> Result<Arc<Tenant>, DirectoryError> {
        self.update(id, |tenant| tenant.enabled = true).await
    }

    /// Disables a tenant: its webhooks are refused and its jobs wait.
    pub async fn disable(&self, id: &TenantId) -> Result<Arc<Tenant>, DirectoryError> {
        self.update(id, |tenant| tenant.enabled = false).await
    }

    /// Pauses a tenant's jobs. Its webhooks are still accepted.
    pub async fn pause(&self, id: &TenantId) -> Result<Arc<Tenant>, DirectoryError> {
        self.update(id, |tenant| tenant.paused = true).await
    }

    /// Resumes a paused tenant's jobs.
    pub async fn resume(&self, id: &TenantId) -> Result<Arc<Tenant>, DirectoryError> {
        self.update(id, |tenant| tenant.paused = false).await
    }

    /// Pauses the jobs of all tenants. Their webhooks are still accepted.
    pub async fn pause_all(&self) -> Result<(), DirectoryError> {
        self.set_all_paused(true).await
    }

    /// Resumes the jobs of all tenants, except those of tenants that are paused themselves.
    pub async fn resume_all(&self) -> Result<(), DirectoryError> {
        self.set_all_paused(false).await
    }

    async fn set_all_paused(&self, paused: bool) -> Result<(), DirectoryError> {
        self.changing(move |inner| async move {
            inner.store.set_jobs_paused(paused).await?;
            inner.all_paused.store(paused, Ordering::Relaxed);
            Ok(())
        })
        .await
    }

    /// Whether the jobs of all tenants are paused.
    pub fn is_all_paused(&self) -> bool {
        self.inner.all_paused.load(Ordering::Relaxed)
    }

    /// Whether a tenant's jobs are paused, by themselves or with all others.
    pub fn is_paused(&self, tenant: &Tenant) -> bool {
        tenant.paused || self.is_all_paused()
    }

    /// Removes a tenant with its secrets. Everything stored for it is erased, or kept for `keep_ms`; see
    /// [`Store::remove_tenant`]. Its webhooks are refused first.
    pub async fn remove(&self, id: &TenantId, keep_ms: Option<i64>) -> Result<RemovedTenant, DirectoryError> {
        let (id, of) = (id.clone(), id.clone());
        let removing = self.changing(move |inner| async move {
            let forget =
                |id: &TenantId| inner.entries.write().unwrap_or_else(PoisonError::into_inner).remove(id.as_str());
            let entry = forget(&id).ok_or_else(|| StoreError::UnknownTenant(id.clone()))?;
            match inner.store.remove_tenant(&id, keep_ms).await {
                Ok(removed) => Ok(removed),
                Err(error) => {
                    let mut entries = inner.entries.write().unwrap_or_else(PoisonError::into_inner);
                    entries.insert(id.as_str().to_owned(), entry);
                    Err(error.into())
                }
            }
        });
        let removed = removing.await?;
        if keep_ms.is_none() {
            // Other changes need not wait for this.
            if let Err(error) = self.inner.store.erase_tenant(&of, removed.incarnation).await {
                tracing::error!(tenant = %of, "it is removed; what was stored for it is erased as soon as that can be done: {error}");
            }
        }
        Ok(removed)
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
            Ok(inner.replace(&entry, tenant, entry.sealed.clone()))
        })
        .await
    }

    /// Runs a change to its end even if the caller goes away half-way: memory must not lag behind the store.
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

    /// The entry of this version of the tenant, current or earlier. `None` if it was removed, even if another tenant
    /// has its id now.
    fn entry_of(&self, tenant: &Tenant) -> Option<Arc<Entry>> {
        let is = |entry: &Arc<Entry>| std::ptr::eq(&*entry.tenant, tenant);
        let newest = self.entry(tenant.id.as_str())?;
        if is(&newest) { Some(newest) } else { self.earlier().iter().find(|entry| is(entry)).cloned() }
    }

    fn earlier(&self) -> MutexGuard<'_, Vec<Arc<Entry>>> {
        self.earlier.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets earlier versions of tenants that no call can ask for any more.
    fn forget_unused(&self) {
        self.earlier().retain(|entry| Arc::strong_count(entry) > 1 || Arc::strong_count(&entry.tenant) > 1);
    }

    /// Replaces a tenant by its changed version. The earlier version stays for the calls that hold it.
    fn replace(&self, before: &Arc<Entry>, tenant: Tenant, sealed: Sealed) -> Arc<Tenant> {
        self.forget_unused();
        self.earlier().push(Arc::clone(before));
        self.put(Entry::new(Arc::new(tenant), sealed, Arc::clone(&before.tally)))
    }

    fn put(&self, entry: Entry) -> Arc<Tenant> {
        let tenant = Arc::clone(&entry.tenant);
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        entries.insert(tenant.id.as_str().to_owned(), Arc::new(entry));
        tenant
    }

    /// Seals a secret under a version above `last`. The version is the time, so that none comes back after a removal.
    fn seal(&self, tenant: &TenantId, name: &str, secret: &SecretText, last: i64) -> Result<SecretRow, SecretError> {
        let created_ms = self.clock.now_ms();
        let version = created_ms.max(last.saturating_add(1));
        let record = self.keys.seal(SecretPlace { tenant, name, version }, secret)?;
        Ok(SecretRow { tenant: tenant.clone(), name: name.to_owned(), version, record, created_ms, expires_ms: None })
    }
}

impl Entry {
    fn new(tenant: Arc<Tenant>, sealed: Sealed, tally: Arc<Tally>) -> Self {
        Self { tenant, sealed, opened: Mutex::default(), tally }
    }

    /// The same tenant with other secrets.
    fn with_sealed(&self, sealed: Sealed) -> Self {
        Self::new(Arc::clone(&self.tenant), sealed, Arc::clone(&self.tally))
    }
}

impl Opened {
    fn is_good(&self, now_ms: i64) -> bool {
        (self.from_ms..self.until_ms).contains(&now_ms)
    }
}

/// Reads each tenant with its secrets from the store.
async fn read(store: &Store) -> Result<Vec<(Tenant, Sealed)>, StoreError> {
    let mut tenants: BTreeMap<_, _> =
        store.tenants().await?.into_iter().map(|tenant| (tenant.id.clone(), (tenant, Sealed::new()))).collect();
    for secret in store.secrets().await? {
        if let Some((_, sealed)) = tenants.get_mut(&secret.tenant) {
            sealed.entry(secret.name.clone()).or_default().push(secret);
        }
    }
    Ok(tenants.into_values().collect())
}

fn refused(what: &str, reason: &str) -> DirectoryError {
    InvalidTenant::Other { what: what.to_owned(), reason: reason.to_owned() }.into()
}

#[cfg(test)]
pub(crate) mod tests;
