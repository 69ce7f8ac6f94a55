//! Every 401 looks like every other: the same status, headers and body, after the same time.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use patchbay_tests::{Answer, Artifact, Line, WEBHOOK_SECRET, created};
use sandbox::webhook::{Event, Scheme, SignedRequest, Webhook, signed};
use time::OffsetDateTime;

/// Every 401 leaves at a multiple of this time after its body's last byte.
const TICK: Duration = Duration::from_millis(25);
/// Number of tries of each kind. The fastest counts, because a busy machine only adds time.
const TRIES: usize = 8;
const CORRELATION_ID: &str = "the-same-for-all";

/// An answer without the time of day.
fn shown(answer: &Answer) -> (u16, BTreeMap<String, String>, String) {
    let headers = answer.headers.iter().filter(|(name, _)| name != "date").cloned().collect();
    (answer.status, headers, answer.text())
}

/// A request of each kind, which must be indistinguishable from the others.
fn kinds() -> Vec<(&'static str, SignedRequest)> {
    let with_headers = |headers| SignedRequest { headers, ..created("acme", "1") };
    let in_body = |tenant: &str| SignedRequest { path: "/api/webhooks/ticket-created".into(), ..created(tenant, "1") };
    let mut forged = created("acme", "1");
    let middle = forged.body.len() / 2;
    forged.body[middle] ^= 1;
    let mut stale = Webhook::new("acme", Event::Created, "1");
    stale.ticket.created_at = OffsetDateTime::now_utc() - time::Duration::hours(1);
    let mut nobody = in_body("acme");
    nobody.body = br#"{"ticket_id":"1","event":"ticket_created"}"#.to_vec();
    let mut two = in_body("acme");
    two.body = br#"{"tenant_id":"acme","tenant_id":"nobody"}"#.to_vec();
    let mut large = created("nobody", "1");
    large.body.resize(512 << 10, b' ');
    vec![
        ("an unknown tenant", created("nobody", "1")),
        ("an unknown tenant and a large body", large),
        ("a disabled tenant", created("asleep", "1")),
        ("a wrong signature", forged),
        ("no signature", with_headers(vec![])),
        ("a stale timestamp", signed(&stale, Scheme::HubHeader, WEBHOOK_SECRET).unwrap()),
        ("an unknown tenant in the body", in_body("nobody")),
        ("a disabled tenant in the body", in_body("asleep")),
        ("no tenant in the body", nobody),
        ("two tenants in the body", two),
    ]
}

#[test]
fn nothing_tells_why_a_webhook_is_not_authentic() {
    let line = Line::with(&[Artifact::SERVICEDESK_PLUS]);
    line.add_tenant("acme", "servicedesk_plus", &[]);
    line.add_tenant("asleep", "servicedesk_plus", &[]);
    line.host.ctl(&["tenant", "disable", "asleep"]);
    let measured: Vec<_> = kinds()
        .into_iter()
        .map(|(what, mut request)| {
            request.headers.retain(|(name, _)| *name != "x-correlation-id");
            request.headers.push(("x-correlation-id", CORRELATION_ID.to_owned()));
            let timed: Vec<_> = (0..TRIES)
                .map(|_| {
                    let started = Instant::now();
                    let answer = line.host.send(&request);
                    (started.elapsed(), answer)
                })
                .collect();
            let fastest = timed.iter().map(|(took, _)| *took).min().unwrap();
            (what, fastest, shown(&timed[0].1))
        })
        .collect();
    let (_, _, expected) = &measured[0];
    assert_eq!(expected.0, 401, "{expected:?}");
    for (what, fastest, shown) in &measured {
        assert_eq!(shown, expected, "{what}");
        assert!((TICK..TICK * 2).contains(fastest), "{what}: the fastest answer came after {fastest:?}");
    }
    assert_eq!(line.host.send(&created("acme", "1")).status, 202);
}
