//! The Patchbay plugin for Zendesk Support: this file is its table of contents.
//!
//! Settings and secrets: `settings.rs`; who sent a webhook: `signature.rs`; what it says: `payload.rs`; ends that solve
//! nothing: `merged.rs`; the tool's API: `api.rs`.

mod api;
mod merged;
mod payload;
mod settings;
mod signature;

use plugin_abi::prelude::*;

use crate::settings::Settings;

/// The plugin. It holds nothing: all that a call needs comes with the call.
#[derive(Debug)]
pub struct Zendesk;

impl TicketingToolPlugin for Zendesk {
    const INFO: PluginInfo = plugin_info!("zendesk").declares(settings::DECLARED);
    const FINDS_NOTES: bool = true;

    fn new(_host: &Host<'_>) -> Result<Self, PluginError> {
        Ok(Self)
    }

    fn validate_webhook(&self, tenant: &Tenant<'_>, webhook: &Webhook<'_>) -> Result<bool, PluginError> {
        signature::is_authentic(tenant, webhook)
    }

    fn extract_metadata(&self, tenant: &Tenant<'_>, webhook: &Webhook<'_>) -> Result<TicketMetadata, PluginError> {
        let fields = Settings::read(tenant)?.fields;
        let body = webhook.json();
        let mut metadata = body.object(|body| payload::metadata(body, &fields, webhook.route_event()))?;
        metadata.url = payload::agent_url(tenant.base_url(), &metadata.ticket_id);
        Ok(metadata)
    }

    fn get_ticket(&self, tenant: &Tenant<'_>, ticket_id: &str) -> Result<Option<Ticket>, PluginError> {
        api::get_ticket(tenant, &Settings::read(tenant)?.api_auth, ticket_id)
    }

    fn update_ticket(&self, tenant: &Tenant<'_>, ticket_id: &str, note: &Note<'_>) -> Result<bool, PluginError> {
        api::add_note(tenant, &Settings::read(tenant)?.api_auth, ticket_id, note)
    }
}

export_plugin!(Zendesk);
