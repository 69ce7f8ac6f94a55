//! Runs the load generator wrk over prepared requests and reads what it measured.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;

use crate::webhooks::PreparedRequests;

const SCRIPT: &str = include_str!("../wrk/requests.lua");

/// What one run of wrk measured.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Measured {
    /// Number of complete answers.
    pub(crate) requests: u64,
    /// Duration of the run.
    pub(crate) seconds: f64,
    /// Half of the answers came within this time, in microseconds.
    pub(crate) p50_us: u64,
    /// 99 of 100 answers came within this time, in microseconds.
    pub(crate) p99_us: u64,
    /// Answers with a status of 400 and above, and requests without an answer.
    failed: u64,
}

/// Sends the prepared requests to `origin` from one thread for this many seconds. Blocks.
///
/// # Errors
/// When wrk cannot be run, or any request failed.
pub(crate) fn run(
    origin: &str,
    connections: u32,
    seconds: u32,
    requests: &PreparedRequests,
) -> anyhow::Result<Measured> {
    let script = requests.path().with_extension("lua");
    fs::write(&script, SCRIPT)?;
    let output = Command::new("wrk")
        .args(["-t1", &format!("-c{connections}"), &format!("-d{seconds}s")])
        .arg("-s")
        .arg::<&Path>(&script)
        .args([origin, "--"])
        .arg(requests.path())
        .arg(requests.length().to_string())
        .output()
        .context("wrk cannot be run; is it installed?")?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("wrk against {origin} ended with {}: {said}{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    let line = said.lines().rfind(|line| line.starts_with('{')).context("wrk did not report")?;
    let measured: Measured = serde_json::from_str(line)?;
    ensure!(measured.failed == 0, "{} of wrk's requests failed, {} were answered", measured.failed, measured.requests);
    ensure!(measured.requests > 0, "no request of wrk was answered");
    Ok(measured)
}
