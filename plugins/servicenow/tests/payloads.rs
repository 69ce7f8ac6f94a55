//! What bodies say, through the plugin's trait.

#![allow(clippy::unwrap_used, reason = "in a test, also in the functions that its tests share")]

use plugin_abi::{
    prelude::*,
    testing::{FakeHost, FakeWebhook, assert_answered, mutated},
    time::{OffsetDateTime, format_description::well_known::Rfc3339},
};
use proptest::prelude::{ProptestConfig, any, proptest};
use servicenow::ServiceNow;

const RECORD_CREATED: &str = include_str!("fixtures/record-created.json");
const CHANGE_REOPENED: &str = include_str!("fixtures/change-reopened.json");
const RECORD_RESOLVED: &str = include_str!("fixtures/record-resolved.json");
const RULE_CREATED: &str = include_str!("fixtures/rule-created.json");
const RULE_RESOLVED: &str = include_str!("fixtures/rule-resolved.json");
const SYS_ID: &str = "4f1c0e9a2b7d4c55a1e8300d9b6c7f21";
const URL: &str = "https://acme.service-now.example/incident.do?sys_id=4f1c0e9a2b7d4c55a1e8300d9b6c7f21";

fn extract(body: impl Into<Vec<u8>>) -> Result<TicketMetadata, PluginError> {
    let webhook = FakeWebhook::post(body);
    ServiceNow.extract_metadata(&FakeHost::new().tenant(), &webhook.borrow())
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
fn record_created() {
    let mut expected = TicketMetadata::new(SYS_ID, Event::Created);
    expected.tenant_id = text("acme");
    expected.subject = text("Badge printer on floor 3 jams");
    expected.description = text("Every second card.\nTray was cleaned & refilled.");
    expected.priority = Priority::High;
    expected.raw_priority = text("2");
    expected.created_at = at("2026-03-02T08:15:00Z");
    expected.occurred_at = expected.created_at;
    expected.delivery_id = text("0");
    expected.url = text(URL);
    assert_eq!(extract(RECORD_CREATED), Ok(expected));
}

#[test]
fn record_resolved() {
    let resolved_at = at("2026-03-03T16:40:00Z");
    let event = Event::Resolved { resolution: text("Replaced the feed roller."), resolved_at, tags: Vec::new() };
    let mut expected = TicketMetadata::new(SYS_ID, event);
    expected.subject = text("Badge printer on floor 3 jams");
    expected.priority = Priority::Low;
    expected.raw_priority = text("4 - Low");
    expected.created_at = at("2026-03-02T08:15:00Z");
    expected.occurred_at = resolved_at;
    expected.delivery_id = text("7");
    assert_eq!(extract(RECORD_RESOLVED), Ok(expected.clone()));
    assert_eq!(extract(RECORD_RESOLVED.replace("\"record\"", "\"result\"")), Ok(expected));
}

#[test]
fn rule_created() {
    let mut expected = TicketMetadata::new(SYS_ID, Event::Created);
    expected.subject = text("Badge printer on floor 3 jams");
    expected.description = text("Every second card");
    expected.priority = Priority::High;
    expected.raw_priority = text("CRITICAL");
    expected.created_at = at("2026-03-02T08:15:00.672Z");
    expected.occurred_at = expected.created_at;
    expected.delivery_id = text("1772439300672");
    expected.url = text(URL);
    assert_eq!(extract(RULE_CREATED), Ok(expected));
}

#[test]
fn rule_resolved() {
    let resolved_at = at("2026-03-03T16:40:00Z");
    let event = Event::Resolved { resolution: text("Replaced the feed roller."), resolved_at, tags: Vec::new() };
    let mut expected = TicketMetadata::new(SYS_ID, event);
    expected.subject = text("Badge printer on floor 3 jams");
    expected.description = text("Every second card");
    expected.priority = Priority::Low;
    expected.raw_priority = text("LOW");
    expected.occurred_at = resolved_at;
    expected.delivery_id = text("1772556000000");
    assert_eq!(extract(RULE_RESOLVED), Ok(expected));

    let coded = extract(RULE_RESOLVED.replace("Replaced the feed roller.", "")).unwrap();
    assert!(matches!(coded.event, Event::Resolved { resolution, .. } if resolution == text("Solution provided")));
}

#[test]
fn a_sys_id_is_taken_before_a_number() {
    for (body, expected) in [
        (format!(r#"{{"sys_id":"{SYS_ID}"}}"#), SYS_ID),
        (format!(r#"{{"sys_id":"{SYS_ID}","number":"INC7"}}"#), SYS_ID),
        (r#"{"number":"INC7"}"#.to_owned(), "INC7"),
        (r#"{"sys_id":"","number":"INC7"}"#.to_owned(), "INC7"),
        (r#"{"sys_id":" \t","number":" INC7 "}"#.to_owned(), "INC7"),
        (r#"{"sys_id":{"value":null},"number":{"value":"INC7","display_value":"INC7"}}"#.to_owned(), "INC7"),
        (r#"{"number":10042}"#.to_owned(), "10042"),
        (r#"{"incidentId":"INC7","action":"created"}"#.to_owned(), "INC7"),
        (r#"{"incidentId":"INC7","action":"created","data":null}"#.to_owned(), "INC7"),
        (format!(r#"{{"action":"created","data":{{"sysId":"{SYS_ID}"}}}}"#), SYS_ID),
        (format!(r#"{{"incidentId":"INC7","action":"created","data":{{"sysId":"{SYS_ID}"}}}}"#), SYS_ID),
    ] {
        assert_eq!(extract(body.clone()).unwrap().ticket_id, expected, "{body}");
    }
}

#[test]
fn events() {
    let record = |rest: &str| format!(r#"{{"number":"INC7",{rest}}}"#);
    let times = |created: &str, updated: &str| {
        record(&format!(
            r#""sys_created_on":"2026-03-02 08:15:{created}","sys_updated_on":"2026-03-02 08:15:{updated}""#
        ))
    };
    let rule = |action: &str| format!(r#"{{"incidentId":"INC7","action":"{action}"}}"#);
    for (body, expected) in [
        (rule("created"), "Created"),
        (rule("Incident_Created"), "Created"),
        (rule("incident.created"), "Created"),
        (rule("insert"), "Created"),
        (rule("updated"), "Updated"),
        (rule("update"), "Updated"),
        (rule("resolved"), "Resolved"),
        (rule("CLOSED"), "Resolved"),
        (rule("reopened"), "Reopened"),
        (rule("incident re-opened"), "Reopened"),
        (rule("assigned"), "Other"),
        (rule("delete"), "Other"),
        (record(r#""event":"created""#), "Created"),
        (record(r#""event":"ticket_updated","state":"6""#), "Updated"),
        (record(r#""event":"closed","state":"1""#), "Resolved"),
        (record(r#""event":"canceled""#), "Other"),
        (record(r#""event":"reopen","state":"6""#), "Reopened"),
        // What the script does not say shows in the record.
        (record(r#""state":"1""#), "Created"),
        (record(r#""state":"6""#), "Resolved"),
        (record(r#""state":7"#), "Resolved"),
        (record(r#""state":"Resolved""#), "Resolved"),
        (record(r#""state":{"value":"7","display_value":"Geschlossen"}"#), "Resolved"),
        (record(r#""state":"8""#), "Updated"),
        (
            record(
                r#""sys_mod_count":"0","sys_created_on":"2026-03-02 08:15:00","sys_updated_on":"2026-03-02 09:00:00""#,
            ),
            "Created",
        ),
        (times("00", "01"), "Created"),
        (times("00", "02"), "Updated"),
    ] {
        let metadata = extract(body.clone()).unwrap();
        assert!(format!("{:?}", metadata.event).starts_with(expected), "{body}: {metadata:?}");
    }
}

#[test]
fn priorities() {
    for (word, expected, raw) in [
        (r#""1""#, Priority::High, Some("1")),
        ("2", Priority::High, Some("2")),
        (r#""3""#, Priority::Medium, Some("3")),
        (r#""4""#, Priority::Low, Some("4")),
        (r#""5""#, Priority::Low, Some("5")),
        (r#""1 - Critical""#, Priority::High, Some("1 - Critical")),
        (r#""HIGH""#, Priority::High, Some("HIGH")),
        (r#""Moderate""#, Priority::Medium, Some("Moderate")),
        (r#""5 - Planning""#, Priority::Low, Some("5 - Planning")),
        (r#""P1""#, Priority::Medium, Some("P1")),
        (r#"{"value":"1","display_value":"1 - Kritisch"}"#, Priority::High, Some("1 - Kritisch")),
        (r#"{"value":"4"}"#, Priority::Low, Some("4")),
        (r#""""#, Priority::Medium, None),
        ("null", Priority::Medium, None),
    ] {
        let metadata = extract(format!(r#"{{"number":"INC7","priority":{word}}}"#)).unwrap();
        assert_eq!((metadata.priority, metadata.raw_priority.as_deref()), (expected, raw), "{word}");
    }
    for (word, expected) in [("CRITICAL", Priority::High), ("MEDIUM", Priority::Medium), ("MINIMAL", Priority::Low)] {
        let body = format!(r#"{{"incidentId":"INC7","action":"created","priority":"{word}"}}"#);
        assert_eq!(extract(body).unwrap().priority, expected, "{word}");
    }
}

#[test]
fn what_happened_when_is_told_apart() {
    let record = |rest: &str| extract(format!(r#"{{"number":"INC7",{rest}}}"#)).unwrap();
    let closed = record(r#""event":"closed","closed_at":"2026-03-04 10:00:00","sys_updated_on":"2026-03-04 10:00:01""#);
    assert_eq!(closed.occurred_at, at("2026-03-04T10:00:00Z"));
    let updated = record(r#""event":"updated","sys_updated_on":"2026-03-04T11:00:01+01:00","sys_mod_count":12"#);
    assert_eq!((updated.occurred_at, updated.delivery_id), (at("2026-03-04T10:00:01Z"), text("12")));
    // Two changes may fall into one second, so a time alone tells no deliveries apart.
    assert_eq!(record(r#""event":"updated","sys_updated_on":"2026-03-04 10:00:01""#).delivery_id, None);
}

#[test]
fn every_faulty_field_is_listed() {
    for (body, expected) in [
        ("{}", &["sys_id"][..]),
        (r#"{"sys_id":null,"number":""}"#, &["sys_id"]),
        (r#"{"sys_id":"test123/4"}"#, &["sys_id"]),
        (r#"{"number":"INC1^ORnumber=INC2"}"#, &["number"]),
        (r#"{"number":["INC1"]}"#, &["sys_id"]),
        (r#"{"number":true,"event":[],"tenant_id":7,"url":{}}"#, &["number", "tenant_id", "url", "event"]),
        (r#"{"incidentId":"INC7","action":" "}"#, &["action"]),
        (
            r#"{"number":"INC7","short_description":[],"description":false,"priority":1.5,"state":[[]]}"#,
            &["short_description", "description", "priority", "state"],
        ),
        (
            r#"{"number":"INC7","sys_created_on":"02.03.2026 08:15:00","sys_updated_on":7,"resolved_at":"now","closed_at":[]}"#,
            &["sys_created_on", "sys_updated_on", "resolved_at", "closed_at"],
        ),
        (r#"{"record":[]}"#, &["record"]),
        (r#"{"record":"INC7"}"#, &["record"]),
        (r#"{"data":{}}"#, &["data.sysId", "action"]),
        (r#"{"incidentId":"INC7","data":[],"action":7}"#, &["data", "action"]),
        (
            r#"{"incidentId":"","action":"created","timestamp":"soon","title":1,"description":[],"priority":{},
                "data":{"incidentUrl":1,"closeCode":2,"closeNotes":3}}"#,
            &[
                "data.sysId",
                "priority",
                "title",
                "description",
                "data.incidentUrl",
                "data.closeCode",
                "data.closeNotes",
                "timestamp",
            ],
        ),
    ] {
        assert_eq!(faults(body), expected, "{body}");
    }
}

#[test]
fn what_is_no_object_is_malformed() {
    let deep = "[".repeat(100_000);
    for body in [
        "",
        " ",
        "null",
        "[]",
        r#"["INC7"]"#,
        "{",
        r#"{"number":"INC7"} x"#,
        r#"{"number":"INC7","number":"INC8"}"#,
        r#"{"record":{},"result":{}}"#,
        "{\"number\":\"\u{0}\"}",
        &format!(r#"{{"number":{deep}"#),
    ] {
        assert!(matches!(extract(body), Err(PluginError::Malformed(_))), "{body:.40}");
    }
    assert!(matches!(extract(b"{\"number\":\"\xff}"), Err(PluginError::Malformed(_))));
}

#[test]
fn depth_and_size_cost_no_more_than_their_bytes() {
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let many = format!("[{}1]", "1,".repeat(200_000));
    for (body, expected) in [
        (format!(r#"{{"number":"INC7","other":{nested}}}"#), true),
        (format!(r#"{{"number":"INC7","record":null,"other":{many}}}"#), true),
        (format!(r#"{{"number":"INC7","short_description":{many}}}"#), false),
        (format!(r#"{{"incidentId":"INC7","action":"created","data":{{"x":{nested}}}}}"#), true),
    ] {
        assert_eq!(extract(body.clone()).is_ok(), expected, "{body:.60}");
    }
}

/// Bodies as they are sent, from which those that nobody sends are made.
const SENT: [&[u8]; 5] = [
    CHANGE_REOPENED.as_bytes(),
    RECORD_CREATED.as_bytes(),
    RECORD_RESOLVED.as_bytes(),
    RULE_CREATED.as_bytes(),
    RULE_RESOLVED.as_bytes(),
];

thread_local! {
    static HOST: FakeHost = FakeHost::new().secret("webhook_secret", "s");
}

fn never_panics(body: &[u8]) {
    HOST.with(|host| assert_answered(&ServiceNow, host, &[], "", body));
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
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn arbitrary_bytes_are_answered(body in proptest::collection::vec(any::<u8>(), 0..512)) {
        never_panics(&body);
    }

    #[test]
    fn mutated_fixtures_are_answered(seed: u64) {
        never_panics(&mutated(&SENT, seed));
    }

    #[test]
    fn any_time_is_answered(time in "[0-9TZ:.+ \u{e9}-]{0,40}") {
        never_panics(format!(r#"{{"number":"INC7","sys_created_on":"{time}"}}"#).as_bytes());
    }
}
