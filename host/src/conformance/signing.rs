//! How the webhooks of a case prove where they come from: the schemes of the SDK's `signature` module, from the other side.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use plugin_abi::{
    testing::{base64_mac, hex_mac},
    time::format_description::well_known::Rfc3339,
};
use serde::{Deserialize, Serialize};

use super::subject::Delivery;

/// A scheme with what it needs.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "scheme", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Sign {
    /// `sha256=<hex>` over the body.
    Hub { header: String, secret: String },
    /// The bare digits over the body.
    Bare {
        header: String,
        secret: String,
        #[serde(default)]
        encoding: Encoding,
    },
    /// Over a time stamp and the body.
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
    /// Standard Webhooks, with a `whsec_` secret.
    StandardWebhooks { secret: String },
    /// The secret itself.
    Token { header: String, secret: String },
    /// User and secret.
    Basic { user: String, secret: String },
}

/// How a signature is written.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Encoding {
    #[default]
    Hex,
    Base64,
}

/// How a time stamp is written.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Timestamp {
    #[default]
    Seconds,
    Rfc3339,
}

/// How old a signature is that nobody may take.
const STALE: Duration = Duration::from_secs(3 * 60 * 60);

impl Sign {
    /// The secret's name.
    pub(super) fn secret(&self) -> &str {
        match self {
            Self::Hub { secret, .. }
            | Self::Bare { secret, .. }
            | Self::Timestamped { secret, .. }
            | Self::StandardWebhooks { secret }
            | Self::Token { secret, .. }
            | Self::Basic { secret, .. } => secret,
        }
    }

    /// Whether the body is signed, and not only its sender known.
    pub(super) fn covers_body(&self) -> bool {
        !matches!(self, Self::Token { .. } | Self::Basic { .. })
    }

    /// The same delivery, when its scheme signs a time, signed too long ago.
    pub(super) fn stale(&self, delivery: &Delivery, secrets: &BTreeMap<String, String>) -> Option<Delivery> {
        let is_timed = matches!(self, Self::Timestamped { .. } | Self::StandardWebhooks { .. });
        is_timed.then(|| {
            let mut stale = delivery.clone();
            let names: Vec<_> = self.headers(delivery, "").into_iter().map(|(name, _)| name).collect();
            stale.headers.retain(|(name, _)| !names.contains(name));
            stale.received_at -= STALE;
            self.add_to(&mut stale, secrets);
            stale.received_at = delivery.received_at;
            stale
        })
    }

    /// The names of the headers that it adds.
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
                    Timestamp::Rfc3339 => at.format(&Rfc3339).unwrap_or_default(),
                };
                let mac = encoding.mac(key, &[stamp.as_bytes(), separator.as_bytes(), body]);
                vec![header(signature_header, mac), header(timestamp_header, stamp)]
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
