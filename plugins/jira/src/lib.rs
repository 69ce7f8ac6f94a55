//! The Patchbay plugin for Jira Service Management in Atlassian's cloud: this file is its table of contents.
//!
//! What Jira calls an *issue*, and its service portal a *request*, is a ticket here, known by its key (`IT-42`). Settings
//! and secrets: `settings.rs`; who sent a webhook: `signature.rs`; what it says: `payload.rs`; ends that solve nothing:
//! `unsolved.rs`; documents in Atlassian's own format: `adf.rs`; the tool's API: `api.rs`.

mod adf;
mod api;
mod payload;
mod settings;
mod signature;
mod unsolved;

use plugin_abi::prelude::*;

use crate::settings::Settings;

/// The plugin. It holds nothing: all that a call needs comes with the call.
#[derive(Debug)]
pub struct Jira;

impl TicketingToolPlugin for Jira {
    const INFO: PluginInfo = plugin_info!("jira").declares(settings::DECLARED);
    const FINDS_NOTES: bool = true;

    fn new(_host: &Host<'_>) -> Result<Self, PluginError> {
        Ok(Self)
    }

    fn validate_webhook(&self, tenant: &Tenant<'_>, webhook: &Webhook<'_>) -> Result<bool, PluginError> {
        signature::is_authentic(tenant, &Settings::read(tenant)?.webhook_auth, webhook)
    }

    fn extract_metadata(&self, tenant: &Tenant<'_>, webhook: &Webhook<'_>) -> Result<TicketMetadata, PluginError> {
        let settings = Settings::read(tenant)?;
        webhook.json().object(|body| payload::metadata(body, &settings, webhook))
    }

    fn get_ticket(&self, tenant: &Tenant<'_>, ticket_id: &str) -> Result<Option<Ticket>, PluginError> {
        api::get_ticket(tenant, &Settings::read(tenant)?, ticket_id)
    }

    fn update_ticket(&self, tenant: &Tenant<'_>, ticket_id: &str, note: &Note<'_>) -> Result<bool, PluginError> {
        api::add_note(tenant, &Settings::read(tenant)?, ticket_id, note)
    }
}

export_plugin!(Jira);
