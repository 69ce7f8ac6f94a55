//! A ticket's text in a template whose placeholders are not escaped: it can end its own text and go on as JSON, and must not
//! choose by that which ticket is meant, nor what happened to it.

#![allow(clippy::unwrap_used, reason = "in a test, also in the functions that its tests share")]

use freshservice::Freshservice;
use plugin_abi::{
    prelude::*,
    serde_json::{self, Value},
    testing::{FakeHost, FakeWebhook},
};

fn extract(read_back: &str, body: &str) -> Result<TicketMetadata, PluginError> {
    let host = FakeHost::new().setting("read_back", read_back);
    Freshservice.extract_metadata(&host.tenant(), &FakeWebhook::post(body).borrow())
}

const TEMPLATE: &str = r#"{"ticket_id":"7","event":"created","subject":"{{text}}","status":"Open"}"#;

#[test]
fn a_second_key_is_refused() {
    for (text, key) in [
        (r#"x","ticket_id":"99","z":"z"#, "ticket_id"),
        (r#"x","ticket\u005fid":"99","z":"z"#, "ticket_id"),
        (r#"x","event":"resolved","z":"z"#, "event"),
        (r#"x","status":"Resolved","z":"z"#, "status"),
    ] {
        for read_back in ["false", "true"] {
            let body = TEMPLATE.replace("{{text}}", text);
            assert!(serde_json::from_str::<Value>(&body).is_ok(), "the control: it is JSON: {body}");
            let found = extract(read_back, &body);
            let why = format!("duplicate field `{key}`");
            assert!(matches!(&found, Err(PluginError::Malformed(said)) if said.contains(&why)), "{body}: {found:?}");
            let honest = extract(read_back, &TEMPLATE.replace("{{text}}", "an honest text"));
            assert_eq!(honest.unwrap().ticket_id, "7");
        }
    }
}
