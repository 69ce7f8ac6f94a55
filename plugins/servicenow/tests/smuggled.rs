//! A record's text that a script pastes into JSON: it can end its own text and go on as JSON, and must not choose by that which
//! record is meant.

#![allow(clippy::unwrap_used, reason = "in a test, also in the functions that its tests share")]

use plugin_abi::{
    prelude::*,
    serde_json::{self, Value},
    testing::{FakeHost, FakeWebhook},
};
use servicenow::ServiceNow;

const OWN: &str = "4f1c0e9a2b7d4c55a1e8300d9b6c7f21";
const OTHER: &str = "99990e9a2b7d4c55a1e8300d9b6c7f21";

fn extract(read_back: &str, body: &str) -> Result<TicketMetadata, PluginError> {
    let host = FakeHost::new().setting("read_back", read_back);
    ServiceNow.extract_metadata(&host.tenant(), &FakeWebhook::post(body).borrow())
}

const BARE: &str = r#"{"event":"updated","sys_id":"OWN","number":"INC7","short_description":"{{text}}"}"#;
const NUMBERED: &str = r#"{"event":"updated","number":"INC7","short_description":"{{text}}"}"#;
const CURRENT: &str = r#"{"event":"updated","current":{"sys_id":"OWN","short_description":"{{text}}"}}"#;
const RULE: &str = r#"{"incidentId":"INC7","action":"updated","title":"{{text}}","data":{"sysId":"OWN"}}"#;
const DATA: &str = r#"{"action":"updated","title":"{{text}}","data":{"sysId":"OWN"}}"#;

#[test]
fn a_text_does_not_choose_the_record() {
    for (template, text) in [
        (BARE, r#"x","sys_id":"OTHER","z":"z"#),
        (BARE, r#"x","event":"resolved","z":"z"#),
        (BARE, r#"x","record":{"sys_id":"OTHER"},"z":"z"#),
        (BARE, r#"x","current":{"sys_id":"OTHER"},"z":"z"#),
        (BARE, r#"x","record":{"number":"INC99"},"z":"z"#),
        (BARE, r#"x","action":"updated","data":{"sysId":"OTHER"},"z":"z"#),
        (BARE, r#"x","action":"updated","incidentId":"INC99","z":"z"#),
        (NUMBERED, r#"x","record":{"sys_id":"OTHER","number":"INC7"},"z":"z"#),
        (NUMBERED, r#"x","action":"updated","incidentId":"INC7","data":{"sysId":"OTHER"},"z":"z"#),
        (CURRENT, r#"x","sys_id":"OTHER","z":"z"#),
        (CURRENT, r#"x"},"current":{"sys_id":"OTHER","z":"z"#),
        (CURRENT, r#"x"},"record":{"sys_id":"OTHER"},"y":{"z":"z"#),
        (RULE, r#"x","incidentId":"INC99","z":"z"#),
        (RULE, r#"x","data":{"sysId":"OTHER"},"z":"z"#),
        (RULE, r#"x","record":{"sys_id":"OTHER"},"z":"z"#),
        (RULE, r#"x","current":{"sys_id":"OTHER"},"z":"z"#),
        (RULE, r#"x","action":"resolved","z":"z"#),
        (DATA, r#"x","record":{"sys_id":"OTHER"},"z":"z"#),
    ] {
        for read_back in ["false", "true"] {
            let body = template.replace("{{text}}", text).replace("OWN", OWN).replace("OTHER", OTHER);
            assert!(serde_json::from_str::<Value>(&body).is_ok(), "the control: it is JSON: {body}");
            let found = extract(read_back, &body);
            assert!(found.is_err(), "{read_back}, {body}: {found:?}");
            let honest = extract(read_back, &template.replace("{{text}}", "an honest text").replace("OWN", OWN));
            let id = honest.unwrap().ticket_id;
            assert!([OWN, "INC7"].contains(&id.as_str()), "{template}: {id}");
        }
    }
}

#[test]
fn one_record_in_two_places_is_taken() {
    let body = r#"{"event":"updated","sys_id":"OWN","number":"INC7","record":{"sys_id":"OWN","number":"INC7"}}"#;
    assert_eq!(extract("false", &body.replace("OWN", OWN)).unwrap().ticket_id, OWN);
}
