//! Webhooks of several tenants in a closed and in an open loop, each over a connection that waits for no other answer.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, StatusCode,
    client::conn::http1::{SendRequest, handshake},
    header::{CONTENT_TYPE, HOST, RETRY_AFTER},
};
use hyper_util::rt::TokioIo;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::webhooks;

/// The tenants, which take turns: one alone may not fill the queue.
pub(crate) const TENANTS: u64 = 8;
/// Connections that measure how much the host takes. Each sends its next webhook when the last one is answered.
const CLOSED_CONNECTIONS: usize = 32;
const CLOSED_TIME: Duration = Duration::from_secs(2);
/// Longest idle time of a connection that is used again: the host closes those that are idle for 10 s.
const IDLE_MAX: Duration = Duration::from_secs(5);

/// Allows this process a connection for every waiting webhook.
///
/// # Errors
/// When the system does not allow it.
pub(crate) fn allow_connections() -> anyhow::Result<()> {
    let files = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files })?)
}

/// The tenant whose turn it is.
pub(crate) fn tenant(number: u64) -> String {
    format!("tenant-{}", number % TENANTS)
}

/// The results of one loop.
#[derive(Default)]
pub(crate) struct Outcome {
    /// Webhooks answered 202 per second while they were being sent.
    pub(crate) per_s: f64,
    /// Milliseconds from the scheduled sending of each webhook to its answer.
    pub(crate) accepted_ms: Vec<f64>,
    /// The same for refused webhooks.
    pub(crate) refused_ms: Vec<f64>,
}

impl Outcome {
    async fn of(
        started: Instant,
        time: Duration,
        mut sent: JoinSet<anyhow::Result<Vec<Answer>>>,
    ) -> anyhow::Result<Self> {
        let (mut outcome, mut in_time) = (Self::default(), 0_u32);
        while let Some(answers) = sent.join_next().await {
            for Answer { planned, at, is_accepted } in answers?? {
                let to = if is_accepted { &mut outcome.accepted_ms } else { &mut outcome.refused_ms };
                to.push((at - planned).as_secs_f64() * 1e3);
                in_time += u32::from(is_accepted && at <= started + time);
            }
        }
        outcome.per_s = f64::from(in_time) / time.as_secs_f64();
        Ok(outcome)
    }
}

/// Sends the next webhook on each connection once the last one is answered: the most that the host takes.
///
/// # Errors
/// As [`open_loop`].
pub(crate) async fn closed_loop(client: &Arc<Client>) -> anyhow::Result<Outcome> {
    let started = Instant::now();
    let mut sent = JoinSet::new();
    for _ in 0..CLOSED_CONNECTIONS {
        let client = Arc::clone(client);
        sent.spawn(async move {
            let mut answers = Vec::new();
            while started.elapsed() < CLOSED_TIME {
                answers.push(client.send(Instant::now()).await?);
            }
            Ok(answers)
        });
    }
    Outcome::of(started, CLOSED_TIME, sent).await
}

/// Sends webhooks by the clock, whatever becomes of earlier ones; late ones count as late. Ends before the first that
/// should not be sent, by its number and its time after the first.
///
/// # Errors
/// When one gets no answer, or another than 202, or 503 or 429 with Retry-After.
pub(crate) async fn open_loop(
    client: &Arc<Client>,
    per_s: f64,
    is_sent: impl Fn(u32, Duration) -> bool,
) -> anyhow::Result<Outcome> {
    let started = Instant::now();
    let mut sent = JoinSet::new();
    let mut time = Duration::ZERO;
    for number in 0_u32.. {
        time = Duration::from_secs_f64(f64::from(number) / per_s);
        if !is_sent(number, time) {
            break;
        }
        let planned = started + time;
        sleep_until(planned).await;
        let client = Arc::clone(client);
        sent.spawn(async move { Ok(vec![client.send(planned).await?]) });
    }
    Outcome::of(started, time, sent).await
}

/// Sends webhooks, each over a connection that waits for no other answer.
pub(crate) struct Client {
    address: SocketAddr,
    created_at: String,
    next: Arc<AtomicU64>,
    /// Idle connections, and since when.
    idle: Mutex<Vec<(Instant, SendRequest<Full<Bytes>>)>>,
}

struct Answer {
    planned: Instant,
    at: Instant,
    is_accepted: bool,
}

impl Client {
    /// A client for this address. Tickets are numbered from `next`.
    ///
    /// # Errors
    /// When the current time cannot be written into webhooks.
    pub(crate) fn new(address: SocketAddr, next: &Arc<AtomicU64>) -> anyhow::Result<Arc<Self>> {
        let (created_at, next) = (webhooks::now()?, Arc::clone(next));
        Ok(Arc::new(Self { address, created_at, next, idle: Mutex::default() }))
    }

    async fn send(&self, planned: Instant) -> anyhow::Result<Answer> {
        let ticket = self.next.fetch_add(1, Ordering::Relaxed);
        let tenant = tenant(ticket);
        let webhook = webhooks::created(&tenant, ticket, &self.created_at);
        let request = Request::post(format!("/webhooks/{tenant}"))
            .header(HOST, "localhost")
            .header(CONTENT_TYPE, "application/json")
            .header("x-webhook-signature", format!("sha256={}", webhook.signature))
            .body(Full::new(Bytes::from(webhook.body)))?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = match idle.filter(|(since, _)| since.elapsed() < IDLE_MAX) {
            Some((_, connection)) => connection,
            None => self.connect().await?,
        };
        connection.ready().await?;
        let response = connection.send_request(request).await.context("a webhook has no answer")?;
        let (head, body) = response.into_parts();
        let said = body.collect().await?.to_bytes();
        let at = Instant::now();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push((at, connection));
        let is_accepted = match head.status {
            StatusCode::ACCEPTED => true,
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => false,
            other => anyhow::bail!("a webhook was answered {other}: {}", String::from_utf8_lossy(&said)),
        };
        let may_come_again = head.headers.contains_key(RETRY_AFTER);
        ensure!(is_accepted || may_come_again, "{} without Retry-After", head.status);
        Ok(Answer { planned, at, is_accepted })
    }

    async fn connect(&self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // The sender reports its errors too.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }
}
