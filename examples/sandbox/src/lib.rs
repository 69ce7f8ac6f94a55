//! The ticketing tools' REST APIs on loopback: as strict as the vendors' own, failing on command, and showing what they received.
//!
//! [`Sandbox::start`] runs one in this process on a thread of its own; the `sandbox` binary runs one from the command
//! line. [`webhook::signed`] makes the webhooks that the tools would send. Nothing is kept on disk.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use sandbox::{Sandbox, SandboxConfig, TicketFields, Tool, webhook::{self, Event, Scheme, Webhook}};
//!
//! let sandbox = Sandbox::start(SandboxConfig::default())?; // a free port, a thread of its own
//! sandbox.put_ticket(Tool::ServicedeskPlus, "101", TicketFields::default())?;
//! let webhook = Webhook::new("acme", Event::Created, "101");
//! let request = webhook::signed(&webhook, Scheme::SignatureHeader, "secret")?;
//! // … send its path, headers and body to the host under test …
//! let ticket = sandbox.wait_for_notes(Tool::ServicedeskPlus, "101", 1, Duration::from_secs(10))?;
//! assert!(ticket.notes[0].internal);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod answer;
mod call;
mod control;
mod fault;
mod oauth;
mod script;
mod server;
mod state;
mod tools;
pub mod webhook;

#[cfg(test)]
mod client;

pub use fault::{Effect, Fault, Target};
pub use oauth::{OauthClient, OauthGrant};
pub use script::{Script, ScriptError};
pub use server::{DEFAULT_TOKEN, Sandbox, SandboxConfig, StartError};
pub use state::{Note, RecordedRequest, StateFull, Ticket, TicketFields, TooFewNotes, limits};
pub use tools::{Operation, Tool};
