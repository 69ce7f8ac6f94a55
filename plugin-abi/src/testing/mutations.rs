//! Bodies that nobody would send, and what holds of a plugin's answers to them all the same.

use super::FakeHost;
use crate::{
    PluginError,
    payload::TICKET_ID_CHARS_MAX,
    plugin::TicketingToolPlugin,
    types::{Event, Webhook},
};

/// Values that stand in another's place.
const VALUES: [&str; 10] = ["", "null", "[]", "{}", "-1", "1e400", "true", r#""""#, r#""\u0000<""#, r##""#é""##];

/// Checks what holds of every plugin, whatever it is sent: it does not panic, says of a webhook's proof that it is right or
/// wrong, and of its body which ticket is meant or what cannot be read.
///
/// # Panics
/// When one of that does not hold.
pub fn assert_answered(
    plugin: &impl TicketingToolPlugin,
    host: &FakeHost,
    headers: &[(&str, &str)],
    query: &str,
    body: &[u8],
) {
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    host.with_webhook(&headers, query, body, |webhook| assert_webhook_answered(plugin, host, webhook));
}

fn assert_webhook_answered(plugin: &impl TicketingToolPlugin, host: &FakeHost, webhook: &Webhook<'_>) {
    let authentic = plugin.validate_webhook(&host.tenant(), webhook);
    assert!(authentic.is_ok(), "{authentic:?}");
    match plugin.extract_metadata(&host.tenant(), webhook) {
        Ok(metadata) => {
            let chars = metadata.ticket_id.chars().count();
            let named = (1..=TICKET_ID_CHARS_MAX).contains(&chars) || (chars == 0 && metadata.event == Event::Other);
            assert!(named, "{metadata:?}");
        }
        Err(PluginError::Malformed(_)) => {}
        Err(PluginError::Validation(faults)) => assert!(!faults.is_empty(), "a validation error without a field"),
        Err(other) => panic!("{other}"),
    }
}

/// One of these inputs with a few bytes changed, cut or repeated, or with a JSON value in another's place, which keeps most
/// bodies readable. The same for the same seed.
///
/// # Panics
/// When there are no inputs.
pub fn mutated(inputs: &[&[u8]], seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let mut bytes = inputs[random.below(inputs.len())].to_vec();
    for _ in 0..=random.below(4) {
        let (from, to) = (random.below(bytes.len() + 1), random.below(bytes.len() + 1));
        let (from, to) = (from.min(to), from.max(to));
        match random.below(8) {
            0..=3 => replace_value(&mut bytes, from, VALUES[random.below(VALUES.len())]),
            4 if from < bytes.len() => bytes[from] ^= 1 << random.below(8),
            5 if from < bytes.len() => bytes[from] = random.byte(),
            6 => drop(bytes.drain(from..to.min(from + 16))),
            7 => bytes.extend_from_within(from..to.min(from + 64)),
            _ => bytes.insert(from, random.byte()),
        }
    }
    bytes
}

/// Puts a value in the place of the next member's at or behind `from`.
fn replace_value(bytes: &mut Vec<u8>, from: usize, value: &str) {
    let Some(colon) = bytes[from..].iter().position(|byte| *byte == b':') else { return };
    let start = from + colon + 1;
    let length = bytes[start..].iter().position(|byte| matches!(byte, b',' | b'}'));
    let end = length.map_or(bytes.len(), |length| start + length);
    bytes.splice(start..end, value.bytes());
}

/// SplitMix64: the same numbers on every machine.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 up to, but without, `end`; 0 when there is nothing below it.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.number() % end.max(1) as u64).unwrap_or(0)
    }

    /// A byte.
    pub fn byte(&mut self) -> u8 {
        self.number().to_le_bytes()[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutations_are_the_same_for_the_same_seed_and_mostly_others_for_another() {
        let inputs: [&[u8]; 2] = [br#"{"a":1,"b":[2]}"#, b"x"];
        let all: std::collections::BTreeSet<_> = (0..1_000).map(|seed| mutated(&inputs, seed)).collect();
        assert!(all.len() > 500, "{}", all.len());
        assert_eq!(mutated(&inputs, 7), mutated(&inputs, 7));
        assert!((0..1_000).all(|seed| mutated(&[b""], seed).len() < 10));
    }

    #[test]
    fn a_value_is_replaced_whole() {
        for (from, expected) in [(0, r#"{"a":{},"b":2}"#), (5, r#"{"a":1,"b":{}}"#), (12, r#"{"a":1,"b":2}"#)] {
            let mut bytes = br#"{"a":1,"b":2}"#.to_vec();
            replace_value(&mut bytes, from, "{}");
            assert_eq!(bytes, expected.as_bytes(), "{from}");
        }
    }
}
