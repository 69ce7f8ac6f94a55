//! What bodies say, through the plugin's trait.

#![allow(clippy::unwrap_used, reason = "in a test, also in the functions that its tests share")]

use plugin_abi::{
    prelude::*,
    serde_json::{self, Value, json},
    testing::{FakeHost, FakeWebhook, assert_answered, mutated},
    time::{OffsetDateTime, format_description::well_known::Rfc3339},
};
use proptest::prelude::{ProptestConfig, any, proptest};
use zendesk::Zendesk;

const EVENT_CREATED: &str = include_str!("fixtures/event-created.json");
const EVENT_SOLVED: &str = include_str!("fixtures/event-solved.json");
const TRIGGER_CREATED: &str = include_str!("fixtures/trigger-created.json");
const TRIGGER_SOLVED: &str = include_str!("fixtures/trigger-solved.json");
const USER_EVENT: &str = include_str!("fixtures/signed-vector.json");

fn host() -> FakeHost {
    FakeHost::new().setting("api_auth", "bearer")
}

fn extract_at(host: &FakeHost, body: impl Into<Vec<u8>>) -> Result<TicketMetadata, PluginError> {
    Zendesk.extract_metadata(&host.tenant(), &FakeWebhook::post(body).borrow())
}

fn extract(body: impl Into<Vec<u8>>) -> Result<TicketMetadata, PluginError> {
    extract_at(&host(), body)
}

fn at(text: &str) -> Option<OffsetDateTime> {
    Some(OffsetDateTime::parse(text, &Rfc3339).unwrap())
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn kind(event: &Event) -> &'static str {
    match event {
        Event::Created => "created",
        Event::Updated => "updated",
        Event::Resolved { .. } => "resolved",
        Event::Reopened => "reopened",
        _ => "other",
    }
}

/// The names of the fields that the body is refused for.
fn faults(body: &str) -> Vec<String> {
    match extract(body) {
        Err(PluginError::Validation(faults)) => faults.into_iter().map(|fault| fault.field).collect(),
        other => panic!("{body}: {other:?}"),
    }
}

/// A fixture with the value at this path replaced; `null` takes it out.
fn with(fixture: &str, path: &str, value: Value) -> String {
    let mut body: Value = serde_json::from_str(fixture).unwrap();
    *body.pointer_mut(path).unwrap() = value;
    body.to_string()
}

#[test]
fn event_created() {
    let mut expected = TicketMetadata::new("1337", Event::Created);
    expected.subject = text("Badge printer jams");
    // Plain text: what looks like a tag stays.
    expected.description = text("The badge printer on <floor 3> jams.\nSince Monday.");
    expected.priority = Priority::High;
    expected.raw_priority = text("URGENT");
    expected.created_at = at("2026-03-02T09:15:00Z");
    expected.occurred_at = at("2026-03-02T09:15:00.672717030Z");
    expected.delivery_id = text("0b7c1a52-6d0e-4f58-9a43-3e1f5c0d9b21");
    expected.url = text("https://desk.example/agent/tickets/1337");
    assert_eq!(extract(EVENT_CREATED), Ok(expected));
}

#[test]
fn event_solved_asks_to_be_read_back() {
    let solved_at = at("2026-03-03T16:40:00.987654321Z");
    let tags = vec!["printer".to_owned(), "floor-3".to_owned()];
    let event = Event::Resolved { resolution: None, resolved_at: solved_at, tags };
    let metadata = extract(EVENT_SOLVED).unwrap();
    assert_eq!((metadata.event, metadata.occurred_at, metadata.read_back), (event, solved_at, true));
    assert_eq!((metadata.priority, metadata.raw_priority), (Priority::Low, text("LOW")));
    assert_eq!(metadata.delivery_id, text("7e52b0aa-93a1-4a0f-8f5c-2f2f64d3c0de"));
}

#[test]
fn trigger_created() {
    let mut expected = TicketMetadata::new("1337", Event::Created);
    expected.tenant_id = text("acme");
    expected.subject = text("Badge printer jams");
    expected.description = text("The badge printer on <floor 3> jams.");
    expected.priority = Priority::High;
    expected.raw_priority = text("High");
    expected.created_at = at("2026-03-02T09:15:00Z");
    expected.occurred_at = expected.created_at;
    expected.url = text("https://desk.example/agent/tickets/1337");
    assert_eq!(extract(TRIGGER_CREATED), Ok(expected));
}

#[test]
fn trigger_solved() {
    let metadata = extract(TRIGGER_SOLVED).unwrap();
    let resolved_at = at("2026-03-03T16:40:00Z");
    let tags = vec!["printer".to_owned(), "floor-3".to_owned()];
    let event = Event::Resolved { resolution: text("Replaced the feed roller."), resolved_at, tags };
    assert_eq!((metadata.event, metadata.occurred_at, metadata.read_back), (event, resolved_at, false));
    // Nothing in a trigger's body tells two deliveries apart for sure: the host takes the whole body.
    assert_eq!(metadata.delivery_id, None);
    assert!(extract(with(TRIGGER_SOLVED, "/resolution", json!(" "))).unwrap().read_back);
}

#[test]
fn events_by_type_and_status() {
    let event = |kind: &str, status: &str, change: Value| {
        let body = with(EVENT_SOLVED, "/type", json!(format!("zen:event-type:ticket.{kind}")));
        with(&with(&body, "/detail/status", json!(status)), "/event", change)
    };
    let change = |previous: &str, current: &str| json!({"previous": previous, "current": current});
    for (body, expected) in [
        (event("created", "SOLVED", json!({})), "created"),
        (event("status_changed", "SOLVED", change("OPEN", "SOLVED")), "resolved"),
        (event("status_changed", "solved", change("pending", "solved")), "resolved"),
        (event("status_changed", "CLOSED", change("OPEN", "CLOSED")), "resolved"),
        (event("status_changed", "CLOSED", change("SOLVED", "CLOSED")), "updated"),
        (event("status_changed", "OPEN", change("SOLVED", "OPEN")), "reopened"),
        (event("status_changed", "SOLVED", change("NEW", "OPEN")), "updated"),
        (event("status_changed", "SOLVED", json!({})), "resolved"),
        (event("status_changed", "SOLVED", json!(7)), "resolved"),
        (event("status_changed", "HOLD", Value::Null), "updated"),
        (event("comment_added", "OPEN", json!({"comment": {"id": "5"}})), "updated"),
        (event("custom_status_changed", "SOLVED", change("1", "2")), "updated"),
        (event("priority_changed", "SOLVED", change("LOW", "HIGH")), "updated"),
        (event("anything_new", "OPEN", json!([])), "updated"),
        (event("merged", "OPEN", json!({})), "other"),
        (event("soft_deleted", "DELETED", json!({})), "other"),
        (event("permanently_deleted", "DELETED", json!({})), "other"),
        (event("undeleted", "OPEN", json!({})), "other"),
        (event("marked_as_spam", "OPEN", json!({})), "other"),
    ] {
        let metadata = extract(body.clone()).unwrap();
        assert_eq!((kind(&metadata.event), metadata.ticket_id.as_str()), (expected, "1337"), "{body}");
    }
}

#[test]
fn an_event_without_a_ticket_makes_no_work() {
    let metadata = extract(USER_EVENT).unwrap();
    assert_eq!((metadata.event, metadata.ticket_id.as_str(), metadata.url), (Event::Other, "", None));
    assert_eq!(metadata.delivery_id, text("6b9bbadf-5725-4e92-bebe-7b71011bf5f1"));
}

#[test]
fn trigger_events() {
    for (word, expected) in [
        ("created", "created"),
        ("Created", "created"),
        (" updated ", "updated"),
        ("resolved", "resolved"),
        ("Solved", "resolved"),
        ("closed", "resolved"),
        ("Open", "other"),
        ("whatever", "other"),
    ] {
        let metadata = extract(json!({"ticket_id": 9, "event": word}).to_string()).unwrap();
        assert_eq!((kind(&metadata.event), metadata.ticket_id.as_str()), (expected, "9"), "{word}");
    }
}

#[test]
fn a_trigger_says_it_where_the_settings_say() {
    let host = host()
        .setting("field_ticket_id", "ticket.id")
        .setting("field_event", "ticket.status")
        .setting("field_subject", "ticket.title")
        .setting("field_tenant_id", "from")
        .setting("field_resolution", "ticket.comment.text");
    let body = json!({
        // No event of Zendesk's, though it has a type and a detail.
        "type": "incident", "detail": "x", "from": "acme", "subject": "not this one",
        "ticket": {"id": 12, "status": "Solved", "title": "VPN drops", "comment": {"text": "Rekeyed."}},
    });
    let metadata = extract_at(&host, body.to_string()).unwrap();
    assert_eq!((metadata.ticket_id.as_str(), metadata.subject), ("12", text("VPN drops")));
    assert_eq!(metadata.tenant_id, text("acme"));
    assert!(matches!(metadata.event, Event::Resolved { resolution: Some(how), .. } if how == "Rekeyed."));

    let Err(PluginError::Validation(faults)) = extract_at(&host, r#"{"ticket":[1],"from":""}"#) else { panic!() };
    let fields: Vec<_> = faults.iter().map(|fault| fault.field.as_str()).collect();
    assert_eq!(fields, ["from", "ticket.id", "ticket.status"], "named as the body has them");
}

#[test]
fn priorities() {
    for (word, expected) in [
        (json!("URGENT"), Priority::High),
        (json!("high"), Priority::High),
        (json!("NORMAL"), Priority::Medium),
        (Value::Null, Priority::Medium),
        (json!("Low"), Priority::Low),
        (json!("Dringend"), Priority::Medium),
        (json!(""), Priority::Medium),
    ] {
        for (fixture, path) in [(EVENT_CREATED, "/detail/priority"), (TRIGGER_CREATED, "/priority")] {
            let metadata = extract(with(fixture, path, word.clone())).unwrap();
            assert_eq!((metadata.priority, metadata.raw_priority.as_deref()), (expected, word.as_str()), "{word}");
        }
    }
}

#[test]
fn every_faulty_field_is_listed() {
    let ticket = r#""type":"zen:event-type:ticket.created""#;
    for (body, expected) in [
        ("{}".to_owned(), &["ticket_id", "event"][..]),
        (r#"{"ticket_id":null,"event":null,"type":"ticket.created"}"#.to_owned(), &["ticket_id", "event"]),
        (r#"{"ticket_id":"","event":" "}"#.to_owned(), &["ticket_id", "event"]),
        (r##"{"ticket_id":"#12","event":"created"}"##.to_owned(), &["ticket_id"]),
        (r#"{"ticket_id":-1,"event":"created"}"#.to_owned(), &["ticket_id"]),
        (r#"{"ticket_id":1.5,"event":"created"}"#.to_owned(), &["ticket_id"]),
        (
            r#"{"tenant_id":1,"ticket_id":[],"event":{},"subject":2,"description":true,"priority":3,"resolution":[],
                "tags":["a"],"created_at":4,"updated_at":"2026-01-01"}"#
                .to_owned(),
            &[
                "tenant_id",
                "ticket_id",
                "event",
                "subject",
                "description",
                "priority",
                "resolution",
                "tags",
                "created_at",
                "updated_at",
            ],
        ),
        (format!("{{{ticket}}}"), &["id", "time", "detail", "detail.id"]),
        (format!(r#"{{{ticket},"id":[],"time":"now","detail":"x"}}"#), &["id", "time", "detail", "detail.id"]),
        (format!(r#"{{{ticket},"id":"","time":null,"detail":[1]}}"#), &["id", "time", "detail", "detail.id"]),
        (
            format!(
                r#"{{{ticket},"id":"e","time":"2026-01-01T00:00:00Z","detail":{{"id":"TKT-1","subject":1,
                    "description":[],"priority":{{}},"created_at":0,"tags":"a b"}}}}"#
            ),
            &[
                "detail.id",
                "detail.subject",
                "detail.description",
                "detail.priority",
                "detail.created_at",
                "detail.tags",
            ],
        ),
        (r#"{"type":"zen:event-type:user.created"}"#.to_owned(), &["id", "time"]),
    ] {
        assert_eq!(faults(&body), expected, "{body}");
    }
}

#[test]
fn limits_hold_at_the_limit_and_one_past_it() {
    let id = |digits: usize| json!("7".repeat(digits));
    assert_eq!(extract(with(EVENT_CREATED, "/detail/id", id(100))).unwrap().ticket_id.len(), 100);
    assert_eq!(faults(&with(EVENT_CREATED, "/detail/id", id(101))), ["detail.id"]);
    for count in [100, 101, 5000] {
        let words = vec!["t"; count];
        for body in
            [with(EVENT_SOLVED, "/detail/tags", json!(words)), with(TRIGGER_SOLVED, "/tags", json!(words.join(" ")))]
        {
            let metadata = extract(body).unwrap();
            assert!(matches!(metadata.event, Event::Resolved { tags, .. } if tags.len() == 100));
        }
    }
}

#[test]
fn broken_settings_are_the_tenants_fault() {
    for host in [FakeHost::new(), host().setting("field_event", "a..b")] {
        assert_eq!(extract_at(&host, EVENT_CREATED).unwrap_err().kind(), "configuration");
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
        b"ticket_id=7&event=created".to_vec(),
        br#"{"type":"zen:event-type:ticket.created","\u0074ype":"x"}"#.to_vec(),
        br#"{"type":"zen:event-type:ticket.created","id":"e","time":"","detail":{"id":1,"id":2}}"#.to_vec(),
        br#"{"ticket_id":"7","\u0074icket_id":"8"}"#.to_vec(),
        deep("{\"a\":", "").into_bytes(),
    ] {
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        assert!(matches!(extract(body), Err(PluginError::Malformed(_))), "{shown}");
    }
    // However deep the nesting, it is skipped without recursion.
    let hostile = format!(r#"{{"ticket_id":"7","event":"created","rows":{}}}"#, deep("[", "]"));
    assert_eq!(kind(&extract(hostile).unwrap().event), "created");
    let hostile = format!(r#"{{"ticket_id":"7","event":"created","ticket":{}}}"#, deep("{\"id\":", "}"));
    let host = host().setting("field_subject", "ticket.id.id");
    assert!(matches!(extract_at(&host, hostile), Err(PluginError::Validation(faults)) if faults.len() == 1));
    let hostile = EVENT_CREATED.replace("\"event\": {}", &format!("\"event\": {}", deep("[", "]")));
    assert_eq!(kind(&extract(hostile).unwrap().event), "created");
    let hostile = EVENT_CREATED.replace("\"email\"", &deep("{\"a\":", "}"));
    assert_eq!(kind(&extract(hostile).unwrap().event), "created");
}

/// Bodies as they are sent, from which those that nobody sends are made.
const SENT: [&[u8]; 4] =
    [EVENT_CREATED.as_bytes(), EVENT_SOLVED.as_bytes(), TRIGGER_CREATED.as_bytes(), TRIGGER_SOLVED.as_bytes()];

thread_local! {
    static HOST: FakeHost = FakeHost::new().secret("webhook_secret", "s").setting("api_auth", "bearer");
}

fn never_panics(body: &[u8]) {
    HOST.with(|host| assert_answered(&Zendesk, host, &[], "", body));
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
    fn arbitrary_bytes_are_answered(body in proptest::collection::vec(any::<u8>(), 0..256)) {
        never_panics(&body);
    }

    #[test]
    fn mutated_fixtures_are_answered(seed: u64) {
        never_panics(&mutated(&SENT, seed));
    }

    #[test]
    fn any_time_is_read_or_refused(time in "[0-9TZ:.+ -]{0,40}") {
        never_panics(with(EVENT_CREATED, "/time", json!(time)).as_bytes());
        never_panics(with(TRIGGER_CREATED, "/created_at", json!(time)).as_bytes());
    }
}
