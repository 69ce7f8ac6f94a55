//! More webhooks than the plugin can validate: how many are still accepted, and how soon the others are refused.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use anyhow::ensure;

use crate::{
    installation::{Installation, Programs},
    loops::{Client, TENANTS, allow_connections, closed_loop, open_loop, tenant},
    report::{Goal, Report, Row, median, quantile},
    silent_tool::{ONE_CALL_AT_A_TIME, SilentTool},
    webhooks::FIRST_TICKET,
    whole::live_jobs,
};

/// Number of rounds; the median counts.
const ROUNDS: usize = 3;
/// Time that the plugin takes for each webhook without using a processor, because the load generator shares them. With
/// the one fast lane, this is the host's limit.
const SLOW_MS: &str = "slow_ms=1";
/// The offered load as a multiple of that limit.
const OVERLOAD: f64 = 3.0;
const OVERLOAD_TIME: Duration = Duration::from_secs(5);

/// Measures it.
///
/// # Errors
/// When anything is answered but 202, or 503 or 429 with Retry-After; when nothing is refused; or when not exactly as many
/// jobs are in the store as were answered 202.
pub(crate) fn run(programs: &Programs, report: &mut Report) -> anyhow::Result<()> {
    allow_connections()?;
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
        let open =
            runtime.block_on(open_loop(&Client::new(address, &next)?, closed.per_s * OVERLOAD, |_, after| {
                after < OVERLOAD_TIME
            }))?;
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
