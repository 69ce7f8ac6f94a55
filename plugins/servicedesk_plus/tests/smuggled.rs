//! A ticket's text in a template whose placeholders are not escaped: it can end its own text and go on as JSON, and must not
//! choose by that which ticket is meant.

#![allow(clippy::unwrap_used, reason = "in a test, also in the functions that its tests share")]

use plugin_abi::{
    prelude::*,
    serde_json::{self, Value},
    testing::{FakeHost, FakeWebhook},
};
use servicedesk_plus::ServiceDeskPlus;

fn extract(read_back: &str, body: &str) -> Result<TicketMetadata, PluginError> {
    let host = FakeHost::new().setting("read_back", read_back);
    ServiceDeskPlus.extract_metadata(&host.tenant(), &FakeWebhook::post(body).borrow())
}

const FLAT: &str = r#"{"tenant_id":"acme","ticket_id":"7","event":"updated","subject":"{{text}}"}"#;
const BARE: &str = r#"{"id":"7","event":"updated","subject":"{{text}}"}"#;
const NESTED: &str = r#"{"request":{"id":"7","subject":"{{text}}"},"event":"updated"}"#;

#[test]
fn a_text_does_not_choose_the_ticket() {
    for (template, text) in [
        (FLAT, r#"x","ticket_id":"99","y":"z"#),
        (FLAT, r#"x","event":"resolved","y":"z"#),
        (FLAT, r#"x","request":{"id":"99"},"y":"z"#),
        (FLAT, r#"x","id":"99","y":"z"#),
        (BARE, r#"x","id":"99","y":"z"#),
        (BARE, r#"x","request":{"id":"99"},"y":"z"#),
        (BARE, r#"x","tenant_id":"acme","ticket_id":"99","y":"z"#),
        (NESTED, r#"x","id":"99","y":"z"#),
        (NESTED, r#"x"},"request":{"id":"99","y":"z"#),
        (NESTED, r#"x"},"ticket_id":"99","y":{"z":"z"#),
    ] {
        for read_back in ["false", "true"] {
            let body = template.replace("{{text}}", text);
            assert!(serde_json::from_str::<Value>(&body).is_ok(), "the control: it is JSON: {body}");
            let found = extract(read_back, &body);
            assert!(found.is_err(), "{read_back}, {body}: {found:?}");
            let honest = extract(read_back, &template.replace("{{text}}", "an honest text"));
            assert_eq!(honest.unwrap().ticket_id, "7", "{template}");
        }
    }
}

/// The same ticket in two places is one ticket.
#[test]
fn two_forms_of_one_ticket_are_taken() {
    for body in [
        r#"{"tenant_id":"acme","ticket_id":"7","id":7,"event":"updated"}"#,
        r#"{"request":{"id":"7"},"id":"7","ticket_id":" 7 ","event":"updated"}"#,
    ] {
        for read_back in ["false", "true"] {
            assert_eq!(extract(read_back, body).unwrap().ticket_id, "7", "{body}");
        }
    }
}
