//! A running sandbox for tests, and a blocking client that shows answers as they came.

use std::time::Duration;

use serde_json::Value;
use ureq::{
    Agent,
    http::{HeaderMap, Response},
};

use crate::{
    server::{DEFAULT_TOKEN, Sandbox, SandboxConfig},
    state::TicketFields,
    tools::Tool,
};

pub(crate) const ACCEPT: &str = "application/vnd.manageengine.sdp.v3+json";
pub(crate) const FORM: &str = "application/x-www-form-urlencoded";
/// An id that is valid in both editions of ServiceDesk Plus.
pub(crate) const ID: &str = "123640000000000101";

/// A sandbox with ticket [`ID`] in every tool where the id is valid, and a client.
pub(crate) struct Fixture {
    pub(crate) sandbox: Sandbox,
    agent: Agent,
}

/// An answer that arrived whole.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<String>,
    pub(crate) content_type: String,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Reply {
    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let sandbox = Sandbox::start(SandboxConfig::default()).unwrap();
        for tool in Tool::ALL.into_iter().filter(|tool| tool.broken_id_rule(ID).is_none()) {
            sandbox.put_ticket(tool, ID, TicketFields::default()).unwrap();
        }
        let timeout = Some(Duration::from_secs(30));
        let agent = Agent::config_builder().timeout_global(timeout).http_status_as_error(false).proxy(None).build();
        Self { sandbox, agent: agent.into() }
    }

    /// Sends one request; fails if the connection ends before the answer does.
    pub(crate) fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Reply, ureq::Error> {
        let mut request = ureq::http::Request::builder().method(method).uri(self.sandbox.url() + path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut answer = if body.is_empty() && method == "GET" {
            self.agent.run(request.body(()).unwrap())?
        } else {
            self.agent.run(request.body(body).unwrap())?
        };
        let text = answer.body_mut().read_to_string()?;
        let header = |name| header(&answer, name);
        Ok(Reply {
            status: answer.status().as_u16(),
            retry_after: header("retry-after"),
            content_type: header("content-type").unwrap_or_default(),
            headers: answer.headers().clone(),
            text,
        })
    }

    #[track_caller]
    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        self.try_send(method, path, headers, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// Sends a request to the control API.
    #[track_caller]
    pub(crate) fn control(&self, method: &str, path: &str, body: &str) -> Reply {
        self.send(method, &format!("/_sandbox/{path}"), &[], body.as_bytes())
    }

    /// Gets ticket [`ID`] on-premises, or a path below it, with the proper headers.
    pub(crate) fn try_get(&self, rest: &str) -> Result<Reply, ureq::Error> {
        let path = format!("/servicedesk/api/v3/requests/{ID}{rest}");
        self.try_send("GET", &path, &[("authtoken", DEFAULT_TOKEN), ("accept", ACCEPT)], b"")
    }

    #[track_caller]
    pub(crate) fn get(&self, rest: &str) -> Reply {
        self.try_get(rest).unwrap()
    }

    /// Posts a proper note on ticket [`ID`] on-premises.
    pub(crate) fn try_note(&self, text: &str) -> Result<Reply, ureq::Error> {
        let json = serde_json::json!({ "note": { "description": text, "show_to_requester": false } }).to_string();
        let path = format!("/servicedesk/api/v3/requests/{ID}/notes");
        let headers = [("authtoken", DEFAULT_TOKEN), ("accept", ACCEPT), ("content-type", FORM)];
        self.try_send("POST", &path, &headers, input(&json).as_bytes())
    }

    pub(crate) fn notes(&self) -> usize {
        self.sandbox.ticket(Tool::ServicedeskPlus, ID).unwrap().notes.len()
    }
}

/// A form with the one field `input_data`.
pub(crate) fn input(json: &str) -> String {
    url::form_urlencoded::Serializer::new(String::new()).append_pair("input_data", json).finish()
}

fn header(answer: &Response<ureq::Body>, name: &str) -> Option<String> {
    Some(answer.headers().get(name)?.to_str().unwrap().to_owned())
}
