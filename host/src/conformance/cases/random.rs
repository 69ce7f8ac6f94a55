//! Level 5: random damage. Each round depends on its number alone, so a seed reproduces a failure.

use std::{fmt, time::Instant};

use plugin_abi::testing::Random as Numbers;

use super::{payloads::readable, webhooks::refused};
use crate::{
    conformance::{
        Random,
        delivery::Delivery,
        script::Fault,
        subject::{Checked, Subject},
    },
    plugin::trial,
};

/// Bytes that are inserted where they do not belong.
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
/// Maximum size of a body that a failure shows, in bytes.
const SHOWN_BYTES_MAX: usize = 2_000;
/// Maximum number of damages of one body.
const DAMAGES_MAX: usize = 8;
const STATUSES: &[u16] = &[200, 201, 204, 301, 400, 401, 403, 404, 409, 410, 422, 429, 500, 502, 503];

pub(super) fn fuzz(subject: &Subject, told: &Random) -> Checked<()> {
    let deadline = Instant::now() + told.time;
    let mut round = 0_u64;
    while Instant::now() < deadline {
        let seed = told.seed.wrapping_add(round);
        trial::stage(&format!("the round of seed {seed}"));
        let round_of_seed = Round::make(subject, &mut Numbers(seed));
        round_of_seed.play(subject).map_err(|found| {
            format!(
                "seed {seed}: {found}; {round_of_seed}; once more: {} --case fuzz --seed {seed} --fuzz-time 1s",
                told.again
            )
        })?;
        round += 1;
    }
    Ok(())
}

/// A round's damage of the given data.
struct Round {
    sound: Delivery,
    body: Vec<u8>,
    /// Whether no other body would be authentic.
    is_covered: bool,
    headers: Vec<(String, Vec<u8>)>,
    ticket_id: String,
    /// Index of the request that meets the fault.
    at: usize,
    status: u16,
    answer: Vec<u8>,
    attempt: u32,
}

impl Round {
    fn make(subject: &Subject, numbers: &mut Numbers) -> Self {
        let webhooks = &subject.given.webhook;
        let webhook = (!webhooks.is_empty()).then(|| &webhooks[numbers.below(webhooks.len())]);
        let sound = webhook.map_or_else(
            || subject.unsigned(r#"{"id":"1","event":"created","ticket":{"id":1,"subject":"s"}}"#),
            |webhook| webhook.delivery(&subject.given),
        );
        let body = damaged(&sound.body, numbers);
        let mut headers = sound.headers.clone();
        if !headers.is_empty() {
            let at = numbers.below(headers.len());
            headers[at].1 = damaged(&headers[at].1, numbers);
        }
        // The base is one of the tool's answers, or an empty body if there are none.
        let answers = &subject.given.answer;
        let answer = (!answers.is_empty()).then(|| answers[numbers.below(answers.len())].response());
        let answer = damaged(answer.as_ref().map_or(b"{\"id\":1}".as_slice(), |answer| answer.body()), numbers);
        Self {
            is_covered: webhook.is_none_or(|webhook| webhook.signs_body() == Some(true)),
            ticket_id: subject.given.ticket.as_ref().map_or_else(|| "1".to_owned(), |ticket| ticket.id.clone()),
            status: STATUSES[numbers.below(STATUSES.len())],
            at: numbers.below(2),
            attempt: 1 + u32::from(numbers.below(2) == 1),
            sound,
            body,
            headers,
            answer,
        }
    }

    fn play(&self, subject: &Subject) -> Checked<()> {
        subject.script().set_now(self.sound.received_at);
        let delivery = Delivery { body: self.body.clone(), ..self.sound.clone() };
        if self.is_covered && delivery.body != self.sound.body {
            refused(subject, "damaged", &delivery)?;
        }
        readable(subject, "damaged", &delivery)?;
        let headers = self.headers.clone();
        let _said = subject.validate("a damaged header", &Delivery { headers, ..self.sound.clone() })?;
        let fault = Fault::Answer { status: self.status, header: None, body: self.answer.clone() };
        subject.script().fails(Some(self.at), fault.clone());
        let _said = subject.get(&self.ticket_id)?;
        subject.script().fails(Some(self.at), fault);
        let _said = subject.update(&self.ticket_id, self.attempt)?;
        Ok(())
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |bytes: &[u8]| bytes[..bytes.len().min(SHOWN_BYTES_MAX)].escape_ascii().to_string();
        let (body, answer) = (shown(&self.body), shown(&self.answer));
        write!(f, "the webhook's body was \"{body}\", the tool's answer {} \"{answer}\"", self.status)
    }
}

fn damaged(bytes: &[u8], numbers: &mut Numbers) -> Vec<u8> {
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
