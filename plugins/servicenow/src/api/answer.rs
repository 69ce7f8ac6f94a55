//! Whether an answer of the API says success, and what its result is.

use std::time::Duration;

use plugin_abi::{payload::Scalar, prelude::*, serde::Deserialize, time::OffsetDateTime};

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

/// The answer's `result`.
///
/// # Errors
/// `Api` when there is none, when HTML came (a hibernating instance answers so, with 200), and when the tool gave up in the
/// middle of a list: that too it says in the body alone.
pub(super) fn result<'r, T: Deserialize<'r>>(response: &'r Response) -> Result<T, PluginError> {
    #[derive(Deserialize)]
    #[serde(crate = "plugin_abi::serde")]
    struct Answer<'a, T> {
        result: Option<T>,
        #[serde(borrow, default)]
        error: Scalar<'a>,
    }

    let answer: Answer<'_, T> = response.json()?;
    let failed = || PluginError::Api { status: Some(response.status()), message: response.excerpt() };
    if answer.error.is_absent() { answer.result.ok_or_else(failed) } else { Err(failed()) }
}

/// Until what `X-RateLimit-Reset` says, in seconds since the epoch.
fn next_hour(response: &Response, now: OffsetDateTime) -> Option<Duration> {
    let at = OffsetDateTime::from_unix_timestamp(response.header("x-ratelimit-reset")?.trim().parse().ok()?).ok()?;
    Some(Duration::try_from(at - now).unwrap_or(Duration::ZERO))
}
