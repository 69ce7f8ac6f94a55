//! `/v1/test/clock`: moves the host's clock, so that tests need not wait for retries. Exists only with the feature
//! `test-hooks`.

use axum::{Json, Router, extract::State, routing::post};
use serde::{Deserialize, Serialize};

use super::fault::Body;
use crate::{
    clock::{Clock, rfc3339},
    queue::wakes::Wakes,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    advance_ms: i64,
}

#[derive(Serialize)]
struct Now {
    now: String,
}

pub(super) fn routes(clock: Clock, wakes: Wakes) -> Router {
    Router::new().route("/v1/test/clock", post(advance)).with_state((clock, wakes))
}

async fn advance(State((clock, wakes)): State<(Clock, Wakes)>, Body(wanted): Body<Advance>) -> Json<Now> {
    clock.advance_ms(wanted.advance_ms);
    wakes.wake_all();
    Json(Now { now: rfc3339(clock.now_ms()) })
}
