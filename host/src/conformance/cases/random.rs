//! Level 5: damage without end. Each round follows from its number alone, so a seed brings a failure back.

use std::time::{Duration, Instant};

use plugin_abi::testing::Random;

use super::{payloads::readable, webhooks::refused};
use crate::{
    conformance::{
        script::Fault,
        subject::{Checked, Delivery, Subject},
    },
    plugin::trial,
};

/// What is put where it does not belong.
const TOKENS: &[&[u8]] = &[
    b"\"",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"null",
    b"true",
    b"-1",
    b"1e999",
    b"99999999999999999999",
    b"\\u0000",
    b"\\ud800",
    b"\xff",
    b"\0",
    b"<script>",
    b"&#x110000;",
    b"2026-13-45T99:99:99Z",
    b"../..",
    b"\xf0\x9f\x92\xa9",
];
/// Most damages of one body.
const DAMAGES_MAX: usize = 8;
const STATUSES: &[u16] = &[200, 201, 204, 301, 400, 401, 403, 404, 409, 410, 422, 429, 500, 502, 503];

pub(super) fn fuzz(subject: &Subject, seed: u64, time: Duration) -> Checked<()> {
    let deadline = Instant::now() + time;
    let mut round = 0_u64;
    while Instant::now() < deadline {
        let seed = seed.wrapping_add(round);
        trial::stage(&format!("the round of seed {seed}"));
        one(subject, &mut Random(seed)).map_err(|found| format!("seed {seed}: {found}"))?;
        round += 1;
    }
    Ok(())
}

fn one(subject: &Subject, numbers: &mut Random) -> Checked<()> {
    let webhooks = &subject.given.webhook;
    let webhook = (!webhooks.is_empty()).then(|| &webhooks[numbers.below(webhooks.len())]);
    let sound = webhook.map_or_else(
        || subject.unsigned(r#"{"id":"1","event":"created","ticket":{"id":1,"subject":"s"}}"#),
        |webhook| webhook.delivery(&subject.given),
    );
    subject.script().set_now(sound.received_at);
    let body = damaged(&sound.body, numbers);
    let is_covered = webhook.is_none_or(|webhook| webhook.sign.as_ref().is_some_and(|sign| sign.covers_body()));
    let delivery = Delivery { body, ..sound.clone() };
    if is_covered && delivery.body != sound.body {
        refused(subject, "damaged", &delivery)?;
    }
    readable(subject, "damaged", &delivery)?;
    let mut headers = sound.headers.clone();
    if !headers.is_empty() {
        let at = numbers.below(headers.len());
        headers[at].1 = damaged(&headers[at].1, numbers);
    }
    let _said = subject.validate("a damaged header", &Delivery { headers, ..sound })?;
    // The tool answers damage of what it answers, or of nothing.
    let answers = &subject.given.answer;
    let answer = (!answers.is_empty()).then(|| answers[numbers.below(answers.len())].response());
    let body = damaged(answer.as_ref().map_or(b"{\"id\":1}".as_slice(), |answer| answer.body()), numbers);
    let status = STATUSES[numbers.below(STATUSES.len())];
    let id = subject.given.ticket.as_ref().map_or("1", |ticket| ticket.id.as_str());
    let (at, fault) = (numbers.below(2), Fault::Answer { status, header: None, body });
    subject.script().fails(Some(at), fault.clone());
    let _said = subject.get(id)?;
    subject.script().fails(Some(at), fault);
    let _said = subject.update(id, 1 + u32::from(numbers.below(2) == 1))?;
    Ok(())
}

fn damaged(bytes: &[u8], numbers: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=numbers.below(DAMAGES_MAX) {
        let at = numbers.below(bytes.len() + 1);
        let end = at + numbers.below(bytes.len() - at + 1);
        match numbers.below(5) {
            0 => drop(bytes.drain(at..end)),
            1 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
            2 => drop(bytes.splice(at..end, TOKENS[numbers.below(TOKENS.len())].iter().copied())),
            3 => drop(bytes.splice(at..at, TOKENS[numbers.below(TOKENS.len())].iter().copied())),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << numbers.below(8);
                }
            }
        }
    }
    bytes
}
