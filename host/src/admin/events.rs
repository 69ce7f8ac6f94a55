//! `/v1/events`: what happened to plugins.

use axum::{
    Json, Router,
    extract::{Query, State, rejection::QueryRejection},
    routing::get,
};
use serde::Deserialize;

use super::{
    fault::Fault,
    wire::{self, rfc3339},
};
use crate::store::{PLUGIN_EVENTS_MAX, PluginEvent, Store};

/// Events that a list shows unless told otherwise.
pub const EVENTS_LISTED_DEFAULT: u32 = 100;
/// Events that a list shows at most: all that are kept.
pub const EVENTS_LISTED_MAX: u32 = PLUGIN_EVENTS_MAX;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    limit: Option<u32>,
}

pub(super) fn routes(store: Store) -> Router {
    Router::new().route("/v1/events", get(list)).with_state(store)
}

/// The last ones, the oldest of them first.
async fn list(
    State(store): State<Store>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Vec<wire::PluginEvent>>, Fault> {
    let Query(wanted) = wanted.map_err(|error| Fault::bad_request(error.body_text()))?;
    let limit = wanted.limit.unwrap_or(EVENTS_LISTED_DEFAULT);
    if !(1..=EVENTS_LISTED_MAX).contains(&limit) {
        return Err(Fault::bad_request(format!("the limit is 1 to {EVENTS_LISTED_MAX} events")));
    }
    Ok(Json(store.plugin_events(limit).await?.into_iter().map(event).collect()))
}

fn event(event: PluginEvent) -> wire::PluginEvent {
    wire::PluginEvent {
        at: rfc3339(event.at_ms),
        tool_type: event.tool_type,
        // The host numbers generations from 1; the database has only signed numbers.
        generation: event.generation.map(i64::unsigned_abs),
        code: event.code,
        message: event.message,
        sha256: event.sha256,
    }
}
