//! `/v1/test/fault`: makes the host end, as by kill -9, at a chosen point of a job's processing. Exists only with the
//! feature `test-hooks`.

use axum::{Json, Router, routing::post};
use serde::Deserialize;

use super::fault::{Body, Fault};
use crate::fault::{Point, armed};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arm {
    point: String,
}

pub(super) fn routes() -> Router {
    Router::new().route("/v1/test/fault", post(arm))
}

async fn arm(Body(wanted): Body<Arm>) -> Result<Json<()>, Fault> {
    let point = Point::parse(&wanted.point).ok_or_else(|| Fault::bad_request("there is no such place"))?;
    armed::arm(point);
    Ok(Json(()))
}
