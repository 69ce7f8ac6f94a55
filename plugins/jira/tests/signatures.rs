//! Which webhooks are authentic, through the plugin's trait.

#![allow(clippy::unwrap_used, reason = "in a test, also in the functions that its tests share")]

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jira::Jira;
use plugin_abi::{
    prelude::*,
    testing::{FakeHost, FakeWebhook, base64_mac, hex_mac},
    time::{Duration, OffsetDateTime},
};
use proptest::prelude::{any, proptest};

const SECRET: &str = "correct horse";
const HUB: &str = "X-Hub-Signature";
const TIMELESS: &str = r#"{"webhookEvent":"jira:issue_created","issue":{"key":"IT-42"}}"#;

fn host(auth: &str) -> FakeHost {
    FakeHost::new()
        .secret("webhook_secret", SECRET)
        .setting("api_user", "bot@acme.example")
        .setting("webhook_auth", auth)
}

fn validate(host: &FakeHost, webhook: &FakeWebhook) -> Result<bool, PluginError> {
    Jira.validate_webhook(&host.tenant(), &webhook.borrow())
}

#[test]
fn the_method_is_in_the_header_and_only_sha256_is_taken() {
    let hex = hex_mac(SECRET.as_bytes(), &[TIMELESS.as_bytes()]);
    let wrong = hex_mac(b"another", &[TIMELESS.as_bytes()]);
    for (value, expected) in [
        (format!("sha256={hex}"), true),
        (format!("SHA256={}", hex.to_uppercase()), true),
        (format!("sha256={wrong}"), false),
        (format!("sha1={hex}"), false),
        (format!("sha512={hex}"), false),
        (format!("sha256={hex}00"), false),
        (format!("sha256={}", &hex[1..]), false),
        (format!("sha256=sha256={hex}"), false),
        (format!("={hex}"), false),
        (hex.clone(), false),
        ("sha256=".to_owned(), false),
        (String::new(), false),
    ] {
        let webhook = FakeWebhook::post(TIMELESS).header(HUB, value.as_bytes());
        assert_eq!(validate(&host("signature"), &webhook), Ok(expected), "{value}");
    }
    let signed = FakeWebhook::post(TIMELESS).hub_signed(HUB, SECRET);
    assert_eq!(
        validate(&FakeHost::new().secret("webhook_secret", SECRET).setting("api_auth", "bearer"), &signed),
        Ok(true)
    );
    let twice = signed.clone().hub_signed(HUB, SECRET);
    assert_eq!(validate(&host("signature"), &twice), Ok(false), "two headers");
    assert_eq!(validate(&host("signature"), &FakeWebhook::post(TIMELESS)), Ok(false), "no header");
    let changed = FakeWebhook::post(TIMELESS.replace("IT-42", "IT-43")).header(HUB, format!("sha256={hex}"));
    assert_eq!(validate(&host("signature"), &changed), Ok(false), "another body");
    for auth in ["connect", "oauth", "token", "basic"] {
        assert_eq!(validate(&host(auth), &signed), Ok(false), "a signature does not stand in for {auth}");
    }
}

#[test]
fn what_is_signed_must_be_recent_where_it_says_when() {
    let sent = OffsetDateTime::from_unix_timestamp(1_772_442_900).unwrap();
    let at = |stamp: &str| format!(r#"{{"timestamp":{stamp},"webhookEvent":"jira:issue_created"}}"#);
    for (body, age, expected) in [
        (at("1772442900000"), 0, true),
        (at("1772442900000"), 300, true),
        (at("1772442900000"), 301, false),
        (at("1772442900000"), -30, true),
        (at("1772442900000"), -31, false),
        (at("\"1772442900000\""), 301, false),
        // Escapes do not hide it.
        (at("1772442900000").replace("timestamp", r"\u0074imestamp"), 301, false),
        (TIMELESS.to_owned(), 99_999, true),
        // What extract will refuse is authentic all the same.
        (at("\"yesterday\""), 99_999, true),
        (at("-1"), 99_999, true),
        ("not json".to_owned(), 99_999, true),
        (String::new(), 99_999, true),
    ] {
        let received = sent + Duration::seconds(age);
        let webhook = FakeWebhook::post(body.clone()).hub_signed(HUB, SECRET).received_at(received);
        assert_eq!(validate(&host("signature"), &webhook), Ok(expected), "{body} after {age} s");
    }
}

/// A JSON Web Token as apps get them.
fn token(claims: &str) -> String {
    let signed = [r#"{"typ":"JWT","alg":"HS256"}"#, claims].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
    let mac = base64_mac(SECRET.as_bytes(), &[signed.as_bytes()]).replace('+', "-").replace('/', "_");
    format!("{signed}.{}", mac.trim_end_matches('='))
}

#[test]
fn tokens_of_apps() {
    // SHA-256 of "POST&/webhooks/acme&" and of "POST&/acme&event=created".
    const HERE: &str = "1955685ddc3caf5762ba82f0abe3932a48d010024fe32da51f4a3187d30b28db";
    const BELOW: &str = "5a19797505ac8ef4186a7d6e6d038f8b4775adfba4bc5f48e77ab95843b0573e";
    let now = OffsetDateTime::from_unix_timestamp(1_772_442_960).unwrap();
    let claims = |more: &str| token(&format!(r#"{{"iss":"site","iat":1772442900,"exp":1772443080{more}}}"#));
    let (here, below) = (claims(&format!(r#","qsh":"{HERE}""#)), claims(&format!(r#","qsh":"{BELOW}""#)));
    let plain = claims("");
    let over = token(r#"{"iss":"site","iat":1772442000,"exp":1772442180}"#);
    let connect = || host("connect");
    let based = || host("connect").setting("connect_base_path", "/webhooks");
    for (host, query, header, expected) in [
        (host("oauth"), "", format!("Bearer {plain}"), true),
        (host("oauth"), "", format!("Bearer {over}"), false),
        (host("oauth"), "", format!("JWT {plain}"), false),
        (host("oauth"), "", "Bearer ".to_owned(), false),
        (host("oauth"), "", format!("Bearer {SECRET}"), false),
        (host("oauth"), "", format!("Bearer {plain}x"), false),
        (connect(), "", format!("JWT {here}"), true),
        (connect(), "event=created", format!("JWT {here}"), false),
        (connect(), "", format!("JWT {below}"), false),
        (based(), "event=created", format!("JWT {below}"), true),
        (based(), "", format!("JWT {below}"), false),
        (connect(), "", format!("JWT {plain}"), false),
        (connect(), "", format!("JWT {}", claims(r#","qsh":"context-qsh""#)), false),
        (connect(), "", format!("Bearer {here}"), false),
        (host("signature"), "", format!("JWT {here}"), false),
    ] {
        let webhook = FakeWebhook::post(TIMELESS).header("authorization", header.as_bytes()).query(query);
        assert_eq!(validate(&host, &webhook.received_at(now)), Ok(expected), "{query} {header}");
    }
}

#[test]
fn the_secret_itself_where_the_tenant_says_so() {
    for (host, header, value, expected) in [
        (host("token"), "x-webhook-token", SECRET, true),
        (host("token"), "x-webhook-token", "guess", false),
        (host("token"), "x-other", SECRET, false),
        (host("token").setting("token_header", "X-Rule"), "x-rule", SECRET, true),
        (host("basic"), "authorization", "Basic cGF0Y2hiYXk6Y29ycmVjdCBob3JzZQ==", true), // patchbay:correct horse
        (host("basic").setting("basic_user", "jira"), "authorization", "Basic amlyYTpjb3JyZWN0IGhvcnNl", true),
        (host("basic"), "authorization", "Basic amlyYTpjb3JyZWN0IGhvcnNl", false), // jira:correct horse
        (host("basic"), "authorization", "Basic cGF0Y2hiYXk6Z3Vlc3M=", false),     // patchbay:guess
    ] {
        let webhook = FakeWebhook::post("{}").header(header, value);
        assert_eq!(validate(&host, &webhook), Ok(expected), "{header}: {value}");
    }
}

#[test]
fn an_absent_or_empty_secret_refuses() {
    let webhook = FakeWebhook::post(TIMELESS)
        .hub_signed(HUB, "")
        .header("x-webhook-token", "")
        .header("authorization", "Basic cGF0Y2hiYXk6");
    for auth in ["signature", "connect", "oauth", "token", "basic"] {
        let without = FakeHost::new().setting("api_auth", "bearer").setting("webhook_auth", auth);
        assert_eq!(validate(&without, &webhook), Ok(false), "{auth}");
        assert_eq!(validate(&without.secret("webhook_secret", ""), &webhook), Ok(false), "{auth}");
    }
}

#[test]
fn broken_settings_are_the_tenants_fault() {
    let fault = validate(&host("none"), &FakeWebhook::post("{}")).unwrap_err();
    assert!(matches!(&fault, PluginError::Configuration(text) if text.contains("webhook_auth")), "{fault}");
}

proptest! {
    #[test]
    fn any_proof_is_answered(auth in 0..5_usize, header in 0..3_usize, value in "\\PC{0,60}", body in proptest::collection::vec(any::<u8>(), 0..60)) {
        let auth = ["signature", "connect", "oauth", "token", "basic"][auth];
        let header = [HUB, "authorization", "x-webhook-token"][header];
        for value in [value.clone(), format!("JWT {value}"), format!("Bearer {value}.{value}.{value}"), format!("sha256={value}")] {
            let webhook = FakeWebhook::post(body.clone()).header(header, value.as_bytes());
            proptest::prop_assert_eq!(validate(&host(auth), &webhook), Ok(false));
        }
    }
}
