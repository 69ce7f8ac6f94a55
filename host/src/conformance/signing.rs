//! Signs the webhooks of cases: the schemes of the SDK's `signature` module, from the sender's side.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use plugin_abi::{
    testing::{base64_mac, hex_mac},
    time::{OffsetDateTime, format_description::well_known::Rfc3339},
};
use serde::{Deserialize, Serialize};

use super::delivery::Delivery;

/// A signature scheme with its parameters.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "scheme", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Sign {
    /// `sha256=<hex>` over the body.
    Hub { header: String, secret: String },
    /// The digits alone, over the body.
    Bare {
        header: String,
        secret: String,
        #[serde(default)]
        encoding: Encoding,
    },
    /// A signature over a time stamp and the body.
    Timestamped {
        signature_header: String,
        timestamp_header: String,
        secret: String,
        #[serde(default)]
        separator: String,
        #[serde(default)]
        encoding: Encoding,
        #[serde(default)]
        timestamp: Timestamp,
    },
    /// `t=<seconds>,v1=<hex>` over time stamp, dot and body, in one header.
    Stripe { header: String, secret: String },
    /// Standard Webhooks, with a `whsec_` secret.
    StandardWebhooks { secret: String },
    /// The secret itself.
    Token { header: String, secret: String },
    /// User and secret.
    Basic { user: String, secret: String },
}

/// The encoding of a signature.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Encoding {
    #[default]
    Hex,
    Base64,
}

/// The format of a time stamp.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Timestamp {
    #[default]
    Seconds,
    Milliseconds,
    Rfc3339,
}

/// How far a time in a header may be from the webhook's arrival to count as the time of sending.
const SENT_WITHIN: Duration = Duration::from_secs(24 * 60 * 60);

/// Whether one of these headers contains a time near this one: alone, or as `t=` in a list.
pub(super) fn shows_time(headers: &[(String, Vec<u8>)], near: OffsetDateTime) -> bool {
    let values = headers.iter().filter_map(|(_, value)| std::str::from_utf8(value).ok());
    let mut texts = values.flat_map(|value| {
        let listed = value.split(',').filter_map(|item| item.trim().strip_prefix("t="));
        std::iter::once(value.trim()).chain(listed)
    });
    texts.any(|text| instant(text).is_some_and(|at| (at - near).unsigned_abs() <= SENT_WITHIN))
}

fn instant(text: &str) -> Option<OffsetDateTime> {
    match (text.parse::<i64>(), text.len()) {
        (Ok(ms), 13) => OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok(),
        (Ok(seconds), _) => OffsetDateTime::from_unix_timestamp(seconds).ok(),
        (Err(_), _) => OffsetDateTime::parse(text, &Rfc3339).ok(),
    }
}

impl Sign {
    /// The secret's name.
    pub(super) fn secret(&self) -> &str {
        match self {
            Self::Hub { secret, .. }
            | Self::Bare { secret, .. }
            | Self::Timestamped { secret, .. }
            | Self::Stripe { secret, .. }
            | Self::StandardWebhooks { secret }
            | Self::Token { secret, .. }
            | Self::Basic { secret, .. } => secret,
        }
    }

    /// Whether the body is signed, and not only the sender authenticated.
    pub(super) fn covers_body(&self) -> bool {
        !matches!(self, Self::Token { .. } | Self::Basic { .. })
    }

    /// Whether the time of sending is signed.
    pub(super) fn covers_time(&self) -> bool {
        matches!(self, Self::Timestamped { .. } | Self::Stripe { .. } | Self::StandardWebhooks { .. })
    }

    /// The names of the headers that the scheme adds.
    pub(super) fn header_names(&self, delivery: &Delivery) -> Vec<String> {
        self.headers(delivery, "").into_iter().map(|(name, _)| name).collect()
    }

    /// Signs a delivery as it arrives.
    pub(super) fn add_to(&self, delivery: &mut Delivery, secrets: &BTreeMap<String, String>) {
        let secret = secrets.get(self.secret()).map(String::as_str).unwrap_or_default();
        let headers = self.headers(delivery, secret);
        delivery.headers.extend(headers.into_iter().map(|(name, value)| (name, value.into_bytes())));
    }

    fn headers(&self, delivery: &Delivery, secret: &str) -> Vec<(String, String)> {
        let (body, key) = (delivery.body.as_slice(), secret.as_bytes());
        let header = |name: &str, value: String| (name.to_lowercase(), value);
        let at = delivery.received_at.replace_nanosecond(0).unwrap_or(delivery.received_at);
        match self {
            Self::Hub { header: name, .. } => vec![header(name, format!("sha256={}", hex_mac(key, &[body])))],
            Self::Bare { header: name, encoding, .. } => vec![header(name, encoding.mac(key, &[body]))],
            Self::Timestamped { signature_header, timestamp_header, separator, encoding, timestamp, .. } => {
                let stamp = match timestamp {
                    Timestamp::Seconds => at.unix_timestamp().to_string(),
                    Timestamp::Milliseconds => (at.unix_timestamp() * 1_000).to_string(),
                    Timestamp::Rfc3339 => at.format(&Rfc3339).unwrap_or_default(),
                };
                let mac = encoding.mac(key, &[stamp.as_bytes(), separator.as_bytes(), body]);
                vec![header(signature_header, mac), header(timestamp_header, stamp)]
            }
            Self::Stripe { header: name, .. } => {
                let stamp = at.unix_timestamp().to_string();
                let mac = hex_mac(key, &[stamp.as_bytes(), b".", body]);
                vec![header(name, format!("t={stamp},v1={mac}"))]
            }
            Self::StandardWebhooks { .. } => {
                let (id, stamp) = ("msg_conformance", at.unix_timestamp().to_string());
                let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap_or(secret)).unwrap_or_default();
                let mac = base64_mac(&key, &[id.as_bytes(), b".", stamp.as_bytes(), b".", body]);
                vec![
                    header("webhook-id", id.to_owned()),
                    header("webhook-timestamp", stamp),
                    header("webhook-signature", format!("v1,{mac}")),
                ]
            }
            Self::Token { header: name, .. } => vec![header(name, secret.to_owned())],
            Self::Basic { user, .. } => {
                vec![header("authorization", format!("Basic {}", STANDARD.encode(format!("{user}:{secret}"))))]
            }
        }
    }
}

impl Encoding {
    fn mac(self, key: &[u8], parts: &[&[u8]]) -> String {
        match self {
            Self::Hex => hex_mac(key, parts),
            Self::Base64 => base64_mac(key, parts),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_seen_in_whatever_form_and_only_near_the_arrival() {
        let near = OffsetDateTime::from_unix_timestamp(1_772_442_905).unwrap();
        for (value, expected) in [
            ("1772442900", true),
            ("1772442900123", true),
            ("2026-03-02T09:15:00Z", true),
            ("t=1772442900,v1=ab", true),
            ("v1=ab, t=1772442900", true),
            ("1772000000", false),
            ("17", false),
            ("sha256=ab", false),
            ("", false),
        ] {
            assert_eq!(shows_time(&[("x-a".to_owned(), value.into())], near), expected, "{value}");
        }
    }
}
