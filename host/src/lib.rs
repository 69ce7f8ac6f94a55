//! Patchbay: a host for compiled ticketing-tool plugins. Start reading at docs/architecture.md.

pub mod admin;
pub mod app;
pub mod clock;
pub mod config;
pub mod conformance;
pub mod core_dumps;
pub mod ctl;
pub mod enhance;
pub mod fault;
pub mod housekeeping;
pub mod http;
pub mod ids;
pub mod ingest;
pub mod limits;
pub mod mailbox;
pub mod nearest;
pub mod networks;
pub mod open_files;
pub mod plugin;
pub mod process;
pub mod queue;
pub mod shutdown;
pub mod state_lock;
pub mod store;
pub mod telemetry;
pub mod tenant;
pub mod texts;
pub mod threads;
pub mod worker;

#[cfg(test)]
mod messages;
