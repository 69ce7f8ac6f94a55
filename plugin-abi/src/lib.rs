//! The SDK for Patchbay plugins: implement [`TicketingToolPlugin`], a ticketing tool's protocol in four methods, and
//! export it with one line. The host owns threads, network, secrets, retries and storage.
//!
//! `plugin-ctl new my_desk` writes a whole plugin with fixtures and tests, to begin with. This is a small one:
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
//!
//! # What is where
//!
//! | For | See |
//! |---|---|
//! | the contract: the four methods, their threads and deadlines | [`TicketingToolPlugin`] |
//! | what a call may do for its tenant: settings, secrets, requests, the log | [`Tenant`](plugin::Tenant) |
//! | the settings and secrets that a plugin reads, for operators to see | [`declared`] |
//! | which error means what, and what is tried again | [`PluginError`] |
//! | who sent a webhook: ready schemes | [`signature`] |
//! | JSON from outside: byte order marks, charsets, half characters, numbers of every kind | [`json`] |
//! | what a webhook says: fields of people's templates, times included, with every wrong one listed | [`payload`] |
//! | requests to the tool, and what its answers mean | [`http`] |
//! | between HTML and text, and notes within a limit | [`html`] |
//! | tests of a plugin's methods without a host | [`testing`] |
//!
//! # What a plugin must not do
//!
//! * Take a webhook for authentic that nothing proves: an absent, empty or wrong secret and a repeated header are `Ok(false)`.
//! * Take anything for done that its tool has not confirmed: not a page of HTML with status 200, not half an answer.
//! * Start threads that outlive a call, keep what belongs to a call, or change what other threads read without a lock.
//! * Let the bytes of a webhook decide how deep or how long it works.
//! * Open sockets, files or programs: the host makes requests, and fills secrets in which a plugin never sees.
//!
//! `plugin-ctl conformance libmy_desk.so` tries all of it on the very file that is shipped, each case in a process of its own.
//!
//! # What stays
//!
//! The ABI is append-only: a plugin that was built with 1.0 works with every host of 1.x, whatever compiler built either. New
//! fields and functions come in minor versions; enums and structs that may grow are `#[non_exhaustive]`. `panic = "abort"` is
//! refused, since a panic must end in the plugin.

mod adapter;
mod const_json;
pub mod declared;
pub mod error;
pub mod export;
#[cfg(test)]
mod golden;
#[doc(hidden)]
pub mod host;
pub mod html;
pub mod http;
pub mod json;
#[doc(hidden)]
pub mod layout;
mod message;
pub mod payload;
pub mod plugin;
#[doc(hidden)]
pub mod raw;
#[doc(hidden)]
pub mod route;
mod settings;
pub mod signature;
pub mod testing;
pub mod text;
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
        declared::Declared,
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
