//! Secrets of the kind `oauth2`: the host obtains, stores and renews tokens; a plugin and its tool see only valid
//! tokens.

use std::{fs, time::Duration};

use patchbay_tests::{Artifact, Ctl, Line, TOOL, WEBHOOK_SECRET, created};
use sandbox::OauthClient;
use serde_json::{Value, json};

const TOOL_TYPE: &str = "desk_good";

fn client() -> OauthClient {
    OauthClient {
        client_id: "patchbay".to_owned(),
        client_secret: "client-secret".to_owned(),
        refresh_token: Some("refresh-0".to_owned()),
        rotates: true,
        expires_in_s: Some(3_600),
        failure_status: None,
    }
}

/// The fields for [`client`] in a secret of the kind `oauth2`.
fn secret(line: &Line) -> Value {
    json!({
        "token_url": line.tool.token_url(), "grant": "refresh_token", "client_id": "patchbay",
        "client_secret": "client-secret", "refresh_token": "refresh-0",
    })
}

/// A host, a tool whose token endpoint knows [`client`], and the tenant `acme`, which obtains tokens there.
fn line() -> Line {
    let line = Line::with(&[Artifact::GOOD]);
    line.tool.set_oauth(client());
    let ended = add(&line, &secret(&line));
    assert_eq!(ended.code, 0, "{ended:?}");
    line
}

fn add(line: &Line, oauth2: &Value) -> Ctl {
    let folder = line.host.folder();
    fs::write(folder.join("webhook_secret"), WEBHOOK_SECRET).unwrap();
    write_secret(line, oauth2);
    let base_url = format!("--base-url={}", line.tool.base_url(TOOL));
    let secrets = ["--secret=webhook_secret=@webhook_secret", "--secret=api_key=@api_key"];
    line.host.try_ctl(&["tenant", "add", "acme", "--tool-type", TOOL_TYPE, &base_url, secrets[0], secrets[1]])
}

fn write_secret(line: &Line, oauth2: &Value) {
    fs::write(line.host.folder().join("api_key"), json!({ "oauth2": oauth2 }).to_string()).unwrap();
}

#[track_caller]
fn deliver(line: &Line, ticket: &str) {
    line.open_ticket(ticket);
    assert_eq!(line.host.send(&created("acme", ticket)).status, 202);
}

/// Delivers, waits for the note, and returns the job.
#[track_caller]
fn note(line: &Line, ticket: &str) -> Value {
    deliver(line, ticket);
    line.note_on(ticket);
    line.job(ticket, "done", |job| job["state"] == "done")
}

/// The output of `tenant show` for the secret.
#[track_caller]
fn shown(line: &Line) -> Value {
    let shown = line.host.ctl(&["tenant", "show", "acme"]);
    let mut secrets = shown["secrets"].as_array().unwrap().iter();
    secrets.find(|secret| secret["name"] == "api_key").unwrap()["oauth2"].clone()
}

#[test]
fn one_token_serves_many_jobs_at_once() {
    let line = line();
    assert_eq!(shown(&line)["obtained_at"], Value::Null);
    let tickets: Vec<_> = (1..=16).map(|ticket| ticket.to_string()).collect();
    tickets.iter().for_each(|ticket| deliver(&line, ticket));
    tickets.iter().for_each(|ticket| drop(line.note_on(ticket)));
    assert_eq!(line.tool.oauth_grants().len(), 1);
    let shown = shown(&line);
    assert_eq!(shown["grant"], "refresh_token", "{shown}");
    assert_eq!(shown["token_url"], line.tool.token_url(), "{shown}");
    assert!(shown["obtained_at"].is_string() && shown["expires_at"].is_string(), "{shown}");
}

#[test]
fn a_token_is_renewed_before_its_end() {
    let line = line();
    note(&line, "1");
    line.host.advance_clock(Duration::from_secs(3_400));
    note(&line, "2");
    assert_eq!(line.tool.oauth_grants().len(), 1);
    line.host.advance_clock(Duration::from_secs(180));
    note(&line, "3");
    assert_eq!(line.tool.oauth_grants().len(), 2);
}

#[test]
fn a_token_that_the_tool_refuses_is_renewed_within_the_attempt() {
    let line = line();
    note(&line, "1");
    line.tool.revoke_access_tokens();
    assert_eq!(note(&line, "2")["attempts"], 1);
    assert_eq!(line.tool.oauth_grants().len(), 2);
}

#[test]
fn client_credentials_are_a_grant_too() {
    for auth in ["basic", "body", "json"] {
        let line = Line::with(&[Artifact::GOOD]);
        line.tool.set_oauth(client());
        let mut secret = secret(&line);
        secret["grant"] = "client_credentials".into();
        secret["auth"] = auth.into();
        secret.as_object_mut().unwrap().remove("refresh_token");
        let ended = add(&line, &secret);
        assert_eq!(ended.code, 0, "{ended:?}");
        note(&line, "1");
        assert_eq!(line.tool.oauth_grants()[0].grant, "client_credentials", "{auth}");
    }
}

#[test]
fn a_rotated_refresh_token_survives_kill_9() {
    let mut line = line();
    line.host.kill_at("token_kept");
    line.open_ticket("1");
    let answer = line.host.try_send(&created("acme", "1"));
    assert!(answer.is_none_or(|answer| answer.status == 202));
    assert_eq!(line.host.end().code, None, "it was killed");
    line.host.start();
    // The sandbox revokes all tokens when an old refresh token is used.
    line.note_on("1");
    let refresh_tokens: Vec<_> = line.tool.oauth_grants().into_iter().map(|grant| grant.refresh_token).collect();
    assert_eq!(refresh_tokens, ["patchbay-refresh-1", "patchbay-refresh-2"].map(|token| Some(token.to_owned())));
    line.host.restart();
    note(&line, "2");
    assert_eq!(line.tool.oauth_grants().len(), 3);
}

#[test]
fn a_token_endpoint_that_is_down_makes_jobs_wait() {
    let line = line();
    line.tool.set_oauth(OauthClient { failure_status: Some(503), ..client() });
    deliver(&line, "1");
    let job = line.job("1", "waits", |job| job["state"] == "waiting");
    assert_eq!(job["last_error"]["code"], "api", "{job:#}");
    assert_eq!(shown(&line)["last_error"]["code"], "api");
    line.tool.set_oauth(client());
    line.skip_wait(1);
    line.note_on("1");
    assert_eq!(line.job("1", "done", |job| job["state"] == "done")["attempts"], 2);
}

#[test]
fn a_refresh_token_that_was_revoked_makes_a_dead_letter_that_says_what_to_do() {
    let line = line();
    line.tool.revoke_refresh_token();
    deliver(&line, "1");
    line.job("1", "waits", |job| job["state"] == "waiting");
    line.host.advance_clock(Duration::from_secs(10 * 60));
    let job = line.job("1", "dead", |job| job["state"] == "dead");
    assert_eq!(job["last_error"]["code"], "authentication", "{job:#}");
    let told = job["last_error"]["message"].as_str().unwrap();
    assert!(told.contains("invalid_grant") && told.contains("rotate-secret"), "{told}");
    assert_eq!(shown(&line)["last_error"]["code"], "authentication");

    line.tool.set_oauth(OauthClient { refresh_token: Some("refresh-new".to_owned()), ..client() });
    let mut secret = secret(&line);
    secret["refresh_token"] = "refresh-new".into();
    write_secret(&line, &secret);
    line.host.ctl(&["tenant", "rotate-secret", "acme", "api_key", "@api_key"]);
    line.host.ctl(&["job", "retry", job["id"].as_str().unwrap()]);
    line.note_on("1");
}

#[test]
fn a_secret_that_cannot_work_is_refused_when_it_is_given() {
    let line = Line::with(&[Artifact::GOOD]);
    let mut elsewhere = secret(&line);
    elsewhere["token_url"] = "https://login.example/token".into();
    let mut wrong = secret(&line);
    wrong["grant"] = "password".into();
    wrong["auth"] = "digest".into();
    for (secret, told) in [
        (&elsewhere, &["secret api_key", "https://login.example", "--allow-origin"][..]),
        (&wrong, &["oauth2.grant must be", "oauth2.auth must be"]),
    ] {
        let ended = add(&line, secret);
        let failure = ended.failure();
        let message = failure["message"].as_str().unwrap();
        assert_eq!((ended.code, &failure["code"]), (1, &json!("INVALID_TENANT")), "{failure:#}");
        assert!(told.iter().all(|word| message.contains(word)), "{message}");
    }
    line.tool.set_oauth(client());
    assert_eq!(add(&line, &secret(&line)).code, 0);
    write_secret(&line, &elsewhere);
    let ended = line.host.try_ctl(&["tenant", "rotate-secret", "acme", "api_key", "@api_key"]);
    assert_eq!((ended.code, &ended.failure()["code"]), (1, &json!("INVALID_TENANT")), "{ended:?}");
    note(&line, "1");
}
