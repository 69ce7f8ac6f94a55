//! Level 2, authenticity: proven webhooks are accepted, and nothing else.

use std::{collections::BTreeMap, time::Duration};

use plugin_abi::PluginError;

use crate::conformance::{
    delivery::Delivery,
    subject::{Checked, Subject},
    told::Told,
    tried::{Tally, Tried},
};

/// Headers that tools use to authenticate themselves.
const PROOFS: &[&str] = &[
    "authorization",
    "x-hub-signature",
    "x-hub-signature-256",
    "x-webhook-signature",
    "x-webhook-token",
    "x-signature",
    "x-timestamp",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
];
/// Size of a header that is too long for any use, in bytes.
const HUGE_BYTES: usize = 64 << 10;
/// Age from which no webhook with a signed time may be accepted.
const STALE: Duration = Duration::from_secs(3 * 60 * 60);
/// Number of headers in a webhook with many.
const MANY: usize = 100;

pub(super) fn valid(subject: &Subject) -> Checked<()> {
    for webhook in subject.webhooks() {
        let (name, delivery) = (&webhook.name, webhook.delivery(&subject.given));
        subject.script().set_now(delivery.received_at);
        match subject.validate(name, &delivery)? {
            Ok(true) => {}
            answer => return Err(format!("webhook {name:?}: validate_webhook answered {}", answer.told())),
        }
        match subject.extract(name, &delivery)? {
            Ok(metadata) => match webhook.expect.difference(&metadata) {
                None => {}
                Some(difference) => return Err(format!("webhook {name:?}: {difference}")),
            },
            answer => return Err(format!("webhook {name:?}: extract_metadata answered {}", answer.told())),
        }
    }
    Ok(())
}

pub(super) fn unsigned(subject: &Subject) -> Checked<()> {
    refused(subject, "no headers at all", &Delivery { headers: Vec::new(), ..subject.unsigned("{}") })?;
    refused(subject, "an empty object", &subject.unsigned("{}"))?;
    refused(subject, "an empty body", &subject.unsigned(""))
}

pub(super) fn odd_headers(subject: &Subject) -> Checked<()> {
    let signing = subject.webhooks().filter_map(|webhook| {
        let delivery = webhook.delivery(&subject.given);
        webhook.sign.as_ref().map(|sign| sign.header_names(&delivery))
    });
    let mut names: Vec<String> = signing.flatten().collect();
    names.extend(PROOFS.iter().map(|name| (*name).to_owned()));
    let values: [(&str, Vec<u8>); 7] = [
        ("empty", Vec::new()),
        ("blank", b"   ".to_vec()),
        ("not text", b"\xff\xfe\x00\x80".to_vec()),
        ("huge", vec![b'a'; HUGE_BYTES]),
        ("a prefix alone", b"sha256=".to_vec()),
        ("no digits", b"sha256=zz, v1,%%, Basic ====, Bearer".to_vec()),
        ("zeros", [b"sha256=".as_slice(), &[b'0'; 64]].concat()),
    ];
    for (what, value) in values {
        let mut delivery = subject.unsigned("{}");
        delivery.headers.extend(names.iter().map(|name| (name.clone(), value.clone())));
        refused(subject, &format!("proofs that are {what}"), &delivery)?;
    }
    let mut delivery = subject.unsigned("{}");
    delivery.headers.extend((0..MANY).map(|number| (format!("x-header-{number}"), b"1".to_vec())));
    refused(subject, "many headers", &delivery)
}

pub(super) fn missing_header(subject: &Subject) -> Checked<Tried> {
    each_proof(subject, |name, header, delivery| {
        let mut without = delivery.clone();
        without.headers.retain(|(candidate, _)| candidate != header);
        refused(subject, &format!("{name} without {header}"), &without)
    })
}

pub(super) fn repeated_header(subject: &Subject) -> Checked<Tried> {
    each_proof(subject, |name, header, delivery| {
        let mut twice = delivery.clone();
        twice.headers.extend(delivery.headers.iter().filter(|(candidate, _)| candidate == header).cloned());
        refused(subject, &format!("{name} with {header} twice"), &twice)
    })
}

pub(super) fn wrong_secret(subject: &Subject) -> Checked<()> {
    under_secrets(subject, "signed with another secret", |text| Some(another(text)))
}

pub(super) fn empty_secret(subject: &Subject) -> Checked<()> {
    // A signature made with an empty key must not be accepted either.
    let emptied = |text: &str| Some(text[..0].to_owned());
    let empty: BTreeMap<_, _> = subject.given.secrets.keys().map(|name| (name.clone(), String::new())).collect();
    under_secrets(subject, "under an empty secret", emptied)?;
    for webhook in subject.webhooks() {
        let Some(sign) = &webhook.sign else { continue };
        let mut delivery = webhook.delivery(&subject.given);
        let names = sign.header_names(&delivery);
        delivery.headers.retain(|(name, _)| !names.contains(name));
        sign.add_to(&mut delivery, &empty);
        refused(subject, &format!("{} signed with an empty secret", webhook.name), &delivery)?;
    }
    Ok(())
}

pub(super) fn absent_secret(subject: &Subject) -> Checked<()> {
    under_secrets(subject, "without a secret", |_| None)
}

pub(super) fn altered_body(subject: &Subject) -> Checked<Tried> {
    let mut tally = Tally::default();
    for webhook in subject.webhooks() {
        match webhook.signs_body() {
            Some(true) => tally.tried(),
            Some(false) => continue,
            None => {
                tally.wants(&webhook.name);
                continue;
            }
        }
        let delivery = webhook.delivery(&subject.given);
        subject.script().set_now(delivery.received_at);
        // Insignificant in JSON, but different bytes.
        let body = [delivery.body.as_slice(), b" "].concat();
        refused(subject, &format!("{} with a blank behind", webhook.name), &Delivery { body, ..delivery.clone() })?;
        let body = delivery.body.split_last().map(|(_, body)| body.to_vec()).unwrap_or_default();
        refused(subject, &format!("{} without its last byte", webhook.name), &Delivery { body, ..delivery })?;
    }
    Ok(tally.end("needs signs_body: whether its proof covers the body", "no webhook's proof covers its body"))
}

/// Delivers each webhook unchanged, but hours later.
pub(super) fn stale(subject: &Subject) -> Checked<Tried> {
    let mut tally = Tally::default();
    for webhook in subject.webhooks() {
        let delivery = webhook.delivery(&subject.given);
        match webhook.signs_time(&delivery) {
            Some(true) => tally.tried(),
            Some(false) => continue,
            None => {
                tally.wants(&webhook.name);
                continue;
            }
        }
        let received_at = delivery.received_at + STALE;
        subject.script().set_now(received_at);
        refused(subject, &format!("{} signed hours ago", webhook.name), &Delivery { received_at, ..delivery })?;
    }
    Ok(tally.end(
        "needs signs_time: whether its proof is good for some time only",
        "no webhook's proof has a time, so none is ever too old",
    ))
}

/// Checks that the webhook is not proven: `Ok(false)`, Authentication, or a configuration that cannot prove anything.
pub(super) fn refused(subject: &Subject, what: &str, delivery: &Delivery) -> Checked<()> {
    match subject.validate(what, delivery)? {
        Ok(false) | Err(PluginError::Authentication(_) | PluginError::Configuration(_)) => Ok(()),
        Ok(true) => Err(format!("validate_webhook took a webhook for authentic: {what}")),
        answer => Err(format!("validate_webhook answered {}: {what}", answer.told())),
    }
}

/// Checks each webhook with each header that proves it.
fn each_proof(subject: &Subject, check: impl Fn(&str, &str, &Delivery) -> Checked<()>) -> Checked<Tried> {
    let mut tally = Tally::default();
    for webhook in subject.webhooks() {
        let delivery = webhook.delivery(&subject.given);
        let Some(headers) = webhook.proof_headers(&delivery) else {
            tally.wants(&webhook.name);
            continue;
        };
        subject.script().set_now(delivery.received_at);
        for header in &headers {
            check(&webhook.name, header, &delivery)?;
            tally.tried();
        }
    }
    Ok(tally.end("needs proof_headers: which of its headers prove it", "no webhook is proven by a header"))
}

/// Checks each webhook unchanged, for a tenant with other secrets.
fn under_secrets(subject: &Subject, what: &str, change: impl Fn(&str) -> Option<String>) -> Checked<()> {
    let changed = subject.given.secrets.iter().filter_map(|(name, text)| Some((name.clone(), change(text)?)));
    subject.script().set_secrets(changed.collect());
    for webhook in subject.webhooks() {
        let delivery = webhook.delivery(&subject.given);
        subject.script().set_now(delivery.received_at);
        refused(subject, &format!("{} {what}", webhook.name), &delivery)?;
    }
    Ok(())
}

/// A different secret of the same form: its first letter or digit after a prefix is changed.
fn another(text: &str) -> String {
    let from = text.find('_').filter(|_| text.starts_with("whsec_")).map_or(0, |underscore| underscore + 1);
    let first = if text[from..].starts_with('A') { 'B' } else { 'A' };
    let rest: String = text[from..].chars().skip(1).collect();
    format!("{}{first}{rest}", &text[..from])
}
