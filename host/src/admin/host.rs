//! `/v1/host`: the host's identity, its plugin folder, and the rules for plugins.

use axum::{Json, Router, routing::get};

use super::wire::{self, Rules};
use crate::plugin::manager::PluginManager;

pub(super) fn routes(host: wire::Host, manager: PluginManager) -> Router {
    let answer = async move || Json(wire::Host { rules: Some(rules(&manager)), ..host.clone() });
    Router::new().route("/v1/host", get(answer))
}

/// The current rules: keys and trust can be reloaded while the host runs.
fn rules(manager: &PluginManager) -> Rules {
    let trust = manager.trust();
    Rules {
        require_signature: trust.required,
        trusted_keys: trust.keys.iter().map(ToString::to_string).collect(),
        permissions: manager.permissions().to_string(),
        user: rustix::process::geteuid().as_raw(),
    }
}
