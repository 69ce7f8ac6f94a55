//! A scripted tool over real connections, from a file in a vendor's form.

use std::fs;

use serde_json::{Value, json};

use super::*;
use crate::{Sandbox, SandboxConfig};

const FILE: &str = r#"
    [secrets]
    webhook_secret = "s"
    [[webhook]]
    name = "created"
    body = "{}"
    [[answer]]
    method = "GET"
    path = "/tickets/7"
    query = "include=all"
    status = 200
    headers = { x-rate-limit = "7" }
    file = "ticket.json"
    [[answer]]
    method = "get"
    path = "/tickets/7/notes"
    noted = true
    status = 200
    body = '["{{marker}}"]'
    [[answer]]
    method = "GET"
    path = "/tickets/7/notes"
    status = 200
    body = '[]'
    [[answer]]
    method = "POST"
    path = "/tickets/7/notes"
    expect_json = { "/visibility" = "internal" }
    status = 201
"#;

fn script(text: &str) -> Result<Script, ScriptError> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("ticket.json"), r#"{"id":"7"}"#).unwrap();
    fs::write(folder.path().join("conformance.toml"), text).unwrap();
    Script::read(&folder.path().join("conformance.toml"))
}

#[test]
fn it_answers_as_scripted_and_shows_the_note_once_it_has_one() {
    let config = SandboxConfig { script: Some(script(FILE).unwrap()), ..SandboxConfig::default() };
    let sandbox = Sandbox::start(config).unwrap();
    let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    let get = |path: &str| {
        let mut answer = agent.get(format!("{}/script{path}", sandbox.url())).call().unwrap();
        let limit = answer.headers().get("x-rate-limit").is_some();
        let body: Value = serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap();
        (answer.status().as_u16(), limit, body)
    };
    assert_eq!(get("/tickets/7?include=all"), (200, true, json!({ "id": "7" })));
    assert_eq!(get("/tickets/7").0, 404, "another query is another request");
    assert_eq!(get("/tickets/7/notes"), (200, false, json!([])));

    let marker = "patchbay:01890000-0000-7000-8000-000000000009";
    let post = agent.post(format!("{}/script/tickets/7/notes", sandbox.url()));
    assert_eq!(post.send(format!(r#"{{"html":"<p>{marker}</p>"}}"#)).unwrap().status().as_u16(), 201);
    assert_eq!(get("/tickets/7/notes"), (200, false, json!([marker])));
    assert_eq!(sandbox.requests().len(), 5, "each request is recorded");
}

#[test]
fn a_marker_is_found_in_json_and_in_a_form() {
    let id = "01890000-0000-7000-8000-000000000009";
    for (body, found) in [
        (format!(r#"{{"html":"<p>patchbay:{id}</p>"}}"#), true),
        (format!("input_data=%3Cp%3Epatchbay%3A{id}%3C"), true),
        ("patchbay:018".to_owned(), false),
        (String::new(), false),
    ] {
        assert_eq!(marker_in(body.as_bytes()), found.then(|| format!("patchbay:{id}")), "{body}");
    }
}

#[test]
fn what_cannot_be_played_is_named() {
    for (from, to, said) in [
        ("status = 201", "status = 42", "the answer to POST /tickets/7/notes: "),
        ("ticket.json", "absent.json", "absent.json"),
        ("x-rate-limit", "\"x rate\"", "x rate is no header"),
        ("[[answer]]", "[[answer", "conformance.toml: "),
    ] {
        let fault = script(&FILE.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(fault.contains(said), "{to}: {fault}");
    }
}
