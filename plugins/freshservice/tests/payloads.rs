//! What bodies say, through the plugin's trait.

#![allow(clippy::unwrap_used, reason = "in a test, also in the functions that its tests share")]

use freshservice::Freshservice;
use plugin_abi::{
    prelude::*,
    testing::{FakeHost, FakeWebhook, assert_answered, mutated},
    time::{OffsetDateTime, format_description::well_known::Rfc3339},
};
use proptest::prelude::{ProptestConfig, any, proptest};

const CREATED: &str = include_str!("fixtures/template-created.json");
const RESOLVED: &str = include_str!("fixtures/template-resolved.json");
const ID_ONLY: &str = include_str!("fixtures/id-only.json");
const STATUS_ONLY: &str = include_str!("fixtures/status-only.json");
const OWN_KEYS: &str = include_str!("fixtures/own-keys.json");

/// As most tenants are: the webhook is a hint.
fn hint(body: impl Into<Vec<u8>>) -> Result<TicketMetadata, PluginError> {
    Freshservice.extract_metadata(&FakeHost::new().tenant(), &FakeWebhook::post(body).borrow())
}

fn whole_host() -> FakeHost {
    FakeHost::new().setting("read_back", "false")
}

/// Where the webhook is taken at its word.
fn whole(body: impl Into<Vec<u8>>) -> Result<TicketMetadata, PluginError> {
    Freshservice.extract_metadata(&whole_host().tenant(), &FakeWebhook::post(body).borrow())
}

fn hinted(event: Event) -> TicketMetadata {
    let mut expected = TicketMetadata::new("7301", event);
    expected.read_back = true;
    expected
}

fn resolved() -> Event {
    Event::Resolved { resolution: None, resolved_at: None, tags: Vec::new() }
}

fn at(text: &str) -> Option<OffsetDateTime> {
    Some(OffsetDateTime::parse(text, &Rfc3339).unwrap())
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// The names of the fields that the body is refused for.
fn faults(read: Result<TicketMetadata, PluginError>) -> Vec<String> {
    match read {
        Err(PluginError::Validation(faults)) => faults.into_iter().map(|fault| fault.field).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_hint_is_id_event_and_tenant_and_no_more() {
    for (body, event, tenant_id) in [
        (CREATED, Event::Created, text("acme")),
        (RESOLVED, resolved(), text("acme")),
        (ID_ONLY, Event::Created, None),
        (STATUS_ONLY, resolved(), None),
    ] {
        let mut expected = hinted(event);
        expected.tenant_id = tenant_id;
        assert_eq!(hint(body), Ok(expected), "{body}");
    }
    // What is not taken cannot be wrong.
    for (broken, event) in [
        (r#""subject":[],"created_at":"Monday","tags":{},"priority":true,"url":7,"resolution":1.5"#, Event::Created),
        (r#""tenant_id":7,"status":true,"updated_at":1e400"#, Event::Created),
        (r#""tenant_id":["acme"],"status":{},"event":"resolved","description":false"#, resolved()),
        (r#""tenant_id":" ","status":-4,"event":"reopened""#, Event::Reopened),
    ] {
        assert_eq!(hint(format!(r#"{{"ticket_id":7301,{broken}}}"#)), Ok(hinted(event)), "{broken}");
    }
}

#[test]
fn a_created_ticket_taken_at_its_word() {
    let mut expected = TicketMetadata::new("7301", Event::Created);
    expected.tenant_id = text("acme");
    expected.subject = text("Scanner feeds two pages");
    expected.description = text("Since the move.\nTray 2 & tray 3.");
    expected.priority = Priority::High;
    expected.raw_priority = text("Urgent");
    expected.created_at = at("2026-03-02T09:15:00Z");
    expected.occurred_at = expected.created_at;
    expected.url = text("https://acme.freshservice.com/helpdesk/tickets/7301");
    assert_eq!(whole(CREATED), Ok(expected));
}

#[test]
fn a_resolved_ticket_taken_at_its_word() {
    let metadata = whole(RESOLVED).unwrap();
    let event = Event::Resolved {
        resolution: text("Replaced the separation pad."),
        resolved_at: at("2026-03-03T16:40:00Z"),
        tags: vec!["scanner".to_owned(), "hardware".to_owned()],
    };
    assert_eq!((metadata.event, metadata.occurred_at), (event, at("2026-03-03T16:40:00Z")));
    assert_eq!((metadata.priority, metadata.read_back, metadata.delivery_id), (Priority::Low, false, None));

    let metadata = whole(STATUS_ONLY).unwrap();
    assert_eq!((metadata.event, metadata.raw_priority), (resolved(), text("High")));

    let updated = whole(r#"{"ticket_id":1,"event":"updated","updated_at":"2026-03-03T16:40:05Z"}"#).unwrap();
    assert_eq!((updated.event, updated.occurred_at), (Event::Updated, at("2026-03-03T16:40:05Z")));
}

#[test]
fn a_templates_own_keys_are_named_by_a_setting() {
    let host = whole_host().setting("fields", "ticket_id=reference, subject=title, url=qr_url");
    let read = |body: &str| Freshservice.extract_metadata(&host.tenant(), &FakeWebhook::post(body).borrow());
    let metadata = read(OWN_KEYS).unwrap();
    assert_eq!((metadata.ticket_id.as_str(), metadata.event), ("7301", Event::Created));
    assert_eq!(metadata.subject, text("Mira Sand"));
    assert_eq!(metadata.url, text("https://acme.freshservice.com/helpdesk/tickets/7301"));
    assert_eq!(faults(read(r#"{"ticket_id":1}"#)), ["reference"], "the key is named as it stands in the template");
    assert_eq!(faults(hint(OWN_KEYS)), ["ticket_id"]);
}

#[test]
fn ids_become_the_number_that_the_api_takes() {
    for (id, expected) in [
        ("7301", "7301"),
        (r#""7301""#, "7301"),
        (r#"" 7301 ""#, "7301"),
        (r#""INC-7301""#, "7301"),
        (r#""inc-7301""#, "7301"),
        (r##""#INC-7301""##, "7301"),
        (r##""#7301""##, "7301"),
        (r#""SR-9""#, "9"),
        (r#""007""#, "7"),
        ("18446744073709551615", "18446744073709551615"),
    ] {
        assert_eq!(hint(format!(r#"{{"ticket_id":{id}}}"#)).unwrap().ticket_id, expected, "{id}");
    }
    for id in [
        "0",
        "-1",
        "1.5",
        "true",
        "[]",
        "{}",
        "null",
        r#""""#,
        r#"" ""#,
        r#""0""#,
        r#""INC-""#,
        r#""INC-0""#,
        r#""INC--1""#,
        // A change, a problem and an asset are no tickets, and their numbers mean other things.
        r#""CHN-12""#,
        r#""PRB-12""#,
        r#""ASSET-12""#,
        r#""INC-12-3""#,
        r#""+7""#,
        r#""7/8""#,
        r#""..""#,
        r#""١""#,
        r#""{{ticket.id_numeric}}""#,
        r#""18446744073709551616""#,
        "18446744073709551616",
    ] {
        assert_eq!(faults(hint(format!(r#"{{"ticket_id":{id}}}"#))), ["ticket_id"], "{id}");
    }
    assert_eq!(faults(hint("{}")), ["ticket_id"]);
}

#[test]
fn events() {
    for (rest, expected) in [
        ("", Event::Created),
        (r#","event":"created""#, Event::Created),
        (r#","event":" Ticket_Created ""#, Event::Created),
        (r#","event":"raised""#, Event::Created),
        (r#","event":"updated""#, Event::Updated),
        (r#","event":"resolved""#, resolved()),
        (r#","event":"closed""#, resolved()),
        (r#","event":"ticket_resolved""#, resolved()),
        (r#","event":"solved""#, resolved()),
        (r#","event":"reopened""#, Event::Reopened),
        (r#","event":"Ticket_Reopened""#, Event::Reopened),
        (r#","event":"approved""#, Event::Other),
        (r#","event":"","status":"Open""#, Event::Created),
        (r#","status":"Pending""#, Event::Created),
        (r#","status":"RESOLVED""#, resolved()),
        (r#","status":"Closed""#, resolved()),
        (r#","status":4"#, resolved()),
        (r#","status":"5""#, resolved()),
        (r#","status":3"#, Event::Created),
        (r#","status":"4.0""#, Event::Created),
        (r#","status":4.0"#, resolved()),
        (r#","status":9"#, Event::Created),
        (r#","status":"Awaiting vendor""#, Event::Created),
        // Statuses of an account's own that end a ticket without a solution.
        (r#","status":"Cancelled""#, Event::Updated),
        (r#","status":"Closed - Duplicate""#, Event::Updated),
        (r#","status":" merged ","event":null"#, Event::Updated),
        (r#","status":"Withdrawn by requester","event":"resolved""#, Event::Updated),
        (r#","status":"Rejected","event":"closed""#, Event::Updated),
        (r#","status":"Spam","event":"created""#, Event::Created),
        // The template's own word decides over the status.
        (r#","event":"updated","status":"Closed""#, Event::Updated),
        (r#","event":"created","status":4"#, Event::Created),
    ] {
        assert_eq!(hint(format!(r#"{{"ticket_id":7301{rest}}}"#)), Ok(hinted(expected)), "{rest}");
    }
}

#[test]
fn a_body_without_an_event_means_what_its_route_says() {
    const CREATED: &str = "/api/webhooks/ticket-created";
    const RESOLVED: &str = "/webhook/servicedesk/resolved-ticket";
    for (path, rest, expected) in [
        (CREATED, "", Event::Created),
        (RESOLVED, "", resolved()),
        ("/webhook/servicedesk//resolved-ticket/", r#","event":" ""#, resolved()),
        // A status is no event.
        (CREATED, r#","status":"Closed""#, Event::Created),
        (RESOLVED, r#","status":"Open""#, resolved()),
        (RESOLVED, r#","status":"Duplicate""#, Event::Updated),
        // A body's own event counts for more.
        (CREATED, r#","event":"resolved""#, resolved()),
        (RESOLVED, r#","event":"reopened""#, Event::Reopened),
        (RESOLVED, r#","event":"whatever""#, Event::Other),
    ] {
        let webhook = FakeWebhook::post(format!(r#"{{"ticket_id":7301{rest}}}"#)).path(path);
        let read = Freshservice.extract_metadata(&FakeHost::new().tenant(), &webhook.borrow());
        assert_eq!(read, Ok(hinted(expected)), "{path} {rest}");
    }
}

#[test]
fn a_merge_is_no_resolution() {
    for (resolution, expected) in [
        ("<p>This ticket is closed and merged into ticket 4711</p>", "Updated"),
        ("this ticket is closed and merged into ticket <a>4711</a> by an app", "Updated"),
        ("Closed. This ticket is closed and merged into ticket 4711", "Resolved"),
    ] {
        let body = format!(r#"{{"ticket_id":1,"event":"resolved","resolution":"{resolution}"}}"#);
        assert!(format!("{:?}", whole(body).unwrap().event).starts_with(expected), "{resolution}");
    }
}

#[test]
fn priorities() {
    for (word, expected, raw) in [
        (r#""Urgent""#, Priority::High, Some("Urgent")),
        (r#""HIGH""#, Priority::High, Some("HIGH")),
        ("4", Priority::High, Some("4")),
        (r#""3""#, Priority::High, Some("3")),
        (r#""Medium""#, Priority::Medium, Some("Medium")),
        ("2", Priority::Medium, Some("2")),
        (r#"" low ""#, Priority::Low, Some("low")),
        ("1", Priority::Low, Some("1")),
        ("null", Priority::Medium, None),
        (r#""""#, Priority::Medium, None),
        ("17", Priority::Medium, Some("17")),
        (r#""Dringend""#, Priority::Medium, Some("Dringend")),
    ] {
        let metadata = whole(format!(r#"{{"ticket_id":1,"priority":{word}}}"#)).unwrap();
        assert_eq!((metadata.priority, metadata.raw_priority.as_deref()), (expected, raw), "{word}");
    }
}

#[test]
fn every_faulty_field_is_listed() {
    let all = r#"{"tenant_id":1,"event":[],"ticket_id":-1,"status":{},"subject":2,"description":true,"priority":1.5,
        "created_at":0,"updated_at":"yesterday","resolved_at":"2026-02-30T00:00:00Z","resolution":[],"tags":["a"],"url":{}}"#;
    let mut found = faults(whole(all));
    found.sort_unstable();
    let mut expected = [
        "tenant_id",
        "event",
        "ticket_id",
        "status",
        "subject",
        "description",
        "priority",
        "created_at",
        "updated_at",
        "resolved_at",
        "resolution",
        "tags",
        "url",
    ];
    expected.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!(faults(hint(all)), ["ticket_id", "event"]);
}

#[test]
fn what_is_no_json_object_is_malformed() {
    let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(200_000), close.repeat(200_000));
    for body in [
        b"".to_vec(),
        b"  ".to_vec(),
        b"null".to_vec(),
        b"7301".to_vec(),
        b"[\"acme\",\"created\",7301]".to_vec(),
        b"{".to_vec(),
        b"{\"ticket_id\":1,}".to_vec(),
        b"{}{}".to_vec(),
        // What an unescaped quote in a placeholder makes of a template.
        br#"{"ticket_id":"1","subject":"the "red" light"}"#.to_vec(),
        b"{\"ticket_id\":\"1\",\"subject\":\"two\nlines\"}".to_vec(),
        br#"{"ticket_id":1,"ticket_id":2}"#.to_vec(),
        br#"{"ticket_id":1,"\u0074icket_id":2}"#.to_vec(),
        deep("{\"a\":", "").into_bytes(),
    ] {
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        for read in [hint(body.clone()), whole(body)] {
            assert!(matches!(read, Err(PluginError::Malformed(_))), "{shown}: {read:?}");
        }
    }
    // However deep the nesting, it is skipped without recursion.
    let nested = |key: &str| format!(r#"{{"ticket_id":7301,"{key}":{}}}"#, deep("[", "]"));
    assert_eq!(hint(nested("rows")), Ok(hinted(Event::Created)));
    assert_eq!(faults(hint(nested("event"))), ["event"]);
    assert_eq!(faults(whole(nested("subject"))), ["subject"]);
}

/// Bodies as they are sent, from which those that nobody sends are made.
const SENT: [&[u8]; 4] = [CREATED.as_bytes(), RESOLVED.as_bytes(), STATUS_ONLY.as_bytes(), OWN_KEYS.as_bytes()];

thread_local! {
    static HINTED: FakeHost = FakeHost::new();
    static TRUSTED: FakeHost = FakeHost::new().setting("read_back", "false");
}

fn never_panics(body: &[u8]) {
    for host in [&HINTED, &TRUSTED] {
        host.with(|host| assert_answered(&Freshservice, host, &[], "", body));
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
    fn arbitrary_bytes_are_answered(body in proptest::collection::vec(any::<u8>(), 0..256)) {
        never_panics(&body);
    }

    #[test]
    fn mutated_fixtures_are_answered(seed: u64) {
        never_panics(&mutated(&SENT, seed));
    }

    #[test]
    fn any_field_map_is_answered(map in "[a-z_=, ]{0,40}") {
        let host = FakeHost::new().setting("fields", &map);
        let read = Freshservice.extract_metadata(&host.tenant(), &FakeWebhook::post(CREATED).borrow());
        if let Err(fault) = read {
            assert!(matches!(fault.kind(), "configuration" | "validation"), "{fault}");
        }
    }

    #[test]
    fn any_time_is_answered(time in "[0-9TZ:. +-]{0,30}") {
        let body = format!(r#"{{"ticket_id":7301,"created_at":"{time}"}}"#);
        if let Err(fault) = whole(body) {
            assert_eq!(fault.kind(), "validation");
        }
    }
}
