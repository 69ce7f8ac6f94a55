//! `/v1/host`: which host this is, and where it looks for plugins.

use axum::{Json, Router, routing::get};

use super::wire;

pub(super) fn routes(host: wire::Host) -> Router {
    Router::new().route("/v1/host", get(async move || Json(host.clone())))
}
