use serde_json::{Value, json};

use crate::{
    client::{Fixture, ID, Reply},
    state::{TicketFields, limits},
    tools::Tool,
    webhook::{Event, Form, Webhook},
};

const TICKET: &str = "/freshservice/api/v2/tickets/123640000000000101";
/// `sandbox-token:X`
const KEY: (&str, &str) = ("authorization", "Basic c2FuZGJveC10b2tlbjpY");
const JSON: (&str, &str) = ("content-type", "application/json");

fn get(fixture: &Fixture, rest: &str) -> Reply {
    fixture.send("GET", &format!("{TICKET}{rest}"), &[KEY], b"")
}

fn post(fixture: &Fixture, body: &str) -> Reply {
    fixture.send("POST", &format!("{TICKET}/notes"), &[KEY, JSON], body.as_bytes())
}

fn header<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
    reply.headers.get(name)?.to_str().ok()
}

/// The faults of a refused request, as `field code`.
#[track_caller]
fn faults(reply: &Reply) -> Vec<String> {
    assert_eq!((reply.status, &reply.json()["description"]), (400, &json!("Validation failed")), "{reply:?}");
    let errors = reply.json()["errors"].as_array().cloned().unwrap_or_default();
    errors.iter().map(|error| format!("{} {}", error["field"], error["code"]).replace('"', "")).collect()
}

#[test]
fn a_ticket_has_the_vendors_shape() {
    let fixture = Fixture::new();
    let reply = get(&fixture, "");
    let ticket = &reply.json()["ticket"];
    assert_eq!(reply.status, 200);
    assert_eq!(ticket["id"], json!(123_640_000_000_000_101_u64), "a number");
    assert_eq!((&ticket["status"], &ticket["priority"]), (&json!(2), &json!(3)));
    let created_at = ticket["created_at"].as_str().unwrap();
    assert!(created_at.len() == "2023-01-04T14:22:43Z".len() && created_at.ends_with('Z'), "{created_at}");
    assert_eq!((&ticket["requester"], &ticket["stats"]), (&Value::Null, &Value::Null));
    assert_eq!(header(&reply, "x-ratelimit-used-currentrequest"), Some("1"));
    assert_eq!(header(&reply, "x-ratelimit-remaining"), Some("499"));

    let resolved = TicketFields {
        status: "Resolved".to_owned(),
        resolution: Some("New <b>pad</b>.".to_owned()),
        resolved_at: Some(TicketFields::default().created_at),
        ..TicketFields::default()
    };
    fixture.sandbox.put_ticket(Tool::Freshservice, ID, resolved).unwrap();
    let reply = get(&fixture, "?include=requester%2Cstats");
    let ticket = &reply.json()["ticket"];
    assert_eq!((&ticket["status"], &ticket["resolution_notes"]), (&json!(4), &json!("New pad.")));
    assert_eq!(ticket["requester"]["name"], "Dana Smith");
    assert!(ticket["stats"]["resolved_at"].is_string() && ticket["stats"]["closed_at"].is_null());
    assert_eq!(header(&reply, "x-ratelimit-used-currentrequest"), Some("3"));
}

/// The field names of a real answer (a get response kept by a public integration).
#[test]
fn a_ticket_has_every_field_of_a_real_answer() {
    const REAL: &str = "subject group_id department_id category sub_category item_category requester_id responder_id \
        due_by fr_escalated deleted spam email_config_id fwd_emails reply_cc_emails cc_emails is_escalated fr_due_by id \
        priority status source created_at updated_at requested_for_id to_emails type description description_text \
        custom_fields workspace_id";
    let ticket = get(&Fixture::new(), "").json()["ticket"].clone();
    for name in REAL.split_whitespace() {
        assert!(ticket.get(name).is_some(), "{name}");
    }
}

#[test]
fn credentials_are_the_key_in_the_users_place_or_a_token() {
    let fixture = Fixture::new();
    let check = |headers: &[(&str, &str)], expected: u16| {
        let reply = fixture.send("GET", TICKET, headers, b"");
        assert_eq!(reply.status, expected, "{headers:?}");
        assert!(expected == 200 || reply.json()["code"] == "invalid_credentials", "{reply:?}");
    };
    check(&[KEY], 200);
    check(&[("authorization", "Bearer sandbox-token")], 200);
    check(&[("authorization", "Basic c2FuZGJveC10b2tlbjo=")], 200); // sandbox-token:
    check(&[("authorization", "Basic c2FuZGJveC10b2tlbg==")], 401); // sandbox-token
    check(&[("authorization", "Basic WDpzYW5kYm94LXRva2Vu")], 401); // X:sandbox-token
    check(&[("authorization", "Basic sandbox-token:X")], 401);
    check(&[("authorization", "sandbox-token")], 401);
    check(&[("authtoken", "sandbox-token")], 401);
    check(&[KEY, KEY], 401);
    check(&[], 401);
}

#[test]
fn paths_methods_and_parameters_are_exact() {
    let fixture = Fixture::new();
    for (method, path, expected) in [
        ("GET", "/freshservice/api/v2/tickets/7", 404),
        ("GET", "/freshservice/api/v2/tickets/INC-7", 404),
        ("GET", "/freshservice/api/v2/tickets/", 404),
        ("GET", "/freshservice/api/v1/tickets/123640000000000101", 404),
        ("GET", "/freshservice/helpdesk/tickets/123640000000000101.json", 404),
        ("GET", &format!("{TICKET}/"), 404),
        ("GET", &format!("{TICKET}/notes/"), 404),
        ("POST", "/freshservice/api/v2/tickets/7/notes", 404),
        ("POST", TICKET, 405),
        ("GET", &format!("{TICKET}/notes"), 405),
        ("POST", &format!("{TICKET}/conversations"), 405),
    ] {
        let reply = fixture.send(method, path, &[KEY, JSON], b"");
        assert_eq!(reply.status, expected, "{method} {path}");
        assert_eq!(reply.text.is_empty(), expected == 404, "{reply:?}");
    }
    assert_eq!(faults(&get(&fixture, "?include=notes")), ["include invalid_value"]);
    assert_eq!(faults(&get(&fixture, "?expand=stats")), ["expand invalid_field"]);
    let check = |id: &str, taken: bool| assert_eq!(super::broken_id_rule(id).is_none(), taken, "{id}");
    check("7", true);
    check(&"9".repeat(18), true);
    check(&"9".repeat(19), false);
    for id in ["", "0", "07", "INC-7", "-7"] {
        check(id, false);
    }
}

#[test]
fn a_note_is_taken_whole_or_refused_with_every_fault() {
    let fixture = Fixture::new();
    for (body, expected) in [
        ("{}", &["body missing_field"][..]),
        (r#"{"body":" "}"#, &["body invalid_value"]),
        (r#"{"body":null,"private":"true"}"#, &["body datatype_mismatch", "private datatype_mismatch"]),
        (r#"{"body":"x","public":false}"#, &["public invalid_field"]),
        (r#"{"body":"x","private":null}"#, &["private datatype_mismatch"]),
        (r#"{"note":{"body":"x"}}"#, &["note invalid_field", "body missing_field"]),
    ] {
        let mut found = faults(&post(&fixture, body));
        found.sort_unstable();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(found, expected, "{body}");
    }
    for body in ["", "x", "[]", "7"] {
        assert_eq!(post(&fixture, body).json()["code"], "invalid_json", "{body}");
    }
    let path = format!("{TICKET}/notes");
    let form = fixture.send("POST", &path, &[KEY, ("content-type", "application/x-www-form-urlencoded")], b"body=x");
    assert_eq!(form.status, 415);
    assert!(fixture.sandbox.ticket(Tool::Freshservice, ID).unwrap().notes.is_empty());

    for (body, private) in [(r#"{"body":"<p>a</p>"}"#, true), (r#"{"body":"b","private":false}"#, false)] {
        let reply = post(&fixture, body);
        let shown = reply.json()["conversation"].clone();
        assert_eq!((reply.status, &shown["private"]), (201, &json!(private)), "{reply:?}");
        assert_eq!(shown["ticket_id"], json!(123_640_000_000_000_101_u64));
    }
    let notes = fixture.sandbox.ticket(Tool::Freshservice, ID).unwrap().notes;
    assert_eq!(notes.iter().map(|note| note.internal).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn conversations_come_in_pages() {
    let fixture = Fixture::new();
    for number in 1..=31 {
        assert_eq!(post(&fixture, &json!({ "body": format!("<p>{number}</p>") }).to_string()).status, 201);
    }
    let check = |query: &str, first: Option<&str>, length: usize, more: bool| {
        let reply = get(&fixture, &format!("/conversations{query}"));
        let list = reply.json()["conversations"].as_array().cloned().unwrap();
        let bodies: Vec<_> = list.iter().filter_map(|one| one["body_text"].as_str()).collect();
        assert_eq!((bodies.first().copied(), bodies.len()), (first, length), "{query}");
        assert_eq!(header(&reply, "link").is_some_and(|link| link.ends_with("rel=\"next\"")), more, "{query}");
    };
    check("", Some("1"), 30, true);
    check("?page=2", Some("31"), 1, false);
    check("?page=3", None, 0, false);
    check("?per_page=100", Some("1"), 31, false);
    check("?per_page=10&page=3", Some("21"), 10, true);
    check(&format!("?page={}", usize::MAX), None, 0, false);
    for (query, field) in
        [("page=0", "page"), ("page=x", "page"), ("per_page=101", "per_page"), ("per_page=0", "per_page")]
    {
        assert_eq!(faults(&get(&fixture, &format!("/conversations?{query}"))), [format!("{field} invalid_value")]);
    }
    assert_eq!(faults(&get(&fixture, "/conversations?limit=1")), ["limit invalid_field"]);
}

#[test]
fn a_full_ticket_is_the_tools_own_trouble() {
    let fixture = Fixture::new();
    for _ in 0..limits::NOTES_PER_TICKET_MAX {
        assert_eq!(post(&fixture, r#"{"body":"x"}"#).status, 201);
    }
    assert_eq!(post(&fixture, r#"{"body":"x"}"#).status, 500);
}

#[test]
fn ordered_failures_are_in_the_vendors_words() {
    for (status, key, value) in [
        (400, "description", "Validation failed"),
        (401, "code", "invalid_credentials"),
        (403, "code", "access_denied"),
        (503, "code", "internal_error"),
    ] {
        let fixture = Fixture::new();
        let fault = json!([{ "tool": "freshservice", "effect": { "kind": "status", "status": status } }]);
        assert_eq!(fixture.control("PUT", "faults", &fault.to_string()).status, 200);
        let reply = get(&fixture, "");
        assert_eq!((reply.status, &reply.json()[key]), (status, &json!(value)));
    }
}

#[test]
fn webhooks_are_the_templates_of_an_administrator() {
    let body = |form, event| -> Value {
        let mut webhook = Webhook::new("acme", event, "101");
        (webhook.tool, webhook.form) = (Tool::Freshservice, form);
        serde_json::from_slice(&webhook.tool.webhook_body(&webhook)).unwrap()
    };
    assert_eq!(body(Form::Request, Event::Updated), json!({ "ticket_id": "101", "event": "updated" }));
    let created = body(Form::Flat, Event::Created);
    assert_eq!((&created["ticket_id"], &created["event"]), (&json!("INC-101"), &json!("created")));
    assert_eq!((&created["resolution"], &created["resolved_at"]), (&json!(""), &json!("")));
    let resolved = body(Form::Flat, Event::Resolved);
    assert_eq!((&resolved["status"], &resolved["event"]), (&json!("Resolved"), &json!("resolved")));
    assert_eq!(resolved["resolved_at"], resolved["updated_at"]);
}
