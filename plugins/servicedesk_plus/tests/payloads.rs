//! What bodies say, through the plugin's trait.

#![allow(clippy::unwrap_used, reason = "in a test, also in the functions that its tests share")]

use plugin_abi::{
    prelude::*,
    testing::{FakeHost, FakeWebhook, assert_answered, hex_mac, mutated},
    time::{OffsetDateTime, format_description::well_known::Rfc3339},
};
use proptest::prelude::{ProptestConfig, any, proptest};
use servicedesk_plus::ServiceDeskPlus;

const FLAT_CREATED: &str = include_str!("fixtures/flat-created.json");
const FLAT_REOPENED: &str = include_str!("fixtures/flat-reopened.json");
const FLAT_RESOLVED: &str = include_str!("fixtures/flat-resolved.json");
const REQUEST_CREATED: &str = include_str!("fixtures/request-created.json");
const REQUEST_RESOLVED: &str = include_str!("fixtures/request-resolved.json");

fn extract(body: impl Into<Vec<u8>>) -> Result<TicketMetadata, PluginError> {
    let webhook = FakeWebhook::post(body);
    ServiceDeskPlus.extract_metadata(&FakeHost::new().tenant(), &webhook.borrow())
}

fn at(text: &str) -> Option<OffsetDateTime> {
    Some(OffsetDateTime::parse(text, &Rfc3339).unwrap())
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// The names of the fields that the body is refused for.
fn faults(body: &str) -> Vec<String> {
    match extract(body) {
        Err(PluginError::Validation(faults)) => faults.into_iter().map(|fault| fault.field).collect(),
        other => panic!("{body}: {other:?}"),
    }
}

#[test]
fn flat_created() {
    let mut expected = TicketMetadata::new("TKT-7", Event::Created);
    expected.tenant_id = text("acme");
    expected.description = text("The badge printer on floor 3 jams");
    expected.priority = Priority::High;
    expected.raw_priority = text("urgent");
    expected.created_at = at("2026-03-02T08:15:00Z");
    expected.occurred_at = expected.created_at;
    assert_eq!(extract(FLAT_CREATED), Ok(expected));
}

#[test]
fn flat_resolved_needs_no_event() {
    let event = Event::Resolved {
        resolution: text("Raised the rekey interval to 8 h on both ends."),
        resolved_at: at("2026-03-03T16:40:00Z"),
        tags: vec!["vpn".to_owned(), "network".to_owned()],
    };
    let mut expected = TicketMetadata::new("TKT-42", event);
    expected.tenant_id = text("acme");
    expected.subject = text("VPN drops every hour");
    expected.description = text("Since Monday the tunnel is renegotiated hourly.");
    expected.priority = Priority::Low;
    expected.raw_priority = text("low");
    expected.occurred_at = at("2026-03-03T16:40:00Z");
    assert_eq!(extract(FLAT_RESOLVED), Ok(expected));
}

#[test]
fn request_created() {
    let mut expected = TicketMetadata::new("204000000001337", Event::Created);
    expected.subject = text("Laptop does not wake");
    expected.description = text("Lid open, screen black.\nFan runs & LED blinks.");
    expected.priority = Priority::High;
    expected.raw_priority = text("Urgent");
    expected.created_at = at("2026-03-02T09:15:00.120Z");
    expected.occurred_at = expected.created_at;
    expected.delivery_id = text("1772442900410");
    assert_eq!(extract(REQUEST_CREATED), Ok(expected.clone()));

    let bare = REQUEST_CREATED.trim().strip_prefix("{\n  \"request\": ").unwrap().strip_suffix('}').unwrap();
    assert_eq!(extract(bare), Ok(expected));
}

#[test]
fn request_resolved() {
    let metadata = extract(REQUEST_RESOLVED).unwrap();
    let resolved_at = at("2026-03-03T16:40:00Z");
    let event = Event::Resolved { resolution: text("Replaced the lid sensor."), resolved_at, tags: Vec::new() };
    assert_eq!((metadata.event, metadata.occurred_at), (event, resolved_at));
    assert_eq!(metadata.delivery_id, text("1772556000250"));
}

#[test]
fn flat_events() {
    for (event, expected) in [
        ("ticket_created", "Created"),
        ("Created", "Created"),
        ("request_created", "Created"),
        ("ticket_updated", "Updated"),
        ("ticket_resolved", "Resolved"),
        ("ticket_closed", "Resolved"),
        ("ticket_reopened", "Reopened"),
        ("Re-opened", "Reopened"),
        ("ticket_deleted", "Other"),
        ("whatever", "Other"),
    ] {
        let body = format!(
            r#"{{"tenant_id":"a","ticket_id":9,"event":"{event}","description":"","priority":"","subject":null,
                "created_at":"2026-01-01T00:00:00Z","resolution":"","resolved_date":"2026-01-01T00:00:00Z"}}"#
        );
        let metadata = extract(body).unwrap();
        assert!(format!("{:?}", metadata.event).starts_with(expected), "{event}: {metadata:?}");
        assert_eq!(metadata.ticket_id, "9");
    }
}

#[test]
fn request_events() {
    let parts = |created: &str, updated: &str, rest: &str| {
        format!(r#"{{"request":{{"id":1,"created_time":{created},"last_updated_time":{updated}{rest}}}}}"#)
    };
    let ms = |value: u64| format!(r#"{{"display_value":"x","value":"{value}"}}"#);
    for (body, expected) in [
        (r#"{"request":{"id":"1"}}"#.to_owned(), "Created"),
        (parts(&ms(1000), &ms(1999), ""), "Created"),
        (parts(&ms(1000), &ms(2000), ""), "Updated"),
        (parts("1000", "\"2000\"", ""), "Updated"),
        (parts(&ms(1000), "\"Mar 2, 2026 09:15 AM\"", ""), "Created"),
        (parts(&ms(1000), "{\"value\":\"-1\"}", ""), "Created"),
        (parts(&ms(1000), &ms(2000), r#","status":{"name":"Closed"}"#), "Resolved"),
        (parts(&ms(1000), &ms(2000), r#","status":"RESOLVED""#), "Resolved"),
        (parts(&ms(1000), &ms(2000), r#","status":{"name":"Erledigt","internal_name":"Resolved"}"#), "Resolved"),
        (parts(&ms(1), &ms(2000), r#","status":{"name":"Fixed","in_progress":false},"resolved_time":"5""#), "Resolved"),
        (
            parts(&ms(1), &ms(2000), r#","status":{"name":"Canceled","in_progress":false},"resolved_time":null"#),
            "Updated",
        ),
        (parts(&ms(1), &ms(2000), r#","status":{"name":"Open","in_progress":true},"resolved_time":"5""#), "Updated"),
        // The template's own word decides over all of that.
        (r#"{"event":"updated","request":{"id":1,"status":"Closed"}}"#.to_owned(), "Updated"),
        (r#"{"event":"ticket_closed","request":{"id":1}}"#.to_owned(), "Resolved"),
        (r#"{"event":"approved","request":{"id":1}}"#.to_owned(), "Other"),
        (r#"{"event":"request_resolved","id":1,"tenant_id":"acme"}"#.to_owned(), "Resolved"),
        (r#"{"event":"request_reopened","request":{"id":1,"status":"Closed"}}"#.to_owned(), "Reopened"),
        (r#"{"event":"reopened","id":1,"status":{"name":"Open","in_progress":true}}"#.to_owned(), "Reopened"),
    ] {
        let metadata = extract(body.clone()).unwrap();
        assert!(format!("{:?}", metadata.event).starts_with(expected), "{body}: {metadata:?}");
        assert_eq!(metadata.ticket_id, "1");
    }
}

#[test]
fn priorities() {
    for (word, expected) in [
        (r#""High""#, Priority::High),
        (r#""URGENT""#, Priority::High),
        (r#"{"name":"High"}"#, Priority::High),
        (r#"{"name":"Normal"}"#, Priority::Medium),
        (r#""medium""#, Priority::Medium),
        (r#"{"name":"Low"}"#, Priority::Low),
        (r#"{"name":null}"#, Priority::Medium),
        ("null", Priority::Medium),
        ("3", Priority::Medium),
        (r#""P1 - all hands""#, Priority::Medium),
    ] {
        let metadata = extract(format!(r#"{{"request":{{"id":1,"priority":{word}}}}}"#)).unwrap();
        assert_eq!(metadata.priority, expected, "{word}");
    }
    let metadata = extract(r#"{"request":{"id":1,"priority":{"name":"P1"}}}"#).unwrap();
    assert_eq!(metadata.raw_priority, text("P1"));
}

#[test]
fn every_faulty_field_is_listed() {
    let needed = ["tenant_id", "ticket_id", "event", "description", "priority", "created_at"];
    for (body, expected) in [
        ("{}", &needed[..]),
        (r#"{"tenant_id":null,"ticket_id":null,"event":null,"description":null,"priority":null}"#, &needed),
        (r#"{"event":"ticket_created"}"#, &["tenant_id", "ticket_id", "description", "priority", "created_at"]),
        (
            r#"{"tenant_id":" ","ticket_id":"","event":"","description":"","priority":"","created_at":""}"#,
            &["tenant_id", "ticket_id", "event", "created_at"],
        ),
        (
            r#"{"tenant_id":1,"ticket_id":-1,"event":[],"subject":{},"description":true,"priority":3,"created_at":0}"#,
            &["tenant_id", "ticket_id", "event", "subject", "description", "priority", "created_at"],
        ),
        (
            r#"{"event":"ticket_updated","tenant_id":"a","ticket_id":1.5,"resolution":1,"tags":[1]}"#,
            &["ticket_id", "resolution", "tags"],
        ),
        (r#"{"resolution":"x"}"#, &["tenant_id", "ticket_id", "resolved_date"]),
        (
            r#"{"resolved_date":"Monday","tags":"vpn"}"#,
            &["tenant_id", "ticket_id", "resolution", "resolved_date", "tags"],
        ),
        (r#"{"request":{}}"#, &["request.id"]),
        (r#"{"request":[1,2]}"#, &["request"]),
        (r#"{"request":"7"}"#, &["request"]),
        (r#"{"request":{"id":{}},"event":7,"tenant_id":8}"#, &["request.id", "tenant_id", "event"]),
        (r#"{"id":"a\u0000b"}"#, &["id"]),
    ] {
        assert_eq!(faults(body), expected, "{body}");
    }
}

#[test]
fn limits_hold_at_the_limit_and_one_past_it() {
    let with_id = |id: String| format!(r#"{{"request":{{"id":"{id}"}}}}"#);
    assert_eq!(extract(with_id("é".repeat(100))).unwrap().ticket_id.chars().count(), 100);
    assert_eq!(faults(&with_id("é".repeat(101))), ["request.id"]);

    let with_tags = |count: usize| {
        FLAT_RESOLVED.replace(r#"["vpn", "network"]"#, &format!("[{}]", vec![r#""t""#; count].join(",")))
    };
    assert!(extract(with_tags(100)).is_ok());
    assert_eq!(faults(&with_tags(101)), ["tags"]);
    assert_eq!(faults(&with_tags(5000)), ["tags"]);
}

#[test]
fn times_that_name_no_moment_are_faults() {
    for time in ["9999-12-31T23:59:59-23:00", "0000-01-01T00:00:00+23:00", "2026-02-30T00:00:00Z", "2026-01-01"] {
        assert_eq!(faults(&FLAT_CREATED.replace("2026-03-02T09:15:00+01:00", time)), ["created_at"], "{time}");
    }
    // Beyond the calendar: no time.
    let metadata = extract(r#"{"request":{"id":1,"created_time":18446744073709551615}}"#).unwrap();
    assert_eq!(metadata.created_at, None);
}

#[test]
fn what_is_no_json_object_is_malformed() {
    let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(200_000), close.repeat(200_000));
    let nested = |key: &str| format!(r#"{{"{key}":{}}}"#, deep("[", "]"));
    for body in [
        b"".to_vec(),
        b"  ".to_vec(),
        b"null".to_vec(),
        b"7".to_vec(),
        b"[1,2,3]".to_vec(),
        b"\"{}\"".to_vec(),
        b"{".to_vec(),
        b"{\"a\":1,}".to_vec(),
        b"{}{}".to_vec(),
        b"\xef\xbb\xbf[]".to_vec(),
        b"{\"event\":\"\xff}".to_vec(),
        b"{\"event\":1e}".to_vec(),
        br#"{"event":"ticket_created","event":"ticket_resolved"}"#.to_vec(),
        br#"{"tenant_id":"a","\u0074enant_id":"b"}"#.to_vec(),
        br#"{"request":{"id":1,"id":2}}"#.to_vec(),
        deep("{\"a\":", "").into_bytes(),
    ] {
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        assert!(matches!(extract(body), Err(PluginError::Malformed(_))), "{shown}");
    }
    // However deep the nesting, it is skipped without recursion.
    assert!(faults(&nested("event")).contains(&"event".to_owned()));
    assert!(faults(&nested("other")).contains(&"event".to_owned()));
    assert!(extract(format!(r#"{{"request":{{"id":1,"status":{}}}}}"#, deep("{\"name\":", "}"))).is_ok());
}

/// Bodies as they are sent, from which those that nobody sends are made.
const SENT: [&[u8]; 5] = [
    FLAT_REOPENED.as_bytes(),
    FLAT_CREATED.as_bytes(),
    FLAT_RESOLVED.as_bytes(),
    REQUEST_CREATED.as_bytes(),
    REQUEST_RESOLVED.as_bytes(),
];

thread_local! {
    static HOST: FakeHost = FakeHost::new().secret("webhook_secret", "s");
}

fn never_panics(body: &[u8]) {
    let signature = hex_mac(b"s", &[body]);
    HOST.with(|host| assert_answered(&ServiceDeskPlus, host, &[("x-servicedesk-signature", &signature)], "", body));
}

#[test]
fn what_is_sent_is_answered() {
    SENT.into_iter().for_each(never_panics);
}

#[test]
#[ignore = "a million mutations take a minute in a release build"]
fn a_million_mutations_are_answered() {
    (0..1_000_000).for_each(|seed| never_panics(&mutated(&SENT, seed)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn arbitrary_bytes_are_answered(body in proptest::collection::vec(any::<u8>(), 0..512)) {
        never_panics(&body);
    }

    #[test]
    fn mutated_fixtures_are_answered(seed: u64) {
        never_panics(&mutated(&SENT, seed));
    }

    #[test]
    fn any_markup_becomes_text(html in "[<>&;/!a-z0-9# \u{e9}-]{0,200}") {
        let body = serde_json_text(&html);
        let metadata = extract(format!(r#"{{"request":{{"id":1,"description":{body}}}}}"#)).unwrap();
        assert!(metadata.description.is_some_and(|text| text == text.trim()));
    }
}

fn serde_json_text(text: &str) -> String {
    plugin_abi::serde_json::to_string(text).unwrap()
}
