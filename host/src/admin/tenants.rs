//! `/v1/tenants`: adds, shows, changes and removes tenants. No answer contains a secret's text.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{delete, get, post},
};

use super::{
    asker::By,
    fault::{Body, Fault},
    wire::{self, LastError, Problem},
};
use crate::{
    clock::{Clock, rfc3339},
    housekeeping::DiskRoom,
    ids::{TenantId, ToolType},
    plugin::{
        journal::{Decided, Happened, Journal},
        routes::Routes,
        tokens::Tokens,
    },
    queue::wakes::Wakes,
    store::{PluginEvent, Store, StoreError},
    telemetry::metrics::Metrics,
    tenant::{
        EnhanceOn, InvalidTenant, NewTenant, Tenant, check_name,
        directory::{SECRET_NAMES_MAX, TenantDirectory},
        secrets::{SecretText, oauth2},
        tally::Refusals,
    },
};

mod change;
mod removal;
mod secret;
mod try_out;

pub use self::{removal::KEEP_DAYS_MAX, secret::GRACE_S_MAX};

/// Maximum number of tenants that one request can add.
pub const TENANTS_PER_REQUEST_MAX: usize = 10_000;
/// Maximum number of added tenants with a journal entry each.
const EVENTS_PER_REQUEST_MAX: usize = 100;

/// The tool type of a tenant that is added without one.
pub const TOOL_TYPE_DEFAULT: &str = "servicedesk_plus";

/// The state of the routes.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) directory: TenantDirectory,
    pub(super) routes: Routes,
    pub(super) tokens: Arc<Tokens>,
    pub(super) store: Store,
    pub(super) disk: DiskRoom,
    pub(super) metrics: Metrics,
    pub(super) journal: Journal,
    pub(super) clock: Clock,
    pub(super) wakes: Wakes,
}

type Answer<T> = Result<Json<T>, Fault>;

pub(super) fn routes(parts: Parts) -> Router {
    Router::new()
        .route("/v1/tenants", get(list).post(add))
        .route("/v1/tenants/{id}", get(show).patch(change::change).delete(removal::remove))
        .route("/v1/tenants/{id}/holdings", get(removal::holdings))
        .route("/v1/tenants/{id}/remains", get(removal::remains).delete(removal::erase))
        .route("/v1/tenants/{id}/enable", post(enable))
        .route("/v1/tenants/{id}/disable", post(disable))
        .route("/v1/tenants/{id}/pause", post(pause))
        .route("/v1/tenants/{id}/resume", post(resume))
        .route("/v1/tenants/{id}/try", post(try_out::try_out))
        .route("/v1/tenants/{id}/secrets/{name}", delete(secret::remove).put(secret::rotate))
        .with_state(parts)
}

async fn list(State(parts): State<Parts>) -> Json<Vec<wire::Tenant>> {
    Json(parts.directory.list().iter().map(|tenant| parts.shown(tenant, None)).collect())
}

async fn show(State(parts): State<Parts>, Path(id): Path<String>) -> Answer<wire::Tenant> {
    parts.with_jobs(&TenantId::parse(&id)?).await
}

/// Adds all tenants, or none if anything is wrong with any of them.
async fn add(
    State(parts): State<Parts>,
    By(decided): By,
    Body(wanted): Body<Vec<wire::NewTenant>>,
) -> Result<(StatusCode, Json<Vec<wire::Tenant>>), Fault> {
    let checked = check_all(&parts.directory, wanted)?;
    let (total, mut added) = (checked.len(), Vec::with_capacity(checked.len()));
    let mut failed = None;
    for Checked { tenant, secrets } in checked {
        match parts.directory.add(tenant, secrets).await {
            Ok(tenant) => {
                tracing::info!(tenant = %tenant.id, tool_type = %tenant.tool_type, "tenant added");
                added.push(tenant);
            }
            Err(error) => {
                let state = format!("{} of {total} tenants were added before this one", added.len());
                failed = Some(Fault::from(error).state(state));
                break;
            }
        }
    }
    parts.journal.keep(added_events(&added).into_iter().map(|event| event.by(&decided))).await;
    match failed {
        Some(fault) => Err(fault),
        None => Ok((StatusCode::CREATED, Json(added.iter().map(|tenant| parts.shown(tenant, Some(0))).collect()))),
    }
}

/// One entry for each tenant, or a single one for all if there are so many that they would push everything else out of
/// the journal.
fn added_events(added: &[Arc<Tenant>]) -> Vec<PluginEvent> {
    if let [first, .., last] = added
        && added.len() > EVENTS_PER_REQUEST_MAX
    {
        let message = format!("{} tenants, the first of them {}, the last {}", added.len(), first.id, last.id);
        return vec![PluginEvent::new(Happened::TenantAdded, message)];
    }
    let event = |tenant: &Arc<Tenant>| {
        let message = format!("tenant {}, its tool at {}", tenant.id, tenant.base_url);
        PluginEvent::new(Happened::TenantAdded, message).of_tenant(tenant)
    };
    added.iter().map(event).collect()
}

async fn enable(State(parts): State<Parts>, Path(id): Path<String>, By(decided): By) -> Answer<wire::Tenant> {
    let tenant = parts.directory.enable(&TenantId::parse(&id)?).await?;
    parts.wakes.wake(&tenant.id);
    parts.done(Happened::TenantEnabled, "its webhooks are taken, its jobs run", &tenant, &decided).await;
    parts.with_jobs(&tenant.id).await
}

async fn disable(State(parts): State<Parts>, Path(id): Path<String>, By(decided): By) -> Answer<wire::Tenant> {
    let tenant = parts.directory.disable(&TenantId::parse(&id)?).await?;
    parts.done(Happened::TenantDisabled, "its webhooks are refused, its jobs wait", &tenant, &decided).await;
    parts.with_jobs(&tenant.id).await
}

async fn pause(State(parts): State<Parts>, Path(id): Path<String>, By(decided): By) -> Answer<wire::Tenant> {
    let tenant = parts.directory.pause(&TenantId::parse(&id)?).await?;
    parts.done(Happened::TenantPaused, "its jobs wait", &tenant, &decided).await;
    parts.with_jobs(&tenant.id).await
}

async fn resume(State(parts): State<Parts>, Path(id): Path<String>, By(decided): By) -> Answer<wire::Tenant> {
    let tenant = parts.directory.resume(&TenantId::parse(&id)?).await?;
    parts.wakes.wake(&tenant.id);
    parts.done(Happened::TenantResumed, "its jobs run again", &tenant, &decided).await;
    parts.with_jobs(&tenant.id).await
}

impl Parts {
    /// Logs and journals a change of a tenant.
    async fn done(&self, happened: Happened, what: &str, tenant: &Tenant, decided: &Decided) {
        tracing::info!(
            tenant = %tenant.id, event = happened.as_str(), who = %decided.who, why = decided.why.as_deref(), "{what}"
        );
        self.note(happened, what, tenant, decided).await;
    }

    async fn note(&self, happened: Happened, what: &str, tenant: &Tenant, decided: &Decided) {
        let event = PluginEvent::new(happened, format!("tenant {}: {what}", tenant.id));
        self.journal.keep([event.of_tenant(tenant).by(decided)]).await;
    }

    async fn with_jobs(&self, id: &TenantId) -> Answer<wire::Tenant> {
        let tenant = self.directory.get(id.as_str()).ok_or_else(|| StoreError::UnknownTenant(id.clone()))?;
        let live_jobs = self.store.live_jobs(id).await?;
        let mut shown = self.shown(&tenant, Some(live_jobs));
        for secret in shown.secrets.iter_mut().filter(|secret| secret.expires_at.is_none()) {
            secret.oauth2 = self.oauth2(&tenant, &secret.name);
        }
        Ok(Json(shown))
    }

    /// The state of an OAuth2 secret. `None` also for a secret that cannot be opened, because only its text shows its
    /// kind.
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

/// Parses the names of events.
fn events(names: &[String]) -> Result<BTreeSet<EnhanceOn>, InvalidTenant> {
    let parse = |name: &String| EnhanceOn::parse(name).ok_or_else(|| other("enhance_on", "created or updated"));
    names.iter().map(parse).collect()
}

/// A tenant that can be added, as far as can be checked beforehand.
struct Checked {
    tenant: NewTenant,
    secrets: Vec<(String, SecretText)>,
}

/// Collects everything that is wrong with any of the tenants.
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
    tenant.enabled = new.enabled.unwrap_or(tenant.enabled);
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
