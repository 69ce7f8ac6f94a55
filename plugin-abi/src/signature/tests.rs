//! Each scheme against published vectors and against what is nearly right.

use time::macros::datetime;

use super::*;
use crate::testing::{FakeHost, FakeWebhook, base64_mac, hex_mac};

const SECRET: &str = "s3cret";
const BODY: &[u8] = br#"{"id":"7"}"#;

fn host() -> FakeHost {
    FakeHost::new().secret("hook", SECRET).secret("empty", "")
}

fn hub_of(webhook: FakeWebhook) -> bool {
    hub(&host().tenant(), "hook", &webhook.borrow(), "x-sig").unwrap()
}

#[test]
fn hub_takes_sha256_of_the_raw_body_alone() {
    let mac = hex_mac(SECRET.as_bytes(), &[BODY]);
    for (value, expected) in [
        (format!("sha256={mac}"), true),
        (format!("SHA256={}", mac.to_uppercase()), true),
        (format!("sha1={mac}"), false),
        (format!("sha256={}", &mac[..62]), false),
        (format!("sha256={mac}00"), false),
        (mac, false),
        ("sha256=".to_owned(), false),
        (String::new(), false),
        (format!("sha256={}", hex_mac(b"other", &[BODY])), false),
        (format!("sha256={}", hex_mac(SECRET.as_bytes(), &[BODY, b" "])), false),
    ] {
        assert_eq!(hub_of(FakeWebhook::post(BODY).header("X-Sig", value.as_str())), expected, "{value}");
    }
    let twice = FakeWebhook::post(BODY).hub_signed("x-sig", SECRET).hub_signed("x-sig", SECRET);
    assert!(!hub_of(twice), "a repeated header was taken");
    assert!(!hub_of(FakeWebhook::post(BODY)), "a missing header was taken");
}

#[test]
fn an_empty_or_absent_secret_verifies_nothing() {
    for secret in ["empty", "absent"] {
        let webhook = FakeWebhook::post(BODY).hub_signed("x-sig", "").header("x-token", "");
        assert!(!hub(&host().tenant(), secret, &webhook.borrow(), "x-sig").unwrap());
        assert!(!static_token(&host().tenant(), secret, &webhook.borrow(), "x-token").unwrap());
    }
}

#[test]
fn zendesk_signs_time_stamp_and_body_with_the_undecoded_secret() {
    let secret = "dGhpc19zZWNyZXRfaXNfZm9yX3Rlc3Rpbmdfb25seQ==";
    let headers = ("x-zendesk-webhook-signature", "x-zendesk-webhook-signature-timestamp");
    let scheme = Timestamped::new(headers.0, headers.1, Encoding::Base64);
    let now = datetime!(2026-01-08 10:00:00 UTC);
    for (stamp, signed, expected) in [
        ("2026-01-08T09:56:00Z", "2026-01-08T09:56:00Z", true),
        ("2026-01-08T09:54:59Z", "2026-01-08T09:54:59Z", false),
        ("2026-01-08T10:00:30Z", "2026-01-08T10:00:30Z", true),
        ("2026-01-08T10:00:31Z", "2026-01-08T10:00:31Z", false),
        ("2026-01-08T09:56:00Z", "2026-01-08T09:56:01Z", false),
        ("yesterday", "yesterday", false),
    ] {
        let webhook = FakeWebhook::post(BODY)
            .received_at(now)
            .header(scheme.timestamp_header, stamp)
            .header(scheme.signature_header, base64_mac(secret.as_bytes(), &[signed.as_bytes(), BODY]));
        let host = FakeHost::new().secret("hook", secret);
        assert_eq!(timestamped(&host.tenant(), "hook", &webhook.borrow(), &scheme).unwrap(), expected, "{stamp}");
    }
}

#[test]
fn standard_webhooks_published_vector() {
    let host = FakeHost::new().secret("hook", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let at = OffsetDateTime::from_unix_timestamp(1_614_265_330).unwrap();
    for (signatures, received, expected) in [
        ("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", at, true),
        ("v1a,xx v1,AAAA v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", at, true),
        ("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", at + Duration::from_secs(301), false),
        ("v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", at, false),
        ("v1,h0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", at, false),
    ] {
        let webhook = FakeWebhook::post(br#"{"test": 2432232314}"#)
            .received_at(received)
            .header("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek")
            .header("webhook-timestamp", "1614265330")
            .header("webhook-signature", signatures);
        assert_eq!(standard_webhooks(&host.tenant(), "hook", &webhook.borrow()).unwrap(), expected, "{signatures}");
    }
}

#[test]
fn tokens_and_basic_credentials() {
    let host = host();
    for (header, value, expected) in [
        ("x-token", "s3cret", true),
        ("x-token", "s3cre", false),
        ("authorization", "Bearer s3cret", true),
        ("authorization", "Bearer ", false),
    ] {
        let webhook = FakeWebhook::post(BODY).header(header, value);
        assert_eq!(static_token(&host.tenant(), "hook", &webhook.borrow(), header).unwrap(), expected, "{value}");
    }
    for (pair, expected) in
        [("sdp:s3cret", true), ("sdp:s3cret:", false), ("spd:s3cret", false), ("sdp", false), (":s3cret", false)]
    {
        let webhook = FakeWebhook::post(BODY).header("authorization", format!("Basic {}", STANDARD.encode(pair)));
        assert_eq!(basic(&host.tenant(), "sdp", "hook", &webhook.borrow()).unwrap(), expected, "{pair}");
    }
}

#[test]
fn a_web_token_must_be_signed_in_force_and_hs256() {
    let token = |head: &str, claims: &str, key: &str| {
        let signed = format!("{}.{}", BASE64_URL.encode(head), BASE64_URL.encode(claims));
        let mac = STANDARD.decode(base64_mac(key.as_bytes(), &[signed.as_bytes()])).unwrap();
        format!("{signed}.{}", BASE64_URL.encode(mac))
    };
    let now = datetime!(2026-01-08 10:00:00 UTC);
    let (later, earlier) = (now.unix_timestamp() + 60, now.unix_timestamp() - 60);
    let good = format!(r#"{{"iss":"jira","exp":{later},"iat":{earlier}}}"#);
    let head = r#"{"typ":"JWT","alg":"HS256"}"#;
    for (token, expected) in [
        (token(head, &good, SECRET), true),
        (token(head, &good, "other"), false),
        (token(r#"{"typ":"JWT","alg":"none"}"#, &good, SECRET), false),
        (token(head, &format!(r#"{{"exp":{earlier}}}"#), SECRET), false),
        (token(head, r#"{"iss":"jira"}"#, SECRET), false),
        (token(head, &format!(r#"{{"exp":{later},"iat":{later}}}"#), SECRET), false),
        (format!("{}.", token(head, &good, SECRET).rsplit_once('.').unwrap().0), false),
        ("a.b".to_owned(), false),
    ] {
        let claims = jwt_hs256(&host().tenant(), "hook", &token, now).unwrap();
        assert_eq!(claims.is_some(), expected, "{token}");
    }
}

type Scheme<'a> = Box<dyn Fn(&Tenant<'_>, &Webhook<'_>) -> bool + 'a>;

/// What an operator reads of each way in which a webhook can fail to prove its sender. What the host compares it tells itself.
#[test]
fn the_operator_is_told_why() {
    let now = datetime!(2026-01-08 10:00:00 UTC);
    let mac = hex_mac(SECRET.as_bytes(), &[BODY]);
    let good = format!("sha256={mac}");
    let stamped = |stamp: &'static str| {
        let mac = hex_mac(SECRET.as_bytes(), &[stamp.as_bytes(), BODY]);
        FakeWebhook::post(BODY).received_at(now).header("x-time", stamp).header("x-sig", mac)
    };
    let scheme = Timestamped::new("x-sig", "x-time", Encoding::Hex);
    let by_hub: Scheme<'_> = Box::new(|tenant, webhook| hub(tenant, "hook", webhook, "x-sig").unwrap());
    let by_time: Scheme<'_> = Box::new(|tenant, webhook| timestamped(tenant, "hook", webhook, &scheme).unwrap());
    let by_token: Scheme<'_> = Box::new(|tenant, webhook| static_token(tenant, "hook", webhook, "x-token").unwrap());
    let by_user: Scheme<'_> = Box::new(|tenant, webhook| basic(tenant, "sdp", "hook", webhook).unwrap());
    let basic_of =
        |pair: &str| FakeWebhook::post(BODY).header("authorization", format!("Basic {}", STANDARD.encode(pair)));
    for (scheme, webhook, why) in [
        (&by_hub, FakeWebhook::post(BODY), Some("the header x-sig is missing")),
        (
            &by_hub,
            FakeWebhook::post(BODY).header("x-sig", "7"),
            Some("the header x-sig is not sha256= and 64 hexadecimal digits"),
        ),
        (
            &by_hub,
            FakeWebhook::post(BODY).header("x-sig", "sha1=7"),
            Some("the header x-sig is not sha256= and 64 hexadecimal digits"),
        ),
        (
            &by_hub,
            FakeWebhook::post(BODY).header("x-sig", "sha256=7"),
            Some("the signature is not 64 hexadecimal digits"),
        ),
        (
            &by_hub,
            FakeWebhook::post(BODY).header("x-sig", good.as_str()).header("x-sig", good.as_str()),
            Some("the header x-sig is there more than once"),
        ),
        (&by_hub, FakeWebhook::post(b"other").header("x-sig", good.as_str()), None),
        (&by_time, FakeWebhook::post(BODY).header("x-sig", mac.as_str()), Some("the header x-time is missing")),
        (
            &by_time,
            stamped("yesterday"),
            Some("the header x-time is not a time: RFC 3339, or whole seconds since 1970"),
        ),
        (
            &by_time,
            stamped("2026-01-08T09:54:48Z"),
            Some("the signed time is stale by 12 s: it is 312 s old, and 300 s are allowed"),
        ),
        (
            &by_time,
            stamped("2026-01-08T10:00:37Z"),
            Some("the signed time is ahead by 7 s: it is 37 s after this host's clock, and 30 s are allowed"),
        ),
        (&by_token, FakeWebhook::post(BODY), Some("the header x-token is missing")),
        (&by_token, FakeWebhook::post(BODY).header("x-token", "wrong"), None),
        (&by_user, basic_of("spd:s3cret"), Some("the user of Authorization: Basic is another one")),
        (&by_user, basic_of("sdp:wrong"), None),
    ] {
        let host = host();
        assert!(!scheme(&host.tenant(), &webhook.borrow()), "{webhook:?}");
        assert_eq!(host.why_not_authentic().as_deref(), why, "{webhook:?}");
    }
    let host = host();
    assert!(by_time(&host.tenant(), &stamped("2026-01-08T09:55:00Z").borrow()));
    assert_eq!(host.why_not_authentic(), None, "nothing is said of what is authentic");
}

#[test]
fn a_time_is_never_late_by_nothing() {
    let why = Why::Stale { by: Duration::from_nanos(1), allowed: Duration::from_secs(300) };
    assert_eq!(why.to_string(), "the signed time is stale by 1 s: it is 301 s old, and 300 s are allowed");
}

#[test]
fn a_time_stamp_counts_what_the_scheme_says() {
    let now = datetime!(2026-01-08 10:00:00 UTC);
    let (seconds, ms) = (now.unix_timestamp().to_string(), (now.unix_timestamp() * 1_000 + 250).to_string());
    let old_ms = ((now.unix_timestamp() - 301) * 1_000).to_string();
    let scheme = Timestamped::new("x-sig", "x-time", Encoding::Hex).separator(".");
    for (unit, stamp, expected) in [
        (Unit::Seconds, &seconds, true),
        (Unit::Seconds, &ms, false),
        (Unit::Millis, &ms, true),
        (Unit::Millis, &seconds, false),
        (Unit::Millis, &old_ms, false),
    ] {
        let scheme = scheme.unit(unit);
        let webhook = FakeWebhook::post(BODY).received_at(now).timestamp_signed(&scheme, stamp, SECRET);
        let authentic = timestamped(&host().tenant(), "hook", &webhook.borrow(), &scheme).unwrap();
        assert_eq!(authentic, expected, "{unit:?}: {stamp}");
    }
}

#[test]
fn stripe_signs_time_stamp_dot_and_body_in_one_header() {
    let now = datetime!(2026-01-08 10:00:00 UTC);
    let stamp = now.unix_timestamp();
    let mac = hex_mac(SECRET.as_bytes(), &[stamp.to_string().as_bytes(), b".", BODY]);
    let old = hex_mac(SECRET.as_bytes(), &[(stamp - 301).to_string().as_bytes(), b".", BODY]);
    let other = "0".repeat(64);
    for (value, expected) in [
        (format!("t={stamp},v1={mac}"), true),
        (format!("t={stamp}, v1={other}, v1={mac}, v0={other}"), true),
        (format!("t={},v1={old}", stamp - 301), false),
        (format!("t={},v1={mac}", stamp - 1), false),
        (format!("t={stamp},v0={mac}"), false),
        (format!("t={stamp},v1={other}"), false),
        (format!("t={stamp},t={stamp},v1={mac}"), false),
        (format!("v1={mac}"), false),
        (format!("t=,v1={mac}"), false),
        (String::new(), false),
    ] {
        let webhook = FakeWebhook::post(BODY).received_at(now).header("x-sig", value.as_str());
        assert_eq!(stripe(&host().tenant(), "hook", &webhook.borrow(), "x-sig"), Ok(expected), "{value}");
    }
    let webhook = FakeWebhook::post(BODY).received_at(now).stripe_signed("x-sig", now, SECRET);
    assert_eq!(stripe(&host().tenant(), "hook", &webhook.borrow(), "x-sig"), Ok(true));
    let twice = webhook.stripe_signed("x-sig", now, SECRET);
    assert_eq!(stripe(&host().tenant(), "hook", &twice.borrow(), "x-sig"), Ok(false), "a repeated header was taken");
}
