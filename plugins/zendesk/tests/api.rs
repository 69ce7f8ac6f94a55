//! What is asked of the tool's API, and what its answers mean, through the plugin's trait.

#![allow(clippy::unwrap_used, reason = "in a test, also in the functions that its tests share")]

use plugin_abi::{
    prelude::*,
    serde_json::{self, Value, json},
    testing::FakeHost,
    time::{OffsetDateTime, format_description::well_known::Rfc3339},
    types::Credential,
};
use proptest::prelude::{ProptestConfig, any, proptest};
use zendesk::Zendesk;

const TICKET: &str = include_str!("fixtures/api-ticket.json");
const COMMENTS: &str = include_str!("fixtures/api-comments.json");
/// The answer to an update.
const UPDATED: &str = r#"{"ticket":{"id":1337},"audit":{"id":5,"events":[]}}"#;
const NO_COMMENTS: &str = r#"{"comments":[]}"#;
const MARKER: &str = "[patchbay 0193-n1]";
const LIST: &str = "/api/v2/tickets/1337/comments?sort=-created_at&page%5Bsize%5D=100";

fn host() -> FakeHost {
    FakeHost::new().secret("api_key", "k").setting("api_user", "bot@acme.example")
}

fn get(host: &FakeHost) -> Result<Option<Ticket>, PluginError> {
    Zendesk.get_ticket(&host.tenant(), "1337")
}

fn update(host: &FakeHost, html: &str, text: &str) -> Result<bool, PluginError> {
    Zendesk.update_ticket(&host.tenant(), "1337", &Note::new("", html, text, MARKER))
}

/// What the last request put.
fn put(host: &FakeHost) -> Value {
    let request = host.requests().pop().unwrap();
    let (method, headers, _, body, _) = request.parts();
    assert_eq!((method, request.target()), ("PUT", "/api/v2/tickets/1337"));
    assert!(headers.contains(&("content-type".to_owned(), "application/json".to_owned())));
    serde_json::from_slice(body.unwrap()).unwrap()
}

fn targets(host: &FakeHost) -> Vec<String> {
    host.requests().iter().map(|request| request.target().to_owned()).collect()
}

#[test]
fn requests_carry_the_credential_that_the_settings_say() {
    let basic = Credential::Basic { user: "bot@acme.example/token".to_owned(), secret: "api_key".into() };
    let bearer = Credential::Bearer { secret: "api_key".into() };
    for (host, credential) in [(host(), basic), (host().setting("api_auth", "bearer"), bearer)] {
        let host = host.answer(200, &TICKET.replace("\"solved\"", "\"open\""));
        get(&host).unwrap();
        let request = host.requests().pop().unwrap();
        let (method, headers, given, body, _) = request.parts();
        assert_eq!((method, given, body), ("GET", Some(&credential), None));
        assert_eq!(headers, [("accept".to_owned(), "application/json".to_owned())]);
        assert_eq!(targets(&host), ["/api/v2/tickets/1337?include=users%2Cmetric_sets"]);
    }
}

#[test]
fn a_solved_ticket_is_read_with_its_last_public_answer() {
    let host = host().answer(200, TICKET).answer(200, COMMENTS);
    let ticket = get(&host).unwrap().unwrap();
    let at = |text: &str| Some(OffsetDateTime::parse(text, &Rfc3339).unwrap());
    let mut expected = Ticket::new("1337");
    expected.subject = Some("Badge printer jams".to_owned());
    expected.description = Some("The badge printer on <floor 3> jams.\nSince Monday.".to_owned());
    expected.status = Some("solved".to_owned());
    expected.priority = Priority::High;
    expected.requester = Some("Mira Sand".to_owned());
    expected.created_at = at("2026-03-02T09:15:00Z");
    expected.updated_at = at("2026-03-03T16:41:10Z");
    expected.resolved_at = at("2026-03-03T16:40:00Z");
    expected.resolution = Some("Replaced the feed roller.\nPlease try & tell.".to_owned());
    expected.url = Some("https://desk.example/agent/tickets/1337".to_owned());
    let raw: Value = serde_json::from_str(&ticket.raw).unwrap();
    assert_eq!(raw, serde_json::from_str::<Value>(TICKET).unwrap()["ticket"]);
    expected.raw.clone_from(&ticket.raw);
    assert_eq!(ticket, expected);
    assert_eq!(targets(&host)[1], LIST);
}

#[test]
fn an_open_ticket_has_no_resolution_and_costs_one_request() {
    for status in ["new", "open", "pending", "hold"] {
        let host = host().answer(200, &TICKET.replace("\"solved\"", &format!("{status:?}")));
        let ticket = get(&host).unwrap().unwrap();
        assert_eq!((ticket.resolution, ticket.resolved_at, host.requests().len()), (None, None, 1), "{status}");
    }
    for comments in [NO_COMMENTS, r#"{"comments":[{},{"public":false,"author_id":1,"html_body":"x"}]}"#] {
        assert_eq!(get(&host().answer(200, TICKET).answer(200, comments)).unwrap().unwrap().resolution, None);
    }
    assert_eq!(get(&host().answer(200, TICKET).answer(503, "")).unwrap_err().kind(), "api");
}

#[test]
fn little_is_enough_for_a_ticket() {
    for (answer, requester) in [
        (r#"{"ticket":{}}"#, None),
        (r#"{"ticket":{"requester_id":7,"metric_set":null},"users":null}"#, None),
        (r#"{"ticket":{"requester_id":7},"users":[{"id":8,"name":"x"}]}"#, None),
        (r#"{"ticket":{"requester_id":7},"users":[{"id":7,"name":null,"email":"a@b.c"}]}"#, Some("a@b.c")),
        (r#"{"ticket":{"requester_id":7},"users":[{"id":7,"name":"","email":null}]}"#, None),
        (r#"{"ticket":{"requester_id":7,"metric_set":[7],"tags":{}},"users":"none"}"#, None),
        (r#"{"ticket":{"requester_id":"7"},"users":[null,[7],{"id":{}},{"id":7.0,"name":"Mira"}]}"#, Some("Mira")),
        (r#"{"ticket":{"requester_id":7},"users":[{"id":7,"id":8,"name":"x"},{"id":7,"name":"Mira"}]}"#, Some("Mira")),
        (
            r#"{"ticket":{"requester_id":36893488147419103233},"users":[{"id":3.6893488147419103233e19,"name":"Mira"}]}"#,
            Some("Mira"),
        ),
    ] {
        let ticket = get(&host().answer(200, answer)).unwrap().unwrap();
        assert_eq!((ticket.requester.as_deref(), ticket.priority), (requester, Priority::Medium), "{answer}");
    }
}

#[test]
fn no_ticket_is_no_error() {
    let not_found = r#"{"error":"RecordNotFound","description":"Not found"}"#;
    assert_eq!(get(&host().answer(404, not_found)), Ok(None));
    assert_eq!(get(&host().answer(410, "")), Ok(None));
    assert_eq!(update(&host().answer(404, not_found), "<p>x</p>", "x").unwrap_err().kind(), "not_found");
    // These are other things than tickets at Zendesk, and nothing is asked.
    for id in ["recent", "1337.json", "..", "", "١٣"] {
        let host = host();
        assert_eq!(Zendesk.get_ticket(&host.tenant(), id), Ok(None), "{id}");
        assert!(host.requests().is_empty());
    }
}

#[test]
fn failures_have_their_kind() {
    for (status, body, kind) in [
        (401, r#"{"error":"Couldn't authenticate you"}"#, "authentication"),
        (403, r#"{"error":"Forbidden","description":"You do not have access to this page."}"#, "authentication"),
        (404, "<!DOCTYPE html><html>No help desk at desk.example</html>", "configuration"),
        (429, "<html>Rate limit for ticket updates exceeded</html>", "rate_limit"),
        (409, r#"{"error":"Conflict"}"#, "api"),
        (400, "bad request", "validation"),
        (422, r#"{"error":"RecordInvalid"}"#, "validation"),
        (422, "what?", "validation"),
        (500, "", "api"),
        (503, "<html>maintenance</html>", "api"),
        (301, "", "api"),
        (200, "<!doctype html><html>log in</html>", "api"),
        (200, "", "api"),
        (200, r#"{"ticket":{"id":13"#, "malformed"),
    ] {
        let host = || host().answer(status, body);
        for fault in [get(&host()).unwrap_err(), update(&host(), "<p>x</p>", "x").unwrap_err()] {
            assert_eq!(fault.kind(), kind, "{status} {body}: {fault}");
        }
    }
    // Of the answer to an update nothing is needed.
    for body in ["[]", "{}", "null", r#"{"ticket":null}"#, r#"{"ticket":[]}"#] {
        let fault = get(&host().answer(200, body)).unwrap_err();
        assert_eq!(fault.kind(), "malformed", "{body}: {fault}");
        assert!(fault.to_string().contains("GET /api/v2/tickets/1337"), "{fault}");
        assert_eq!(update(&host().answer(200, body), "<p>x</p>", "x"), Ok(true), "{body}");
    }
    assert_eq!(get(&host().answer_with(Err(PluginError::Cancelled))), Err(PluginError::Cancelled));
}

#[test]
fn failures_say_what_the_tool_said() {
    let closed = r#"{"error":"RecordInvalid","description":"Record validation errors","details":{
        "status":[{"description":"Status: closed prevents ticket update"}],"base":[{"description":"Too many"},{}]}}"#;
    let fault = update(&host().answer(422, closed), "<p>x</p>", "x").unwrap_err();
    let expected = [
        ("base", "the tool answered Too many"),
        ("base", "the tool answered (no description)"),
        ("status", "the tool answered Status: closed prevents ticket update"),
    ];
    let expected = expected.map(|(field, message)| FieldError::new(field, message)).to_vec();
    assert_eq!(fault, PluginError::Validation(expected));
    let fault = get(&host().answer(200, "<html>please log in</html>")).unwrap_err().to_string();
    assert!(fault.contains("HTML came where JSON is due") && fault.contains("please log in"), "{fault}");
}

#[test]
fn the_tool_says_how_long_to_wait() {
    for (status, headers, wait) in [
        (429, &[("retry-after", "93")][..], Some(93)),
        (503, &[("retry-after", "30")], Some(30)),
        (429, &[("ratelimit-reset", "41")], Some(41)),
        (429, &[("retry-after", "7"), ("ratelimit-reset", "41")], Some(7)),
        (429, &[("ratelimit-reset", "soon")], None),
        (429, &[], None),
    ] {
        let named = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let answer = Response::new(status, named.collect(), "");
        let fault = get(&host().answer_with(Ok(answer))).unwrap_err();
        let PluginError::RateLimit { retry_after, .. } = fault else { panic!("{headers:?}: {fault}") };
        assert_eq!(retry_after.map(|wait| wait.as_secs()), wait, "{headers:?}");
    }
}

#[test]
fn a_note_is_always_internal() {
    let host = host().answer(200, UPDATED);
    assert_eq!(update(&host, "<p>1 &amp; 2</p>", ""), Ok(true));
    assert_eq!(put(&host), json!({"ticket": {"comment": {"html_body": "<p>1 &amp; 2</p>", "public": false}}}));
    assert_eq!(host.requests().len(), 1);
}

#[test]
fn later_attempts_look_for_the_marker_first() {
    let list = |marker: &str| COMMENTS.replace("[patchbay <span>0193-n1</span>]", marker);
    for (comments, found) in [
        (COMMENTS.to_owned(), true),
        (list(MARKER), true),
        (list("[patchbay&nbsp;0193-n1]"), true),
        (list("[patchbay 0193-n2]"), false),
        (NO_COMMENTS.to_owned(), false),
        (r#"{"comments":[{},{"html_body":7}]}"#.to_owned(), false),
    ] {
        let host = host().attempt(2).answer(200, &comments).answer(200, UPDATED);
        assert_eq!(update(&host, "<p>x</p>", "x"), Ok(true));
        assert_eq!(targets(&host).len(), if found { 1 } else { 2 }, "{comments}");
        assert_eq!(targets(&host)[0], LIST);
    }
}

#[test]
fn without_a_readable_list_nothing_is_posted() {
    for (status, body) in [(500, ""), (200, "<html>"), (403, "{}"), (200, "{}"), (429, "")] {
        let host = host().attempt(3).answer(status, body).answer(200, UPDATED);
        assert!(update(&host, "<p>x</p>", "x").is_err(), "{status} {body}");
        assert_eq!(host.requests().len(), 1);
    }
}

#[test]
fn an_empty_marker_is_found_nowhere() {
    let host = host().attempt(2).answer(200, COMMENTS).answer(200, UPDATED);
    assert_eq!(Zendesk.update_ticket(&host.tenant(), "1337", &Note::new("", "x", "x", "")), Ok(true));
    assert_eq!(host.requests().len(), 2);
}

#[test]
fn a_long_note_is_cut_and_keeps_its_marker() {
    let whole = "😀".repeat(16_000);
    let host = host().answer(200, UPDATED).answer(200, UPDATED);
    update(&host, &whole, "").unwrap();
    assert_eq!(put(&host)["ticket"]["comment"]["html_body"], whole);

    update(&host, &format!("{whole}x"), &"😀<b\n".repeat(16_000)).unwrap();
    let update = put(&host);
    let cut = update["ticket"]["comment"]["html_body"].as_str().unwrap();
    assert!(cut.len() <= 64_000, "{} bytes", cut.len());
    assert!(cut.starts_with("😀&lt;b<br>") && cut.ends_with(&format!("… [shortened]<br>{MARKER}")));
}

#[test]
fn without_settings_or_secret_nothing_is_asked() {
    let user = FakeHost::new().setting("api_user", "bot@acme.example");
    for host in [FakeHost::new().secret("api_key", "k"), user, host().setting("api_auth", "key")] {
        let fault = get(&host).unwrap_err();
        assert_eq!((fault.kind(), host.requests().len()), ("configuration", 0), "{fault}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_answer_is_read(status in 100_u16..600, body in proptest::collection::vec(any::<u8>(), 0..200), at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
        let answer = |body| Ok(Response::new(status, Vec::new(), body));
        let _any = get(&host().answer_with(answer(body)));
        for fixture in [TICKET, COMMENTS] {
            let mut mutated = fixture.as_bytes().to_vec();
            let at = at.index(mutated.len());
            mutated[at] = byte;
            let ok = |body: &[u8]| Ok(Response::new(200, Vec::new(), body));
            let _any = get(&host().answer_with(ok(&mutated)).answer_with(ok(&mutated)));
            let _any = update(&host().attempt(2).answer_with(ok(&mutated)).answer_with(ok(&mutated)), "x", "x");
        }
    }
}
