//! What is taken of webhooks that are only hints (`read_back`), through the plugin's trait.

use plugin_abi::{
    prelude::*,
    testing::{FakeHost, FakeWebhook},
};
use servicedesk_plus::ServiceDeskPlus;

fn hint(path: &str, body: &str) -> Result<TicketMetadata, PluginError> {
    let webhook = FakeWebhook::post(body).path(path);
    ServiceDeskPlus.extract_metadata(&FakeHost::new().setting("read_back", "true").tenant(), &webhook.borrow())
}

fn resolved() -> Event {
    Event::Resolved { resolution: None, resolved_at: None, tags: Vec::new() }
}

const ANY: &str = "/webhooks/acme";

#[test]
fn nothing_but_the_ticket_and_the_event_counts() {
    for (body, id, event) in [
        (r#"{"ticket_id":"TKT-7","event":"ticket_created"}"#, "TKT-7", Event::Created),
        (
            r#"{"ticket_id":42.0,"event":"created","description":[],"priority":7,"created_at":"28/11/2026 09:15:00"}"#,
            "42",
            Event::Created,
        ),
        (
            r#"{"ticket_id":"7","event":"closed","tags":"vpn","resolved_date":0,"resolution":{},"subject":true}"#,
            "7",
            resolved(),
        ),
        (r#"{"ticket_id":" 7 ","event":"ticket_updated","subject":"a","subject":"b"}"#, "7", Event::Updated),
        (r#"{"ticket_id":9007199254740993,"resolution":""}"#, "9007199254740993", resolved()),
        (r#"{"ticket_id":"7","event":"ticket_reopened","resolved_date":"Monday"}"#, "7", Event::Reopened),
        (
            r#"{"request":{"id":1,"subject":[],"status":7,"created_time":"28/11/2026","priority":1.5}}"#,
            "1",
            Event::Created,
        ),
        (r#"{"request":{"id":"1","status":"Closed","resolution":7}}"#, "1", resolved()),
        (
            r#"{"request":{"id":1,"status":{"name":["x"],"in_progress":"no"}},"event":"request_resolved"}"#,
            "1",
            resolved(),
        ),
        (r#"{"id":204000000001337,"status":true,"closure_info":[]}"#, "204000000001337", Event::Created),
        (r#"{"id":"1","event":"reopened","status":"Closed"}"#, "1", Event::Reopened),
    ] {
        let mut expected = TicketMetadata::new(id, event);
        expected.read_back = true;
        assert_eq!(hint(ANY, body), Ok(expected), "{body}");
    }
}

#[test]
fn a_tenant_is_taken_when_it_is_a_text() {
    for (tenant, expected) in
        [(r#""acme""#, Some("acme")), ("7", None), ("[]", None), ("null", None), (r#""  ""#, None)]
    {
        let body = format!(r#"{{"ticket_id":"1","event":"created","tenant_id":{tenant}}}"#);
        assert_eq!(hint(ANY, &body).unwrap().tenant_id.as_deref(), expected, "{tenant}");
    }
}

#[test]
fn without_an_event_the_address_says_what_happened() {
    for (path, body, event) in [
        ("/api/webhooks/ticket-created", r#"{"ticket_id":"1"}"#, Event::Created),
        ("/webhook/servicedesk/resolved-ticket", r#"{"ticket_id":"1"}"#, resolved()),
        ("/webhook/servicedesk/resolved-ticket", r#"{"ticket_id":"1","event":"ticket_created"}"#, Event::Created),
        ("//api/webhooks/ticket%2Dcreated/", r#"{"request":{"id":1,"status":"Closed"}}"#, Event::Created),
        ("/webhook/servicedesk/resolved-ticket", r#"{"id":1}"#, resolved()),
    ] {
        assert_eq!(hint(path, body).map(|metadata| metadata.event), Ok(event), "{path} {body}");
    }
    let long = format!(r#"{{"ticket_id":"1","description":"{}"}}"#, "a".repeat(10_001));
    assert!(hint("/webhook/servicedesk/resolved-ticket", &long).is_ok());
}

#[test]
fn only_the_ticket_and_the_event_are_refused() {
    for (body, expected) in [
        ("{}", &["ticket_id", "event"][..]),
        (r#"{"ticket_id":"  ","event":"created","tenant_id":7}"#, &["ticket_id"]),
        (r#"{"ticket_id":"\u200b\ufeff","event":7,"description":7}"#, &["event", "ticket_id"]),
        (r#"{"ticket_id":"1","created_at":"2026-03-02T08:15:00Z"}"#, &["event"]),
        (r#"{"request":{"id":[]},"subject":7}"#, &["request.id"]),
        (r#"{"request":"1","event":"created"}"#, &["request"]),
        (r#"{"id":true,"event":[]}"#, &["event", "id"]),
        (r#"{"ticket_id":"1","event":" "}"#, &["event"]),
    ] {
        let Err(PluginError::Validation(faults)) = hint(ANY, body) else { panic!("{body} was taken") };
        let fields: Vec<_> = faults.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(fields, expected, "{body}");
    }
    assert_eq!(hint(ANY, "[]").unwrap_err().kind(), "malformed");
}

#[test]
fn a_setting_that_says_neither_is_the_tenants_fault() {
    let host = FakeHost::new().setting("read_back", "yes");
    let fault = ServiceDeskPlus.extract_metadata(&host.tenant(), &FakeWebhook::post("{}").borrow()).unwrap_err();
    assert_eq!(fault.kind(), "configuration", "{fault}");
}
