//! The SDK for Patchbay plugins: implement [`TicketingToolPlugin`], a ticketing tool's protocol in four methods, and
//! export it with one line. The host owns threads, network, secrets, retries and storage.
//!
//! ```
//! use plugin_abi::prelude::*;
//!
//! struct AcmeDesk;
//!
//! impl TicketingToolPlugin for AcmeDesk {
//!     const INFO: PluginInfo = plugin_info!("acme_desk");
//!     fn new(_host: &Host<'_>) -> Result<Self, PluginError> {
//!         Ok(Self)
//!     }
//!     fn validate_webhook(&self, tenant: &Tenant<'_>, webhook: &Webhook<'_>) -> Result<bool, PluginError> {
//!         signature::hub(tenant, "webhook_secret", webhook, "x-acme-signature")
//!     }
//!     fn extract_metadata(&self, _tenant: &Tenant<'_>, webhook: &Webhook<'_>) -> Result<TicketMetadata, PluginError> {
//!         let id = std::str::from_utf8(webhook.body()).map_err(|fault| PluginError::Malformed(fault.to_string()))?;
//!         Ok(TicketMetadata::new(id, Event::Created))
//!     }
//!     fn get_ticket(&self, tenant: &Tenant<'_>, ticket_id: &str) -> Result<Option<Ticket>, PluginError> {
//!         let answer = tenant.http(Request::get("/api/tickets").path(ticket_id).bearer("api_key"))?;
//!         if answer.status() == 404 {
//!             return Ok(None);
//!         }
//!         let mut ticket = Ticket::new(ticket_id);
//!         ticket.raw = answer.success(tenant.now())?.text().into_owned();
//!         Ok(Some(ticket))
//!     }
//!     fn update_ticket(&self, tenant: &Tenant<'_>, ticket_id: &str, note: &Note<'_>) -> Result<bool, PluginError> {
//!         let request = Request::post("/api/tickets").path(ticket_id).path("notes").bearer("api_key");
//!         tenant.http(request.body("text/html", note.html()))?.success(tenant.now())?;
//!         Ok(true)
//!     }
//! }
//!
//! export_plugin!(AcmeDesk);
//! # fn main() {}
//! ```
//!
//! In Cargo.toml: `crate-type = ["cdylib"]`, and `plugin-abi` as the only dependency that is needed.

mod adapter;
pub mod error;
pub mod export;
#[doc(hidden)]
pub mod host;
pub mod http;
#[doc(hidden)]
pub mod layout;
mod message;
pub mod plugin;
#[doc(hidden)]
pub mod raw;
mod settings;
pub mod signature;
pub mod testing;
pub mod types;
#[doc(hidden)]
pub mod wire;

pub use error::PluginError;
pub use export::PluginInfo;
pub use plugin::TicketingToolPlugin;
/// The crates whose types stand in this SDK's interface, in the versions that it uses.
pub use {serde, serde_json, time};

/// Everything that a plugin usually needs: `use plugin_abi::prelude::*;`
pub mod prelude {
    pub use crate::{
        error::{FieldError, PluginError},
        export::PluginInfo,
        export_plugin,
        http::{Request, Response},
        plugin::{Host, Tenant, TicketingToolPlugin, priority_from},
        plugin_info, signature,
        types::{Event, KeyForm, LogLevel, Note, Priority, Ticket, TicketMetadata, Webhook},
    };
}

/// For the macros.
#[doc(hidden)]
pub mod __private {
    pub use crate::adapter::Adapter;
    pub use abi_stable::library::LibHeader;
}
