//! The methods are called from several threads at once.

use std::rc::Rc;

use plugin_abi::prelude::*;

struct AcmeDesk {
    _cache: Rc<str>,
}

impl TicketingToolPlugin for AcmeDesk {
    const INFO: PluginInfo = plugin_info!("acme_desk");

    fn new(_host: &Host<'_>) -> Result<Self, PluginError> {
        Ok(Self { _cache: "".into() })
    }

    fn validate_webhook(&self, _: &Tenant<'_>, _: &Webhook<'_>) -> Result<bool, PluginError> {
        Ok(false)
    }

    fn extract_metadata(&self, _: &Tenant<'_>, _: &Webhook<'_>) -> Result<TicketMetadata, PluginError> {
        Ok(TicketMetadata::other())
    }

    fn get_ticket(&self, _: &Tenant<'_>, _: &str) -> Result<Option<Ticket>, PluginError> {
        Ok(None)
    }

    fn update_ticket(&self, _: &Tenant<'_>, _: &str, _: &Note<'_>) -> Result<bool, PluginError> {
        Ok(false)
    }
}

fn main() {}
