//! Connections: how many there may be, how long a header and an answer may take, and how connections end.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use super::{
    linger::{Lingering, Unread},
    routes::FrontDoor,
    stalled::NeverStalled,
};
use crate::{open_files::OpenFiles, telemetry::seldom::SeldomBy};

/// Maximum size of a request's head, in bytes. A connection also keeps this much memory between requests and while a
/// body arrives, so all connections hold at most `server.connections_max` times this.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Maximum number of headers in a request.
const HEADERS_MAX: usize = 100;
/// Maximum size of answers that wait in the kernel for a client, in bytes. Without a limit, the kernel keeps megabytes
/// for each connection.
const ANSWER_BYTES_WAITING_MAX: u32 = 16 << 10;
/// Maximum number of connections that wait to be accepted.
const BACKLOG: u32 = 1 << 10;
/// Minimum time between two warnings that no connection can be accepted.
const TOLD_EVERY: Duration = Duration::from_secs(10);
/// How long accepting pauses when the process has no file descriptors left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Listens on an address, with limits on what the kernel keeps for a client.
///
/// # Errors
/// If the address does not exist or is in use.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restarted host must not wait until the kernel has forgotten its predecessor's connections.
    socket.set_reuseaddr(true)?;
    // Connections inherit this from their listener.
    socket.set_send_buffer_size(ANSWER_BYTES_WAITING_MAX)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves connections until `shutdown` completes, then gives open ones at most `drain_max` to finish their requests.
pub async fn serve(
    listener: TcpListener,
    door: FrontDoor,
    files: OpenFiles,
    shutdown: impl Future<Output = ()>,
    drain_max: Duration,
) {
    let door = Arc::new(door);
    let mut connections_max = wanted(&door, files);
    let exhausted = SeldomBy::new(TOLD_EVERY, 1);
    let places = Arc::new(Semaphore::new(connections_max));
    let graceful = GracefulShutdown::new();
    tokio::pin!(shutdown);
    loop {
        resize(&places, &mut connections_max, wanted(&door, files));
        // Beyond the limit, connections wait in the kernel's queue instead of in our memory.
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place.expect("the semaphore is never closed"),
            () = &mut shutdown => break,
        };
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => start(stream, peer.ip(), place, &door, &graceful),
                Err(fault) => rest(&fault, &exhausted).await,
            },
            () = &mut shutdown => break,
        }
    }
    drop(listener);
    if tokio::time::timeout(drain_max, graceful.shutdown()).await.is_err() {
        tracing::warn!("connections were still open after {} s; they are cut", drain_max.as_secs());
    }
}

/// Maximum number of connections under the current limits.
fn wanted(door: &FrontDoor, files: OpenFiles) -> usize {
    let limits = door.limits.now();
    limits.connections_max.min(files.connections_max(limits.concurrency))
}

/// Adjusts to a reloaded limit. Shrinking takes free places only, because connections still hold the others.
fn resize(places: &Semaphore, have: &mut usize, want: usize) {
    if want > *have {
        places.add_permits(want - *have);
        *have = want;
    } else {
        *have -= places.forget_permits(*have - want);
    }
}

fn start(
    stream: TcpStream,
    peer: IpAddr,
    place: OwnedSemaphorePermit,
    door: &Arc<FrontDoor>,
    graceful: &GracefulShutdown,
) {
    // Answers are small and complete, so waiting for more to send would only delay them.
    if let Err(fault) = stream.set_nodelay(true) {
        tracing::debug!("a connection ended at once: {fault}");
        return;
    }
    let limits = door.limits.now();
    let unread = Unread::default();
    let stream = Lingering::new(NeverStalled::new(stream, limits.answer_timeout), unread.clone());
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), {
            let door = Arc::clone(door);
            service_fn(move |request| {
                let (door, unread) = (Arc::clone(&door), unread.clone());
                async move { Ok::<_, Infallible>(door.answer(request, peer, &unread).await) }
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

async fn rest(fault: &io::Error, exhausted: &SeldomBy<()>) {
    use io::ErrorKind as K;
    if matches!(fault.kind(), K::ConnectionAborted | K::ConnectionReset | K::ConnectionRefused | K::Interrupted) {
        // That connection was gone before it was accepted; the next one need not wait.
        return;
    }
    if exhausted.due(()).is_some() {
        tracing::warn!("no connection can be accepted: {fault}; they wait, and are tried again and again");
    }
    tokio::time::sleep(EXHAUSTED_PAUSE).await;
}
