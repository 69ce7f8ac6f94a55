//! A tenant may send a limited number of webhooks, and only authentic ones count.

use patchbay_tests::{Artifact, Host, Line, WAIT_MAX, created, wait_until};
use rustix::process::Signal;

const BURST: usize = 20;

fn line() -> Line {
    let builder = Host::builder().plugin(Artifact::GOOD).config("server.tenant_rate_per_s", 1);
    let line = Line::start(builder.config("server.tenant_burst", BURST));
    line.add_tenant("acme", "desk_good", &[]);
    line.add_tenant("other", "desk_good", &[]);
    line
}

/// Sends webhooks of this tenant until one is refused. Returns how many were accepted.
#[track_caller]
fn taken(line: &Line, tenant: &str) -> usize {
    let mut taken = 0;
    loop {
        let answer = line.host.send(&created(tenant, &format!("{tenant}-{taken}")));
        if answer.status != 202 {
            assert_eq!((answer.status, answer.problem_code().as_str()), (429, "rate_limited"), "{}", answer.text());
            assert!(answer.retry_after_s().is_some_and(|seconds| (1..60).contains(&seconds)), "{answer:?}");
            return taken;
        }
        taken += 1;
    }
}

#[test]
fn one_past_the_burst_is_told_to_come_again_and_may() {
    let line = line();
    let taken_of_acme = taken(&line, "acme");
    assert!(taken_of_acme >= BURST, "only {taken_of_acme}");
    let again = created("acme", "again");
    wait_until("a place after a second", WAIT_MAX, || (line.host.send(&again).status == 202).then_some(()));
    assert!(taken(&line, "other") >= BURST, "one tenant's rate is not another's");
}

#[test]
fn what_was_refused_has_left_nothing() {
    let line = line();
    let taken = taken(&line, "acme");
    let refused = format!("acme-{taken}");
    let jobs = line.host.ctl(&["job", "list"]);
    let jobs = jobs.as_array().unwrap();
    assert!(jobs.iter().all(|job| job["ticket_id"] != refused.as_str()), "{jobs:#?}");
}

#[test]
fn only_what_is_authentic_is_charged() {
    let line = line();
    let mut forged = created("acme", "1");
    forged.body.push(b' ');
    for _ in 0..2 * BURST {
        assert_eq!(line.host.send(&forged).status, 401);
    }
    assert!(taken(&line, "acme") >= BURST);
    assert_eq!(line.host.send(&forged).status, 401, "who is not authentic does not learn of the limit");
}

#[test]
fn a_reload_changes_the_limit() {
    let line = line();
    taken(&line, "acme");
    let config = [
        ("server.listen", "\"127.0.0.1:0\""),
        ("admin.listen", "\"127.0.0.1:0\""),
        ("plugins.watch", "false"),
        ("log.level", "\"debug\""),
        ("server.tenant_rate_per_s", "0"),
    ];
    line.host.write_config(&config.map(|(key, value)| (key.to_owned(), value.to_owned())));
    line.host.signal(Signal::HUP);
    line.host.wait_for_log(&["configuration reloaded"]);
    for at in 0..2 * BURST {
        assert_eq!(line.host.send(&created("acme", &format!("more-{at}"))).status, 202);
    }
}
