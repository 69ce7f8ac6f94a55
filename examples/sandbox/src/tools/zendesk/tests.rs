use serde_json::{Value, json};
use time::macros::datetime;

use crate::{
    client::{Fixture, ID, Reply},
    fault::{Effect, Fault},
    state::TicketFields,
    tools::Tool,
    webhook::{Event, Form, Scheme, Webhook, proof, signed},
};

const TICKET: &str = "/zendesk/api/v2/tickets/123640000000000101";
const COMMENTS: &str = "/zendesk/api/v2/tickets/123640000000000101/comments";
const BEARER: (&str, &str) = ("authorization", "Bearer sandbox-token");
const JSON: (&str, &str) = ("accept", "application/json");
const BODY: (&str, &str) = ("content-type", "application/json; charset=utf-8");

fn get(fixture: &Fixture, path: &str) -> Reply {
    fixture.send("GET", path, &[BEARER, JSON], b"")
}

fn put(fixture: &Fixture, body: &str) -> Reply {
    fixture.send("PUT", TICKET, &[BEARER, JSON, BODY], body.as_bytes())
}

fn note(comment: Value) -> String {
    json!({ "ticket": { "comment": comment } }).to_string()
}

#[test]
fn a_ticket_has_the_vendors_shape() {
    let fixture = Fixture::new();
    for path in [TICKET.to_owned(), format!("{TICKET}.json"), format!("{TICKET}?include=users,metric_sets")] {
        let reply = get(&fixture, &path);
        assert_eq!(reply.status, 200, "{path}");
        let answer = reply.json();
        let ticket = &answer["ticket"];
        assert_eq!((&ticket["id"], &ticket["status"]), (&json!(123_640_000_000_000_101_u64), &json!("open")));
        assert_eq!((&ticket["priority"], &ticket["requester_id"]), (&json!("high"), &json!(9_120_044)));
        let loaded = path.contains("include");
        assert_eq!((answer["users"].is_array(), ticket["metric_set"].is_object()), (loaded, loaded), "{path}");
    }
    assert_eq!(get(&fixture, &format!("{TICKET}?include=users")).json()["users"][1]["name"], "Dana Smith");
}

#[test]
fn only_the_credential_in_its_two_forms_is_taken() {
    let fixture = Fixture::new();
    // ada@acme.example/token:sandbox-token, …:other, ada@acme.example:sandbox-token, ada/token:sandbox-token
    for (authorization, expected) in [
        ("Bearer sandbox-token", 200),
        ("Basic YWRhQGFjbWUuZXhhbXBsZS90b2tlbjpzYW5kYm94LXRva2Vu", 200),
        ("Basic YWRhQGFjbWUuZXhhbXBsZS90b2tlbjpvdGhlcg==", 401),
        ("Basic YWRhQGFjbWUuZXhhbXBsZTpzYW5kYm94LXRva2Vu", 401),
        ("Basic YWRhL3Rva2VuOnNhbmRib3gtdG9rZW4=", 401),
        ("Bearer other", 401),
        ("Basic !", 401),
        ("sandbox-token", 401),
    ] {
        let reply = fixture.send("GET", TICKET, &[("authorization", authorization), JSON], b"");
        assert_eq!(reply.status, expected, "{authorization}");
        assert!(expected == 200 || reply.json()["error"] == "Couldn't authenticate you");
    }
    assert_eq!(fixture.send("GET", TICKET, &[JSON], b"").status, 401);
    assert_eq!(fixture.send("GET", TICKET, &[BEARER, ("accept", "text/html")], b"").status, 406);
}

#[test]
fn paths_methods_and_parameters_are_exact() {
    let fixture = Fixture::new();
    let check = |method, path: &str, expected| {
        let reply = fixture.send(method, path, &[BEARER, JSON, BODY], b"");
        assert_eq!(reply.status, expected, "{method} {path}: {reply:?}");
    };
    check("GET", "/zendesk/api/v2/tickets/7", 404);
    check("GET", "/zendesk/api/v2/tickets/recent", 400);
    check("GET", "/zendesk/api/v2/tickets/", 400);
    check("GET", "/zendesk/api/v2/tickets/7/comments", 404);
    check("GET", "/zendesk/api/v2/ticket/7", 404);
    check("GET", &format!("{TICKET}/notes"), 404);
    check("GET", &format!("{TICKET}?include=everything"), 400);
    check("GET", &format!("{TICKET}?with=users"), 400);
    check("POST", COMMENTS, 404);
    check("POST", TICKET, 404);
    check("GET", &format!("{COMMENTS}?page[size]=101"), 400);
    check("GET", &format!("{COMMENTS}?page[size]=0"), 400);
    check("GET", &format!("{COMMENTS}?sort=id"), 400);
    check("GET", &format!("{COMMENTS}?page=1"), 400);
    let missing = get(&fixture, "/zendesk/api/v2/tickets/7").json();
    assert_eq!(missing, json!({ "error": "RecordNotFound", "description": "Not found" }));
}

#[test]
fn a_comment_comes_with_an_update_and_is_public_unless_it_says() {
    let fixture = Fixture::new();
    for (comment, stored, internal) in [
        (json!({ "html_body": "<p>a &amp; b</p>", "public": false }), "<p>a &amp; b</p>", true),
        (json!({ "html_body": "<p>c</p>", "public": true }), "<p>c</p>", false),
        (json!({ "html_body": "<p>d</p>" }), "<p>d</p>", false),
        (json!({ "body": "1 < 2", "public": false }), "<p dir=\"auto\">1 &lt; 2</p>", true),
    ] {
        let reply = put(&fixture, &note(comment));
        assert_eq!(reply.status, 200, "{reply:?}");
        let event = &reply.json()["audit"]["events"][0];
        assert_eq!((&event["type"], &event["public"]), (&json!("Comment"), &json!(!internal)));
        let ticket = fixture.sandbox.ticket(Tool::Zendesk, ID).unwrap();
        let kept = ticket.notes.last().unwrap();
        assert_eq!((kept.body.as_str(), kept.internal), (stored, internal));
    }
}

#[test]
fn an_update_of_another_shape_is_refused() {
    let fixture = Fixture::new();
    let check = |body: &str, field: &str| {
        let reply = put(&fixture, body);
        assert_eq!((reply.status, &reply.json()["error"]), (422, &json!("RecordInvalid")), "{body}");
        assert!(reply.json()["details"][field][0]["description"].is_string(), "{body}: {reply:?}");
    };
    check("{}", "base");
    check(r#"{"comment":{"body":"x"}}"#, "base");
    check(r#"{"ticket":{"comment":{"Body":"x"}}}"#, "base");
    check(r#"{"ticket":{"comment":{"body":"x","public":"false"}}}"#, "base");
    check(r#"{"ticket":{"comment":{"body":"x"},"note":1}}"#, "base");
    check(&note(json!({ "public": false })), "comment");
    check(&note(json!({ "html_body": " " })), "comment");
    check(&note(json!({ "html_body": "x", "body": "x" })), "comment");
    check(&note(json!({ "html_body": "x".repeat(65_537) })), "comment");
    assert_eq!(put(&fixture, &note(json!({ "html_body": "x".repeat(65_536) }))).status, 200);
    assert_eq!(put(&fixture, "{").json()["error"], "Unprocessable Entity");
    let form = [BEARER, JSON, ("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(fixture.send("PUT", TICKET, &form, b"{}").status, 415);

    let closed = TicketFields { status: "Closed".to_owned(), ..TicketFields::default() };
    fixture.sandbox.put_ticket(Tool::Zendesk, ID, closed).unwrap();
    check(&note(json!({ "html_body": "x" })), "status");
}

#[test]
fn comments_are_listed_in_either_order() {
    let fixture = Fixture::new();
    let solved = TicketFields {
        status: "Resolved".to_owned(),
        created_at: datetime!(2026-03-02 09:15 UTC),
        resolved_at: Some(datetime!(2026-03-03 16:40 UTC)),
        resolution: Some("Replaced <it>.".to_owned()),
        ..TicketFields::default()
    };
    fixture.sandbox.put_ticket(Tool::Zendesk, ID, solved).unwrap();
    assert_eq!(put(&fixture, &note(json!({ "html_body": "<b>n</b>", "public": false }))).status, 200);
    let comments = |query: &str| get(&fixture, &format!("{COMMENTS}{query}")).json();
    let texts = |list: &Value| -> Vec<String> {
        let comments = list["comments"].as_array().unwrap();
        comments.iter().map(|comment| comment["plain_body"].as_str().unwrap().to_owned()).collect()
    };
    let oldest_first = comments("");
    assert_eq!(texts(&oldest_first)[1..], ["Replaced <it>.", "n"]);
    assert_eq!(oldest_first["comments"][1]["public"], true);
    let newest = comments("?sort=-created_at&page[size]=1");
    assert_eq!((texts(&newest), &newest["meta"]["has_more"]), (vec!["n".to_owned()], &json!(true)));
    assert_eq!(newest["comments"][0]["public"], false);
    let shown = get(&fixture, &format!("{TICKET}?include=metric_sets")).json();
    assert_eq!(shown["ticket"]["metric_set"]["solved_at"], "2026-03-03T16:40:00Z");
    assert_eq!(shown["ticket"]["status"], "solved");
}

#[test]
fn failures_are_the_vendors_own() {
    let fixture = Fixture::new();
    for (status, json) in [(400, true), (403, true), (404, true), (409, true), (422, true), (429, false), (503, false)]
    {
        let effect = Effect::Status { status, body: None, content_type: None };
        let fault = Fault { times: Some(1), effect: Some(effect), ..Fault::default() };
        fixture.sandbox.set_faults(vec![fault]).unwrap();
        let reply = get(&fixture, TICKET);
        assert_eq!((reply.status, reply.content_type.starts_with("application/json")), (status, json));
    }
}

fn body(form: Form, event: Event) -> Value {
    let mut webhook = Webhook { tool: Tool::Zendesk, form, ..Webhook::new("acme", event, "101") };
    webhook.ticket.created_at = datetime!(2025-11-05 12:00:07 UTC);
    serde_json::from_slice(&signed(&webhook, Scheme::StaticToken, "s").unwrap().body).unwrap()
}

#[test]
fn events_come_in_their_envelope() {
    for (event, kind) in
        [(Event::Created, "created"), (Event::Updated, "priority_changed"), (Event::Resolved, "status_changed")]
    {
        let body = body(Form::Event, event);
        assert_eq!(body["type"], format!("zen:event-type:ticket.{kind}"));
        assert_eq!((&body["detail"]["id"], &body["subject"]), (&json!("101"), &json!("zen:ticket:101")));
        assert_eq!((&body["detail"]["priority"], body["id"].as_str().map(str::len)), (&json!("HIGH"), Some(36)));
    }
    assert_eq!(body(Form::Event, Event::Created)["time"], "2025-11-05T12:00:07.67271703Z");
    assert_eq!(body(Form::Event, Event::Created)["id"], body(Form::Event, Event::Created)["id"]);
    assert_eq!(body(Form::Event, Event::Resolved)["event"], json!({ "current": "SOLVED", "previous": "OPEN" }));
}

#[test]
fn triggers_say_what_their_template_says() {
    let created = body(Form::Flat, Event::Created);
    for (field, expected) in [
        ("tenant_id", "acme"),
        ("ticket_id", "101"),
        ("event", "created"),
        ("priority", "High"),
        ("created_at", "2025-11-05T12:00Z"),
    ] {
        assert_eq!(created[field], expected, "{field}");
    }
    assert!(created.get("resolution").is_none());
    assert!(body(Form::Flat, Event::Resolved)["resolution"].is_string());
}

#[test]
fn the_time_stamp_is_signed_in_front_of_the_body() {
    let webhook = Webhook { tool: Tool::Zendesk, ..Webhook::new("acme", Event::Created, "101") };
    let request = signed(&webhook, Scheme::ZendeskSignature, "s").unwrap();
    let [_, (name, sent_at), proved] = &request.headers[..] else { panic!("{:?}", request.headers) };
    assert_eq!(*name, "x-zendesk-webhook-signature-timestamp");
    let together = [sent_at.as_bytes(), &request.body].concat();
    assert_eq!(*proved, proof(Scheme::ZendeskSignature, "s", &together).unwrap());
}
