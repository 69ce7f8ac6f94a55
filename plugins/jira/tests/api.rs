//! What is asked of the tool's API, and what its answers mean, through the plugin's trait.

#![allow(clippy::unwrap_used, reason = "in a test, also in the functions that its tests share")]

use std::time::Duration;

use jira::Jira;
use plugin_abi::{
    prelude::*,
    serde_json::{self, Value, json},
    testing::FakeHost,
    time::{OffsetDateTime, format_description::well_known::Rfc3339},
    types::Credential,
};
use proptest::prelude::{any, proptest};

const ISSUE: &str = include_str!("fixtures/api-issue.json");
const COMMENTS: &str = include_str!("fixtures/api-comments.json");
const PROJECT: &str = r#"{"id":"10042","key":"IT-42","fields":{"project":{"projectTypeKey":"service_desk"}}}"#;
const POSTED: &str = r#"{"id":"10303","jsdPublic":false}"#;
const MARKER: &str = "patchbay:0193-n1";

fn host() -> FakeHost {
    FakeHost::new().secret("api_key", "k").setting("api_user", "bot@acme.example")
}

fn get(host: &FakeHost) -> Result<Option<Ticket>, PluginError> {
    Jira.get_ticket(&host.tenant(), "IT-42")
}

fn note(host: &FakeHost, markdown: &str) -> Result<bool, PluginError> {
    Jira.update_ticket(&host.tenant(), "IT-42", &Note::new(markdown, "", "plain *text*", MARKER))
}

/// Methods and targets of all requests.
fn asked(host: &FakeHost) -> Vec<String> {
    host.requests().iter().map(|request| format!("{} {}", request.parts().0, request.target())).collect()
}

fn posted(host: &FakeHost) -> Value {
    let request = host.requests().into_iter().find(|request| request.parts().0 == "POST").unwrap();
    let (_, headers, _, body, _) = request.parts();
    assert!(headers.contains(&("content-type".to_owned(), "application/json".to_owned())));
    serde_json::from_slice(body.unwrap()).unwrap()
}

fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Result<Response, PluginError> {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Ok(Response::new(status, headers, body))
}

#[test]
fn requests_name_their_credential() {
    let basic = Credential::Basic { user: "bot@acme.example".to_owned(), secret: "api_key".into() };
    let bearer = Credential::Bearer { secret: "api_key".into() };
    for (host, credential) in [(host(), basic), (host().setting("api_auth", "bearer"), bearer)] {
        let host = host.answer(200, ISSUE);
        get(&host).unwrap();
        let request = host.requests().pop().unwrap();
        let (method, headers, given, body, _) = request.parts();
        assert_eq!((method, given, body), ("GET", Some(&credential), None));
        assert_eq!(request.target(), "/rest/api/3/issue/IT-42?fields=%2Aall%2C-comment%2C-worklog%2C-attachment");
        assert_eq!(headers, [("accept".to_owned(), "application/json".to_owned())]);
    }
}

#[test]
fn an_issue_becomes_a_ticket() {
    let ticket = get(&host().answer(200, ISSUE)).unwrap().unwrap();
    let at = |text: &str| Some(OffsetDateTime::parse(text, &Rfc3339).unwrap());
    let mut expected = Ticket::new("IT-42");
    expected.subject = Some("Laptop does not wake".to_owned());
    expected.description = Some(
        "Lid open, screen black.\nFan runs & LED blinks.\nAsked @Jon Reed😀\ndock\ncharger\nACPI error 7\nTry\n\
         https://kb.example/7"
            .to_owned(),
    );
    expected.status = Some("Resolved".to_owned());
    expected.priority = Priority::High;
    expected.requester = Some("Mira Sand".to_owned());
    expected.created_at = at("2026-03-02T09:15:00.120Z");
    expected.updated_at = at("2026-03-03T16:40:00.250Z");
    expected.resolved_at = at("2026-03-03T16:40:00.230Z");
    expected.resolution = Some("Done".to_owned());
    expected.url = Some("https://acme.atlassian.net/browse/IT-42".to_owned());
    expected.raw = ISSUE.trim_end().to_owned();
    assert_eq!(ticket, expected);
}

#[test]
fn little_is_enough_for_a_ticket() {
    for (body, requester) in [
        ("{}", None),
        (r#"{"fields":null}"#, None),
        (r#"{"fields":[]}"#, None),
        (
            r#"{"fields":{"reporter":{"displayName":null,"emailAddress":"a@b.c"},"created":"x","description":[]}}"#,
            Some("a@b.c"),
        ),
    ] {
        let ticket = get(&host().answer(200, body)).unwrap().unwrap();
        assert_eq!((ticket.requester.as_deref(), ticket.priority), (requester, Priority::Medium), "{body}");
        assert_eq!((ticket.description, ticket.created_at), (None, None), "{body}");
    }
}

#[test]
fn only_a_solution_is_shown_as_one() {
    let issue = |status: Value, resolution: Value| json!({"fields": {"status": status, "resolution": resolution, "resolutiondate": "2026-03-03T16:40:00.000+0000"}});
    let named = |name: &str, category: &str| json!({"name": name, "statusCategory": {"key": category}});
    for (status, resolution, shown, solved) in [
        (named("Resolved", "done"), json!({"name": "Fixed"}), Some("Resolved"), true),
        (named("Erledigt", "done"), json!(null), Some("Erledigt"), true),
        (named("Closed", "done"), json!({"name": "Hardware failure"}), Some("Closed"), true),
        (json!("Closed"), json!("Done"), Some("Closed"), true),
        (named("Closed", "done"), json!({"name": "Duplicate"}), Some("Closed (Duplicate)"), false),
        (named("Done", "done"), json!({"name": "Won't Do"}), Some("Done (Won't Do)"), false),
        (named("Resolved", "done"), json!({"name": "Cannot Reproduce"}), Some("Resolved (Cannot Reproduce)"), false),
        (
            named("Resolved", "done"),
            json!({"name": "Declined by the owner"}),
            Some("Resolved (Declined by the owner)"),
            false,
        ),
        (json!("Closed"), json!("Known Error"), Some("Closed (Known Error)"), false),
        (json!(null), json!({"name": "Won\u{2019}t Fix"}), Some("Won\u{2019}t Fix"), false),
        (named("Canceled", "done"), json!(null), Some("Canceled"), false),
        (named("Withdrawn", "done"), json!({"name": "Done"}), Some("Withdrawn (Done)"), false),
        // Opened again, and its resolution was not taken away.
        (named("In Progress", "indeterminate"), json!({"name": "Fixed"}), Some("In Progress"), false),
    ] {
        let issue = issue(status, resolution);
        let ticket = get(&host().answer(200, &issue.to_string())).unwrap().unwrap();
        assert_eq!((ticket.status.as_deref(), ticket.resolved_at.is_some()), (shown, solved), "{issue}");
        assert!(solved || ticket.resolution.is_none(), "{issue}");
    }
}

#[test]
fn no_ticket_is_no_error_but_a_page_says_nothing_of_it() {
    let unknown = r#"{"errorMessages":["Issue does not exist or you do not have permission to see it."],"errors":{}}"#;
    for (status, body) in [(404, unknown), (404, ""), (410, "{}")] {
        assert_eq!(get(&host().answer(status, body)), Ok(None), "{status} {body}");
    }
    let gone = note(&host().answer(404, unknown), "x").unwrap_err();
    assert_eq!(
        gone,
        PluginError::NotFound(
            "Jira answered 404: Issue does not exist or you do not have permission to see it.".to_owned()
        )
    );
    let page = get(&host().answer(404, "<!doctype html><title>Your site is suspended</title>")).unwrap_err();
    assert!(matches!(&page, PluginError::Api { status: Some(404), message } if message.contains("base URL")), "{page}");
}

#[test]
fn failures_have_their_kind() {
    for (status, body, kind) in [
        (401, "", "authentication"),
        (401, "Client must be authenticated to access this resource.", "authentication"),
        (403, "<html>", "authentication"),
        (400, "{}", "validation"),
        (413, r#"{"errorMessages":["CONTENT_LIMIT_EXCEEDED"]}"#, "validation"),
        (429, "<html>", "rate_limit"),
        (500, "", "api"),
        (502, "<html>bad gateway</html>", "api"),
        (503, "", "api"),
        (302, "", "api"),
        (409, "{}", "api"),
        (200, "<!doctype html><html>log in</html>", "api"),
        (200, "", "api"),
        (200, "[]", "malformed"),
        (200, "null", "malformed"),
        (200, r#"{"key":1,"key":2}"#, "malformed"),
        (200, r#"{"key":"IT-42","fields":{"#, "malformed"),
    ] {
        let fault = get(&host().answer(status, body)).unwrap_err();
        assert_eq!(fault.kind(), kind, "{status} {body}: {fault}");
    }
    let fault = get(&host().answer_with(Err(PluginError::Cancelled)));
    assert_eq!(fault, Err(PluginError::Cancelled));
}

#[test]
fn failures_say_what_jira_said() {
    let fault = |field: &str, text: &str| FieldError::new(field, format!("Jira answered 400: {text}"));
    for (body, expected) in [
        (
            r#"{"errorMessages":["one"],"errors":{"comment":"two","body":"three"}}"#,
            vec![fault("request", "one"), fault("body", "three"), fault("comment", "two")],
        ),
        (
            r#"{"errorMessage":"No such request","i18nErrorMessage":{"i18nKey":"sd.x","parameters":[]}}"#,
            vec![fault("request", "No such request")],
        ),
        (r#"{"errorMessages":[],"errors":{}}"#, vec![fault("request", r#"{"errorMessages":[],"errors":{}}"#)]),
        (r#"{"errorMessages":"one","errors":7}"#, vec![fault("request", "one")]),
        (r#"{"errorMessages":{},"errors":["two"],"errorMessage":"three"}"#, vec![fault("request", "three")]),
        (r#"{"errorMessages":7}"#, vec![fault("request", r#"{"errorMessages":7}"#)]),
        ("plain", vec![fault("request", "plain")]),
    ] {
        assert_eq!(get(&host().answer(400, body)), Err(PluginError::Validation(expected)), "{body}");
    }
    let long = json!({"errorMessages": vec!["é".repeat(300); 20]}).to_string();
    let Err(PluginError::Validation(faults)) = get(&host().answer(400, &long)) else { panic!("validation") };
    assert_eq!((faults.len(), faults[0].message.chars().count()), (8, 200 + "Jira answered 400: ".len()));
}

#[test]
fn limits_say_how_long_to_wait() {
    let now = OffsetDateTime::parse("2026-01-08T10:00:00Z", &Rfc3339).unwrap();
    for (status, headers, expected) in [
        (429, &[("retry-after", "93")][..], Some(93)),
        (429, &[("retry-after", "Thu, 08 Jan 2026 10:01:30 GMT")], Some(90)),
        (429, &[("x-ratelimit-reset", "2026-01-08T10:05Z")], Some(300)),
        (429, &[("x-ratelimit-reset", "2026-01-08T11:05+01:00")], Some(300)),
        (429, &[("x-ratelimit-reset", "2026-01-08T10:05:30Z")], Some(330)),
        (429, &[("x-ratelimit-reset", "2026-01-08T09:55Z")], Some(0)),
        (429, &[("retry-after", "7"), ("x-ratelimit-reset", "2026-01-08T10:05Z")], Some(7)),
        (429, &[("retry-after", "soon"), ("x-ratelimit-reset", "2026-01-08T10:05Z")], Some(300)),
        (429, &[("x-ratelimit-reset", "1767866700")], None),
        (429, &[("x-ratelimit-reset", "2026-01-08T10:0é5Z")], None),
        (429, &[("ratelimit-reason", "jira-quota-global-based")], None),
        (503, &[("retry-after", "5")], Some(5)),
    ] {
        let fault = get(&host().at(now).answer_with(answer(status, headers, "busy"))).unwrap_err();
        let PluginError::RateLimit { retry_after, message } = &fault else { panic!("{headers:?}: {fault}") };
        assert_eq!(*retry_after, expected.map(Duration::from_secs), "{headers:?}");
        assert!(message.contains("busy"), "{message}");
    }
}

#[test]
fn a_note_is_an_internal_comment_in_jiras_own_format() {
    let host = host().answer(200, PROJECT).answer(201, POSTED);
    assert_eq!(note(&host, "## Facts\n\n- **a:** `b`"), Ok(true));
    let expected = json!({
        "body": {"type": "doc", "version": 1, "content": [
            {"type": "heading", "attrs": {"level": 2}, "content": [{"type": "text", "text": "Facts"}]},
            {"type": "bulletList", "content": [{"type": "listItem", "content": [{"type": "paragraph", "content": [
                {"type": "text", "text": "a:", "marks": [{"type": "strong"}]},
                {"type": "text", "text": " "},
                {"type": "text", "text": "b", "marks": [{"type": "code"}]},
            ]}]}]},
        ]},
        "properties": [{"key": "sd.public.comment", "value": {"internal": true}}],
    });
    assert_eq!(posted(&host), expected);
    let requests = ["GET /rest/api/3/issue/IT-42?fields=project", "POST /rest/api/3/issue/IT-42/comment"];
    assert_eq!(asked(&host), requests);
}

#[test]
fn only_projects_of_service_management_get_a_note() {
    for (project, kind) in [
        (r#"{"fields":{"project":{"projectTypeKey":"software"}}}"#, "configuration"),
        (r#"{"fields":{"project":{"projectTypeKey":"business"}}}"#, "configuration"),
        (r#"{"fields":{"project":{"projectTypeKey":null}}}"#, "malformed"),
        (r#"{"fields":{"project":{}}}"#, "malformed"),
        (r#"{"fields":{}}"#, "malformed"),
        ("<html>", "api"),
    ] {
        let host = host().answer(200, project).answer(201, POSTED);
        let fault = note(&host, "x").unwrap_err();
        assert_eq!((fault.kind(), host.requests().len()), (kind, 1), "{project}: {fault}");
    }
}

#[test]
fn a_comment_that_came_out_public_is_taken_back() {
    let host = host().answer(200, PROJECT).answer(201, r#"{"id":"10303","jsdPublic":true}"#).answer(204, "");
    let fault = note(&host, "x").unwrap_err();
    assert!(matches!(&fault, PluginError::Configuration(text) if text.contains("deleted")), "{fault}");
    assert_eq!(asked(&host).pop().unwrap(), "DELETE /rest/api/3/issue/IT-42/comment/10303");

    let host = self::host().answer(200, PROJECT).answer(201, r#"{"id":10303.0,"jsdPublic":true}"#).answer(204, "");
    assert!(note(&host, "x").is_err());
    assert_eq!(asked(&host).pop().unwrap(), "DELETE /rest/api/3/issue/IT-42/comment/10303");
}

#[test]
fn of_the_answer_to_a_note_nothing_else_is_needed() {
    for body in ["{}", "[]", "null", r#"["10303",true]"#, r#"{"id":[],"jsdPublic":"no"}"#] {
        let host = host().answer(200, PROJECT).answer(201, body);
        assert_eq!((note(&host, "x"), host.requests().len()), (Ok(true), 2), "{body}");
    }
}

#[test]
fn the_service_desks_own_call_takes_plain_text() {
    let desk = || host().setting("note_call", "service_desk");
    let host = desk().answer(201, r#"{"id":"10303","public":false}"#);
    assert_eq!(note(&host, "## Facts"), Ok(true));
    assert_eq!(posted(&host), json!({"body": "plain *text*", "public": false}));
    assert_eq!(asked(&host), ["POST /rest/servicedeskapi/request/IT-42/comment"]);

    let host = desk().answer(201, POSTED);
    let long = Note::new("", "", "é".repeat(32_768).leak(), MARKER);
    assert_eq!(Jira.update_ticket(&host.tenant(), "IT-42", &long), Ok(true));
    let body = posted(&host)["body"].as_str().unwrap().to_owned();
    assert_eq!(body.chars().count(), 32_767);
    assert!(body.ends_with(&format!("… [shortened]\n{MARKER}")), "{body}");
}

#[test]
fn a_note_that_was_not_taken_is_an_error() {
    for (status, body) in [(400, "{}"), (200, "<html>"), (201, ""), (500, POSTED), (404, "{}")] {
        assert!(note(&host().answer(200, PROJECT).answer(status, body), "x").is_err(), "{status} {body}");
        let desk = host().setting("note_call", "service_desk").answer(status, body);
        assert!(note(&desk, "x").is_err(), "{status} {body}");
    }
}

#[test]
fn later_attempts_look_for_the_marker_first() {
    for (comments, found) in [
        (COMMENTS.to_owned(), true),
        (COMMENTS.replace("-n1", "-n2"), false),
        (r#"{"comments":[]}"#.to_owned(), false),
        (r#"{"comments":[{},{"body":null},{"body":7},{"body":"x patchbay:0193-n1 y"}]}"#.to_owned(), true),
    ] {
        for call in ["platform", "service_desk"] {
            let host = host().attempt(2).setting("note_call", call).answer(200, &comments);
            let host = if call == "platform" { host.answer(200, PROJECT) } else { host }.answer(201, POSTED);
            assert_eq!(note(&host, "x"), Ok(true));
            let asked = asked(&host);
            assert_eq!(asked[0], "GET /rest/api/3/issue/IT-42/comment?orderBy=-created&maxResults=100");
            assert_eq!(asked.iter().any(|request| request.starts_with("POST")), !found, "{call} {comments}");
        }
    }
}

#[test]
fn without_a_readable_list_nothing_is_posted() {
    for (status, body) in [(500, ""), (200, "<html>"), (403, "{}"), (200, "{}"), (200, r#"{"comments":null}"#)] {
        let host = host().attempt(3).answer(status, body).answer(200, PROJECT).answer(201, POSTED);
        assert!(note(&host, "x").is_err(), "{status} {body}");
        assert_eq!(host.requests().len(), 1);
    }
}

#[test]
fn an_empty_marker_is_found_nowhere() {
    let host = host().attempt(2).answer(200, COMMENTS).answer(200, PROJECT).answer(201, POSTED);
    assert_eq!(Jira.update_ticket(&host.tenant(), "IT-42", &Note::new("x", "", "x", "")), Ok(true));
    assert_eq!(host.requests().len(), 3);
}

#[test]
fn a_long_note_is_cut_and_keeps_its_marker() {
    let host = host().answer(200, PROJECT).answer(201, POSTED);
    note(&host, &"- a **b**\n".repeat(10_000)).unwrap();
    let body = posted(&host)["body"].to_string();
    assert!(body.chars().count() <= 32_767);
    assert!(body.contains("… [shortened]") && body.contains(MARKER), "{body}");
}

#[test]
fn broken_settings_and_ids_ask_nothing() {
    for (host, id) in [
        (FakeHost::new().secret("api_key", "k"), "IT-42"),
        (FakeHost::new().setting("api_user", "a@b.c"), "IT-42"),
        (host(), ".."),
        (host(), ""),
    ] {
        let fault = Jira.get_ticket(&host.tenant(), id).unwrap_err();
        assert_eq!((fault.kind(), host.requests().len()), ("configuration", 0), "{fault}");
    }
}

proptest! {
    #[test]
    fn any_answer_is_read(status in 100_u16..600, body in proptest::collection::vec(any::<u8>(), 0..200), reset in "\\PC{0,30}", at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
        let _any = get(&host().answer_with(answer(status, &[("x-ratelimit-reset", &reset)], &String::from_utf8_lossy(&body))));
        let mut mutated = ISSUE.as_bytes().to_vec();
        let at = at.index(mutated.len());
        mutated[at] = byte;
        let _any = get(&host().answer_with(Ok(Response::new(200, Vec::new(), mutated))));
    }
}
