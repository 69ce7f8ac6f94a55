//! `tenant export`: writes tenants as lines that `tenant import` reads. They contain only the names of secrets.

use serde_json::Value;

use super::newest_secrets;
use crate::{
    admin::wire::{NewTenant, Secrets, Tenant},
    ctl::{Shown, client::Client, failure::Failure},
    ids::TenantId,
};

pub(super) fn run(client: &Client, id: Option<&TenantId>) -> Result<Shown, Failure> {
    let tenants: Vec<Tenant> = match id {
        Some(id) => vec![client.get(&format!("/v1/tenants/{id}"))?],
        None => client.get("/v1/tenants")?,
    };
    let exported: Vec<Value> = tenants.iter().map(exported).collect();
    let lines: String = exported.iter().map(|tenant| format!("{tenant}\n")).collect();
    Ok(Shown::new(lines, &exported))
}

/// The tenant as an import has it, except that `secrets` is a list of names.
fn exported(tenant: &Tenant) -> Value {
    let mut exported = serde_json::to_value(new(tenant)).expect("what travels on the wire has a JSON form");
    exported["secrets"] = newest_secrets(tenant).collect();
    exported
}

/// The same tenant as a new one, without its secrets. Whether it is paused is left out, because all tenants may be.
pub(super) fn new(tenant: &Tenant) -> NewTenant {
    NewTenant {
        id: tenant.id.clone(),
        tool_type: Some(tenant.tool_type.clone()),
        base_url: tenant.base_url.clone(),
        secrets: Secrets::default(),
        settings: tenant.settings.clone(),
        allow_origins: tenant.allow_origins.clone(),
        allow_from: tenant.allow_from.clone(),
        replay_window_s: Some(tenant.replay_window_s),
        replay_ahead_s: Some(tenant.replay_ahead_s),
        enhance_on: Some(tenant.enhance_on.clone()),
        enabled: Some(tenant.enabled),
    }
}
