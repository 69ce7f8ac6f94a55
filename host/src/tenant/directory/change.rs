//! Changes of a tenant: checked as a whole, stored in one commit, and visible to webhooks and jobs only then.

use std::sync::{Arc, PoisonError};

use super::{
    DirectoryError, Entry, Inner, SECRET_NAMES_MAX, Sealed, SecretPlace, SecretText, Tenant, TenantDirectory, oauth2,
    read,
};
use crate::{
    ids::TenantId,
    store::{LiveJobs, SecretRow, StoreError},
    tenant::{InvalidTenant, change::TenantChange, check_name, other},
};

/// The result of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The tenant after the change.
    pub tenant: Arc<Tenant>,
    /// How many jobs became dead letters.
    pub dead_lettered: u64,
}

/// Everything that is wrong with a change: at least one error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeFaults(pub Vec<InvalidTenant>);

impl std::error::Error for ChangeFaults {}

impl std::fmt::Display for ChangeFaults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let faults: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&faults.join("; "))
    }
}

impl TenantDirectory {
    /// Changes a tenant and sets these secrets, whose previous texts end at once: all of it or nothing. A webhook or a
    /// job's attempt that is under way continues with the tenant and the secrets that it started with. `if_other_tool`
    /// says what happens to live jobs if the tool type or the base URL changes; otherwise they stay.
    ///
    /// # Errors
    /// [`DirectoryError::Change`] with every error; [`StoreError::LiveJobs`] if there are live jobs that must not be
    /// given up.
    pub async fn change(
        &self,
        id: &TenantId,
        change: TenantChange,
        secrets: Vec<(String, SecretText)>,
        if_other_tool: LiveJobs,
    ) -> Result<Changed, DirectoryError> {
        let id = id.clone();
        self.changing(move |inner| async move {
            let before = inner.entry(id.as_str()).ok_or(StoreError::UnknownTenant(id))?;
            let tenant = inner.checked(&before, change, &secrets)?;
            let (mut sealed, mut rows) = (before.sealed.clone(), Vec::with_capacity(secrets.len()));
            for (name, secret) in &secrets {
                let last = sealed.get(name).and_then(|rows| rows.last()).map_or(0, |row| row.version);
                let row = inner.seal(&tenant.id, name, secret, last)?;
                sealed.insert(name.clone(), vec![row.clone()]);
                rows.push(row);
            }
            let jobs = if before.tenant.has_tool_of(&tenant) { LiveJobs::Stay } else { if_other_tool };
            let dead_lettered = inner.store.change_tenant(tenant.clone(), rows, jobs).await?;
            Ok(Changed { tenant: inner.replace(&before, tenant, sealed), dead_lettered })
        })
        .await
    }

    /// Waits until this tenant has the other tool here that it already has in the store, because a change is under way.
    /// A change whose commit failed may be on disk anyway; it is then in effect from now on.
    pub async fn catch_up(&self, tenant: &Arc<Tenant>) {
        let before = Arc::clone(tenant);
        let caught_up = self.changing(|inner| async move {
            let current = inner.entry(before.id.as_str()).filter(|entry| entry.tenant.has_tool_of(&before));
            let Some(current) = current else { return Ok(()) };
            let mut kept = read(&inner.store).await?.into_iter();
            if let Some((kept, sealed)) = kept.find(|(kept, _)| kept.id == before.id) {
                tracing::warn!(tenant = %kept.id, "a change that was not confirmed is on disk, and holds from now on");
                inner.replace(&current, kept, sealed);
            } else {
                tracing::warn!(tenant = %before.id, "a removal that was not confirmed is on disk, and holds from now on");
                inner.entries.write().unwrap_or_else(PoisonError::into_inner).remove(before.id.as_str());
            }
            Ok(())
        });
        if let Err(error) = caught_up.await {
            tracing::error!(tenant = %tenant.id, "what the store has of this tenant cannot be read: {error}");
        }
    }
}

impl Inner {
    /// The changed tenant, if the tenant and its secrets are valid.
    fn checked(
        &self,
        before: &Entry,
        change: TenantChange,
        secrets: &[(String, SecretText)],
    ) -> Result<Tenant, ChangeFaults> {
        let (mut faults, mut names) = (Vec::new(), before.sealed.keys().collect::<Vec<_>>());
        for (name, _) in secrets {
            faults.extend(check_name(name).err());
            if !names.contains(&name) {
                names.push(name);
            }
        }
        if names.len() > SECRET_NAMES_MAX {
            faults.push(other("secrets", format!("there may be {SECRET_NAMES_MAX} at most")));
        }
        match change.applied_to(&before.tenant) {
            Err(more) => faults.extend(more),
            Ok(tenant) => {
                faults.extend(secrets.iter().filter_map(|(name, secret)| oauth2::check(&tenant, name, secret).err()));
                let is_kept = |row: &&SecretRow| secrets.iter().all(|(name, _)| *name != row.name);
                faults.extend(newest(&before.sealed).filter(is_kept).filter_map(|row| {
                    let place = SecretPlace { tenant: &tenant.id, name: &row.name, version: row.version };
                    // A secret that cannot be opened is reported where it is used; it is not an error of this change.
                    let secret = self.keys.open(place, &row.record).ok()?;
                    oauth2::check(&tenant, &row.name, &secret).err()
                }));
                if faults.is_empty() {
                    return Ok(tenant);
                }
            }
        }
        Err(ChangeFaults(faults))
    }
}

fn newest(sealed: &Sealed) -> impl Iterator<Item = &SecretRow> {
    sealed.values().filter_map(|rows| rows.last())
}
