//! The effect of a flooding tenant on another tenant of the same host: how soon its webhooks are answered and its notes
//! are posted, compared with the same while it is alone.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use sandbox::{DEFAULT_TOKEN, Effect, Fault, Sandbox, SandboxConfig, TicketFields, Tool};

use crate::{
    installation::{Installation, Programs},
    pipeline::Sender,
    process::Server,
    report::{Goal, Report, Row, quantile},
    webhooks::{FIRST_TICKET, PreparedRequests},
    wrk,
};

const TOOL: Tool = Tool::ServicedeskPlus;
/// The tenant that is measured.
const NEIGHBOUR: &str = "quiet";
/// Maximum number of webhooks that it sends one by one during the flood; half as many when alone.
const WEBHOOKS: usize = 400;
/// Connections of the flood: more than the host has cores, but few enough that more than the machine is measured.
const FLOOD_CONNECTIONS: u32 = 8;
const FLOOD_S: u32 = 4;
const FLOOD_WEBHOOKS: u64 = 240_000;
const NOTE_TIME_MAX: Duration = Duration::from_secs(60);

/// Milliseconds from sending to the answer, and to the note.
#[derive(Default)]
struct Latencies {
    answer: Vec<f64>,
    note: Vec<f64>,
}

/// Measures both.
///
/// # Errors
/// When a webhook is not accepted, or a note does not come.
pub(crate) fn run(programs: &Programs, report: &mut Report) -> anyhow::Result<()> {
    let installation = Installation::new(programs, 1)?;
    let tool = Sandbox::start(SandboxConfig::default())?;
    let host = installation.start("")?;
    // The flood's tool accepts no request: each of its jobs asks once and is given up.
    let refusing = Sandbox::start(SandboxConfig::default())?;
    let effect = Effect::Status { status: 400, body: None, content_type: None };
    refusing.set_faults(vec![Fault { effect: Some(effect), ..Fault::default() }])?;
    installation.add_tenant(&refusing.base_url(TOOL), DEFAULT_TOKEN)?;
    installation.add_tenant_as(NEIGHBOUR, &tool.base_url(TOOL), DEFAULT_TOKEN, &[])?;
    let tickets = FIRST_TICKET + FLOOD_WEBHOOKS..;
    let requests = PreparedRequests::write(FIRST_TICKET..tickets.start)?;
    let (mut alone, mut beside) = (Latencies::default(), Latencies::default());
    let mut tickets = tickets.into_iter();
    send(&host, &tool, tickets.by_ref().take(WEBHOOKS / 2), &mut alone)?;
    let over = AtomicBool::new(false);
    thread::scope(|scope| -> anyhow::Result<()> {
        let flood = scope.spawn(|| {
            let flooded = wrk::run(host.address("webhooks")?, FLOOD_CONNECTIONS, FLOOD_S, &requests);
            over.store(true, Ordering::Relaxed);
            flooded
        });
        let flooding = tickets.by_ref().take(WEBHOOKS).take_while(|_| !over.load(Ordering::Relaxed));
        send(&host, &tool, flooding, &mut beside)?;
        flood.join().expect("wrk's caller does not panic").map(drop)
    })?;
    report_rows(&alone, &beside, report);
    host.kill();
    Ok(())
}

fn send(
    host: &Server,
    tool: &Sandbox,
    tickets: impl Iterator<Item = u64>,
    latencies: &mut Latencies,
) -> anyhow::Result<()> {
    let sender = Sender::to(host, NEIGHBOUR)?;
    for ticket in tickets {
        tool.put_ticket(TOOL, &ticket.to_string(), TicketFields::default())?;
        let started = Instant::now();
        sender.send(ticket)?;
        latencies.answer.push(started.elapsed().as_secs_f64() * 1e3);
        tool.wait_for_notes(TOOL, &ticket.to_string(), 1, NOTE_TIME_MAX)?;
        latencies.note.push(started.elapsed().as_secs_f64() * 1e3);
    }
    Ok(())
}

fn report_rows(alone: &Latencies, beside: &Latencies, report: &mut Report) {
    for (what, alone, beside) in
        [("answer", &alone.answer, &beside.answer), ("note on the ticket", &alone.note, &beside.note)]
    {
        for (quantile_name, part) in [("p50", 0.5), ("p99", 0.99)] {
            report.add(Row {
                group: "neighbour",
                what: format!("{what}, {quantile_name}, beside a flooding tenant"),
                unit: "ms",
                baseline: Some(quantile(alone.iter().copied(), part)),
                product: quantile(beside.iter().copied(), part),
                goal: (quantile_name == "p50").then_some(Goal::Ratio(2.0)),
            });
        }
    }
}
