//! JSON as senders and tools really write it: webhooks and answers, through the plugin's trait.

#![allow(clippy::unwrap_used, reason = "in a test, also in the functions that its tests share")]

use plugin_abi::{
    prelude::*,
    testing::{FakeHost, FakeWebhook, hex_mac},
};
use servicedesk_plus::ServiceDeskPlus;

const JSON: &str = "application/json";
const LATIN1: &str = "application/json; charset=ISO-8859-1";
const SUCCESS: &[u8] = br#"{"note":{"id":"5"},"response_status":{"status_code":2000,"status":"success"}}"#;
const MARKER: &str = "[patchbay 0193-n1]";

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// The flat form, created, with this in place of the id, the subject and the time.
fn flat(id: &str, subject: &str, created_at: &str) -> Vec<u8> {
    format!(
        r#"{{"tenant_id":"acme","ticket_id":{id},"event":"ticket_created","subject":"{subject}","description":"d",
            "priority":"high","created_at":"{created_at}"}}"#
    )
    .into_bytes()
}

fn nested(id: &str, subject: &str) -> Vec<u8> {
    format!(r#"{{"event":"created","request":{{"id":{id},"subject":"{subject}"}}}}"#).into_bytes()
}

#[test]
fn what_a_webhook_means_is_read() {
    const TIME: &str = "2026-03-02T08:15:00Z";
    let marked = |body: Vec<u8>| [b"\xef\xbb\xbf", &body[..]].concat();
    let latin1 = |mut body: Vec<u8>| {
        let at = body.iter().position(|byte| *byte == b'%').unwrap();
        body[at] = 0xfc;
        body
    };
    let text = |body: Vec<u8>| String::from_utf8(body).unwrap();
    for (content_type, body, id, subject) in [
        (JSON, flat(r#""TKT-1""#, r"cut \ud83d", TIME), "TKT-1", "cut \u{fffd}"),
        (JSON, nested(r#""1""#, r"cut \uDE00\ud83d"), "1", "cut \u{fffd}\u{fffd}"),
        (JSON, marked(flat("7", "Printer", TIME)), "7", "Printer"),
        (JSON, marked(nested("7", r"cut \ud83d")), "7", "cut \u{fffd}"),
        (LATIN1, latin1(flat("7", "Dr%cker", TIME)), "7", "Drücker"),
        ("application/json;charset=windows-1252", latin1(nested("7", "Dr%cker")), "7", "Drücker"),
        ("application/json; charset=utf-16", utf16(&text(flat("7", "Drücker", TIME))), "7", "Drücker"),
        (JSON, utf16(&text(nested("7", "Drücker"))), "7", "Drücker"),
        (JSON, latin1(flat("7", "Dr%cker", TIME)), "7", "Dr\u{fffd}cker"),
        (JSON, flat("5158.0", "Printer", TIME), "5158", "Printer"),
        (JSON, nested("2.04000000001337E14", "Printer"), "204000000001337", "Printer"),
        (JSON, flat("9007199254740993", "Printer", TIME), "9007199254740993", "Printer"),
        (JSON, nested("9007199254740993.0", "Printer"), "9007199254740993", "Printer"),
        (
            JSON,
            nested("340282366920938463463374607431768211456", "Printer"),
            "340282366920938463463374607431768211456",
            "Printer",
        ),
        (JSON, flat(r#"" TKT-1\n""#, "Printer", TIME), "TKT-1", "Printer"),
    ] {
        let signature = hex_mac(b"s", &[&body]);
        let shown = body.escape_ascii().to_string();
        let webhook = FakeWebhook::post(body).header("content-type", content_type);
        let webhook = webhook
            .header("x-servicedesk-signature", signature)
            .received_at(plugin_abi::payload::instant(TIME).unwrap());
        let host = FakeHost::new().secret("webhook_secret", "s");
        assert_eq!(ServiceDeskPlus.validate_webhook(&host.tenant(), &webhook.borrow()), Ok(true), "{shown}");
        let metadata = ServiceDeskPlus.extract_metadata(&host.tenant(), &webhook.borrow()).unwrap();
        assert_eq!((metadata.ticket_id.as_str(), metadata.subject.as_deref()), (id, Some(subject)), "{shown}");
        assert_eq!(metadata.event, Event::Created, "{shown}");
    }
}

#[test]
fn a_time_is_read_in_every_form_that_names_a_moment() {
    let extract = |created_at: &str| {
        let webhook = FakeWebhook::post(flat("7", "s", created_at));
        ServiceDeskPlus.extract_metadata(&FakeHost::new().tenant(), &webhook.borrow())
    };
    for text in [
        "2026-03-02T08:15:00.000Z",
        "2026-03-02 08:15:00",
        "2026-03-02T08:15",
        "2026-03-02T09:15:00+0100",
        "2026-03-02T09:15:00,0+01",
        "20260302T081500Z",
        "2026-W10-1T08:15:00Z",
    ] {
        let created_at = extract(text).unwrap().created_at;
        assert_eq!(created_at, plugin_abi::payload::instant("2026-03-02T08:15:00Z"), "{text}");
    }
    for text in ["02/03/2026 08:15", "2026-03-02", "Mar 2, 2026 08:15 AM", "1772439300000"] {
        assert_eq!(extract(text).unwrap_err().kind(), "validation", "{text}");
    }
}

#[test]
fn an_id_of_blanks_is_no_id() {
    for id in [r#""""#, r#""   ""#, r#""\t\u00a0""#, r#""\u200b""#, r#""\ufeff""#, "null", "1.5", "-7"] {
        for (body, field) in [(flat(id, "s", "2026-03-02T08:15:00Z"), "ticket_id"), (nested(id, "s"), "request.id")] {
            let webhook = FakeWebhook::post(body);
            let fault = ServiceDeskPlus.extract_metadata(&FakeHost::new().tenant(), &webhook.borrow()).unwrap_err();
            assert!(matches!(&fault, PluginError::Validation(faults) if faults[0].field == field), "{id}: {fault}");
        }
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
    let request = |fields: &str| {
        format!(r#"{{"request":{{"id":"7",{fields}}},"response_status":{{"status_code":2000,"status":"success"}}}}"#)
            .into_bytes()
    };
    for (content_type, body, subject) in [
        (JSON, request(r#""subject":"hot \ud83d""#), Some("hot \u{fffd}")),
        (JSON, request(r#""subject":"hot","description":"\udc00","requester":{"name":"\ud800"}"#), Some("hot")),
        (JSON, [b"\xef\xbb\xbf", &request(r#""subject":"hot""#)[..]].concat(), Some("hot")),
        (
            LATIN1,
            request(r#""subject":"%""#).iter().map(|byte| if *byte == b'%' { 0xfc } else { *byte }).collect(),
            Some("ü"),
        ),
        ("text/json; charset=utf-16le", utf16(&String::from_utf8(request(r#""subject":"ü""#)).unwrap()), Some("ü")),
        // A field that is not needed has any type.
        (
            JSON,
            request(
                r#""subject":[7],"description":{},"status":[],"priority":false,"requester":1.5,"created_time":{"value":[]},
                   "last_updated_time":"Mar 2, 2026","resolved_time":7e300,"resolution":{"content":3},
                   "closure_info":"x","udf_fields":{"big":1e400,"exact":123456789012345678901234567890}"#,
            ),
            None,
        ),
        (
            JSON,
            br#"{"request":{"subject":"hot"},"response_status":[{"status_code":2000.0,"messages":"none"},null]}"#
                .to_vec(),
            Some("hot"),
        ),
        (
            JSON,
            br#"{"request":{"subject":"hot"},"response_status":{"status":"Success","messages":[7,{"message":[]}]}}"#
                .to_vec(),
            Some("hot"),
        ),
    ] {
        let ticket = ServiceDeskPlus.get_ticket(&answered(host(), content_type, &body).tenant(), "7").unwrap().unwrap();
        assert_eq!((ticket.id.as_str(), ticket.subject.as_deref()), ("7", subject), "{}", body.escape_ascii());
        assert!(ticket.raw.starts_with('{'), "{}", ticket.raw);
    }
}

#[test]
fn what_others_have_written_keeps_no_note_off_a_ticket() {
    let ours = format!(r#"{{"id":"2","description":"<p>Facts</p><p>{MARKER}</p>"}}"#);
    for others in [
        r#"{"description":"cut \ud83d"}"#,
        r#"{"description":["x"]},{"description":{"content":"x"}}"#,
        r#"7,null,"text",[{"description":"x"}],true,-0.5"#,
        r#"{"description":"x","created_by":{"name":"\udead"},"size":1e999}"#,
        r#"{"description":"x","description":"y"},{"id":1,"id":2}"#,
    ] {
        for wrapper in ["notes", "request_notes"] {
            let list = |notes: &str| {
                format!(r#"{{"{wrapper}":[{notes}],"list_info":7,"response_status":[{{"status_code":2000}}]}}"#)
            };
            for (notes, requests) in
                [(others.to_owned(), 2), (format!("{others},{ours}"), 1), (format!("{ours},{others}"), 1)]
            {
                let host = answered(answered(host().attempt(2), JSON, list(&notes).as_bytes()), JSON, SUCCESS);
                let note = Note::new("", "<p>x</p>", "x", MARKER);
                assert_eq!(ServiceDeskPlus.update_ticket(&host.tenant(), "7", &note), Ok(true), "{notes}");
                assert_eq!(host.requests().len(), requests, "{notes}");
            }
        }
    }
}

#[test]
fn an_answer_to_a_note_need_only_say_success() {
    for (content_type, body) in [
        (JSON, SUCCESS),
        (JSON, br#"{"response_status":{"status_code":2000}}"#),
        (JSON, br#"{"response_status":[{"status_code":"2000","status":7}],"note":"\ud83d"}"#),
        (JSON, br#"{"response_status":{"status":"success"},"request_note":[[]]}"#),
        (JSON, b"\xef\xbb\xbf{\"response_status\":{\"status_code\":2000}}"),
        (LATIN1, b"{\"response_status\":{\"status_code\":2000},\"note\":\"Dr\xfccker\"}"),
    ] {
        let host = answered(host(), content_type, body);
        let note = Note::new("", "<p>x</p>", "x", MARKER);
        assert_eq!(ServiceDeskPlus.update_ticket(&host.tenant(), "7", &note), Ok(true), "{}", body.escape_ascii());
    }
}

#[test]
fn what_cannot_be_read_is_not_asked_for_again() {
    for (body, place) in [
        ("{\"request\":{\"id\":\"7\",\n}}", "line 2 column 1"),
        (r#"{"response_status":{"status_code":2000}}"#, "no request"),
        (r#"{"request":{"id":"7"}}"#, "no response_status"),
        ("7 requests", "line 1 column 1"),
    ] {
        let fault = ServiceDeskPlus.get_ticket(&answered(host(), JSON, body.as_bytes()).tenant(), "7").unwrap_err();
        let text = fault.to_string();
        assert_eq!(fault.kind(), "malformed", "{text}");
        assert!(text.contains("GET /api/v3/requests/7") && text.contains(place), "{text}");
    }
    let unlisted = r#"{"notes":"many","response_status":{"status_code":2000}}"#;
    let host = answered(host().attempt(2), JSON, unlisted.as_bytes());
    let fault = ServiceDeskPlus.update_ticket(&host.tenant(), "7", &Note::new("", "x", "x", MARKER)).unwrap_err();
    assert!(fault.kind() == "malformed" && fault.to_string().contains("a list of notes"), "{fault}");
    assert_eq!(host.requests().len(), 1, "nothing is posted without a look");
}
