//! A failing tool: attempts wait in the store, and the clock is moved, never waited for.

use std::time::Duration;

use patchbay_tests::{Artifact, Host, Line, TOOL, created};
use sandbox::{Effect, Target};
use serde_json::Value;

fn line() -> Line {
    let line = Line::with(&[Artifact::SERVICEDESK_PLUS]);
    line.add_tenant("acme", "servicedesk_plus", &[]);
    line
}

fn status(status: u16) -> Effect {
    Effect::Status { status, body: None, content_type: None }
}

/// Whether the job waits after this many attempts.
fn waits_after(attempts: u64) -> impl Fn(&Value) -> bool {
    move |job| job["state"] == "waiting" && job["attempts"] == attempts
}

#[test]
fn three_failures_and_then_one_note() {
    for (operation, effect) in [
        (Target::Get, status(500)),
        (Target::Note, status(503)),
        (Target::Note, Effect::DropBefore),
        (Target::Get, Effect::Html),
        // The note is posted, but the host gets no answer: it must not be posted again.
        (Target::Note, Effect::DropAfter),
    ] {
        let line = line();
        line.open_ticket("1");
        let took_it = effect == Effect::DropAfter;
        let times = if took_it { 1 } else { 3 };
        line.fail(operation, Some(times), effect.clone());
        assert_eq!(line.host.send(&created("acme", "1")).status, 202);
        for attempts in 1..=times {
            let job = line.job("1", "waits", waits_after(attempts.into()));
            let errors = job["errors"].as_array().unwrap();
            assert_eq!(errors.len(), attempts as usize, "{job:#}");
            line.skip_wait(attempts);
        }
        let job = line.job("1", "done", |job| job["state"] == "done");
        assert_eq!(job["attempts"], times + 1, "{effect:?}: {job:#}");
        assert!(line.note_on("1").internal);
    }
}

#[test]
fn a_read_whose_connection_died_is_sent_again_at_once() {
    let line = line();
    line.open_ticket("1");
    line.fail(Target::Get, Some(1), Effect::DropBefore);
    assert_eq!(line.host.send(&created("acme", "1")).status, 202);
    line.note_on("1");
    assert_eq!(line.job("1", "done", |job| job["state"] == "done")["attempts"], 1);
}

#[test]
fn the_wait_that_the_tool_asks_for_is_kept() {
    let line = line();
    line.open_ticket("1");
    line.fail(Target::Get, Some(1), Effect::RateLimited { retry_after: Some("3600".to_owned()) });
    assert_eq!(line.host.send(&created("acme", "1")).status, 202);
    let job = line.job("1", "waits", waits_after(1));
    assert_eq!(job["last_error"]["code"], "rate_limit", "{job:#}");
    line.host.advance_clock(Duration::from_secs(3_500));
    // Another ticket is done, so the worker has looked.
    line.open_ticket("2");
    let later = advanced(&line, "2");
    assert_eq!(later, 202);
    line.note_on("2");
    assert_eq!(line.job("1", "still waits", waits_after(1))["attempts"], 1);
    line.host.advance_clock(Duration::from_secs(200));
    line.note_on("1");
}

/// Delivers a webhook whose time stamp fits the host's clock, which is ahead of ours.
fn advanced(line: &Line, ticket: &str) -> u16 {
    use sandbox::webhook::{Event, Webhook};
    let mut webhook = Webhook::new("acme", Event::Created, ticket);
    webhook.ticket.created_at += time::Duration::seconds(3_500);
    line.host.send(&patchbay_tests::told(&webhook)).status
}

#[test]
fn a_tool_that_is_gone_makes_dead_letters_and_retry_brings_them_back() {
    let line = line();
    line.open_ticket("1");
    line.fail(Target::Any, None, status(503));
    assert_eq!(line.host.send(&created("acme", "1")).status, 202);
    line.job("1", "waits", waits_after(1));
    line.host.advance_clock(Duration::from_secs(25 * 3_600));
    let job = line.job("1", "dead", |job| job["state"] == "dead");
    assert_eq!(job["attempts"], 2, "{job:#}");
    let dead = line.host.ctl(&["job", "list", "--state", "dead", "--tenant", "acme"]);
    assert_eq!(dead[0]["id"], job["id"], "{dead:#}");

    line.repair();
    line.host.ctl(&["job", "retry", job["id"].as_str().unwrap()]);
    assert!(line.note_on("1").internal);
    line.job("1", "done", |job| job["state"] == "done");
    assert_eq!(line.host.ctl(&["job", "list", "--state", "dead"]).as_array().map(Vec::len), Some(0));
}

#[test]
fn jobs_of_a_disabled_tenant_wait_and_spend_no_attempt() {
    let line = line();
    line.open_ticket("1");
    line.fail(Target::Any, Some(1), status(503));
    assert_eq!(line.host.send(&created("acme", "1")).status, 202);
    line.job("1", "waits", waits_after(1));
    line.host.ctl(&["tenant", "disable", "acme"]);
    line.host.advance_clock(Duration::from_secs(60));
    line.job("1", "was put off", |job| job["state"] != "running" && job["attempts"] == 1);
    assert_eq!(line.tool.requests().len(), 1);
    line.host.ctl(&["tenant", "enable", "acme"]);
    line.host.advance_clock(Duration::from_secs(60));
    line.note_on("1");
    assert_eq!(line.tool.ticket(TOOL, "1").unwrap().notes.len(), 1);
    assert_eq!(line.job("1", "done", |job| job["state"] == "done")["attempts"], 2);
}

#[test]
fn every_form_of_retry_after_may_pass_the_longest_wait_but_not_the_time_to_give_up() {
    use time::{OffsetDateTime, format_description::well_known::Rfc3339, macros::format_description};

    let builder = Host::builder().plugin(Artifact::SERVICEDESK_PLUS);
    let line =
        Line::start(builder.config("retry.base_s", 60).config("retry.max_s", 60).config("retry.give_up_hours", 2));
    line.add_tenant("acme", "servicedesk_plus", &[]);
    let in_an_hour = OffsetDateTime::now_utc() + Duration::from_secs(3_600);
    let http_date =
        format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
    let hour = 3_500..=3_600;
    for (ticket, retry_after, wait_s) in [
        ("1", Some("3600".to_owned()), Some(hour.clone())),
        ("2", Some(in_an_hour.format(http_date).unwrap()), Some(hour.clone())),
        ("3", Some(in_an_hour.format(&Rfc3339).unwrap()), Some(hour)),
        ("4", Some("7200".to_owned()), None),
        ("5", Some("soon".to_owned()), Some(45..=60)),
        ("6", None, Some(45..=60)),
    ] {
        line.open_ticket(ticket);
        line.fail(Target::Get, Some(1), Effect::RateLimited { retry_after: retry_after.clone() });
        assert_eq!(line.host.send(&created("acme", ticket)).status, 202);
        let job = line.job(ticket, "was put off", |job| job["attempts"] == 1 && job["state"] != "running");
        let at = |name: &str| OffsetDateTime::parse(job[name].as_str().unwrap(), &Rfc3339).unwrap();
        match wait_s {
            Some(wait_s) => {
                let wait =
                    at("due_at") - OffsetDateTime::parse(job["last_error"]["at"].as_str().unwrap(), &Rfc3339).unwrap();
                assert!(wait_s.contains(&wait.whole_seconds()), "{retry_after:?}: {wait} {job:#}");
            }
            None => assert_eq!((&job["state"], &job["outcome"]), (&"dead".into(), &"gave_up".into()), "{job:#}"),
        }
    }
}

#[test]
fn of_a_plugin_that_cannot_look_only_what_the_tool_did_not_refuse_is_possibly_twice() {
    let line = Line::with(&[Artifact::GOOD]);
    line.add_tenant("acme", "desk_good", &[]);
    let refused = || Effect::RateLimited { retry_after: None };
    for (ticket, effects, outcome) in [
        ("1", vec![(Target::Get, status(500))], "done"),
        ("2", vec![(Target::Note, refused()), (Target::Note, refused())], "done"),
        ("3", vec![(Target::Note, status(500))], "possibly_twice"),
        ("4", vec![(Target::Note, Effect::DropAfter), (Target::Note, refused())], "possibly_twice"),
    ] {
        line.open_ticket(ticket);
        for (attempts, (operation, effect)) in (1..).zip(effects) {
            line.fail(operation, Some(1), effect);
            if attempts == 1 {
                assert_eq!(line.host.send(&created("acme", ticket)).status, 202);
            } else {
                line.skip_wait(attempts - 1);
            }
            line.job(ticket, "waits", waits_after(attempts.into()));
        }
        line.host.advance_clock(Duration::from_secs(60));
        let job = line.job(ticket, "done", |job| job["state"] == "done");
        assert_eq!(job["outcome"], outcome, "{job:#}");
    }
}

#[test]
fn a_dead_letter_that_was_purged_is_not_done() {
    let line = line();
    // The tool no longer has the ticket when the note is posted.
    line.open_ticket("404");
    line.fail(Target::Note, None, status(404));
    assert_eq!(line.host.send(&created("acme", "404")).status, 202);
    let dead = line.job("404", "dead", |job| job["state"] == "dead");
    assert_eq!(dead["outcome"], "not_found", "{dead:#}");
    let id = dead["id"].as_str().unwrap();
    assert_eq!(line.host.ctl(&["job", "list", "--state", "done"]), serde_json::json!([]));
    assert_eq!(line.host.ctl(&["job", "purge", "--yes"])["jobs"], 1);
    let purged = line.host.ctl(&["job", "show", id]);
    assert_eq!((&purged["state"], &purged["errors"]), (&"purged".into(), &dead["errors"]), "{purged:#}");
    assert_eq!(line.host.ctl(&["job", "list", "--state", "done"]), serde_json::json!([]));
    assert_eq!(line.host.try_ctl(&["job", "retry", id]).failure()["code"], "NOT_DEAD");
}
