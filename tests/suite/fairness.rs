//! No tenant pays for another: whatever waits, hangs or is refused for one, the others get their turn.

use patchbay_tests::{API_KEY, Artifact, Host, Line, TOOL, WAIT_MAX, created};
use plugin_abi::types::{Event, TicketMetadata};
use sandbox::{Effect, Fault, Sandbox, SandboxConfig, TicketFields};

use crate::stored::put_in;

/// Number of waiting jobs of one tenant.
const FLOOD: usize = 100_000;
/// Number of their tickets: a ticket of the sandbox has room for many notes.
const TICKETS: usize = 1_000;
/// Maximum number of the flooding tenant's jobs between the other's webhook and its note.
const AHEAD_MAX: u64 = 200;

/// The flood's webhook with this number.
fn of_flood(number: usize) -> TicketMetadata {
    let mut metadata = TicketMetadata::new((number % TICKETS).to_string(), Event::Created);
    metadata.delivery_id = Some(number.to_string());
    metadata
}

#[test]
fn a_tenants_one_job_is_done_before_the_next_200_of_one_that_floods() {
    let builder = Host::builder().plugin(Artifact::GOOD).config("log.level", "\"warn\"");
    let mut line = Line::start(builder);
    line.add_tenant("flood", "desk_good", &[]);
    line.add_tenant("other", "desk_good", &[]);
    (0..TICKETS).for_each(|ticket| line.open_ticket(&ticket.to_string()));
    line.open_ticket("5000");
    line.host.terminate();
    put_in(&line, "flood", (0..FLOOD).map(of_flood));
    line.host.start();
    let flooding = line.tool.wait_for_notes(TOOL, "500", 1, WAIT_MAX).unwrap();
    assert_eq!(line.host.send(&created("other", "5000")).status, 202);
    // The sandbox numbers its notes, so their order is known however busy the machine is.
    let numbers = |ticket: usize| line.notes(&ticket.to_string()).into_iter().map(|note| note.id);
    let last_before = (0..TICKETS).flat_map(numbers).max().unwrap();
    let ahead = line.note_on("5000").id.saturating_sub(last_before);
    assert!(ahead < AHEAD_MAX, "{ahead} notes of the flood came first");
    let left = line.host.ctl(&["job", "list", "--tenant", "flood", "--limit", "1"]);
    assert_eq!(left.as_array().map(Vec::len), Some(1), "the flood goes on: {left:#} {flooding:?}");
}

#[test]
fn a_tenant_whose_tool_is_no_use_holds_its_own_permits_only() {
    const CONCURRENCY: usize = 6;
    const PER_TENANT: usize = 2;
    const JOBS: usize = 20;
    for (what, delay_ms, effect) in [
        ("hangs", 600_000, None),
        ("answers 429 at once", 0, Some(Effect::RateLimited { retry_after: None })),
        ("answers 429 late", 100, Some(Effect::RateLimited { retry_after: Some("0".to_owned()) })),
    ] {
        let builder = Host::builder().plugin(Artifact::GOOD);
        let builder = builder.config("worker.concurrency", CONCURRENCY).config("worker.per_tenant", PER_TENANT);
        let line = Line::start(builder.config("retry.base_s", 1).config("retry.jitter", 0));
        let useless = Sandbox::start(SandboxConfig { token: API_KEY.to_owned(), ..SandboxConfig::default() }).unwrap();
        useless.set_faults(vec![Fault { delay_ms, effect, ..Fault::default() }]).unwrap();
        line.add_tenant_at("useless", "desk_good", &useless.base_url(TOOL), &[]);
        line.add_tenant("other", "desk_good", &[]);
        for ticket in 0..JOBS {
            useless.put_ticket(TOOL, &ticket.to_string(), TicketFields::default()).unwrap();
            assert_eq!(line.host.send(&created("useless", &ticket.to_string())).status, 202);
        }
        for ticket in 0..JOBS {
            line.open_ticket(&ticket.to_string());
            assert_eq!(line.host.send(&created("other", &ticket.to_string())).status, 202);
            line.note_on(&ticket.to_string());
            let held = useless.requests().iter().filter(|request| request.status.is_none()).count();
            assert!(held <= PER_TENANT, "a tool that {what} has {held} requests open");
        }
        let running = line.host.ctl(&["job", "list", "--tenant", "useless", "--state", "running"]);
        let running = running.as_array().unwrap().len();
        assert!(running <= PER_TENANT, "{what}: {running} jobs run");
        if what == "hangs" {
            // A tool that has never answered is asked for one ticket at a time.
            assert_eq!((running, useless.requests().len()), (1, 1), "{what}");
        }
    }
}
