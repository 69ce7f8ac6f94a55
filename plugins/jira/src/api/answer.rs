//! What an answer of the API means when it is no success: whose fault it is, what Jira says, and how long it wants us to wait.
//!
//! The platform says `{"errorMessages": […], "errors": {field: message}}`, Jira Service Management
//! `{"errorMessage": …}`. Limits: <https://developer.atlassian.com/cloud/jira/platform/rate-limiting/>.

use std::{collections::BTreeMap, time::Duration};

use plugin_abi::{
    json::Json,
    payload::{Part, Scalar, instant},
    prelude::*,
    serde::{Deserialize, de::IgnoredAny},
    serde_json::value::RawValue,
    time::OffsetDateTime,
};

/// How many of the tool's messages are passed on.
const MESSAGES_MAX: usize = 8;
/// Most characters of one of them.
const MESSAGE_CHARS_MAX: usize = 200;

/// This answer, when its status says success.
///
/// # Errors
/// By the status: `Authentication`, `NotFound`, `RateLimit`, `Validation` with the fields that Jira names, `Api`.
pub(super) fn successful(response: Response, now: OffsetDateTime) -> Result<Response, PluginError> {
    let status = response.status();
    match status {
        // A site that is suspended, or never was, answers with a page: that says nothing of the issue.
        404 | 410 if response.is_html() => Err(PluginError::Api {
            status: Some(status),
            message: format!("a web page came, no answer of Jira's API: is the base URL right? {}", response.excerpt()),
        }),
        400 | 413 | 422 => Err(PluginError::Validation(said(&response))),
        401 | 403 => Err(PluginError::Authentication(text(&response))),
        404 | 410 => Err(PluginError::NotFound(text(&response))),
        429 | 503 => match wait(&response, now) {
            None if status == 503 => response.success(now),
            retry_after => Err(PluginError::RateLimit { retry_after, message: text(&response) }),
        },
        _ => response.success(now),
    }
}

#[derive(Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
struct Failure<'a> {
    #[serde(borrow, rename = "errorMessages")]
    messages: Part<'a, IgnoredAny>,
    #[serde(borrow)]
    errors: Option<&'a RawValue>,
    #[serde(borrow, rename = "errorMessage")]
    message: Scalar<'a>,
}

/// What Jira says, by field where it names one.
fn said(response: &Response) -> Vec<FieldError> {
    let failure: Failure<'_> = response.json().unwrap_or_default();
    let messages = match &failure.messages {
        Part::List(messages) => &messages[..],
        Part::Bare(message) => std::slice::from_ref(message),
        Part::Object(_) => &[],
    };
    let messages = messages.iter().chain([&failure.message]).map(|message| ("request", message));
    let errors = failure.errors.map(Json::from);
    let errors: BTreeMap<String, Scalar<'_>> = errors.as_ref().and_then(|json| json.parse().ok()).unwrap_or_default();
    let fields = errors.iter().map(|(field, message)| (field.as_str(), message));
    let said: Vec<_> = messages
        .chain(fields)
        .filter_map(|(field, message)| Some((field, message.text().filter(|text| !text.is_empty())?)))
        .take(MESSAGES_MAX)
        .map(|(field, message)| fault(response, field, message))
        .collect();
    if said.is_empty() { vec![fault(response, "request", &response.excerpt())] } else { said }
}

fn fault(response: &Response, field: &str, message: &str) -> FieldError {
    let cut = |text: &str| text.chars().take(MESSAGE_CHARS_MAX).collect::<String>();
    FieldError::new(cut(field), format!("Jira answered {}: {}", response.status(), cut(message)))
}

fn text(response: &Response) -> String {
    let said = said(response).into_iter().map(|fault| match fault.field.as_str() {
        "request" => fault.message,
        field => format!("{} ({field})", fault.message),
    });
    said.collect::<Vec<_>>().join("; ")
}

/// What `Retry-After` says, else the time at which the limit is lifted, which Jira writes without seconds.
fn wait(response: &Response, now: OffsetDateTime) -> Option<Duration> {
    let reset = || {
        let at = instant(response.header("x-ratelimit-reset")?)?;
        Some(Duration::try_from(at - now).unwrap_or(Duration::ZERO))
    };
    response.retry_after(now).or_else(reset)
}
