//! What operators set for a tenant of ServiceNow (`plugin-ctl tenant add … --set name=value`).

use plugin_abi::{prelude::*, signature::Presented};

use crate::{
    note::Format,
    signature::{Scheme, WebhookAuth},
};

/// The name of the secret that signs webhooks, or that they carry as token or password.
pub(crate) const WEBHOOK_SECRET: &str = "webhook_secret";
/// The name of the secret for the API: the user's password, or an OAuth access token.
pub(crate) const API_KEY: &str = "api_key";

/// Most characters of a note when `note_chars_max` does not say: what ServiceNow's text fields take unless an
/// administrator has raised it (<https://www.servicenow.com/docs/r/platform-administration/c_JournalFields.html>).
const NOTE_CHARS: usize = 4_000;
/// What `note_chars_max` may say. A marker needs some room.
const NOTE_CHARS_ALLOWED: std::ops::RangeInclusive<usize> = 200..=1_000_000;

/// All settings and secrets.
pub(crate) const DECLARED: &[Declared] = &[
    Declared::setting("table", "the table whose records are the tickets; incident when it is not set"),
    Declared::setting(
        "webhook_auth",
        "how webhooks prove where they come from: signature, token or basic; signature when it is not set",
    ),
    Declared::setting(
        "signature_header",
        "the header that holds the signature; x-servicenow-signature when it is not set",
    ),
    Declared::setting(
        "signature_prefix",
        "what stands before the signature in its header, such as sha256=; nothing when it is not set",
    ),
    Declared::setting("signature_encoding", "how the signature is written: base64 or hex; base64 when it is not set"),
    Declared::setting(
        "signed_string",
        "the signed text: {body}, and {timestamp} if it is signed too; {timestamp}:{body} when it is not set",
    ),
    Declared::setting(
        "timestamp_header",
        "the header that holds the time stamp; x-servicenow-timestamp when it is not set",
    ),
    Declared::setting("signing_key", "how the secret writes the key: text, base64 or hex; text when it is not set"),
    Declared::setting("token_header", "the header that carries the token; x-webhook-token when it is not set"),
    Declared::setting("basic_user", "the user of webhooks with Basic authentication; patchbay when it is not set"),
    Declared::setting(
        "read_back",
        "true or false: whether a webhook is only a hint, and the ticket is read through the API; false when it is not set",
    ),
    Declared::setting(
        "api_auth",
        "how the API is asked: basic (a user and its password) or bearer (OAuth); basic when it is not set",
    ),
    Declared::setting("api_user", "the user of the API with Basic authentication; patchbay when it is not set"),
    Declared::setting("note_format", "text or html; text when it is not set"),
    Declared::setting("note_chars_max", "most characters of a note, 200 to 1000000; 4000 when it is not set"),
    Declared::secret(WEBHOOK_SECRET, "signs webhooks, or is the token or password that they carry").required(),
    Declared::secret(API_KEY, "the password of the API's user, or an OAuth access token").required(),
];

/// All settings, read; [`DECLARED`] says what each of them means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settings<'a> {
    pub(crate) table: &'a str,
    pub(crate) webhook_auth: WebhookAuth<'a>,
    pub(crate) read_back: bool,
    pub(crate) api_auth: ApiAuth<'a>,
    pub(crate) note_format: Format,
    pub(crate) note_chars_max: usize,
}

/// How the API is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ApiAuth<'a> {
    Basic { user: &'a str },
    Bearer,
}

impl<'a> Settings<'a> {
    /// Reads all settings, also those that a call does not need: a mistake shows at the first webhook, not first in the
    /// dead letters. Looked up one by one, since this runs for every webhook.
    ///
    /// # Errors
    /// `Configuration`, naming the setting.
    pub(crate) fn read(tenant: &Tenant<'a>) -> Result<Self, PluginError> {
        Ok(Self {
            table: table(tenant)?,
            webhook_auth: match tenant.setting("webhook_auth").unwrap_or("signature") {
                "signature" => WebhookAuth::Signature(Scheme::read(tenant)?),
                "token" => WebhookAuth::Presented(Presented::token(tenant)?),
                "basic" => WebhookAuth::Presented(Presented::basic(tenant)?),
                other => return Err(PluginError::setting("webhook_auth", other, "signature, token or basic")),
            },
            read_back: tenant.flag("read_back", false)?,
            api_auth: match tenant.setting("api_auth").unwrap_or("basic") {
                "basic" => ApiAuth::Basic { user: api_user(tenant)? },
                "bearer" => ApiAuth::Bearer,
                other => return Err(PluginError::setting("api_auth", other, "basic or bearer")),
            },
            note_format: match tenant.setting("note_format").unwrap_or("text") {
                "text" => Format::Text,
                "html" => Format::Html,
                other => return Err(PluginError::setting("note_format", other, "text or html")),
            },
            note_chars_max: note_chars_max(tenant)?,
        })
    }
}

/// It becomes a part of paths and addresses.
fn table<'a>(tenant: &Tenant<'a>) -> Result<&'a str, PluginError> {
    let table = tenant.setting("table").unwrap_or("incident");
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if table.is_empty() || !table.bytes().all(is_name) {
        return Err(PluginError::setting("table", table, "a table's name: lower-case letters, digits and _"));
    }
    Ok(table)
}

fn api_user<'a>(tenant: &Tenant<'a>) -> Result<&'a str, PluginError> {
    let user = tenant.setting("api_user").unwrap_or("patchbay");
    // RFC 7617: the first colon ends the user.
    if user.is_empty() || user.contains(':') {
        return Err(PluginError::setting("api_user", user, "a name without a colon"));
    }
    Ok(user)
}

fn note_chars_max(tenant: &Tenant<'_>) -> Result<usize, PluginError> {
    let Some(text) = tenant.setting("note_chars_max") else { return Ok(NOTE_CHARS) };
    let chars = text.parse().ok().filter(|chars| NOTE_CHARS_ALLOWED.contains(chars));
    chars.ok_or_else(|| PluginError::setting("note_chars_max", text, "a number of 200 to 1000000"))
}

#[cfg(test)]
mod tests;
