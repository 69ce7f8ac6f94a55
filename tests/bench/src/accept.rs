//! The cost of a durable accept: webhooks to the host with a native plugin, alternating with a bare hyper server.

use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::{
    installation::{Installation, Programs},
    process::Server,
    report::{Goal, Report, Row, median},
    silent_tool::{ONE_CALL_AT_A_TIME, SilentTool},
    webhooks::{FIRST_TICKET, PreparedRequests},
    wrk::{self, Measured},
};

/// Number of rounds of each; the median counts.
const ROUNDS: usize = 3;
/// Length of a round, in seconds.
const ROUND_S: u32 = 3;
/// Connections, and more unique webhooks than the host accepts per second over that many.
const LOADS: [(u32, u64); 2] = [(64, 60_000), (1, 12_000)];

/// One round.
struct Sample {
    per_s: f64,
    p50_us: f64,
    p99_us: f64,
    cpu_us: f64,
}

/// Measures with 64 connections and with one.
///
/// # Errors
/// When anything is answered with something else than 202, or is not in the store afterwards.
pub(crate) fn run(programs: &Programs, report: &mut Report) -> anyhow::Result<()> {
    let tool = SilentTool::start()?;
    let installation = Installation::new(programs, 1)?;
    let host = installation.start(ONE_CALL_AT_A_TIME)?;
    installation.add_tenant(&format!("http://{}", tool.address()), "unused")?;
    let hyper = Server::start("hyper", Command::new(std::env::current_exe()?).arg("hyper-baseline"))?;

    let (mut next, mut accepted, mut cut_off) = (FIRST_TICKET, 0, 0);
    for (connections, per_s_max) in LOADS {
        let (mut bare, mut durable) = (Vec::new(), Vec::new());
        let before = Counts::of(&host)?;
        for _ in 0..ROUNDS {
            let tickets = next..next + per_s_max * u64::from(ROUND_S);
            next = tickets.end;
            let requests = PreparedRequests::write(tickets)?;
            bare.push(measure(&hyper, connections, &requests)?.0);
            let (sample, measured) = measure(&host, connections, &requests)?;
            durable.push(sample);
            accepted += measured.requests;
            // When the time is up, wrk does not count the requests still under way.
            cut_off += u64::from(connections);
        }
        report_rows(connections, &bare, &durable, report);
        let after = Counts::of(&host)?;
        report.add(Row {
            group: "accept",
            what: format!("writes in a commit, wrk -t1 -c{connections}"),
            unit: "",
            baseline: None,
            product: (after.writes - before.writes) / (after.commits - before.commits),
            goal: None,
        });
    }
    let jobs = Counts::of(&host)?.jobs;
    ensure!(
        (accepted..=accepted + cut_off).contains(&jobs),
        "{accepted} webhooks were answered 202 and up to {cut_off} more were under way, but there are {jobs} jobs"
    );
    host.kill();
    Ok(())
}

fn measure(server: &Server, connections: u32, requests: &PreparedRequests) -> anyhow::Result<(Sample, Measured)> {
    let before = server.cpu()?;
    let measured = wrk::run(server.address("webhooks")?, connections, ROUND_S, requests)?;
    let cpu = server.cpu()? - before;
    let count = measured.requests as f64;
    let sample = Sample {
        per_s: count / measured.seconds,
        p50_us: measured.p50_us as f64,
        p99_us: measured.p99_us as f64,
        cpu_us: cpu.as_secs_f64() * 1e6 / count,
    };
    Ok((sample, measured))
}

fn report_rows(connections: u32, bare: &[Sample], durable: &[Sample], report: &mut Report) {
    type Figure = fn(&Sample) -> f64;
    let figures: [(&str, &str, Figure); 4] = [
        ("webhooks", "1/s", |sample| sample.per_s),
        ("answer, p50", "µs", |sample| sample.p50_us),
        ("answer, p99", "µs", |sample| sample.p99_us),
        ("processor time a webhook", "µs", |sample| sample.cpu_us),
    ];
    for (what, unit, figure) in figures {
        let goal = match (what, connections) {
            ("webhooks", 64) => Some(Goal::RatioMin(0.42)),
            ("answer, p99", 64) => Some(Goal::Figure(12_000.0)),
            ("answer, p50", 1) => Some(Goal::Figure(350.0)),
            _ => None,
        };
        report.add(Row {
            group: "accept",
            what: format!("{what}, wrk -t1 -c{connections}"),
            unit,
            baseline: Some(median(bare.iter().map(figure))),
            product: median(durable.iter().map(figure)),
            goal,
        });
    }
}

/// The host's own counts.
struct Counts {
    /// Unfinished jobs in the store.
    jobs: u64,
    commits: f64,
    /// Operations in those commits.
    writes: f64,
}

impl Counts {
    fn of(host: &Server) -> anyhow::Result<Self> {
        let metrics = ureq::get(format!("{}/metrics", host.address("metrics")?)).call()?.body_mut().read_to_string()?;
        let value = |series: &str| {
            let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
            line.with_context(|| format!("/metrics has no {series}"))
        };
        Ok(Self {
            jobs: value(r#"patchbay_queue_jobs{state="live"}"#)?.parse()?,
            commits: value("patchbay_store_commit_operations_count")?.parse()?,
            writes: value("patchbay_store_commit_operations_sum")?.parse()?,
        })
    }
}
