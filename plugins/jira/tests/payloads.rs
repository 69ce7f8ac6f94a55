//! What bodies say, through the plugin's trait.

#![allow(clippy::unwrap_used, reason = "in a test, also in the functions that its tests share")]

use jira::Jira;
use plugin_abi::{
    prelude::*,
    serde_json::{self, Value, json},
    testing::{FakeHost, FakeWebhook, assert_answered, hex_mac, mutated},
    time::{OffsetDateTime, format_description::well_known::Rfc3339},
};
use proptest::prelude::{ProptestConfig, any, proptest};

const CREATED: &str = include_str!("fixtures/event-created.json");
const RESOLVED: &str = include_str!("fixtures/event-resolved.json");
const COMMENT: &str = include_str!("fixtures/event-comment.json");
const RULE_CREATED: &str = include_str!("fixtures/rule-created.json");
const BARE_RESOLVED: &str = include_str!("fixtures/bare-resolved.json");
const TRANSITION: &str = include_str!("fixtures/transition-reopen.json");

fn host() -> FakeHost {
    FakeHost::new().setting("api_auth", "bearer").secret("webhook_secret", "s")
}

fn extract(body: impl Into<Vec<u8>>) -> Result<TicketMetadata, PluginError> {
    Jira.extract_metadata(&host().tenant(), &FakeWebhook::post(body).borrow())
}

fn at(text: &str) -> Option<OffsetDateTime> {
    Some(OffsetDateTime::parse(text, &Rfc3339).unwrap())
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// The fixture with the value at this pointer replaced.
fn with(fixture: &str, pointer: &str, value: Value) -> String {
    let mut body: Value = serde_json::from_str(fixture).unwrap();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    body.pointer_mut(parent).unwrap()[name] = value;
    body.to_string()
}

/// The names of the fields that the body is refused for.
fn faults(body: &str) -> Vec<String> {
    match extract(body) {
        Err(PluginError::Validation(faults)) => faults.into_iter().map(|fault| fault.field).collect(),
        other => panic!("{body}: {other:?}"),
    }
}

fn new_ticket() -> TicketMetadata {
    let mut expected = TicketMetadata::new("IT-42", Event::Created);
    expected.subject = text("Laptop does not wake");
    expected.description = text("Lid open, screen *black*.\r\nFan runs & LED blinks.");
    expected.priority = Priority::High;
    expected.raw_priority = text("Highest");
    expected.created_at = at("2026-03-02T09:15:00.120Z");
    expected.url = text("https://acme.atlassian.net/browse/IT-42");
    expected
}

fn done() -> Event {
    Event::Resolved {
        resolution: text("Done"),
        resolved_at: at("2026-03-03T16:40:00.230Z"),
        tags: vec!["laptop".to_owned(), "hardware".to_owned()],
    }
}

#[test]
fn a_created_event() {
    let mut expected = new_ticket();
    expected.occurred_at = at("2026-03-02T09:15:00.410Z");
    expected.delivery_id = text("1772442900410.10101");
    assert_eq!(extract(CREATED), Ok(expected));
}

#[test]
fn a_resolved_event() {
    let mut expected = new_ticket();
    expected.event = done();
    expected.occurred_at = at("2026-03-03T16:40:00.250Z");
    expected.delivery_id = text("1772556000250.10109");
    assert_eq!(extract(RESOLVED), Ok(expected));
}

#[test]
fn what_rules_send() {
    let mut expected = new_ticket();
    expected.occurred_at = at("2026-03-02T09:15:01.020Z");
    expected.delivery_id = text("1772442901020.0");
    assert_eq!(extract(RULE_CREATED), Ok(expected));

    let mut expected = new_ticket();
    expected.event = done();
    expected.occurred_at = at("2026-03-03T16:40:00.250Z");
    assert_eq!(extract(BARE_RESOLVED), Ok(expected));
}

#[test]
fn what_an_administrator_writes() {
    let body = r#"{"tenant_id":"acme","event":"created","issue":{"key":"IT-42","fields":{"summary":"Laptop"}}}"#;
    let mut expected = TicketMetadata::new("IT-42", Event::Created);
    expected.tenant_id = text("acme");
    expected.subject = text("Laptop");
    assert_eq!(extract(body), Ok(expected));
}

#[test]
fn events() {
    let changes = |items: Value| with(RESOLVED, "/changelog/items", items);
    let item = |field: &str, to: Value| json!([{"field": field, "fieldtype": "jira", "to": to, "toString": "x"}]);
    let category = |key: Value| with(RESOLVED, "/issue/fields/status/statusCategory", key);
    let named = |name: &str| with(RESOLVED, "/webhookEvent", json!(name));
    for (body, expected) in [
        // A name of an event does not say that an issue was solved; changelog and category do.
        (changes(item("status", json!("5"))), "Resolved"),
        (changes(item("resolution", json!("10000"))), "Resolved"),
        (changes(item("resolution", Value::Null)), "Updated"),
        (changes(item("assignee", json!("x"))), "Updated"),
        (changes(json!([])), "Updated"),
        (changes(json!({"field": "status"})), "Updated"),
        (changes(json!("status")), "Updated"),
        (changes(json!([7, null, ["status"], {"field": "status", "to": "5"}])), "Resolved"),
        (with(RESOLVED, "/changelog", Value::Null), "Updated"),
        (category(json!({"key": "indeterminate"})), "Updated"),
        (category(json!({"key": "new", "name": "Done"})), "Updated"),
        (category(json!({"key": "done", "name": "Erledigt"})), "Resolved"),
        // Older sites have no category.
        (category(Value::Null), "Resolved"),
        (with(&category(Value::Null), "/issue/fields/resolution", Value::Null), "Updated"),
        (with(RESOLVED, "/issue_event_type_name", json!("issue_commented")), "Other"),
        (with(RESOLVED, "/issue_event_type_name", json!("issue_resolved")), "Resolved"),
        (named("jira:issue_deleted"), "Other"),
        (named("jira:issue_created"), "Created"),
        // Rules do not say what happened.
        (with(RULE_CREATED, "/issue/fields/updated", json!("2026-03-02T10:15:01.119+0100")), "Created"),
        (with(RULE_CREATED, "/issue/fields/updated", json!("2026-03-02T10:15:01.120+0100")), "Updated"),
        (with(RULE_CREATED, "/event", json!("Resolved")), "Resolved"),
        (with(RULE_CREATED, "/event", json!("issue_updated")), "Updated"),
        (with(RULE_CREATED, "/event", json!("issue_viewed")), "Other"),
        (r#"{"issue":{"key":"IT-42"}}"#.to_owned(), "Created"),
        (r#"{"key":"IT-42"}"#.to_owned(), "Created"),
        (r#"{"key":"IT-42","event":"closed"}"#.to_owned(), "Resolved"),
    ] {
        let metadata = extract(body.clone()).unwrap();
        assert!(format!("{:?}", metadata.event).starts_with(expected), "{expected}: {body}");
        assert_eq!(metadata.ticket_id, "IT-42");
    }
}

#[test]
fn what_is_not_about_an_issue_is_no_work() {
    for body in [
        COMMENT,
        r#"{"webhookEvent":"user_created","timestamp":"?"}"#,
        r#"{"webhookEvent":"sprint_started","issue":7}"#,
    ] {
        assert_eq!(extract(body), Ok(TicketMetadata::other()), "{body}");
    }
}

#[test]
fn the_address_tells_the_event_where_it_is_no_less_signed_than_the_body() {
    for (auth, body, query, expected) in [
        ("token", BARE_RESOLVED, "event=created", "Created"),
        ("basic", RULE_CREATED, "x=1&event=resolved", "Resolved"),
        ("connect", RULE_CREATED, "event=updated", "Updated"),
        ("token", RULE_CREATED, "revent=updated", "Created"),
        ("signature", RULE_CREATED, "event=resolved", "Created"),
        ("token", CREATED, "event=resolved", "Created"),
        ("token", r#"{"event":"updated","issue":{"key":"IT-1"}}"#, "event=resolved", "Updated"),
    ] {
        let webhook = FakeWebhook::post(body).query(query);
        let metadata =
            Jira.extract_metadata(&host().setting("webhook_auth", auth).tenant(), &webhook.borrow()).unwrap();
        assert!(format!("{:?}", metadata.event).starts_with(expected), "{auth} {query}: {metadata:?}");
    }
}

#[test]
fn of_a_hint_only_ticket_and_event_are_taken() {
    let resolved = Event::Resolved { resolution: None, resolved_at: None, tags: Vec::new() };
    for (body, event) in [
        (CREATED.to_owned(), Event::Created),
        (RESOLVED.to_owned(), resolved.clone()),
        (BARE_RESOLVED.to_owned(), resolved.clone()),
        // What is not taken need not be right.
        (with(CREATED, "/issue/fields/summary", json!(7)), Event::Created),
        (with(CREATED, "/issue/fields/created", json!("28/11/2026 09:15")), Event::Created),
        (with(CREATED, "/issue/fields", json!([7])), Event::Created),
        (with(CREATED, "/timestamp", json!("2026-11-28T08:00:00.000+0000")), Event::Created),
        (with(CREATED, "/timestamp", json!({"at": "soon"})), Event::Created),
        (with(CREATED, "/tenant_id", json!(7)), Event::Created),
        (with(CREATED, "/tenant_id", json!(" ")), Event::Created),
        (with(RESOLVED, "/changelog/id", json!([])), resolved),
    ] {
        let host = host().setting("webhook_auth", "token").setting("read_back", "true");
        let mut expected = TicketMetadata::new("IT-42", event);
        expected.read_back = true;
        let read = Jira.extract_metadata(&host.tenant(), &FakeWebhook::post(body.clone()).borrow());
        assert_eq!(read, Ok(expected), "{body}");
    }
}

#[test]
fn the_key_is_the_ticket_and_else_the_id() {
    for (issue, expected) in [
        (r#"{"id":"10042","key":"IT-42"}"#, "IT-42"),
        (r#"{"id":10042}"#, "10042"),
        (r#"{"id":"10042","key":null}"#, "10042"),
        (r#"{"key":"Help_2-7"}"#, "Help_2-7"),
    ] {
        assert_eq!(extract(issue).unwrap().ticket_id, expected);
        assert_eq!(extract(format!(r#"{{"issue":{issue}}}"#)).unwrap().ticket_id, expected);
    }
    for key in [
        "",
        " ",
        "IT",
        "IT-",
        "-42",
        "IT-4x",
        "IT 42-1",
        "../IT-42",
        "..",
        "IT-42/comment",
        "{{issue.key}}",
        "2IT-1",
        "é-1",
    ] {
        assert_eq!(faults(&json!({"issue": {"key": key}}).to_string()), ["issue.key"], "{key}");
        assert_eq!(faults(&json!({"id": key}).to_string()), ["id"], "{key}");
    }
    let long = |digits: usize| json!({"key": format!("IT-{}", "1".repeat(digits))}).to_string();
    assert!(extract(long(97)).is_ok());
    assert_eq!(faults(&long(98)), ["key"]);
}

#[test]
fn priorities() {
    for (priority, expected, raw) in [
        (json!({"name": "Highest", "id": "1"}), Priority::High, Some("Highest")),
        (json!({"name": "high"}), Priority::High, Some("high")),
        (json!({"name": "Blocker"}), Priority::High, Some("Blocker")),
        (json!({"name": "Critical"}), Priority::High, Some("Critical")),
        (json!({"name": "Medium"}), Priority::Medium, Some("Medium")),
        (json!({"name": "Major"}), Priority::Medium, Some("Major")),
        (json!({"name": "Minor"}), Priority::Low, Some("Minor")),
        (json!({"name": "Low"}), Priority::Low, Some("Low")),
        (json!({"name": "LOWEST"}), Priority::Low, Some("LOWEST")),
        (json!({"name": "Trivial"}), Priority::Low, Some("Trivial")),
        (json!({"name": "P1 - all hands", "id": "1"}), Priority::Medium, Some("P1 - all hands")),
        (json!({"id": "2"}), Priority::High, Some("2")),
        (json!({"id": "5", "name": ""}), Priority::Low, Some("5")),
        (json!("Low"), Priority::Low, Some("Low")),
        (json!({"name": 7}), Priority::Medium, None),
        (json!([1]), Priority::Medium, None),
        (Value::Null, Priority::Medium, None),
    ] {
        let metadata = extract(with(CREATED, "/issue/fields/priority", priority.clone())).unwrap();
        assert_eq!((metadata.priority, metadata.raw_priority.as_deref()), (expected, raw), "{priority}");
    }
}

#[test]
fn times() {
    for (time, expected) in [
        (json!("2021-01-17T12:34:00.000+0000"), "2021-01-17T12:34:00Z"),
        (json!("2013-09-06T11:20:24.101-0400"), "2013-09-06T15:20:24.101Z"),
        (json!("2021-01-17T12:34:00.000+05:30"), "2021-01-17T07:04:00Z"),
        (json!("2021-01-17T12:34:00Z"), "2021-01-17T12:34:00Z"),
        (json!("2021-01-17T12:34:00"), "2021-01-17T12:34:00Z"),
        (json!("2021-01-17 13:34 +01"), "2021-01-17T12:34:00Z"),
        (json!("20210117T123400,0Z"), "2021-01-17T12:34:00Z"),
        (json!(1.772_442_900_41e12), "2026-03-02T09:15:00.410Z"),
        (json!(1_772_442_900_410_u64), "2026-03-02T09:15:00.410Z"),
    ] {
        let metadata = extract(with(CREATED, "/issue/fields/created", time.clone())).unwrap();
        assert_eq!(metadata.created_at, at(expected), "{time}");
    }
    for time in [
        "",
        "+",
        "0000",
        "+0000",
        "é0000",
        "2021-01-17",
        "17/Jan/21 12:34 PM",
        "2021-01-17T12:34:00.000+00é",
        "9999-12-31T23:59:59-2300",
    ] {
        assert_eq!(faults(&with(CREATED, "/issue/fields/created", json!(time))), ["issue.fields.created"], "{time}");
    }
    // Where there is no resolution, the time at which the status became a finished one.
    let body =
        with(&with(RESOLVED, "/issue/fields/resolution", Value::Null), "/issue/fields/resolutiondate", Value::Null);
    let event = extract(body).unwrap().event;
    assert!(
        matches!(event, Event::Resolved { resolution: None, resolved_at, .. } if resolved_at == at("2026-03-03T16:40:00.250Z"))
    );
}

#[test]
fn descriptions_are_texts_or_documents() {
    let document = json!({"type": "doc", "version": 1, "content": [{"type": "paragraph", "content": [{"type": "text", "text": "a"}]}]});
    for (description, expected) in [
        (json!("*a* \"b\" \\ é"), Some("*a* \"b\" \\ é")),
        (json!(""), Some("")),
        (document, Some("a")),
        (Value::Null, None),
        (json!(7), None),
        (json!({"content": 7}), None),
    ] {
        let metadata = extract(with(CREATED, "/issue/fields/description", description.clone())).unwrap();
        assert_eq!(metadata.description.as_deref(), expected, "{description}");
    }
}

#[test]
fn the_site_is_in_the_issues_address() {
    for (address, expected) in [
        (json!("https://acme.atlassian.net/rest/api/2/issue/1"), Some("https://acme.atlassian.net/browse/IT-42")),
        (json!("http://127.0.0.1:8090/jira/rest/api/3/issue/1"), Some("http://127.0.0.1:8090/jira/browse/IT-42")),
        (json!("https://api.atlassian.com/ex/jira/7/rest/api/3/issue/1"), None),
        (json!("javascript:alert(1)/rest/api/2/"), None),
        (json!("https://acme.atlassian.net/issue/1"), None),
        (json!(format!("https://{}/rest/api/2/issue/1", "a".repeat(2000))), None),
        (json!(7), None),
    ] {
        let metadata = extract(with(CREATED, "/issue/self", address.clone())).unwrap();
        assert_eq!(metadata.url.as_deref(), expected, "{address}");
    }
}

#[test]
fn every_faulty_field_is_listed() {
    for (body, expected) in [
        ("{}", &["issue"][..]),
        (r#"{"webhookEvent":"jira:issue_created"}"#, &["issue"]),
        (r#"{"webhookEvent":"jira:issue_created","key":"IT-42"}"#, &["issue"]),
        (r#"{"issue":[1]}"#, &["issue"]),
        (r#"{"issue":"IT-42"}"#, &["issue"]),
        (r#"{"issue":{}}"#, &["issue.key"]),
        (r#"{"issue":{"key":{}}}"#, &["issue.key"]),
        (r#"{"issue":{"id":-1}}"#, &["issue.id"]),
        (
            r#"{"webhookEvent":7,"timestamp":"soon","tenant_id":"","event":[],"issue":{"key":7.5,"fields":
                {"summary":{},"created":"x","updated":true,"resolutiondate":"never"}}}"#,
            &[
                "webhookEvent",
                "event",
                "issue.key",
                "tenant_id",
                "timestamp",
                "issue.fields.summary",
                "issue.fields.created",
                "issue.fields.updated",
                "issue.fields.resolutiondate",
            ],
        ),
        (r#"{"key":"IT-42","timestamp":-5,"fields":[]}"#, &["timestamp", "fields"]),
    ] {
        assert_eq!(faults(body), expected, "{body}");
    }
}

#[test]
fn what_is_no_json_object_is_malformed() {
    let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(200_000), close.repeat(200_000));
    for body in [
        b"".to_vec(),
        b"  ".to_vec(),
        b"null".to_vec(),
        b"[1,2,3]".to_vec(),
        b"\"{}\"".to_vec(),
        b"{".to_vec(),
        b"{\"a\":1,}".to_vec(),
        b"{}{}".to_vec(),
        br#"{"webhookEvent":"user_created","webhookEvent":"jira:issue_created"}"#.to_vec(),
        br#"{"issue":{"key":"A-1","\u006bey":"A-2"}}"#.to_vec(),
        deep("{\"a\":", "").into_bytes(),
    ] {
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        assert!(matches!(extract(body), Err(PluginError::Malformed(_))), "{shown}");
    }
    // However deep the nesting, it is skipped without recursion.
    for field in ["description", "labels", "customfield_1", "reporter", "status"] {
        let body = format!(r#"{{"issue":{{"key":"A-1","fields":{{"{field}":{}}}}}}}"#, deep("[", "]"));
        assert!(extract(body).is_ok(), "{field}");
    }
    let document = deep(r#"{"type":"doc","content":["#, "]}");
    let metadata = extract(format!(r#"{{"issue":{{"key":"A-1","fields":{{"description":{document}}}}}}}"#)).unwrap();
    assert_eq!(metadata.description, None);
}

#[test]
fn long_lists_take_linear_time_and_are_cut() {
    let labels = json!(vec!["a"; 100_000]);
    let Event::Resolved { tags, .. } = extract(with(RESOLVED, "/issue/fields/labels", labels)).unwrap().event else {
        panic!("resolved");
    };
    assert_eq!(tags.len(), 101);
    let items = json!(vec![json!({"field": "status", "to": "5"}); 100_000]);
    assert_eq!(extract(with(RESOLVED, "/changelog/items", items)).unwrap().event, done());
}

/// Bodies as they are sent, from which those that nobody sends are made.
const SENT: [&[u8]; 6] = [
    CREATED.as_bytes(),
    RESOLVED.as_bytes(),
    RULE_CREATED.as_bytes(),
    BARE_RESOLVED.as_bytes(),
    COMMENT.as_bytes(),
    TRANSITION.as_bytes(),
];

thread_local! {
    static SIGNED: FakeHost = host().secret("webhook_secret", "s");
    static HINTED: FakeHost = host().secret("webhook_secret", "s").setting("webhook_auth", "token").setting("read_back", "true");
}

fn never_panics(body: &[u8]) {
    let signature = format!("sha256={}", hex_mac(b"s", &[body]));
    for host in [&SIGNED, &HINTED] {
        host.with(|host| assert_answered(&Jira, host, &[("x-hub-signature", &signature)], "event=created", body));
    }
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
    fn any_time_is_answered(time in "[0-9T:+.Zé-]{0,30}") {
        let body = with(RULE_CREATED, "/issue/fields/created", json!(time));
        assert!(matches!(extract(body), Ok(_) | Err(PluginError::Validation(_))));
    }
}
