//! The front door: connections, routes and answers. `ingest` decides what a delivery becomes.

pub mod answer;
pub mod body;
pub(crate) mod counted;
mod forwarded;
mod linger;
mod media;
pub mod routes;
pub mod server;
pub(crate) mod stalled;
pub mod tenant_scan;
pub mod told;
