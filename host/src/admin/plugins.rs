//! `/v1/plugins`, `/v1/plugin-files`, `/v1/reload`: shows the plugins and the folder's files, and reloads them.

use std::{ffi::OsStr, path::Path as FilePath};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post},
};

use super::{
    asker::Asker,
    fault::{Body, Fault},
    wire::{self, Problem},
};
use crate::{
    clock::rfc3339,
    ids::ToolType,
    nearest::near,
    plugin::{
        artifact::{self, InspectedArtifact},
        generation::LastError,
        journal::Happened,
        manager::{Candidate, FileRow, GenerationRow, KeptRow, PluginManager, PluginRow, Reload, Reloaded},
        refusal::Refusal,
        signature::Trust,
    },
    store::PluginEvent,
};

pub(super) fn routes(manager: PluginManager) -> Router {
    Router::new()
        .route("/v1/plugins", get(list))
        .route("/v1/plugins/{tool_type}", get(info))
        // Not below `/v1/plugins`, because `files` is a valid tool type.
        .route("/v1/plugin-files", get(files))
        .route("/v1/plugin-files/installed", post(installed))
        .route("/v1/reload", post(reload))
        .with_state(manager)
}

async fn list(State(manager): State<PluginManager>) -> Json<Vec<wire::Plugin>> {
    Json(manager.list().into_iter().map(plugin).collect())
}

async fn files(State(manager): State<PluginManager>) -> Json<Vec<wire::PluginFile>> {
    Json(manager.files().into_iter().map(file).collect())
}

async fn info(
    State(manager): State<PluginManager>,
    Path(tool_type): Path<String>,
) -> Result<Json<wire::PluginDetail>, Fault> {
    let tool_type = ToolType::parse(&tool_type)?;
    let detail = manager.info(&tool_type).ok_or_else(|| unknown(&tool_type, &manager))?;
    Ok(Json(wire::PluginDetail {
        plugin: plugin(detail.row),
        info: detail.info,
        declares: detail.declares,
        copy: detail.copy.map(|copy| copy.to_string_lossy().into_owned()),
        confinement: detail.confinement.map(Into::into),
        generations: detail.generations.into_iter().map(generation).collect(),
        kept: detail.kept.into_iter().map(kept).collect(),
    }))
}

/// Answers 200 even if files were refused; the answer says which and why.
async fn reload(
    State(manager): State<PluginManager>,
    asker: Asker,
    Body(request): Body<wire::Reload>,
) -> Result<Json<Vec<wire::Reloaded>>, Fault> {
    let decided = asker.decides(request.reason)?;
    let asked = |message| PluginEvent::new(Happened::ReloadAsked, message).by(&decided);
    let (what, event) = match (&request.tool_type, request.all) {
        (None, false) => (Reload::Changed, asked("of what has changed in the folder")),
        (None, true) => (Reload::All, asked("of all plugins")),
        (Some(tool_type), false) => {
            let tool_type = ToolType::parse(tool_type)?;
            let event = asked("of this plugin, changed or not").of(&tool_type);
            (Reload::One(tool_type), event)
        }
        (Some(_), true) => return Err(Fault::bad_request("tool_type and all exclude each other")),
    };
    tracing::info!(?what, who = %decided.who, why = decided.why, "a reload was asked for");
    manager.journal().note(event);
    let mut outcome = manager.reload(what.clone()).await;
    if let Reload::One(tool_type) = &what {
        outcome = of_one(tool_type, outcome, &manager)?;
    }
    Ok(Json(outcome.into_iter().map(reloaded).collect()))
}

/// Journals who has put a file into the folder, then loads what has changed there. Answers what became of the file's
/// tool type, which is nothing if none of its files has changed.
async fn installed(
    State(manager): State<PluginManager>,
    asker: Asker,
    Body(request): Body<wire::Installed>,
) -> Result<Json<Vec<wire::Reloaded>>, Fault> {
    let (decided, file) = (asker.decides(request.reason)?, request.file);
    if FilePath::new(&file).file_name() != Some(OsStr::new(&file)) {
        return Err(Fault::bad_request("file is the name of a file in the plugin folder, not a path"));
    }
    let path = manager.folder().join(&file);
    let inspected = tokio::task::spawn_blocking(move || artifact::inspect(&path, &Trust::default())).await;
    let inspected = inspected.map_err(|fault| Fault::bad_request(format!("{file} cannot be looked at: {fault}")))?;
    let InspectedArtifact { sha256, info, .. } = inspected
        .map_err(|uninspected| Fault::bad_request(format!("{file} in the plugin folder: {}", uninspected.refusal)))?;
    let tool_type = ToolType::parse(&info.tool_type)?;
    tracing::info!(%tool_type, file, who = %decided.who, why = decided.why, "a file was installed");
    let event = PluginEvent::new(Happened::Installed, file).of(&tool_type).with_sha256(Some(sha256)).by(&decided);
    manager.journal().note(PluginEvent { version: Some(info.version), ..event });
    let mut outcome = manager.reload(Reload::Changed).await;
    outcome.retain(|reloaded| reloaded.tool_type.as_ref() == Some(&tool_type));
    Ok(Json(outcome.into_iter().map(reloaded).collect()))
}

/// Keeps only the results of this tool type; the folder's other files are not the request's concern.
fn of_one(tool_type: &ToolType, mut outcome: Vec<Reloaded>, manager: &PluginManager) -> Result<Vec<Reloaded>, Fault> {
    outcome.retain(|reloaded| reloaded.tool_type.as_ref() == Some(tool_type));
    match (outcome.is_empty(), manager.why_missing(tool_type)) {
        (true, Some(refusal)) => Err(missing(tool_type, &refusal)),
        (true, None) => Err(unknown(tool_type, manager)),
        (false, _) => Ok(outcome),
    }
}

/// The error for an unknown tool type. It suggests a known one with nearly the same name.
pub(super) fn unknown(tool_type: &ToolType, manager: &PluginManager) -> Fault {
    let rows = manager.list();
    let known = rows.iter().filter_map(|row| row.tool_type.as_ref()).map(ToolType::as_str);
    let mend = match near(tool_type.as_str(), known) {
        Some(near) => format!("did you mean {near}? plugin-ctl list shows what serves"),
        None => "plugin-ctl list shows what serves, plugin-ctl list --files what lies in the folder".to_owned(),
    };
    let message = format!("no plugin of tool type {tool_type} is known");
    Fault::new(StatusCode::NOT_FOUND, Problem::new("UNKNOWN_PLUGIN", message).mend(mend))
}

/// The error for a tool type whose file is gone from the folder.
pub(super) fn missing(tool_type: &ToolType, refusal: &Refusal) -> Fault {
    let problem = Problem::new(refusal.code.as_str(), format!("the plugin of {tool_type} is missing"))
        .why(refusal.reason.clone())
        .state(format!("nothing serves {tool_type}; its webhooks are answered 503, its jobs wait"))
        .mend(refusal.code.mend().replace("TOOL_TYPE", tool_type.as_str()));
    Fault::conflict(problem)
}

fn plugin(row: PluginRow) -> wire::Plugin {
    wire::Plugin {
        tool_type: row.tool_type.map(|tool_type| tool_type.to_string()),
        version: row.version,
        state: row.state.as_str().to_owned(),
        generation: row.generation,
        signature: row.signature.map(|signature| signature.to_string()),
        path: row.path.map(|path| path.to_string_lossy().into_owned()),
        sha256: row.sha256.map(|sum| sum.to_string()),
        loaded_at: row.loaded_at_ms.map(rfc3339),
        in_flight: row.in_flight,
        calls: row.calls,
        errors: row.errors,
        last_error: row.last_error.map(last_error),
        candidate: row.candidate.map(candidate),
        pinned: row.pinned.map(|pin| pin.to_string()),
    }
}

fn last_error(error: LastError) -> wire::LastError {
    wire::LastError { code: error.code.to_owned(), message: error.message, at: rfc3339(error.at_ms) }
}

fn candidate(candidate: Candidate) -> wire::Candidate {
    wire::Candidate {
        path: candidate.path.to_string_lossy().into_owned(),
        version: candidate.version,
        sha256: candidate.sha256.map(|sum| sum.to_string()),
        code: candidate.refusal.code.as_str().to_owned(),
        reason: candidate.refusal.reason,
    }
}

fn file(row: FileRow) -> wire::PluginFile {
    let (code, reason) = row.refusal.map(|refusal| (refusal.code.as_str().to_owned(), refusal.reason)).unzip();
    wire::PluginFile {
        path: row.path.to_string_lossy().into_owned(),
        state: row.state.as_str().to_owned(),
        tool_type: row.tool_type.map(|tool_type| tool_type.to_string()),
        version: row.version,
        sha256: row.sha256.map(|sum| sum.to_string()),
        signature: row.signature.map(|signature| signature.to_string()),
        code,
        reason,
    }
}

fn kept(row: KeptRow) -> wire::Kept {
    wire::Kept {
        version: row.version.to_string(),
        sha256: row.sha256.to_string(),
        served_at: rfc3339(row.served_at_ms),
        path: Some(row.path.to_string_lossy().into_owned()),
        copy: Some(row.copy.to_string_lossy().into_owned()),
        passed_over: row.passed_over,
    }
}

fn generation(row: GenerationRow) -> wire::Generation {
    wire::Generation {
        number: row.number,
        version: row.version,
        sha256: row.sha256.to_string(),
        state: row.state.as_str().to_owned(),
        reason: row.reason,
    }
}

pub(super) fn reloaded(reloaded: Reloaded) -> wire::Reloaded {
    let (generation, refusal) = match reloaded.outcome {
        Ok(generation) => (Some(generation), None),
        Err(refusal) => (None, Some(refusal)),
    };
    wire::Reloaded {
        tool_type: reloaded.tool_type.map(|tool_type| tool_type.to_string()),
        path: reloaded.path.to_string_lossy().into_owned(),
        version: reloaded.version,
        sha256: reloaded.sha256.map(|sum| sum.to_string()),
        generation,
        code: refusal.as_ref().map(|refusal| refusal.code.as_str().to_owned()),
        mend: refusal.as_ref().map(|refusal| refusal.code.mend().to_owned()),
        reason: refusal.map(|refusal| refusal.reason),
    }
}
