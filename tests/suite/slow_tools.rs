//! Slow tools leave room for the others, however many jobs wait for them. A tool whose answer ends the host does so a
//! few times and no more.

use patchbay_tests::{API_KEY, Artifact, Host, Line, TOOL, WAIT_MAX, created, wait_until};
use sandbox::{Fault, Sandbox, SandboxConfig, TicketFields};

const SLOW_TENANTS: usize = 20;
/// Number of waiting jobs of each slow tenant.
const WAITING: usize = 8;
/// Number of tickets of the tenant with a fast tool.
const TICKETS: usize = 40;
/// Number of jobs that may ask slow tools at once: three quarters of `plugins.slow_lanes_max`.
const CAREFUL: usize = 24;

/// A tool that never answers during a test.
fn silent() -> Sandbox {
    let tool = Sandbox::start(SandboxConfig { token: API_KEY.to_owned(), ..SandboxConfig::default() }).unwrap();
    tool.set_faults(vec![Fault { delay_ms: 600_000, ..Fault::default() }]).unwrap();
    tool
}

fn asked(tool: &Sandbox) -> usize {
    tool.requests().len()
}

#[test]
fn with_twenty_slow_tools_the_next_tenant_gets_its_notes() {
    let builder = Host::builder().plugin(Artifact::GOOD);
    let line = Line::start(builder.config("plugins.slow_deadline_s", 400).config("http.read_s", 300));
    let slow = silent();
    let tenants: Vec<_> = (0..SLOW_TENANTS).map(|number| format!("slow-{number}")).collect();
    for (number, tenant) in tenants.iter().enumerate() {
        line.add_tenant_at(tenant, "desk_good", &slow.base_url(TOOL), &[]);
        for ticket in 0..WAITING {
            let ticket = (10_000 + number * WAITING + ticket).to_string();
            slow.put_ticket(TOOL, &ticket, TicketFields::default()).unwrap();
            assert_eq!(line.host.send(&created(tenant, &ticket)).status, 202);
        }
    }
    wait_until("each of the slow tools is asked", WAIT_MAX, || (asked(&slow) >= SLOW_TENANTS).then_some(()));
    line.add_tenant("next", "desk_good", &[]);
    for ticket in 0..TICKETS {
        line.open_ticket(&ticket.to_string());
        assert_eq!(line.host.send(&created("next", &ticket.to_string())).status, 202);
    }
    (0..TICKETS).for_each(|ticket| drop(line.note_on(&ticket.to_string())));
    let open = slow.requests();
    assert!(open.iter().all(|request| request.status.is_none()), "a slow tool has answered: {open:?}");
    assert!((SLOW_TENANTS..=CAREFUL).contains(&open.len()), "{} slow requests", open.len());
    let waiting = line.host.ctl(&["job", "list", "--state", "queued", "--limit", "1000"]);
    assert!(waiting.as_array().unwrap().len() >= SLOW_TENANTS * WAITING - CAREFUL, "they would have taken all permits");
}

#[test]
fn a_job_that_ends_the_host_again_and_again_is_a_dead_letter_and_the_others_get_their_notes() {
    const HEALTHY: usize = 12;
    /// Twice with others, three times alone, and two more, because others may still be under way.
    const ENDS_MAX: usize = 7;
    let mut line = Line::with(&[Artifact::GOOD]);
    let deadly = silent();
    deadly.put_ticket(TOOL, "666", TicketFields::default()).unwrap();
    line.add_tenant_at("deadly", "desk_good", &deadly.base_url(TOOL), &[]);
    for number in 0..HEALTHY {
        line.add_tenant(&format!("healthy-{number}"), "desk_good", &[]);
        line.open_ticket(&number.to_string());
    }
    // These jobs run when the host ends for the first and the second time.
    line.tool.set_faults(vec![Fault { delay_ms: 600_000, ..Fault::default() }]).unwrap();
    assert_eq!(line.host.send(&created("deadly", "666")).status, 202);
    for number in 0..HEALTHY {
        assert_eq!(line.host.send(&created(&format!("healthy-{number}"), &number.to_string())).status, 202);
    }
    let mut ends = 0;
    loop {
        let before = asked(&deadly);
        if ends > 0 {
            line.host.start();
        }
        let dead = wait_until("the answer that ends the host, or the dead letter", WAIT_MAX, || {
            let dead = line.host.ctl(&["job", "list", "--state", "dead"]);
            match dead.as_array().unwrap().first() {
                Some(dead) => Some(Some(dead.clone())),
                None => (asked(&deadly) > before || (ends == 0 && before > 0)).then_some(None),
            }
        });
        if let Some(dead) = dead {
            let shown = line.host.ctl(&["job", "show", dead["id"].as_str().unwrap()]);
            assert_eq!((&shown["ticket_id"], &shown["outcome"]), (&"666".into(), &"ends_the_host".into()), "{shown:#}");
            break;
        }
        if ends < 2 {
            wait_until("all of them run", WAIT_MAX, || {
                let running = line.host.ctl(&["job", "list", "--state", "running"]);
                (running.as_array().unwrap().len() == HEALTHY + 1).then_some(())
            });
        }
        line.host.kill9();
        ends += 1;
        assert!(ends <= ENDS_MAX, "it goes on");
        if ends == 2 {
            line.repair();
        }
    }
    assert!(ends >= 5, "after {ends}");
    (0..HEALTHY).for_each(|number| drop(line.note_on(&number.to_string())));
    line.host.wait_for_log(&["ERROR", "ends_the_host"]);
}
