//! Ready schemes by which tools sign their webhooks. All of them verify over the raw bytes, refuse what is absent,
//! repeated or malformed in the same way as a wrong signature, and leave keys and comparisons to the host. Why they say no
//! goes to the operator's log ([`Why`]), never to the sender.

mod connect;
mod presented;
mod why;

use std::time::Duration;

use base64::{
    Engine as _,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    PluginError,
    plugin::Tenant,
    types::{KeyForm, Webhook},
};

pub use self::{
    connect::atlassian_connect,
    presented::{Presented, header_setting},
    why::Why,
};

/// How far a sender's clock may be ahead of ours where nobody says otherwise.
pub(crate) const AHEAD_USUAL: Duration = Duration::from_secs(30);
/// How many signatures of one header are tried.
const SIGNATURES_MAX: usize = 5;
/// Bytes of a SHA-256.
const MAC_BYTES: usize = 32;
/// How [`hub`] wants its header, for the operator's log.
const HUB_FORM: &str = "sha256= and 64 hexadecimal digits";
/// How [`stripe`] wants its header, for the operator's log.
const STRIPE_FORM: &str = "t=, the whole seconds since 1970, and v1= with 64 hexadecimal digits";

/// How a signature is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Encoding {
    /// Hexadecimal digits, either case.
    Hex,
    /// Standard Base64, padded or not.
    Base64,
}

impl Encoding {
    /// How a MAC is written so, for the operator's log.
    fn form(self) -> &'static str {
        match self {
            Self::Hex => "64 hexadecimal digits",
            Self::Base64 => "the Base64 of 32 bytes",
        }
    }
}

/// `sha256=<hex>` over the raw body, as GitHub and Jira write it. The method is read from the header and must be
/// `sha256`: it is the only one that is taken.
///
/// # Errors
/// `Configuration` when the secret cannot be used.
pub fn hub(tenant: &Tenant<'_>, secret: &str, webhook: &Webhook<'_>, header: &str) -> Result<bool, PluginError> {
    let Some((method, digits)) = webhook.header_text(header).and_then(|value| value.trim().split_once('=')) else {
        return tenant.not_authentic(&Why::header(webhook, header, HUB_FORM));
    };
    if !method.eq_ignore_ascii_case("sha256") {
        return tenant.not_authentic(&Why::HeaderUnreadable { header, expected: HUB_FORM });
    }
    verify(tenant, secret, KeyForm::Text, &[webhook.body()], digits, Encoding::Hex)
}

/// The bare digits over the raw body: `<hex>` or `<base64>`.
///
/// # Errors
/// `Configuration` when the secret cannot be used.
pub fn bare(
    tenant: &Tenant<'_>,
    secret: &str,
    webhook: &Webhook<'_>,
    header: &str,
    encoding: Encoding,
) -> Result<bool, PluginError> {
    let Some(digits) = webhook.header_text(header) else {
        return tenant.not_authentic(&Why::header(webhook, header, encoding.form()));
    };
    verify(tenant, secret, KeyForm::Text, &[webhook.body()], digits.trim(), encoding)
}

/// What a time stamp that is a number counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unit {
    /// Seconds since the epoch.
    #[default]
    Seconds,
    /// Milliseconds since the epoch.
    Millis,
}

impl Unit {
    /// How a time stamp's header is written, for the operator's log.
    fn form(self) -> &'static str {
        match self {
            Self::Seconds => "a time: RFC 3339, or whole seconds since 1970",
            Self::Millis => "a time: RFC 3339, or whole milliseconds since 1970",
        }
    }
}

/// How a time stamp and the body are signed.
#[derive(Clone, Copy, Debug)]
pub struct Timestamped<'a> {
    pub(crate) signature_header: &'a str,
    pub(crate) timestamp_header: &'a str,
    pub(crate) encoding: Encoding,
    pub(crate) separator: &'a str,
    pub(crate) key_form: KeyForm,
    unit: Unit,
}

impl<'a> Timestamped<'a> {
    /// The names of two headers, of the signature and of the time stamp: RFC 3339, or seconds since the epoch. The time
    /// stamp's text is signed as it came, the body follows at once, and the secret's text is the key.
    pub const fn new(signature_header: &'a str, timestamp_header: &'a str, encoding: Encoding) -> Self {
        let (separator, key_form, unit) = ("", KeyForm::Text, Unit::Seconds);
        Self { signature_header, timestamp_header, encoding, separator, key_form, unit }
    }

    /// What stands between time stamp and body in the signed text.
    #[must_use]
    pub const fn separator(self, separator: &'a str) -> Self {
        Self { separator, ..self }
    }

    /// How the key is written.
    #[must_use]
    pub const fn key_form(self, key_form: KeyForm) -> Self {
        Self { key_form, ..self }
    }

    /// What a time stamp that is a number counts; seconds without this.
    #[must_use]
    pub const fn unit(self, unit: Unit) -> Self {
        Self { unit, ..self }
    }
}

/// Time stamp and body, as Zendesk signs them; the time stamp must lie within the tenant's replay window.
///
/// # Errors
/// `Configuration` when the secret cannot be used.
pub fn timestamped(
    tenant: &Tenant<'_>,
    secret: &str,
    webhook: &Webhook<'_>,
    scheme: &Timestamped<'_>,
) -> Result<bool, PluginError> {
    let (signature, timestamp) = (scheme.signature_header, scheme.timestamp_header);
    let Some(digits) = webhook.header_text(signature) else {
        return tenant.not_authentic(&Why::header(webhook, signature, scheme.encoding.form()));
    };
    let Some(stamp) = webhook.header_text(timestamp) else {
        return tenant.not_authentic(&Why::header(webhook, timestamp, scheme.unit.form()));
    };
    let Some(at) = instant(stamp, scheme.unit) else {
        return tenant.not_authentic(&Why::HeaderUnreadable { header: timestamp, expected: scheme.unit.form() });
    };
    let parts = [stamp.as_bytes(), scheme.separator.as_bytes(), webhook.body()];
    Ok(verify(tenant, secret, scheme.key_form, &parts, digits.trim(), scheme.encoding)?
        && tenant.is_fresh(at, webhook.received_at()))
}

/// `t=<seconds>,v1=<hex>` over time stamp, dot and raw body in one header, as Stripe writes it; any of the `v1` signatures
/// will do. The time stamp must lie within the tenant's replay window.
///
/// # Errors
/// `Configuration` when the secret cannot be used.
pub fn stripe(tenant: &Tenant<'_>, secret: &str, webhook: &Webhook<'_>, header: &str) -> Result<bool, PluginError> {
    let Some(value) = webhook.header_text(header) else {
        return tenant.not_authentic(&Why::header(webhook, header, STRIPE_FORM));
    };
    let unreadable = Why::HeaderUnreadable { header, expected: STRIPE_FORM };
    let items = || value.split(',').filter_map(|item| item.trim().split_once('='));
    let mut stamps = items().filter(|(name, _)| *name == "t").map(|(_, stamp)| stamp);
    // Of two time stamps only one would be judged.
    let (Some(stamp), None) = (stamps.next(), stamps.next()) else { return tenant.not_authentic(&unreadable) };
    let Some(at) = instant(stamp, Unit::Seconds) else { return tenant.not_authentic(&unreadable) };
    if !items().any(|(name, _)| name == "v1") {
        return tenant.not_authentic(&unreadable);
    }
    let parts = [stamp.as_bytes(), b".", webhook.body()];
    let mut verified = false;
    for (_, digits) in items().filter(|(name, _)| *name == "v1").take(SIGNATURES_MAX) {
        // No early end: how many were tried before the right one is nobody's business.
        verified |= verify(tenant, secret, KeyForm::Text, &parts, digits, Encoding::Hex)?;
    }
    Ok(verified && tenant.is_fresh(at, webhook.received_at()))
}

/// Standard Webhooks (webhook-id, webhook-timestamp, webhook-signature; `whsec_` secrets; any of the `v1` signatures).
///
/// # Errors
/// `Configuration` when the secret is not Base64.
pub fn standard_webhooks(tenant: &Tenant<'_>, secret: &str, webhook: &Webhook<'_>) -> Result<bool, PluginError> {
    let [id, stamp, signatures] =
        ["webhook-id", "webhook-timestamp", "webhook-signature"].map(|name| (name, webhook.header_text(name)));
    let ((_, Some(id)), (stamp_header, Some(stamp)), (_, Some(signatures))) = (id, stamp, signatures) else {
        let absent = [id, stamp, signatures].into_iter().find(|(_, text)| text.is_none());
        let header = absent.map_or("webhook-signature", |(name, _)| name);
        return tenant.not_authentic(&Why::header(webhook, header, "text"));
    };
    let Some(at) = instant(stamp, Unit::Seconds) else {
        return tenant.not_authentic(&Why::HeaderUnreadable { header: stamp_header, expected: Unit::Seconds.form() });
    };
    let parts = [id.as_bytes(), b".", stamp.as_bytes(), b".", webhook.body()];
    let mut verified = false;
    if !signatures.split(' ').any(|one| one.starts_with("v1,")) {
        let expected = "v1, and the Base64 of 32 bytes";
        return tenant.not_authentic(&Why::HeaderUnreadable { header: "webhook-signature", expected });
    }
    for digits in signatures.split(' ').filter_map(|one| one.strip_prefix("v1,")).take(SIGNATURES_MAX) {
        // No early end: how many were tried before the right one is nobody's business.
        verified |= verify(tenant, secret, KeyForm::Base64, &parts, digits, Encoding::Base64)?;
    }
    Ok(verified && tenant.is_fresh(at, webhook.received_at()))
}

/// The secret itself in a header, for tools that cannot sign.
///
/// # Errors
/// `Configuration` when the secret cannot be used.
pub fn static_token(
    tenant: &Tenant<'_>,
    secret: &str,
    webhook: &Webhook<'_>,
    header: &str,
) -> Result<bool, PluginError> {
    let Some(presented) = webhook.header(header) else {
        return tenant.not_authentic(&Why::header(webhook, header, "a token"));
    };
    let presented = presented.trim_ascii();
    let presented = if header == "authorization" {
        presented.strip_prefix(b"Bearer ").unwrap_or(presented).trim_ascii()
    } else {
        presented
    };
    tenant.verify_secret(secret, presented)
}

/// `Authorization: Basic` with this user and the secret as password.
///
/// # Errors
/// `Configuration` when the secret cannot be used.
pub fn basic(tenant: &Tenant<'_>, user: &str, secret: &str, webhook: &Webhook<'_>) -> Result<bool, PluginError> {
    let pair = webhook
        .header_text("authorization")
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
        .and_then(|(_, encoded)| STANDARD.decode(encoded.trim()).ok());
    let Some((presented_user, password)) = pair.as_deref().and_then(|pair| {
        let colon = pair.iter().position(|byte| *byte == b':')?;
        Some((&pair[..colon], &pair[colon + 1..]))
    }) else {
        let why = Why::header(webhook, "authorization", "Basic with a user and a password");
        return tenant.not_authentic(&why);
    };
    // Both are looked at whatever the first says.
    let verified = tenant.verify_secret(secret, password)?;
    let is_the_user = presented_user == user.as_bytes();
    if !is_the_user {
        tenant.not_authentic(&Why::Other("the user of Authorization: Basic is another one"))?;
    }
    Ok(verified & is_the_user)
}

/// The claims of a JSON Web Token signed with HS256 under the secret, or `None` when it is not authentic or not in force.
/// What the claims must say (issuer, audience, Atlassian's `qsh`) is the caller's to check.
///
/// # Errors
/// `Configuration` when the secret cannot be used.
pub fn jwt_hs256(
    tenant: &Tenant<'_>,
    secret: &str,
    token: &str,
    received_at: OffsetDateTime,
) -> Result<Option<serde_json::Map<String, serde_json::Value>>, PluginError> {
    let parts = token.rsplit_once('.').and_then(|(signed, digits)| Some((signed, digits, signed.split_once('.')?)));
    let decoded = parts.and_then(|(signed, digits, (head, claims))| {
        Some((signed, url_decoded(digits)?, json_of(head)?, json_of(claims)?))
    });
    let Some((signed, mac, head, claims)) = decoded else {
        tenant.not_authentic(&Why::Other("what should be a JSON Web Token is none"))?;
        return Ok(None);
    };
    let authentic = mac.len() == MAC_BYTES && tenant.verify_hmac_sha256(secret, &[signed.as_bytes()], &mac)?;
    let now = received_at.unix_timestamp();
    let ahead = i64::try_from(tenant.replay_ahead().as_secs()).unwrap_or(i64::MAX);
    let seconds = |name: &str| claims.get(name).and_then(serde_json::Value::as_i64);
    let in_force = seconds("exp").is_some_and(|at| now < at)
        && seconds("iat").is_none_or(|at| at <= now.saturating_add(ahead))
        && seconds("nbf").is_none_or(|at| at <= now.saturating_add(ahead));
    let algorithm = head.get("alg").and_then(serde_json::Value::as_str) == Some("HS256");
    let refused = match () {
        () if !algorithm => Some("the JSON Web Token is not signed with HS256"),
        () if mac.len() != MAC_BYTES => Some("the signature of the JSON Web Token has not 32 bytes"),
        () if !in_force => Some("the JSON Web Token is not in force: its exp, iat and nbf say when it is"),
        () => None,
    };
    // A wrong signature is the host's to tell.
    if let Some(why) = refused.filter(|_| authentic || !algorithm || mac.len() != MAC_BYTES) {
        tenant.not_authentic(&Why::Other(why))?;
    }
    Ok((authentic & in_force & algorithm).then_some(claims))
}

/// Whether a signed time lies within the window before `now`, or at most half a minute after it.
/// [`Tenant::is_fresh`] knows how much the operator allows on either side.
pub fn fresh(signed: OffsetDateTime, now: OffsetDateTime, window: Duration) -> bool {
    let age = now - signed;
    age <= window && -age <= AHEAD_USUAL
}

/// A signature over parts in the order of the caller's own scheme.
///
/// # Errors
/// `Configuration` when the secret cannot be used.
pub fn verify(
    tenant: &Tenant<'_>,
    secret: &str,
    key_form: KeyForm,
    parts: &[&[u8]],
    digits: &str,
    encoding: Encoding,
) -> Result<bool, PluginError> {
    let mut mac = [0; MAC_BYTES];
    let whole = match encoding {
        Encoding::Hex => hex_decoded(digits, &mut mac),
        Encoding::Base64 => base64_decoded(digits, &mut mac),
    };
    // What cannot be decoded takes the same way as what does not match.
    let verified = tenant.verify_hmac_sha256_with(secret, key_form, parts, &mac)?;
    if !whole {
        tenant.not_authentic(&Why::SignatureUnreadable { expected: encoding.form() })?;
    }
    Ok(verified & whole)
}

fn hex_decoded(digits: &str, mac: &mut [u8; MAC_BYTES]) -> bool {
    let digits = digits.as_bytes();
    if digits.len() != 2 * MAC_BYTES {
        return false;
    }
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    mac.iter_mut().zip(digits.chunks_exact(2)).all(|(byte, pair)| match (nibble(pair[0]), nibble(pair[1])) {
        (Some(high), Some(low)) => {
            *byte = high << 4 | low;
            true
        }
        _ => false,
    })
}

/// Padding or none, as senders differ; trailing bits must be zero, so that one signature has one text.
const EITHER_PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, EITHER_PADDING);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::URL_SAFE, EITHER_PADDING);

fn base64_decoded(digits: &str, mac: &mut [u8; MAC_BYTES]) -> bool {
    let Ok(decoded) = BASE64.decode(digits) else { return false };
    let Ok(decoded) = <[u8; MAC_BYTES]>::try_from(decoded) else { return false };
    *mac = decoded;
    true
}

fn url_decoded(text: &str) -> Option<Vec<u8>> {
    BASE64_URL.decode(text).ok()
}

fn json_of(text: &str) -> Option<serde_json::Map<String, serde_json::Value>> {
    serde_json::from_slice(&url_decoded(text)?).ok()
}

/// RFC 3339, or a whole number since the epoch.
fn instant(text: &str, unit: Unit) -> Option<OffsetDateTime> {
    let text = text.trim();
    match (text.parse::<i64>(), unit) {
        (Ok(seconds), Unit::Seconds) => OffsetDateTime::from_unix_timestamp(seconds).ok(),
        (Ok(ms), Unit::Millis) => OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok(),
        (Err(_), _) => OffsetDateTime::parse(text, &Rfc3339).ok(),
    }
}

#[cfg(test)]
mod tests;
