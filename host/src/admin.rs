//! The admin API: HTTP on a Unix socket for plugin-ctl, and `/metrics` on a TCP address. One file for each noun.

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::DefaultBodyLimit, http::header, routing::get};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::Mutex,
};

use self::fault::Fault;
use crate::{
    ids::TenantId,
    plugin::manager::PluginManager,
    store::Store,
    telemetry::metrics::{CONTENT_TYPE, Metrics},
    tenant::directory::TenantDirectory,
};

#[cfg(feature = "test-hooks")]
mod clock;
mod connections;
mod fault;
mod jobs;
mod plugins;
mod socket;
mod tenants;
pub mod wire;

pub use self::{
    connections::{ADMIN_CONNECTIONS_MAX, ADMIN_DRAIN_S_MAX, ADMIN_HEADER_S_MAX},
    jobs::{JOBS_LISTED_DEFAULT, JOBS_LISTED_MAX},
    socket::{BindError, bind},
    tenants::{GRACE_S_MAX, TENANTS_PER_REQUEST_MAX},
};

/// Largest body that the admin API reads, in bytes: a file of many tenants.
pub const ADMIN_BODY_BYTES_MAX: usize = 16 << 20;

/// Tells the worker that jobs may have become due: of this tenant or, with `None`, of any. Called on the runtime; must
/// not block.
pub type Wake = Arc<dyn Fn(Option<&TenantId>) + Send + Sync>;

/// What the admin API shows and changes.
#[derive(Clone)]
pub struct AdminParts {
    /// The plugins.
    pub manager: PluginManager,
    /// The tenants.
    pub directory: TenantDirectory,
    /// The jobs.
    pub store: Store,
    /// Whom to tell about jobs that are due.
    pub wake: Wake,
}

/// Serves the admin API until `shutdown`, then for [`ADMIN_DRAIN_S_MAX`] lets what is under way end, and removes the
/// socket's file.
pub async fn serve(listener: UnixListener, parts: AdminParts, shutdown: impl Future<Output = ()> + Send) {
    let file = listener.local_addr().ok().and_then(|address| address.as_pathname().map(std::path::Path::to_owned));
    connections::serve(listener, router(parts), shutdown).await;
    if let Some(Err(error)) = file.as_ref().map(std::fs::remove_file) {
        tracing::debug!(%error, "the admin socket's file stays behind; the next start removes it");
    }
}

/// Serves `GET /metrics` and nothing else until `shutdown`. `refresh` sets the gauges that are not kept up to date by
/// events, one call at a time; see [`refresh_gauges`].
pub async fn serve_metrics<F, R>(
    listener: TcpListener,
    metrics: Metrics,
    refresh: F,
    shutdown: impl Future<Output = ()> + Send,
) where
    F: Fn() -> R + Clone + Send + Sync + 'static,
    R: Future<Output = ()> + Send,
{
    // Gauges are set anew for each scrape: two at once would show each other half of them.
    let turn = Arc::new(Mutex::new(()));
    let scrape = move || {
        let (metrics, refresh, turn) = (metrics.clone(), refresh.clone(), Arc::clone(&turn));
        async move {
            let _turn = turn.lock().await;
            refresh().await;
            ([(header::CONTENT_TYPE, CONTENT_TYPE)], metrics.encode())
        }
    };
    connections::serve(listener, Router::new().route("/metrics", get(scrape)), shutdown).await;
}

/// Sets the gauges that follow from what the manager and the store hold. A store that cannot be read leaves its gauges
/// as they were, and says so in the log.
pub async fn refresh_gauges(metrics: &Metrics, manager: &PluginManager, store: &Store) {
    metrics.set_generations(manager.generation_counts());
    match store.depth().await {
        Ok(depth) => metrics.set_queue(
            usize::try_from(depth.live).unwrap_or(usize::MAX),
            usize::try_from(depth.dead).unwrap_or(usize::MAX),
            Duration::from_millis(u64::try_from(depth.oldest_age_ms).unwrap_or(0)),
        ),
        Err(error) => tracing::warn!(%error, "the queue cannot be counted; its gauges are those of the last scrape"),
    }
}

fn router(parts: AdminParts) -> Router {
    let AdminParts { manager, directory, store, wake } = parts;
    let router = plugins::routes(manager)
        .merge(tenants::routes(directory, store.clone(), Arc::clone(&wake)))
        .merge(jobs::routes(store.clone(), Arc::clone(&wake)));
    #[cfg(feature = "test-hooks")]
    let router = router.merge(clock::routes(store.clock().clone(), wake));
    bounded(router)
}

/// The answers to what no route takes, and the limit of bodies.
fn bounded(router: Router) -> Router {
    router
        .fallback(async || Fault::unknown_route())
        .method_not_allowed_fallback(async || Fault::unknown_route())
        .layer(DefaultBodyLimit::max(ADMIN_BODY_BYTES_MAX))
}

#[cfg(test)]
mod tests;
