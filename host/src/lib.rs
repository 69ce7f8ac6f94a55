//! Patchbay: a host for compiled ticketing-tool plugins. Start reading at docs/architecture.md.

pub mod clock;
pub mod ids;
