//! What was typed or imported becomes requests; no complaint repeats a secret.

use super::*;
use crate::ids::ToolType;

fn given(secrets: &[&str], settings: &[&str]) -> AddTenant {
    AddTenant {
        id: TenantId::parse("acme").unwrap(),
        tool_type: Some(ToolType::parse("jira").unwrap()),
        base_url: "https://desk.example".to_owned(),
        secrets: secrets.iter().map(|text| text.parse().unwrap()).collect(),
        settings: settings.iter().map(|text| (*text).to_owned()).collect(),
        allow_origins: Vec::new(),
        replay_window: Some(86_400),
        replay_ahead: Some(60),
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
