//! The effect of a long history on accepts: with millions of rows, alternating with an empty history.

use anyhow::Context as _;
use rusqlite::Connection;

use crate::{
    installation::{Installation, Programs},
    process::Server,
    report::{Goal, Report, Row, median},
    silent_tool::{ONE_CALL_AT_A_TIME, SilentTool},
    webhooks::{FIRST_TICKET, PreparedRequests, TENANT},
    wrk,
};

/// Number of rounds of each; the median counts.
const ROUNDS: u64 = 3;
const ROUND_S: u32 = 3;
const CONNECTIONS: u32 = 64;
/// More unique webhooks than the host takes in a round.
const PER_ROUND_MAX: u64 = 180_000;
/// Rows as the host writes them, with a note of the usual length. Job ids count up as real ones do.
const FILL: &str = "
    WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < ?1)
    INSERT INTO enhancement_history
        (job_id, slot, tenant, tool_type, ticket_id, correlation_id, outcome, note, attempts, errors, accepted_ms,
         finished_ms)
    SELECT CAST(printf('%016d', n) AS BLOB), 1, ?2, 'servicedesk_plus', n, printf('history-%d', n), 'done',
           printf('%.*c', 200, 'x'), 1, '[]', 1700000000000 + n, 1700000000001 + n
    FROM number";

/// Measures it.
///
/// # Errors
/// When the history cannot be made, or a webhook is not accepted.
pub(crate) fn run(programs: &Programs, rows: u64, report: &mut Report) -> anyhow::Result<()> {
    let tool = SilentTool::start()?;
    let origin = format!("http://{}", tool.address());
    let (short, long) = (Installation::new(programs, 1)?, Installation::new(programs, 1)?);
    let short_host = start(&short, &origin)?;
    start(&long, &origin)?.kill();
    fill(&long, rows)?;
    let long_host = long.start(ONE_CALL_AT_A_TIME)?;
    let (mut beside_none, mut beside_many) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let first = FIRST_TICKET + round * PER_ROUND_MAX;
        let requests = PreparedRequests::write(first..first + PER_ROUND_MAX)?;
        for (host, rates) in [(&short_host, &mut beside_none), (&long_host, &mut beside_many)] {
            let measured = wrk::run(host.address("webhooks")?, CONNECTIONS, ROUND_S, &requests)?;
            rates.push(measured.requests as f64 / measured.seconds);
        }
    }
    report.add(Row {
        group: "history",
        what: format!("webhooks beside {rows} rows of history, wrk -t1 -c{CONNECTIONS}"),
        unit: "1/s",
        baseline: Some(median(beside_none)),
        product: median(beside_many),
        goal: Some(Goal::RatioMin(0.9)),
    });
    short_host.kill();
    long_host.kill();
    Ok(())
}

fn start(installation: &Installation<'_>, origin: &str) -> anyhow::Result<Server> {
    let host = installation.start(ONE_CALL_AT_A_TIME)?;
    installation.add_tenant(origin, "unused")?;
    Ok(host)
}

/// Fills the file of a host that is not running. Nothing is synced on the way, because a crash would only end the
/// benchmark.
fn fill(installation: &Installation<'_>, rows: u64) -> anyhow::Result<()> {
    let file = installation.state().join(patchbay::store::HISTORY_FILE);
    let connection = Connection::open(&file).with_context(|| file.display().to_string())?;
    connection.pragma_update(None, "synchronous", "OFF")?;
    connection.execute(FILL, (i64::try_from(rows)?, TENANT))?;
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    drop(connection);
    // Otherwise the kernel would write the file while the host is measured.
    std::fs::File::open(&file)?.sync_all()?;
    Ok(())
}
