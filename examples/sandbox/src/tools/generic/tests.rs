use serde_json::json;

use crate::{
    client::{Fixture, ID, Reply},
    tools::Tool,
    webhook::{Event, Webhook},
};

const TICKET: &str = "/generic/api/tickets/123640000000000101";
const TOKEN: (&str, &str) = ("authorization", "Bearer sandbox-token");
const JSON: (&str, &str) = ("content-type", "application/json");

fn post(fixture: &Fixture, body: &str) -> Reply {
    fixture.send("POST", &format!("{TICKET}/notes"), &[TOKEN, JSON], body.as_bytes())
}

#[test]
fn a_note_is_posted_and_listed() {
    let fixture = Fixture::new();
    assert_eq!(fixture.send("GET", TICKET, &[TOKEN], b"").json()["id"], ID);
    let posted = post(&fixture, r#"{"html":"<p>x</p>","internal":true}"#);
    assert_eq!((posted.status, &posted.json()["note"]["html"]), (201, &json!("<p>x</p>")));
    let listed = fixture.send("GET", &format!("{TICKET}/notes"), &[TOKEN], b"");
    assert_eq!(listed.json()["notes"], json!([posted.json()["note"]]));
    let notes = fixture.sandbox.ticket(Tool::Generic, ID).unwrap().notes;
    assert_eq!(notes.iter().map(|note| note.internal).collect::<Vec<_>>(), [true]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let fixture = Fixture::new();
    for (path, headers, status) in [
        (TICKET, &[][..], 401),
        (TICKET, &[("authorization", "Bearer other")], 401),
        ("/generic/api/tickets/8", &[TOKEN], 404),
        ("/generic/api/tickets/8/comments", &[TOKEN], 404),
        ("/generic/api", &[TOKEN], 404),
    ] {
        let reply = fixture.send("GET", path, headers, b"");
        assert_eq!(reply.status, status, "{path}");
        assert!(reply.json()["error"].is_string(), "{reply:?}");
    }
    for body in
        ["", "[]", r#"{"html":"x"}"#, r#"{"html":" ","internal":true}"#, r#"{"html":"x","internal":true,"a":1}"#]
    {
        assert_eq!(post(&fixture, body).status, 422, "{body}");
    }
}

#[test]
fn a_webhook_shows_the_ticket_as_the_api_does() {
    let webhook = Webhook { tool: Tool::Generic, ..Webhook::new("acme", Event::Resolved, "7") };
    let body: serde_json::Value = serde_json::from_slice(&Tool::Generic.webhook_body(&webhook)).unwrap();
    assert_eq!((&body["event"], &body["ticket"]["id"]), (&json!("ticket.resolved"), &json!("7")));
    assert_eq!(body["ticket"]["status"], "resolved");
    assert!(body["ticket"]["resolution"].is_string() && body["at"] == body["ticket"]["resolved_at"], "{body:#}");
}
