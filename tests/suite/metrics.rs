//! `/metrics`: OpenMetrics that parses, with the families that operators rely on, changing as things happen.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use patchbay_tests::{Artifact, Line, created};

/// Samples by name and labels, as in the text.
type Samples = BTreeMap<String, f64>;

/// Reads OpenMetrics text as a strict reader would.
#[track_caller]
fn parse(text: &str) -> (BTreeSet<String>, Samples) {
    let mut families = BTreeSet::new();
    let mut samples = Samples::new();
    let body = text.strip_suffix("# EOF\n").expect("OpenMetrics ends with # EOF");
    for line in body.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (kind, name) = (words.next().unwrap(), words.next().expect("a comment names its family"));
            match kind {
                "TYPE" => assert!(families.insert(name.to_owned()), "{name} stands there twice"),
                "HELP" | "UNIT" => assert!(families.contains(name) || kind == "HELP", "{line}"),
                _ => panic!("{line}"),
            }
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}"));
            let family = families.iter().any(|family| name.starts_with(family.as_str()));
            assert!(family, "a sample without a family: {line}");
            let value = value.parse().unwrap_or_else(|fault| panic!("{line:?}: {fault}"));
            assert!(samples.insert(name.to_owned(), value).is_none(), "{name} stands there twice");
        }
    }
    (families, samples)
}

#[track_caller]
fn scrape(line: &Line) -> (BTreeSet<String>, Samples) {
    let answer = line.host.metrics();
    assert_eq!(answer.status, 200);
    assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("application/openmetrics-text")));
    parse(&answer.text())
}

/// The sum of all samples of this name whose labels contain all of these words.
fn sum(samples: &Samples, name: &str, labels: &[&str]) -> f64 {
    let named = |key: &str| key.split('{').next() == Some(name) && labels.iter().all(|label| key.contains(label));
    samples.iter().filter(|(key, _)| named(key)).map(|(_, value)| value).sum()
}

#[test]
fn the_families_are_there_and_move() {
    let line = Line::with(&[Artifact::GOOD, Artifact::PANICS]);
    line.add_tenant("acme", "desk_good", &[]);
    line.add_tenant("bad", "desk_panics", &[("in", "validate")]);
    line.open_ticket("1");
    let (_, before) = scrape(&line);
    assert_eq!(line.host.send(&created("acme", "1")).status, 202);
    line.note_on("1");
    assert_eq!(line.host.send(&created("acme", "2")).status, 202);
    line.job("2", "waits: there is no such ticket yet", |job| job["state"] == "waiting");
    line.host.advance_clock(Duration::from_secs(10 * 60));
    line.job("2", "dead: there is no such ticket", |job| job["state"] == "dead");
    assert_eq!(line.host.send(&created("bad", "1")).status, 503);
    line.host.ctl(&["reload", "desk_good"]);
    line.idle();
    let (families, after) = scrape(&line);

    for family in [
        "patchbay_http_requests",
        "patchbay_http_request_duration_seconds",
        "patchbay_http_connections_open",
        "patchbay_plugin_calls",
        "patchbay_plugin_call_duration_seconds",
        "patchbay_plugin_lane_queue_length",
        "patchbay_plugin_lane_in_flight",
        "patchbay_plugin_generations",
        "patchbay_plugin_panics",
        "patchbay_plugin_stuck_calls",
        "patchbay_plugin_reloads",
        "patchbay_queue_jobs",
        "patchbay_queue_oldest_age_seconds",
        "patchbay_job_attempts",
        "patchbay_dead_letters",
        "patchbay_notes_posted",
        "patchbay_store_commit_duration_seconds",
        "patchbay_store_commit_operations",
    ] {
        assert!(families.contains(family), "{family} is missing from {families:#?}");
    }
    for (name, labels, grown) in [
        ("patchbay_http_requests_total", &["route=\"/webhooks/{tenant_id}\"", "code=\"202\""][..], 2.0),
        ("patchbay_http_requests_total", &["code=\"503\""], 1.0),
        ("patchbay_http_request_duration_seconds_count", &["route=\"/webhooks/{tenant_id}\""], 3.0),
        ("patchbay_plugin_calls_total", &["desk_good", "validate_webhook", "outcome=\"ok\""], 2.0),
        ("patchbay_plugin_calls_total", &["desk_good", "extract_metadata", "outcome=\"ok\""], 2.0),
        ("patchbay_plugin_calls_total", &["desk_good", "get_ticket", "outcome=\"ok\""], 1.0),
        ("patchbay_plugin_calls_total", &["desk_good", "get_ticket", "outcome=\"no\""], 2.0),
        ("patchbay_plugin_calls_total", &["desk_good", "update_ticket", "outcome=\"ok\""], 1.0),
        ("patchbay_plugin_calls_total", &["desk_panics", "outcome=\"panicked\""], 1.0),
        ("patchbay_plugin_call_duration_seconds_count", &["desk_good", "validate_webhook"], 2.0),
        ("patchbay_plugin_panics_total", &["desk_panics"], 1.0),
        ("patchbay_plugin_reloads_total", &["outcome=\"active\""], 1.0),
        ("patchbay_job_attempts_total", &["outcome=\"done\""], 1.0),
        ("patchbay_job_attempts_total", &["outcome=\"dead\""], 1.0),
        ("patchbay_dead_letters_total", &[], 1.0),
        ("patchbay_notes_posted_total", &[], 1.0),
        ("patchbay_queue_jobs", &["state=\"dead\""], 1.0),
    ] {
        let moved = sum(&after, name, labels) - sum(&before, name, labels);
        assert!((moved - grown).abs() < 0.5, "{name} {labels:?} grew by {moved}, not {grown}: {after:#?}");
    }
    assert!(sum(&after, "patchbay_store_commit_operations_sum", &[]) >= 4.0, "{after:#?}");
    assert!((sum(&after, "patchbay_plugin_generations", &["desk_good", "state=\"active\""]) - 1.0).abs() < 0.5);
    for tenant in ["acme", "\"bad\""] {
        assert!(after.keys().all(|key| !key.contains(tenant)), "a tenant is no label");
    }
}

#[test]
fn the_metrics_listener_serves_nothing_else() {
    let line = Line::with(&[]);
    for path in ["/", "/v1/plugins", "/v1/tenants", "/webhooks/acme"] {
        let answer = line.host.metrics_listener("GET", path);
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
    }
}
