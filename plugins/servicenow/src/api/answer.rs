//! Whether an answer of the API says success, and what its result is.

use std::time::Duration;

use plugin_abi::{
    json,
    payload::Scalar,
    prelude::*,
    serde::Deserialize,
    serde_json::{self, value::RawValue},
    time::OffsetDateTime,
};

/// This answer, when HTTP says success.
///
/// # Errors
/// See [`Response::success`]. ServiceNow counts by the hour, and says when the next one begins
/// (<https://www.servicenow.com/docs/r/api-reference/rest-api-explorer/inbound-REST-API-rate-limiting.html>).
pub(super) fn successful(response: Response, now: OffsetDateTime) -> Result<Response, PluginError> {
    if response.status() == 429 {
        let retry_after = response.retry_after(now).or_else(|| next_hour(&response, now));
        return Err(PluginError::RateLimit { retry_after, message: response.excerpt() });
    }
    response.success(now)
}

/// What `read` makes of the answer's `result`.
///
/// # Errors
/// `Malformed` when there is none, or one that `read` cannot read. `Api` when the tool gave up in the middle of a list, which
/// it says in the body alone, and when HTML came (a hibernating instance answers so, with 200).
pub(super) fn result<'r, T>(
    response: &'r Response,
    read: impl Fn(&'r str) -> Result<T, serde_json::Error>,
) -> Result<T, PluginError> {
    #[derive(Deserialize)]
    #[serde(crate = "plugin_abi::serde")]
    struct Answer<'a> {
        #[serde(borrow)]
        result: Option<&'a RawValue>,
        #[serde(borrow, default)]
        error: Scalar<'a>,
    }

    let (has_failed, result) = response.read(|body| {
        let answer: Answer<'_> = json::parse(body)?;
        let has_failed = !answer.error.is_absent();
        let result = answer.result.filter(|_| !has_failed).map(|raw| read(raw.get())).transpose()?;
        Ok((has_failed, result))
    })?;
    if has_failed {
        return Err(PluginError::Api { status: Some(response.status()), message: response.excerpt() });
    }
    result.ok_or_else(|| response.unreadable("it has no result"))
}

/// Until what `X-RateLimit-Reset` says, in seconds since the epoch.
fn next_hour(response: &Response, now: OffsetDateTime) -> Option<Duration> {
    let at = OffsetDateTime::from_unix_timestamp(response.header("x-ratelimit-reset")?.trim().parse().ok()?).ok()?;
    Some(Duration::try_from(at - now).unwrap_or(Duration::ZERO))
}
