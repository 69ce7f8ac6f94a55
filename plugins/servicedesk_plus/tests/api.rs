//! What is asked of the tool's API, and what its answers mean, through the plugin's trait.

#![allow(clippy::unwrap_used, reason = "in a test, also in the functions that its tests share")]

use plugin_abi::{
    prelude::*,
    serde_json::{self, Value, json},
    testing::FakeHost,
    time::{OffsetDateTime, format_description::well_known::Rfc3339},
    types::Credential,
};
use proptest::prelude::{any, proptest};
use servicedesk_plus::ServiceDeskPlus;

const REQUEST: &str = include_str!("fixtures/api-request.json");
const NOTES: &str = include_str!("fixtures/api-notes.json");
const SUCCESS: &str = r#"{"note":{"id":"5"},"response_status":{"status_code":2000,"status":"success"}}"#;
const MARKER: &str = "[patchbay 0193-n1]";

fn on_premises() -> FakeHost {
    FakeHost::new().secret("api_key", "k")
}

fn cloud() -> FakeHost {
    on_premises().setting("edition", "cloud").setting("portal", "it desk")
}

fn get(host: &FakeHost) -> Result<Option<Ticket>, PluginError> {
    ServiceDeskPlus.get_ticket(&host.tenant(), "7/8")
}

fn update(host: &FakeHost, html: &str, text: &str) -> Result<bool, PluginError> {
    ServiceDeskPlus.update_ticket(&host.tenant(), "7", &Note::new("", html, text, MARKER))
}

/// What the form field `input_data` of the last request held.
fn posted(host: &FakeHost) -> Value {
    let request = host.requests().pop().unwrap();
    let (method, headers, _, body, _) = request.parts();
    assert_eq!(method, "POST");
    assert!(headers.contains(&("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned())));
    let encoded = std::str::from_utf8(body.unwrap()).unwrap().strip_prefix("input_data=").unwrap();
    assert!(!encoded.contains('&'), "one field only");
    serde_json::from_slice(&percent_decoded(encoded)).unwrap()
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    bytes
}

fn failure(code: u16) -> String {
    json!({"response_status": {"status_code": 4000, "status": "failed",
        "messages": [{"status_code": code, "type": "failed", "message": "so it is", "field": "the_field"}]}})
    .to_string()
}

#[test]
fn requests_are_those_of_the_edition() {
    let header = |header: &'static str, scheme: Option<&'static str>| Credential::Header {
        header: header.into(),
        scheme: scheme.map(Into::into),
        secret: "api_key".into(),
    };
    for (host, target, credential) in [
        (on_premises(), "/api/v3/requests/7%2F8", header("authtoken", None)),
        (cloud(), "/app/it%20desk/api/v3/requests/7%2F8", header("authorization", Some("Zoho-oauthtoken"))),
    ] {
        let host = host.answer(200, REQUEST);
        get(&host).unwrap();
        let request = host.requests().pop().unwrap();
        let (method, headers, given, body, _) = request.parts();
        assert_eq!((method, request.target(), given, body), ("GET", target, Some(&credential), None));
        let accept = ("accept".to_owned(), "application/vnd.manageengine.sdp.v3+json".to_owned());
        assert_eq!(headers, [accept]);
    }
}

#[test]
fn a_request_becomes_a_ticket() {
    let ticket = get(&on_premises().answer(200, REQUEST)).unwrap().unwrap();
    let at = |text: &str| Some(OffsetDateTime::parse(text, &Rfc3339).unwrap());
    let mut expected = Ticket::new("7/8");
    expected.subject = Some("Laptop does not wake".to_owned());
    expected.description = Some("Lid open, screen black.\nFan runs & LED blinks.".to_owned());
    expected.status = Some("Resolved".to_owned());
    expected.priority = Priority::High;
    expected.requester = Some("Mira Sand".to_owned());
    expected.created_at = at("2026-03-02T09:15:00.120Z");
    expected.updated_at = at("2026-03-03T16:40:00.250Z");
    expected.resolved_at = at("2026-03-03T16:40:00Z");
    expected.resolution = Some("Replaced the lid sensor.".to_owned());
    let raw: Value = serde_json::from_str(&ticket.raw).unwrap();
    assert_eq!(raw, serde_json::from_str::<Value>(REQUEST).unwrap()["request"]);
    expected.raw.clone_from(&ticket.raw);
    assert_eq!(ticket, expected);
}

#[test]
fn little_is_enough_for_a_ticket() {
    let answer =
        r#"{"request":{"requester":{"name":null,"email_id":"a@b.c"}},"response_status":[{"status_code":"2000"}]}"#;
    let ticket = get(&on_premises().answer(200, answer)).unwrap().unwrap();
    assert_eq!((ticket.requester.as_deref(), ticket.priority), (Some("a@b.c"), Priority::Medium));
}

#[test]
fn no_ticket_is_no_error() {
    for (status, body) in
        [(404, ""), (404, "<html>"), (410, "{}"), (404, &failure(4007)), (400, &failure(4007)), (200, &failure(4007))]
    {
        assert_eq!(get(&on_premises().answer(status, body)), Ok(None), "{status} {body}");
    }
    let gone = update(&on_premises().answer(404, &failure(4007)), "<p>x</p>", "x");
    assert_eq!(gone.unwrap_err().kind(), "not_found");
}

#[test]
fn failures_have_their_kind_and_the_body_counts() {
    let array = failure(4001).replace("\"response_status\":{", "\"response_status\":[{").replacen("}}", "}]}", 1);
    for (status, body, kind) in [
        (401, "", "authentication"),
        (403, "<html>", "authentication"),
        (400, &failure(4022), "authentication"),
        (200, &failure(4002), "authentication"),
        (429, "<html>", "rate_limit"),
        (200, &failure(4015), "rate_limit"),
        (500, "", "api"),
        (502, "<html>bad gateway</html>", "api"),
        (503, &failure(4022), "api"),
        (302, "", "api"),
        (200, "<!doctype html><html>log in</html>", "api"),
        (200, "", "api"),
        (200, "{}", "malformed"),
        (200, r#"{"request":{}}"#, "malformed"),
        (200, r#"{"request":null,"response_status":{"status_code":2000}}"#, "malformed"),
        (200, r#"{"request":[],"response_status":{"status_code":2000}}"#, "malformed"),
        (200, r#"{"request":{},"response_status":[]}"#, "malformed"),
        (200, r#"{"request":{},"response_status":[7,"success"]}"#, "malformed"),
        (200, r#"{"request":{},"response_status":{"status":"failed"}}"#, "api"),
        (200, r#"{"request":{"id":"1""#, "malformed"),
        (200, "OK", "malformed"),
        (200, r#"{"request":{},"response_status":[{"status_code":2000},{"status_code":4000}]}"#, "api"),
        (200, &failure(4004), "api"),
        (200, &failure(4000), "api"),
        (200, &failure(4001), "validation"),
        (400, &failure(4012), "validation"),
        (400, &array, "validation"),
        (400, "what?", "validation"),
        (409, "what?", "api"),
    ] {
        let fault = get(&on_premises().answer(status, body)).unwrap_err();
        assert_eq!(fault.kind(), kind, "{status} {body}: {fault}");
    }
}

#[test]
fn failures_say_what_the_tool_said() {
    let fault = get(&on_premises().answer(400, &failure(4012))).unwrap_err();
    assert_eq!(fault, PluginError::field("the_field", "the tool answered 4012 so it is"));
    let fault = get(&on_premises().answer(200, "<html>please log in</html>")).unwrap_err().to_string();
    assert!(fault.contains("HTML came where JSON is due") && fault.contains("please log in"), "{fault}");
    let slow = Response::new(429, vec![("retry-after".to_owned(), "93".to_owned())], "");
    let fault = get(&on_premises().answer_with(Ok(slow))).unwrap_err();
    assert!(matches!(fault, PluginError::RateLimit { retry_after: Some(wait), .. } if wait.as_secs() == 93), "{fault}");
    let fault = get(&on_premises().answer_with(Err(PluginError::Cancelled)));
    assert_eq!(fault, Err(PluginError::Cancelled));
}

#[test]
fn a_note_is_always_internal() {
    let fields = |html: &str| json!({"description": html, "show_to_requester": false, "mark_first_response": false, "add_to_linked_requests": false});
    let mut in_cloud = fields("<p>1 & 2 + 3%</p>");
    in_cloud["notify_technician"] = json!(false);
    for (host, target, expected) in [
        (on_premises(), "/api/v3/requests/7/notes", json!({"note": fields("<p>1 & 2 + 3%</p>")})),
        (cloud(), "/app/it%20desk/api/v3/requests/7/notes", json!({"request_note": in_cloud})),
        (
            on_premises().setting("note_wrapper", "request_note"),
            "/api/v3/requests/7/notes",
            json!({"request_note": fields("<p>1 & 2 + 3%</p>")}),
        ),
    ] {
        let host = host.answer(201, SUCCESS);
        assert_eq!(update(&host, "<p>1 & 2 + 3%</p>", ""), Ok(true));
        assert_eq!(posted(&host), expected);
        assert_eq!(host.requests()[0].target(), target);
        assert_eq!(host.requests().len(), 1);
    }
}

#[test]
fn a_note_that_was_not_taken_is_an_error() {
    for (status, body) in
        [(201, failure(4000)), (200, "<html>".to_owned()), (200, String::new()), (500, SUCCESS.to_owned())]
    {
        assert!(update(&on_premises().answer(status, &body), "x", "x").is_err(), "{status} {body}");
    }
}

#[test]
fn later_attempts_look_for_the_marker_first() {
    let list = |marker: &str| NOTES.replace("[patchbay <i></i>0193-n1]", marker);
    for (notes, found) in [
        (NOTES.to_owned(), true),
        (list(MARKER), true),
        (list("[patchbay&nbsp;0193-n1]"), true),
        (list("[patchbay 0193-n2]"), false),
        (NOTES.replace("\"notes\"", "\"request_notes\""), true),
        (r#"{"notes":[],"response_status":[{"status_code":2000}]}"#.to_owned(), false),
        (r#"{"notes":null,"response_status":{"status_code":2000}}"#.to_owned(), false),
        (r#"{"notes":[{},{"description":7}],"response_status":{"status_code":2000}}"#.to_owned(), false),
    ] {
        let host = on_premises().attempt(2).answer(200, &notes).answer(201, SUCCESS);
        assert_eq!(update(&host, "<p>x</p>", "x"), Ok(true));
        assert_eq!(host.requests().len(), if found { 1 } else { 2 }, "{notes}");
        let asked = host.requests().remove(0);
        let input = asked.target().strip_prefix("/api/v3/requests/7/notes?input_data=").unwrap();
        let input: Value = serde_json::from_slice(&percent_decoded(input)).unwrap();
        let expected = json!({"row_count": 100, "start_index": 1, "sort_field": "created_time", "sort_order": "desc"});
        assert_eq!(input["list_info"], expected);
    }
}

#[test]
fn without_a_readable_list_nothing_is_posted() {
    for (status, body) in [(500, ""), (200, "<html>"), (403, "{}"), (200, "{}")] {
        let host = on_premises().attempt(3).answer(status, body).answer(201, SUCCESS);
        assert!(update(&host, "<p>x</p>", "x").is_err(), "{status} {body}");
        assert_eq!(host.requests().len(), 1);
    }
}

#[test]
fn an_empty_marker_is_found_nowhere() {
    let host = on_premises().attempt(2).answer(200, NOTES).answer(201, SUCCESS);
    assert_eq!(ServiceDeskPlus.update_ticket(&host.tenant(), "7", &Note::new("", "x", "x", "")), Ok(true));
    assert_eq!(host.requests().len(), 2);
}

#[test]
fn a_long_note_is_cut_and_keeps_its_marker() {
    let whole = "é".repeat(60_000);
    let host = on_premises().answer(201, SUCCESS);
    update(&host, &whole, "").unwrap();
    assert_eq!(posted(&host)["note"]["description"], whole);

    let host = on_premises().answer(201, SUCCESS);
    update(&host, &format!("{whole}x"), &"a<b\n".repeat(60_000)).unwrap();
    let input = posted(&host);
    let cut = input["note"]["description"].as_str().unwrap();
    assert!(cut.chars().count() <= 60_000);
    assert!(cut.starts_with("a&lt;b<br>") && cut.ends_with(&format!("… [shortened]<br>{MARKER}")), "{cut}");
}

#[test]
fn broken_settings_and_ids_ask_nothing() {
    for (host, id) in [
        (on_premises().setting("edition", "cloud"), "7"),
        (FakeHost::new(), "7"),
        (on_premises(), ".."),
        (on_premises(), ""),
    ] {
        let fault = ServiceDeskPlus.get_ticket(&host.tenant(), id).unwrap_err();
        assert_eq!((fault.kind(), host.requests().len()), ("configuration", 0), "{fault}");
    }
}

proptest! {
    #[test]
    fn any_answer_is_read(status in 100_u16..600, body in proptest::collection::vec(any::<u8>(), 0..200), at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
        let _any = get(&on_premises().answer_with(Ok(Response::new(status, Vec::new(), body))));
        let mut mutated = REQUEST.as_bytes().to_vec();
        let at = at.index(mutated.len());
        mutated[at] = byte;
        let _any = get(&on_premises().answer_with(Ok(Response::new(200, Vec::new(), mutated))));
    }
}
