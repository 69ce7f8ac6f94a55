//! Failures that a test or a demo scripts in advance.

use hyper::{
    StatusCode,
    header::{HeaderValue, RETRY_AFTER},
};
use serde::{Deserialize, Serialize};

use crate::{
    answer::{Answer, Delivery},
    tools::{Operation, Tool},
};

/// One scripted failure. If several match a request, only the first in the list acts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The tool that fails; `None` for all.
    #[serde(default)]
    pub tool: Option<Tool>,
    /// The requests that fail.
    #[serde(default)]
    pub operation: Target,
    /// How many requests fail before the fault is used up and leaves the list; `None` for always.
    #[serde(default)]
    pub times: Option<u32>,
    /// Milliseconds to wait before anything else, at most [`limits::DELAY_MS_MAX`](crate::limits::DELAY_MS_MAX).
    #[serde(default)]
    pub delay_ms: u64,
    /// What happens then; `None` gives the proper answer.
    #[serde(default)]
    pub effect: Option<Effect>,
}

/// The requests that a fault applies to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Every request to the tool, even to unknown paths.
    #[default]
    Any,
    /// Reading a ticket.
    Get,
    /// Reading a ticket's notes.
    List,
    /// Posting a note.
    Note,
}

/// What a fault does instead of the proper answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Effect {
    /// Answers with this status and does no work.
    Status {
        /// 200 to 599.
        status: u16,
        /// The body; without it the tool's own error body for that status.
        #[serde(default)]
        body: Option<String>,
        /// The body's type; without it JSON.
        #[serde(default)]
        content_type: Option<String>,
    },
    /// Answers 429 and does no work.
    RateLimited {
        /// The text of `Retry-After` to send: seconds, an HTTP date, or nonsense. `None` sends no such header.
        #[serde(default)]
        retry_after: Option<String>,
    },
    /// Answers 200 with a page of HTML and does no work, as a proxy or a hibernating instance does.
    Html,
    /// Does the work, announces the whole answer, sends half of it and closes the socket.
    CutBody,
    /// Closes the socket without work and without an answer.
    DropBefore,
    /// Does the work, then closes the socket without an answer.
    DropAfter,
}

/// Why a fault is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum InvalidFault {
    #[error("status must be 200 to 599, but is {0}")]
    Status(u16),
    #[error("{0:?} cannot stand in a header")]
    Header(String),
    #[error("delay_ms must be at most {max}, but is {0}", max = crate::limits::DELAY_MS_MAX)]
    Delay(u64),
    #[error("times must not be 0")]
    Times,
}

impl Fault {
    /// Refuses a fault that cannot be carried out, before it is stored.
    pub(crate) fn check(&self) -> Result<(), InvalidFault> {
        if self.times == Some(0) {
            return Err(InvalidFault::Times);
        }
        if self.delay_ms > crate::limits::DELAY_MS_MAX {
            return Err(InvalidFault::Delay(self.delay_ms));
        }
        let header = match &self.effect {
            Some(Effect::Status { status, .. }) if !(200..=599).contains(status) => {
                return Err(InvalidFault::Status(*status));
            }
            Some(Effect::Status { content_type: text, .. } | Effect::RateLimited { retry_after: text }) => text,
            _ => &None,
        };
        match header {
            Some(text) if HeaderValue::from_str(text).is_err() => Err(InvalidFault::Header(text.clone())),
            _ => Ok(()),
        }
    }

    /// Whether the fault applies to this kind of request.
    pub(crate) fn covers(&self, tool: Tool, operation: Operation) -> bool {
        let covers_operation = match self.operation {
            Target::Any => true,
            Target::Get => operation == Operation::Get,
            Target::List => operation == Operation::List,
            Target::Note => operation == Operation::Note,
        };
        covers_operation && self.tool.is_none_or(|own| own == tool)
    }
}

impl Effect {
    /// Carries out the effect. `work` does what the tool would do; it is called only if the effect includes it.
    pub(crate) fn apply(&self, tool: Tool, work: impl FnOnce() -> Answer) -> Delivery {
        match self {
            Self::Status { status, body, content_type } => {
                let status = StatusCode::from_u16(*status).expect("checked when the fault was taken");
                let content_type = content_type.as_deref().unwrap_or("application/json");
                Delivery::Whole(match body {
                    None => tool.failure(status),
                    Some(body) => Answer::new(status, header(content_type), body.clone()),
                })
            }
            Self::RateLimited { retry_after } => {
                let answer = tool.failure(StatusCode::TOO_MANY_REQUESTS);
                Delivery::Whole(match retry_after {
                    None => answer,
                    Some(text) => answer.with(RETRY_AFTER, header(text)),
                })
            }
            Self::Html => Delivery::Whole(Answer::new(StatusCode::OK, header("text/html;charset=UTF-8"), LOGIN_PAGE)),
            Self::CutBody => Delivery::Cut(work()),
            Self::DropBefore => Delivery::Dropped,
            Self::DropAfter => {
                work();
                Delivery::Dropped
            }
        }
    }
}

fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("checked when the fault was taken")
}

const LOGIN_PAGE: &str = "<!DOCTYPE html><html><head><title>Log in</title></head><body><form method=\"post\">\
    <input name=\"user\"><input name=\"password\" type=\"password\"></form></body></html>\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, expected: Result<(), InvalidFault>) {
        let fault: Fault = serde_json::from_str(json).unwrap();
        assert_eq!(fault.check(), expected, "{json}");
    }

    #[test]
    fn a_fault_that_cannot_be_carried_out_is_refused() {
        let status = |status: u16| format!(r#"{{"effect":{{"kind":"status","status":{status}}}}}"#);
        check(&status(200), Ok(()));
        check(&status(599), Ok(()));
        check(&status(199), Err(InvalidFault::Status(199)));
        check(&status(600), Err(InvalidFault::Status(600)));
        check(r#"{"delay_ms":600000}"#, Ok(()));
        check(r#"{"delay_ms":600001}"#, Err(InvalidFault::Delay(600_001)));
        check(r#"{"times":1}"#, Ok(()));
        check(r#"{"times":0}"#, Err(InvalidFault::Times));
        check(r#"{"effect":{"kind":"rate_limited","retry_after":"soon"}}"#, Ok(()));
        check(
            r#"{"effect":{"kind":"rate_limited","retry_after":"a\nb"}}"#,
            Err(InvalidFault::Header("a\nb".to_owned())),
        );
    }

    #[test]
    fn misspelt_keys_are_errors() {
        for json in [r#"{"opertion":"get"}"#, r#"{"effect":{"kind":"status","status":500,"boddy":""}}"#] {
            assert!(serde_json::from_str::<Fault>(json).is_err(), "{json}");
        }
    }
}
