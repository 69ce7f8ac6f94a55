//! Webhooks and answers as senders and the tool really write them, through the plugin's trait.

#![allow(clippy::unwrap_used, reason = "in a test, also in the functions that its tests share")]

use freshservice::Freshservice;
use plugin_abi::{
    prelude::*,
    testing::{FakeHost, FakeWebhook},
};

const JSON: &str = "application/json";
const MARKER: &str = "[patchbay 0193-n1]";

fn host() -> FakeHost {
    FakeHost::new().secret("api_key", "k")
}

/// The same for tenants that take nothing but the id, and for those that take all.
#[track_caller]
fn check(body: &[u8], content_type: &str, id: &str, subject: &str) {
    let webhook = FakeWebhook::post(body).header("content-type", content_type);
    let shown = body.escape_ascii();
    let hint = Freshservice.extract_metadata(&host().tenant(), &webhook.borrow());
    assert_eq!(hint.map(|hint| hint.ticket_id), Ok(id.to_owned()), "{shown}");
    let whole = host().setting("read_back", "false");
    let whole = Freshservice.extract_metadata(&whole.tenant(), &webhook.borrow());
    let whole = whole.unwrap_or_else(|error| panic!("{shown}: {error}"));
    assert_eq!((whole.ticket_id.as_str(), whole.subject.as_deref()), (id, Some(subject)), "{shown}");
}

#[test]
fn webhooks_of_every_kind() {
    for (content_type, body, id, subject) in [
        (JSON, &b"\xef\xbb\xbf{\"ticket_id\":\"3\",\"subject\":\"x\"}"[..], "3", "x"),
        (JSON, br#"{"ticket_id":"3","subject":"Laptop \ud83d"}"#, "3", "Laptop \u{fffd}"),
        (JSON, br#"{"ticket_id":"3","subject":"x","floor":"\ude00"}"#, "3", "x"),
        (JSON, b"{\"ticket_id\":\"3\",\"subject\":\"B\xfcro\"}", "3", "B\u{fffd}ro"),
        ("application/json; charset=ISO-8859-1", b"{\"ticket_id\":\"3\",\"subject\":\"B\xfcro\"}", "3", "Büro"),
        ("text/json;charset=\"cp1252\"", b"{\"ticket_id\":\"3\",\"subject\":\"5 \x80\"}", "3", "5 €"),
        (JSON, br#"{"ticket_id":5158.0,"subject":"x"}"#, "5158", "x"),
        (JSON, br#"{"ticket_id":4.2E1,"subject":"x"}"#, "42", "x"),
        (JSON, br#"{"ticket_id":9007199254740993,"subject":"x"}"#, "9007199254740993", "x"),
        (JSON, br#"{"ticket_id":9007199254740993.0,"subject":"x"}"#, "9007199254740993", "x"),
        (JSON, br#"{"ticket_id":3,"subject":"x","big":1e400}"#, "3", "x"),
    ] {
        check(body, content_type, id, subject);
    }
    let wide = |text: &str| text.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<_>>();
    check(&wide("\u{feff}{\"ticket_id\":3,\"subject\":\"Büro\"}"), "application/json; charset=utf-16", "3", "Büro");
    check(&wide("{\"ticket_id\":3,\"subject\":\"Büro\"}"), JSON, "3", "Büro");
}

#[test]
fn times_in_every_form() {
    for time in ["2026-03-02T09:15:00Z", "2026-03-02T10:15:00+0100", "2026-03-02 09:15", "20260302T091500Z"] {
        let webhook = FakeWebhook::post(format!(r#"{{"ticket_id":3,"created_at":"{time}"}}"#));
        let whole = host().setting("read_back", "false");
        let created_at = Freshservice.extract_metadata(&whole.tenant(), &webhook.borrow()).unwrap().created_at;
        assert_eq!(created_at.unwrap().unix_timestamp(), 1_772_442_900, "{time}");
    }
}

fn answer(content_type: &str, body: &[u8]) -> Result<Response, PluginError> {
    Ok(Response::new(200, vec![("content-type".to_owned(), content_type.to_owned())], body))
}

#[test]
fn a_ticket_is_read_as_it_is_answered() {
    for (content_type, body, subject) in [
        (JSON, &br#"{"ticket":{"subject":"Laptop hot \ud83d","status":2}}"#[..], "Laptop hot \u{fffd}"),
        (JSON, b"\xef\xbb\xbf{\"ticket\":{\"subject\":\"x\"}}", "x"),
        ("application/json; charset=latin1", b"{\"ticket\":{\"subject\":\"B\xfcro\"}}", "Büro"),
        (JSON, br#"{"ticket":{"subject":"x","stats":"none","requester":7,"priority":[],"big":1e999}}"#, "x"),
    ] {
        let host = host().answer_with(answer(content_type, body));
        let ticket = Freshservice.get_ticket(&host.tenant(), "3").unwrap().unwrap();
        assert_eq!(ticket.subject.as_deref(), Some(subject), "{}", body.escape_ascii());
    }
}

#[test]
fn somebody_elses_odd_conversation_keeps_no_note_off_a_ticket() {
    let ours = format!(r#"{{"body":"<p>{MARKER} \ud83d</p>","private":true}}"#);
    for odd in [
        r#"{"id":1,"body":"cut \ud83d"}"#,
        r#"{"id":{},"body":7,"private":"yes"}"#,
        r#"{"body":null,"body":"twice"}"#,
        "null",
        "7",
        r#"["text",true]"#,
    ] {
        for (list, found) in
            [(format!("[{odd}]"), false), (format!("[{odd},{ours}]"), true), (format!("[{ours},{odd}]"), true)]
        {
            let host = host().attempt(2).answer(200, &format!(r#"{{"conversations":{list}}}"#)).answer(201, "{}");
            let note = Note::new("", "<p>x</p>", "x", MARKER);
            assert_eq!(Freshservice.update_ticket(&host.tenant(), "3", &note), Ok(true), "{list}");
            assert_eq!(host.requests().len(), if found { 1 } else { 2 }, "{list}");
        }
    }
}
