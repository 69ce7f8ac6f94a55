//! Level 2, content: whatever the bytes, the plugin answers within the deadline.

use plugin_abi::{PluginError, types::Event};

use super::webhooks::refused;
use crate::conformance::{
    delivery::Delivery,
    subject::{Checked, Subject},
    told::{Told, event_word},
};

/// The host's own limit on a body.
const HUGE_BYTES: usize = 1 << 20;
/// Levels of nesting.
const DEEP: usize = 200_000;
/// Number of places at which a webhook is cut.
const CUTS: usize = 16;

pub(super) fn empty(subject: &Subject) -> Checked<()> {
    unreadable(subject, "an empty body", Vec::new())?;
    unreadable(subject, "a body of blanks", b" \r\n\t ".to_vec())
}

pub(super) fn not_utf8(subject: &Subject) -> Checked<()> {
    unreadable(subject, "bytes that are no text", b"\xff\xfe{\"id\":[sense".to_vec())?;
    survived(subject, "a text that is not UTF-8", b"{\"id\":\"\xc3\x28\",\"ticket\":{\"id\":\"\xff\"}}".to_vec())?;
    survived(subject, "zero bytes", vec![0; 1000])
}

pub(super) fn deep(subject: &Subject) -> Checked<()> {
    let nested = |open: &str, inner: &str, close: &str| {
        [open.repeat(DEEP).as_bytes(), inner.as_bytes(), close.repeat(DEEP).as_bytes()].concat()
    };
    survived(subject, "nested lists", nested("[", "", "]"))?;
    survived(subject, "nested objects", nested("{\"a\":", "1", "}"))?;
    survived(subject, "lists that do not end", nested("[", "", ""))?;
    for key in ["id", "ticket", "request", "issue", "webhookEvent", "detail", "priority"] {
        let body = format!("{{\"{key}\":{}1{}}}", "[".repeat(DEEP), "]".repeat(DEEP));
        survived(subject, &format!("nested lists in {key}"), body.into_bytes())?;
    }
    survived(subject, "nested elements", nested("<a>", "", "</a>"))
}

pub(super) fn huge(subject: &Subject) -> Checked<()> {
    let filled = |open: &str, unit: &str, close: &str| {
        format!("{open}{}{close}", unit.repeat((HUGE_BYTES - open.len() - close.len()) / unit.len())).into_bytes()
    };
    survived(subject, "one long text", filled("{\"id\":\"", "a", "\"}"))?;
    survived(subject, "many keys", filled("{", "\"key\":1,", "\"id\":\"1\"}"))?;
    survived(subject, "many numbers", filled("[", "1,", "1]"))?;
    survived(subject, "many escapes", filled("{\"subject\":\"", "\\u00e4", "\"}"))?;
    survived(subject, "one long number", filled("{\"id\":", "9", "}"))?;
    survived(subject, "many open tags", filled("{\"description\":\"", "<a &", "\"}"))
}

pub(super) fn wrong_types(subject: &Subject) -> Checked<()> {
    for body in [
        "null",
        "true",
        "0",
        "-1",
        "1e999",
        "\"text\"",
        "[]",
        "[[]]",
        "{}",
        "{\"id\":null}",
        "{\"id\":{}}",
        "{\"id\":[]}",
        "{\"id\":1,\"id\":2}",
        "{\"ticket\":[]}",
        "{\"ticket\":{\"id\":{}}}",
        "{\"request\":null}",
        "{\"issue\":7}",
        "{\"\\u0000\":1}",
        "{\"event\":{\"created\":true}}",
        "a=b&c=d",
        "<xml/>",
        "--boundary",
    ] {
        survived(subject, body, body.into())?;
    }
    Ok(())
}

pub(super) fn cut(subject: &Subject) -> Checked<()> {
    for webhook in subject.webhooks() {
        let delivery = webhook.delivery(&subject.given);
        let step = (delivery.body.len() / CUTS).max(1);
        for end in (0..delivery.body.len()).step_by(step) {
            let body = delivery.body[..end].to_vec();
            readable(
                subject,
                &format!("{} cut after {end} bytes", webhook.name),
                &Delivery { body, ..delivery.clone() },
            )?;
        }
    }
    Ok(())
}

/// The plugin's reading, if it is useful to a host: metadata, or an error that tells the sender what is wrong with its
/// webhook.
pub(super) fn readable(subject: &Subject, what: &str, delivery: &Delivery) -> Checked<Option<Event>> {
    match subject.extract(what, delivery)? {
        Ok(metadata) => Ok(Some(metadata.event)),
        Err(PluginError::Malformed(_) | PluginError::Validation(_) | PluginError::Authentication(_)) => Ok(None),
        // Without known settings, the settings may be what is wrong.
        Err(PluginError::Configuration(_)) if subject.given.webhook.is_empty() => Ok(None),
        answer => Err(format!(
            "extract_metadata answered {}: {what}; that is a 503, and the sender tries for ever",
            answer.told()
        )),
    }
}

fn survived(subject: &Subject, what: &str, body: Vec<u8>) -> Checked<()> {
    let delivery = subject.unsigned(body);
    refused(subject, what, &delivery)?;
    readable(subject, what, &delivery).map(drop)
}

/// Checks as [`survived`], and also that nothing can be read from the body.
fn unreadable(subject: &Subject, what: &str, body: Vec<u8>) -> Checked<()> {
    let delivery = subject.unsigned(body);
    refused(subject, what, &delivery)?;
    match readable(subject, what, &delivery)? {
        None | Some(Event::Other) => Ok(()),
        Some(event) => Err(format!("extract_metadata found the event {} in {what}", event_word(&event))),
    }
}
