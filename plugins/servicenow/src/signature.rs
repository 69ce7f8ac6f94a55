//! Who sent a webhook: ServiceNow signs nothing by itself, so the proof is whatever the tenant's script computes.
//!
//! What a script has at hand is `GlideCertificateEncryption.generateMac` (`CertificateEncryption` in a scope), which
//! takes the key in Base64 and gives the MAC in Base64
//! (<https://www.servicenow.com/docs/r/api-reference/server-api-reference/c_GlideCertificateEncryptionAPI.html>).

use std::borrow::Cow;

use plugin_abi::{
    prelude::*,
    signature::{Encoding, Presented, Why, header_setting},
};

use crate::{clock, settings::WEBHOOK_SECRET};

/// How a webhook proves where it comes from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum WebhookAuth<'a> {
    /// An HMAC-SHA256 that the tenant's script computes.
    Signature(Scheme<'a>),
    /// The secret itself comes with it.
    Presented(Presented<'a>),
}

impl WebhookAuth<'_> {
    /// Whether the webhook is from whom it says.
    ///
    /// # Errors
    /// `Configuration` when the secret cannot be used.
    pub(crate) fn holds(&self, tenant: &Tenant<'_>, webhook: &Webhook<'_>) -> Result<bool, PluginError> {
        match self {
            Self::Signature(scheme) => scheme.holds(tenant, webhook),
            Self::Presented(presented) => presented.holds(tenant, WEBHOOK_SECRET, webhook),
        }
    }
}

/// What a tenant's script signs, and how it writes it:
///
/// | setting | values | default |
/// |---|---|---|
/// | `signature_header` | the header that holds the signature | `x-servicenow-signature` |
/// | `signature_prefix` | what stands before the signature there, such as `sha256=` | nothing |
/// | `signature_encoding` | `base64`, `hex` | `base64` |
/// | `signed_string` | the signed text: `{body}`, and `{timestamp}` if it is signed too | `{timestamp}:{body}` |
/// | `timestamp_header` | the header that holds the time stamp | `x-servicenow-timestamp` |
/// | `signing_key` | `text`, `base64`, `hex`: how the secret writes the key | `text` |
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Scheme<'a> {
    signature_header: Cow<'a, str>,
    prefix: &'a str,
    encoding: Encoding,
    signed: Vec<Piece<'a>>,
    timestamp_header: Cow<'a, str>,
    key_form: KeyForm,
}

/// A piece of the signed text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece<'a> {
    Literal(&'a str),
    /// The time stamp's header, as it came.
    Timestamp,
    /// The raw body.
    Body,
}

impl<'a> Scheme<'a> {
    /// Reads the settings above.
    ///
    /// # Errors
    /// `Configuration`, naming the setting.
    pub(crate) fn read(tenant: &Tenant<'a>) -> Result<Self, PluginError> {
        Ok(Self {
            signature_header: header_setting(tenant, "signature_header", "x-servicenow-signature")?,
            prefix: tenant.setting("signature_prefix").unwrap_or(""),
            encoding: match tenant.setting("signature_encoding").unwrap_or("base64") {
                "base64" => Encoding::Base64,
                "hex" => Encoding::Hex,
                other => return Err(PluginError::setting("signature_encoding", other, "base64 or hex")),
            },
            signed: pieces(tenant.setting("signed_string").unwrap_or("{timestamp}:{body}"))?,
            timestamp_header: header_setting(tenant, "timestamp_header", "x-servicenow-timestamp")?,
            key_form: match tenant.setting("signing_key").unwrap_or("text") {
                "text" => KeyForm::Text,
                "base64" => KeyForm::Base64,
                "hex" => KeyForm::Hex,
                other => return Err(PluginError::setting("signing_key", other, "text, base64 or hex")),
            },
        })
    }

    /// Whether the signature is right and, where a time stamp is signed, recent.
    fn holds(&self, tenant: &Tenant<'_>, webhook: &Webhook<'_>) -> Result<bool, PluginError> {
        let presented = webhook.header_text(&self.signature_header);
        let Some(digits) = presented.and_then(|value| value.trim().strip_prefix(self.prefix)) else {
            let expected = "signature_prefix and the signature";
            return tenant.not_authentic(&Why::header(webhook, &self.signature_header, expected));
        };
        let mut stamp = "";
        if self.signed.contains(&Piece::Timestamp) {
            let why = || Why::header(webhook, &self.timestamp_header, "a time that ServiceNow writes");
            let Some(text) = webhook.header_text(&self.timestamp_header) else { return tenant.not_authentic(&why()) };
            let Some(at) = clock::stamp(text) else { return tenant.not_authentic(&why()) };
            if !tenant.is_fresh(at, webhook.received_at()) {
                return Ok(false);
            }
            stamp = text;
        }
        let part = |piece: &Piece<'a>| match *piece {
            Piece::Literal(text) => text.as_bytes(),
            Piece::Timestamp => stamp.as_bytes(),
            Piece::Body => webhook.body(),
        };
        let parts: Vec<_> = self.signed.iter().map(part).collect();
        signature::verify(tenant, WEBHOOK_SECRET, self.key_form, &parts, digits, self.encoding)
    }
}

fn pieces(template: &str) -> Result<Vec<Piece<'_>>, PluginError> {
    let fault = || {
        PluginError::setting(
            "signed_string",
            template,
            "a text with one {body} and at most one {timestamp}, no other braces",
        )
    };
    let mut pieces = Vec::new();
    let mut rest = template;
    while !rest.is_empty() {
        let (piece, after) = if let Some(after) = rest.strip_prefix("{body}") {
            (Piece::Body, after)
        } else if let Some(after) = rest.strip_prefix("{timestamp}") {
            (Piece::Timestamp, after)
        } else {
            let (literal, after) = rest.split_at(rest.find('{').unwrap_or(rest.len()));
            if literal.is_empty() || literal.contains('}') {
                return Err(fault());
            }
            (Piece::Literal(literal), after)
        };
        pieces.push(piece);
        rest = after;
    }
    let count = |wanted| pieces.iter().filter(|piece| **piece == wanted).count();
    if count(Piece::Body) != 1 || count(Piece::Timestamp) > 1 {
        return Err(fault());
    }
    Ok(pieces)
}
