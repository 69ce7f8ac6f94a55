//! Whether an answer of the API says success, and whose fault it is if not. The HTTP status alone does not tell: the body
//! has a `response_status` of its own, an object after single calls and an array after lists.

use plugin_abi::{
    payload::{Items, Part, Scalar},
    prelude::*,
    serde::Deserialize,
    time::OffsetDateTime,
};

/// `status_code` of success, and the `status` that stands beside it.
const SUCCESS: u64 = 2000;
const SUCCESS_WORD: &str = "success";
/// Codes of the vendor's table of common errors that stand for more than wrong input.
const FORBIDDEN: u64 = 4002;
const INTERNAL_ERROR: u64 = 4004;
const NOT_FOUND: u64 = 4007;
const RATE_LIMIT: u64 = 4015;
const INVALID_KEY: u64 = 4022;
/// That it failed, without why.
const FAILED: u64 = 4000;

/// How many statuses of one answer are looked at.
const STATUSES_MAX: usize = 100;
/// How many of a status's messages are looked at, and of all messages passed on.
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

#[derive(Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
struct Envelope<'a> {
    #[serde(borrow)]
    response_status: Items<Part<'a, Status<'a>>, STATUSES_MAX>,
}

#[derive(Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
struct Status<'a> {
    #[serde(borrow)]
    status_code: Scalar<'a>,
    #[serde(borrow)]
    status: Scalar<'a>,
    #[serde(borrow)]
    messages: Items<Part<'a, Message<'a>>, MESSAGES_MAX>,
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
    fn statuses(&self) -> impl Iterator<Item = &Status<'_>> {
        self.response_status.iter().filter_map(Part::object)
    }

    fn messages(&self) -> impl Iterator<Item = &Message<'_>> {
        self.statuses().flat_map(Status::messages).take(MESSAGES_MAX)
    }

    /// What failed, unless all is success.
    fn failure(&self, response: &Response, now: OffsetDateTime) -> Option<PluginError> {
        if self.statuses().next().is_none() {
            return Some(response.unreadable("it has no response_status"));
        }
        if self.statuses().all(Status::is_success) {
            return None;
        }
        let unexplained = || PluginError::Api { status: Some(response.status()), message: response.excerpt() };
        Some(self.reason(response, now).unwrap_or_else(unexplained))
    }

    /// What failed, if the body says it.
    fn reason(&self, response: &Response, now: OffsetDateTime) -> Option<PluginError> {
        let text = || {
            let texts: Vec<_> = self.messages().map(Message::text).collect();
            if texts.is_empty() { response.excerpt() } else { texts.join("; ") }
        };
        for code in self.statuses().flat_map(Status::codes) {
            return Some(match code {
                FORBIDDEN | INVALID_KEY => PluginError::Authentication(text()),
                NOT_FOUND => PluginError::NotFound(text()),
                RATE_LIMIT => PluginError::RateLimit { retry_after: response.retry_after(now), message: text() },
                INTERNAL_ERROR => PluginError::Api { status: Some(response.status()), message: text() },
                _ => continue,
            });
        }
        // All other codes are about the input, which will not be better the next time.
        let faults: Vec<_> = self.messages().map(Message::fault).collect();
        let is_about_input = self.statuses().flat_map(Status::codes).any(|code| code > FAILED);
        (is_about_input && !faults.is_empty()).then_some(PluginError::Validation(faults))
    }
}

impl Status<'_> {
    /// By the code; by the word, where there is no code.
    fn is_success(&self) -> bool {
        match self.status_code.number() {
            Some(code) => code == SUCCESS,
            None => self.status.text().is_some_and(|word| word.eq_ignore_ascii_case(SUCCESS_WORD)),
        }
    }

    fn messages(&self) -> impl Iterator<Item = &Message<'_>> {
        self.messages.iter().filter_map(Part::object)
    }

    /// The codes of its messages, which say more, before its own.
    fn codes(&self) -> impl Iterator<Item = u64> {
        self.messages().map(|message| &message.status_code).chain([&self.status_code]).filter_map(Scalar::number)
    }
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
