//! Removes tenants, and erases what removed ones have left. The journal keeps that this was done, by whom and why, but
//! none of the erased data.

use axum::{
    Json,
    extract::{Path, Query, State},
};
use serde::Deserialize;

use super::{Answer, Parts};
use crate::{
    admin::{
        asker::{Asker, By},
        fault::Fault,
        wire,
    },
    clock::rfc3339,
    ids::TenantId,
    plugin::journal::Happened,
    store::{Holdings, Owned, PluginEvent, StoreError},
};

/// Maximum time for which a removed tenant's data can be kept, in days.
pub const KEEP_DAYS_MAX: u32 = 3_650;

const DAY_MS: i64 = 24 * 3_600_000;

/// Parameters of a removal.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Removal {
    /// How many days to keep the tenant's data. Without it, the data is erased.
    keep_days: Option<u32>,
    /// The reason for the removal.
    why: Option<String>,
}

pub(super) async fn remove(
    State(parts): State<Parts>,
    Path(id): Path<String>,
    asker: Asker,
    Query(how): Query<Removal>,
) -> Answer<wire::RemovedTenant> {
    let id = TenantId::parse(&id)?;
    let decided = asker.decides(how.why)?;
    if how.keep_days.is_some_and(|days| !(1..=KEEP_DAYS_MAX).contains(&days)) {
        return Err(Fault::bad_request(format!("it is kept for 1 to {KEEP_DAYS_MAX} days")));
    }
    parts.disk.make_room();
    // Pending journal entries about the tenant would otherwise be written after it is erased.
    parts.journal.flush().await;
    let removed = parts.directory.remove(&id, how.keep_days.map(|days| i64::from(days) * DAY_MS)).await?;
    let kept_until = removed.kept_until_ms.map(rfc3339);
    let Holdings { jobs, dead_letters, solved_tickets, notes } = removed.holdings;
    tracing::info!(tenant = %id, jobs, dead_letters, solved_tickets, notes, kept_until, "tenant removed");
    let kept = kept_until.as_ref().map_or_else(
        || "what was stored for it is erased".to_owned(),
        |until| format!("what is stored for it is kept until {until}"),
    );
    let event = PluginEvent::new(Happened::TenantRemoved, format!("tenant {id}: {kept}")).of_any(&id);
    parts.journal.keep([event.by(&decided)]).await;
    Ok(Json(wire::RemovedTenant { id: id.to_string(), holdings: removed.holdings.into(), kept_until }))
}

pub(super) async fn holdings(State(parts): State<Parts>, Path(id): Path<String>) -> Answer<wire::Holdings> {
    let id = TenantId::parse(&id)?;
    let tenant = parts.directory.get(id.as_str()).ok_or(StoreError::UnknownTenant(id))?;
    Ok(Json(parts.store.holdings(Owned::by(&tenant.id, tenant.incarnation)).await?.into()))
}

pub(super) async fn remains(State(parts): State<Parts>, Path(id): Path<String>) -> Answer<wire::Remains> {
    let id = TenantId::parse(&id)?;
    let holdings = parts.store.remains(&id).await?.into();
    Ok(Json(wire::Remains { id: id.to_string(), holdings }))
}

pub(super) async fn erase(
    State(parts): State<Parts>,
    Path(id): Path<String>,
    By(decided): By,
) -> Answer<wire::Remains> {
    let id = TenantId::parse(&id)?;
    parts.disk.make_room();
    parts.journal.flush().await;
    let erased = parts.store.erase_remains(&id).await?;
    let Holdings { jobs, dead_letters, solved_tickets, notes } = erased;
    tracing::info!(tenant = %id, jobs, dead_letters, solved_tickets, notes, "what removed tenants left behind is erased");
    let message = format!("tenant {id}: what removed tenants of this id left behind is erased");
    parts.journal.keep([PluginEvent::new(Happened::TenantErased, message).of_any(&id).by(&decided)]).await;
    Ok(Json(wire::Remains { id: id.to_string(), holdings: erased.into() }))
}

impl From<Holdings> for wire::Holdings {
    fn from(Holdings { jobs, dead_letters, solved_tickets, notes }: Holdings) -> Self {
        Self { jobs, dead_letters, solved_tickets, notes }
    }
}
