use serde_json::{Value, json};

use crate::{
    client::{Fixture, ID, Reply},
    fault::{Effect, Fault},
    state::{TicketFields, limits},
    tools::Tool,
    webhook::{Event, Form, Scheme, Webhook, signed},
};

/// `bot@acme.example:sandbox-token`
const BASIC: (&str, &str) = ("authorization", "Basic Ym90QGFjbWUuZXhhbXBsZTpzYW5kYm94LXRva2Vu");
const BEARER: (&str, &str) = ("authorization", "Bearer sandbox-token");
const JSON: (&str, &str) = ("content-type", "application/json");

fn issue(rest: &str) -> String {
    format!("/jira/rest/api/3/issue/SD-{ID}{rest}")
}

fn request(rest: &str) -> String {
    format!("/jira/rest/servicedeskapi/request/SD-{ID}{rest}")
}

fn document(text: &str) -> Value {
    json!({ "type": "doc", "version": 1, "content": [{ "type": "paragraph", "content": [{ "type": "text", "text": text }] }] })
}

fn comment(internal: Option<bool>) -> Value {
    let mut comment = json!({ "body": document("x") });
    if let Some(internal) = internal {
        comment["properties"] = json!([{ "key": "sd.public.comment", "value": { "internal": internal } }]);
    }
    comment
}

fn post(fixture: &Fixture, path: &str, body: &Value) -> Reply {
    fixture.send("POST", path, &[BASIC, JSON], body.to_string().as_bytes())
}

#[test]
fn an_issue_has_the_vendors_shape() {
    let fixture = Fixture::new();
    for (auth, name) in [(BASIC, format!("SD-{ID}")), (BEARER, ID.to_owned()), (BEARER, format!("sd-{ID}"))] {
        let reply = fixture.send("GET", &format!("/jira/rest/api/3/issue/{name}"), &[auth], b"");
        assert_eq!(reply.status, 200, "{reply:?}");
        let issue = reply.json();
        assert_eq!((&issue["id"], &issue["key"]), (&json!(ID), &json!(format!("SD-{ID}"))));
        let fields = &issue["fields"];
        assert_eq!(fields["description"]["type"], "doc");
        assert_eq!(fields["status"]["statusCategory"]["key"], "new");
        assert_eq!(fields["project"]["projectTypeKey"], "service_desk");
        assert!(fields["created"].as_str().is_some_and(|time| time.ends_with("+0100")), "{fields}");
        assert_eq!((&fields["resolution"], &fields["resolutiondate"]), (&Value::Null, &Value::Null));
    }
}

#[test]
fn fields_are_those_that_are_asked_for() {
    let fixture = Fixture::new();
    let names = |fields: &str| {
        let fields = fixture.send("GET", &issue(&format!("?fields={fields}")), &[BASIC], b"").json()["fields"].clone();
        let has = |name| fields.get(name).is_some();
        (has("summary"), has("project"))
    };
    for (asked, expected) in [
        ("project", (false, true)),
        ("*all", (true, true)),
        ("*all,-summary", (false, true)),
        ("-project", (true, false)),
    ] {
        assert_eq!(names(asked), expected, "{asked}");
    }
}

#[test]
fn credentials_paths_and_parameters_are_checked() {
    let fixture = Fixture::new();
    let check = |method, path: &str, headers: &[(&str, &str)], status| {
        let reply = fixture.send(method, path, headers, b"");
        assert_eq!(reply.status, status, "{method} {path}: {reply:?}");
        reply
    };
    for header in ["Bearer wrong", "Basic c2FuZGJveC10b2tlbg==", "Basic Ym90OnNhbmRib3gtdG9rZW4=", "JWT sandbox-token"]
    {
        let reply = check("GET", &issue(""), &[("authorization", header)], 401);
        assert!(reply.text.contains("authenticated"), "{reply:?}");
    }
    check("GET", &issue(""), &[], 401);
    check("GET", &issue(""), &[BASIC, BASIC], 401);
    let unknown = check("GET", "/jira/rest/api/3/issue/IT-7", &[BASIC], 404).json();
    assert!(
        unknown["errorMessages"][0].as_str().is_some_and(|text| text.starts_with("Issue does not exist")),
        "{unknown}"
    );
    check("GET", "/jira/rest/api/2/issue/1", &[BASIC], 404);
    check("GET", &issue("/comments"), &[BASIC], 404);
    check("PUT", &issue("/comment"), &[BASIC], 405);
    check("GET", &request("/comment"), &[BASIC], 405);
    check("GET", &issue("?field=project"), &[BASIC], 400);
    check("GET", &issue("/comment?orderBy=id"), &[BASIC], 400);
    check("GET", &issue("/comment?maxResults=many"), &[BASIC], 400);
}

#[test]
fn an_id_is_a_number_or_a_key_of_another_project() {
    for (id, holds) in [
        ("101", true),
        ("IT-42", true),
        ("A_1-7", true),
        ("SD-101", false),
        ("0", false),
        ("IT-042", false),
        ("it-1", false),
        ("IT", false),
        ("-1", false),
        ("", false),
    ] {
        assert_eq!(Tool::Jira.broken_id_rule(id).is_none(), holds, "{id}");
    }
}

#[test]
fn a_comment_is_internal_by_its_property_and_its_project() {
    let fixture = Fixture::new();
    fixture.sandbox.put_ticket(Tool::Jira, "SW-1", TicketFields::default()).unwrap();
    let software = "/jira/rest/api/3/issue/SW-1/comment";
    for (path, id, internal, expected) in [
        (issue("/comment"), ID, Some(true), true),
        (issue("/comment"), ID, Some(false), false),
        (issue("/comment"), ID, None, false),
        (software.to_owned(), "SW-1", Some(true), false),
    ] {
        let reply = post(&fixture, &path, &comment(internal));
        assert_eq!((reply.status, &reply.json()["jsdPublic"]), (201, &json!(!expected)), "{path} {internal:?}");
        let ticket = fixture.sandbox.ticket(Tool::Jira, id).unwrap();
        assert_eq!(ticket.notes.last().map(|note| note.internal), Some(expected), "{path} {internal:?}");
    }
}

#[test]
fn the_service_desks_call_takes_text_alone() {
    let fixture = Fixture::new();
    fixture.sandbox.put_ticket(Tool::Jira, "SW-1", TicketFields::default()).unwrap();
    for (body, status, internal) in [
        (json!({ "body": "x", "public": false }), 201, Some(true)),
        (json!({ "body": "x", "public": true }), 201, Some(false)),
        (json!({ "body": "x" }), 201, Some(false)),
        (json!({ "body": document("x"), "public": false }), 400, None),
        (json!({ "body": " " }), 400, None),
        (json!({ "public": false }), 400, None),
        (json!({ "body": "x", "public": "false" }), 400, None),
        (json!({ "body": "x", "internal": true }), 400, None),
        (json!({ "body": "x".repeat(32_768) }), 400, None),
        (json!("x"), 400, None),
    ] {
        let before = fixture.sandbox.ticket(Tool::Jira, ID).unwrap().notes.len();
        let reply = post(&fixture, &request("/comment"), &body);
        assert_eq!(reply.status, status, "{reply:?}");
        let notes = fixture.sandbox.ticket(Tool::Jira, ID).unwrap().notes;
        assert_eq!(notes.get(before).map(|note| note.internal), internal);
        assert!(internal.is_some() || reply.json()["errorMessage"].is_string(), "{reply:?}");
    }
    let other =
        post(&fixture, "/jira/rest/servicedeskapi/request/SW-1/comment", &json!({ "body": "x", "public": false }));
    assert_eq!(other.status, 404);
    // The platform shows the text as a document.
    let listed = fixture.send("GET", &issue("/comment"), &[BASIC], b"").json();
    assert_eq!(listed["comments"][0]["body"], document("x"));
}

#[test]
fn a_comment_of_another_shape_is_refused() {
    let fixture = Fixture::new();
    let check = |body: Value, field: &str| {
        let reply = post(&fixture, &issue("/comment"), &body);
        assert_eq!(reply.status, 400, "{body}");
        let answer = reply.json();
        let found =
            if field.is_empty() { answer["errorMessages"][0].is_string() } else { answer["errors"][field].is_string() };
        assert!(found, "{answer}");
    };
    let doc = |content: Value| json!({ "body": { "type": "doc", "version": 1, "content": content } });
    check(json!({}), "comment");
    check(json!({ "body": "text" }), "comment");
    check(json!({ "body": { "type": "doc", "content": [] } }), "comment");
    check(doc(json!("x")), "comment");
    check(doc(json!([{ "type": "text", "text": "x" }])), "comment");
    check(doc(json!([{ "type": "para" }])), "comment");
    check(doc(json!([{ "type": "bulletList", "content": [] }])), "comment");
    check(
        doc(
            json!([{ "type": "bulletList", "content": [{ "type": "listItem", "content": [{ "type": "heading", "attrs": { "level": 1 } }] }] }]),
        ),
        "comment",
    );
    check(doc(json!([{ "type": "heading", "content": [] }])), "comment");
    check(doc(json!([{ "type": "paragraph", "content": [{ "type": "text", "text": "" }] }])), "comment");
    let mark = |marks: Value| {
        doc(json!([{ "type": "paragraph", "content": [{ "type": "text", "text": "x", "marks": marks }] }]))
    };
    check(mark(json!([{ "type": "bold" }])), "comment");
    check(mark(json!([{ "type": "code" }, { "type": "strong" }])), "comment");
    check(mark(json!([{ "type": "link" }])), "comment");
    check(json!({ "body": document(&"x".repeat(32_767)) }), "comment");
    check(json!({ "body": document("x"), "public": false }), "");
    check(json!({ "body": document("x"), "properties": [{ "key": "sd.public.comment" }] }), "properties");
    let text = fixture.send("POST", &issue("/comment"), &[BASIC, ("content-type", "text/plain")], b"{}");
    assert_eq!(text.status, 415);
    assert!(fixture.sandbox.ticket(Tool::Jira, ID).unwrap().notes.is_empty());
}

#[test]
fn comments_are_listed_in_pages() {
    let fixture = Fixture::new();
    for number in 1..=3 {
        assert_eq!(post(&fixture, &issue("/comment"), &json!({ "body": document(&number.to_string()) })).status, 201);
    }
    for (query, expected) in [
        ("", &["1", "2", "3"][..]),
        ("?orderBy=-created&maxResults=100", &["3", "2", "1"]),
        ("?maxResults=1&startAt=1", &["2"]),
        ("?startAt=3", &[]),
    ] {
        let answer = fixture.send("GET", &issue(&format!("/comment{query}")), &[BASIC], b"").json();
        let text = |comment: &Value| comment["body"]["content"][0]["content"][0]["text"].clone();
        let texts: Vec<_> = answer["comments"].as_array().unwrap().iter().map(text).collect();
        assert_eq!(
            (texts, &answer["total"]),
            (expected.iter().map(|text| json!(text)).collect(), &json!(3)),
            "{query}"
        );
    }
}

#[test]
fn limits_are_told_in_headers_and_in_bodies() {
    let fixture = Fixture::new();
    let fault = Fault { effect: Some(Effect::RateLimited { retry_after: None }), times: Some(1), ..Fault::default() };
    fixture.sandbox.set_faults(vec![fault]).unwrap();
    let reply = fixture.send("GET", &issue(""), &[BASIC], b"");
    assert_eq!((reply.status, reply.retry_after.clone()), (429, None));
    assert!(reply.json()["errorMessages"][0].is_string());
    for _ in 0..limits::NOTES_PER_TICKET_MAX {
        assert_eq!(post(&fixture, &issue("/comment"), &comment(Some(true))).status, 201);
    }
    assert_eq!(post(&fixture, &issue("/comment"), &comment(Some(true))).status, 413);
}

#[test]
fn webhooks_have_their_three_forms() {
    let body = |form, event, ticket: &str| -> Value {
        let mut webhook = Webhook::new("acme", event, ticket);
        (webhook.tool, webhook.form) = (Tool::Jira, form);
        serde_json::from_slice(&signed(&webhook, Scheme::XHubSignature, "s").unwrap().body).unwrap()
    };
    let created = body(Form::Flat, Event::Created, "101");
    assert_eq!((&created["webhookEvent"], &created["issue"]["key"]), (&json!("jira:issue_created"), &json!("SD-101")));
    assert!(created["issue"]["fields"]["description"].is_string() && created["timestamp"].is_u64());
    let resolved = body(Form::Flat, Event::Resolved, "IT-42");
    assert_eq!((&resolved["webhookEvent"], &resolved["issue"]["key"]), (&json!("jira:issue_updated"), &json!("IT-42")));
    assert_eq!(resolved["changelog"]["items"][1]["field"], "status");
    assert_eq!(resolved["issue"]["fields"]["status"]["statusCategory"]["key"], "done");
    let rule = body(Form::Rule, Event::Created, "101");
    assert!(rule["issue"]["id"].is_u64() && rule["timestamp"].is_u64() && rule.get("webhookEvent").is_none());
    let bare = body(Form::Issue, Event::Updated, "101");
    assert!(bare["id"].is_u64() && bare.get("issue").is_none());
    assert_ne!(bare["fields"]["updated"], bare["fields"]["created"]);
}

#[test]
fn tokens_have_three_parts_and_only_apps_sign_the_request() {
    let header = |scheme| {
        let mut webhook = Webhook::new("acme", Event::Created, "101");
        webhook.tool = Tool::Jira;
        signed(&webhook, scheme, "s").unwrap().headers.pop().unwrap().1
    };
    let claims = |header: &str| -> Value {
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
        let parts: Vec<_> = header.split_once(' ').unwrap().1.split('.').collect();
        assert_eq!(parts.len(), 3);
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap()
    };
    let connect = header(Scheme::ConnectJwt);
    assert!(connect.starts_with("JWT "));
    // SHA-256 of "POST&/webhooks/acme&".
    assert_eq!(claims(&connect)["qsh"], "1955685ddc3caf5762ba82f0abe3932a48d010024fe32da51f4a3187d30b28db");
    let oauth = header(Scheme::OauthJwt);
    assert!(oauth.starts_with("Bearer ") && claims(&oauth).get("qsh").is_none());
}
