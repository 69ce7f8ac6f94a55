//! The Patchbay plugin for Freshservice: this file is its table of contents.
//!
//! Settings and secrets: `settings.rs`; what a webhook says: `payload.rs`; a ticket as the API answers it: `ticket.rs`;
//! ends that solve nothing: `unsolved.rs`; the API itself: `api.rs`. Freshservice signs nothing: its webhooks carry the secret, in a header or as a password.

mod api;
mod payload;
mod settings;
mod ticket;
mod unsolved;

use plugin_abi::prelude::*;

use crate::settings::{Settings, WEBHOOK_SECRET};

/// The plugin. It holds nothing: all that a call needs comes with the call.
#[derive(Debug)]
pub struct Freshservice;

impl TicketingToolPlugin for Freshservice {
    const INFO: PluginInfo = plugin_info!("freshservice").declares(settings::DECLARED);
    const FINDS_NOTES: bool = true;

    fn new(_host: &Host<'_>) -> Result<Self, PluginError> {
        Ok(Self)
    }

    fn validate_webhook(&self, tenant: &Tenant<'_>, webhook: &Webhook<'_>) -> Result<bool, PluginError> {
        Settings::read(tenant)?.webhook_auth.holds(tenant, WEBHOOK_SECRET, webhook)
    }

    fn extract_metadata(&self, tenant: &Tenant<'_>, webhook: &Webhook<'_>) -> Result<TicketMetadata, PluginError> {
        let settings = Settings::read(tenant)?;
        webhook.json().object(|body| payload::metadata(body, &settings, webhook.route_event()))
    }

    fn get_ticket(&self, tenant: &Tenant<'_>, ticket_id: &str) -> Result<Option<Ticket>, PluginError> {
        api::get_ticket(tenant, &Settings::read(tenant)?, ticket_id)
    }

    fn update_ticket(&self, tenant: &Tenant<'_>, ticket_id: &str, note: &Note<'_>) -> Result<bool, PluginError> {
        api::add_note(tenant, &Settings::read(tenant)?, ticket_id, note)
    }
}

export_plugin!(Freshservice);
