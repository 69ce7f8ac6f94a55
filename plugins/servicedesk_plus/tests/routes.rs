//! What the two addresses that say what happened make of a body that does not, through the plugin's trait.

#![allow(clippy::unwrap_used, reason = "in a test, also in the functions that its tests share")]

use plugin_abi::{
    prelude::*,
    testing::{FakeHost, FakeWebhook},
};
use servicedesk_plus::ServiceDeskPlus;

const ANY: &str = "/webhooks/acme";
const CREATED: &str = "/api/webhooks/ticket-created";
const RESOLVED: &str = "/webhook/servicedesk/resolved-ticket";

fn extract(path: &str, body: &str) -> Result<TicketMetadata, PluginError> {
    ServiceDeskPlus.extract_metadata(&FakeHost::new().tenant(), &FakeWebhook::post(body).path(path).borrow())
}

fn faults(path: &str, body: &str) -> Vec<String> {
    match extract(path, body) {
        Err(PluginError::Validation(faults)) => faults.into_iter().map(|fault| fault.field).collect(),
        other => panic!("{path} {body}: {other:?}"),
    }
}

#[test]
fn a_body_without_an_event_means_what_its_address_says() {
    let flat = |rest: &str| {
        format!(
            r#"{{"tenant_id":"acme","ticket_id":"TKT-1","description":"d","priority":"low",
                "created_at":"2026-03-02T08:15:00Z","resolution":"r","resolved_date":"2026-03-03T08:15:00Z"{rest}}}"#
        )
    };
    for (path, body, expected) in [
        (CREATED, flat(""), "Created"),
        (RESOLVED, flat(""), "Resolved"),
        (ANY, flat(""), "Resolved"),
        ("/api//webhooks/ticket-created/", flat(""), "Created"),
        ("/webhook/servicedesk/resolved%2Dticket", flat(""), "Resolved"),
        (CREATED, flat(r#","event":"""#), "Created"),
        (RESOLVED, flat(r#","event":" ""#), "Resolved"),
        // A word of its own says more.
        (CREATED, flat(r#","event":"ticket_resolved""#), "Resolved"),
        (CREATED, flat(r#","event":"ticket_reopened""#), "Reopened"),
        (RESOLVED, flat(r#","event":"ticket_created""#), "Created"),
        (RESOLVED, flat(r#","event":"approved""#), "Other"),
        // So it is with the API's object, whose status and times only help where nothing else does.
        (CREATED, r#"{"request":{"id":1,"status":"Closed"}}"#.to_owned(), "Created"),
        (CREATED, r#"{"id":1,"created_time":"1000","last_updated_time":"9000"}"#.to_owned(), "Created"),
        (RESOLVED, r#"{"request":{"id":1,"status":"Open"}}"#.to_owned(), "Resolved"),
        (RESOLVED, r#"{"id":1,"event":"updated"}"#.to_owned(), "Updated"),
        (RESOLVED, r#"{"id":1,"status":"Cancelled"}"#.to_owned(), "Updated"),
    ] {
        let metadata = extract(path, &body).unwrap();
        assert!(format!("{:?}", metadata.event).starts_with(expected), "{path} {body}: {metadata:?}");
    }
}

#[test]
fn the_fields_that_are_missing_are_those_of_the_address() {
    let created = ["tenant_id", "ticket_id", "description", "priority", "created_at"];
    let resolved = ["tenant_id", "ticket_id", "resolution", "resolved_date"];
    for (path, body, expected) in [
        (CREATED, "{}", &created[..]),
        (RESOLVED, "{}", &resolved),
        (ANY, "{}", &["tenant_id", "ticket_id", "event", "description", "priority", "created_at"]),
        (CREATED, r#"{"resolution":"x","resolved_date":"2026-03-02T08:15:00Z"}"#, &created),
        (RESOLVED, r#"{"description":"d","priority":"p","created_at":"2026-03-02T08:15:00Z"}"#, &resolved),
        (RESOLVED, r#"{"event":"created"}"#, &created),
        (CREATED, r#"{"event":"ticket_closed","tenant_id":"a"}"#, &resolved[1..]),
        (
            CREATED,
            r#"{"event":7,"tenant_id":"a","ticket_id":"1"}"#,
            &["event", "description", "priority", "created_at"],
        ),
        (RESOLVED, r#"{"event":7,"tenant_id":"a","ticket_id":"1"}"#, &["event", "resolution", "resolved_date"]),
        (RESOLVED, r#"{"request":{}}"#, &["request.id"]),
    ] {
        assert_eq!(faults(path, body), expected, "{path} {body}");
    }
}

#[test]
fn a_long_description_is_a_fault_where_solved_tickets_are_told_of() {
    let with = |description: &str, rest: &str| {
        format!(
            r#"{{"tenant_id":"acme","ticket_id":"1","description":"{description}","resolution":"r",
                "resolved_date":"2026-03-03T08:15:00Z"{rest}}}"#
        )
    };
    for unit in ["a", "é", "😀", r"\u00e9", r"\ud83d"] {
        assert!(extract(RESOLVED, &with(&unit.repeat(10_000), "")).is_ok(), "{unit}");
        assert_eq!(faults(RESOLVED, &with(&unit.repeat(10_001), "")), ["description"], "{unit}");
        assert!(extract(ANY, &with(&unit.repeat(10_001), "")).is_ok(), "{unit}");
    }
    let long = "a".repeat(10_001);
    assert_eq!(faults(RESOLVED, &with(&long, r#","event":"ticket_updated""#)), ["description"]);
    let created = with(&long, r#","priority":"low","created_at":"2026-03-02T08:15:00Z""#);
    assert_eq!(extract(CREATED, &created).map(|metadata| metadata.event), Ok(Event::Created));
}
