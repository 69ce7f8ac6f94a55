//! From accepted webhooks to notes on tickets: how fast the host works off a backlog, and how soon a single webhook's
//! note is posted, compared with a plain client that makes the same two requests to the same tool.

use std::{
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use sandbox::{DEFAULT_TOKEN, Sandbox, SandboxConfig, TicketFields, Tool};
use ureq::Agent;

use crate::{
    installation::{Installation, Programs},
    process::Server,
    report::{Goal, Report, Row, quantile},
    silent_tool::{ONE_CALL_AT_A_TIME, SilentTool},
    webhooks::{self, FIRST_TICKET, SIGNATURE_HEADER, TENANT},
};

const TOOL: Tool = Tool::ServicedeskPlus;
/// Number of webhooks in the backlog.
const BACKLOG: u64 = 4_000;
/// Number of webhooks sent one by one, each after the previous one's note.
const SINGLES: u64 = 200;
/// Threads of the plain client: as many as the host has slow lanes for one plugin.
const CLIENTS: usize = 32;
/// One tenant may use all permits of the worker; the rest is the default.
const ALL_FOR_ONE: &str = "[worker]\nconcurrency = 64\nper_tenant = 64\n";
/// Maximum time for all notes.
const NOTES_TIME_MAX: Duration = Duration::from_secs(60);
/// Length of the host's notes on these tickets.
const NOTE_BYTES: usize = 450;

/// Measures both.
///
/// # Errors
/// When a webhook is not accepted, or a note does not come.
pub(crate) fn run(programs: &Programs, report: &mut Report) -> anyhow::Result<()> {
    let backlog = FIRST_TICKET..FIRST_TICKET + BACKLOG;
    let singles = backlog.end..backlog.end + SINGLES;
    let plain = singles.end..singles.end + BACKLOG;

    let installation = Installation::new(programs, 1)?;
    let address = pile_up(&installation, backlog.clone())?;
    let tool = Sandbox::start(SandboxConfig { listen: address, ..SandboxConfig::default() })?;
    for ticket in backlog.start..plain.end {
        tool.put_ticket(TOOL, &ticket.to_string(), TicketFields::default())?;
    }

    // Half of the plain requests come before the host's and half after, so that a slow moment affects both.
    let middle = plain.start + BACKLOG / 2;
    let before = plain_rate(&tool, plain.start..middle)?;
    let host = installation.start(ALL_FOR_ONE)?;
    let started = Instant::now();
    installation.plugin_ctl(&["tenant", "enable", TENANT])?;
    for ticket in backlog {
        tool.wait_for_notes(TOOL, &ticket.to_string(), 1, NOTES_TIME_MAX)?;
    }
    let rate = BACKLOG as f64 / started.elapsed().as_secs_f64();
    let after = plain_rate(&tool, middle..plain.end)?;
    report.add(Row {
        group: "pipeline",
        what: format!("jobs worked off, backlog of {BACKLOG}"),
        unit: "1/s",
        baseline: Some(f64::midpoint(before, after)),
        product: rate,
        goal: Some(Goal::FigureMin(1_500.0)),
    });
    one_by_one(&host, &tool, singles, plain.start, report)?;
    host.stop()
}

/// Accepts the webhooks while the tool does not answer, and leaves the tenant disabled, so that all of them start
/// together. Returns the future address of the tool.
fn pile_up(installation: &Installation<'_>, tickets: Range<u64>) -> anyhow::Result<std::net::SocketAddr> {
    let silent = SilentTool::start()?;
    let address = silent.address();
    let host = installation.start(ONE_CALL_AT_A_TIME)?;
    installation.add_tenant(&format!("http://{address}/servicedesk"), DEFAULT_TOKEN)?;
    let sender = Sender::to(&host, TENANT)?;
    each(tickets, |ticket| sender.send(ticket))?;
    installation.plugin_ctl(&["tenant", "disable", TENANT])?;
    // A graceful end would wait for the call that is never answered.
    host.kill();
    Ok(address)
}

fn one_by_one(
    host: &Server,
    tool: &Sandbox,
    tickets: Range<u64>,
    plain_ticket: u64,
    report: &mut Report,
) -> anyhow::Result<()> {
    let sender = Sender::to(host, TENANT)?;
    let client = PlainClient::of(tool);
    let (mut plain, mut noted) = (Vec::new(), Vec::new());
    for ticket in tickets {
        let started = Instant::now();
        client.read_and_note(plain_ticket)?;
        plain.push(started.elapsed().as_secs_f64() * 1e3);
        let started = Instant::now();
        sender.send(ticket)?;
        tool.wait_for_notes(TOOL, &ticket.to_string(), 1, NOTES_TIME_MAX)?;
        noted.push(started.elapsed().as_secs_f64() * 1e3);
    }
    for (what, part) in [("p50", 0.5), ("p99", 0.99)] {
        report.add(Row {
            group: "pipeline",
            what: format!("one webhook sent until its note is there, {what}"),
            unit: "ms",
            baseline: Some(quantile(plain.iter().copied(), part)),
            product: quantile(noted.iter().copied(), part),
            goal: None,
        });
    }
    Ok(())
}

/// Jobs per second of a client that stores nothing: it reads each ticket and posts a note.
fn plain_rate(tool: &Sandbox, tickets: Range<u64>) -> anyhow::Result<f64> {
    let client = PlainClient::of(tool);
    let (count, started) = (tickets.end - tickets.start, Instant::now());
    each(tickets, |ticket| client.read_and_note(ticket))?;
    Ok(count as f64 / started.elapsed().as_secs_f64())
}

/// Does something for each ticket, on as many threads as the plain client has.
fn each(tickets: Range<u64>, act: impl Fn(u64) -> anyhow::Result<()> + Sync) -> anyhow::Result<()> {
    let next = AtomicU64::new(tickets.start);
    let work = || {
        loop {
            let ticket = next.fetch_add(1, Ordering::Relaxed);
            if ticket >= tickets.end {
                return Ok(());
            }
            act(ticket)?;
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a client does not panic"))
    })
}

fn agent() -> Agent {
    Agent::config_builder()
        .timeout_global(Some(NOTES_TIME_MAX))
        .max_idle_connections(CLIENTS)
        .max_idle_connections_per_host(CLIENTS)
        .proxy(None)
        .build()
        .into()
}

/// Sends webhooks as the tool would.
pub(crate) struct Sender {
    agent: Agent,
    tenant: &'static str,
    url: String,
    created_at: String,
}

impl Sender {
    /// A sender of webhooks for this tenant.
    ///
    /// # Errors
    /// When the host has not reported its address.
    pub(crate) fn to(host: &Server, tenant: &'static str) -> anyhow::Result<Self> {
        let url = format!("{}/webhooks/{tenant}", host.address("webhooks")?);
        Ok(Self { agent: agent(), tenant, url, created_at: webhooks::now()? })
    }

    /// Sends the webhook about a ticket's creation.
    ///
    /// # Errors
    /// When it is not accepted.
    pub(crate) fn send(&self, ticket: u64) -> anyhow::Result<()> {
        let webhook = webhooks::created(self.tenant, ticket, &self.created_at);
        let request = self.agent.post(&self.url).header("content-type", "application/json");
        let mut answer = request.header(SIGNATURE_HEADER, &webhook.signature).send(&webhook.body)?;
        let said = answer.body_mut().read_to_string()?;
        ensure!(said.contains("\"accepted\""), "a webhook was answered {}: {said}", answer.status());
        Ok(())
    }
}

/// Makes the two requests that the host's plugin makes for a job.
struct PlainClient {
    agent: Agent,
    base_url: String,
    note: String,
}

impl PlainClient {
    const ACCEPT: &str = "application/vnd.manageengine.sdp.v3+json";

    fn of(tool: &Sandbox) -> Self {
        let description = "x".repeat(NOTE_BYTES);
        let note =
            serde_json::json!({ "note": { "description": description, "show_to_requester": false } }).to_string();
        Self { agent: agent(), base_url: tool.base_url(TOOL), note }
    }

    fn read_and_note(&self, ticket: u64) -> anyhow::Result<()> {
        let url = format!("{}/api/v3/requests/{ticket}", self.base_url);
        let get = self.agent.get(&url).header("authtoken", DEFAULT_TOKEN).header("accept", Self::ACCEPT);
        get.call().and_then(|mut answer| answer.body_mut().read_to_vec()).context("reading a ticket")?;
        let post = self.agent.post(format!("{url}/notes")).header("authtoken", DEFAULT_TOKEN);
        let post = post.header("accept", Self::ACCEPT).send_form([("input_data", &self.note)]);
        post.and_then(|mut answer| answer.body_mut().read_to_vec()).context("posting a note")?;
        Ok(())
    }
}
