//! The Patchbay plugin for ManageEngine ServiceDesk Plus, on-premises and cloud: this file is its table of contents.
//!
//! What ManageEngine calls a *request* is a ticket here. Settings and secrets: `settings.rs`; who sent a webhook:
//! `signature.rs`; what it says: `payload.rs`; the tool's API: `api.rs`.

mod api;
mod payload;
mod settings;
mod signature;

use plugin_abi::prelude::*;

use crate::{payload::EventWord, settings::Settings};

/// The plugin. It holds nothing: all that a call needs comes with the call.
#[derive(Debug)]
pub struct ServiceDeskPlus;

impl TicketingToolPlugin for ServiceDeskPlus {
    const INFO: PluginInfo = plugin_info!("servicedesk_plus").declares(settings::DECLARED);
    const FINDS_NOTES: bool = true;

    fn new(_host: &Host<'_>) -> Result<Self, PluginError> {
        Ok(Self)
    }

    fn validate_webhook(&self, tenant: &Tenant<'_>, webhook: &Webhook<'_>) -> Result<bool, PluginError> {
        signature::is_authentic(tenant, &Settings::read(tenant)?.webhook_auth, webhook)
    }

    fn extract_metadata(&self, tenant: &Tenant<'_>, webhook: &Webhook<'_>) -> Result<TicketMetadata, PluginError> {
        let (read_back, route) = (Settings::read(tenant)?.read_back, EventWord::of_route(webhook));
        webhook
            .json()
            .object(|body| if read_back { payload::hint(body, route) } else { payload::metadata(body, route) })
    }

    fn get_ticket(&self, tenant: &Tenant<'_>, ticket_id: &str) -> Result<Option<Ticket>, PluginError> {
        api::get_ticket(tenant, &Settings::read(tenant)?, ticket_id)
    }

    fn update_ticket(&self, tenant: &Tenant<'_>, ticket_id: &str, note: &Note<'_>) -> Result<bool, PluginError> {
        api::add_note(tenant, &Settings::read(tenant)?, ticket_id, note)
    }
}

export_plugin!(ServiceDeskPlus);
