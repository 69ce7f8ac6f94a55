//! What the log says once at the start, since nothing else would show it.

use crate::{
    config::Config,
    limits::SharedLimits,
    open_files::OpenFiles,
    plugin::{
        manager::{PluginManager, PluginRow, PluginState},
        signature::Signature,
    },
    tenant::directory::TenantDirectory,
};

/// Warns when fewer connections fit than the configuration allows.
pub(super) fn few_connections(config: &Config, files: OpenFiles) {
    let connections_max = files.connections_max(config.worker.concurrency);
    if connections_max < config.server.connections_max {
        tracing::warn!(
            "the limit of open files leaves room for {connections_max} connections; raise it, or lower server.connections_max"
        );
    }
}

/// Warns of tenants whose jobs are paused: no note is posted for them.
pub(super) fn paused(directory: &TenantDirectory) {
    if directory.is_all_paused() {
        tracing::warn!(
            "the jobs of all tenants are paused: webhooks are accepted, and no note is posted; plugin-ctl job resume"
        );
        return;
    }
    let paused: Vec<_> =
        directory.list().iter().filter(|tenant| tenant.paused).map(|tenant| tenant.id.clone()).collect();
    let whose = match &paused[..] {
        [] => return,
        [one] => format!("tenant {one}"),
        [first, others @ ..] => format!("tenant {first} and {} others", others.len()),
    };
    tracing::warn!(
        tenants = paused.len(),
        "the jobs of {whose} are paused: webhooks are accepted, and no note is posted for them; plugin-ctl tenant list shows \
         which, plugin-ctl tenant resume ID lets them run"
    );
}

/// Says that unsigned plugins run with all rights of the host: a warning when trusted keys are set and one of them runs.
pub(super) fn unsigned(manager: &PluginManager, limits: &SharedLimits) {
    let trust = &limits.now().trust;
    if trust.required {
        return;
    }
    let trusted = |row: &PluginRow| row.signature.as_ref().is_some_and(Signature::is_trusted);
    let rows = manager.list().into_iter().filter(|row| row.state == PluginState::Active && !trusted(row));
    let tool_types: Vec<_> = rows.filter_map(|row| row.tool_type).map(|tool_type| tool_type.to_string()).collect();
    let unsigned = match &tool_types[..] {
        [] => String::new(),
        tool_types => format!("; no trusted key has signed these plugins: {}", tool_types.join(", ")),
    };
    let said = format!(
        "plugins.require_signature is off: whatever is put into the plugin folder runs with all rights of this host{unsigned}"
    );
    if trust.keys.is_empty() || unsigned.is_empty() {
        tracing::info!("{said}");
    } else {
        tracing::warn!("{said}");
    }
}
