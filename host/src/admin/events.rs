//! `/v1/events`: the journal of plugins, tenants and jobs, as a list or by waiting for new events.

use std::time::Duration;

use axum::{
    Json, Router,
    extract::{Query, State, rejection::QueryRejection},
    routing::get,
};
use serde::Deserialize;
use tokio::{sync::watch, time::Instant};

use super::{fault::Fault, wire};
use crate::{
    clock::rfc3339,
    ids::{TenantId, ToolType},
    plugin::journal::Journal,
    store::{EventFilter, EventsFrom, PLUGIN_EVENTS_MAX, PluginEvent, Store},
};

/// Default number of events in a list.
pub const EVENTS_LISTED_DEFAULT: u32 = 100;
/// Maximum number of events in a list: the whole journal.
pub const EVENTS_LISTED_MAX: u32 = PLUGIN_EVENTS_MAX;
/// Maximum time that a request may wait for an event, in seconds.
pub const EVENTS_WAIT_S_MAX: u64 = 25;

#[derive(Clone)]
struct Parts {
    store: Store,
    journal: Journal,
    /// Closed when the host ends.
    ended: watch::Receiver<()>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// List the events that follow this one. Without it, list the newest.
    after: Option<i64>,
    tool_type: Option<String>,
    tenant: Option<String>,
    limit: Option<u32>,
    wait_s: Option<u64>,
}

pub(super) fn routes(store: Store, journal: Journal, ended: watch::Receiver<()>) -> Router {
    Router::new().route("/v1/events", get(list)).with_state(Parts { store, journal, ended })
}

/// Lists events, oldest first. Answers at once if there are any; otherwise when one is stored or the wait is over.
async fn list(
    State(mut parts): State<Parts>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Vec<wire::PluginEvent>>, Fault> {
    let Query(wanted) = wanted.map_err(|error| Fault::bad_request(error.body_text()))?;
    let limit = wanted.limit.unwrap_or(EVENTS_LISTED_DEFAULT);
    if !(1..=EVENTS_LISTED_MAX).contains(&limit) {
        return Err(Fault::bad_request(format!("the limit is 1 to {EVENTS_LISTED_MAX} events")));
    }
    let wait_s = wanted.wait_s.unwrap_or(0);
    if wait_s > EVENTS_WAIT_S_MAX {
        return Err(Fault::bad_request(format!("the wait is at most {EVENTS_WAIT_S_MAX} s")));
    }
    let filter = EventFilter {
        tool_type: wanted.tool_type.as_deref().map(ToolType::parse).transpose()?,
        tenant: wanted.tenant.as_deref().map(TenantId::parse).transpose()?,
    };
    let from = wanted.after.map_or(EventsFrom::Newest, EventsFrom::After);
    let (mut kept, until) = (parts.journal.kept(), Instant::now() + Duration::from_secs(wait_s));
    loop {
        // Must come before the query, so that any later event is seen as a change.
        kept.mark_unchanged();
        let events = parts.store.plugin_events(from, filter.clone(), limit).await?;
        let news = async { kept.changed().await.is_ok() };
        let go_on = events.is_empty()
            && tokio::select! {
                news = news => news,
                _ended = parts.ended.changed() => false,
                () = tokio::time::sleep_until(until) => false,
            };
        if !go_on {
            return Ok(Json(events.into_iter().map(event).collect()));
        }
    }
}

fn event(event: PluginEvent) -> wire::PluginEvent {
    wire::PluginEvent {
        id: event.id,
        at: rfc3339(event.at_ms),
        tool_type: event.tool_type,
        // The host numbers generations from 1; the database has only signed numbers.
        generation: event.generation.map(i64::unsigned_abs),
        code: event.code,
        message: event.message,
        version: event.version,
        sha256: event.sha256,
        who: event.who,
        why: event.why,
        tenant: event.tenant,
    }
}
