//! One request for an access token, and what its answer says (RFC 6749).

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use plugin_abi::{
    PluginError,
    http::Response,
    json::{self, Json},
};
use serde::Deserialize;
use time::OffsetDateTime;
use url::form_urlencoded::{Serializer, byte_serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::AccessToken;
use crate::{
    plugin::{egress::Egress, redact::clean_of},
    tenant::{
        Tenant,
        secrets::{
            SecretText,
            oauth2::{ClientAuth, Grant, OauthCredential},
        },
    },
};

/// The life of a token whose answer does not say it: many servers give half an hour or more, and a token that ended
/// sooner is renewed when the tool refuses it.
const LIFE_DEFAULT_S: f64 = 1_800.0;
/// The longest life that is believed.
const LIFE_MAX_S: f64 = 24.0 * 3_600.0;
/// How much of what the endpoint says about an error is told, in bytes.
const DESCRIPTION_BYTES_MAX: usize = 200;

/// What the endpoint gave.
pub(super) struct Granted {
    pub(super) token: AccessToken,
    /// From the moment in which it was asked for.
    pub(super) life: Duration,
    /// The secret with the refresh token that was given in exchange for the old one, which may be dead by now.
    pub(super) exchanged: Option<Arc<SecretText>>,
}

/// Asks for a token. Blocks, at most until the deadline.
///
/// # Errors
/// `Authentication` and `Configuration` when it will be refused again, `RateLimit` and `Api` when it may not.
pub(super) fn ask(
    egress: &Egress,
    tenant: &Tenant,
    credential: &OauthCredential,
    now: OffsetDateTime,
    deadline: Instant,
) -> Result<Granted, PluginError> {
    let Asked { content_type, body, header } = request(credential);
    let url = &credential.token_url;
    let (head, body) = egress.ask_for_token(tenant, url, header.as_ref(), (content_type, &body), deadline)?;
    read(credential, &head, &body, now)
}

/// What is posted.
struct Asked {
    content_type: &'static str,
    body: Zeroizing<Vec<u8>>,
    /// The header that proves the client, when the body does not.
    header: Option<(String, Zeroizing<String>)>,
}

fn request(credential: &OauthCredential) -> Asked {
    let (id, secret) = (credential.client_id.as_str(), credential.client_secret.expose());
    let mut fields = vec![("grant_type", credential.grant_name())];
    if let Grant::RefreshToken(token) = &credential.grant {
        fields.push(("refresh_token", token.expose()));
    }
    fields.extend(credential.scope.as_deref().map(|scope| ("scope", scope)));
    if credential.auth != ClientAuth::Basic {
        fields.extend([("client_id", id), ("client_secret", secret)]);
    }
    // Room for all of it at once, each byte escaped: a buffer that grows would leave copies behind.
    let room = fields.iter().map(|(name, text)| name.len() + 6 * text.len() + 8).sum::<usize>();
    if credential.auth == ClientAuth::Json {
        let mut body = Zeroizing::new(Vec::with_capacity(room));
        let fields: BTreeMap<_, _> = fields.into_iter().collect();
        serde_json::to_writer(&mut *body, &fields).expect("texts always have a JSON form");
        return Asked { content_type: "application/json", body, header: None };
    }
    let form = Serializer::new(String::with_capacity(room)).extend_pairs(fields).finish();
    let header = (credential.auth == ClientAuth::Basic).then(|| {
        let mut pair = Zeroizing::new(String::with_capacity(3 * (id.len() + secret.len()) + 1));
        pair.extend(byte_serialize(id.as_bytes()).chain([":"]).chain(byte_serialize(secret.as_bytes())));
        let pair = Zeroizing::new(STANDARD.encode(&*pair));
        ("authorization".to_owned(), Zeroizing::new(format!("Basic {}", *pair)))
    });
    let body = Zeroizing::new(form.into_bytes());
    Asked { content_type: "application/x-www-form-urlencoded", body, header }
}

/// The body of an answer, good or bad: Zoho answers errors with 200.
#[derive(Default, Deserialize, Zeroize, ZeroizeOnDrop)]
struct Body {
    access_token: Option<String>,
    refresh_token: Option<String>,
    expires_in: Option<Seconds>,
    error: Option<String>,
    error_description: Option<String>,
}

/// Some servers write numbers as texts.
#[derive(Deserialize, Zeroize)]
#[serde(untagged)]
enum Seconds {
    Number(f64),
    Text(String),
}

fn read(
    credential: &OauthCredential,
    head: &Response,
    body: &[u8],
    now: OffsetDateTime,
) -> Result<Granted, PluginError> {
    let json = Json::new(body, head.header("content-type").map(str::as_bytes));
    let mut body: Body = json.object(json::from_slice).unwrap_or_default();
    // A token of which a character could not be read would be refused by the tool.
    let is_whole = |text: &String| !text.contains(char::REPLACEMENT_CHARACTER);
    let given = |text: Option<String>| text.filter(is_whole).and_then(|text| SecretText::new(text).ok());
    let is_success = (200..300).contains(&head.status()) && body.error.is_none();
    let token = match given(body.access_token.take()) {
        Some(token) if is_success => token,
        _ => return Err(failure(credential, head, &body, now)),
    };
    let exchanged = match (&credential.grant, given(body.refresh_token.take())) {
        (Grant::RefreshToken(old), Some(new)) if new.expose() != old.expose() => {
            let secret = credential.with_refresh_token(&new);
            Some(Arc::new(secret.map_err(|error| PluginError::Configuration(error.to_string()))?))
        }
        _ => None,
    };
    let life_s = match &body.expires_in {
        Some(Seconds::Number(seconds)) => Some(*seconds),
        Some(Seconds::Text(text)) => text.parse().ok(),
        None => None,
    };
    let life_s = life_s.filter(|seconds| *seconds > 0.0).unwrap_or(LIFE_DEFAULT_S).min(LIFE_MAX_S);
    Ok(Granted { token: Arc::from([token]), life: Duration::from_secs_f64(life_s), exchanged })
}

/// Whose fault it is that there is no token. By the codes of RFC 6749, section 5.2, and by those that Zoho has beside
/// them; by the status where there is no code.
fn failure(credential: &OauthCredential, head: &Response, body: &Body, now: OffsetDateTime) -> PluginError {
    let status = head.status();
    let told = told(credential, status, body);
    let by_operator = |what: &str| PluginError::Authentication(format!("{told}: {what}"));
    let by_setting = || PluginError::Configuration(format!("{told}; mend the secret with tenant rotate-secret"));
    let not_now = || PluginError::RateLimit { retry_after: head.retry_after(now), message: told.clone() };
    let client = "check client_id, client_secret and auth, and set the secret with tenant rotate-secret";
    match (body.error.as_deref().unwrap_or_default(), status) {
        ("invalid_grant" | "invalid_code", _) => by_operator(
            "the refresh token was revoked, has ended or was used elsewhere; authorise the client again and set the \
             secret with tenant rotate-secret",
        ),
        ("invalid_client" | "invalid_client_secret" | "unauthorized_client" | "access_denied", _) => {
            by_operator(client)
        }
        ("invalid_scope" | "unsupported_grant_type" | "invalid_request", _) => by_setting(),
        // Zoho's for too many tokens in a short time.
        ("Access Denied" | "temporarily_unavailable", _) | (_, 429) => not_now(),
        (_, 401 | 403) => by_operator(client),
        (_, 408 | 425) => PluginError::api(told),
        (_, 300..500) => by_setting(),
        _ => PluginError::api(told),
    }
}

/// What the endpoint said, without anything secret.
fn told(credential: &OauthCredential, status: u16, body: &Body) -> String {
    let mut told = format!("no access token from {}: it answered {status}", credential.token_url);
    if body.error.is_none() && (200..300).contains(&status) {
        told += " without one";
    }
    let mut words: String =
        [&body.error, &body.error_description].into_iter().flatten().map(|text| format!(", {text}")).collect();
    clean_of(credential.texts(), &mut words);
    words.retain(|char| !char.is_control());
    words.truncate(words.floor_char_boundary(DESCRIPTION_BYTES_MAX));
    told + &words
}

#[cfg(test)]
mod tests;
