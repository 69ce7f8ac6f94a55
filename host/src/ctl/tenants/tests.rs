//! What was typed or imported becomes requests; no complaint repeats a secret.

use super::*;
use crate::{
    admin::wire::TenantChange,
    ctl::args::{TenantOptions, UpdateTenant},
    ids::ToolType,
};

fn given(secrets: &[&str], settings: &[&str]) -> AddTenant {
    AddTenant {
        id: TenantId::parse("acme").unwrap(),
        tool_type: Some(ToolType::parse("jira").unwrap()),
        base_url: "https://desk.example".to_owned(),
        options: options(secrets, settings),
    }
}

fn options(secrets: &[&str], settings: &[&str]) -> TenantOptions {
    TenantOptions {
        secrets: secrets.iter().map(|text| text.parse().unwrap()).collect(),
        settings: settings.iter().map(|text| (*text).to_owned()).collect(),
        allow_origins: Vec::new(),
        replay_window: Some(86_400),
        replay_ahead: Some(60),
        enhance_on: EnhanceOn::list("created,updated").ok(),
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
        yes: true,
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
        options: options(&["a=@-"], &["k=v"]),
        remove_origins: text("https://login.example"),
        yes: false,
        ..nothing()
    });
    assert_eq!(
        serde_json::to_value(full.unwrap()).unwrap(),
        serde_json::json!({
            "tool_type": "jira", "base_url": "https://new.example", "secrets": {"a": "piped"}, "settings": {"k": "v"},
            "unset": [], "allow_origins": [], "remove_origins": ["https://login.example"], "replay_window_s": 86_400,
            "replay_ahead_s": 60, "enhance_on": ["created", "updated"], "dead_letter_jobs": false,
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

#[test]
fn an_import_is_lines_or_an_array() {
    let one = r#"{"id": "a", "base_url": "https://a.example", "secrets": {"k": "s"}}"#;
    let two = r#"{"id": "b", "base_url": "https://b.example"}"#;
    for text in [format!("{one}\n\n{two}\n"), format!("\n [{one},\n{two}]\n")] {
        let ids: Vec<_> = parse_import(&text).unwrap().into_iter().map(|tenant| tenant.id).collect();
        assert_eq!(ids, ["a", "b"], "{text}");
    }
    assert!(parse_import("").unwrap().is_empty());
}

#[test]
fn a_wrong_import_says_where_and_quotes_nothing() {
    let good = r#"{"id": "a", "base_url": "https://a.example"}"#;
    for (text, place) in [
        (format!("{good}\nhunter2\n"), "line 2"),
        (format!("{good}\n\"hunter2\"\n"), "line 2"),
        (format!("[{good}, \"hunter2\"]"), "tenant 2"),
        (r#"{"id": "a", "base_url": "https://a.example", "secrets": "hunter2"}"#.to_owned(), "line 1"),
        (r#"{"id": "a", "base_url": "https://a.example", "secrets": {"k": ["hunter2"]}}"#.to_owned(), "line 1"),
        (r#"{"id": "a", "base_url": "https://a.example", "secret": {"k": "hunter2"}}"#.to_owned(), "line 1"),
        ("[\"hunter2".to_owned(), "line 1"),
    ] {
        let error = parse_import(&text).unwrap_err();
        assert!(error.contains(place) && !error.contains("hunter2"), "{error}");
    }
}
