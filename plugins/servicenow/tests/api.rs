//! What is asked of the tool's API, and what its answers mean, through the plugin's trait.

#![allow(clippy::unwrap_used, reason = "in a test, also in the functions that its tests share")]

use std::time::Duration;

use plugin_abi::{
    prelude::*,
    serde_json::{self, Value, json},
    testing::FakeHost,
    time::{OffsetDateTime, format_description::well_known::Rfc3339},
    types::Credential,
};
use proptest::prelude::{ProptestConfig, any, proptest};
use servicenow::ServiceNow;

const RECORD: &str = include_str!("fixtures/api-record.json");
const SYS_ID: &str = "4f1c0e9a2b7d4c55a1e8300d9b6c7f21";
const NUMBER: &str = "INC0010042";
const MARKER: &str = "[patchbay 0193-n1]";
const NOTE_TEXT: &str = "Looks like the feed roller.\n[patchbay 0193-n1]";
const MISSING: &str = r#"{"error":{"message":"No Record found","detail":"Record doesn't exist or ACL restricts the record retrieval"},"status":"failure"}"#;

fn host() -> FakeHost {
    FakeHost::new().secret("api_key", "k")
}

fn get(host: &FakeHost, id: &str) -> Result<Option<Ticket>, PluginError> {
    ServiceNow.get_ticket(&host.tenant(), id)
}

fn update(host: &FakeHost, id: &str) -> Result<bool, PluginError> {
    ServiceNow.update_ticket(&host.tenant(), id, &Note::new("", "<p>Roller [patchbay 0193-n1]</p>", NOTE_TEXT, MARKER))
}

/// Method and target of each request.
fn asked(host: &FakeHost) -> Vec<String> {
    host.requests().iter().map(|request| format!("{} {}", request.parts().0, request.target())).collect()
}

fn listed(records: &[&str]) -> String {
    let record = |json: &&str| serde_json::from_str::<Value>(json).unwrap()["result"].clone();
    json!({ "result": records.iter().map(record).collect::<Vec<_>>() }).to_string()
}

/// What a request for the work notes answers.
fn journal(notes: &str) -> String {
    json!({ "result": { "sys_id": SYS_ID, "work_notes": notes } }).to_string()
}

fn noted() -> String {
    journal(&format!("2026-03-02 09:16:00 - Patchbay (Work notes)\n{NOTE_TEXT}\n\n"))
}

const ONE: &str = "GET /api/now/table/incident/4f1c0e9a2b7d4c55a1e8300d9b6c7f21?sysparm_display_value=all&sysparm_exclude_reference_link=true";
const FIND: &str = "GET /api/now/table/incident?sysparm_query=number%3DINC0010042&sysparm_display_value=all&sysparm_exclude_reference_link=true&sysparm_limit=2";
const LOOK: &str = "GET /api/now/table/incident/4f1c0e9a2b7d4c55a1e8300d9b6c7f21?sysparm_fields=sys_id%2Cwork_notes&sysparm_display_value=true";
const POST: &str = "PATCH /api/now/table/incident/4f1c0e9a2b7d4c55a1e8300d9b6c7f21?sysparm_fields=sys_id%2Cwork_notes&sysparm_display_value=true";

#[test]
fn requests_carry_the_credential_of_the_tenant() {
    let secret = || "api_key".into();
    for (host, credential) in [
        (host(), Credential::Basic { user: "patchbay".to_owned(), secret: secret() }),
        (host().setting("api_user", "svc"), Credential::Basic { user: "svc".to_owned(), secret: secret() }),
        (host().setting("api_auth", "bearer"), Credential::Bearer { secret: secret() }),
    ] {
        let host = host.answer(200, RECORD);
        get(&host, SYS_ID).unwrap();
        let request = host.requests().pop().unwrap();
        let (_, headers, given, body, _) = request.parts();
        assert_eq!((given, body), (Some(&credential), None));
        assert_eq!(headers, [("accept".to_owned(), "application/json".to_owned())]);
    }
}

#[test]
fn a_record_becomes_a_ticket() {
    let at = |text: &str| Some(OffsetDateTime::parse(text, &Rfc3339).unwrap());
    let mut expected = Ticket::new(SYS_ID);
    expected.subject = Some("Badge printer on floor 3 jams".to_owned());
    expected.description = Some("Every second card.\nTray was cleaned & refilled.".to_owned());
    expected.status = Some("Resolved".to_owned());
    expected.priority = Priority::High;
    expected.requester = Some("Mira Sand".to_owned());
    expected.created_at = at("2026-03-02T08:15:00Z");
    expected.updated_at = at("2026-03-03T16:40:05Z");
    expected.resolved_at = at("2026-03-03T16:40:00Z");
    expected.resolution = Some("Replaced the feed roller.".to_owned());
    expected.url = Some(format!("https://desk.example/incident.do?sys_id={SYS_ID}"));
    for (id, answer, request) in [(SYS_ID, RECORD.to_owned(), ONE), (NUMBER, listed(&[RECORD]), FIND)] {
        let host = host().answer(200, &answer);
        let ticket = get(&host, id).unwrap().unwrap();
        let raw: Value = serde_json::from_str(&ticket.raw).unwrap();
        assert_eq!(raw, serde_json::from_str::<Value>(RECORD).unwrap()["result"]);
        expected.raw.clone_from(&ticket.raw);
        assert_eq!(ticket, expected);
        assert_eq!(asked(&host), [request]);
    }
}

#[test]
fn little_is_enough_for_a_ticket() {
    // As it comes without display values: people are references then.
    let bare = format!(
        r#"{{"result":{{"sys_id":"{SYS_ID}","state":"2","priority":"","close_code":"Duplicate","resolved_at":"",
            "caller_id":{{"link":"https://x/y","value":"z"}},"opened_by":"","sys_created_on":"garbage"}}}}"#
    );
    for nothing in [r#"{"result":{}}"#, r#"{"result":{"sys_id":""}}"#, r#"{"result":{"sys_id":[]}}"#] {
        assert_eq!(get(&host().answer(200, nothing), SYS_ID).unwrap().unwrap().id, SYS_ID, "{nothing}");
    }
    let ticket = get(&host().answer(200, &bare), SYS_ID).unwrap().unwrap();
    assert_eq!((ticket.status.as_deref(), ticket.priority, ticket.requester), (Some("2"), Priority::Medium, None));
    assert_eq!((ticket.resolution.as_deref(), ticket.created_at), (Some("Duplicate"), None));
}

#[test]
fn another_table_has_other_paths_and_addresses() {
    let host = host().setting("table", "sn_customerservice_case").answer(200, RECORD);
    let ticket = get(&host, SYS_ID).unwrap().unwrap();
    assert!(asked(&host)[0].starts_with(&format!("GET /api/now/table/sn_customerservice_case/{SYS_ID}?")));
    assert_eq!(ticket.url.unwrap(), format!("https://desk.example/sn_customerservice_case.do?sys_id={SYS_ID}"));
}

#[test]
fn no_ticket_is_no_error_but_is_told() {
    let other = RECORD.replace(NUMBER, "INC0000001");
    for (id, status, body) in [
        (SYS_ID, 404, MISSING.to_owned()),
        (NUMBER, 404, MISSING.to_owned()),
        (NUMBER, 200, listed(&[])),
        // A condition that was not understood was left out: these are other records.
        (NUMBER, 200, listed(&[&other, &other])),
    ] {
        let host = host().answer(status, &body);
        assert_eq!(get(&host, id), Ok(None), "{id} {status} {body}");
        let (level, line) = host.logged().pop().unwrap();
        assert!(level == LogLevel::Warn && line.contains(id) && line.contains("may not read it"), "{line}");
    }
    for (id, status, body) in [(SYS_ID, 404, MISSING.to_owned()), (NUMBER, 200, listed(&[&other]))] {
        let host = host().answer(status, &body);
        assert_eq!(update(&host, id).unwrap_err().kind(), "not_found");
        assert_eq!(host.requests().len(), 1);
    }
}

#[test]
fn a_number_must_mean_one_record() {
    let fault = get(&host().answer(200, &listed(&[RECORD, RECORD])), NUMBER).unwrap_err();
    assert!(matches!(&fault, PluginError::Configuration(text) if text.contains("sys_id")), "{fault}");
    let other = RECORD.replace(NUMBER, "INC0000001");
    assert!(get(&host().answer(200, &listed(&[&other, RECORD])), NUMBER).unwrap().is_some());
    assert!(get(&host().answer(200, &listed(&[RECORD])), "inc0010042").unwrap().is_some());
}

#[test]
fn failures_have_their_kind_and_the_body_counts() {
    for (id, status, body, kind) in [
        (
            SYS_ID,
            400,
            r#"{"error":{"message":"Invalid table incidnt","detail":null},"status":"failure"}"#,
            "validation",
        ),
        (SYS_ID, 401, r#"{"error":{"message":"User Not Authenticated"},"status":"failure"}"#, "authentication"),
        (SYS_ID, 403, r#"{"error":{"message":"Operation Failed"},"status":"failure"}"#, "authentication"),
        (SYS_ID, 429, "<html>", "rate_limit"),
        (SYS_ID, 500, "", "api"),
        (SYS_ID, 502, "<html>bad gateway</html>", "api"),
        (SYS_ID, 302, "", "api"),
        (SYS_ID, 200, "<html>Your instance is hibernating</html>", "api"),
        (SYS_ID, 200, "", "api"),
        (SYS_ID, 200, "{}", "malformed"),
        (SYS_ID, 200, r#"{"result":null}"#, "malformed"),
        (SYS_ID, 200, r#"{"result":[]}"#, "malformed"),
        (SYS_ID, 200, r#"{"result":"x"}"#, "malformed"),
        (SYS_ID, 200, r#"{"result":{"sys_id":"#, "malformed"),
        (SYS_ID, 200, r#"{"result":{},"error":{"message":"Transaction cancelled"}}"#, "api"),
        (NUMBER, 200, r#"{"result":{}}"#, "malformed"),
        (NUMBER, 200, r#"{"result":[{"number":"INC0010042","sys_id":""}]}"#, "malformed"),
        (
            NUMBER,
            200,
            r#"{"result":[],"error":{"message":"Transaction cancelled: maximum execution time exceeded"},"status":"failure"}"#,
            "api",
        ),
    ] {
        let fault = get(&host().answer(status, body), id).unwrap_err();
        assert_eq!(fault.kind(), kind, "{status} {body}: {fault}");
    }
    let fault = get(&host().answer(200, "<html>hibernating</html>"), SYS_ID).unwrap_err().to_string();
    assert!(fault.contains("HTML came where JSON is due") && fault.contains("hibernating"), "{fault}");
    assert_eq!(get(&host().answer_with(Err(PluginError::Cancelled)), SYS_ID), Err(PluginError::Cancelled));
}

#[test]
fn rate_limits_say_how_long() {
    let now = OffsetDateTime::from_unix_timestamp(1_772_439_300).unwrap();
    for (headers, expected) in [
        (&[("retry-after", "93")][..], Some(93)),
        (&[("x-ratelimit-reset", "1772442000"), ("x-ratelimit-limit", "5"), ("x-ratelimit-rule", "r")], Some(2_700)),
        (&[("retry-after", "7"), ("x-ratelimit-reset", "1772442000")], Some(7)),
        (&[("retry-after", "soon"), ("x-ratelimit-reset", "1772442000")], Some(2_700)),
        (&[("x-ratelimit-reset", "1772439000")], Some(0)),
        (&[("x-ratelimit-reset", "2026-03-02T09:00Z")], None),
        (&[], None),
    ] {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let host = host().at(now).answer_with(Ok(Response::new(429, headers, "Rate limit exceeded")));
        let fault = get(&host, SYS_ID).unwrap_err();
        let PluginError::RateLimit { retry_after, .. } = fault else { panic!("{fault}") };
        assert_eq!(retry_after, expected.map(Duration::from_secs));
    }
}

#[test]
fn a_note_is_a_work_note() {
    for (host, id, lookups, entry) in [
        (host(), SYS_ID, &[][..], NOTE_TEXT),
        (host().answer(200, &listed(&[RECORD])), NUMBER, &[FIND], NOTE_TEXT),
        (host().setting("note_format", "html"), SYS_ID, &[], "[code]<p>Roller [patchbay 0193-n1]</p>[/code]"),
    ] {
        let host = host.answer(200, &noted());
        assert_eq!(update(&host, id), Ok(true));
        assert_eq!(asked(&host), [lookups, &[POST]].concat());
        let request = host.requests().pop().unwrap();
        let body: Value = serde_json::from_slice(request.parts().3.unwrap()).unwrap();
        assert_eq!(body, json!({ "work_notes": entry }), "one column, and never comments");
        assert!(request.parts().1.contains(&("content-type".to_owned(), "application/json".to_owned())));
    }
}

#[test]
fn a_long_note_is_cut_to_what_the_tenant_says() {
    let text = format!("{}\n{MARKER}", "é".repeat(5_000));
    for (host, chars) in [(host(), 4_000), (host().setting("note_chars_max", "300"), 300)] {
        let host = host.answer(200, &noted());
        ServiceNow.update_ticket(&host.tenant(), SYS_ID, &Note::new("", "", &text, MARKER)).unwrap();
        let request = host.requests().pop().unwrap();
        let body: Value = serde_json::from_slice(request.parts().3.unwrap()).unwrap();
        let entry = body["work_notes"].as_str().unwrap();
        assert_eq!(entry.chars().count(), chars);
        assert!(entry.ends_with(&format!(" … [shortened]\n{MARKER}")), "{entry}");
    }
}

#[test]
fn later_attempts_look_for_the_marker_first() {
    for (notes, found) in [
        (noted(), true),
        (journal("someone else's\n\n[patchbay 0193-n2]"), false),
        (journal(""), false),
        (r#"{"result":{}}"#.to_owned(), false),
        (r#"{"result":{"work_notes":["x"]}}"#.to_owned(), false),
    ] {
        let host = host().attempt(2).answer(200, &notes).answer(200, &noted());
        assert_eq!(update(&host, SYS_ID), Ok(true));
        assert_eq!(asked(&host), if found { &[LOOK][..] } else { &[LOOK, POST] }, "{notes}");
    }
    for (status, body) in [(500, ""), (200, "<html>"), (403, "{}"), (404, MISSING), (200, "{}")] {
        let host = host().attempt(3).answer(status, body).answer(200, &noted());
        assert!(update(&host, SYS_ID).is_err(), "{status} {body}");
        assert_eq!(asked(&host), [LOOK], "nothing is posted without a look");
    }
}

#[test]
fn a_note_that_the_tool_left_out_is_an_error() {
    let without = journal("2026-03-02 09:00:00 - Someone (Work notes)\nearlier\n\n");
    // The answer does not show it yet, but it is there.
    let host_late = host().answer(200, &without).answer(200, &noted());
    assert_eq!((update(&host_late, SYS_ID), asked(&host_late)), (Ok(true), vec![POST.to_owned(), LOOK.to_owned()]));
    let host_denied = host().answer(200, &without).answer(200, &without);
    let fault = update(&host_denied, SYS_ID).unwrap_err();
    assert!(matches!(&fault, PluginError::Configuration(text) if text.contains("may not write")), "{fault}");
    // Who may not read the notes cannot tell.
    let host_blind = host().answer(200, &journal("")).answer(200, &journal(""));
    assert_eq!(update(&host_blind, SYS_ID), Ok(true));
    assert!(host_blind.logged().pop().unwrap().1.contains("may not read work_notes"));

    for (status, body) in [(201, "<html>"), (200, "{}"), (204, ""), (500, &*noted()), (403, MISSING)] {
        assert!(update(&host().answer(status, body), SYS_ID).is_err(), "{status} {body}");
    }
}

#[test]
fn an_empty_marker_is_found_nowhere() {
    let host = host().attempt(2).answer(200, &noted()).answer(200, &noted());
    assert_eq!(ServiceNow.update_ticket(&host.tenant(), SYS_ID, &Note::new("", "x", "x", "")), Ok(true));
    assert_eq!(asked(&host), [LOOK, POST]);
}

#[test]
fn broken_settings_and_ids_ask_nothing() {
    for (host, id, kind) in [
        (host().setting("table", "a/b"), SYS_ID, "configuration"),
        (FakeHost::new(), SYS_ID, "configuration"),
        (host(), "", "validation"),
        (host(), "..", "validation"),
        (host(), "INC1^ORnumber=INC2", "validation"),
    ] {
        let fault = get(&host, id).unwrap_err();
        assert_eq!((fault.kind(), host.requests().len()), (kind, 0), "{fault}");
        assert_eq!(update(&host, id).unwrap_err().kind(), kind);
        assert_eq!(host.requests().len(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_answer_is_read(status in 100_u16..600, body in proptest::collection::vec(any::<u8>(), 0..200), at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
        for id in [SYS_ID, NUMBER] {
            let _any = get(&host().answer_with(Ok(Response::new(status, Vec::new(), body.clone()))), id);
            let mut mutated = if id == SYS_ID { RECORD.as_bytes().to_vec() } else { listed(&[RECORD]).into_bytes() };
            let at = at.index(mutated.len());
            mutated[at] = byte;
            let _any = get(&host().answer_with(Ok(Response::new(200, Vec::new(), mutated))), id);
        }
    }

    #[test]
    fn any_note_keeps_its_marker(text in "(\\[/?[codeCODE]{0,5}\\]?|\u{e9}| |\n){0,300}", html in any::<bool>()) {
        let text = format!("{text}{MARKER}");
        let host = host().setting("note_chars_max", "200").setting("note_format", if html { "html" } else { "text" });
        let host = host.answer(200, &noted());
        ServiceNow.update_ticket(&host.tenant(), SYS_ID, &Note::new("", &text, &text, MARKER)).unwrap();
        let request = host.requests().pop().unwrap();
        let body: Value = serde_json::from_slice(request.parts().3.unwrap()).unwrap();
        let entry = body["work_notes"].as_str().unwrap();
        assert!(entry.chars().count() <= 200 && entry.contains(MARKER), "{entry}");
        let inner = entry.strip_prefix("[code]").and_then(|rest| rest.strip_suffix("[/code]")).unwrap_or(entry);
        let lower = inner.to_ascii_lowercase();
        assert!(!lower.contains("[code]") && !lower.contains("[/code]"), "{entry}");
    }
}
