use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;
use crate::{
    client::{Fixture, ID, Reply},
    fault::Effect,
    tools::Operation,
};

const TOOL: Tool = Tool::ServicedeskPlus;

fn once(effect: Effect) -> Vec<Fault> {
    vec![Fault { times: Some(1), effect: Some(effect), ..Fault::default() }]
}

/// Applies `effect` to one note. Returns the answer, and the number of notes afterwards.
fn note_under(effect: Effect) -> (Result<Reply, ureq::Error>, usize) {
    let fixture = Fixture::new();
    fixture.sandbox.set_faults(once(effect)).unwrap();
    let reply = fixture.try_note("x");
    let notes = fixture.notes();
    assert_eq!(fixture.try_note("y").unwrap().status, 201, "the fault was for one request");
    (reply, notes)
}

#[test]
fn it_listens_on_loopback_only_and_wants_a_token() {
    let start = |listen: &str, token: &str| {
        Sandbox::start(SandboxConfig { listen: listen.parse().unwrap(), token: token.to_owned(), script: None })
    };
    assert!(matches!(start("0.0.0.0:0", "k"), Err(StartError::NotLoopback(_))));
    assert!(matches!(start("192.0.2.1:0", "k"), Err(StartError::NotLoopback(_))));
    assert!(matches!(start("[::]:0", "k"), Err(StartError::NotLoopback(_))));
    assert!(matches!(start("127.0.0.1:0", ""), Err(StartError::InvalidToken)));
    assert!(matches!(start("127.0.0.1:0", "a\nb"), Err(StartError::InvalidToken)));
    let first = start("127.0.0.1:0", "k").unwrap();
    assert!(matches!(start(&first.addr().to_string(), "k"), Err(StartError::Listen { .. })));
    let addr = first.addr();
    first.stop();
    assert!(std::net::TcpStream::connect(addr).is_err());
}

#[test]
fn a_status_fault_answers_in_the_tools_own_words_or_in_the_given_ones() {
    let status = |status, body: Option<&str>, content_type: Option<&str>| {
        let text = |text: Option<&str>| text.map(str::to_owned);
        let (reply, notes) = note_under(Effect::Status { status, body: text(body), content_type: text(content_type) });
        assert_eq!(notes, 0);
        reply.unwrap()
    };
    for (http, code) in [(400, 4001), (401, 4022), (403, 4002), (404, 4007), (429, 4015), (500, 4004), (503, 4004)] {
        let reply = status(http, None, None);
        assert_eq!(
            (reply.status, &reply.json()["response_status"]["messages"][0]["status_code"]),
            (http, &json!(code))
        );
    }
    let reply = status(502, Some("upstream is gone"), Some("text/plain"));
    assert_eq!((reply.status, &*reply.content_type, &*reply.text), (502, "text/plain", "upstream is gone"));
    let reply = status(200, Some(r#"{"response_status":{"status_code":3000,"status":"warning"}}"#), None);
    assert_eq!((reply.status, &*reply.content_type), (200, "application/json"));
}

#[test]
fn rate_limits_carry_any_retry_after() {
    for retry_after in [None, Some("7"), Some("Fri, 20 Nov 2026 16:00:00 GMT"), Some("soon")] {
        let retry_after = retry_after.map(str::to_owned);
        let (reply, notes) = note_under(Effect::RateLimited { retry_after: retry_after.clone() });
        let reply = reply.unwrap();
        assert_eq!((reply.status, reply.retry_after, notes), (429, retry_after, 0));
    }
}

#[test]
fn html_comes_with_200_where_json_is_due() {
    let (reply, notes) = note_under(Effect::Html);
    let reply = reply.unwrap();
    assert_eq!((reply.status, &*reply.content_type, notes), (200, "text/html;charset=UTF-8", 0));
    assert!(reply.text.starts_with("<!DOCTYPE html>"));
}

#[test]
fn a_dropped_connection_gives_no_answer_and_the_work_is_done_or_not() {
    for (effect, expected) in [(Effect::DropBefore, 0), (Effect::DropAfter, 1)] {
        let (reply, notes) = note_under(effect.clone());
        assert!(reply.is_err(), "{effect:?}: {reply:?}");
        assert_eq!(notes, expected, "{effect:?}");
    }
}

#[test]
fn a_cut_body_is_shorter_than_announced_and_the_work_is_done() {
    use std::io::{Read, Write};

    let (reply, notes) = note_under(Effect::CutBody);
    assert!(reply.is_err(), "{reply:?}");
    assert_eq!(notes, 1);

    let fixture = Fixture::new();
    fixture.sandbox.set_faults(once(Effect::CutBody)).unwrap();
    let mut socket = std::net::TcpStream::connect(fixture.sandbox.addr()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(socket, "GET /servicedesk/x HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).expect("the socket is closed, though the client would keep it");
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let announced = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    assert!(head.starts_with("HTTP/1.1 401"), "{head}");
    assert_eq!(body.len(), announced.parse::<usize>().unwrap() / 2);
    assert!(!body.is_empty());
}

#[test]
fn a_delay_comes_before_everything_else() {
    let fixture = Fixture::new();
    let slow = Fault { times: Some(1), delay_ms: 60, ..Fault::default() };
    fixture.sandbox.set_faults(vec![slow.clone()]).unwrap();
    let begin = Instant::now();
    assert_eq!(fixture.get("").status, 200);
    assert!(begin.elapsed() >= Duration::from_millis(60));
    let status = Effect::Status { status: 500, body: None, content_type: None };
    fixture.sandbox.set_faults(vec![Fault { effect: Some(status), ..slow }]).unwrap();
    let begin = Instant::now();
    assert_eq!(fixture.get("").status, 500);
    assert!(begin.elapsed() >= Duration::from_millis(60));
}

#[test]
fn faults_set_by_the_control_api_act_on_their_operation_for_their_times() {
    let fixture = Fixture::new();
    let faults = json!([
        { "tool": "servicedesk_plus", "operation": "get", "times": 3, "effect": { "kind": "status", "status": 500 } },
        { "tool": "servicedesk_plus_cloud", "effect": { "kind": "drop_before" } },
        { "operation": "list", "effect": { "kind": "rate_limited", "retry_after": "1" } },
    ]);
    let reply = fixture.control("PUT", "faults", &faults.to_string());
    assert_eq!((reply.status, reply.json().as_array().map(Vec::len)), (200, Some(3)), "{reply:?}");
    for expected in [500, 500, 500, 200] {
        assert_eq!(fixture.try_note("x").unwrap().status, 201);
        assert_eq!(fixture.get("").status, expected);
        assert_eq!(fixture.get("/notes").status, 429);
    }
    assert_eq!(fixture.control("GET", "faults", "").json().as_array().map(Vec::len), Some(2));
    let statuses: Vec<_> = fixture.sandbox.requests().into_iter().map(|r| (r.operation, r.status)).collect();
    assert_eq!(statuses[1], (Some(Operation::Get), Some(500)));

    for bad in [r#"[{"times":0}]"#, r#"[{"tool":"no_such"}]"#, r#"{"times":1}"#, "["] {
        assert_eq!(fixture.control("PUT", "faults", bad).status, 400, "{bad}");
    }
    let full = vec![Fault::default(); limits::FAULTS_MAX + 1];
    assert_eq!(fixture.control("PUT", "faults", &serde_json::to_string(&full).unwrap()).status, 409);
}

#[test]
fn what_arrived_is_shown_with_its_answer() {
    let fixture = Fixture::new();
    fixture.sandbox.set_faults(once(Effect::DropAfter)).unwrap();
    fixture.try_note("a b").unwrap_err();
    assert_eq!(fixture.send("PUT", "/elsewhere?x=%20", &[], b"hello").status, 404);
    let shown = fixture.control("GET", "requests", "").json();
    let [note, elsewhere] = &shown.as_array().unwrap()[..] else { panic!("{shown}") };
    assert_eq!(note["path"], format!("/servicedesk/api/v3/requests/{ID}/notes"));
    assert_eq!((&note["tool"], &note["operation"]), (&json!(TOOL.name()), &json!("note")));
    assert!(note["headers"].as_array().unwrap().contains(&json!(["authtoken", DEFAULT_TOKEN])));
    assert!(note["body"].as_str().unwrap().starts_with("input_data=%7B"));
    assert_eq!((&note["status"], &note["fault"]["effect"]["kind"]), (&Value::Null, &json!("drop_after")));
    assert_eq!((&elsewhere["path"], &elsewhere["body"]), (&json!("/elsewhere?x=%20"), &json!("hello")));
    assert_eq!((&elsewhere["status"], &elsewhere["tool"]), (&json!(404), &Value::Null));
    assert_eq!(fixture.control("GET", "requests?after=1", "").json().as_array().map(Vec::len), Some(1));
    assert_eq!(fixture.control("GET", "requests?after=x", "").status, 400);
    assert_eq!(fixture.control("POST", "reset", "").status, 200);
    assert_eq!(fixture.control("GET", "requests", "").json(), json!([]));
    assert!(fixture.sandbox.ticket(TOOL, ID).is_none());
}

#[test]
fn tickets_are_made_and_shown_by_the_control_api() {
    let fixture = Fixture::new();
    let check = |method, path: &str, body: &str, expected| {
        let reply = fixture.control(method, path, body);
        assert_eq!(reply.status, expected, "{method} {path} {body}: {reply:?}");
        reply.json()
    };
    let ticket = r#"{"subject":"s","priority":"Low","created_at":"2025-11-05T12:00:00Z"}"#;
    check("PUT", "tickets/servicedesk_plus/7", ticket, 201);
    check("PUT", "tickets/servicedesk_plus/7", "", 200);
    check("PUT", "tickets/servicedesk_plus/7", ticket, 200);
    let shown = check("GET", "tickets/servicedesk_plus/7", "", 200);
    assert_eq!((&shown["subject"], &shown["created_at"]), (&json!("s"), &json!("2025-11-05T12:00:00Z")));
    assert_eq!((&shown["status"], &shown["notes"]), (&json!("Open"), &json!([])));
    check("PUT", "tickets/servicedesk_plus/TKT-7", ticket, 400);
    check("PUT", "tickets/servicedesk_plus_cloud/7", ticket, 400);
    check("PUT", "tickets/servicedesk_plus/7", r#"{"subjekt":"s"}"#, 400);
    check("PUT", "tickets/no_such/7", ticket, 404);
    check("GET", "tickets/servicedesk_plus/8", "", 404);
    check("GET", "tickets/servicedesk_plus/7?x=1", "", 400);
    check("DELETE", "tickets/servicedesk_plus/7", "", 404);
    check("GET", "nothing", "", 404);
}

#[test]
fn a_long_poll_returns_with_the_note() {
    let fixture = Fixture::new();
    let path = |more: &str| format!("wait?tool=servicedesk_plus&ticket={ID}{more}");
    let late = fixture.control("GET", &path("&timeout_ms=0"), "");
    assert_eq!((late.status, &late.json()["ticket"]["notes"]), (408, &json!([])));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| fixture.control("GET", &path("&notes=2&timeout_ms=30000"), ""));
        fixture.try_note("a").unwrap();
        fixture.try_note("b").unwrap();
        assert_eq!(waiting.join().unwrap().json()["notes"][1]["body"], "b");
    });
    let minute = Duration::from_secs(60);
    assert_eq!(fixture.sandbox.wait_for_notes(TOOL, ID, 2, minute).unwrap().notes.len(), 2);
    assert!(fixture.sandbox.wait_for_notes(TOOL, ID, 3, Duration::ZERO).is_err());
    for bad in ["wait?tool=servicedesk_plus", &path("&notes=x"), &path("&timeout_ms=600001"), &path("&note=1")] {
        assert_eq!(fixture.control("GET", bad, "").status, 400, "{bad}");
    }
}

#[test]
fn a_body_is_taken_up_to_the_limit() {
    let fixture = Fixture::new();
    let send = |bytes: usize| fixture.send("POST", "/servicedesk/x", &[], &vec![b'x'; bytes]).status;
    assert_eq!(send(limits::REQUEST_BODY_BYTES_MAX), 401);
    assert_eq!(send(limits::REQUEST_BODY_BYTES_MAX + 1), 413);
}
