//! Replaces secrets: an operator sets or removes one, or a tool gives a new one in exchange.

use std::{
    sync::{Arc, mpsc},
    time::Instant,
};

use super::{DirectoryError, Entry, Inner, SECRET_NAMES_MAX, Sealed, TenantDirectory, refused};
use crate::{
    ids::TenantId,
    store::{SecretRow, StoreError},
    tenant::{
        Tenant, check_name,
        secrets::{SecretText, oauth2},
    },
};

/// Why a secret was not exchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    /// Somebody has set another one meanwhile, and that one stays.
    #[error("the secret was set anew meanwhile")]
    Superseded,
    /// The secret was not on disk by the deadline, but may be later.
    #[error("the store was too slow")]
    Late,
    /// The change failed.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

impl TenantDirectory {
    /// Sets a secret. The previous one stays valid for `grace_ms` milliseconds, so that the tool can be updated. At
    /// most two secrets of a name are valid at a time.
    pub async fn set_secret(
        &self,
        id: &TenantId,
        name: &str,
        secret: SecretText,
        grace_ms: i64,
    ) -> Result<Arc<Tenant>, DirectoryError> {
        check_name(name)?;
        let (id, name, grace_ms) = (id.clone(), name.to_owned(), grace_ms.max(0));
        self.changing(move |inner| async move {
            let entry = inner.entry(id.as_str()).ok_or_else(|| StoreError::UnknownTenant(id.clone()))?;
            oauth2::check(&entry.tenant, &name, &secret)?;
            inner.put_secret(&entry, &name, &secret, grace_ms).await?;
            // A new object from here on, so that anything remembered about the previous one sees the change.
            let entry = inner.entry(id.as_str()).ok_or(StoreError::UnknownTenant(id))?;
            Ok(inner.replace(&entry, Tenant::clone(&entry.tenant), entry.sealed.clone()))
        })
        .await
    }

    /// Removes a secret, with an earlier one that is still valid beside it. Opened texts are overwritten as soon as no
    /// call uses them; running calls that ask for it from now on get none.
    ///
    /// # Errors
    /// [`DirectoryError::NoSecret`] if the tenant has none of this name.
    pub async fn remove_secret(&self, id: &TenantId, name: &str) -> Result<Arc<Tenant>, DirectoryError> {
        let (id, name) = (id.clone(), name.to_owned());
        self.changing(move |inner| async move {
            let entry = inner.entry(id.as_str()).ok_or_else(|| StoreError::UnknownTenant(id.clone()))?;
            if !entry.sealed.contains_key(&name) {
                let known = entry.sealed.keys().cloned().collect();
                return Err(DirectoryError::NoSecret { tenant: id, name, known });
            }
            inner.store.remove_secret(&id, &name).await?;
            let without = |sealed: &Sealed| {
                let mut sealed = sealed.clone();
                sealed.remove(&name);
                sealed
            };
            let sealed = without(&entry.sealed);
            inner.adopt(&entry, &name, without);
            Ok(inner.replace(&Arc::new(entry.with_sealed(sealed.clone())), Tenant::clone(&entry.tenant), sealed))
        })
        .await
    }

    /// Replaces the secret with this version, which ends at once, by what a tool gave in exchange. Blocks until it is
    /// on disk or the deadline has passed, and returns the new version. For use on a lane.
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
                inner.put_secret(&entry, &name, &secret, 0).await.map(Some)
            });
            // After the deadline nobody waits any more.
            let _given_up = reply.send(exchanged.await);
        });
        match answer.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(exchanged) => exchanged?.ok_or(ExchangeError::Superseded),
            Err(_) => Err(ExchangeError::Late),
        }
    }
}

impl Inner {
    /// Sets a secret on disk and then in memory, and returns its version. Earlier versions of the tenant that have the
    /// same secret get it too, so that a call that exchanged a token continues with the new one.
    async fn put_secret(
        &self,
        entry: &Entry,
        name: &str,
        secret: &SecretText,
        grace_ms: i64,
    ) -> Result<i64, DirectoryError> {
        let previous = entry.sealed.get(name).and_then(|rows| rows.last()).cloned();
        let last = previous.as_ref().map_or(0, |row| row.version);
        let row = self.seal(&entry.tenant.id, name, secret, last)?;
        let version = row.version;
        let expires_ms = Some(row.created_ms.saturating_add(grace_ms));
        let replaced = previous.map(|previous| SecretRow { expires_ms, ..previous });
        let rows: Vec<_> = replaced.into_iter().chain([row.clone()]).collect();
        let with = |sealed: &Sealed| {
            let mut sealed = sealed.clone();
            sealed.insert(name.to_owned(), rows.clone());
            sealed
        };
        let sealed = with(&entry.sealed);
        if sealed.len() > SECRET_NAMES_MAX {
            return Err(refused("secrets", &format!("there may be {SECRET_NAMES_MAX} at most")));
        }
        self.store.put_secret(row, grace_ms).await?;
        self.adopt(entry, name, with);
        self.put(entry.with_sealed(sealed));
        Ok(version)
    }

    /// Applies a change of a secret to earlier versions of the tenant that have the same secret.
    fn adopt(&self, entry: &Entry, name: &str, change: impl Fn(&Sealed) -> Sealed) {
        let version = |entry: &Entry| entry.sealed.get(name).and_then(|rows| rows.last()).map(|row| row.version);
        let has_it = |earlier: &Entry| earlier.tenant.id == entry.tenant.id && version(earlier) == version(entry);
        for earlier in self.earlier().iter_mut().filter(|earlier| has_it(earlier)) {
            *earlier = Arc::new(earlier.with_sealed(change(&earlier.sealed)));
        }
    }
}
