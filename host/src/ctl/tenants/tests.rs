//! Arguments and imports become requests, and no error repeats a secret.

use super::{
    import::{Imported, parse},
    *,
};
use crate::{
    admin::wire::TenantChange,
    ctl::args::{TenantOptions, UpdateTenant, Why},
    ids::{TenantId, ToolType},
};

fn given(secrets: &[&str], settings: &[&str]) -> AddTenant {
    AddTenant {
        id: TenantId::parse("acme").unwrap(),
        tool_type: Some(ToolType::parse("jira").unwrap()),
        base_url: "https://desk.example".to_owned(),
        options: options(secrets, settings),
        why: Why::default(),
    }
}

fn options(secrets: &[&str], settings: &[&str]) -> TenantOptions {
    TenantOptions {
        secrets: secrets.iter().map(|text| text.parse().unwrap()).collect(),
        settings: settings.iter().map(|text| (*text).to_owned()).collect(),
        allow_origins: Vec::new(),
        allow_from: Vec::new(),
        replay_window: Some(86_400),
        replay_ahead: Some(60),
        enhance_on: EnhanceOn::list("created,updated").ok(),
        force: false,
    }
}

fn add(secrets: &[&str], settings: &[&str]) -> Result<NewTenant, Failure> {
    new_tenant(given(secrets, settings), &mut SecretReader::new("piped".as_bytes()), &Console::deaf())
}

#[test]
fn options_become_a_request() {
    let tenant = add(&["a=@-", "b=x=y"], &["k=v=w", "empty="]).unwrap();
    assert_eq!((tenant.replay_window_s, tenant.replay_ahead_s), (Some(86_400), Some(60)));
    let json = serde_json::to_value(&tenant).unwrap();
    assert_eq!(json["secrets"], serde_json::json!({"a": "piped", "b": "x=y"}));
    assert_eq!(json["settings"], serde_json::json!({"k": "v=w", "empty": ""}));
    assert_eq!(json["tool_type"], "jira");
    assert_eq!(json["enhance_on"], serde_json::json!(["created", "updated"]));
}

fn update(given: UpdateTenant) -> Result<TenantChange, Failure> {
    update::change(given, &mut SecretReader::new("piped".as_bytes()), &Console::deaf())
}

fn nothing() -> UpdateTenant {
    UpdateTenant {
        id: TenantId::parse("acme").unwrap(),
        tool_type: None,
        base_url: None,
        options: TenantOptions::default(),
        unset: Vec::new(),
        remove_origins: Vec::new(),
        remove_from: Vec::new(),
        yes: true,
        why: Why::default(),
    }
}

#[test]
fn only_what_is_named_is_in_the_request() {
    let text = |text: &str| vec![text.to_owned()];
    let sparse = update(UpdateTenant { unset: text("k"), ..nothing() }).unwrap();
    let sparse = serde_json::to_value(sparse).unwrap();
    let named: Vec<_> =
        sparse.as_object().unwrap().iter().filter(|(_, value)| value.is_string() || value.is_number()).collect();
    assert!(named.is_empty(), "{named:?}");
    assert_eq!((&sparse["unset"], &sparse["dead_letter_jobs"]), (&serde_json::json!(["k"]), &true.into()));
    let full = update(UpdateTenant {
        tool_type: ToolType::parse("jira").ok(),
        base_url: Some("https://new.example".to_owned()),
        options: TenantOptions { allow_from: text("10.0.0.0/8"), ..options(&["a=@-"], &["k=v"]) },
        remove_from: text("192.0.2.7"),
        remove_origins: text("https://login.example"),
        yes: false,
        ..nothing()
    });
    assert_eq!(
        serde_json::to_value(full.unwrap()).unwrap(),
        serde_json::json!({
            "tool_type": "jira", "base_url": "https://new.example", "secrets": {"a": "piped"}, "settings": {"k": "v"},
            "unset": [], "allow_origins": [], "remove_origins": ["https://login.example"], "allow_from": ["10.0.0.0/8"],
            "remove_from": ["192.0.2.7"], "replay_window_s": 86_400, "replay_ahead_s": 60, "enhance_on": ["created", "updated"], "dead_letter_jobs": false,
        })
    );
}

#[test]
fn an_update_that_names_nothing_or_one_thing_twice_is_usage() {
    let with = |secrets: &[&str], settings: &[&str]| UpdateTenant { options: options(secrets, settings), ..nothing() };
    for given in [nothing(), with(&["a=1", "a=2"], &[]), with(&[], &["k=1", "k=2"]), with(&[], &["k"])] {
        let failure = update(given).unwrap_err();
        assert_eq!(failure.exit, super::super::failure::Exit::Usage, "{failure:?}");
    }
}

#[test]
fn misspelt_options_are_usage() {
    for (secrets, settings) in
        [(&["a=1", "a=2"][..], &[][..]), (&["@-"], &[]), (&[], &["k"]), (&[], &["=v"]), (&[], &["k=1", "k=2"])]
    {
        let failure = add(secrets, settings).unwrap_err();
        assert_eq!(failure.exit, super::super::failure::Exit::Usage, "{secrets:?} {settings:?}");
    }
}

const ONE: &str = r#"{"id": "a", "base_url": "https://a.example", "secrets": {"k": "sü\u00e9\ud83d\ude00"}}"#;

#[test]
fn an_import_is_lines_or_an_array() {
    let two = r#"{"id": "b", "base_url": "https://b.example", "replay_window_s": 86400.0}"#;
    let utf16 = |text: &str, order: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(order).collect::<Vec<_>>();
    for text in [format!("{ONE}\n\n{two}\n"), format!("{ONE}\r\n{two}"), format!("\n [{ONE},\n{two}]\n")] {
        let marked = format!("\u{feff}{text}");
        // As most programs write it, as Windows editors do, as PowerShell does, and as its Out-File -Encoding
        // BigEndianUnicode.
        for bytes in [
            text.clone().into_bytes(),
            marked.clone().into_bytes(),
            utf16(&marked, u16::to_le_bytes),
            utf16(&marked, u16::to_be_bytes),
            utf16(text.trim_start(), u16::to_le_bytes),
        ] {
            let imported = parse(&bytes).unwrap_or_else(|why| panic!("{why}: {}", bytes.escape_ascii()));
            let tenants: Vec<_> = imported.into_iter().map(|imported| imported.tenant).collect();
            let ids: Vec<_> = tenants.iter().map(|tenant| tenant.id.as_str()).collect();
            assert_eq!((&ids[..], tenants[1].replay_window_s), (&["a", "b"][..], Some(86_400)), "{text}");
            assert_eq!(serde_json::to_value(&tenants[0]).unwrap()["secrets"]["k"], "süé😀");
        }
    }
    for empty in ["", "\u{feff}", "\u{feff}\r\n"] {
        assert!(parse(empty.as_bytes()).unwrap().is_empty(), "{empty:?}");
    }
}

#[test]
fn a_wrong_import_says_where_and_quotes_nothing() {
    let with = |member: &str| format!("{}, {member}}}", ONE.strip_suffix('}').unwrap());
    for (text, place) in [
        (format!("{ONE}\nhunter2\n"), "line 2, column 1"),
        (format!("{ONE}\n\"hunter2\"\n"), "line 2: "),
        (format!("{ONE}\n\n{ONE}, \"hunter2\"\n"), "line 3, column 88"),
        (format!("[{ONE}, \"hunter2\"]"), "tenant 2: "),
        (format!("[{ONE},\n  hunter2]"), "line 2 column 3"),
        ("[\"hunter2".to_owned(), "line 1 column 9"),
        (r#"{"id": "a", "base_url": "https://a.example", "secrets": "hunter2"}"#.to_owned(), "line 1: "),
        (r#"{"id": "a", "base_url": "https://a.example", "secrets": {"k": ["hunter2"]}}"#.to_owned(), "line 1: "),
        (with(r#""secret": {"k": "hunter2"}"#), "line 1: unknown field `secret`"),
        (with(r#""settings": "hunter2""#), "line 1: invalid type"),
        (with(r#""settings": {"k": ["hunter2"]}"#), "line 1: invalid type"),
        (with(r#""replay_window_s": "hunter2""#), "line 1: invalid type"),
        (with(r#""allow_origins": ["https://b.example", {"hunter2": 7}]"#), "line 1: invalid type"),
        (with(r#""settings": {"pin": 86428642}"#), "line 1: invalid type"),
        (with(r#""replay_window_s": 8642864200"#), "line 1: a number is out of range"),
        (with(r#""settings": {"k": "hunter2\ud83d"}"#), "line 1: a character cannot be read"),
        (with("\"settings\": {\"k\": \"hunter2\u{fffd}\"}"), "line 1: a character cannot be read"),
    ] {
        for text in [text.clone(), format!("\u{feff}{text}")] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(place), "{error}: {text}");
            assert!(!error.contains("hunter2") && !error.contains("8642"), "{error}");
        }
    }
    let latin_1 = [
        ONE.as_bytes(),
        b"\n{\"id\": \"b\", \"base_url\": \"https://b.example\", \"secrets\": {\"k\": \"h\xfcnter2\"}}",
    ];
    let error = parse(&latin_1.concat()).unwrap_err();
    assert_eq!(error, "line 2: a character cannot be read; save the file as UTF-8");
}

#[test]
fn what_has_only_the_names_of_secrets_is_added_disabled() {
    let exported = r#"{"id": "a", "base_url": "https://a.example", "enabled": true, "secrets": ["k", "l"]}"#;
    let shown = r#"{"id": "a", "tool_type": "jira", "base_url": "https://a.example/", "enabled": true, "paused": true,
        "settings": {"x": "y"}, "allow_origins": [], "replay_window_s": 60, "enhance_on": ["updated"], "live_jobs": null,
        "secrets": [
            {"name": "k", "created_at": "t", "expires_at": null, "oauth2": null},
            {"name": "k", "created_at": "t", "expires_at": "t", "oauth2": null},
            {"name": "l", "created_at": "t", "expires_at": null, "oauth2": null}
        ], "new": 1}"#;
    for text in [exported.to_owned(), shown.to_owned(), format!("[{shown}]")] {
        let [Imported { tenant, missing }] = &parse(text.as_bytes()).unwrap()[..] else { panic!("{text}") };
        assert_eq!((tenant.enabled, &missing[..]), (Some(false), &["k".to_owned(), "l".to_owned()][..]), "{text}");
        assert!(tenant.secrets.0.is_empty());
    }
    let shown = &parse(format!("[{shown}]").as_bytes()).unwrap()[0].tenant;
    assert_eq!((shown.settings["x"].as_str(), shown.replay_window_s), ("y", Some(60)));
    for (secrets, enabled) in [("[]", Some(true)), (r#"{"k": "text"}"#, Some(true))] {
        let text = exported.replace(r#"["k", "l"]"#, secrets);
        assert_eq!(parse(text.as_bytes()).unwrap()[0].tenant.enabled, enabled, "{text}");
    }
    let error = parse(exported.replace(r#""l""#, "7").as_bytes()).unwrap_err();
    assert_eq!(error, "line 1: secrets must be an object of names and texts, or a list of names");
}
