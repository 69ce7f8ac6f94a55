//! The token endpoint at `/oauth/token` (RFC 6749): one client, two grants, refresh tokens that rotate, and the access
//! tokens that all tools accept beside the sandbox's own credential.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hyper::{
    Method, StatusCode,
    header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{answer::Answer, call::Call};

/// The endpoint's path.
pub(crate) const PATH: &str = "/oauth/token";
/// The parameters of a request.
const PARAMETERS: [&str; 5] = ["grant_type", "refresh_token", "scope", "client_id", "client_secret"];

/// The only client that the token endpoint knows, and how the endpoint treats it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OauthClient {
    /// The client's id.
    pub client_id: String,
    /// The client's secret.
    pub client_secret: String,
    /// The initial refresh token. Without one, only the grant `client_credentials` is possible.
    #[serde(default)]
    pub refresh_token: Option<String>,
    /// Whether each use of a refresh token exchanges it for another. A use of an old one then invalidates all of them.
    #[serde(default)]
    pub rotates: bool,
    /// Lifetime of an access token in seconds. Without it, tokens do not expire, and the answer has no lifetime.
    #[serde(default)]
    pub expires_in_s: Option<u64>,
    /// The status of every answer; no tokens are issued then.
    #[serde(default)]
    pub failure_status: Option<u16>,
}

/// A token that was issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OauthGrant {
    /// `client_credentials` or `refresh_token`.
    pub grant: String,
    /// The access token: the client's id with a number.
    pub access_token: String,
    /// The refresh token issued with it, in the same form.
    pub refresh_token: Option<String>,
}

/// The client, the tokens issued to it, and which of them are valid.
#[derive(Debug, Default)]
pub(crate) struct Oauth {
    given: Mutex<Given>,
}

#[derive(Debug, Default)]
struct Given {
    client: Option<OauthClient>,
    grants: Vec<OauthGrant>,
    /// Refresh tokens that were exchanged already.
    spent: Vec<String>,
    /// Valid access tokens, and until when.
    good: HashMap<String, Option<Instant>>,
}

/// An error of RFC 6749, section 5.2.
struct Refused(StatusCode, &'static str);

const INVALID_REQUEST: Refused = Refused(StatusCode::BAD_REQUEST, "invalid_request");

impl Oauth {
    fn lock(&self) -> MutexGuard<'_, Given> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the client, without any issued tokens. With `None`, the endpoint does not exist.
    pub(crate) fn set(&self, client: Option<OauthClient>) {
        *self.lock() = Given { client, ..Given::default() };
    }

    /// Everything that was issued, oldest first.
    pub(crate) fn grants(&self) -> Vec<OauthGrant> {
        self.lock().grants.clone()
    }

    /// Invalidates all access tokens.
    pub(crate) fn revoke_access(&self) {
        self.lock().good.clear();
    }

    /// Invalidates the refresh token.
    pub(crate) fn revoke_refresh(&self) {
        if let Some(client) = &mut self.lock().client {
            client.refresh_token = None;
        }
    }

    /// The valid access token that a request to a tool presents, in any header.
    pub(crate) fn presented(&self, call: &Call) -> Option<String> {
        let given = self.lock();
        let values = call.head.headers.values().filter_map(|value| value.to_str().ok());
        let mut words = values.filter_map(|value| value.rsplit(' ').next());
        let is_good = |token: &&str| match given.good.get(*token) {
            Some(until) => until.is_none_or(|until| Instant::now() < until),
            None => false,
        };
        words.find(is_good).map(str::to_owned)
    }

    /// Answers a request to [`PATH`].
    pub(crate) fn answer(&self, call: &Call) -> Answer {
        let mut given = self.lock();
        let Some(client) = given.client.clone() else {
            return Answer::json(StatusCode::NOT_FOUND, &json!({ "error": "no client is set" }));
        };
        if let Some(status) = client.failure_status.and_then(|status| StatusCode::from_u16(status).ok()) {
            return Answer::json(status, &json!({}));
        }
        match given.grant(&client, call) {
            Ok(body) => Answer::json(StatusCode::OK, &body).with(CACHE_CONTROL, HeaderValue::from_static("no-store")),
            Err(Refused(status, error)) => Answer::json(status, &json!({ "error": error })),
        }
    }
}

impl Given {
    fn grant(&mut self, client: &OauthClient, call: &Call) -> Result<Value, Refused> {
        if call.head.method != Method::POST || call.head.uri.query().is_some() {
            return Err(INVALID_REQUEST);
        }
        let parameters = parameters(call)?;
        let parameter = |name: &str| parameters.get(name).map(String::as_str);
        let (id, secret) = match (call.header(AUTHORIZATION.as_str()), parameter("client_id")) {
            (Some(header), None) => basic(header)?,
            (None, Some(id)) => (id.to_owned(), parameter("client_secret").ok_or(INVALID_REQUEST)?.to_owned()),
            _ => return Err(INVALID_REQUEST),
        };
        if (&id, &secret) != (&client.client_id, &client.client_secret) {
            return Err(Refused(StatusCode::UNAUTHORIZED, "invalid_client"));
        }
        let number = self.grants.len() + 1;
        let grant = parameter("grant_type").ok_or(INVALID_REQUEST)?.to_owned();
        let mut exchanged = None;
        match (grant.as_str(), parameter("refresh_token")) {
            ("client_credentials", None) => {}
            ("refresh_token", Some(token)) if client.refresh_token.as_deref() == Some(token) => {
                exchanged = client.rotates.then(|| format!("{id}-refresh-{number}"));
                self.spent.extend(exchanged.is_some().then(|| token.to_owned()));
            }
            ("refresh_token", Some(token)) => {
                if self.spent.iter().any(|spent| spent == token) {
                    // An old token: somebody has stolen it, or lost the one that it was exchanged for.
                    self.client.as_mut().expect("it was just there").refresh_token = None;
                }
                return Err(Refused(StatusCode::BAD_REQUEST, "invalid_grant"));
            }
            ("client_credentials", Some(_)) | ("refresh_token", None) => return Err(INVALID_REQUEST),
            _ => return Err(Refused(StatusCode::BAD_REQUEST, "unsupported_grant_type")),
        }
        if let Some(token) = &exchanged {
            self.client.as_mut().expect("it was just there").refresh_token = Some(token.clone());
        }
        let access_token = format!("{id}-access-{number}");
        let until = client.expires_in_s.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        self.good.insert(access_token.clone(), until);
        let mut body = json!({ "access_token": access_token, "token_type": "Bearer" });
        if let Some(seconds) = client.expires_in_s {
            body["expires_in"] = seconds.into();
        }
        if let Some(token) = &exchanged {
            body["refresh_token"] = token.as_str().into();
        }
        self.grants.push(OauthGrant { grant, access_token, refresh_token: exchanged });
        Ok(body)
    }
}

/// Reads the parameters of a form or a JSON object. Repeated, unknown and empty ones are errors.
fn parameters(call: &Call) -> Result<HashMap<String, String>, Refused> {
    let pairs: Vec<(String, String)> = match call.header(CONTENT_TYPE.as_str()) {
        Some("application/x-www-form-urlencoded") => url::form_urlencoded::parse(&call.body).into_owned().collect(),
        Some("application/json") => {
            let object: HashMap<String, String> = serde_json::from_slice(&call.body).map_err(|_| INVALID_REQUEST)?;
            object.into_iter().collect()
        }
        _ => return Err(INVALID_REQUEST),
    };
    let count = pairs.len();
    let known = |(name, value): &(String, String)| PARAMETERS.contains(&name.as_str()) && !value.is_empty();
    let parameters: HashMap<_, _> = pairs.into_iter().filter(known).collect();
    if parameters.len() == count { Ok(parameters) } else { Err(INVALID_REQUEST) }
}

/// Id and secret, both form-encoded (RFC 6749, section 2.3.1).
fn basic(header: &str) -> Result<(String, String), Refused> {
    let decode = || {
        let pair = String::from_utf8(STANDARD.decode(header.strip_prefix("Basic ")?).ok()?).ok()?;
        let (id, secret) = pair.split_once(':')?;
        let decoded =
            |text: &str| url::form_urlencoded::parse(text.as_bytes()).next().map(|(text, _)| text.into_owned());
        Some((decoded(id)?, decoded(secret)?))
    };
    decode().ok_or(Refused(StatusCode::UNAUTHORIZED, "invalid_client"))
}

#[cfg(test)]
mod tests;
