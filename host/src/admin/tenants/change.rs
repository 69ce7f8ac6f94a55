//! `PATCH /v1/tenants/{id}`: changes several things of a tenant, all or none.

use std::collections::BTreeSet;

use axum::{
    Json,
    extract::{Path, State},
};

use super::{Answer, Parts, events, other};
use crate::{
    admin::{
        asker::By,
        fault::{Body, Fault},
        wire,
    },
    ids::{TenantId, ToolType},
    plugin::journal::Happened,
    store::{LiveJobs, StoreError, TENANT_CHANGED},
    tenant::{
        InvalidTenant,
        change::TenantChange,
        directory::{ChangeFaults, DirectoryError},
        secrets::SecretText,
    },
};

pub(super) async fn change(
    State(parts): State<Parts>,
    Path(id): Path<String>,
    By(decided): By,
    Body(wanted): Body<wire::TenantChange>,
) -> Answer<wire::ChangedTenant> {
    let id = TenantId::parse(&id)?;
    let live_jobs = if wanted.dead_letter_jobs { LiveJobs::DeadLetter } else { LiveJobs::Refuse };
    let (change, secrets) = read(wanted).map_err(|faults| Fault::from(ChangeFaults(faults)))?;
    let named = named(&change, &secrets);
    let changed = parts.directory.change(&id, change, secrets, live_jobs).await.map_err(|error| refusal(&id, error))?;
    let dead_lettered = changed.dead_lettered;
    (0..dead_lettered).for_each(|_| parts.metrics.dead_letter(TENANT_CHANGED));
    let dead = match dead_lettered {
        0 => String::new(),
        1 => "; 1 job became a dead letter".to_owned(),
        jobs => format!("; {jobs} jobs became dead letters"),
    };
    let (who, why) = (decided.who, decided.why.as_deref());
    tracing::info!(tenant = %id, %who, why, dead_lettered, "tenant changed: {named}");
    parts.note(Happened::TenantChanged, &format!("{named}{dead}"), &changed.tenant, &decided).await;
    let Json(tenant) = parts.with_jobs(&id).await?;
    Ok(Json(wire::ChangedTenant { tenant, dead_lettered }))
}

/// The changes for log and journal. Settings and secrets appear by name only.
fn named(change: &TenantChange, secrets: &[(String, SecretText)]) -> String {
    let names: Vec<_> = secrets.iter().map(|(name, _)| name.as_str()).collect();
    let secrets = (!names.is_empty()).then(|| format!("secrets: {}", names.join(" ")));
    let change = Some(change.to_string()).filter(|change| !change.is_empty());
    change.into_iter().chain(secrets).collect::<Vec<_>>().join("; ")
}

/// The error answer. After a store failure it does not say whether the change was stored, because nobody knows.
fn refusal(id: &TenantId, error: DirectoryError) -> Fault {
    let asks = matches!(error, DirectoryError::Store(StoreError::LiveJobs { .. }));
    let mut fault = Fault::from(error);
    if asks {
        let mend = format!(
            "let them end first (plugin-ctl job list --tenant {id}), or let them become dead letters: say --yes, or \
             dead_letter_jobs in the request"
        );
        fault.problem.mend = Some(mend);
        return fault.state("nothing was changed");
    }
    fault
}

/// The request's fields as checked types.
#[allow(
    clippy::type_complexity,
    reason = "the two halves of a request, which the directory takes apart from each other"
)]
fn read(wanted: wire::TenantChange) -> Result<(TenantChange, Vec<(String, SecretText)>), Vec<InvalidTenant>> {
    let mut faults = Vec::new();
    let tool_type = wanted.tool_type.and_then(|text| {
        ToolType::parse(&text).map_err(|error| faults.push(other("tool_type", error.to_string()))).ok()
    });
    let enhance_on = wanted.enhance_on.and_then(|names| events(&names).map_err(|error| faults.push(error)).ok());
    let mut secrets = Vec::with_capacity(wanted.secrets.0.len());
    for (name, text) in wanted.secrets.0 {
        match SecretText::new(text.into_text()) {
            Ok(secret) => secrets.push((name, secret)),
            Err(error) => faults.push(other(&format!("secret {name:?}"), error.to_string())),
        }
    }
    let change = TenantChange {
        tool_type,
        base_url: wanted.base_url,
        settings: wanted.settings,
        unset: wanted.unset.into_iter().collect::<BTreeSet<_>>(),
        allow_origins: wanted.allow_origins,
        remove_origins: wanted.remove_origins,
        allow_from: wanted.allow_from,
        remove_from: wanted.remove_from,
        replay_window_s: wanted.replay_window_s,
        replay_ahead_s: wanted.replay_ahead_s,
        enhance_on,
    };
    if faults.is_empty() { Ok((change, secrets)) } else { Err(faults) }
}
