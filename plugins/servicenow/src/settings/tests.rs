use plugin_abi::testing::FakeHost;

use super::*;

fn check<R>(settings: &[(&str, &str)], look: impl FnOnce(Result<Settings<'_>, PluginError>) -> R) -> R {
    let host = settings.iter().fold(FakeHost::new(), |host, (name, value)| host.setting(name, value));
    look(Settings::read(&host.tenant()))
}

#[test]
fn every_setting_has_a_default() {
    check(&[], |settings| {
        let settings = settings.unwrap();
        assert!(matches!(settings.webhook_auth, WebhookAuth::Signature(_)));
        let rest = (settings.table, settings.read_back, settings.api_auth, settings.note_format);
        assert_eq!(rest, ("incident", false, ApiAuth::Basic { user: "patchbay" }, Format::Text));
        assert_eq!(settings.note_chars_max, 4_000);
    });
}

#[test]
fn what_is_set_is_taken() {
    let set = [
        ("table", "sn_customerservice_case"),
        ("webhook_auth", "basic"),
        ("basic_user", "snow"),
        ("read_back", "true"),
        ("api_auth", "bearer"),
        ("note_format", "html"),
        ("note_chars_max", "200"),
    ];
    check(&set, |settings| {
        let expected = Settings {
            table: "sn_customerservice_case",
            webhook_auth: WebhookAuth::Presented(Presented::Basic { user: "snow" }),
            read_back: true,
            api_auth: ApiAuth::Bearer,
            note_format: Format::Html,
            note_chars_max: 200,
        };
        assert_eq!(settings, Ok(expected));
    });
    check(&[("webhook_auth", "token"), ("token_header", "X-Desk"), ("api_user", "svc.patchbay")], |settings| {
        let settings = settings.unwrap();
        assert_eq!(settings.webhook_auth, WebhookAuth::Presented(Presented::Token { header: "x-desk".into() }));
        assert_eq!(settings.api_auth, ApiAuth::Basic { user: "svc.patchbay" });
    });
}

#[test]
fn errors_name_the_setting_at_fault() {
    for (settings, name) in [
        (&[("table", "")][..], "table"),
        (&[("table", "../sys_user")], "table"),
        (&[("table", "Incident")], "table"),
        (&[("webhook_auth", "none")], "webhook_auth"),
        (&[("webhook_auth", "token"), ("token_header", "x token")], "token_header"),
        (&[("webhook_auth", "basic"), ("basic_user", "a:b")], "basic_user"),
        (&[("read_back", "yes")], "read_back"),
        (&[("api_auth", "oauth2")], "api_auth"),
        (&[("api_user", "")], "api_user"),
        (&[("api_user", "a:b")], "api_user"),
        (&[("note_format", "markdown")], "note_format"),
        (&[("note_chars_max", "many")], "note_chars_max"),
        (&[("note_chars_max", "199")], "note_chars_max"),
        (&[("note_chars_max", "1000001")], "note_chars_max"),
        (&[("signature_header", "")], "signature_header"),
        (&[("signature_header", "x sig")], "signature_header"),
        (&[("timestamp_header", "ts:")], "timestamp_header"),
        (&[("signature_encoding", "base32")], "signature_encoding"),
        (&[("signing_key", "raw")], "signing_key"),
        (&[("signed_string", "")], "signed_string"),
        (&[("signed_string", "{timestamp}")], "signed_string"),
        (&[("signed_string", "{body}{body}")], "signed_string"),
        (&[("signed_string", "{timestamp}{timestamp}{body}")], "signed_string"),
        (&[("signed_string", "{time}.{body}")], "signed_string"),
        (&[("signed_string", "{body")], "signed_string"),
        (&[("signed_string", "body}{body}")], "signed_string"),
    ] {
        let message = check(settings, |read| read.unwrap_err().to_string());
        assert!(message.contains(&format!("setting {name} ")), "{settings:?}: {message}");
    }
}
