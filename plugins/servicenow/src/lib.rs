//! The Patchbay plugin for ServiceNow: this file is its table of contents.
//!
//! What ServiceNow calls a *record* of a table, usually of `incident`, is a ticket here. Settings and secrets:
//! `settings.rs`; who sent a webhook: `signature.rs`; what it says: `payload.rs`; which ticket is meant: `id.rs`; the
//! tool's time stamps: `clock.rs`; its API: `api.rs`; a note in the tool's own form: `note.rs`.

mod api;
mod clock;
mod id;
mod note;
mod payload;
mod settings;
mod signature;

use plugin_abi::prelude::*;

use crate::{payload::EventWord, settings::Settings};

/// The plugin. It holds nothing: all that a call needs comes with the call.
#[derive(Debug)]
pub struct ServiceNow;

impl TicketingToolPlugin for ServiceNow {
    const INFO: PluginInfo = plugin_info!("servicenow").declares(settings::DECLARED);
    const FINDS_NOTES: bool = true;

    fn new(_host: &Host<'_>) -> Result<Self, PluginError> {
        Ok(Self)
    }

    fn validate_webhook(&self, tenant: &Tenant<'_>, webhook: &Webhook<'_>) -> Result<bool, PluginError> {
        Settings::read(tenant)?.webhook_auth.holds(tenant, webhook)
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

export_plugin!(ServiceNow);
