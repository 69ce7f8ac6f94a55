use serde_json::{Value, json};

use crate::{
    client::{Fixture, Reply},
    fault::{Effect, Fault},
    server::DEFAULT_TOKEN,
    state::{TicketFields, limits},
    tools::Tool,
    webhook::{Event, Form, Webhook},
};

const ID: &str = "4f1c0e9a2b7d4c55a1e8300d9b6c7f21";
const TABLE: &str = "/servicenow/api/now/table/incident";
const RECORD: &str = "/servicenow/api/now/table/incident/4f1c0e9a2b7d4c55a1e8300d9b6c7f21";
/// patchbay:sandbox-token
const BASIC: (&str, &str) = ("authorization", "Basic cGF0Y2hiYXk6c2FuZGJveC10b2tlbg==");
const JSON: (&str, &str) = ("accept", "application/json");
const JSON_BODY: (&str, &str) = ("content-type", "application/json");

fn fixture() -> Fixture {
    let fixture = Fixture::new();
    fixture.sandbox.put_ticket(Tool::ServiceNow, ID, TicketFields::default()).unwrap();
    fixture
}

#[track_caller]
fn get(fixture: &Fixture, path: &str) -> Value {
    let reply = fixture.send("GET", path, &[BASIC, JSON], b"");
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()["result"].clone()
}

fn patch(fixture: &Fixture, query: &str, body: &str) -> Reply {
    fixture.send("PATCH", &format!("{RECORD}{query}"), &[BASIC, JSON, JSON_BODY], body.as_bytes())
}

#[track_caller]
fn refused(reply: &Reply, http: u16, message: &str) {
    let answer = reply.json();
    assert_eq!((reply.status, &answer["status"]), (http, &json!("failure")), "{reply:?}");
    assert!(answer["error"]["message"].as_str().is_some_and(|found| found.contains(message)), "{reply:?}");
}

#[test]
fn a_record_is_shown_as_it_is_asked_for() {
    let fixture = fixture();
    let stored = get(&fixture, RECORD);
    assert_eq!((&stored["sys_id"], &stored["priority"], &stored["state"]), (&json!(ID), &json!("2"), &json!("1")));
    assert_eq!(stored["caller_id"]["value"], "62826bf03710200044e0bfc8bcbe5df1");
    assert!(stored["caller_id"]["link"].as_str().unwrap().ends_with("/sys_user/62826bf03710200044e0bfc8bcbe5df1"));
    assert_eq!((&stored["assigned_to"], &stored["resolved_at"]), (&json!(""), &json!("")));
    assert!(stored.as_object().unwrap().values().all(|value| value.is_string() || value.is_object()));

    let shown = get(&fixture, &format!("{RECORD}?sysparm_display_value=true&sysparm_exclude_reference_link=true"));
    assert_eq!((&shown["caller_id"], &shown["priority"]), (&json!("Dana Smith"), &json!("2 - High")));
    assert_ne!(shown["sys_created_on"], stored["sys_created_on"]);

    let both = get(&fixture, &format!("{RECORD}?sysparm_display_value=all&sysparm_exclude_reference_link=true"));
    assert_eq!(both["state"], json!({ "display_value": "New", "value": "1" }));
    assert_eq!(both["sys_created_on"]["value"], stored["sys_created_on"]);

    let few = get(&fixture, &format!("{RECORD}?sysparm_fields=number,state,nonsense"));
    assert_eq!(few.as_object().unwrap().keys().collect::<Vec<_>>(), ["number", "state"]);
}

#[test]
fn a_record_is_found_by_its_number() {
    let fixture = fixture();
    fixture.sandbox.put_ticket(Tool::ServiceNow, &ID.replace('4', "5"), TicketFields::default()).unwrap();
    let number = get(&fixture, RECORD)["number"].as_str().unwrap().to_owned();
    let found = |query: &str| get(&fixture, &format!("{TABLE}?{query}"));
    assert_eq!(found(&format!("sysparm_query=number%3D{number}"))[0]["sys_id"], ID);
    assert_eq!(found("sysparm_query=number%3DINC9999999"), json!([]));
    let all = found("sysparm_query=nonsense%3D1").as_array().unwrap().len();
    assert_eq!(all, 2, "a condition that is not known is left out");
    assert_eq!(found("sysparm_query=nonsense%3D1&sysparm_limit=1").as_array().unwrap().len(), 1);
}

#[test]
fn notes_are_written_to_journals_and_read_as_display_values() {
    let fixture = fixture();
    for (body, expected) in [
        (json!({ "work_notes": "first", "nonsense": 1 }), vec![("first", true)]),
        (json!({ "comments": "seen by all" }), vec![("first", true), ("seen by all", false)]),
        (json!({ "work_notes": "", "short_description": "x" }), vec![("first", true), ("seen by all", false)]),
    ] {
        let reply = patch(&fixture, "", &body.to_string());
        assert_eq!((reply.status, &reply.json()["result"]["work_notes"]), (200, &json!("")), "{reply:?}");
        let ticket = fixture.sandbox.ticket(Tool::ServiceNow, ID).unwrap();
        let notes: Vec<_> = ticket.notes.iter().map(|note| (note.body.as_str(), note.internal)).collect();
        assert_eq!(notes, expected);
    }
    let shown = patch(&fixture, "?sysparm_fields=work_notes&sysparm_display_value=true", r#"{"work_notes":"second"}"#);
    let journal = shown.json()["result"]["work_notes"].as_str().unwrap().to_owned();
    assert!(journal.find("second") < journal.find("first") && !journal.contains("seen by all"), "{journal}");
    assert!(journal.contains(" - Patchbay (Work notes)\nsecond\n\n"), "{journal}");
}

#[test]
fn headers_are_checked() {
    let fixture = fixture();
    let token = format!("Bearer {DEFAULT_TOKEN}");
    assert_eq!(fixture.send("GET", RECORD, &[("authorization", &token), JSON], b"").status, 200);
    for headers in [
        &[JSON][..],
        &[JSON, ("authorization", "Basic cGF0Y2hiYXk6d3Jvbmc=")],
        &[JSON, ("authorization", "Basic YWRtaW46c2FuZGJveC10b2tlbg==")],
        &[JSON, ("authorization", "Bearer wrong")],
        &[JSON, ("authtoken", DEFAULT_TOKEN)],
        &[JSON, BASIC, BASIC],
    ] {
        refused(&fixture.send("GET", RECORD, headers, b""), 401, "User Not Authenticated");
    }
    refused(&fixture.send("GET", RECORD, &[BASIC, ("accept", "application/xml")], b""), 406, "application/json");
    let form = ("content-type", "application/x-www-form-urlencoded");
    let posted = fixture.send("PATCH", RECORD, &[BASIC, JSON, form], b"work_notes=x");
    refused(&posted, 415, "Unsupported content-type");
}

#[test]
fn paths_methods_and_parameters_are_exact() {
    let fixture = fixture();
    for (method, path, http, message) in [
        ("GET", format!("{TABLE}/INC0010001"), 404, "No Record found"),
        ("GET", format!("{TABLE}/{}", ID.replace('4', "5")), 404, "No Record found"),
        ("PATCH", format!("{TABLE}/{}", ID.replace('4', "5")), 404, "No Record found"),
        ("GET", "/servicenow/api/now/table/incidents/1".to_owned(), 400, "Invalid table incidents"),
        ("GET", "/servicenow/api/now/incident".to_owned(), 400, "does not represent any resource"),
        ("GET", format!("{RECORD}/work_notes"), 400, "does not represent any resource"),
        ("GET", format!("{TABLE}/"), 400, "does not represent any resource"),
        ("POST", RECORD.to_owned(), 405, "not supported"),
        ("PATCH", TABLE.to_owned(), 405, "not supported"),
        ("GET", format!("{RECORD}?sysparm_displayvalue=all"), 400, "is unknown"),
        ("GET", format!("{RECORD}?sysparm_query=x"), 400, "is unknown"),
        ("GET", format!("{RECORD}?sysparm_display_value=yes"), 400, "cannot be"),
        ("GET", format!("{TABLE}?sysparm_limit=many"), 400, "cannot be"),
    ] {
        let body: &[u8] = if method == "GET" { b"" } else { b"{}" };
        refused(&fixture.send(method, &path, &[BASIC, JSON, JSON_BODY], body), http, message);
    }
    for body in ["", "[]", "{", "work_notes=x"] {
        refused(&patch(&fixture, "", body), 400, "Exception while reading request");
    }
}

#[test]
fn faults_speak_the_vendors_words() {
    let fixture = fixture();
    for (status, message) in [
        (401, "User Not Authenticated"),
        (403, "Operation Failed"),
        (404, "No Record found"),
        (500, "Internal Server Error"),
        (503, "Service Unavailable"),
    ] {
        let effect = Effect::Status { status, body: None, content_type: None };
        fixture.sandbox.set_faults(vec![Fault { effect: Some(effect), ..Fault::default() }]).unwrap();
        refused(&fixture.send("GET", RECORD, &[BASIC, JSON], b""), status, message);
    }
    let limited = Fault { effect: Some(Effect::RateLimited { retry_after: Some("7".to_owned()) }), ..Fault::default() };
    fixture.sandbox.set_faults(vec![limited]).unwrap();
    let reply = fixture.send("GET", RECORD, &[BASIC, JSON], b"");
    refused(&reply, 429, "Rate limit exceeded");
    assert_eq!(reply.retry_after.as_deref(), Some("7"));
}

#[test]
fn a_full_record_is_the_tools_own_trouble() {
    let fixture = fixture();
    for _ in 0..limits::NOTES_PER_TICKET_MAX {
        assert_eq!(patch(&fixture, "", r#"{"work_notes":"x"}"#).status, 200);
    }
    refused(&patch(&fixture, "", r#"{"work_notes":"x"}"#), 500, "Internal Server Error");
}

#[test]
fn ids_are_sys_ids() {
    for (id, taken) in [(ID, true), (&ID[1..], false), ("INC0010001", false), (&ID.to_uppercase(), false), ("", false)]
    {
        assert_eq!(Tool::ServiceNow.broken_id_rule(id).is_none(), taken, "{id}");
    }
}

#[test]
fn every_form_of_webhook_names_record_and_event() {
    for event in [Event::Created, Event::Updated, Event::Resolved] {
        for (form, id, word, closing) in [
            (Form::Flat, "/sys_id", "/event", "/close_notes"),
            (Form::Request, "/record/sys_id/value", "/event", "/record/close_notes/value"),
            (Form::Event, "/data/sysId", "/action", "/data/closeNotes"),
        ] {
            let webhook = Webhook { tool: Tool::ServiceNow, form, ..Webhook::new("acme", event, ID) };
            let body: Value = serde_json::from_slice(&Tool::ServiceNow.webhook_body(&webhook)).unwrap();
            let at = |pointer| body.pointer(pointer).and_then(Value::as_str).unwrap();
            assert_eq!((at(id), at(word)), (ID, event.name()), "{body}");
            assert_eq!(at(closing).is_empty(), event != Event::Resolved, "{body}");
        }
    }
}
