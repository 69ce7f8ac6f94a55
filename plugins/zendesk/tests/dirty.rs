//! Webhooks and answers as senders and tools really write them, through the plugin's trait.

#![allow(clippy::unwrap_used, reason = "in a test, also in the functions that its tests share")]

use plugin_abi::{
    prelude::*,
    testing::{FakeHost, FakeWebhook},
};
use zendesk::Zendesk;

const MARKER: &str = "[patchbay 0193-n1]";
const UPDATED: &str = r#"{"ticket":{"id":1337}}"#;

fn host() -> FakeHost {
    FakeHost::new().secret("api_key", "k").setting("api_auth", "bearer")
}

/// Both forms of a webhook, with this as the ticket's id and this as its subject.
fn forms(id: &str, subject: &[u8]) -> [Vec<u8>; 2] {
    let (event, trigger) = (
        format!(
            r#"{{"type":"zen:event-type:ticket.created","id":"e1","time":"2026-03-02T09:15:00Z","detail":{{"id":{id},"subject":""#
        ),
        format!(r#"{{"event":"created","ticket_id":{id},"subject":""#),
    );
    [[event.as_bytes(), subject, b"\"}}"].concat(), [trigger.as_bytes(), subject, b"\"}"].concat()]
}

#[track_caller]
fn check(body: Vec<u8>, content_type: &str, id: &str, subject: &str) {
    let webhook = FakeWebhook::post(body.clone()).header("content-type", content_type);
    let metadata = Zendesk.extract_metadata(&host().tenant(), &webhook.borrow());
    let metadata = metadata.unwrap_or_else(|error| panic!("{}: {error}", body.escape_ascii()));
    assert_eq!((metadata.event, metadata.ticket_id.as_str()), (Event::Created, id), "{}", body.escape_ascii());
    assert_eq!(metadata.subject.as_deref(), Some(subject), "{}", body.escape_ascii());
}

#[test]
fn texts_of_every_kind() {
    const JSON: &str = "application/json";
    for (content_type, subject, expected) in [
        (JSON, &b"Laptop is hot \\ud83d"[..], "Laptop is hot \u{fffd}"),
        (JSON, b"\\ude00 Laptop \\ud83d\\ude00", "\u{fffd} Laptop \u{1f600}"),
        (JSON, b"Laptop \xed\xa0\xbd", "Laptop \u{fffd}"),
        (JSON, b"B\xfcro", "B\u{fffd}ro"),
        ("application/json; charset=ISO-8859-1", b"Drucker im B\xfcro", "Drucker im Büro"),
        ("application/json; charset=\"windows-1252\"", b"5 \x80", "5 €"),
        ("application/json;charset=utf-8", "Büro".as_bytes(), "Büro"),
    ] {
        for body in forms("\"1337\"", subject) {
            check(body, content_type, "1337", expected);
        }
    }
    for body in forms("\"1337\"", "Büro".as_bytes()) {
        check([b"\xef\xbb\xbf", &body[..]].concat(), JSON, "1337", "Büro");
        let wide: Vec<u8> = String::from_utf8(body).unwrap().encode_utf16().flat_map(u16::to_le_bytes).collect();
        check(wide, "application/json; charset=utf-16", "1337", "Büro");
    }
}

#[test]
fn ids_of_every_kind() {
    for (id, expected) in [
        ("5158", "5158"),
        ("5158.0", "5158"),
        ("5.158E3", "5158"),
        ("\" 5158 \"", "5158"),
        ("9007199254740993", "9007199254740993"),
        ("9007199254740993.0", "9007199254740993"),
        ("36893488147419103233", "36893488147419103233"),
    ] {
        for body in forms(id, b"x") {
            check(body, "application/json", expected, "x");
        }
    }
    for id in ["\"\"", "\" \"", "\"\\u00a0\\u200b\"", "null", "1.5", "-3", "true", "[5158]"] {
        for body in forms(id, b"x") {
            let refused = Zendesk.extract_metadata(&host().tenant(), &FakeWebhook::post(body).borrow()).unwrap_err();
            let PluginError::Validation(faults) = &refused else { panic!("{id}: {refused}") };
            assert!(faults.len() == 1 && faults[0].field.ends_with("id"), "{id}: {refused}");
        }
    }
}

#[test]
fn times_in_every_form() {
    for time in [
        "2026-03-02T09:15:00Z",
        "2026-03-02T10:15:00+0100",
        "2026-03-02 09:15",
        "20260302T091500Z",
        "2026-03-02T09:15:00,000Z",
    ] {
        let body = format!(r#"{{"event":"updated","ticket_id":7,"updated_at":"{time}"}}"#);
        let metadata = Zendesk.extract_metadata(&host().tenant(), &FakeWebhook::post(body).borrow()).unwrap();
        assert_eq!(metadata.occurred_at.unwrap().unix_timestamp(), 1_772_442_900, "{time}");
    }
}

/// An answer with this content type.
fn answer(content_type: &str, body: &[u8]) -> Result<Response, PluginError> {
    Ok(Response::new(200, vec![("content-type".to_owned(), content_type.to_owned())], body))
}

#[test]
fn a_ticket_is_read_as_it_is_answered() {
    const JSON: &str = "application/json";
    for (content_type, body, subject) in [
        (JSON, &br#"{"ticket":{"subject":"Laptop hot \ud83d","status":"new"},"users":[]}"#[..], "Laptop hot \u{fffd}"),
        (JSON, b"\xef\xbb\xbf{\"ticket\":{\"subject\":\"x\"}}", "x"),
        ("application/json; charset=iso-8859-1", b"{\"ticket\":{\"subject\":\"B\xfcro\"}}", "Büro"),
        (
            JSON,
            br#"{"ticket":{"subject":"x","status":7,"created_at":{},"metric_set":"none","tags":7},"users":{}}"#,
            "x",
        ),
    ] {
        let host = host().answer_with(answer(content_type, body));
        let ticket = Zendesk.get_ticket(&host.tenant(), "1337").unwrap().unwrap();
        assert_eq!(ticket.subject.as_deref(), Some(subject), "{}", body.escape_ascii());
    }
}

/// Comments among which one is somebody else's and odd.
const ODD: [&str; 8] = [
    r#"{"id":1,"html_body":"cut \ud83d","author_id":5}"#,
    r#"{"id":{},"html_body":7,"public":"yes","author_id":[5]}"#,
    r#"{"id":1,"id":2,"html_body":null}"#,
    "null",
    "7",
    r#""text""#,
    r#"[1,true,"x"]"#,
    r#"{"author_id":1e300,"html_body":"x"}"#,
];

#[test]
fn somebody_elses_odd_comment_keeps_no_note_off_a_ticket() {
    let ours = format!(r#"{{"author_id":9,"public":false,"html_body":"<p>{MARKER} \ud83d</p>"}}"#);
    for odd in ODD {
        for (list, found) in
            [(format!("[{odd}]"), false), (format!("[{odd},{ours}]"), true), (format!("[{ours},{odd}]"), true)]
        {
            let list = format!(r#"{{"comments":{list},"meta":7}}"#);
            let host = host().attempt(2).answer(200, &list).answer(200, UPDATED);
            let note = Note::new("", "<p>x</p>", "x", MARKER);
            assert_eq!(Zendesk.update_ticket(&host.tenant(), "1337", &note), Ok(true), "{list}");
            assert_eq!(host.requests().len(), if found { 1 } else { 2 }, "{list}");
        }
    }
}

#[test]
fn an_odd_comment_hides_no_solution() {
    let ticket = r#"{"ticket":{"status":"solved","requester_id":7}}"#;
    let answered = r#"{"author_id":9,"public":true,"html_body":"<p>Rekeyed it \ud83d.</p>"}"#;
    for odd in ODD {
        let host = host().answer(200, ticket).answer(200, &format!(r#"{{"comments":[{odd},{answered}]}}"#));
        let ticket = Zendesk.get_ticket(&host.tenant(), "1337").unwrap().unwrap();
        assert_eq!(ticket.resolution.as_deref(), Some("Rekeyed it \u{fffd}."), "{odd}");
    }
    // A list that is none hides it, and no more than it.
    for list in ["{}", r#"{"comments":null}"#, r#"{"comments":{"a":1}}"#] {
        let host = host().answer(200, ticket).answer(200, list);
        let ticket = Zendesk.get_ticket(&host.tenant(), "1337").unwrap().unwrap();
        assert_eq!((ticket.status.as_deref(), ticket.resolution), (Some("solved"), None), "{list}");
        assert!(matches!(&host.logged()[..], [(LogLevel::Warn, text)] if text.contains("1337")), "{list}");
    }
}
