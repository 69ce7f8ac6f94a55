use crate::client::{ACCEPT, FORM, Fixture, ID, Reply};

use super::*;

const JSON: &str = "application/json";

/// A sandbox whose client `me` with secret `s` starts with the refresh token `r0`, which rotates.
fn fixture() -> Fixture {
    let fixture = Fixture::new();
    let client = json!({ "client_id": "me", "client_secret": "s", "refresh_token": "r0", "rotates": true });
    assert_eq!(fixture.control("PUT", "oauth", &client.to_string()).status, 200);
    fixture
}

fn post(fixture: &Fixture, body: &str) -> Reply {
    let content_type = if body.starts_with('{') { JSON } else { FORM };
    fixture.send("POST", PATH, &[("content-type", content_type)], body.as_bytes())
}

fn refreshed_with(fixture: &Fixture, token: &str) -> Reply {
    post(fixture, &format!("grant_type=refresh_token&refresh_token={token}&client_id=me&client_secret=s"))
}

/// The status of a tool's answer to this access token.
fn status(fixture: &Fixture, token: &str) -> u16 {
    let path = format!("/servicedesk/api/v3/requests/{ID}");
    fixture.send("GET", &path, &[("authtoken", token), ("accept", ACCEPT)], b"").status
}

#[test]
fn what_is_not_as_the_rfc_says_is_refused_with_its_code() {
    let fixture = fixture();
    let me = "client_id=me&client_secret=s";
    for (body, status, error) in [
        (format!("grant_type=client_credentials&{me}"), 200, Value::Null),
        (r#"{"grant_type":"client_credentials","client_id":"me","client_secret":"s"}"#.to_owned(), 200, Value::Null),
        (format!("grant_type=refresh_token&refresh_token=other&{me}"), 400, json!("invalid_grant")),
        (format!("grant_type=refresh_token&{me}"), 400, json!("invalid_request")),
        (format!("grant_type=password&{me}"), 400, json!("unsupported_grant_type")),
        (format!("grant_type=client_credentials&more=1&{me}"), 400, json!("invalid_request")),
        (format!("grant_type=client_credentials&scope=a&scope=b&{me}"), 400, json!("invalid_request")),
        (format!("grant_type=client_credentials&scope=&{me}"), 400, json!("invalid_request")),
        (me.to_owned(), 400, json!("invalid_request")),
        ("grant_type=client_credentials&client_id=me&client_secret=t".to_owned(), 401, json!("invalid_client")),
        ("grant_type=client_credentials".to_owned(), 400, json!("invalid_request")),
    ] {
        let reply = post(&fixture, &body);
        assert_eq!((reply.status, &reply.json()["error"]), (status, &error), "{body}");
    }
    let basic = |pair: &str| {
        let header = format!("Basic {}", STANDARD.encode(pair));
        let headers = [("content-type", FORM), ("authorization", header.as_str())];
        fixture.send("POST", PATH, &headers, b"grant_type=client_credentials").status
    };
    assert_eq!((basic("me:s"), basic("me:t"), basic("me")), (200, 401, 401));
}

#[test]
fn a_given_token_is_good_at_the_tools_until_it_ends_or_is_revoked() {
    let fixture = fixture();
    let token = refreshed_with(&fixture, "r0").json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!((status(&fixture, &token), status(&fixture, "me-access-2")), (200, 401));
    assert_eq!(fixture.control("POST", "oauth/revoke/access", "").status, 200);
    assert_eq!(status(&fixture, &token), 401);
    let brief = json!({ "client_id": "me", "client_secret": "s", "expires_in_s": 0 });
    fixture.control("PUT", "oauth", &brief.to_string());
    let reply = post(&fixture, "grant_type=client_credentials&client_id=me&client_secret=s").json();
    assert_eq!((&reply["access_token"], &reply["expires_in"]), (&json!("me-access-1"), &json!(0)));
    assert_eq!(status(&fixture, "me-access-1"), 401);
}

#[test]
fn a_refresh_token_is_good_once_and_its_second_use_ends_them_all() {
    let fixture = fixture();
    let next = refreshed_with(&fixture, "r0").json()["refresh_token"].as_str().unwrap().to_owned();
    let last = refreshed_with(&fixture, &next).json()["refresh_token"].as_str().unwrap().to_owned();
    assert_eq!(refreshed_with(&fixture, "unknown").status, 400);
    assert_eq!(refreshed_with(&fixture, "r0").status, 400);
    assert_eq!(refreshed_with(&fixture, &last).status, 400, "the old one was used again");
    assert_eq!(fixture.control("GET", "oauth", "").json().as_array().map(Vec::len), Some(2));
}

#[test]
fn it_fails_on_command_and_is_not_there_without_a_client() {
    let fixture = fixture();
    assert_eq!(fixture.control("POST", "oauth/revoke/refresh", "").status, 200);
    assert_eq!(refreshed_with(&fixture, "r0").status, 400);
    let failing = json!({ "client_id": "me", "client_secret": "s", "failure_status": 503 });
    fixture.control("PUT", "oauth", &failing.to_string());
    assert_eq!(refreshed_with(&fixture, "r0").status, 503);
    fixture.control("POST", "reset", "");
    assert_eq!(refreshed_with(&fixture, "r0").status, 404);
}
