//! The control API under `/_sandbox`: tickets, faults, the record of requests, and waiting for notes.

use std::{str::FromStr, time::Duration};

use hyper::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::{
    answer::Answer,
    call::Call,
    fault::Fault,
    oauth::{Oauth, OauthClient},
    state::{Put, State, StateFull, TicketFields, limits},
    tools::Tool,
};

/// The prefix of the control API's paths.
pub(crate) const PREFIX: &str = "/_sandbox/";

/// Default duration of a long poll, in milliseconds.
const WAIT_MS_DEFAULT: u64 = 10_000;

/// A refused request: a status and a sentence.
struct Refused(StatusCode, String);

impl From<StateFull> for Refused {
    fn from(full: StateFull) -> Self {
        Self(StatusCode::CONFLICT, full.to_string())
    }
}

/// Answers a request to `path` below [`PREFIX`].
pub(crate) async fn answer(state: &State, oauth: &Oauth, call: &Call, path: &str) -> Answer {
    let segments: Vec<&str> = path.split('/').collect();
    let answered = match (&call.head.method, segments.as_slice()) {
        (&Method::PUT, ["tickets", tool, id]) => put_ticket(state, call, tool, id),
        (&Method::GET, ["tickets", tool, id]) => get_ticket(state, call, tool, id),
        (&Method::PUT, ["faults"]) => put_faults(state, call),
        (&Method::GET, ["faults"]) => parameters::<0>(call, []).map(|_| Answer::json(StatusCode::OK, &state.faults())),
        (&Method::PUT, ["oauth"]) => put_oauth(oauth, call),
        (&Method::GET, ["oauth"]) => parameters::<0>(call, []).map(|_| Answer::json(StatusCode::OK, &oauth.grants())),
        (&Method::POST, ["oauth", "revoke", "access"]) => revoke(call, || oauth.revoke_access()),
        (&Method::POST, ["oauth", "revoke", "refresh"]) => revoke(call, || oauth.revoke_refresh()),
        (&Method::GET, ["requests"]) => get_requests(state, call),
        (&Method::GET, ["wait"]) => wait(state, call).await,
        (&Method::POST, ["reset"]) => parameters::<0>(call, []).map(|_| {
            state.reset();
            oauth.set(None);
            Answer::json(StatusCode::OK, &json!({ "status": "reset" }))
        }),
        _ => Err(Refused(StatusCode::NOT_FOUND, format!("the control API has no {} {path}", call.head.method))),
    };
    answered.unwrap_or_else(|Refused(status, message)| Answer::json(status, &json!({ "error": message })))
}

fn put_ticket(state: &State, call: &Call, tool: &str, id: &str) -> Result<Answer, Refused> {
    let [] = parameters(call, [])?;
    let tool = named(tool)?;
    if let Some(rule) = tool.broken_id_rule(id) {
        return Err(Refused(StatusCode::BAD_REQUEST, format!("{id:?}: {rule}")));
    }
    // An empty body makes a ticket with default fields.
    let fields = if call.body.is_empty() { TicketFields::default() } else { body(call)? };
    Ok(match state.put_ticket(tool, id, fields)? {
        Put::Created(ticket) => Answer::json(StatusCode::CREATED, &ticket),
        Put::Replaced(ticket) => Answer::json(StatusCode::OK, &ticket),
    })
}

fn get_ticket(state: &State, call: &Call, tool: &str, id: &str) -> Result<Answer, Refused> {
    let [] = parameters(call, [])?;
    match state.ticket(named(tool)?, id) {
        Some(ticket) => Ok(Answer::json(StatusCode::OK, &ticket)),
        None => Err(Refused(StatusCode::NOT_FOUND, format!("{tool} has no ticket {id:?}"))),
    }
}

fn put_faults(state: &State, call: &Call) -> Result<Answer, Refused> {
    let [] = parameters(call, [])?;
    let faults: Vec<Fault> = body(call)?;
    for (at, fault) in faults.iter().enumerate() {
        fault.check().map_err(|error| Refused(StatusCode::BAD_REQUEST, format!("fault {at}: {error}")))?;
    }
    state.set_faults(faults)?;
    Ok(Answer::json(StatusCode::OK, &state.faults()))
}

fn put_oauth(oauth: &Oauth, call: &Call) -> Result<Answer, Refused> {
    let [] = parameters(call, [])?;
    let client: OauthClient = body(call)?;
    oauth.set(Some(client.clone()));
    Ok(Answer::json(StatusCode::OK, &client))
}

fn revoke(call: &Call, revoke: impl FnOnce()) -> Result<Answer, Refused> {
    let [] = parameters(call, [])?;
    revoke();
    Ok(Answer::json(StatusCode::OK, &json!({ "status": "revoked" })))
}

fn get_requests(state: &State, call: &Call) -> Result<Answer, Refused> {
    let [after] = parameters(call, ["after"])?;
    let after = after.map_or(Ok(0), |text| number("after", &text))?;
    Ok(Answer::json(StatusCode::OK, &state.requests(after)))
}

async fn wait(state: &State, call: &Call) -> Result<Answer, Refused> {
    let [tool, ticket, notes, timeout_ms] = parameters(call, ["tool", "ticket", "notes", "timeout_ms"])?;
    let (Some(tool), Some(id)) = (tool, ticket) else {
        return Err(Refused(StatusCode::BAD_REQUEST, "tool and ticket are needed".to_owned()));
    };
    let tool = named(&tool)?;
    let notes = notes.map_or(Ok(1), |text| number("notes", &text))?;
    let timeout_ms = timeout_ms.map_or(Ok(WAIT_MS_DEFAULT), |text| number("timeout_ms", &text))?;
    if timeout_ms > limits::WAIT_MS_MAX {
        let message = format!("timeout_ms must be at most {}", limits::WAIT_MS_MAX);
        return Err(Refused(StatusCode::BAD_REQUEST, message));
    }
    Ok(match state.wait_for_notes(tool, &id, notes, Duration::from_millis(timeout_ms)).await {
        Ok(ticket) => Answer::json(StatusCode::OK, &ticket),
        Err(too_few) => {
            let ticket = state.ticket(tool, &id);
            Answer::json(StatusCode::REQUEST_TIMEOUT, &json!({ "error": too_few.to_string(), "ticket": ticket }))
        }
    })
}

fn named(tool: &str) -> Result<Tool, Refused> {
    Tool::named(tool).ok_or_else(|| {
        let known = Tool::ALL.map(Tool::name).join(", ");
        Refused(StatusCode::NOT_FOUND, format!("no tool {tool:?}; there are {known}"))
    })
}

fn body<T: DeserializeOwned>(call: &Call) -> Result<T, Refused> {
    serde_json::from_slice(&call.body).map_err(|error| Refused(StatusCode::BAD_REQUEST, error.to_string()))
}

/// The values of the query's parameters in the order of `names`. Others are errors, so that a misspelt one is noticed.
fn parameters<const N: usize>(call: &Call, names: [&str; N]) -> Result<[Option<String>; N], Refused> {
    let mut values = [const { None }; N];
    for (name, value) in call.parameters() {
        match names.iter().position(|known| *known == name) {
            Some(at) if values[at].is_none() => values[at] = Some(value),
            _ => return Err(Refused(StatusCode::BAD_REQUEST, format!("parameter {name:?} is unknown or repeated"))),
        }
    }
    Ok(values)
}

fn number<T: FromStr>(name: &str, text: &str) -> Result<T, Refused> {
    text.parse().map_err(|_| Refused(StatusCode::BAD_REQUEST, format!("{name} must be a whole number, not {text:?}")))
}
