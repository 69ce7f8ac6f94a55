//! The front door: connections, routes and answers. What a delivery becomes is `ingest`'s business.

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
