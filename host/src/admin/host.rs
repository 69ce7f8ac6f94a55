//! `/v1/host`: which host this is, where it looks for plugins, and what it asks of them.

use axum::{Json, Router, routing::get};

use super::wire::{self, Rules};
use crate::plugin::manager::PluginManager;

pub(super) fn routes(host: wire::Host, manager: PluginManager) -> Router {
    let answer = async move || Json(wire::Host { rules: Some(rules(&manager)), ..host.clone() });
    Router::new().route("/v1/host", get(answer))
}

/// As they are now: keys and what they are worth can be reread while the host runs.
fn rules(manager: &PluginManager) -> Rules {
    let trust = manager.trust();
    Rules {
        require_signature: trust.required,
        trusted_keys: trust.keys.iter().map(ToString::to_string).collect(),
        permissions: manager.permissions().to_string(),
        user: rustix::process::geteuid().as_raw(),
    }
}
