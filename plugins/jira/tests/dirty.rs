//! Webhooks and answers as senders and Jira really write them, through the plugin's trait.

#![allow(clippy::unwrap_used, reason = "in a test, also in the functions that its tests share")]

use jira::Jira;
use plugin_abi::{
    prelude::*,
    serde_json::json,
    testing::{FakeHost, FakeWebhook},
    time::{Duration, OffsetDateTime},
};

const JSON: &str = "application/json";
const MARKER: &str = "patchbay:0193-n1";
const PROJECT: &str = r#"{"fields":{"project":{"projectTypeKey":"service_desk"}}}"#;

fn host() -> FakeHost {
    FakeHost::new().secret("webhook_secret", "s").secret("api_key", "k").setting("api_auth", "bearer")
}

#[track_caller]
fn check(body: &[u8], content_type: &str, id: &str, summary: &str) {
    let webhook = FakeWebhook::post(body).header("content-type", content_type).hub_signed("x-hub-signature", "s");
    let shown = body.escape_ascii();
    assert_eq!(Jira.validate_webhook(&host().tenant(), &webhook.borrow()), Ok(true), "{shown}");
    let hint = host().setting("webhook_auth", "token").setting("read_back", "true");
    let hint = Jira.extract_metadata(&hint.tenant(), &webhook.borrow());
    assert_eq!(hint.map(|hint| hint.ticket_id), Ok(id.to_owned()), "{shown}");
    let whole = Jira.extract_metadata(&host().tenant(), &webhook.borrow());
    let whole = whole.unwrap_or_else(|error| panic!("{shown}: {error}"));
    assert_eq!((whole.ticket_id.as_str(), whole.subject.as_deref()), (id, Some(summary)), "{shown}");
}

#[test]
fn webhooks_of_every_kind() {
    for (content_type, body, id, summary) in [
        (JSON, &b"\xef\xbb\xbf{\"issue\":{\"key\":\"IT-3\",\"fields\":{\"summary\":\"x\"}}}"[..], "IT-3", "x"),
        (JSON, br#"{"issue":{"key":"IT-3","fields":{"summary":"hot \ud83d"}}}"#, "IT-3", "hot \u{fffd}"),
        (JSON, br#"{"key":"IT-3","fields":{"summary":"x","floor":"\ude00"}}"#, "IT-3", "x"),
        (JSON, b"{\"key\":\"IT-3\",\"fields\":{\"summary\":\"B\xfcro\"}}", "IT-3", "B\u{fffd}ro"),
        (
            "application/json; charset=iso-8859-1",
            b"{\"key\":\"IT-3\",\"fields\":{\"summary\":\"B\xfcro\"}}",
            "IT-3",
            "Büro",
        ),
        (JSON, br#"{"id":10042.0,"fields":{"summary":"x"}}"#, "10042", "x"),
        (JSON, br#"{"issue":{"id":1.0042e4,"fields":{"summary":"x"}}}"#, "10042", "x"),
        (JSON, br#"{"id":9007199254740993.0,"fields":{"summary":"x"}}"#, "9007199254740993", "x"),
        (JSON, br#"{"id":36893488147419103233,"fields":{"summary":"x"}}"#, "36893488147419103233", "x"),
        (JSON, br#"{"key":"IT-3","fields":{"summary":"x","rank":1e400}}"#, "IT-3", "x"),
    ] {
        check(body, content_type, id, summary);
    }
    let wide: Vec<u8> =
        r#"{"key":"IT-3","fields":{"summary":"Büro"}}"#.encode_utf16().flat_map(u16::to_le_bytes).collect();
    check(&wide, "application/json; charset=utf-16", "IT-3", "Büro");
}

#[test]
fn a_cut_character_takes_no_description() {
    for (description, expected) in [
        (r#""Screen black \ud83d""#, "Screen black \u{fffd}"),
        (
            r#"{"type":"doc","content":[{"type":"paragraph","content":[{"type":"text","text":"black \ude00"}]}]}"#,
            "black \u{fffd}",
        ),
    ] {
        let issue = format!(r#"{{"key":"IT-3","fields":{{"description":{description}}}}}"#);
        let told = Jira.extract_metadata(&host().tenant(), &FakeWebhook::post(issue.clone()).borrow()).unwrap();
        assert_eq!(told.description.as_deref(), Some(expected));
        let read = Jira.get_ticket(&host().answer(200, &issue).tenant(), "IT-3").unwrap().unwrap();
        assert_eq!(read.description.as_deref(), Some(expected));
    }
}

/// What a body says of its time is the same to the signature's check and to what is read of it.
#[test]
fn the_time_of_a_webhook_is_read_in_every_form() {
    let sent = OffsetDateTime::from_unix_timestamp(1_772_442_900).unwrap();
    for timestamp in [
        "1772442900000",
        "1.7724429E12",
        "1772442900000.0",
        "\"1772442900000\"",
        "\"2026-03-02T09:15:00.000+0000\"",
        "\"2026-03-02 10:15 +0100\"",
    ] {
        let body =
            format!(r#"{{"webhookEvent":"jira:issue_created","timestamp":{timestamp},"issue":{{"key":"IT-3"}}}}"#);
        for body in [body.clone().into_bytes(), [b"\xef\xbb\xbf", body.as_bytes()].concat()] {
            let signed = FakeWebhook::post(body).hub_signed("x-hub-signature", "s");
            for (age, fresh) in [(0, true), (300, true), (301, false), (-31, false)] {
                let webhook = signed.clone().received_at(sent + Duration::seconds(age));
                let authentic = Jira.validate_webhook(&host().tenant(), &webhook.borrow());
                assert_eq!(authentic, Ok(fresh), "{timestamp} after {age} s");
            }
            let metadata = Jira.extract_metadata(&host().tenant(), &signed.borrow()).unwrap();
            assert_eq!(metadata.occurred_at, Some(sent), "{timestamp}");
        }
    }
}

fn answer(content_type: &str, body: &[u8]) -> Result<Response, PluginError> {
    Ok(Response::new(200, vec![("content-type".to_owned(), content_type.to_owned())], body))
}

#[test]
fn a_ticket_is_read_as_it_is_answered() {
    for (content_type, body, summary) in [
        (JSON, &br#"{"key":"IT-3","fields":{"summary":"Laptop hot \ud83d"}}"#[..], "Laptop hot \u{fffd}"),
        (JSON, b"\xef\xbb\xbf{\"fields\":{\"summary\":\"x\"}}", "x"),
        ("application/json; charset=latin1", b"{\"fields\":{\"summary\":\"B\xfcro\"}}", "Büro"),
        (JSON, br#"{"self":7,"fields":{"summary":"x","status":[],"priority":7,"reporter":"Mira","rank":1e999}}"#, "x"),
    ] {
        let host = host().answer_with(answer(content_type, body));
        let ticket = Jira.get_ticket(&host.tenant(), "IT-3").unwrap().unwrap();
        assert_eq!(ticket.subject.as_deref(), Some(summary), "{}", body.escape_ascii());
    }
}

#[test]
fn somebody_elses_odd_comment_keeps_no_note_off_a_ticket() {
    let ours = json!({"body": {"type": "doc", "content": [{"type": "paragraph", "content": [
        {"type": "text", "text": format!("Patchbay {MARKER} CUT")}]}]}});
    let ours = ours.to_string().replace("CUT", r"\ud83d");
    for odd in [
        r#"{"id":1,"body":"cut \ud83d"}"#,
        r#"{"id":{},"body":{"type":7,"content":"x"},"jsdPublic":"yes"}"#,
        r#"{"body":null,"body":"twice"}"#,
        "null",
        "7",
        r#"[{"type":"doc"}]"#,
    ] {
        for (list, found) in
            [(format!("[{odd}]"), false), (format!("[{odd},{ours}]"), true), (format!("[{ours},{odd}]"), true)]
        {
            let list = format!(r#"{{"total":"2","comments":{list}}}"#);
            let host = host().attempt(2).answer(200, &list).answer(200, PROJECT).answer(201, "{}");
            let note = Note::new("x", "", "x", MARKER);
            assert_eq!(Jira.update_ticket(&host.tenant(), "IT-3", &note), Ok(true), "{list}");
            assert_eq!(host.requests().len(), if found { 1 } else { 3 }, "{list}");
        }
    }
}
