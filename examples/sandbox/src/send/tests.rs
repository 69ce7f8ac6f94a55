use clap::Parser;
use sandbox::{Effect, Fault, RecordedRequest, Sandbox, SandboxConfig};

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: SendArgs,
}

/// Sends to a sandbox, whose record then shows the webhook as it arrived. The sandbox answers `status`.
fn check(status: u16, more: &[&str]) -> (anyhow::Result<ExitCode>, String, Vec<RecordedRequest>, Sandbox) {
    let sandbox = Sandbox::start(SandboxConfig::default()).unwrap();
    let effect = Effect::Status { status, body: Some(r#"{"status":"accepted"}"#.to_owned()), content_type: None };
    sandbox.set_faults(vec![Fault { effect: Some(effect), ..Fault::default() }]).unwrap();
    let to = sandbox.base_url(Tool::ServicedeskPlus);
    let url = sandbox.url();
    let line = ["send", "--tenant", "acme", "--ticket", "101", "--to", &to].into_iter();
    let line = line.chain(more.iter().map(|word| if *word == "SANDBOX" { url.as_str() } else { word }));
    let mut out = Vec::new();
    let done = run(&Line::try_parse_from(line).unwrap().args, &mut out);
    let requests = sandbox.requests();
    (done, String::from_utf8(out).unwrap(), requests, sandbox)
}

fn header<'a>(request: &'a RecordedRequest, name: &str) -> &'a str {
    &request.headers.iter().find(|(known, _)| known == name).unwrap().1
}

#[test]
fn the_webhook_arrives_signed_and_the_answer_is_printed() {
    let options = ["--secret", "s3cret", "--subject", "Slow", "--created-at", "2025-11-05T12:00:00Z"];
    let (done, out, requests, _) = check(202, &options);
    assert_eq!((done.unwrap(), out.as_str()), (ExitCode::SUCCESS, "202 {\"status\":\"accepted\"}\n"));
    let [request] = &requests[..] else { panic!("{requests:?}") };
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/servicedesk/webhooks/acme"));
    let body: Value = serde_json::from_str(&request.body).unwrap();
    assert_eq!((&body["subject"], &body["created_at"]), (&json!("Slow"), &json!("2025-11-05T12:00:00Z")));
    let (name, mac) = webhook::proof(Scheme::SignatureHeader, "s3cret", request.body.as_bytes()).unwrap();
    assert_eq!(header(request, name), mac);
    assert_eq!(header(request, "content-type"), "application/json");
}

#[test]
fn another_form_event_and_scheme_can_be_asked_for() {
    let options = ["--secret", "s", "--form", "request", "--event", "resolved", "--scheme", "static-token"];
    let (_, _, requests, sandbox) = check(202, &[&options[..], &["--sandbox", "SANDBOX"]].concat());
    let body: Value = serde_json::from_str(&requests[0].body).unwrap();
    assert_eq!(body["request"]["status"]["name"], "Resolved");
    assert_eq!(sandbox.ticket(Tool::ServicedeskPlus, "101").unwrap().fields.status, "Resolved");
    assert_eq!(header(&requests[0], "x-webhook-token"), "s");
}

#[test]
fn a_count_sends_that_many_about_tickets_that_were_made_first() {
    let options = ["--secret", "s", "--count", "3", "--json", "--sandbox", "SANDBOX", "--priority", "Low"];
    let (done, out, requests, sandbox) = check(202, &options);
    assert_eq!((done.unwrap(), requests.len()), (ExitCode::SUCCESS, 3));
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[2], json!({ "ticket_id": "103", "status": 202, "body": { "status": "accepted" } }));
    for id in ["101", "102", "103"] {
        assert_eq!(sandbox.ticket(Tool::ServicedeskPlus, id).unwrap().fields.priority, "Low");
    }
}

#[test]
fn the_number_at_an_ids_end_counts_up_within_its_length() {
    let ids = |ticket: &str, count: &str| {
        let line = ["send", "--to", "x", "--tenant", "t", "--secret", "s", "--ticket", ticket, "--count", count];
        Line::try_parse_from(line).unwrap().args.ticket_ids()
    };
    for (first, expected) in [
        ("9", vec!["9", "10"]),
        ("HELP-99", vec!["HELP-99", "HELP-100"]),
        (
            "4f1c0e9a2b7d4c55a1e8300d9b6c0009",
            vec!["4f1c0e9a2b7d4c55a1e8300d9b6c0009", "4f1c0e9a2b7d4c55a1e8300d9b6c0010"],
        ),
        (
            "00000000000000000000000000000101",
            vec!["00000000000000000000000000000101", "00000000000000000000000000000102"],
        ),
    ] {
        assert_eq!(ids(first, "2").unwrap(), expected);
    }
    assert_eq!(ids("HELP", "1").unwrap(), ["HELP"]);
    assert!(ids("HELP", "2").is_err());
    assert!(ids(&u64::MAX.to_string(), "2").is_err());
}

#[test]
fn what_is_not_2xx_is_a_failure_and_still_printed() {
    for status in [301, 401, 503] {
        let (done, out, ..) = check(status, &["--secret", "s"]);
        assert_eq!(done.unwrap(), ExitCode::FAILURE);
        assert!(out.starts_with(&status.to_string()), "{out}");
    }
}

#[test]
fn the_secret_comes_from_an_option_or_a_file_and_is_never_empty() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    fs::write(&file, "from file\r\n").unwrap();
    let path = file.to_str().unwrap();
    let (_, _, requests, _) = check(202, &["--secret-file", path, "--scheme", "static-token"]);
    assert_eq!(header(&requests[0], "x-webhook-token"), "from file");
    fs::write(&file, "\n").unwrap();
    for (options, reason) in [
        (["--secret", ""], "the secret is empty"),
        (["--secret-file", path], "the secret is empty"),
        (["--secret-file", "/none"], "cannot read /none"),
    ] {
        let (done, _, requests, _) = check(202, &options);
        assert_eq!((done.unwrap_err().to_string().as_str(), requests.len()), (reason, 0));
    }
    let parse = |more: &[&str]| {
        let line = ["send", "--to", "http://127.0.0.1:1", "--tenant", "acme", "--ticket", "1"];
        Line::try_parse_from(line.iter().chain(more))
    };
    assert!(parse(&[]).is_err());
    assert!(parse(&["--secret", "s", "--secret-file", path]).is_err());
    assert!(parse(&["--secret", "s", "--count", "0"]).is_err());
    assert!(parse(&["--secret", "s", "--created-at", "yesterday"]).is_err());
}
