//! A plugin that is replaced repeatedly under load: the effect on senders, and how soon the new one is called.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use patchbay::plugin::artifact::Sha256Sum;
use serde_json::Value;

use crate::{
    installation::{Installation, Programs},
    loops::{Client, Outcome, TENANTS, allow_connections, closed_loop, open_loop, tenant},
    report::{Goal, Report, Row, median, quantile},
    webhooks::FIRST_TICKET,
    whole::Counts,
};

/// Minimum number of webhooks, without replacements and with them.
const WEBHOOKS: u32 = 100_000;
const REPLACEMENTS: u64 = 100;
/// The offered load as a fraction of the host's maximum.
const LOAD: f64 = 0.5;
/// Interval between two checks.
const LOOK: Duration = Duration::from_millis(1);
/// Maximum time for a replacement to serve, and for all jobs to be done.
const TIME_MAX: Duration = Duration::from_secs(60);

/// Measures it.
///
/// # Errors
/// When anything is answered but 202, a replacement does not come to serve, or not exactly as many jobs are done as were
/// accepted.
pub(crate) fn run(programs: &Programs, report: &mut Report) -> anyhow::Result<()> {
    allow_connections()?;
    let installation = Installation::with_plugin(programs, &programs.instant)?;
    let host = installation.start("")?;
    for number in 0..TENANTS {
        let options = ["--tool-type=desk_schemes"];
        installation.add_tenant_as(&tenant(number), "http://127.0.0.1:9", "unused", &options)?;
    }
    let address = host.address("webhooks")?.trim_start_matches("http://").parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let next = Arc::new(AtomicU64::new(FIRST_TICKET));
    let most = runtime.block_on(closed_loop(&Client::new(address, &next)?))?;
    let per_s = most.per_s * LOAD;
    let alone = runtime.block_on(open_loop(&Client::new(address, &next)?, per_s, |sent, _| sent < WEBHOOKS))?;
    let replaced = AtomicBool::new(false);
    let (beside, took_ms) = thread::scope(|scope| -> anyhow::Result<_> {
        let replacing = scope.spawn(|| {
            let took_ms = replace(&installation, &programs.instant);
            replaced.store(true, Ordering::Relaxed);
            took_ms
        });
        let is_sent = |sent, _| sent < WEBHOOKS || !replaced.load(Ordering::Relaxed);
        let beside = runtime.block_on(open_loop(&Client::new(address, &next)?, per_s, is_sent))?;
        Ok((beside, replacing.join().expect("it returns its faults")?))
    })?;
    let outcomes = [&most, &alone, &beside];
    let refused: usize = outcomes.iter().map(|outcome| outcome.refused_ms.len()).sum();
    ensure!(refused == 0, "{refused} webhooks were refused");
    let accepted: usize = outcomes.iter().map(|outcome| outcome.accepted_ms.len()).sum();
    let ended = Instant::now();
    while Counts::of(&host)?.live > 0 {
        ensure!(ended.elapsed() < TIME_MAX, "jobs are not done");
        thread::sleep(LOOK);
    }
    let done = Counts::of(&host)?.done;
    ensure!(done == accepted as u64, "{accepted} webhooks were accepted, and {done} jobs done");
    report_rows(alone, beside, took_ms, report);
    host.stop()
}

/// Overwrites the plugin with another digest each time. Returns the milliseconds from the last byte to the first call
/// of the new code.
fn replace(installation: &Installation<'_>, plugin: &Path) -> anyhow::Result<Vec<f64>> {
    let (file, socket) = (installation.plugins().join("test.so"), installation.state().join("admin.sock"));
    let plugin = std::fs::read(plugin)?;
    let replaced = (0..REPLACEMENTS).map(|number| {
        // Nothing reads bytes after the last header.
        let bytes = [&plugin[..], &number.to_le_bytes()].concat();
        File::create(&file)?.write_all(&bytes)?;
        let (written, sha256) = (Instant::now(), Sha256Sum::of(&bytes).to_string());
        while !is_called(&socket, &sha256)? {
            ensure!(written.elapsed() < TIME_MAX, "replacement {number} does not serve");
            thread::sleep(LOOK);
        }
        Ok(written.elapsed().as_secs_f64() * 1e3)
    });
    replaced.collect()
}

/// Whether these bytes serve and were called, as `plugin-ctl list` would show. Running it as a process each time would
/// disturb the measurement.
fn is_called(socket: &Path, sha256: &str) -> anyhow::Result<bool> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(b"GET /v1/plugins HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").context("the admin API gave no answer")?;
    let rows: Vec<Value> = serde_json::from_str(body)?;
    Ok(rows.iter().any(|row| row["sha256"] == sha256 && row["calls"].as_u64() > Some(0)))
}

fn report_rows(alone: Outcome, beside: Outcome, took_ms: Vec<f64>, report: &mut Report) {
    let mut add = |what: String, baseline, product, goal| {
        report.add(Row { group: "replace", what, unit: "ms", baseline, product, goal });
    };
    for (name, part, goal) in [("p50", 0.5, None), ("p99", 0.99, Some(Goal::Ratio(2.0)))] {
        let [alone, beside] = [&alone, &beside].map(|outcome| quantile(outcome.accepted_ms.iter().copied(), part));
        add(format!("answer, {name}, during {REPLACEMENTS} replacements"), Some(alone), beside, goal);
    }
    let longest = took_ms.iter().copied().fold(0.0, f64::max);
    add("last byte to first call on the new code, median".to_owned(), None, median(took_ms), Some(Goal::Figure(350.0)));
    add("last byte to first call on the new code, longest".to_owned(), None, longest, None);
}
