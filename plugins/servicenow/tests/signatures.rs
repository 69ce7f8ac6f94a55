//! Which webhooks are authentic, through the plugin's trait.

#![allow(clippy::unwrap_used, reason = "in a test, also in the functions that its tests share")]

use plugin_abi::{
    prelude::*,
    testing::{FakeHost, FakeWebhook, base64_mac, hex_mac},
    time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339},
};
use proptest::prelude::{ProptestConfig, any, proptest};
use servicenow::ServiceNow;

const SECRET: &str = "correct horse";
const BODY: &str = include_str!("fixtures/record-created.json");
const SIGNATURE: &str = "x-servicenow-signature";
const TIMESTAMP: &str = "x-servicenow-timestamp";
const SENT: &str = "2026-03-02T08:15:00Z";

fn host() -> FakeHost {
    FakeHost::new().secret("webhook_secret", SECRET)
}

fn with(settings: &[(&str, &str)]) -> FakeHost {
    settings.iter().fold(host(), |host, (name, value)| host.setting(name, value))
}

fn validate(host: &FakeHost, webhook: &FakeWebhook) -> Result<bool, PluginError> {
    ServiceNow.validate_webhook(&host.tenant(), &webhook.borrow())
}

fn sent_at() -> OffsetDateTime {
    OffsetDateTime::parse(SENT, &Rfc3339).unwrap()
}

fn webhook(headers: &[(&str, String)]) -> FakeWebhook {
    let start = FakeWebhook::post(BODY).received_at(sent_at());
    headers.iter().fold(start, |webhook, (name, value)| webhook.header(name, value.as_bytes()))
}

/// The signature of the default scheme.
fn mac(stamp: &str) -> String {
    base64_mac(SECRET.as_bytes(), &[stamp.as_bytes(), b":", BODY.as_bytes()])
}

#[test]
fn time_stamp_and_body_are_signed_unless_the_tenant_says_otherwise() {
    let stamp = || (TIMESTAMP, SENT.to_owned());
    let wrong_key = base64_mac(b"another", &[SENT.as_bytes(), b":", BODY.as_bytes()]);
    for (headers, expected) in [
        (vec![stamp(), (SIGNATURE, mac(SENT))], true),
        (vec![(SIGNATURE, format!(" {} ", mac(SENT))), stamp()], true),
        (vec![stamp(), (SIGNATURE, mac(SENT).trim_end_matches('=').to_owned())], true),
        (vec![], false),
        (vec![stamp()], false),
        (vec![(SIGNATURE, mac(SENT))], false),
        (vec![stamp(), (SIGNATURE, String::new())], false),
        (vec![stamp(), (SIGNATURE, wrong_key)], false),
        (vec![stamp(), (SIGNATURE, base64_mac(SECRET.as_bytes(), &[BODY.as_bytes()]))], false),
        (vec![stamp(), (SIGNATURE, base64_mac(SECRET.as_bytes(), &[BODY.as_bytes(), b":", SENT.as_bytes()]))], false),
        (vec![stamp(), (SIGNATURE, hex_mac(SECRET.as_bytes(), &[SENT.as_bytes(), b":", BODY.as_bytes()]))], false),
        (vec![stamp(), (SIGNATURE, format!("sha256={}", mac(SENT)))], false),
        (vec![(TIMESTAMP, "2026-03-02T08:15:01Z".to_owned()), (SIGNATURE, mac(SENT))], false),
        (vec![stamp(), (SIGNATURE, mac(SENT)), (SIGNATURE, mac(SENT))], false),
        (vec![stamp(), stamp(), (SIGNATURE, mac(SENT))], false),
        (vec![("x-webhook-token", SECRET.to_owned())], false),
        (vec![("authorization", format!("Bearer {SECRET}"))], false),
    ] {
        assert_eq!(validate(&host(), &webhook(&headers)), Ok(expected), "{headers:?}");
    }
}

/// A business rule in public use: `x-amzn-event-…`, base64 of the HMAC of time stamp, colon and body.
#[test]
fn a_scheme_is_what_the_settings_say() {
    let key = SECRET.as_bytes();
    let body = BODY.as_bytes();
    for (settings, headers) in [
        (
            &[("signature_header", "X-Amzn-Event-Signature"), ("timestamp_header", "X-Amzn-Event-Timestamp")][..],
            vec![("x-amzn-event-timestamp", SENT.to_owned()), ("x-amzn-event-signature", mac(SENT))],
        ),
        (&[("signed_string", "{body}"), ("signature_encoding", "hex")], vec![(SIGNATURE, hex_mac(key, &[body]))]),
        (
            &[("signed_string", "{body}"), ("signature_encoding", "hex"), ("signature_prefix", "sha256=")],
            vec![(SIGNATURE, format!("sha256={}", hex_mac(key, &[body]).to_uppercase()))],
        ),
        (
            &[("signed_string", "v0.{timestamp}.{body}.end"), ("signature_prefix", "v0=")],
            vec![
                (TIMESTAMP, "1772439300".to_owned()),
                (SIGNATURE, format!("v0={}", base64_mac(key, &[b"v0.1772439300.", body, b".end"]))),
            ],
        ),
        (
            &[("signed_string", "{timestamp}{body}"), ("signing_key", "base64")],
            vec![
                (TIMESTAMP, "1772439300123".to_owned()),
                // The secret is Base64 of these bytes.
                (SIGNATURE, base64_mac(&[0xca, 0x8a, 0xde, 0x71, 0xe8, 0x68, 0xae, 0x2b], &[b"1772439300123", body])),
            ],
        ),
        (
            &[("signed_string", "{body}{timestamp}")],
            vec![
                (TIMESTAMP, "2026-03-02 08:15:00".to_owned()),
                (SIGNATURE, base64_mac(key, &[body, b"2026-03-02 08:15:00"])),
            ],
        ),
        (&[("signed_string", "{body}")], vec![(SIGNATURE, base64_mac(key, &[body]))]),
    ] {
        let secret = if settings.contains(&("signing_key", "base64")) { "yorecehoris=" } else { SECRET };
        let host = with(settings).secret("webhook_secret", secret);
        assert_eq!(validate(&host, &webhook(&headers)), Ok(true), "{settings:?}");
        let other = host.secret("webhook_secret", "b3RoZXI=");
        assert_eq!(validate(&other, &webhook(&headers)), Ok(false), "{settings:?}");
    }
    let hex_key = with(&[("signing_key", "hex"), ("signed_string", "{body}")]).secret("webhook_secret", "00ff");
    let signed = webhook(&[(SIGNATURE, base64_mac(&[0x00, 0xff], &[body]))]);
    assert_eq!(validate(&hex_key, &signed), Ok(true));
    let unusable = hex_key.secret("webhook_secret", "not hex");
    assert_eq!(validate(&unusable, &signed).unwrap_err().kind(), "configuration");
}

/// The HMAC-SHA256 of `key` over the fox, as published in Wikipedia's article on HMAC.
#[test]
fn a_published_vector_holds() {
    let fox = FakeWebhook::post("The quick brown fox jumps over the lazy dog")
        .header(SIGNATURE, "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8");
    let host = with(&[("signed_string", "{body}"), ("signature_encoding", "hex")]).secret("webhook_secret", "key");
    assert_eq!(validate(&host, &fox), Ok(true));
}

#[test]
fn a_signed_time_must_be_recent() {
    for (stamp, age, expected) in [
        (SENT, 0, true),
        (SENT, 300, true),
        (SENT, 301, false),
        (SENT, -30, true),
        (SENT, -31, false),
        ("1772439300", 300, true),
        ("1772439300", 301, false),
        ("1772439300000", 300, true),
        ("1772439300000", 301, false),
        ("2026-03-02 08:15:00", 300, true),
        ("2026-03-02 08:15:00", 301, false),
        ("2026-03-02T09:15:00+01:00", 300, true),
        ("02/03/2026 08:15:00", 0, false),
        ("", 0, false),
    ] {
        let webhook = FakeWebhook::post(BODY)
            .header(TIMESTAMP, stamp)
            .header(SIGNATURE, mac(stamp))
            .received_at(sent_at() + Duration::seconds(age));
        assert_eq!(validate(&host(), &webhook), Ok(expected), "{stamp:?} after {age} s");
    }
}

#[test]
fn an_absent_or_empty_secret_refuses() {
    let signed = webhook(&[
        (TIMESTAMP, SENT.to_owned()),
        (SIGNATURE, base64_mac(b"", &[SENT.as_bytes(), b":", BODY.as_bytes()])),
        ("x-webhook-token", String::new()),
        ("authorization", "Basic cGF0Y2hiYXk6".to_owned()), // patchbay:
    ]);
    for auth in ["signature", "token", "basic"] {
        for host in [FakeHost::new(), FakeHost::new().secret("webhook_secret", "")] {
            assert_eq!(validate(&host.setting("webhook_auth", auth), &signed), Ok(false), "{auth}");
        }
    }
}

#[test]
fn a_token_or_password_where_the_tenant_says_so() {
    let token: &[_] = &[("webhook_auth", "token")];
    let bearer: &[_] = &[("webhook_auth", "token"), ("token_header", "Authorization")];
    let basic: &[_] = &[("webhook_auth", "basic")];
    let named: &[_] = &[("webhook_auth", "basic"), ("basic_user", "snow")];
    for (settings, header, value, expected) in [
        (token, "x-webhook-token", SECRET, true),
        (token, "x-webhook-token", "guess", false),
        (token, "x-other", SECRET, false),
        (bearer, "authorization", "Bearer correct horse", true),
        (basic, "authorization", "Basic cGF0Y2hiYXk6Y29ycmVjdCBob3JzZQ==", true), // patchbay:correct horse
        (basic, "authorization", "Basic cGF0Y2hiYXk6Z3Vlc3M=", false),            // patchbay:guess
        (named, "authorization", "Basic c25vdzpjb3JyZWN0IGhvcnNl", true),         // snow:correct horse
        (named, "authorization", "Basic cGF0Y2hiYXk6Y29ycmVjdCBob3JzZQ==", false),
    ] {
        let webhook = webhook(&[(header, value.to_owned())]);
        assert_eq!(validate(&with(settings), &webhook), Ok(expected), "{settings:?} {value}");
    }
    // A signature does not stand in for either.
    let signed = webhook(&[(TIMESTAMP, SENT.to_owned()), (SIGNATURE, mac(SENT))]);
    for settings in [token, basic] {
        assert_eq!(validate(&with(settings), &signed), Ok(false), "{settings:?}");
    }
}

#[test]
fn broken_settings_are_the_tenants_fault() {
    let fault = validate(&with(&[("signed_string", "{payload}")]), &FakeWebhook::post("{}")).unwrap_err();
    assert!(matches!(&fault, PluginError::Configuration(text) if text.contains("signed_string")), "{fault}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_change_is_refused(at in any::<proptest::sample::Index>(), bit in 0_u8..8) {
        let mut body = BODY.as_bytes().to_vec();
        body[at.index(BODY.len())] ^= 1 << bit;
        let changed = FakeWebhook::post(body).header(TIMESTAMP, SENT).header(SIGNATURE, mac(SENT)).received_at(sent_at());
        assert_eq!(validate(&host(), &changed), Ok(false));
    }

    #[test]
    fn any_headers_and_templates_are_answered(stamp in "\\PC{0,40}", digits in "\\PC{0,60}", template in "[{}bodytimesp:.]{0,30}") {
        let webhook = FakeWebhook::post(BODY).header(TIMESTAMP, stamp.as_bytes()).header(SIGNATURE, digits.as_bytes());
        assert_eq!(validate(&host(), &webhook), Ok(false));
        let templated = host().setting("signed_string", &template);
        assert!(matches!(validate(&templated, &webhook), Ok(false) | Err(PluginError::Configuration(_))));
    }
}
