//! A ticket's text in a trigger whose placeholders are not escaped: it can end its own text and go on as JSON, and must not
//! choose by that which ticket is meant, nor what happened to it.

#![allow(clippy::unwrap_used, reason = "in a test, also in the functions that its tests share")]

use plugin_abi::{
    prelude::*,
    serde_json::{self, Value, json},
    testing::{FakeHost, FakeWebhook},
};
use zendesk::Zendesk;

fn extract(settings: &[(&str, &str)], body: &str) -> Result<TicketMetadata, PluginError> {
    let host = settings
        .iter()
        .fold(FakeHost::new().setting("api_auth", "bearer"), |host, (name, value)| host.setting(name, value));
    Zendesk.extract_metadata(&host.tenant(), &FakeWebhook::post(body).borrow())
}

/// An administrator's template, whose text is pasted as it is.
fn pasted(template: &str, text: &str) -> String {
    template.replace("{{text}}", text)
}

/// What a reader sees who takes the last of several.
fn last(body: &str, pointer: &str) -> Value {
    serde_json::from_str::<Value>(body).unwrap().pointer(pointer).cloned().unwrap_or_default()
}

const FLAT: &str = r#"{"ticket_id":"7","event":"created","subject":"{{text}}","description":"d"}"#;
const FIRST: &str = r#"{"subject":"{{text}}","ticket_id":"7","event":"created"}"#;
const NESTED: &str = r#"{"ticket":{"id":7,"title":"{{text}}"},"what":"created"}"#;
const OF_NESTED: [(&str, &str); 3] =
    [("field_ticket_id", "ticket.id"), ("field_event", "what"), ("field_subject", "ticket.title")];

#[test]
fn a_second_key_is_refused() {
    for (settings, template, text, pointer, smuggled) in [
        (&[][..], FLAT, r#"x","ticket_id":"99","y":"z"#, "/ticket_id", json!("99")),
        (&[], FLAT, r#"x","ticket\u005fid":"99","y":"z"#, "/ticket_id", json!("99")),
        (&[], FLAT, r#"x","event":"solved","y":"z"#, "/event", json!("solved")),
        (&[], FLAT, r#"x","subject":"y"#, "/subject", json!("y")),
        (&[], FIRST, r#"x","ticket_id":"99","y":"z"#, "/ticket_id", json!("7")),
        (&[], FIRST, r#"x","event":"solved","y":"z"#, "/event", json!("created")),
        (&OF_NESTED, NESTED, r#"x","id":99,"y":"z"#, "/ticket/id", json!(99)),
        (&OF_NESTED, NESTED, r#"x"},"ticket":{"id":99,"title":"y"#, "/ticket/id", json!(99)),
        (&OF_NESTED, NESTED, r#"x"},"what":"solved","z":{"title":"y"#, "/what", json!("created")),
    ] {
        let body = pasted(template, text);
        assert_eq!(
            last(&body, pointer),
            smuggled,
            "the control: it is JSON, and one of its keys is there twice: {body}"
        );
        let found = extract(settings, &body);
        assert!(
            matches!(&found, Err(PluginError::Malformed(why)) if why.contains("duplicate field")),
            "{body}: {found:?}"
        );
        let honest = pasted(template, "an honest text");
        assert_eq!(extract(settings, &honest).unwrap().ticket_id, "7", "{honest}");
    }
}

/// Without a second key at all: the body becomes an event's envelope, which says the ticket elsewhere.
#[test]
fn a_trigger_does_not_become_an_event() {
    let event = r#""type":"zen:event-type:ticket.created","id":"e1","time":"2026-03-02T09:15:00Z","detail":{"id":"99","tags":[]}"#;
    let alone = extract(&[], &format!("{{{event}}}")).unwrap();
    assert_eq!(alone.ticket_id, "99", "the control: by itself it is an event");
    for (settings, template) in [(&[][..], FLAT), (&[], FIRST)] {
        let body = pasted(template, &format!(r#"x",{event},"y":"z"#));
        let found = extract(settings, &body);
        assert!(matches!(&found, Err(PluginError::Malformed(why)) if why.contains("at once")), "{body}: {found:?}");
    }
    let body = pasted(NESTED, &format!(r#"x"}},{event},"y":{{"z":"#)).replace(r#"{"z":""#, r#"{"z":"z""#);
    let found = extract(&OF_NESTED, &body);
    assert!(matches!(&found, Err(PluginError::Malformed(why)) if why.contains("at once")), "{body}: {found:?}");
    // Where the trigger's own ticket stands in a key that events have too, its word for the event tells.
    let own = [("field_ticket_id", "id")];
    let body = pasted(
        r#"{"id":7,"event":"created","note":"{{text}}"}"#,
        r#"x","type":"zen:event-type:ticket.created","time":"2026-03-02T09:15:00Z","detail":{"id":"99"},"y":"z"#,
    );
    let found = extract(&own, &body);
    assert!(matches!(&found, Err(PluginError::Malformed(why)) if why.contains("at once")), "{body}: {found:?}");
}
