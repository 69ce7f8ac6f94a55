//! The front door's routes, and the handling of one request.

use std::{net::IpAddr, sync::Arc, time::Duration};

use hyper::{
    HeaderMap, Method, Request, Version,
    body::{Body as _, Incoming},
    header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderValue, TRANSFER_ENCODING},
};
use plugin_abi::route::{self, RESOLVED_TICKET, TICKET_CREATED};
use tokio::time::{Instant, sleep_until};

use super::{
    answer::{self, Answer, BadRequest, CORRELATION_HEADER},
    body::BodyRoom,
    forwarded,
    linger::Unread,
    media::check_media,
    tenant_scan,
    told::Tellings,
};
use crate::{
    clock::Clock,
    ids::CorrelationId,
    ingest::{Delivery, Ingest, Rejection},
    limits::SharedLimits,
    plugin::manager::PluginManager,
    store::Store,
    telemetry::metrics::Metrics,
};

/// Every 401 is sent a whole number of ticks after the body's last byte, so that its timing does not reveal the reason.
const REFUSAL_TICK: Duration = Duration::from_millis(25);
/// How long `/readyz` waits for the store.
const READY_TIME_MAX: Duration = Duration::from_secs(2);

/// The parts that answer requests.
#[derive(Clone)]
pub struct FrontDoor {
    /// Turns deliveries into jobs.
    pub ingest: Ingest,
    /// The store, for `/readyz`.
    pub store: Store,
    /// The plugin manager, for `/readyz`.
    pub manager: PluginManager,
    /// Limits on sizes and times.
    pub limits: SharedLimits,
    /// The metrics.
    pub metrics: Metrics,
    /// The host's clock.
    pub clock: Clock,
    /// Memory for bodies.
    pub bodies: BodyRoom,
    /// The log's lines about refused requests.
    pub told: Arc<Tellings>,
}

/// The destination of a request.
#[derive(Debug, PartialEq, Eq)]
enum Route {
    /// A webhook whose path names the tenant.
    Webhook(String),
    /// A webhook whose body names the tenant.
    TenantInBody(&'static str),
    Health,
    Ready,
    Unknown,
}

impl Route {
    fn of(path: &str) -> Self {
        match path {
            "/healthz" => Self::Health,
            "/readyz" => Self::Ready,
            _ => Self::of_webhook(&route::normal(path)),
        }
    }

    /// People enter the addresses of webhooks into tools by hand, so equivalent addresses are treated as the same.
    fn of_webhook(normal: &str) -> Self {
        match normal {
            TICKET_CREATED => Self::TenantInBody(TICKET_CREATED),
            RESOLVED_TICKET => Self::TenantInBody(RESOLVED_TICKET),
            _ => match normal.strip_prefix("/webhooks/") {
                Some(tenant) if !tenant.is_empty() && !tenant.contains('/') => Self::Webhook(tenant.to_owned()),
                _ => Self::Unknown,
            },
        }
    }

    fn label(&self) -> &'static str {
        match self {
            Self::Webhook(_) => "/webhooks/{tenant_id}",
            Self::TenantInBody(path) => path,
            Self::Health => "/healthz",
            Self::Ready => "/readyz",
            Self::Unknown => "unknown",
        }
    }
}

impl FrontDoor {
    /// Answers one request from this peer, and records in `unread` whether its body was refused before it was read.
    pub(super) async fn answer(&self, request: Request<Incoming>, peer: IpAddr, unread: &Unread) -> Answer {
        let started = Instant::now();
        let correlation_id = request
            .headers()
            .get(CORRELATION_HEADER)
            .and_then(|value| CorrelationId::parse(value.to_str().ok()?).ok())
            .unwrap_or_else(CorrelationId::fresh);
        let route = Route::of(request.uri().path());
        let label = route.label();
        let chunked = request.headers().contains_key(TRANSFER_ENCODING);
        let has_body = !request.body().is_end_stream();
        let outcome = self.dispatch(route, request, peer, &correlation_id).await;
        let is_unread = outcome.is_err() && has_body;
        unread.set(is_unread);
        let mut answer = outcome.unwrap_or_else(|fault| {
            self.told.not_taken(label, &fault, &correlation_id);
            answer::refused(&fault, &correlation_id)
        });
        // The rest of an unread body would be read as the next request. For a chunked request hyper drops a
        // Content-Length, so a proxy may have seen the body end elsewhere.
        if is_unread || chunked {
            answer::close(&mut answer);
        }
        self.metrics.http(label, answer.status().as_u16(), started.elapsed());
        answer
    }

    async fn dispatch(
        &self,
        route: Route,
        request: Request<Incoming>,
        peer: IpAddr,
        correlation_id: &CorrelationId,
    ) -> Result<Answer, BadRequest> {
        check_transfer_encoding(request.headers())?;
        check_host(&request)?;
        let method = request.method();
        match route {
            Route::Unknown => Err(BadRequest::NotFound),
            Route::Health | Route::Ready if !matches!(*method, Method::GET | Method::HEAD) => {
                Err(BadRequest::Method("GET, HEAD"))
            }
            Route::Webhook(_) | Route::TenantInBody(_) if *method != Method::POST => Err(BadRequest::Method("POST")),
            Route::Health => Ok(answer::healthy("alive", correlation_id)),
            Route::Ready => Ok(self.ready(correlation_id).await),
            Route::Webhook(tenant_id) => self.webhook(Some(tenant_id), request, peer, correlation_id).await,
            Route::TenantInBody(_) => self.webhook(None, request, peer, correlation_id).await,
        }
    }

    /// Handles a webhook; `tenant_id` comes from the path, if the path has it.
    async fn webhook(
        &self,
        tenant_id: Option<String>,
        request: Request<Incoming>,
        peer: IpAddr,
        correlation_id: &CorrelationId,
    ) -> Result<Answer, BadRequest> {
        let limits = self.limits.now();
        let (parts, body) = request.into_parts();
        check_media(&parts.headers)?;
        let declared = parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if declared.is_some_and(|length| length > limits.body_bytes_max as u64) {
            return Err(BadRequest::TooLarge(limits.body_bytes_max));
        }
        // The memory is released when the answer is known.
        let (body, _room) = self.bodies.whole(body, limits.body_bytes_max, limits.body_timeout).await?;
        let received = Instant::now();
        let content_type = parts.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        let tenant_id = tenant_id.or_else(|| tenant_scan::tenant_id(&body, content_type));
        let delivery = Delivery {
            tenant_id: tenant_id.clone(),
            correlation_id: correlation_id.clone(),
            source: forwarded::source(peer, &parts.headers, &limits.trusted_proxies),
            method: parts.method,
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            headers: parts.headers,
            body,
            received_at: self.clock.now(),
        };
        match self.ingest.take(delivery).await {
            Ok(receipt) => {
                self.count_taken(tenant_id.as_deref(), &receipt, correlation_id);
                Ok(answer::taken(&receipt, correlation_id))
            }
            Err(refused) => {
                let answer = answer::rejected(&refused.rejection, correlation_id);
                self.count_refused(tenant_id.as_deref(), &refused, correlation_id);
                if matches!(refused.rejection, Rejection::NotAuthentic(_)) {
                    sleep_until(next_tick(received, Instant::now())).await;
                }
                Ok(answer)
            }
        }
    }

    async fn ready(&self, correlation_id: &CorrelationId) -> Answer {
        if !self.manager.scanned() {
            return answer::unready("the first look at the plugin folder is not done", correlation_id);
        }
        match tokio::time::timeout(READY_TIME_MAX, self.store.ping()).await {
            Ok(Ok(())) => answer::healthy("ready", correlation_id),
            Ok(Err(_)) | Err(_) => answer::unready("the store does not answer", correlation_id),
        }
    }
}

/// Requires exactly one Host header, as HTTP/1.1 does (RFC 9112, section 3.2). HTTP/1.0 needs none.
fn check_host<B>(request: &Request<B>) -> Result<(), BadRequest> {
    let count = request.headers().get_all(HOST).iter().count();
    let may_be_missing = request.version() < Version::HTTP_11;
    if count == 1 || (count == 0 && may_be_missing) { Ok(()) } else { Err(BadRequest::Host) }
}

/// Requires exactly one `chunked` or no header at all: different servers read anything else differently.
fn check_transfer_encoding(headers: &HeaderMap) -> Result<(), BadRequest> {
    let mut values = headers.get_all(TRANSFER_ENCODING).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(()),
        (Some(value), None) if value.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(BadRequest::TransferEncoding),
    }
}

/// The first tick after `received` that is not in the past.
fn next_tick(received: Instant, now: Instant) -> Instant {
    let ticks = now.saturating_duration_since(received).as_nanos() / REFUSAL_TICK.as_nanos() + 1;
    received + REFUSAL_TICK * u32::try_from(ticks).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_their_routes() {
        let webhook = |tenant: &str| Route::Webhook(tenant.to_owned());
        for (path, expected) in [
            ("/webhooks/acme", webhook("acme")),
            ("/webhooks/acme/", webhook("acme")),
            ("//webhooks///acme//", webhook("acme")),
            ("/webhooks/ac%2Dme", webhook("ac-me")),
            ("/%77ebhooks/%61cm%65%31", webhook("acme1")),
            ("/webhooks/a%2Fb", webhook("a%2Fb")),
            ("/webhooks/acme%20", webhook("acme%20")),
            ("/Webhooks/acme", Route::Unknown),
            ("/webhooks/", Route::Unknown),
            ("/webhooks//", Route::Unknown),
            ("/webhooks/a/b", Route::Unknown),
            ("/webhooks%2Facme", Route::Unknown),
            ("/webhooks/../webhooks/acme", Route::Unknown),
            ("/webhooks", Route::Unknown),
            (TICKET_CREATED, Route::TenantInBody(TICKET_CREATED)),
            ("/api//webhooks/ticket%2dcreated/", Route::TenantInBody(TICKET_CREATED)),
            (RESOLVED_TICKET, Route::TenantInBody(RESOLVED_TICKET)),
            ("/webhook/servicedesk/resolved-ticket/", Route::TenantInBody(RESOLVED_TICKET)),
            ("/api/webhooks/ticket-created/x", Route::Unknown),
            ("/healthz", Route::Health),
            ("/healthz/", Route::Unknown),
            ("//healthz", Route::Unknown),
            ("/health%7A", Route::Unknown),
            ("/readyz", Route::Ready),
            ("/readyz/", Route::Unknown),
        ] {
            assert_eq!(Route::of(path), expected, "{path}");
        }
    }

    #[test]
    fn a_refusal_waits_for_its_tick() {
        let received = Instant::now();
        for (ms, expected) in [(0, 25), (3, 25), (24, 25), (25, 50), (26, 50), (60, 75)] {
            let tick = next_tick(received, received + Duration::from_millis(ms));
            assert_eq!(tick - received, Duration::from_millis(expected), "{ms} ms");
        }
    }
}
