//! What is sent, and what each answer means.

use plugin_abi::time::macros::datetime;
use serde_json::{Value, json};

use super::*;

const NOW: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);

fn secret(grant: &str, auth: &str) -> SecretText {
    let mut object = json!({
        "token_url": "https://login.example/token", "grant": grant, "client_id": "me:1", "client_secret": "hunter 2&",
        "auth": auth,
    });
    if grant == "refresh_token" {
        object["refresh_token"] = "refresh=1".into();
        object["scope"] = "a b".into();
    }
    SecretText::new(json!({ "oauth2": object }).to_string()).unwrap()
}

#[test]
fn a_request_is_as_the_rfc_wants_it() {
    for (grant, auth, body, header) in [
        (
            "refresh_token",
            "body",
            "grant_type=refresh_token&refresh_token=refresh%3D1&scope=a+b&client_id=me%3A1&client_secret=hunter+2%26",
            None,
        ),
        (
            "client_credentials",
            "json",
            r#"{"client_id":"me:1","client_secret":"hunter 2&","grant_type":"client_credentials"}"#,
            None,
        ),
        // Both parts are encoded before they are joined (RFC 6749, section 2.3.1).
        ("client_credentials", "basic", "grant_type=client_credentials", Some("me%3A1:hunter+2%26")),
    ] {
        let secret = secret(grant, auth);
        let asked = request(secret.oauth2().unwrap().unwrap());
        assert_eq!(String::from_utf8_lossy(&asked.body), body);
        assert_eq!(asked.content_type.ends_with("/json"), auth == "json");
        let expected = header.map(|pair| ("authorization".to_owned(), format!("Basic {}", STANDARD.encode(pair))));
        assert_eq!(asked.header.map(|(name, value)| (name, value.to_string())), expected, "{grant} {auth}");
    }
}

fn answer(grant: &str, status: u16, body: &str) -> Result<Granted, PluginError> {
    answer_of("application/json", grant, status, body.as_bytes())
}

fn answer_of(content_type: &str, grant: &str, status: u16, body: &[u8]) -> Result<Granted, PluginError> {
    let secret = secret(grant, "body");
    let headers = [("retry-after", "7"), ("content-type", content_type)];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let head = Response::new(status, headers.to_vec(), "");
    read(secret.oauth2().unwrap().unwrap(), &head, body, NOW)
}

#[test]
fn a_token_lives_as_long_as_its_answer_says() {
    for (expires_in, expected_s) in [
        (json!(3600), 3_600),
        (json!("3599"), 3_599),
        (json!(0), 1_800),
        (json!(-1), 1_800),
        (json!("soon"), 1_800),
        (Value::Null, 1_800),
        (json!(3_600_000), 86_400),
    ] {
        let body = json!({ "access_token": "t", "expires_in": expires_in }).to_string();
        let granted = answer("client_credentials", 200, &body).unwrap();
        assert_eq!((granted.token[0].expose(), granted.life.as_secs()), ("t", expected_s), "{expires_in}");
    }
}

#[test]
fn a_refresh_token_in_exchange_is_a_new_secret() {
    for (grant, given, expected) in [
        ("refresh_token", json!("refresh=2"), Some("refresh=2")),
        ("refresh_token", json!("refresh=1"), None),
        ("refresh_token", json!(""), None),
        ("refresh_token", Value::Null, None),
        ("client_credentials", json!("refresh=2"), None),
    ] {
        let body = json!({ "access_token": "t", "refresh_token": given }).to_string();
        let exchanged = answer(grant, 200, &body).unwrap().exchanged;
        let found = exchanged.as_ref().map(|secret| match &secret.oauth2().unwrap().unwrap().grant {
            Grant::RefreshToken(token) => token.expose(),
            Grant::ClientCredentials => panic!("another grant"),
        });
        assert_eq!(found, expected, "{grant} {given}");
    }
}

#[test]
fn an_answer_is_read_as_servers_write_it() {
    const PLAIN: &str = "application/json";
    let whole = r#"{"access_token":"t","refresh_token":"refresh=2","expires_in":3600.0,"scope":"cut \ud83d"}"#;
    let utf16: Vec<u8> = whole.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (content_type, body) in [
        (PLAIN, whole.as_bytes()),
        (PLAIN, format!("\u{feff}{whole}").as_bytes()),
        (PLAIN, &utf16),
        ("application/json; charset=utf-16", &utf16),
        ("text/html; charset=ISO-8859-1", &[b"{\"site\":\"B\xfcro\",", &whole.as_bytes()[1..]].concat()),
        (PLAIN, whole.replace('{', r#"{"id":99999999999999999999999,"error_description":"\udc00","#).as_bytes()),
    ] {
        let granted = answer_of(content_type, "refresh_token", 200, body).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((granted.token[0].expose(), granted.life.as_secs()), ("t", 3_600), "{}", body.escape_ascii());
        assert!(granted.exchanged.is_some(), "{}", body.escape_ascii());
    }
}

#[test]
fn what_is_no_token_is_not_taken_for_one_and_not_told() {
    for body in [
        r#"{"access_token":"t-hunter\ud83d"}"#,
        r#"{"access_token":"t-hunter\ufffd","error_description":7}"#,
        r#"{"access_token":"t-hunter","access_token":"t-hunter"}"#,
        r#"["t-hunter","t-hunter"]"#,
        r#"{"access_token":"t-hunter""#,
        "\u{feff}\u{feff}access_token=t-hunter",
    ] {
        let error = answer("refresh_token", 200, body).err().expect("there is no token");
        assert_eq!(error.kind(), "api", "{body}: {error}");
        assert!(!error.to_string().contains("hunter"), "{body}: {error}");
    }
}

#[test]
fn an_error_says_whose_it_is() {
    for (status, body, kind) in [
        (400, r#"{"error":"invalid_grant"}"#, "authentication"),
        (403, r#"{"error":"invalid_grant","error_description":"Unknown or invalid refresh token."}"#, "authentication"),
        (401, r#"{"error":"invalid_client"}"#, "authentication"),
        (401, "", "authentication"),
        (403, "<html>", "authentication"),
        (400, r#"{"error":"invalid_scope"}"#, "configuration"),
        (404, "<html>", "configuration"),
        (302, "", "configuration"),
        (429, "", "rate_limit"),
        (503, r#"{"error":"temporarily_unavailable"}"#, "rate_limit"),
        (503, "<html>", "api"),
        (500, r#"{"error":7}"#, "api"),
        (408, "", "api"),
        (200, "<html>", "api"),
        (200, "{}", "api"),
        (400, "\u{feff}{\"error\":\"invalid_grant\",\"error_description\":\"cut \\ud83d\"}", "authentication"),
        (200, r#"{"access_token":""}"#, "api"),
        // Zoho: errors with 200, and a throttle that is a 400.
        (200, r#"{"error":"invalid_code"}"#, "authentication"),
        (200, r#"{"error":"invalid_client","access_token":"t"}"#, "authentication"),
        (400, r#"{"error":"Access Denied","error_description":"too many requests"}"#, "rate_limit"),
    ] {
        let error = answer("refresh_token", status, body).err().expect("there is no token");
        assert_eq!(error.kind(), kind, "{status} {body}: {error}");
        if let PluginError::RateLimit { retry_after, .. } = error {
            assert_eq!(retry_after, Some(Duration::from_secs(7)), "{status} {body}");
        }
    }
}

#[test]
fn what_the_endpoint_says_is_told_without_secrets_and_not_at_length() {
    let body = json!({
        "error": "invalid_grant",
        "error_description": format!("refresh=1 of hunter 2& (hunter+2%26)\n{}", "x".repeat(500)),
    });
    let told = answer("refresh_token", 400, &body.to_string()).err().expect("there is no token").to_string();
    assert!(told.contains("invalid_grant, [secret] of [secret] "), "{told}");
    assert!(!told.contains("hunter") && !told.contains('\n') && told.len() < 500, "{told}");
}
