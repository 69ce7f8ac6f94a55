//! More webhooks than the plugin can validate: how many are accepted all the same, and how soon the others are refused.

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

use crate::{
    installation::{Installation, Programs},
    report::{Goal, Report, Row, median, quantile},
    silent_tool::{ONE_CALL_AT_A_TIME, SilentTool},
    webhooks::{self, FIRST_TICKET},
    whole::live_jobs,
};

/// Rounds; the middle one counts.
const ROUNDS: usize = 3;
/// Who sends, in turn: one tenant alone may not fill the queue.
const TENANTS: u64 = 8;
/// What the plugin takes over each webhook without using a processor, since the load generator shares them: with the one
/// fast lane that is the host's limit.
const SLOW_MS: &str = "slow_ms=1";
/// Connections that find out how much the host takes, each sending its next webhook when the one before is answered.
const CLOSED_CONNECTIONS: usize = 32;
const CLOSED_TIME: Duration = Duration::from_secs(2);
/// What is offered then, in parts of what it takes.
const OVERLOAD: f64 = 3.0;
const OVERLOAD_TIME: Duration = Duration::from_secs(5);

/// Measures it.
///
/// # Errors
/// When anything is answered but 202, or 503 or 429 with Retry-After; when nothing is refused; or when not exactly as many
/// jobs are in the store as were answered 202.
pub(crate) fn run(programs: &Programs, report: &mut Report) -> anyhow::Result<()> {
    // A connection for every webhook that waits.
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files })?;
    let tool = SilentTool::start()?;
    let installation = Installation::with_plugin(programs, &programs.slow)?;
    let host = installation.start(ONE_CALL_AT_A_TIME)?;
    let options = ["--tool-type=desk_hangs", "--set", SLOW_MS];
    for number in 0..TENANTS {
        installation.add_tenant_as(&tenant(number), &format!("http://{}", tool.address()), "unused", &options)?;
    }
    let address = host.address("webhooks")?.trim_start_matches("http://").parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut most, mut goodput, mut accepted, mut refused) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let next = Arc::new(AtomicU64::new(FIRST_TICKET));
    let mut jobs = 0;
    for _ in 0..ROUNDS {
        let closed = runtime.block_on(closed_loop(&Client::new(address, &next)?))?;
        ensure!(!closed.accepted_ms.is_empty(), "nothing was accepted");
        let open = runtime.block_on(open_loop(&Client::new(address, &next)?, closed.per_s * OVERLOAD))?;
        ensure!(!open.refused_ms.is_empty(), "{OVERLOAD} times what the host takes was not too much");
        jobs += closed.accepted_ms.len() + open.accepted_ms.len();
        most.push(closed.per_s);
        goodput.push(open.per_s);
        accepted.push(quantile(open.accepted_ms, 0.99));
        refused.push(quantile(open.refused_ms, 0.99));
    }
    let live = live_jobs(&host)?;
    ensure!(live == jobs as u64, "{jobs} webhooks were answered 202, but there are {live} jobs");
    host.kill();
    let mut add = |what: &str, unit, baseline, product, goal| {
        let what = format!("{what}, {OVERLOAD} times too much");
        report.add(Row { group: "overload", what, unit, baseline, product, goal });
    };
    add("webhooks accepted", "1/s", Some(median(most)), median(goodput), Some(Goal::RatioMin(0.9)));
    add("refused, p99", "ms", None, median(refused), Some(Goal::Figure(50.0)));
    add("accepted, p99", "ms", None, median(accepted), None);
    Ok(())
}

fn tenant(number: u64) -> String {
    format!("overload-{}", number % TENANTS)
}

/// What became of the webhooks of one loop.
#[derive(Default)]
struct Outcome {
    /// Answered 202 while webhooks were being sent.
    per_s: f64,
    /// Milliseconds from when each should have been sent to its answer.
    accepted_ms: Vec<f64>,
    refused_ms: Vec<f64>,
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

/// Each connection sends when it has its answer: the most that the host takes.
async fn closed_loop(client: &Arc<Client>) -> anyhow::Result<Outcome> {
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

/// Webhooks leave by the clock, whatever became of those before: what is late counts as late.
async fn open_loop(client: &Arc<Client>, per_s: f64) -> anyhow::Result<Outcome> {
    let started = Instant::now();
    let mut sent = JoinSet::new();
    for number in 0_u32.. {
        let after = Duration::from_secs_f64(f64::from(number) / per_s);
        if after >= OVERLOAD_TIME {
            break;
        }
        let planned = started + after;
        sleep_until(planned).await;
        let client = Arc::clone(client);
        sent.spawn(async move { Ok(vec![client.send(planned).await?]) });
    }
    Outcome::of(started, OVERLOAD_TIME, sent).await
}

/// Sends webhooks, each over a connection that waits for no other answer.
struct Client {
    address: SocketAddr,
    created_at: String,
    next: Arc<AtomicU64>,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

struct Answer {
    planned: Instant,
    at: Instant,
    is_accepted: bool,
}

impl Client {
    fn new(address: SocketAddr, next: &Arc<AtomicU64>) -> anyhow::Result<Arc<Self>> {
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
        let mut connection = match idle {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        connection.ready().await?;
        let response = connection.send_request(request).await.context("a webhook has no answer")?;
        let (head, body) = response.into_parts();
        let said = body.collect().await?.to_bytes();
        let at = Instant::now();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
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
        // What goes wrong with it, its sender says too.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }
}
