//! One tenant for people: its properties, the results of its webhooks, and its secrets.

use crate::{
    admin::wire::{ChangedTenant, Refusals, Tenant},
    ctl::{
        Shown,
        table::{Field, fields},
    },
};

use super::count;

pub(in crate::ctl) fn state_of(tenant: &Tenant) -> &'static str {
    match tenant {
        Tenant { enabled: false, .. } => "disabled",
        Tenant { paused: true, .. } => "paused",
        _ => "enabled",
    }
}

/// The output for a tenant.
pub(super) fn one(tenant: &Tenant) -> Shown {
    Shown::new(fields(lines(tenant)), tenant)
}

/// The output for a tenant after a change.
pub(super) fn changed(changed: &ChangedTenant) -> Shown {
    let mut lines = lines(&changed.tenant);
    if changed.dead_lettered > 0 {
        let jobs = count(changed.dead_lettered);
        lines.push(("dead letters", Some(format!("{jobs} by this change (tenant_changed)"))));
    }
    Shown::new(fields(lines), changed)
}

fn lines(tenant: &Tenant) -> Vec<Field> {
    let mut lines = vec![
        ("tenant", Some(tenant.id.clone())),
        ("state", Some(state_of(tenant).to_owned())),
        ("tool type", Some(tenant.tool_type.clone())),
        ("base URL", Some(tenant.base_url.clone())),
        ("webhooks", Some(format!("POST /webhooks/{}", tenant.id))),
        ("enhance on", Some(tenant.enhance_on.join(", "))),
        ("replay window", Some(format!("{} s, {} s ahead", tenant.replay_window_s, tenant.replay_ahead_s))),
        ("live jobs", tenant.live_jobs.map(|jobs| jobs.to_string())),
        ("accepted", Some(accepted(tenant))),
    ];
    let refused = tenant.refusals.iter().filter(|(_, refusals)| refusals.count > 0);
    lines.extend(refused.map(|(status, refusals)| ("refused", Some(refused_with(status, refusals)))));
    lines.extend(tenant.allow_origins.iter().map(|origin| ("allowed", Some(origin.clone()))));
    lines.extend(tenant.allow_from.iter().map(|network| ("allowed from", Some(network.clone()))));
    lines.extend(tenant.settings.iter().map(|(name, value)| ("setting", Some(format!("{name} = {value}")))));
    for secret in &tenant.secrets {
        let until = secret.expires_at.as_ref().map(|at| format!(", replaced, good until {at}")).unwrap_or_default();
        let Some(oauth2) = &secret.oauth2 else {
            lines.push(("secret", Some(format!("{}, set {}{until}", secret.name, secret.created_at))));
            continue;
        };
        let kind = format!("{}, oauth2 ({}), set {}", secret.name, oauth2.grant, secret.created_at);
        let token = match (&oauth2.obtained_at, &oauth2.expires_at) {
            (Some(from), Some(until)) => format!("obtained {from}, good until {until}"),
            _ => "none obtained since the host was started".to_owned(),
        };
        let error = oauth2.last_error.as_ref().map(|error| format!("{}: {}", error.at, error.message));
        lines.extend([("secret", Some(kind)), ("  token URL", Some(oauth2.token_url.clone()))]);
        lines.extend([("  token", Some(token)), ("  last error", error)]);
    }
    lines
}

/// Accepted webhooks in words: `12 since the host was started, the last at …; 3 duplicate, 40 ignored`.
fn accepted(tenant: &Tenant) -> String {
    let last = tenant.last_accepted_at.as_ref().map(|at| format!(", the last at {at}")).unwrap_or_default();
    format!(
        "{} since the host was started{last}; {} duplicate, {} ignored",
        tenant.accepted, tenant.duplicate, tenant.ignored
    )
}

/// Refused webhooks in words: `3 with 401, the last at …: the plugin did not validate it`.
fn refused_with(status: &str, refusals: &Refusals) -> String {
    let at = refusals.last_at.as_deref().unwrap_or_default();
    let reason = refusals.last_reason.as_deref().unwrap_or_default();
    format!("{} with {status}, the last at {at}: {reason}", refusals.count)
}
