//! Which webhooks are authentic, through the plugin's trait.

use plugin_abi::{
    prelude::*,
    testing::{FakeHost, FakeWebhook, hex_mac},
    time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339},
};
use servicedesk_plus::ServiceDeskPlus;

const SECRET: &str = "correct horse";
const BARE: &str = "X-ServiceDesk-Signature";
const HUB: &str = "X-Webhook-Signature";
/// Not a created event of the flat form: no time is looked at.
const TIMELESS: &str = include_str!("fixtures/flat-resolved.json");

fn validate(host: &FakeHost, webhook: &FakeWebhook) -> Result<bool, PluginError> {
    ServiceDeskPlus.validate_webhook(&host.tenant(), &webhook.borrow())
}

fn host() -> FakeHost {
    FakeHost::new().secret("webhook_secret", SECRET)
}

#[test]
fn a_signature_counts_in_either_header_and_every_one_must_hold() {
    let hex = hex_mac(SECRET.as_bytes(), &[TIMELESS.as_bytes()]);
    let wrong = hex_mac(b"another", &[TIMELESS.as_bytes()]);
    let hub = |hex: &str| format!("sha256={hex}");
    for (headers, expected) in [
        (vec![(BARE, hex.clone())], true),
        (vec![(BARE, hex.to_uppercase())], true),
        (vec![(HUB, hub(&hex))], true),
        (vec![(BARE, hex.clone()), (HUB, hub(&hex))], true),
        (vec![], false),
        (vec![(BARE, String::new())], false),
        (vec![(BARE, wrong.clone())], false),
        (vec![(BARE, hub(&hex))], true),
        (vec![(BARE, format!(" SHA256={} ", hex.to_uppercase()))], true),
        (vec![(BARE, hub(&hex)), (HUB, hub(&hex))], true),
        (vec![(BARE, hub(&wrong))], false),
        (vec![(BARE, format!("sha1={hex}"))], false),
        (vec![(BARE, format!("={hex}"))], false),
        (vec![(BARE, hub(&hub(&hex)))], false),
        (vec![(BARE, hub(""))], false),
        (vec![(BARE, hub(&hex)), (BARE, hex.clone())], false),
        (vec![(BARE, hex[1..].to_owned())], false),
        (vec![(BARE, format!("{hex}00"))], false),
        (vec![(HUB, hex.clone())], false),
        (vec![(HUB, hub(&wrong))], false),
        (vec![(HUB, format!("sha1={hex}"))], false),
        (vec![(BARE, hex.clone()), (HUB, hub(&wrong))], false),
        (vec![(BARE, wrong.clone()), (HUB, hub(&hex))], false),
        (vec![(BARE, hex.clone()), (BARE, hex.clone())], false),
        (vec![(BARE, hex.clone()), (BARE, hex.clone()), (HUB, hub(&hex))], false),
        (vec![("authorization", format!("Bearer {SECRET}"))], false),
        (vec![("x-webhook-token", SECRET.to_owned())], false),
    ] {
        let webhook = headers
            .iter()
            .fold(FakeWebhook::post(TIMELESS), |webhook, (name, value)| webhook.header(name, value.as_bytes()));
        assert_eq!(validate(&host(), &webhook), Ok(expected), "{headers:?}");
    }
}

#[test]
fn the_raw_bytes_are_signed() {
    for body in ["", "not json", "{}", "{\"a\":1,}", "\u{feff}{}"] {
        assert_eq!(validate(&host(), &FakeWebhook::post(body).hex_signed(BARE, SECRET)), Ok(true), "{body}");
    }
    let hex = hex_mac(SECRET.as_bytes(), &[TIMELESS.as_bytes()]);
    let changed = FakeWebhook::post(TIMELESS.trim_end()).header(BARE, hex);
    assert_eq!(validate(&host(), &changed), Ok(false));
}

#[test]
fn an_absent_or_empty_secret_refuses() {
    let webhook = FakeWebhook::post(TIMELESS).hex_signed(BARE, "");
    assert_eq!(validate(&FakeHost::new(), &webhook), Ok(false));
    assert_eq!(validate(&FakeHost::new().secret("webhook_secret", ""), &webhook), Ok(false));
    for auth in ["token", "basic"] {
        let host = FakeHost::new().secret("webhook_secret", "").setting("webhook_auth", auth);
        let webhook =
            FakeWebhook::post("{}").header("x-webhook-token", "").header("authorization", "Basic cGF0Y2hiYXk6");
        assert_eq!(validate(&host, &webhook), Ok(false), "{auth}");
    }
}

#[test]
fn created_events_of_the_flat_form_must_be_recent() {
    let sent = OffsetDateTime::parse("2026-03-02T08:15:00Z", &Rfc3339).unwrap();
    let flat = |event: &str, at: &str| {
        format!(r#"{{"tenant_id":"acme","ticket_id":"1","event":"{event}","created_at":"{at}"}}"#)
    };
    let created = flat("ticket_created", "2026-03-02T08:15:00Z");
    for (body, age, expected) in [
        (created.clone(), 0, true),
        (created.clone(), 300, true),
        (created.clone(), 301, false),
        (created.clone(), -30, true),
        (created.clone(), -31, false),
        (flat("ticket_created", "2026-03-02T09:15:00+01:00"), 301, false),
        (flat("Created", "2026-03-02T08:15:00Z"), 301, false),
        // Escapes do not hide what it is.
        (flat(r"ticket_\u0063reated", "2026-03-02T08:15:00Z"), 301, false),
        (flat("ticket_updated", "2026-03-02T08:15:00Z"), 9999, true),
        (flat("ticket_resolved", "2026-03-02T08:15:00Z"), 9999, true),
        // Read as extract reads it: whatever bytes are around the time, and in whatever form it is.
        (format!("\u{feff}{}", created.replace("acme", "ac\\ud83dme")), 301, false),
        (flat("ticket_created", "20260302T081500Z"), 301, false),
        (flat("ticket_created", "2026-03-02 08:15:00"), 301, false),
        (flat("ticket_created", "2026-03-02T10:15:00.000+0200"), 301, false),
        (flat("ticket_created", "2026-03-02T10:15:00.000+0200"), 0, true),
        // What extract will refuse is authentic all the same.
        (flat("ticket_created", "yesterday"), 9999, true),
        (format!("{created}x"), 9999, true),
        (include_str!("fixtures/request-created.json").to_owned(), 9999, true),
    ] {
        let received = sent + Duration::seconds(age);
        let webhook = FakeWebhook::post(body.clone()).hex_signed(BARE, SECRET).received_at(received);
        assert_eq!(validate(&host(), &webhook), Ok(expected), "{body} after {age} s");
    }
}

#[test]
fn what_the_address_calls_created_must_be_recent_too() {
    let sent = OffsetDateTime::parse("2026-03-02T08:15:00Z", &Rfc3339).unwrap();
    let flat = r#"{"tenant_id":"acme","ticket_id":"1","created_at":"2026-03-02T08:15:00Z"}"#;
    let updated = flat.replace("}", r#","event":"ticket_updated"}"#);
    for (path, body, expected) in [
        ("/api/webhooks/ticket-created", flat, false),
        ("/api/webhooks/ticket-created/", flat, false),
        ("/api/webhooks/ticket-created", &updated, true),
        ("/webhook/servicedesk/resolved-ticket", flat, true),
        ("/webhooks/acme", flat, true),
    ] {
        let webhook = FakeWebhook::post(body).path(path).hex_signed(BARE, SECRET);
        let late = webhook.received_at(sent + Duration::seconds(301));
        assert_eq!(validate(&host(), &late), Ok(expected), "{path} {body}");
    }
}

#[test]
fn the_tenant_says_how_far_ahead_a_sender_may_be() {
    let sent = OffsetDateTime::parse("2026-03-02T08:15:00Z", &Rfc3339).unwrap();
    let body = r#"{"ticket_id":"1","event":"ticket_created","created_at":"2026-03-02T08:15:00Z"}"#;
    for (ahead, seconds, expected) in [(120, 120, true), (120, 121, false), (0, 0, true), (0, 1, false)] {
        let webhook = FakeWebhook::post(body).hex_signed(BARE, SECRET).received_at(sent - Duration::seconds(seconds));
        let host = host().replay_ahead(std::time::Duration::from_secs(ahead));
        assert_eq!(validate(&host, &webhook), Ok(expected), "{seconds} s ahead of at most {ahead} s");
    }
}

#[test]
fn a_static_token_where_the_tenant_says_so() {
    let named = |name: &str| host().setting("webhook_auth", "token").setting("token_header", name);
    for (host, header, value, expected) in [
        (host().setting("webhook_auth", "token"), "x-webhook-token", SECRET.to_owned(), true),
        (host().setting("webhook_auth", "token"), "x-webhook-token", "guess".to_owned(), false),
        (host().setting("webhook_auth", "token"), "x-other", SECRET.to_owned(), false),
        (named("X-Desk-Token"), "x-desk-token", SECRET.to_owned(), true),
        (named("Authorization"), "authorization", format!("Bearer {SECRET}"), true),
        // A signature does not stand in for the token.
        (host().setting("webhook_auth", "token"), BARE, hex_mac(SECRET.as_bytes(), &[b"{}"]), false),
    ] {
        let webhook = FakeWebhook::post("{}").header(header, value.as_bytes());
        assert_eq!(validate(&host, &webhook), Ok(expected), "{header}: {value}");
    }
    let twice = FakeWebhook::post("{}").header("x-webhook-token", SECRET).header("x-webhook-token", SECRET);
    assert_eq!(validate(&host().setting("webhook_auth", "token"), &twice), Ok(false));
}

#[test]
fn basic_authentication_where_the_tenant_says_so() {
    let default = || host().setting("webhook_auth", "basic");
    for (host, value, expected) in [
        (default(), "Basic cGF0Y2hiYXk6Y29ycmVjdCBob3JzZQ==", true), // patchbay:correct horse
        (default().setting("basic_user", "sdp"), "basic c2RwOmNvcnJlY3QgaG9yc2U=", true), // sdp:correct horse
        (default(), "Basic c2RwOmNvcnJlY3QgaG9yc2U=", false),
        (default(), "Basic cGF0Y2hiYXk6Z3Vlc3M=", false), // patchbay:guess
        (default(), "Bearer correct horse", false),
        (default(), "Basic !", false),
    ] {
        let webhook = FakeWebhook::post("{}").header("authorization", value);
        assert_eq!(validate(&host, &webhook), Ok(expected), "{value}");
    }
}

#[test]
fn broken_settings_are_the_tenants_fault() {
    let host = host().setting("webhook_auth", "none");
    let fault = validate(&host, &FakeWebhook::post("{}")).unwrap_err();
    assert!(matches!(&fault, PluginError::Configuration(text) if text.contains("webhook_auth")), "{fault}");
}
