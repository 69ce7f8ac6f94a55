//! Which webhooks are authentic, through the plugin's trait.

use freshservice::Freshservice;
use plugin_abi::{
    prelude::*,
    testing::{FakeHost, FakeWebhook, hex_mac},
};
use proptest::prelude::{any, proptest};

const SECRET: &str = "correct horse";

fn validate(host: &FakeHost, webhook: &FakeWebhook) -> Result<bool, PluginError> {
    Freshservice.validate_webhook(&host.tenant(), &webhook.borrow())
}

fn host() -> FakeHost {
    FakeHost::new().secret("webhook_secret", SECRET)
}

#[test]
fn the_token_counts_in_the_tenants_header_alone() {
    let named = |name: &str| host().setting("token_header", name);
    for (host, header, value, expected) in [
        (host(), "x-webhook-token", SECRET.to_owned(), true),
        (host(), "X-Webhook-Token", format!(" {SECRET} "), true),
        (host(), "x-webhook-token", "guess".to_owned(), false),
        (host(), "x-webhook-token", String::new(), false),
        (host(), "x-webhook-token", SECRET.to_uppercase(), false),
        (host(), "x-webhook-token", format!("{SECRET}x"), false),
        (host(), "x-webhook-token", SECRET[1..].to_owned(), false),
        (host(), "x-other", SECRET.to_owned(), false),
        (named("X-Desk_Token"), "x-desk_token", SECRET.to_owned(), true),
        (named("X-Desk_Token"), "x-webhook-token", SECRET.to_owned(), false),
        (named("Authorization"), "authorization", format!("Bearer {SECRET}"), true),
        (named("Authorization"), "authorization", "Bearer".to_owned(), false),
        // Freshservice signs nothing: a signature does not stand in for the token.
        (host(), "x-webhook-token", hex_mac(SECRET.as_bytes(), &[b"{}"]), false),
        (host(), "x-hub-signature-256", hex_mac(SECRET.as_bytes(), &[b"{}"]), false),
    ] {
        let webhook = FakeWebhook::post("{}").header(header, value.as_bytes());
        assert_eq!(validate(&host, &webhook), Ok(expected), "{header}: {value}");
    }
    let twice = FakeWebhook::post("{}").header("x-webhook-token", SECRET).header("x-webhook-token", SECRET);
    assert_eq!(validate(&host(), &twice), Ok(false));
    assert_eq!(validate(&host(), &FakeWebhook::post("{}")), Ok(false));
    assert_eq!(validate(&host(), &FakeWebhook::post("{}").query("x-webhook-token=correct%20horse")), Ok(false));
}

#[test]
fn basic_authentication_where_the_tenant_says_so() {
    let default = || host().setting("webhook_auth", "basic");
    for (host, value, expected) in [
        (default(), "Basic cGF0Y2hiYXk6Y29ycmVjdCBob3JzZQ==", true), // patchbay:correct horse
        (default().setting("basic_user", "fs"), "basic ZnM6Y29ycmVjdCBob3JzZQ==", true), // fs:correct horse
        (default(), "Basic ZnM6Y29ycmVjdCBob3JzZQ==", false),
        (default(), "Basic cGF0Y2hiYXk6Z3Vlc3M=", false), // patchbay:guess
        (default(), "Basic cGF0Y2hiYXk=", false),         // patchbay
        (default(), "Bearer correct horse", false),
        (default(), "Basic !", false),
        (default(), "Basic", false),
        // The token's scheme, in the header of Basic.
        (host(), "Basic cGF0Y2hiYXk6Y29ycmVjdCBob3JzZQ==", false),
    ] {
        let webhook = FakeWebhook::post("{}").header("authorization", value);
        assert_eq!(validate(&host, &webhook), Ok(expected), "{value}");
    }
}

#[test]
fn an_absent_or_empty_secret_refuses() {
    let webhook = FakeWebhook::post("{}").header("x-webhook-token", "").header("authorization", "Basic cGF0Y2hiYXk6");
    for auth in ["token", "basic"] {
        for host in [FakeHost::new(), FakeHost::new().secret("webhook_secret", "")] {
            assert_eq!(validate(&host.setting("webhook_auth", auth), &webhook), Ok(false), "{auth}");
        }
    }
}

#[test]
fn the_body_plays_no_part() {
    for body in ["", "not json", "{}", "\u{feff}{}"] {
        let webhook = FakeWebhook::post(body).header("x-webhook-token", SECRET);
        assert_eq!(validate(&host(), &webhook), Ok(true), "{body}");
    }
}

#[test]
fn broken_settings_are_the_tenants_fault() {
    let host = host().setting("webhook_auth", "signature");
    let fault = validate(&host, &FakeWebhook::post("{}")).unwrap_err();
    assert!(matches!(&fault, PluginError::Configuration(text) if text.contains("webhook_auth")), "{fault}");
}

proptest! {
    #[test]
    fn any_header_is_answered(value in proptest::collection::vec(any::<u8>(), 0..80), basic in "[bB]asic [A-Za-z0-9+/= ]{0,40}") {
        for auth in ["token", "basic"] {
            let host = host().setting("webhook_auth", auth);
            let bytes = FakeWebhook::post("{}").header("x-webhook-token", value.clone()).header("authorization", basic.as_str());
            proptest::prop_assert_eq!(validate(&host, &bytes), Ok(false));
        }
    }
}
