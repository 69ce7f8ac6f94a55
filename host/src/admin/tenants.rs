//! `/v1/tenants`: adding, showing, changing and removing tenants. No answer holds a secret's text.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    routing::{get, post, put},
};

use serde::Deserialize;

use super::{
    Wake,
    fault::{Body, Fault},
    wire::{self, LastError, Problem},
};
use crate::{
    clock::rfc3339,
    housekeeping::DiskRoom,
    ids::{TenantId, ToolType},
    plugin::tokens::Tokens,
    store::{Holdings, Owned, Store, StoreError},
    telemetry::metrics::Metrics,
    tenant::{
        EnhanceOn, InvalidTenant, NewTenant, Tenant, check_name,
        directory::{SECRET_NAMES_MAX, TenantDirectory},
        secrets::{SecretText, oauth2},
        tally::Refusals,
    },
};

mod change;

/// Tenants that one request may add.
pub const TENANTS_PER_REQUEST_MAX: usize = 10_000;
/// The longest time for which a replaced secret stays good, in seconds: 90 days.
pub const GRACE_S_MAX: u32 = 90 * 24 * 3_600;

/// The longest time for which what is stored for a removed tenant is kept, in days.
pub const KEEP_DAYS_MAX: u32 = 3_650;

const DAY_MS: i64 = 24 * 3_600_000;

/// The tool type of a tenant that names none.
const TOOL_TYPE_DEFAULT: &str = "servicedesk_plus";

#[derive(Clone)]
struct Parts {
    directory: TenantDirectory,
    tokens: Arc<Tokens>,
    store: Store,
    disk: DiskRoom,
    metrics: Metrics,
    wake: Wake,
}

type Answer<T> = Result<Json<T>, Fault>;

pub(super) fn routes(
    directory: TenantDirectory,
    tokens: Arc<Tokens>,
    store: Store,
    disk: DiskRoom,
    metrics: Metrics,
    wake: Wake,
) -> Router {
    Router::new()
        .route("/v1/tenants", get(list).post(add))
        .route("/v1/tenants/{id}", get(show).patch(change::change).delete(remove))
        .route("/v1/tenants/{id}/holdings", get(holdings))
        .route("/v1/tenants/{id}/remains", get(remains).delete(erase))
        .route("/v1/tenants/{id}/enable", post(enable))
        .route("/v1/tenants/{id}/disable", post(disable))
        .route("/v1/tenants/{id}/pause", post(pause))
        .route("/v1/tenants/{id}/resume", post(resume))
        .route("/v1/tenants/{id}/secrets/{name}", put(rotate_secret))
        .with_state(Parts { directory, tokens, store, disk, metrics, wake })
}

async fn list(State(parts): State<Parts>) -> Json<Vec<wire::Tenant>> {
    Json(parts.directory.list().iter().map(|tenant| parts.shown(tenant, None)).collect())
}

async fn show(State(parts): State<Parts>, Path(id): Path<String>) -> Answer<wire::Tenant> {
    parts.with_jobs(&TenantId::parse(&id)?).await
}

/// Adds all or, when anything about any of them is wrong, none.
async fn add(
    State(parts): State<Parts>,
    Body(wanted): Body<Vec<wire::NewTenant>>,
) -> Result<(StatusCode, Json<Vec<wire::Tenant>>), Fault> {
    let checked = check_all(&parts.directory, wanted)?;
    let (total, mut added) = (checked.len(), Vec::with_capacity(checked.len()));
    for Checked { tenant, secrets } in checked {
        let tenant = parts.directory.add(tenant, secrets).await.map_err(|error| {
            Fault::from(error).state(format!("{} of {total} tenants were added before this one", added.len()))
        })?;
        tracing::info!(tenant = %tenant.id, tool_type = %tenant.tool_type, "tenant added");
        added.push(parts.shown(&tenant, Some(0)));
    }
    Ok((StatusCode::CREATED, Json(added)))
}

async fn enable(State(parts): State<Parts>, Path(id): Path<String>) -> Answer<wire::Tenant> {
    let id = TenantId::parse(&id)?;
    parts.directory.enable(&id).await?;
    tracing::info!(tenant = %id, "tenant enabled");
    (parts.wake)(Some(&id));
    parts.with_jobs(&id).await
}

async fn disable(State(parts): State<Parts>, Path(id): Path<String>) -> Answer<wire::Tenant> {
    let id = TenantId::parse(&id)?;
    parts.directory.disable(&id).await?;
    tracing::info!(tenant = %id, "tenant disabled");
    parts.with_jobs(&id).await
}

async fn pause(State(parts): State<Parts>, Path(id): Path<String>) -> Answer<wire::Tenant> {
    let id = TenantId::parse(&id)?;
    parts.directory.set_paused(&id, true).await?;
    tracing::info!(tenant = %id, "the tenant's jobs are paused");
    parts.with_jobs(&id).await
}

async fn resume(State(parts): State<Parts>, Path(id): Path<String>) -> Answer<wire::Tenant> {
    let id = TenantId::parse(&id)?;
    parts.directory.set_paused(&id, false).await?;
    tracing::info!(tenant = %id, "the tenant's jobs run again");
    (parts.wake)(Some(&id));
    parts.with_jobs(&id).await
}

async fn remove(
    State(parts): State<Parts>,
    Path(id): Path<String>,
    Query(how): Query<Removal>,
) -> Answer<wire::RemovedTenant> {
    let id = TenantId::parse(&id)?;
    if how.keep_days.is_some_and(|days| !(1..=KEEP_DAYS_MAX).contains(&days)) {
        return Err(Fault::bad_request(format!("it is kept for 1 to {KEEP_DAYS_MAX} days")));
    }
    parts.disk.make_room();
    let removed = parts.directory.remove(&id, how.keep_days.map(|days| i64::from(days) * DAY_MS)).await?;
    let kept_until = removed.kept_until_ms.map(rfc3339);
    let Holdings { jobs, dead_letters, solved_tickets, notes } = removed.holdings;
    tracing::info!(tenant = %id, jobs, dead_letters, solved_tickets, notes, kept_until, "tenant removed");
    Ok(Json(wire::RemovedTenant { id: id.to_string(), holdings: removed.holdings.into(), kept_until }))
}

async fn holdings(State(parts): State<Parts>, Path(id): Path<String>) -> Answer<wire::Holdings> {
    let id = TenantId::parse(&id)?;
    let tenant = parts.directory.get(id.as_str()).ok_or(StoreError::UnknownTenant(id))?;
    Ok(Json(parts.store.holdings(Owned::by(&tenant.id, tenant.incarnation)).await?.into()))
}

async fn remains(State(parts): State<Parts>, Path(id): Path<String>) -> Answer<wire::Remains> {
    let id = TenantId::parse(&id)?;
    let holdings = parts.store.remains(&id).await?.into();
    Ok(Json(wire::Remains { id: id.to_string(), holdings }))
}

async fn erase(State(parts): State<Parts>, Path(id): Path<String>) -> Answer<wire::Remains> {
    let id = TenantId::parse(&id)?;
    parts.disk.make_room();
    let erased = parts.store.erase_remains(&id).await?;
    let Holdings { jobs, dead_letters, solved_tickets, notes } = erased;
    tracing::info!(tenant = %id, jobs, dead_letters, solved_tickets, notes, "what removed tenants left behind is erased");
    Ok(Json(wire::Remains { id: id.to_string(), holdings: erased.into() }))
}

/// How a tenant is removed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Removal {
    /// For how many days what is stored for it is kept; without it, it is erased.
    keep_days: Option<u32>,
}

impl From<Holdings> for wire::Holdings {
    fn from(Holdings { jobs, dead_letters, solved_tickets, notes }: Holdings) -> Self {
        Self { jobs, dead_letters, solved_tickets, notes }
    }
}

async fn rotate_secret(
    State(parts): State<Parts>,
    Path((id, name)): Path<(String, String)>,
    Body(wanted): Body<wire::RotateSecret>,
) -> Answer<wire::Tenant> {
    let id = TenantId::parse(&id)?;
    if wanted.grace_s > GRACE_S_MAX {
        return Err(Fault::bad_request(format!("the grace is at most {GRACE_S_MAX} s")));
    }
    let secret = SecretText::new(wanted.value.into_text())?;
    parts.directory.set_secret(&id, &name, secret, i64::from(wanted.grace_s) * 1_000).await?;
    tracing::info!(tenant = %id, secret = name, grace_s = wanted.grace_s, "secret replaced");
    // Its jobs may have waited for that.
    (parts.wake)(Some(&id));
    parts.with_jobs(&id).await
}

impl Parts {
    async fn with_jobs(&self, id: &TenantId) -> Answer<wire::Tenant> {
        let tenant = self.directory.get(id.as_str()).ok_or_else(|| StoreError::UnknownTenant(id.clone()))?;
        let live_jobs = self.store.live_jobs(id).await?;
        let mut shown = self.shown(&tenant, Some(live_jobs));
        for secret in shown.secrets.iter_mut().filter(|secret| secret.expires_at.is_none()) {
            secret.oauth2 = self.oauth2(&tenant, &secret.name);
        }
        Ok(Json(shown))
    }

    /// `None` also for a secret that does not open: then its text cannot tell of which kind it is.
    fn oauth2(&self, tenant: &Tenant, name: &str) -> Option<wire::Oauth> {
        let secrets = self.directory.secrets(tenant, name).ok()?;
        let credential = secrets.first()?.oauth2().ok()??;
        let status = self.tokens.status(tenant, name);
        Some(wire::Oauth {
            grant: credential.grant_name().to_owned(),
            token_url: credential.token_url.to_string(),
            obtained_at: status.obtained_ms.map(rfc3339),
            expires_at: status.expires_ms.map(rfc3339),
            last_error: status.last_error.map(|(at_ms, error)| LastError {
                code: error.kind().to_owned(),
                message: error.to_string(),
                at: rfc3339(at_ms),
            }),
        })
    }

    fn shown(&self, tenant: &Arc<Tenant>, live_jobs: Option<u64>) -> wire::Tenant {
        let secrets = self.directory.secret_infos(tenant).into_iter().map(|secret| wire::SecretInfo {
            name: secret.name,
            created_at: rfc3339(secret.created_ms),
            expires_at: secret.expires_ms.map(rfc3339),
            oauth2: None,
        });
        let counts = self.directory.tally(tenant.id.as_str()).map(|tally| tally.counts()).unwrap_or_default();
        wire::Tenant {
            id: tenant.id.to_string(),
            tool_type: tenant.tool_type.to_string(),
            base_url: tenant.base_url.to_string(),
            enabled: tenant.enabled,
            paused: self.directory.is_paused(tenant),
            settings: tenant.settings.clone(),
            allow_origins: tenant.allow_origins.clone(),
            allow_from: tenant.allow_from.texts(),
            replay_window_s: tenant.replay_window_s,
            replay_ahead_s: tenant.replay_ahead_s,
            enhance_on: tenant.enhance_on.iter().map(|event| event.as_str().to_owned()).collect(),
            secrets: secrets.collect(),
            live_jobs,
            accepted: counts.accepted,
            duplicate: counts.duplicate,
            ignored: counts.ignored,
            last_accepted_at: counts.last_accepted_ms.map(rfc3339),
            refusals: counts.refusals.into_iter().map(refusals).collect(),
        }
    }
}

fn refusals((status, refusals): (u16, Refusals)) -> (String, wire::Refusals) {
    let (last_at, last_reason) = refusals.last.map(|(at_ms, reason)| (rfc3339(at_ms), reason)).unzip();
    (status.to_string(), wire::Refusals { count: refusals.count, last_at, last_reason })
}

/// The events that are named.
fn events(names: &[String]) -> Result<BTreeSet<EnhanceOn>, InvalidTenant> {
    let parse = |name: &String| EnhanceOn::parse(name).ok_or_else(|| other("enhance_on", "created or updated"));
    names.iter().map(parse).collect()
}

/// A tenant that can be added, as far as can be told beforehand.
struct Checked {
    tenant: NewTenant,
    secrets: Vec<(String, SecretText)>,
}

/// Finds everything that is wrong with any of them.
fn check_all(directory: &TenantDirectory, wanted: Vec<wire::NewTenant>) -> Result<Vec<Checked>, Fault> {
    let total = wanted.len();
    if total > TENANTS_PER_REQUEST_MAX {
        return Err(Fault::bad_request(format!("at most {TENANTS_PER_REQUEST_MAX} tenants are added at a time")));
    }
    let (mut checked, mut faults, mut ids) = (Vec::with_capacity(total), Vec::new(), HashSet::new());
    for new in wanted {
        let shown: String = new.id.chars().take(80).collect();
        match check_one(directory, new) {
            Ok(new) if ids.insert(new.tenant.id.clone()) => checked.push(new),
            Ok(_) => faults.push((shown, Fault::bad_request("it is given twice"))),
            Err(fault) => faults.push((shown, fault)),
        }
    }
    match faults.len() {
        0 => Ok(checked),
        1 if total == 1 => Err(faults.remove(0).1.state("nothing was changed")),
        wrong => {
            let message = format!("{wrong} of {total} tenants cannot be added");
            let mut problem = Problem::new("INVALID_TENANTS", message).state("nothing was changed");
            problem.causes = faults
                .into_iter()
                .map(|(id, fault)| Problem { message: format!("{id}: {}", fault.problem.message), ..*fault.problem })
                .collect();
            Err(Fault::new(StatusCode::UNPROCESSABLE_ENTITY, problem))
        }
    }
}

fn check_one(directory: &TenantDirectory, new: wire::NewTenant) -> Result<Checked, Fault> {
    let id = TenantId::parse(&new.id)?;
    let tool_type = ToolType::parse(new.tool_type.as_deref().unwrap_or(TOOL_TYPE_DEFAULT))?;
    let mut tenant = NewTenant::new(id, tool_type, new.base_url);
    tenant.settings = new.settings;
    tenant.allow_origins = new.allow_origins;
    tenant.allow_from = new.allow_from;
    tenant.replay_window_s = new.replay_window_s.unwrap_or(tenant.replay_window_s);
    tenant.replay_ahead_s = new.replay_ahead_s.unwrap_or(tenant.replay_ahead_s);
    if let Some(names) = new.enhance_on {
        tenant.enhance_on = events(&names)?;
    }
    let checked = tenant.clone().check()?;
    if new.secrets.0.len() > SECRET_NAMES_MAX {
        return Err(other("secrets", format!("there may be {SECRET_NAMES_MAX} at most")).into());
    }
    let mut secrets = Vec::with_capacity(new.secrets.0.len());
    for (name, text) in new.secrets.0 {
        check_name(&name)?;
        let secret = SecretText::new(text.into_text())?;
        oauth2::check(&checked, &name, &secret)?;
        secrets.push((name, secret));
    }
    if directory.get(tenant.id.as_str()).is_some() {
        return Err(StoreError::TenantExists(tenant.id).into());
    }
    Ok(Checked { tenant, secrets })
}

fn other(what: &str, reason: impl Into<String>) -> InvalidTenant {
    InvalidTenant::Other { what: what.to_owned(), reason: reason.into() }
}
