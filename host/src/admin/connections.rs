//! Connections to the admin API and to `/metrics`. Limits apply to their number, to the time for a request's headers,
//! and to the time in which the client reads nothing of an answer.

use std::{pin::pin, sync::Arc, time::Duration};

use axum::{Router, serve::Listener};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::sync::Semaphore;

use crate::http::stalled::NeverStalled;

/// Maximum number of open connections of each listener; further ones wait to be accepted.
pub const ADMIN_CONNECTIONS_MAX: usize = 64;
/// Maximum time for a request's headers, and for an idle connection, in seconds.
pub const ADMIN_HEADER_S_MAX: u64 = 10;
/// Maximum time in which a client reads nothing of what is sent to it, in seconds.
pub const ADMIN_ANSWER_S_MAX: u64 = 10;
/// Maximum time for running requests after the shutdown, in seconds.
pub const ADMIN_DRAIN_S_MAX: u64 = 5;

/// Serves each connection with a router made for it until `shutdown`. Then closes the listener and lets requests end.
pub(super) async fn serve<L: Listener>(
    mut listener: L,
    router_for: impl Fn(&L::Io) -> Router + Send,
    shutdown: impl Future<Output = ()> + Send,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(ADMIN_HEADER_S_MAX));
    let (places, graceful) = (Arc::new(Semaphore::new(ADMIN_CONNECTIONS_MAX)), GracefulShutdown::new());
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await.0)
        };
        let (place, io) = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accepted => accepted,
        };
        let service = TowerToHyperService::new(router_for(&io));
        let io = TokioIo::new(NeverStalled::new(io, Duration::from_secs(ADMIN_ANSWER_S_MAX)));
        let connection = graceful.watch(http.serve_connection(io, service));
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the admin API ended early");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(Duration::from_secs(ADMIN_DRAIN_S_MAX), graceful.shutdown()).await.is_err() {
        tracing::warn!("requests to the admin API were still under way {ADMIN_DRAIN_S_MAX} s after the shutdown");
    }
}
