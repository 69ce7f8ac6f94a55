//! The admin API: HTTP on a Unix socket for plugin-ctl, and `/metrics` on a TCP address. Each noun has its own file.

use std::{panic, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    extract::{DefaultBodyLimit, Request},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{
    net::{TcpListener, UnixListener, UnixStream},
    sync::{Mutex, watch},
};

use self::{asker::Asker, fault::Fault, wire::Problem};
use crate::{
    clock::Clock,
    housekeeping::DiskRoom,
    plugin::{manager::PluginManager, routes::Routes, tokens::Tokens},
    queue::wakes::Wakes,
    store::Store,
    telemetry::metrics::{CONTENT_TYPE, Metrics},
    tenant::directory::TenantDirectory,
    worker::credentials::Credentials,
};

mod asker;
mod connections;
mod decisions;
mod events;
mod fault;
mod host;
mod jobs;
mod plugins;
mod socket;
mod tenants;
#[cfg(feature = "test-hooks")]
mod test_clock;
#[cfg(feature = "test-hooks")]
mod test_fault;
pub mod wire;

pub use self::{
    connections::{ADMIN_ANSWER_S_MAX, ADMIN_CONNECTIONS_MAX, ADMIN_DRAIN_S_MAX, ADMIN_HEADER_S_MAX},
    events::{EVENTS_LISTED_DEFAULT, EVENTS_LISTED_MAX, EVENTS_WAIT_S_MAX},
    jobs::{JOBS_LISTED_DEFAULT, JOBS_LISTED_MAX},
    socket::{BindError, bind},
    tenants::{GRACE_S_MAX, KEEP_DAYS_MAX, TENANTS_PER_REQUEST_MAX, TOOL_TYPE_DEFAULT},
};

/// Maximum size of a request body, in bytes: a file of many tenants.
pub const ADMIN_BODY_BYTES_MAX: usize = 16 << 20;

/// The parts of the host that the admin API shows and changes. It is cheap to clone.
#[derive(Clone)]
pub struct AdminParts {
    /// The host as `/v1/host` shows it.
    pub host: wire::Host,
    /// The plugins.
    pub manager: PluginManager,
    /// The routes from tool types to plugins.
    pub routes: Routes,
    /// The tenants.
    pub directory: TenantDirectory,
    /// The tenants' access tokens.
    pub tokens: Arc<Tokens>,
    /// The tenants whose credentials the tools refuse.
    pub credentials: Credentials,
    /// The jobs and the journal.
    pub store: Store,
    /// The room on the store's disk.
    pub disk: DiskRoom,
    /// The metrics.
    pub metrics: Metrics,
    /// The host's clock, which the feature `test-hooks` lets a request move.
    pub clock: Clock,
    /// Wakes the worker for jobs that are due.
    pub wakes: Wakes,
}

/// Serves the admin API until `shutdown`, then gives running requests [`ADMIN_DRAIN_S_MAX`] to end. The socket's file
/// stays; the caller removes it.
pub async fn serve(listener: UnixListener, parts: AdminParts, shutdown: impl Future<Output = ()> + Send) {
    // Requests that wait for events end when the sender is dropped. Otherwise they would delay the end of the host.
    let (ending, ended) = watch::channel(());
    let router = router(parts, ended);
    let router_for = |connection: &UnixStream| router.clone().layer(Extension(Asker::of(connection)));
    let shutdown = async move {
        shutdown.await;
        drop(ending);
    };
    connections::serve(listener, router_for, shutdown).await;
}

/// Serves `GET /metrics` and nothing else until `shutdown`.
pub async fn serve_metrics(listener: TcpListener, parts: AdminParts, shutdown: impl Future<Output = ()> + Send) {
    // Each scrape sets the gauges again. Two at once would show each other half-set gauges.
    let turn = Arc::new(Mutex::new(()));
    let scrape = move || {
        let (parts, turn) = (parts.clone(), Arc::clone(&turn));
        async move {
            let _turn = turn.lock().await;
            refresh_gauges(&parts).await;
            ([(header::CONTENT_TYPE, CONTENT_TYPE)], parts.metrics.encode())
        }
    };
    let router = Router::new().route("/metrics", get(scrape));
    connections::serve(listener, |_| router.clone(), shutdown).await;
}

/// Sets the gauges from the state of the manager and the store. If the store cannot be read, its gauges stay as they
/// were and the log says so.
async fn refresh_gauges(parts: &AdminParts) {
    parts.metrics.set_generations(parts.manager.generation_counts());
    let paused = parts.directory.list().iter().filter(|tenant| parts.directory.is_paused(tenant)).count();
    parts.metrics.set_paused_tenants(paused);
    let refused = parts.directory.list().iter().filter(|tenant| parts.credentials.are_refused(tenant)).count();
    parts.metrics.set_refused_tenants(refused);
    match parts.store.depth().await {
        Ok(depth) => parts.metrics.set_queue(
            usize::try_from(depth.live).unwrap_or(usize::MAX),
            usize::try_from(depth.dead).unwrap_or(usize::MAX),
            Duration::from_millis(u64::try_from(depth.oldest_age_ms).unwrap_or(0)),
        ),
        Err(error) => tracing::warn!(%error, "the queue cannot be counted; its gauges are those of the last scrape"),
    }
}

fn router(parts: AdminParts, ended: watch::Receiver<()>) -> Router {
    let journal = parts.manager.journal().clone();
    let router = plugins::routes(parts.manager.clone())
        .merge(decisions::routes(parts.manager.clone()))
        .merge(host::routes(parts.host, parts.manager))
        .merge(tenants::routes(tenants::Parts {
            directory: parts.directory.clone(),
            routes: parts.routes,
            tokens: parts.tokens,
            store: parts.store.clone(),
            disk: parts.disk.clone(),
            metrics: parts.metrics,
            journal: journal.clone(),
            clock: parts.clock.clone(),
            wakes: parts.wakes.clone(),
        }))
        .merge(events::routes(parts.store.clone(), journal.clone(), ended))
        .merge(jobs::routes(
            parts.directory,
            parts.credentials,
            parts.store,
            parts.disk,
            parts.clock.clone(),
            journal,
            parts.wakes.clone(),
        ));
    #[cfg(feature = "test-hooks")]
    let router = router.merge(test_clock::routes(parts.clock, parts.wakes)).merge(test_fault::routes());
    router
        .fallback(async || Fault::unknown_route())
        .method_not_allowed_fallback(async || Fault::unknown_route())
        .layer(DefaultBodyLimit::max(ADMIN_BODY_BYTES_MAX))
        .layer(middleware::from_fn(to_the_end))
}

/// Lets a changing request run to its end even if the client disconnects, so that the change is always journalled.
async fn to_the_end(request: Request, next: Next) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    match tokio::spawn(next.run(request)).await {
        Ok(response) => response,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => panic::resume_unwind(panic),
            // The runtime is shutting down.
            Err(_) => {
                let problem = Problem::new("ENDING", "the host ends").mend("ask again once it has started");
                Fault::new(StatusCode::SERVICE_UNAVAILABLE, problem).into_response()
            }
        },
    }
}

#[cfg(test)]
mod tests;
