//! `/v1/tenants/{id}/secrets/{name}`: sets and removes a secret.

use axum::extract::{Path, State};

use super::{Answer, Parts};
use crate::{
    admin::{
        asker::By,
        fault::{Body, Fault},
        wire,
    },
    ids::TenantId,
    plugin::journal::Happened,
    tenant::secrets::SecretText,
};

/// Maximum time for which a replaced secret stays valid, in seconds: 90 days.
pub const GRACE_S_MAX: u32 = 90 * 24 * 3_600;

pub(super) async fn rotate(
    State(parts): State<Parts>,
    Path((id, name)): Path<(String, String)>,
    By(decided): By,
    Body(wanted): Body<wire::RotateSecret>,
) -> Answer<wire::Tenant> {
    let id = TenantId::parse(&id)?;
    let grace_s = wanted.grace_s;
    if grace_s > GRACE_S_MAX {
        return Err(Fault::bad_request(format!("the grace is at most {GRACE_S_MAX} s")));
    }
    let secret = SecretText::new(wanted.value.into_text())?;
    let tenant = parts.directory.set_secret(&id, &name, secret, i64::from(grace_s) * 1_000).await?;
    // The tenant's jobs may have waited for this secret.
    parts.wakes.wake(&id);
    let what = format!("secret {name} is set; the one before it, if any, stays good for {grace_s} s");
    parts.done(Happened::SecretSet, &what, &tenant, &decided).await;
    parts.with_jobs(&id).await
}

pub(super) async fn remove(
    State(parts): State<Parts>,
    Path((id, name)): Path<(String, String)>,
    By(decided): By,
) -> Answer<wire::Tenant> {
    let id = TenantId::parse(&id)?;
    let tenant = parts.directory.remove_secret(&id, &name).await?;
    parts.done(Happened::SecretRemoved, &format!("secret {name} is removed"), &tenant, &decided).await;
    parts.with_jobs(&id).await
}
