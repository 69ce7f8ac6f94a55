//! What is taken of webhooks that are only hints (`read_back`), through the plugin's trait.

#![allow(clippy::unwrap_used, reason = "in a test, also in the functions that its tests share")]

use plugin_abi::{
    prelude::*,
    testing::{FakeHost, FakeWebhook},
};
use servicenow::ServiceNow;

const ANY: &str = "/webhooks/acme";
const SYS_ID: &str = "4f1c0e9a2b7d4c55a1e8300d9b6c7f21";

fn hint(path: &str, body: &str) -> Result<TicketMetadata, PluginError> {
    let webhook = FakeWebhook::post(body).path(path);
    ServiceNow.extract_metadata(&FakeHost::new().setting("read_back", "true").tenant(), &webhook.borrow())
}

fn resolved() -> Event {
    Event::Resolved { resolution: None, resolved_at: None, tags: Vec::new() }
}

#[test]
fn nothing_but_the_ticket_and_the_event_counts() {
    for (body, id, event) in [
        (r#"{"event":"created","number":"INC10","sys_created_on":"28/11/2026 09:15:00"}"#, "INC10", Event::Created),
        (r#"{"event":"created","number":"INC10","state":true,"priority":1.0}"#, "INC10", Event::Created),
        (r#"{"number":"INC10","state":true,"sys_mod_count":[],"resolved_at":"yesterday"}"#, "INC10", Event::Created),
        (r#"{"number":"INC10","state":6.0,"close_notes":7,"closed_at":[]}"#, "INC10", resolved()),
        (
            r#"{"event":"closed","number":10042.0,"short_description":[],"short_description":{},"url":7}"#,
            "10042",
            resolved(),
        ),
        (
            r#"{"event":"reopened","record":{"number":"INC10","state":[[]],"description":false}}"#,
            "INC10",
            Event::Reopened,
        ),
        (
            r#"{"current":{"number":"INC10","state":"2"},"previous":{"state":"6","priority":[]}}"#,
            "INC10",
            Event::Reopened,
        ),
        (
            r#"{"incidentId":"INC10","action":"resolved","title":1,"timestamp":"28/11/2026","priority":{}}"#,
            "INC10",
            resolved(),
        ),
        (r#"{"number":"INC10","event":" ","state":"7"}"#, "INC10", resolved()),
        (r#"{"incidentId":" INC10 ","action":"created","data":"none"}"#, "INC10", Event::Created),
        (
            r#"{"incidentId":7,"action":"update","data":{"incidentUrl":1,"closeCode":2,"state":{}}}"#,
            "7",
            Event::Updated,
        ),
        (r#"{"incidentId":"INC10","data":{"state":"6","previousState":"2","closeNotes":[]}}"#, "INC10", resolved()),
    ] {
        let mut expected = TicketMetadata::new(id, event);
        expected.read_back = true;
        assert_eq!(hint(ANY, body), Ok(expected), "{body}");
    }
    let decimal = "40282366920938463463374607431768";
    assert_eq!(hint(ANY, &format!(r#"{{"event":"created","sys_id":{decimal}}}"#)).unwrap().ticket_id, decimal);
}

#[test]
fn a_tenant_is_taken_when_it_is_a_text() {
    for (tenant, expected) in
        [(r#""acme""#, Some("acme")), ("7", None), ("[]", None), ("null", None), (r#""  ""#, None)]
    {
        for rest in [r#""number":"INC1","event":"created""#, r#""incidentId":"INC1","action":"created""#] {
            let body = format!(r#"{{{rest},"tenant_id":{tenant}}}"#);
            assert_eq!(hint(ANY, &body).unwrap().tenant_id.as_deref(), expected, "{body}");
        }
    }
}

#[test]
fn only_the_ticket_and_the_event_are_refused() {
    for (body, expected) in [
        ("{}", &["sys_id"][..]),
        (r#"{"sys_id":"  ","number":"\t","event":"created","tenant_id":7}"#, &["sys_id"]),
        (r#"{"number":true,"event":7,"state":{}}"#, &["number", "event"]),
        (r#"{"sys_id":"INC1^ORnumber=INC2","event":false}"#, &["sys_id", "event"]),
        (r#"{"record":"INC7","event":"created"}"#, &["record"]),
        (r#"{"incidentId":true,"title":7}"#, &["incidentId", "action"]),
        (r#"{"data":[],"action":7}"#, &["data.sysId", "action"]),
        (r#"{"incidentId":"INC7","action":"  "}"#, &["action"]),
    ] {
        let Err(PluginError::Validation(faults)) = hint(ANY, body) else { panic!("{body} was taken") };
        let fields: Vec<_> = faults.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(fields, expected, "{body}");
    }
    assert_eq!(hint(ANY, "[]").unwrap_err().kind(), "malformed");
}

#[test]
fn without_an_event_the_address_says_what_happened() {
    for (path, body, event) in [
        ("/api/webhooks/ticket-created", r#"{"number":"INC1","state":"6"}"#, Event::Created),
        ("/webhook/servicedesk/resolved-ticket", r#"{"number":"INC1","state":"1"}"#, resolved()),
        ("/webhook/servicedesk/resolved-ticket/", r#"{"incidentId":"INC1"}"#, resolved()),
        ("/webhook/servicedesk/resolved-ticket", r#"{"number":"INC1","event":"created"}"#, Event::Created),
        (
            "/webhook/servicedesk/resolved-ticket",
            r#"{"number":"INC1","state":"2","previous_state":"6"}"#,
            Event::Reopened,
        ),
    ] {
        assert_eq!(hint(path, body).map(|metadata| metadata.event), Ok(event), "{path} {body}");
    }
}

#[test]
fn a_webhook_is_only_a_hint_where_the_tenant_says_so() {
    let read_back = |host: FakeHost| {
        let body = format!(r#"{{"event":"created","sys_id":"{SYS_ID}"}}"#);
        ServiceNow
            .extract_metadata(&host.tenant(), &FakeWebhook::post(body).borrow())
            .map(|metadata| metadata.read_back)
    };
    assert_eq!(read_back(FakeHost::new().setting("read_back", "true")), Ok(true));
    assert_eq!(read_back(FakeHost::new().setting("read_back", "false")), Ok(false));
    assert_eq!(read_back(FakeHost::new()), Ok(false));
    assert_eq!(read_back(FakeHost::new().setting("read_back", "yes")).unwrap_err().kind(), "configuration");
}
