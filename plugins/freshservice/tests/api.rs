//! What is asked of the tool's API, and what its answers mean, through the plugin's trait.

#![allow(clippy::unwrap_used, reason = "in a test, also in the functions that its tests share")]

use freshservice::Freshservice;
use plugin_abi::{
    prelude::*,
    serde_json::{self, Value, json},
    testing::FakeHost,
    time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339},
    types::Credential,
};
use proptest::prelude::{any, proptest};

const TICKET: &str = include_str!("fixtures/api-ticket.json");
const CONVERSATIONS: &str = include_str!("fixtures/api-conversations.json");
const ADDED: &str = include_str!("fixtures/api-note.json");
const REJECTED: &str = r#"{"description":"Validation failed",
    "errors":[{"field":"body","message":"It should be a/an String","code":"datatype_mismatch"}]}"#;
const MARKER: &str = "[patchbay 0193-n1]";

fn host() -> FakeHost {
    FakeHost::new().secret("api_key", "k")
}

fn get(host: &FakeHost) -> Result<Option<Ticket>, PluginError> {
    Freshservice.get_ticket(&host.tenant(), "7301")
}

fn update(host: &FakeHost, html: &str, text: &str) -> Result<bool, PluginError> {
    Freshservice.update_ticket(&host.tenant(), "7301", &Note::new("", html, text, MARKER))
}

/// What the body of the last request said.
fn posted(host: &FakeHost) -> Value {
    let request = host.requests().pop().unwrap();
    let (method, headers, _, body, _) = request.parts();
    assert_eq!((method, request.target()), ("POST", "/api/v2/tickets/7301/notes"));
    assert!(headers.contains(&("content-type".to_owned(), "application/json".to_owned())));
    serde_json::from_slice(body.unwrap()).unwrap()
}

/// A page of conversations, the last one or not.
fn page(body: &str, more: &str) -> Result<Response, PluginError> {
    let headers =
        vec![("content-type".to_owned(), "application/json".to_owned()), ("link".to_owned(), more.to_owned())];
    Ok(Response::new(200, headers, body))
}

#[test]
fn the_key_stands_in_the_users_place() {
    let basic = Credential::BasicUser { secret: "api_key".into(), password: "X".to_owned() };
    let bearer = Credential::Bearer { secret: "api_key".into() };
    for (host, credential) in [(host(), basic), (host().setting("api_auth", "bearer"), bearer)] {
        let host = host.answer(200, TICKET);
        get(&host).unwrap();
        let request = host.requests().pop().unwrap();
        let (method, headers, given, body, _) = request.parts();
        assert_eq!((method, given, body), ("GET", Some(&credential), None));
        assert_eq!(request.target(), "/api/v2/tickets/7301?include=requester%2Cstats");
        assert_eq!(headers, [("accept".to_owned(), "application/json".to_owned())]);
    }
}

#[test]
fn an_answer_becomes_a_ticket() {
    let ticket = get(&host().answer(200, TICKET)).unwrap().unwrap();
    let at = |text: &str| Some(OffsetDateTime::parse(text, &Rfc3339).unwrap());
    let mut expected = Ticket::new("7301");
    expected.subject = Some("Scanner feeds two pages".to_owned());
    expected.description = Some("Since the move.\nTray 2 & tray 3.".to_owned());
    expected.status = Some("Resolved".to_owned());
    expected.priority = Priority::High;
    expected.requester = Some("Mira Sand".to_owned());
    expected.created_at = at("2026-03-02T09:15:00Z");
    expected.updated_at = at("2026-03-03T16:40:05Z");
    expected.resolved_at = at("2026-03-03T16:40:00Z");
    expected.resolution = Some("Replaced the separation pad.".to_owned());
    expected.url = Some("https://desk.example/helpdesk/tickets/7301".to_owned());
    let raw: Value = serde_json::from_str(&ticket.raw).unwrap();
    assert_eq!(raw, serde_json::from_str::<Value>(TICKET).unwrap()["ticket"]);
    expected.raw.clone_from(&ticket.raw);
    assert_eq!(ticket, expected);
}

#[test]
fn little_is_enough_for_a_ticket() {
    let read = |ticket: Value| get(&host().answer(200, &json!({ "ticket": ticket }).to_string())).unwrap().unwrap();
    for (ticket, status, priority, requester, description) in [
        (json!({}), None, Priority::Medium, None, None),
        (
            json!({"status": 2, "priority": 1, "requester": {"name": "", "email": "a@b.c"}, "description_text": "x"}),
            Some("Open"),
            Priority::Low,
            Some("a@b.c"),
            Some("x"),
        ),
        // An account's own status has no name here.
        (
            json!({"status": 8, "priority": 9, "requester": null, "stats": null}),
            Some("8"),
            Priority::Medium,
            None,
            None,
        ),
        (json!({"status": [], "priority": {}, "subject": 7, "description": ""}), None, Priority::Medium, None, None),
        (json!({"requester": "Mira", "stats": [], "spam": "no"}), None, Priority::Medium, Some("Mira"), None),
        (json!({"requester": [1], "stats": 7, "status": 4.0}), Some("Resolved"), Priority::Medium, None, None),
    ] {
        let read = read(ticket.clone());
        assert_eq!((read.status.as_deref(), read.priority), (status, priority), "{ticket}");
        assert_eq!((read.requester.as_deref(), read.description.as_deref()), (requester, description), "{ticket}");
    }
    let closed = read(json!({"stats": {"resolved_at": null, "closed_at": "2026-03-04T08:00:00Z"}}));
    assert!(closed.resolved_at.is_some());
}

#[test]
fn only_a_solution_is_shown_as_one() {
    let stats = json!({"resolved_at": "2026-03-03T16:40:00Z"});
    let conversation = |body: &str| json!({"conversations": [null, {"body": 7}, {"body": body, "private": true}]});
    let merge = conversation("<div>This ticket is closed and merged into ticket 4711</div>");
    for (ticket, conversations, status, solved) in [
        (json!({"status": 4, "stats": stats}), None, "Resolved", true),
        (json!({"status": 5, "stats": stats, "resolution_notes": "Rekeyed."}), None, "Closed", true),
        (json!({"status": 5, "stats": stats}), Some(conversation("<p>merged</p>")), "Closed", true),
        // A list that cannot be read hides no more than whether it was merged.
        (json!({"status": 5, "stats": stats}), Some(json!({"conversations": {}})), "Closed", true),
        (json!({"status": 5, "stats": stats}), Some(merge), "Closed (merged)", false),
        (
            json!({"status": 5, "stats": stats, "resolution_notes": "This ticket is closed and merged into ticket 9"}),
            None,
            "Closed (merged)",
            false,
        ),
        (json!({"status": 5, "stats": stats, "resolution_notes": "x", "spam": true}), None, "Closed (spam)", false),
        (json!({"status": 4, "stats": stats, "deleted": true}), None, "Resolved (deleted)", false),
        // Opened again, which takes the time of the earlier solution from no ticket.
        (json!({"status": 2, "stats": stats}), None, "Open", false),
        (json!({"status": 9, "stats": stats}), None, "9", false),
    ] {
        let host = host().answer(200, &json!({ "ticket": ticket }).to_string());
        let host = conversations.iter().fold(host, |host, list| host.answer(200, &list.to_string()));
        let read = get(&host).unwrap().unwrap();
        assert_eq!((read.status.as_deref(), read.resolved_at.is_some()), (Some(status), solved), "{ticket}");
        assert!(solved || read.resolution.is_none(), "{ticket}");
        assert_eq!(host.requests().len(), 1 + conversations.iter().len(), "{ticket}");
    }
    let closed = host().answer(200, r#"{"ticket":{"status":5}}"#).answer(429, "");
    assert_eq!(get(&closed).unwrap_err().kind(), "rate_limit");
}

#[test]
fn no_ticket_is_no_error() {
    for (status, body) in [(404, ""), (404, "<html>"), (410, "{}")] {
        assert_eq!(get(&host().answer(status, body)), Ok(None), "{status} {body}");
        assert_eq!(update(&host().answer(status, body), "<p>x</p>", "x").unwrap_err().kind(), "not_found");
    }
}

#[test]
fn failures_have_their_kind() {
    for (status, body, kind) in [
        (401, r#"{"code":"invalid_credentials","message":"You have to be logged in"}"#, "authentication"),
        (403, r#"{"code":"access_denied","message":"You are not authorized"}"#, "authentication"),
        (429, "", "rate_limit"),
        (429, "<html>slow down</html>", "rate_limit"),
        (400, REJECTED, "validation"),
        (422, REJECTED, "validation"),
        (400, r#"{"code":"invalid_json","message":"…"}"#, "validation"),
        (400, "what?", "validation"),
        (405, "", "api"),
        (409, REJECTED, "api"),
        (500, "", "api"),
        (502, "<html>bad gateway</html>", "api"),
        (503, "", "api"),
        (302, "", "api"),
        (200, "<!doctype html><html>log in</html>", "api"),
        (200, "", "api"),
        (200, "{}", "malformed"),
        (200, "[]", "malformed"),
        (200, r#"{"ticket":null}"#, "malformed"),
        (200, r#"{"ticket":[]}"#, "malformed"),
        (200, r#"{"ticket":{"subject":"x"#, "malformed"),
    ] {
        let fault = get(&host().answer(status, body)).unwrap_err();
        assert_eq!(fault.kind(), kind, "{status} {body}: {fault}");
    }
    let fault = get(&host().answer(400, REJECTED)).unwrap_err();
    let expected = "the tool answered datatype_mismatch: It should be a/an String";
    assert_eq!(fault, PluginError::field("body", expected));
    let fault = get(&host().answer(200, "<html>please log in</html>")).unwrap_err().to_string();
    assert!(fault.contains("HTML came where JSON is due") && fault.contains("please log in"), "{fault}");
    assert_eq!(get(&host().answer_with(Err(PluginError::Cancelled))), Err(PluginError::Cancelled));
}

#[test]
fn a_wait_is_taken_in_every_form() {
    let now = OffsetDateTime::UNIX_EPOCH + Duration::days(20_000);
    for (status, wait, expected) in [
        (429, "93", Some(93)),
        (429, "Fri, 04 Oct 2024 00:01:30 GMT", Some(90)),
        (429, "soon", None),
        (503, "7", Some(7)),
    ] {
        let slow = Response::new(status, vec![("retry-after".to_owned(), wait.to_owned())], "");
        let fault = get(&host().at(now).answer_with(Ok(slow))).unwrap_err();
        let PluginError::RateLimit { retry_after, .. } = fault else { panic!("{fault}") };
        assert_eq!(retry_after.map(|wait| wait.as_secs()), expected, "{wait}");
    }
}

#[test]
fn a_note_is_always_private() {
    let host = host().answer(201, ADDED);
    assert_eq!(update(&host, "<p>1 & 2</p>", ""), Ok(true));
    assert_eq!(posted(&host), json!({"body": "<p>1 & 2</p>", "private": true}));
    assert_eq!((host.requests().len(), host.logged().len()), (1, 0));
}

#[test]
fn a_note_that_became_public_is_reported() {
    let host = host().answer(201, &ADDED.replace(r#""private": true"#, r#""private": false"#));
    assert_eq!(update(&host, "x", "x"), Ok(true), "it is there: another attempt would add another one");
    assert!(matches!(&host.logged()[..], [(LogLevel::Error, text)] if text.contains("public")));
}

#[test]
fn a_note_that_was_not_taken_is_an_error() {
    for (status, body) in [(200, "<html>"), (201, ""), (201, r#"{"conversation"#), (400, REJECTED), (500, ADDED)] {
        assert!(update(&host().answer(status, body), "x", "x").is_err(), "{status} {body}");
    }
    // Of the answer nothing is needed but that it is one.
    for body in ["{}", "[]", "null", r#"{"conversation":1}"#, r#"{"conversation":{"private":"yes"}}"#] {
        assert_eq!(update(&host().answer(201, body), "x", "x"), Ok(true), "{body}");
    }
}

#[test]
fn later_attempts_look_for_the_marker_first() {
    let list = |marker: &str| CONVERSATIONS.replace("[patchbay <i></i>0193-n1]", marker);
    for (list, found) in [
        (CONVERSATIONS.to_owned(), true),
        (list(MARKER), true),
        (list("[patchbay&nbsp;0193-n1]"), true),
        (list("[patchbay 0193-n2]"), false),
        (r#"{"conversations":[]}"#.to_owned(), false),
        (r#"{"conversations":[{},{"body":7},{"body":null}]}"#.to_owned(), false),
    ] {
        let host = host().attempt(2).answer(200, &list).answer(201, ADDED);
        assert_eq!(update(&host, "<p>x</p>", "x"), Ok(true));
        assert_eq!(host.requests().len(), if found { 1 } else { 2 }, "{list}");
        assert_eq!(host.requests()[0].target(), "/api/v2/tickets/7301/conversations?per_page=100&page=1");
    }
}

#[test]
fn all_pages_are_looked_through_up_to_a_limit() {
    let next = r#"<https://desk.example/api/v2/tickets/7301/conversations?page=2>; rel="next""#;
    let empty = r#"{"conversations":[]}"#;
    let host = host().attempt(2).answer_with(page(empty, next)).answer_with(page(CONVERSATIONS, ""));
    assert_eq!(update(&host, "x", "x"), Ok(true));
    let targets: Vec<_> = host.requests().iter().map(|request| request.target().to_owned()).collect();
    assert_eq!(targets.len(), 2);
    assert!(targets[1].ends_with("/conversations?per_page=100&page=2"), "{targets:?}");

    let host = (0..10).fold(self::host().attempt(2), |host, _| host.answer_with(page(empty, next))).answer(201, ADDED);
    assert_eq!(update(&host, "x", "x"), Ok(true));
    assert_eq!(host.requests().len(), 11);
    assert!(matches!(&host.logged()[..], [(LogLevel::Warn, _)]), "that it may be there twice is said");
}

#[test]
fn without_a_readable_list_nothing_is_posted() {
    for (status, body) in [(500, ""), (200, "<html>"), (403, "{}"), (200, "{}"), (200, r#"{"conversations":null}"#)] {
        let host = host().attempt(3).answer(status, body).answer(201, ADDED);
        assert!(update(&host, "<p>x</p>", "x").is_err(), "{status} {body}");
        assert_eq!(host.requests().len(), 1);
    }
}

#[test]
fn a_long_note_is_cut_and_keeps_its_marker() {
    let whole = "é".repeat(60_000);
    let host = host().answer(201, ADDED).answer(201, ADDED);
    update(&host, &whole, "").unwrap();
    assert_eq!(posted(&host)["body"], whole);
    update(&host, &format!("{whole}x"), &"a<b\n".repeat(60_000)).unwrap();
    let sent = posted(&host);
    let cut = sent["body"].as_str().unwrap();
    assert!(cut.chars().count() <= 60_000);
    assert!(cut.starts_with("a&lt;b<br>") && cut.ends_with(&format!("… [shortened]<br>{MARKER}")), "{cut}");
}

#[test]
fn broken_settings_and_ids_ask_nothing() {
    for (host, id) in
        [(host().setting("api_auth", "key"), "7301"), (FakeHost::new(), "7301"), (host(), ".."), (host(), "")]
    {
        let fault = Freshservice.get_ticket(&host.tenant(), id).unwrap_err();
        assert_eq!((fault.kind(), host.requests().len()), ("configuration", 0), "{fault}");
    }
}

proptest! {
    #[test]
    fn any_answer_is_read(
        status in 100_u16..600,
        body in proptest::collection::vec(any::<u8>(), 0..200),
        at in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let _any = get(&host().answer_with(Ok(Response::new(status, Vec::new(), body))));
        for (fixture, status) in [(TICKET, 200), (REJECTED, 400)] {
            let mut mutated = fixture.as_bytes().to_vec();
            let at = at.index(mutated.len());
            mutated[at] = byte;
            let _any = get(&host().answer_with(Ok(Response::new(status, Vec::new(), mutated))));
        }
    }
}
