//! Which webhooks are authentic, through the plugin's trait.

#![allow(clippy::unwrap_used, reason = "in a test, also in the functions that its tests share")]

use plugin_abi::{
    prelude::*,
    testing::{FakeHost, FakeWebhook, base64_mac, hex_mac},
    time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339},
};
use proptest::prelude::{ProptestConfig, proptest};
use zendesk::Zendesk;

const SECRET: &str = "dGhpc19vbmUgaXMgb3VyIG93bg==";
const SIGNATURE: &str = "X-Zendesk-Webhook-Signature";
const TIMESTAMP: &str = "X-Zendesk-Webhook-Signature-Timestamp";
const SENT: &str = "2026-03-02T09:15:01Z";
const BODY: &str = include_str!("fixtures/event-created.json");

fn host() -> FakeHost {
    FakeHost::new().secret("webhook_secret", SECRET)
}

fn validate(host: &FakeHost, webhook: &FakeWebhook) -> Result<bool, PluginError> {
    Zendesk.validate_webhook(&host.tenant(), &webhook.borrow())
}

fn sent() -> OffsetDateTime {
    OffsetDateTime::parse(SENT, &Rfc3339).unwrap()
}

fn signature(secret: &str, timestamp: &str, body: &str) -> String {
    base64_mac(secret.as_bytes(), &[timestamp.as_bytes(), body.as_bytes()])
}

fn webhook(body: &str, headers: &[(&str, &str)]) -> FakeWebhook {
    let webhook = FakeWebhook::post(body).received_at(sent());
    headers.iter().fold(webhook, |webhook, (name, value)| webhook.header(name, *value))
}

/// A webhook that somebody else has kept with its signature, made with the secret that Zendesk's documentation gives for
/// tests: `test_files/requests/webhook/user/group_membership_created.json` of aaronellington/zendesk-go.
#[test]
fn a_published_webhook_is_authentic() {
    let published = || {
        FakeWebhook::post(include_bytes!("fixtures/signed-vector.json").as_slice())
            .header(TIMESTAMP, "1234")
            .header(SIGNATURE, "10IqYzYTLHRftNsNE+im0DeOM6/JactIRuy0XCHJ9B8=")
    };
    let host = FakeHost::new().secret("webhook_secret", "dGhpc19zZWNyZXRfaXNfZm9yX3Rlc3Rpbmdfb25seQ==");
    let then = OffsetDateTime::from_unix_timestamp(1234).unwrap();
    assert_eq!(validate(&host, &published().received_at(then)), Ok(true));
    assert_eq!(validate(&host, &published()), Ok(false), "that was in 1970");
    // The secret's text is the key, not what it decodes to.
    let decoded = FakeHost::new().secret("webhook_secret", "this_secret_is_for_testing_only");
    assert_eq!(validate(&decoded, &published().received_at(then)), Ok(false));
}

#[test]
fn time_stamp_and_body_are_signed_in_this_order_and_nothing_else_counts() {
    let right = signature(SECRET, SENT, BODY);
    let hex = hex_mac(SECRET.as_bytes(), &[SENT.as_bytes(), BODY.as_bytes()]);
    let turned = base64_mac(SECRET.as_bytes(), &[BODY.as_bytes(), SENT.as_bytes()]);
    let body_only = signature(SECRET, "", BODY);
    let other_key = signature("another", SENT, BODY);
    let later = "2026-03-02T09:15:02Z";
    for (headers, expected) in [
        (vec![(SIGNATURE, right.as_str()), (TIMESTAMP, SENT)], true),
        (vec![(SIGNATURE, right.trim_end_matches('=')), (TIMESTAMP, SENT)], true),
        (vec![(SIGNATURE, &right)], false),
        (vec![(TIMESTAMP, SENT)], false),
        (vec![], false),
        (vec![(SIGNATURE, ""), (TIMESTAMP, SENT)], false),
        (vec![(SIGNATURE, &hex), (TIMESTAMP, SENT)], false),
        (vec![(SIGNATURE, &turned), (TIMESTAMP, SENT)], false),
        (vec![(SIGNATURE, &body_only), (TIMESTAMP, SENT)], false),
        (vec![(SIGNATURE, &other_key), (TIMESTAMP, SENT)], false),
        (vec![(SIGNATURE, &right), (TIMESTAMP, later)], false),
        (vec![(SIGNATURE, &right), (TIMESTAMP, "")], false),
        (vec![(SIGNATURE, &right), (TIMESTAMP, "yesterday")], false),
        (vec![(SIGNATURE, &right), (SIGNATURE, &right), (TIMESTAMP, SENT)], false),
        (vec![(SIGNATURE, &right), (TIMESTAMP, SENT), (TIMESTAMP, SENT)], false),
        (vec![("authorization", SECRET)], false),
    ] {
        assert_eq!(validate(&host(), &webhook(BODY, &headers)), Ok(expected), "{headers:?}");
    }
    for changed in [BODY.trim_end(), &BODY.replace("URGENT", "LOW"), &format!("{BODY} "), ""] {
        assert_eq!(validate(&host(), &webhook(changed, &[(SIGNATURE, &right), (TIMESTAMP, SENT)])), Ok(false));
    }
}

#[test]
fn what_is_signed_need_not_be_readable() {
    for body in ["", "not json", "{}", "\u{feff}{}"] {
        let headers = [(SIGNATURE, &*signature(SECRET, SENT, body)), (TIMESTAMP, SENT)];
        assert_eq!(validate(&host(), &webhook(body, &headers)), Ok(true), "{body}");
    }
}

#[test]
fn an_absent_or_empty_secret_refuses() {
    let signed = webhook(BODY, &[(SIGNATURE, &signature("", SENT, BODY)), (TIMESTAMP, SENT)]);
    assert_eq!(validate(&FakeHost::new(), &signed), Ok(false));
    assert_eq!(validate(&FakeHost::new().secret("webhook_secret", ""), &signed), Ok(false));
}

#[test]
fn an_old_time_stamp_refuses() {
    for (age, expected) in [(0, true), (300, true), (301, false), (-30, true), (-31, false), (86_400, false)] {
        let headers = [(SIGNATURE, &*signature(SECRET, SENT, BODY)), (TIMESTAMP, SENT)];
        let received = webhook(BODY, &headers).received_at(sent() + Duration::seconds(age));
        assert_eq!(validate(&host(), &received), Ok(expected), "after {age} s");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_other_header_is_taken(signature in ".{0,60}", timestamp in "[0-9TZ:.+-]{0,30}|.{0,30}") {
        let forged = webhook(BODY, &[(SIGNATURE, &signature), (TIMESTAMP, &timestamp)]);
        assert_eq!(validate(&host(), &forged), Ok(false));
    }
}
