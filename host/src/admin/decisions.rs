//! `/v1/plugins/{tool_type}/rollback`, `pin`, `unpin`, `disable`, `enable`: operators' decisions about a plugin.

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::post,
};

use super::{
    asker::Asker,
    fault::{Body, Fault},
    plugins::{missing, reloaded, unknown},
    wire::{self, Problem},
};
use crate::{
    ids::ToolType,
    plugin::manager::{Decision, Pin, PluginManager, Undecided},
};

pub(super) fn routes(manager: PluginManager) -> Router {
    let decide = |decision: Decision| {
        post(async move |State(manager), asker: Asker, Path(tool_type): Path<String>, Body(why): Body<wire::Reason>| {
            decided(manager, asker, &tool_type, decision.clone(), why.reason).await
        })
    };
    Router::new()
        .route("/v1/plugins/{tool_type}/rollback", decide(Decision::RollBack))
        .route("/v1/plugins/{tool_type}/unpin", decide(Decision::Unpin))
        .route("/v1/plugins/{tool_type}/disable", decide(Decision::Disable))
        .route("/v1/plugins/{tool_type}/enable", decide(Decision::Enable))
        .route("/v1/plugins/{tool_type}/pin", post(pin))
        .with_state(manager)
}

async fn pin(
    State(manager): State<PluginManager>,
    asker: Asker,
    Path(tool_type): Path<String>,
    Body(request): Body<wire::Pin>,
) -> Result<Json<Vec<wire::Reloaded>>, Fault> {
    let pin = Pin::parse(&request.to).map_err(|error| Fault::bad_request(error.to_string()))?;
    decided(manager, asker, &tool_type, Decision::Pin(pin), request.reason).await
}

/// Answers 200 even if something else was refused on the way, as a reload does; the answer says what and why.
async fn decided(
    manager: PluginManager,
    asker: Asker,
    tool_type: &str,
    decision: Decision,
    reason: Option<String>,
) -> Result<Json<Vec<wire::Reloaded>>, Fault> {
    let tool_type = ToolType::parse(tool_type)?;
    let decided = asker.decides(reason)?;
    tracing::info!(%tool_type, ?decision, who = %decided.who, why = decided.why, "an operator decides");
    let outcome = manager.decide(&tool_type, decision, decided).await;
    let outcome = outcome.map_err(|error| fault(&tool_type, error, &manager))?;
    Ok(Json(outcome.into_iter().map(reloaded).collect()))
}

fn fault(tool_type: &ToolType, undecided: Undecided, manager: &PluginManager) -> Fault {
    let message = undecided.to_string();
    let (code, mend) = match undecided {
        Undecided::Unknown => return unknown(tool_type, manager),
        Undecided::Missing(refusal) => return missing(tool_type, &refusal),
        Undecided::Store(error) => return Fault::from(error).state("nothing was changed"),
        Undecided::Refused(refusal) => {
            let problem = Problem::new(refusal.code.as_str(), refusal.reason).mend(refusal.code.mend());
            return Fault::new(StatusCode::UNPROCESSABLE_ENTITY, problem).state("all is as it was");
        }
        Undecided::Ending => {
            let problem = Problem::new("ENDING", message).mend("ask again once it has started");
            return Fault::new(StatusCode::SERVICE_UNAVAILABLE, problem).state("nothing was changed");
        }
        Undecided::NothingServes => (
            "NOTHING_SERVES",
            format!(
                "plugin-ctl info {tool_type} says why; when it was stopped or refused, plugin-ctl enable {tool_type} tries again"
            ),
        ),
        Undecided::NothingBefore(_) => (
            "NOTHING_BEFORE",
            format!(
                "put the version that you want into the folder: plugin-ctl install FILE, then plugin-ctl pin {tool_type} VERSION if it is an older one"
            ),
        ),
        Undecided::Pinned(_) => (
            "PINNED",
            format!("plugin-ctl unpin {tool_type}, or plugin-ctl pin {tool_type} to the version that you want"),
        ),
        Undecided::Disabled => ("DISABLED", format!("plugin-ctl enable {tool_type}")),
        Undecided::NotThere { .. } => (
            "NOT_THERE",
            format!("plugin-ctl info {tool_type} shows what is kept; plugin-ctl install FILE brings another"),
        ),
        Undecided::Several(_) => ("SEVERAL", format!("plugin-ctl info {tool_type} shows all digits")),
    };
    Fault::conflict(Problem::new(code, message).mend(mend)).state("nothing was changed")
}
