//! JSON as senders and tools really write it: webhooks and answers, through the plugin's trait.

#![allow(clippy::unwrap_used, reason = "in a test, also in the functions that its tests share")]

use plugin_abi::{
    payload::instant,
    prelude::*,
    testing::{FakeHost, FakeWebhook, base64_mac},
};
use servicenow::ServiceNow;

const JSON: &str = "application/json";
const LATIN1: &str = "application/json; charset=ISO-8859-1";
const SYS_ID: &str = "4f1c0e9a2b7d4c55a1e8300d9b6c7f21";
const NUMBER: &str = "INC0010042";
const MARKER: &str = "[patchbay 0193-n1]";
const SENT: &str = "20260302T081500Z";

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn record(number: &str, subject: &str) -> Vec<u8> {
    format!(r#"{{"event":"created","record":{{"number":{number},"short_description":"{subject}"}}}}"#).into_bytes()
}

fn rule(number: &str, subject: &str) -> Vec<u8> {
    format!(r#"{{"incidentId":{number},"action":"created","title":"{subject}"}}"#).into_bytes()
}

/// With a byte that is no UTF-8 in place of the per cent sign.
fn latin1(body: Vec<u8>) -> Vec<u8> {
    body.into_iter().map(|byte| if byte == b'%' { 0xfc } else { byte }).collect()
}

fn marked(body: &[u8]) -> Vec<u8> {
    [b"\xef\xbb\xbf", body].concat()
}

#[test]
fn what_a_webhook_means_is_read() {
    let text = |body: Vec<u8>| String::from_utf8(body).unwrap();
    for (content_type, body, id, subject) in [
        (JSON, record(r#""INC1""#, r"cut \ud83d"), "INC1", "cut \u{fffd}"),
        (JSON, rule(r#""INC1""#, r"\uDE00 cut"), "INC1", "\u{fffd} cut"),
        (JSON, marked(&record(r#""INC1""#, "Printer")), "INC1", "Printer"),
        (JSON, marked(&rule(r#""INC1""#, r"cut \ud83d")), "INC1", "cut \u{fffd}"),
        (LATIN1, latin1(record(r#""INC1""#, "Dr%cker")), "INC1", "Drücker"),
        ("text/json; charset=\"cp1252\"", latin1(rule(r#""INC1""#, "Dr%cker")), "INC1", "Drücker"),
        ("application/json; charset=utf-16", utf16(&text(record("7", "Drücker"))), "7", "Drücker"),
        (JSON, latin1(record("7", "Dr%cker")), "7", "Dr\u{fffd}cker"),
        (JSON, record("5158.0", "Printer"), "5158", "Printer"),
        (JSON, rule("1.0042E4", "Printer"), "10042", "Printer"),
        (JSON, record("9007199254740993.0", "Printer"), "9007199254740993", "Printer"),
        (JSON, rule("36893488147419103233", "Printer"), "36893488147419103233", "Printer"),
        (JSON, record(r#"{"value":" INC1 ","display_value":[]}"#, "Printer"), "INC1", "Printer"),
    ] {
        let shown = body.escape_ascii().to_string();
        let mac = base64_mac(b"s", &[SENT.as_bytes(), b":", &body]);
        let webhook = FakeWebhook::post(body).header("content-type", content_type).received_at(instant(SENT).unwrap());
        let webhook = webhook.header("x-servicenow-timestamp", SENT).header("x-servicenow-signature", mac);
        let host = FakeHost::new().secret("webhook_secret", "s");
        assert_eq!(ServiceNow.validate_webhook(&host.tenant(), &webhook.borrow()), Ok(true), "{shown}");
        let metadata = ServiceNow.extract_metadata(&host.tenant(), &webhook.borrow()).unwrap();
        assert_eq!((metadata.ticket_id.as_str(), metadata.subject.as_deref()), (id, Some(subject)), "{shown}");
        assert_eq!(metadata.event, Event::Created, "{shown}");
    }
}

#[test]
fn a_time_is_read_in_every_form_that_names_a_moment() {
    let extract =
        |body: String| ServiceNow.extract_metadata(&FakeHost::new().tenant(), &FakeWebhook::post(body).borrow());
    for text in [
        "2026-03-02 08:15:00",
        "2026-03-02 08:15",
        "2026-03-02T08:15:00.000Z",
        "2026-03-02T09:15:00+0100",
        "2026-03-02T09:15:00,000+01:00",
        "20260302T081500Z",
        "2026-061T08:15Z",
    ] {
        for body in [
            format!(r#"{{"number":"INC1","event":"created","sys_created_on":"{text}"}}"#),
            format!(r#"{{"incidentId":"INC1","action":"created","timestamp":"{text}"}}"#),
        ] {
            assert_eq!(extract(body).unwrap().created_at, instant(SENT), "{text}");
        }
    }
    for text in ["28/11/2026 09:15:00", "2026-03-02", "03-02-2026 08:15 AM", "1772439300"] {
        for body in [
            format!(r#"{{"number":"INC1","sys_created_on":"{text}"}}"#),
            format!(r#"{{"incidentId":"INC1","action":"created","timestamp":"{text}"}}"#),
        ] {
            assert_eq!(extract(body).unwrap_err().kind(), "validation", "{text}");
        }
    }
}

#[test]
fn an_id_of_blanks_is_no_id() {
    for id in [r#""""#, r#""   ""#, r#""\t\u00a0""#, r#""\u200b""#, r#""\ufeff""#, "null", "1.5", "-7"] {
        for body in [record(id, "s"), rule(id, "s")] {
            let webhook = FakeWebhook::post(body);
            let fault = ServiceNow.extract_metadata(&FakeHost::new().tenant(), &webhook.borrow()).unwrap_err();
            assert_eq!(fault.kind(), "validation", "{id}: {fault}");
        }
    }
}

#[test]
fn a_stamp_may_be_as_far_ahead_as_the_tenant_says() {
    for (ahead, seconds, expected) in [(120, 120, true), (120, 121, false), (0, 0, true), (0, 1, false)] {
        let mac = base64_mac(b"s", &[SENT.as_bytes(), b":", b"{}"]);
        let received = instant(SENT).unwrap() - plugin_abi::time::Duration::seconds(seconds);
        let webhook = FakeWebhook::post("{}").received_at(received);
        let webhook = webhook.header("x-servicenow-timestamp", SENT).header("x-servicenow-signature", mac);
        let host = FakeHost::new().secret("webhook_secret", "s");
        let host = host.replay_ahead(std::time::Duration::from_secs(ahead));
        assert_eq!(
            ServiceNow.validate_webhook(&host.tenant(), &webhook.borrow()),
            Ok(expected),
            "{seconds} of {ahead}"
        );
    }
}

fn answered(host: FakeHost, content_type: &str, body: &[u8]) -> FakeHost {
    let headers = vec![("content-type".to_owned(), content_type.to_owned())];
    host.answer_with(Ok(Response::new(200, headers, body)))
}

fn host() -> FakeHost {
    FakeHost::new().secret("api_key", "k")
}

#[test]
fn what_an_answer_means_is_read() {
    let fields = |rest: &str| format!(r#"{{"sys_id":"{SYS_ID}","number":"{NUMBER}",{rest}}}"#);
    for (content_type, rest, subject) in [
        (JSON, r#""short_description":"hot \ud83d""#, Some("hot \u{fffd}")),
        (
            JSON,
            r#""short_description":"hot","description":"\udc00","caller_id":{"display_value":"\ud800"}"#,
            Some("hot"),
        ),
        (LATIN1, r#""short_description":"%""#, Some("ü")),
        // A field that is not needed has any type.
        (
            JSON,
            r#""short_description":[7],"description":false,"state":[],"priority":1.5,"caller_id":7,"opened_by":[[]],
               "sys_created_on":0.5,"sys_updated_on":"28/11/2026","resolved_at":{},"closed_at":[],"close_code":true,
               "close_notes":{"value":{}},"sys_mod_count":"many","u_big":1e400,"u_exact":123456789012345678901234567890"#,
            None,
        ),
    ] {
        for (id, result) in [(SYS_ID, fields(rest)), (NUMBER, format!("[{}]", fields(rest)))] {
            let answer = latin1(format!(r#"{{"result":{result}}}"#).into_bytes());
            for body in [answer.clone(), marked(&answer)] {
                if content_type == LATIN1 && body.starts_with(b"\xef\xbb\xbf") {
                    continue;
                }
                let host = answered(host(), content_type, &body);
                let ticket = ServiceNow.get_ticket(&host.tenant(), id).unwrap().unwrap();
                assert_eq!((ticket.id.as_str(), ticket.subject.as_deref()), (SYS_ID, subject), "{rest}");
                assert!(ticket.raw.starts_with('{'), "{}", ticket.raw);
            }
        }
    }
}

#[test]
fn other_records_keep_none_from_being_found() {
    let meant = format!(r#"{{"sys_id":"{SYS_ID}","number":{{"value":"{NUMBER}"}}}}"#);
    for others in [
        r#"{"number":"INC1","short_description":"cut \ud83d"}"#,
        r#"7,null,"text",[{"number":"INC0010042"}],true"#,
        r#"{"number":["INC0010042"]},{"number":{"value":{}}},{}"#,
    ] {
        for list in [format!("{others},{meant}"), format!("{meant},{others}")] {
            let host = answered(host(), JSON, format!(r#"{{"result":[{list}]}}"#).as_bytes());
            assert_eq!(ServiceNow.get_ticket(&host.tenant(), NUMBER).unwrap().unwrap().id, SYS_ID, "{list}");
        }
        let host = answered(host(), JSON, format!(r#"{{"result":[{others}]}}"#).as_bytes());
        assert_eq!(ServiceNow.get_ticket(&host.tenant(), NUMBER), Ok(None), "{others}");
    }
}

fn update(host: &FakeHost) -> Result<bool, PluginError> {
    ServiceNow.update_ticket(&host.tenant(), SYS_ID, &Note::new("", "<p>x</p>", "x", MARKER))
}

#[test]
fn what_others_have_written_keeps_no_note_off_a_ticket() {
    let journal = |notes: &str| format!(r#"{{"result":{{"work_notes":"{notes}","sys_id":[]}}}}"#).into_bytes();
    for others in [r"cut \ud83d\n\n", r"\udc00", "Dr%cker "] {
        for (notes, requests) in [(format!("{others}{MARKER}"), 1), (others.to_owned(), 2)] {
            let looked = latin1(journal(&notes));
            let host = answered(answered(host().attempt(2), JSON, &looked), JSON, &journal(MARKER));
            assert_eq!((update(&host), host.requests().len()), (Ok(true), requests), "{notes}");
        }
    }
}

#[test]
fn an_answer_to_a_note_that_cannot_be_read_is_looked_after() {
    let noted = format!(r#"{{"result":{{"work_notes":"{MARKER}"}}}}"#);
    for posted in ["{}", "OK", r#"{"result":[7]}"#, r#"{"result":{"work_notes":["x"]}}"#, r#"{"result":"#] {
        let host_noted = answered(answered(host(), JSON, posted.as_bytes()), JSON, noted.as_bytes());
        assert_eq!((update(&host_noted), host_noted.requests().len()), (Ok(true), 2), "{posted}");
        let missing = r#"{"result":{"work_notes":"someone else's"}}"#;
        let host_missing = answered(answered(host(), JSON, posted.as_bytes()), JSON, missing.as_bytes());
        assert_eq!(update(&host_missing).unwrap_err().kind(), "configuration", "{posted}");
    }
    for posted in ["", "<html>sleeping</html>", r#"{"result":{},"error":{"message":"cancelled"}}"#] {
        let host = answered(host(), JSON, posted.as_bytes());
        assert_eq!((update(&host).unwrap_err().kind(), host.requests().len()), ("api", 1), "{posted}");
    }
}

#[test]
fn what_cannot_be_read_is_not_asked_for_again() {
    for (id, body, place) in [
        (SYS_ID, "{\"result\":{\"sys_id\":\"7\",\n}}", "line 2 column 1"),
        (SYS_ID, r#"{"results":{}}"#, "no result"),
        (SYS_ID, r#"{"result":[]}"#, "no object"),
        (NUMBER, r#"{"result":{"number":"INC0010042"}}"#, "a list of records"),
        (NUMBER, r#"{"result":[{"number":"INC0010042"}]}"#, "no sys_id"),
    ] {
        let fault = ServiceNow.get_ticket(&answered(host(), JSON, body.as_bytes()).tenant(), id).unwrap_err();
        let text = fault.to_string();
        assert_eq!(fault.kind(), "malformed", "{text}");
        assert!(text.contains("GET /api/now/table/incident") && text.contains(place), "{text}");
    }
    let host = answered(host().attempt(2), JSON, b"half of it");
    assert_eq!((update(&host).unwrap_err().kind(), host.requests().len()), ("malformed", 1), "nothing without a look");
}
