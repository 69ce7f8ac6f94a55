//! Whether an answer of the API says success, and whose fault it is if not. The HTTP status alone does not tell: the body
//! has a `response_status` of its own, an object after single calls and an array after lists.

use plugin_abi::{payload::Scalar, prelude::*, serde::Deserialize, time::OffsetDateTime};

/// `status_code` of success.
const SUCCESS: u64 = 2000;
/// Codes of the vendor's table of common errors that stand for more than wrong input.
const FORBIDDEN: u64 = 4002;
const INTERNAL_ERROR: u64 = 4004;
const NOT_FOUND: u64 = 4007;
const RATE_LIMIT: u64 = 4015;
const INVALID_KEY: u64 = 4022;
/// That it failed, without why.
const FAILED: u64 = 4000;

/// How many of the tool's messages are passed on.
const MESSAGES_MAX: usize = 8;
/// Most characters of one of them.
const MESSAGE_CHARS_MAX: usize = 200;

/// This answer, when HTTP and body say success.
///
/// # Errors
/// By what failed: `Authentication`, `NotFound`, `RateLimit`, `Validation` with the fields that the tool names, `Api`.
pub(super) fn successful(response: Response, now: OffsetDateTime) -> Result<Response, PluginError> {
    match response.status() {
        200..=299 => {
            let failure = response.json::<Envelope<'_>>()?.failure(&response, now);
            failure.map_or(Ok(response), Err)
        }
        // HTTP has said all there is.
        401 | 403 | 404 | 410 | 429 => response.success(now),
        400..=499 => {
            let failure = response.json::<Envelope<'_>>().ok().and_then(|body| body.reason(&response, now));
            failure.map_or_else(|| response.success(now), Err)
        }
        _ => response.success(now),
    }
}

#[derive(Deserialize)]
#[serde(crate = "plugin_abi::serde")]
struct Envelope<'a> {
    #[serde(borrow)]
    response_status: Statuses<'a>,
}

/// The list first: a struct would also be read from a list of its fields.
#[derive(Deserialize)]
#[serde(crate = "plugin_abi::serde", untagged)]
enum Statuses<'a> {
    Many(#[serde(borrow)] Vec<Status<'a>>),
    One(#[serde(borrow)] Status<'a>),
}

#[derive(Deserialize)]
#[serde(crate = "plugin_abi::serde")]
struct Status<'a> {
    #[serde(borrow)]
    status_code: Scalar<'a>,
    #[serde(borrow, default)]
    messages: Option<Vec<Message<'a>>>,
}

#[derive(Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
struct Message<'a> {
    #[serde(borrow)]
    status_code: Scalar<'a>,
    #[serde(borrow)]
    field: Scalar<'a>,
    #[serde(borrow)]
    message: Scalar<'a>,
}

impl Envelope<'_> {
    fn statuses(&self) -> &[Status<'_>] {
        match &self.response_status {
            Statuses::Many(statuses) => statuses,
            Statuses::One(status) => std::slice::from_ref(status),
        }
    }

    /// What failed, unless all is success.
    fn failure(&self, response: &Response, now: OffsetDateTime) -> Option<PluginError> {
        let statuses = self.statuses();
        if !statuses.is_empty() && statuses.iter().all(|status| status.status_code.number() == Some(SUCCESS)) {
            return None;
        }
        let unexplained = || PluginError::Api { status: Some(response.status()), message: response.excerpt() };
        Some(self.reason(response, now).unwrap_or_else(unexplained))
    }

    /// What failed, if the body says it.
    fn reason(&self, response: &Response, now: OffsetDateTime) -> Option<PluginError> {
        let codes = || {
            self.statuses()
                .iter()
                .flat_map(|status| messages(status).map(|message| &message.status_code).chain([&status.status_code]))
                .filter_map(Scalar::number)
        };
        let said = || self.statuses().iter().flat_map(messages).take(MESSAGES_MAX);
        let text = || {
            let texts: Vec<_> = said().map(Message::text).collect();
            if texts.is_empty() { response.excerpt() } else { texts.join("; ") }
        };
        for code in codes() {
            return Some(match code {
                FORBIDDEN | INVALID_KEY => PluginError::Authentication(text()),
                NOT_FOUND => PluginError::NotFound(text()),
                RATE_LIMIT => PluginError::RateLimit { retry_after: response.retry_after(now), message: text() },
                INTERNAL_ERROR => PluginError::Api { status: Some(response.status()), message: text() },
                _ => continue,
            });
        }
        // All other codes are about the input, which will not be better the next time.
        let faults: Vec<_> = said().map(Message::fault).collect();
        (codes().any(|code| code > FAILED) && !faults.is_empty()).then_some(PluginError::Validation(faults))
    }
}

fn messages<'s, 'a>(status: &'s Status<'a>) -> impl Iterator<Item = &'s Message<'a>> {
    status.messages.iter().flatten()
}

impl Message<'_> {
    fn text(&self) -> String {
        let text = self.message.text().unwrap_or("(no message)").chars().take(MESSAGE_CHARS_MAX);
        let code = self.status_code.number().map(|code| format!("{code} ")).unwrap_or_default();
        code + &text.collect::<String>()
    }

    fn fault(&self) -> FieldError {
        let field = self.field.text().unwrap_or("request").chars().take(MESSAGE_CHARS_MAX);
        FieldError::new(field.collect::<String>(), format!("the tool answered {}", self.text()))
    }
}
