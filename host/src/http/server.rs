//! Connections: how many, how long they may take over a header, and how they end.

use std::{convert::Infallible, future::Future, io, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use super::routes::FrontDoor;

/// Most bytes of a request's head.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Most headers of a request.
const HEADERS_MAX: usize = 100;
/// How long accepting rests when the process has no file descriptors left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Serves connections until `shutdown` ends, then lets open ones finish what they have begun, for `drain_max` at most.
pub async fn serve(listener: TcpListener, door: FrontDoor, shutdown: impl Future<Output = ()>, drain_max: Duration) {
    let door = Arc::new(door);
    let mut connections_max = door.limits.now().connections_max;
    let places = Arc::new(Semaphore::new(connections_max));
    let graceful = GracefulShutdown::new();
    tokio::pin!(shutdown);
    loop {
        resize(&places, &mut connections_max, door.limits.now().connections_max);
        // Beyond the limit connections wait in the kernel's queue instead of in our memory.
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place.expect("the semaphore is never closed"),
            () = &mut shutdown => break,
        };
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => start(stream, place, &door, &graceful),
                Err(fault) => rest(&fault).await,
            },
            () = &mut shutdown => break,
        }
    }
    drop(listener);
    if tokio::time::timeout(drain_max, graceful.shutdown()).await.is_err() {
        tracing::warn!("connections were still open after {} s; they are cut", drain_max.as_secs());
    }
}

/// Follows a reload of the limit. Places that are taken are given back by their connections, so shrinking takes what is free.
fn resize(places: &Semaphore, have: &mut usize, want: usize) {
    if want > *have {
        places.add_permits(want - *have);
        *have = want;
    } else {
        *have -= places.forget_permits(*have - want);
    }
}

fn start(stream: TcpStream, place: OwnedSemaphorePermit, door: &Arc<FrontDoor>, graceful: &GracefulShutdown) {
    // Answers are small and complete: waiting for more to send would only delay them.
    if let Err(fault) = stream.set_nodelay(true) {
        tracing::debug!("a connection ended at once: {fault}");
        return;
    }
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(door.limits.now().header_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), {
            let door = Arc::clone(door);
            service_fn(move |request| {
                let door = Arc::clone(&door);
                async move { Ok::<_, Infallible>(door.answer(request).await) }
            })
        });
    let connection = graceful.watch(connection);
    let counted = door.metrics.connection();
    tokio::spawn(async move {
        if let Err(fault) = connection.await {
            tracing::debug!("a connection ended badly: {fault}");
        }
        drop((counted, place));
    });
}

async fn rest(fault: &io::Error) {
    tracing::warn!("no connection could be accepted: {fault}; raise the limit of open files if this goes on");
    tokio::time::sleep(EXHAUSTED_PAUSE).await;
}
