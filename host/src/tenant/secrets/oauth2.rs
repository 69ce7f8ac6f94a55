//! Secrets of the kind `oauth2`. Tools never see them; they serve to obtain access tokens.
//!
//! The text of such a secret is a JSON object with the single key `oauth2`. Every other text is a plain secret.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::Serialize;
use serde_json::value::RawValue;
use url::Url;
use zeroize::Zeroizing;

use super::{SECRET_BYTES_MAX, SecretError, SecretText};
use crate::tenant::{InvalidTenant, Tenant, check_url};

/// How a token is obtained (RFC 6749).
#[derive(Debug)]
pub enum Grant {
    /// With the client's own credentials (section 4.4).
    ClientCredentials,
    /// With a refresh token that a person once consented to (section 6).
    RefreshToken(SecretText),
}

/// How the client authenticates (RFC 6749, section 2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// By HTTP Basic authentication.
    Basic,
    /// By fields of the form in the request's body.
    Body,
    /// By fields of a JSON body instead of a form. The RFC does not define it, but some tools require it.
    Json,
}

impl ClientAuth {
    const ALL: [Self; 3] = [Self::Basic, Self::Body, Self::Json];

    fn as_str(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Body => "body",
            Self::Json => "json",
        }
    }
}

/// The credential for obtaining access tokens.
#[derive(Debug)]
pub struct OauthCredential {
    /// The URL that tokens are obtained from.
    pub token_url: Url,
    /// The grant.
    pub grant: Grant,
    /// The client's id.
    pub client_id: String,
    /// The client's secret.
    pub client_secret: SecretText,
    /// The scope of the token, in the tool's own words. Without it, the token allows everything that was consented to.
    pub scope: Option<String>,
    /// How the client authenticates.
    pub auth: ClientAuth,
}

/// What is wrong with a secret of this kind, field by field. Contains no part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidOauth(Vec<(&'static str, String)>);

impl fmt::Display for InvalidOauth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (field, reason)) in self.0.iter().enumerate() {
            let (between, dot) = (if at > 0 { "; " } else { "" }, if field.is_empty() { "" } else { "." });
            write!(f, "{between}oauth2{dot}{field} {reason}")?;
        }
        Ok(())
    }
}

/// The fields as written.
#[derive(Serialize)]
struct Written<'a> {
    token_url: &'a str,
    grant: &'a str,
    client_id: &'a str,
    client_secret: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a str>,
    auth: &'a str,
}

const CLIENT_CREDENTIALS: &str = "client_credentials";
const REFRESH_TOKEN: &str = "refresh_token";
const FIELDS: [&str; 7] = ["token_url", "grant", "client_id", "client_secret", REFRESH_TOKEN, "scope", "auth"];

impl OauthCredential {
    /// Parses a secret's text; `None` if it is a plain one.
    pub(super) fn parse(text: &str) -> Option<Result<Self, InvalidOauth>> {
        // Some editors write a byte order mark in front.
        let text = text.trim_start_matches('\u{feff}');
        if !text.trim_start().starts_with('{') {
            return None;
        }
        let whole: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(text).ok()?;
        let object = whole.get("oauth2").filter(|_| whole.len() == 1)?;
        // The fields are borrowed, so that no part of the secret is copied to memory that is not overwritten.
        Some(match serde_json::from_str(object.get()) {
            Ok(fields) => Fields { fields, faults: Vec::new() }.credential(),
            Err(_) => Err(InvalidOauth(vec![("", "must be an object".to_owned())])),
        })
    }

    /// The parts that must never be shown.
    pub(crate) fn texts(&self) -> Vec<&SecretText> {
        match &self.grant {
            Grant::ClientCredentials => vec![&self.client_secret],
            Grant::RefreshToken(token) => vec![&self.client_secret, token],
        }
    }

    /// The grant's name: `client_credentials` or `refresh_token`.
    pub fn grant_name(&self) -> &'static str {
        match self.grant {
            Grant::ClientCredentials => CLIENT_CREDENTIALS,
            Grant::RefreshToken(_) => REFRESH_TOKEN,
        }
    }

    /// The text of the same secret with another refresh token.
    ///
    /// # Errors
    /// [`SecretError::Length`] if it is too long.
    pub fn with_refresh_token(&self, token: &SecretText) -> Result<SecretText, SecretError> {
        let written = Written {
            token_url: self.token_url.as_str(),
            grant: REFRESH_TOKEN,
            client_id: &self.client_id,
            client_secret: self.client_secret.expose(),
            refresh_token: Some(token.expose()),
            scope: self.scope.as_deref(),
            auth: self.auth.as_str(),
        };
        // Reserves room for all of it at once: a growing buffer would leave copies behind.
        let mut text = Zeroizing::new(Vec::with_capacity(2 * SECRET_BYTES_MAX));
        serde_json::to_writer(&mut *text, &BTreeMap::from([("oauth2", written)])).map_err(|_| SecretError::Length)?;
        let text = String::from_utf8(std::mem::take(&mut *text)).expect("JSON is UTF-8");
        SecretText::new(text)
    }
}

/// Refuses a secret of the kind `oauth2` that cannot work for this tenant. A plain secret is never refused.
pub fn check(tenant: &Tenant, name: &str, secret: &SecretText) -> Result<(), InvalidTenant> {
    let refuse = |reason| Err(InvalidTenant::Other { what: format!("secret {name}"), reason });
    match secret.oauth2() {
        Ok(None) => Ok(()),
        Ok(Some(credential)) if tenant.may_call(&credential.token_url) => Ok(()),
        Ok(Some(credential)) => {
            let origin = credential.token_url.origin().ascii_serialization();
            refuse(format!(
                "oauth2.token_url is at {origin}, which this tenant may not call; add it with --allow-origin {origin}"
            ))
        }
        Err(invalid) => refuse(invalid.to_string()),
    }
}

struct Fields<'a> {
    fields: BTreeMap<Cow<'a, str>, &'a RawValue>,
    faults: Vec<(&'static str, String)>,
}

impl Fields<'_> {
    fn credential(mut self) -> Result<OauthCredential, InvalidOauth> {
        if self.fields.keys().any(|field| !FIELDS.contains(&&**field)) {
            // The unknown field is not named: it may be a secret in the wrong place.
            self.faults.push(("", format!("may have the fields {} only", FIELDS.join(", "))));
        }
        let token_url = self.required("token_url").and_then(|text| match check_url(text.expose()) {
            Ok(url) => Some(url),
            Err(InvalidTenant::Url { reason, .. }) => self.fault("token_url", format!("cannot be used: {reason}")),
            Err(InvalidTenant::Other { reason, .. }) => self.fault("token_url", reason),
        });
        let refresh_token = self.text(REFRESH_TOKEN);
        let grant = self.required("grant").and_then(|text| match (text.expose(), refresh_token) {
            (CLIENT_CREDENTIALS, None) => Some(Grant::ClientCredentials),
            (CLIENT_CREDENTIALS, Some(_)) => {
                self.fault(REFRESH_TOKEN, "does not belong to the grant client_credentials".to_owned())
            }
            (REFRESH_TOKEN, Some(token)) => Some(Grant::RefreshToken(token)),
            (REFRESH_TOKEN, None) => self.fault(REFRESH_TOKEN, "is needed for the grant refresh_token".to_owned()),
            _ => self.fault("grant", format!("must be {CLIENT_CREDENTIALS} or {REFRESH_TOKEN}")),
        });
        let auth = match self.text("auth").as_ref().map(SecretText::expose) {
            None => Some(ClientAuth::Body),
            Some(text) => match ClientAuth::ALL.into_iter().find(|auth| auth.as_str() == text) {
                None => self.fault("auth", "must be basic, body or json".to_owned()),
                auth => auth,
            },
        };
        let (client_id, client_secret) = (self.required("client_id"), self.required("client_secret"));
        let scope = self.text("scope").map(|text| text.expose().to_owned());
        match (token_url, grant, client_id, client_secret, auth) {
            (Some(token_url), Some(grant), Some(client_id), Some(client_secret), Some(auth))
                if self.faults.is_empty() =>
            {
                let client_id = client_id.expose().to_owned();
                Ok(OauthCredential { token_url, grant, client_id, client_secret, scope, auth })
            }
            _ => Err(InvalidOauth(self.faults)),
        }
    }

    fn required(&mut self, field: &'static str) -> Option<SecretText> {
        if !self.fields.contains_key(field) {
            return self.fault(field, "is missing".to_owned());
        }
        self.text(field)
    }

    fn text(&mut self, field: &'static str) -> Option<SecretText> {
        let value = self.fields.get(field)?;
        let text = serde_json::from_str::<String>(value.get()).ok().and_then(|text| SecretText::new(text).ok());
        if text.is_none() {
            return self.fault(field, format!("must be a text of 1 to {SECRET_BYTES_MAX} bytes"));
        }
        text
    }

    fn fault<T>(&mut self, field: &'static str, reason: String) -> Option<T> {
        self.faults.push((field, reason));
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        ids::{TenantId, ToolType},
        tenant::NewTenant,
    };

    fn whole() -> Value {
        json!({
            "token_url": "https://login.example/token", "grant": "refresh_token", "client_id": "me",
            "client_secret": "hunter2", "refresh_token": "r\u{e4}\"1", "scope": "a b", "auth": "basic",
        })
    }

    fn with(field: &str, value: Value) -> String {
        let mut object = whole();
        object[field] = value;
        json!({ "oauth2": object }).to_string()
    }

    fn without(field: &str) -> String {
        let mut object = whole();
        object.as_object_mut().unwrap().remove(field);
        json!({ "oauth2": object }).to_string()
    }

    #[track_caller]
    fn faults(text: &str) -> String {
        let secret = SecretText::new(text.to_owned()).unwrap();
        let told = secret.oauth2().unwrap_err().to_string();
        assert!(!told.contains("hunter2"), "{told}");
        told
    }

    #[test]
    fn what_is_no_oauth2_object_is_a_plain_secret() {
        for text in
            ["plain", "{", "{}", "[]", r#"{"key":1}"#, r#"{"oauth2":{},"more":1}"#, "\"oauth2\"", "{\"oauth2\"}"]
        {
            assert!(matches!(SecretText::new(text.to_owned()).unwrap().oauth2(), Ok(None)), "{text}");
        }
    }

    #[test]
    fn every_fault_is_told_by_its_field_and_quotes_no_secret() {
        for (text, expected) in [
            (r#"{"oauth2":7}"#.to_owned(), "oauth2 must be an object"),
            (without("token_url"), "oauth2.token_url is missing"),
            (without("client_id"), "oauth2.client_id is missing"),
            (without("client_secret"), "oauth2.client_secret is missing"),
            (without("grant"), "oauth2.grant is missing"),
            (without("refresh_token"), "oauth2.refresh_token is needed for the grant refresh_token"),
            (with("grant", json!("password")), "oauth2.grant must be client_credentials or refresh_token"),
            (
                with("grant", json!("client_credentials")),
                "oauth2.refresh_token does not belong to the grant client_credentials",
            ),
            (with("auth", json!("post")), "oauth2.auth must be basic, body or json"),
            (with("client_secret", json!(7)), "oauth2.client_secret must be a text of 1 to 8192 bytes"),
            (with("scope", json!("")), "oauth2.scope must be a text of 1 to 8192 bytes"),
            (
                with("hunter2", json!("x")),
                "oauth2 may have the fields token_url, grant, client_id, client_secret, refresh_token, scope, auth only",
            ),
            (
                with("token_url", json!("http://login.example/token")),
                "oauth2.token_url cannot be used: it must be https; http is for loopback addresses only",
            ),
        ] {
            assert_eq!(faults(&text), expected);
        }
        let told = faults(r#"{"oauth2":{"token_url":"https://a:hunter2@b/","grant":"hunter2"}}"#);
        for field in ["token_url", "grant", "client_id", "client_secret"] {
            assert!(told.contains(&format!("oauth2.{field} ")), "{told}");
        }
    }

    #[test]
    fn a_rotated_refresh_token_replaces_the_old_one_and_nothing_else() {
        let secret = SecretText::new(json!({ "oauth2": whole() }).to_string()).unwrap();
        let token = SecretText::new("r2\"".to_owned()).unwrap();
        let rotated = secret.oauth2().unwrap().unwrap().with_refresh_token(&token).unwrap();
        let read: Value = serde_json::from_str(rotated.expose()).unwrap();
        assert_eq!(read.to_string(), with("refresh_token", json!("r2\"")));
        let long = SecretText::new("x".repeat(SECRET_BYTES_MAX)).unwrap();
        assert!(secret.oauth2().unwrap().unwrap().with_refresh_token(&long).is_err());
    }

    #[test]
    fn the_token_endpoint_is_where_the_tenant_may_call() {
        let mut new = NewTenant::new(
            TenantId::parse("acme").unwrap(),
            ToolType::parse("desk").unwrap(),
            "https://desk.example/base",
        );
        let secret = |url: &str| SecretText::new(with("token_url", json!(url))).unwrap();
        let refused = |new: &NewTenant, url| check(&new.clone().check().unwrap(), "api_key", &secret(url)).err();
        assert_eq!(refused(&new, "https://desk.example/oauth_token.do"), None);
        assert_eq!(
            refused(&new, "https://login.example/token").unwrap().to_string(),
            "secret api_key: oauth2.token_url is at https://login.example, which this tenant may not call; \
             add it with --allow-origin https://login.example"
        );
        new.allow_origins = vec!["https://login.example".to_owned()];
        assert_eq!(refused(&new, "https://login.example/token"), None);
    }

    #[test]
    fn nothing_of_it_is_printed() {
        let secret = SecretText::new(json!({ "oauth2": whole() }).to_string()).unwrap();
        let printed = format!("{secret:?} {:?}", secret.oauth2().unwrap().unwrap());
        assert!(!printed.contains("hunter2") && !printed.contains("\"1"), "{printed}");
    }
}
