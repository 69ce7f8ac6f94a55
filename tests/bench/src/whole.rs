//! Whole jobs, from the webhook to the history, with a plugin that is its own tool: the cost of the host itself,
//! durable at both ends.

use std::{
    ops::Range,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};

use crate::{
    installation::{Installation, Programs},
    process::Server,
    report::{Goal, Report, Row, median},
    webhooks::{FIRST_TICKET, PreparedRequests, SIGNATURE_HEADER, TENANT},
    wrk,
};

/// Number of rounds; the median counts.
const ROUNDS: u64 = 3;
/// How long webhooks are sent in a round, in seconds.
const ROUND_S: u32 = 3;
const CONNECTIONS: u32 = 64;
/// More unique webhooks than the host takes in a round.
const PER_ROUND_MAX: u64 = 180_000;
/// One tenant may use all permits of the worker, and there are enough of them to fill commits.
const WORKER: &str = "[worker]\nconcurrency = 1024\nper_tenant = 1024\n";
/// Interval between two checks of the finished jobs.
const LOOK: Duration = Duration::from_millis(5);
/// Maximum time for all jobs of a round.
const DONE_TIME_MAX: Duration = Duration::from_secs(120);

/// Measures it.
///
/// # Errors
/// When a webhook is not accepted, or a job is not done in time.
pub(crate) fn run(programs: &Programs, report: &mut Report) -> anyhow::Result<()> {
    let installation = Installation::with_plugin(programs, &programs.instant)?;
    let host = installation.start(WORKER)?;
    let header = format!("--set=header={SIGNATURE_HEADER}");
    let scheme = ["--tool-type=desk_schemes", "--set=scheme=hex", &header];
    installation.add_tenant_as(TENANT, "http://127.0.0.1:9", "unused", &scheme)?;
    let (mut whole, mut after) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let first = FIRST_TICKET + round * PER_ROUND_MAX;
        let (both, work) = measure(&host, first..first + PER_ROUND_MAX)?;
        whole.push(both);
        after.extend(work);
    }
    let mut add = |what: String, product, goal| {
        report.add(Row { group: "whole", what, unit: "1/s", baseline: None, product, goal });
    };
    let goal = Some(Goal::FigureMin(10_000.0));
    add(format!("jobs accepted and done, wrk -t1 -c{CONNECTIONS}"), median(whole), goal);
    if !after.is_empty() {
        add("jobs done once nothing more is sent".to_owned(), median(after), None);
    }
    host.stop()
}

/// Jobs per second from the first webhook to the end of the last job; and those of the jobs left after the last
/// webhook, if there were enough to measure.
fn measure(host: &Server, tickets: Range<u64>) -> anyhow::Result<(f64, Option<f64>)> {
    let requests = PreparedRequests::write(tickets)?;
    let (started, before) = (Instant::now(), Counts::of(host)?);
    ensure!(before.live == 0, "{} jobs are left of the round before", before.live);
    wrk::run(host.address("webhooks")?, CONNECTIONS, ROUND_S, &requests)?;
    let (sent, at_end) = (Instant::now(), Counts::of(host)?);
    let mut now = Counts::of(host)?;
    while now.live > 0 {
        ensure!(sent.elapsed() < DONE_TIME_MAX, "{} jobs are not done", now.live);
        thread::sleep(LOOK);
        now = Counts::of(host)?;
    }
    let rate = |from: &Counts, since: Instant| (now.done - from.done) as f64 / since.elapsed().as_secs_f64();
    let left = now.done - at_end.done;
    Ok((rate(&before, started), (left > 1_000).then(|| rate(&at_end, sent))))
}

/// Unfinished jobs in the host's store.
///
/// # Errors
/// When its metrics cannot be read.
pub(crate) fn live_jobs(host: &Server) -> anyhow::Result<u64> {
    Ok(Counts::of(host)?.live)
}

/// The host's own counts.
pub(crate) struct Counts {
    /// Unfinished jobs in the store.
    pub(crate) live: u64,
    /// Attempts that ended with a note.
    pub(crate) done: u64,
}

impl Counts {
    /// Reads the counts from the host's metrics.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(crate) fn of(host: &Server) -> anyhow::Result<Self> {
        let metrics = ureq::get(format!("{}/metrics", host.address("metrics")?)).call()?.body_mut().read_to_string()?;
        let value = |series: &str| metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        let live = value(r#"patchbay_queue_jobs{state="live"}"#).context("/metrics has no patchbay_queue_jobs")?;
        // The metric is missing before the first one.
        let done = value(r#"patchbay_job_attempts_total{outcome="done"}"#).unwrap_or("0");
        Ok(Self { live: live.parse()?, done: done.parse()? })
    }
}
