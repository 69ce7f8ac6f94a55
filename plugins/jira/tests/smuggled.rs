//! An issue's text in custom data whose smart values are not escaped: it can end its own text and go on as JSON, and must not
//! choose by that which issue is meant, nor contradict what the rule says that happened.

#![allow(clippy::unwrap_used, reason = "in a test, also in the functions that its tests share")]

use jira::Jira;
use plugin_abi::{
    prelude::*,
    serde_json::{self, Value},
    testing::{FakeHost, FakeWebhook},
};

fn extract(body: &str) -> Result<TicketMetadata, PluginError> {
    let host = FakeHost::new().setting("api_auth", "bearer");
    Jira.extract_metadata(&host.tenant(), &FakeWebhook::post(body).borrow())
}

const RULE: &str = r#"{"issue":{"key":"IT-7","fields":{"summary":"{{text}}"}},"event":"created"}"#;
const BARE: &str = r#"{"key":"IT-7","event":"created","note":"{{text}}"}"#;
const BARE_ID: &str = r#"{"id":7,"event":"created","note":"{{text}}"}"#;

#[test]
fn a_text_does_not_choose_the_issue() {
    for (template, own, text) in [
        (RULE, "IT-7", r#"x"},"key":"IT-99","y":{"z":"z"#),
        (RULE, "IT-7", r#"x"}},"issue":{"key":"IT-99","y":{"z":"z"#),
        (RULE, "IT-7", r#"x"}},"event":"resolved","y":{"y":{"z":"z"#),
        (RULE, "IT-7", r#"x"}},"webhookEvent":"jira:issue_updated","y":{"y":{"z":"z"#),
        (BARE, "IT-7", r#"x","key":"IT-99","z":"z"#),
        (BARE, "IT-7", r#"x","issue":{"key":"IT-99"},"z":"z"#),
        (BARE, "IT-7", r#"x","webhookEvent":"jira:issue_created","issue":{"key":"IT-99"},"z":"z"#),
        (BARE_ID, "7", r#"x","issue":{"key":"IT-99"},"z":"z"#),
        (BARE_ID, "7", r#"x","issue":{"id":99,"key":"IT-99"},"z":"z"#),
    ] {
        let body = template.replace("{{text}}", text);
        assert!(serde_json::from_str::<Value>(&body).is_ok(), "the control: it is JSON: {body}");
        let found = extract(&body);
        assert!(found.is_err(), "{body}: {found:?}");
        let honest = extract(&template.replace("{{text}}", "an honest text"));
        assert_eq!(honest.unwrap().ticket_id, own, "{template}");
    }
}

/// Events have an id of their own beside the issue, which is not the issue's.
#[test]
fn an_event_with_an_id_of_its_own_is_taken() {
    let body = r#"{"id":2,"webhookEvent":"jira:issue_created","issue":{"id":"7","key":"IT-7"}}"#;
    assert_eq!(extract(body).unwrap().ticket_id, "IT-7");
}
