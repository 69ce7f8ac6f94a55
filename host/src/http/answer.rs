//! The one place where outcomes become HTTP answers. What a sender reads differs from what the log says.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    header::{ACCEPT_ENCODING, ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER},
};
use plugin_abi::{PluginError, error::FieldError};
use serde::Serialize;

use crate::{
    ids::CorrelationId,
    ingest::{Receipt, Rejection},
    plugin::{generation::CallError, routes::NoRoute},
    store::StoreError,
};

/// The header that carries the correlation id, both ways.
pub const CORRELATION_HEADER: &str = "x-correlation-id";

/// An answer of the front door.
pub type Answer = Response<Full<Bytes>>;

/// Why a request never became a delivery. The sender gets its text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// No such route.
    #[error("there is no such route")]
    NotFound,
    /// The route exists, but not with this method.
    #[error("the route takes {0} only")]
    Method(&'static str),
    /// The body is larger than the limit, in bytes.
    #[error("the body may have {0} bytes at most")]
    TooLarge(usize),
    /// The body did not arrive in time.
    #[error("the body did not come in time")]
    Slow,
    /// The bodies being read fill the memory reserved for them.
    #[error("the bodies that are being read fill the memory that there is for them")]
    Crowded,
    /// Transfer-Encoding is not exactly one `chunked`.
    #[error("Transfer-Encoding may be chunked, once, or not be there")]
    TransferEncoding,
    /// Host is missing or appears twice. A proxy in front may have used another one of them.
    #[error("Host must be there exactly once")]
    Host,
    /// A chunk of the body is not valid HTTP.
    #[error("the body's chunks are malformed: each is its size in hexadecimal, CR LF, so many bytes, CR LF")]
    Chunks,
    /// The body is compressed, or encoded in another way.
    #[error("bodies are read as they are (Content-Encoding: identity); let the sender not compress them")]
    ContentEncoding,
    /// The body is JSON in an unknown charset.
    #[error("the charset \"{}\" is not known; read are UTF-8 and all others of the WHATWG Encoding Standard", .0.escape_debug())]
    Charset(String),
}

/// A problem as in RFC 9457.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    correlation_id: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [Fault<'a>],
}

#[derive(Serialize)]
struct Fault<'a> {
    field: &'a str,
    message: &'a str,
}

/// The answer 202 to an accepted delivery.
pub fn taken(receipt: &Receipt, correlation_id: &CorrelationId) -> Answer {
    #[derive(Serialize)]
    struct Taken<'a> {
        status: &'static str,
        correlation_id: &'a str,
        ticket_id: Option<&'a str>,
    }
    let body = Taken {
        status: receipt.status.as_str(),
        correlation_id: correlation_id.as_str(),
        ticket_id: receipt.ticket_id.as_deref(),
    };
    json(StatusCode::ACCEPTED, "application/json", &body, correlation_id)
}

/// The answer to a refused delivery.
pub fn rejected(rejection: &Rejection, correlation_id: &CorrelationId) -> Answer {
    let Refusal { status, code, retry_after_s } = Refusal::of(rejection);
    let (detail, faults): (_, &[FieldError]) = match rejection {
        Rejection::Malformed(detail) => (Some(detail.as_str()), &[]),
        Rejection::Invalid(faults) => (Some("the webhook is authentic, but fields of it are missing or wrong"), faults),
        _ => (None, &[]),
    };
    problem(status, code, detail, faults, retry_after_s, correlation_id)
}

/// How a refused delivery is answered, without the parts that only its sender can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: StatusCode,
    /// The stable code.
    pub code: &'static str,
    /// Seconds after which to try again, if that may help.
    pub retry_after_s: Option<u16>,
}

impl Refusal {
    /// The one place that maps rejections to answers.
    pub fn of(rejection: &Rejection) -> Self {
        use Rejection as R;
        let refusal = |status, code, retry_after_s| Self { status, code, retry_after_s };
        let temporary = |code, seconds| refusal(StatusCode::SERVICE_UNAVAILABLE, code, Some(seconds));
        match rejection {
            R::NotAuthentic(_) => refusal(StatusCode::UNAUTHORIZED, "not_authentic", None),
            R::Malformed(_) => refusal(StatusCode::BAD_REQUEST, "malformed", None),
            R::Invalid(_) => refusal(StatusCode::UNPROCESSABLE_ENTITY, "invalid", None),
            R::NoRoute(NoRoute::Missing) => temporary("plugin_missing", 30),
            R::NoRoute(NoRoute::Quarantined) => temporary("plugin_quarantined", 30),
            R::NoRoute(NoRoute::Disabled) => temporary("plugin_disabled", 30),
            R::Plugin(error) => match error {
                CallError::Saturated | CallError::HeldUp(_) => temporary("plugin_saturated", 2),
                CallError::ShutOut(_) => temporary("plugin_shut_out", 30),
                CallError::Closed => temporary("plugin_replaced", 1),
                CallError::Overrun(_) => temporary("plugin_overrun", 10),
                CallError::InvalidReply(_) => temporary("plugin_invalid_reply", 30),
                CallError::Plugin(PluginError::Panicked { .. }) => temporary("plugin_panicked", 10),
                CallError::Plugin(PluginError::Configuration(_)) => temporary("tenant_configuration", 30),
                CallError::Plugin(_) => temporary("plugin_failed", 10),
                CallError::Lost => refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal", None),
            },
            R::TenantFull => temporary("tenant_full", 30),
            R::StoreFull => temporary("store_full", 30),
            R::Store(StoreError::Saturated { .. }) => temporary("store_saturated", 2),
            R::Store(_) => temporary("store_unavailable", 10),
            // The rate is at least one per second, so the shortest wait that can be given is enough.
            R::RateLimited => refusal(StatusCode::TOO_MANY_REQUESTS, "rate_limited", Some(1)),
        }
    }
}

impl BadRequest {
    /// The status and the stable code.
    pub fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            BadRequest::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            BadRequest::Method(_) => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            BadRequest::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            BadRequest::Slow => (StatusCode::REQUEST_TIMEOUT, "body_timeout"),
            BadRequest::Crowded => (StatusCode::SERVICE_UNAVAILABLE, "saturated"),
            BadRequest::TransferEncoding => (StatusCode::BAD_REQUEST, "transfer_encoding"),
            BadRequest::Host => (StatusCode::BAD_REQUEST, "host"),
            BadRequest::Chunks => (StatusCode::BAD_REQUEST, "chunks"),
            BadRequest::ContentEncoding => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding"),
            BadRequest::Charset(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_charset"),
        }
    }
}

/// The answer to a request that never became a delivery.
pub fn refused(fault: &BadRequest, correlation_id: &CorrelationId) -> Answer {
    let (status, code) = fault.status_and_code();
    let wait_s = matches!(fault, BadRequest::Crowded).then_some(2);
    let mut answer = problem(status, code, Some(&fault.to_string()), &[], wait_s, correlation_id);
    match fault {
        BadRequest::Method(allowed) => {
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
        }
        BadRequest::ContentEncoding => {
            answer.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        _ => {}
    }
    answer
}

/// The answer 200 to a health check.
pub fn healthy(text: &str, correlation_id: &CorrelationId) -> Answer {
    health(StatusCode::OK, text, correlation_id)
}

/// The answer 503 to a health check while the host is not ready.
pub fn unready(text: &str, correlation_id: &CorrelationId) -> Answer {
    health(StatusCode::SERVICE_UNAVAILABLE, text, correlation_id)
}

fn health(status: StatusCode, text: &str, correlation_id: &CorrelationId) -> Answer {
    #[derive(Serialize)]
    struct Health<'a> {
        status: &'a str,
    }
    json(status, "application/json", &Health { status: text }, correlation_id)
}

/// Closes the connection after this answer.
pub fn close(answer: &mut Answer) {
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
}

fn problem(
    status: StatusCode,
    code: &'static str,
    detail: Option<&str>,
    faults: &[FieldError],
    retry_after_s: Option<u16>,
    correlation_id: &CorrelationId,
) -> Answer {
    let errors: Vec<_> = faults.iter().map(|fault| Fault { field: &fault.field, message: &fault.message }).collect();
    let body = Problem {
        r#type: "about:blank",
        title: status.canonical_reason().unwrap_or_default(),
        status: status.as_u16(),
        code,
        detail,
        correlation_id: correlation_id.as_str(),
        errors: &errors,
    };
    let mut answer = json(status, "application/problem+json", &body, correlation_id);
    if let Some(seconds) = retry_after_s {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    answer
}

fn json(status: StatusCode, kind: &'static str, body: &impl Serialize, correlation_id: &CorrelationId) -> Answer {
    let body = serde_json::to_vec(body).expect("plain texts and numbers are JSON");
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    let id = HeaderValue::from_str(correlation_id.as_str()).expect("a correlation id is [A-Za-z0-9._-]");
    answer.headers_mut().insert(CORRELATION_HEADER, id);
    answer
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::BodyExt as _;

    use super::*;
    use crate::plugin::why::Why;

    const PAGE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/answers.md"));

    /// The status and code of a row of the reference page.
    #[track_caller]
    fn documented(status: u16, code: &str) {
        assert!(PAGE.contains(&format!("\n| {status} | `{code}` | ")), "{status} {code} is not on the page");
    }

    async fn code(answer: Answer) -> String {
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice::<serde_json::Value>(&body).unwrap()["code"].as_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn what_never_became_a_delivery_has_its_status() {
        use BadRequest as B;
        for (fault, status, header) in [
            (B::NotFound, 404, None),
            (B::Method("POST"), 405, Some(ALLOW)),
            (B::TooLarge(7), 413, None),
            (B::Slow, 408, None),
            (B::Crowded, 503, Some(RETRY_AFTER)),
            (B::TransferEncoding, 400, None),
            (B::ContentEncoding, 415, Some(ACCEPT_ENCODING)),
            (B::Charset("x".to_owned()), 415, None),
        ] {
            let answer = refused(&fault, &CorrelationId::fresh());
            assert_eq!(answer.status().as_u16(), status, "{fault:?}");
            let found =
                [ALLOW, RETRY_AFTER, ACCEPT_ENCODING].into_iter().filter(|name| answer.headers().contains_key(name));
            assert_eq!(found.collect::<Vec<_>>(), Vec::from_iter(header), "{fault:?}");
            documented(status, &code(answer).await);
        }
    }

    #[tokio::test]
    async fn every_rejection_has_its_status_and_a_short_wait() {
        use Rejection as R;
        let panicked = PluginError::Panicked { message: String::new(), location: String::new() };
        for (rejection, status, wait) in [
            (R::NotAuthentic(Why::unknown()), 401, None),
            (R::Malformed("x".into()), 400, None),
            (R::Invalid(vec![FieldError::new("a", "b")]), 422, None),
            (R::NoRoute(NoRoute::Missing), 503, Some(30)),
            (R::NoRoute(NoRoute::Quarantined), 503, Some(30)),
            (R::NoRoute(NoRoute::Disabled), 503, Some(30)),
            (R::Plugin(CallError::Saturated), 503, Some(2)),
            (R::Plugin(CallError::HeldUp(Duration::from_secs(1))), 503, Some(2)),
            (R::Plugin(CallError::ShutOut("x")), 503, Some(30)),
            (R::Plugin(CallError::Closed), 503, Some(1)),
            (R::Plugin(CallError::InvalidReply("x".into())), 503, Some(30)),
            (R::Plugin(CallError::Plugin(PluginError::api("x"))), 503, Some(10)),
            (R::Plugin(CallError::Overrun(Duration::from_secs(1))), 503, Some(10)),
            (R::Plugin(CallError::Plugin(panicked)), 503, Some(10)),
            (R::Plugin(CallError::Plugin(PluginError::Configuration("x".into()))), 503, Some(30)),
            (R::Plugin(CallError::Lost), 500, None),
            (R::Store(StoreError::Saturated { file: "x".into(), waiting_max: 1 }), 503, Some(2)),
            (R::Store(StoreError::Closed { file: "x".into() }), 503, Some(10)),
            (R::TenantFull, 503, Some(30)),
            (R::StoreFull, 503, Some(30)),
            (R::RateLimited, 429, Some(1)),
        ] {
            let answer = rejected(&rejection, &CorrelationId::fresh());
            assert_eq!(answer.status().as_u16(), status, "{rejection}");
            let found = answer.headers().get(RETRY_AFTER).map(|wait| wait.to_str().unwrap().parse::<u16>().unwrap());
            assert_eq!(found, wait, "{rejection}");
            assert!(found.is_none_or(|seconds| seconds < 60), "Zendesk gives up at 60 s");
            documented(status, &code(answer).await);
        }
    }
}
