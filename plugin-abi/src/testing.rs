//! A host for tests of plugins: secrets, settings, scripted answers of the tool, and a record of what was asked.

mod mutations;
mod webhook;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use time::OffsetDateTime;

use crate::{
    PluginError,
    http::{Request, Response},
    plugin::{Host, HostCalls, Tenant},
    raw::{Field, Tag},
    signature::Why,
    types::{KeyForm, LogLevel, Webhook},
    wire,
};

pub use self::{
    mutations::{Random, assert_answered, mutated},
    webhook::FakeWebhook,
};

/// The host as a test of a plugin plays it.
///
/// ```
/// use plugin_abi::{prelude::*, testing::{FakeHost, FakeWebhook}};
/// let host = FakeHost::new().secret("webhook_secret", "s3cret");
/// let webhook = FakeWebhook::post(br#"{"id":"7"}"#).hub_signed("x-acme-signature", "s3cret");
/// assert_eq!(signature::hub(&host.tenant(), "webhook_secret", &webhook.borrow(), "x-acme-signature"), Ok(true));
/// ```
#[derive(Debug)]
pub struct FakeHost {
    /// The context of a call, as a host writes it. Its texts stay until the test's process ends.
    request: Vec<Field<'static>>,
    secrets: FakeSecrets,
    now: OffsetDateTime,
    answers: Mutex<VecDeque<Result<Response, PluginError>>>,
    routes: Mutex<Vec<Route>>,
    requests: Mutex<Vec<Request>>,
    log: Mutex<Vec<(LogLevel, String)>>,
    why: Mutex<Option<String>>,
}

/// What the tool answers to requests of one method to one path.
#[derive(Debug)]
struct Route {
    method: String,
    path: String,
    response: Response,
}

impl Route {
    fn fits(&self, request: &Request) -> bool {
        let path = request.target().split('?').next().unwrap_or_default();
        self.method.eq_ignore_ascii_case(request.method()) && self.path == path
    }
}

impl Default for FakeHost {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeHost {
    /// A host whose tenant is `acme` at `https://desk.example`, without settings or secrets, at the real time.
    pub fn new() -> Self {
        let request = vec![
            Field::text(Tag::TENANT_ID, "acme"),
            Field::text(Tag::BASE_URL, "https://desk.example"),
            Field::text(Tag::IDEMPOTENCY_KEY, "01890000-0000-7000-8000-000000000001"),
            Field::new(Tag::REPLAY_WINDOW, wire::duration_bytes(Duration::from_secs(300)).to_vec().leak()),
        ];
        let host = Self {
            request,
            secrets: FakeSecrets::default(),
            now: OffsetDateTime::UNIX_EPOCH,
            answers: Mutex::default(),
            routes: Mutex::default(),
            requests: Mutex::default(),
            log: Mutex::default(),
            why: Mutex::default(),
        };
        host.at(OffsetDateTime::now_utc()).attempt(1)
    }

    /// Gives the tenant a secret.
    #[must_use]
    pub fn secret(mut self, name: &str, value: &str) -> Self {
        self.secrets.0.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Gives the tenant a setting. Its text stays until the test's process ends.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.request.push(Field::text(Tag::SETTING_NAME, name.to_owned().leak()));
        self.request.push(Field::text(Tag::SETTING_VALUE, value.to_owned().leak()));
        self
    }

    /// How far a signed time stamp may be ahead of the clock. Unless this is called, the host does not say it, as one of 1.0.
    #[must_use]
    pub fn replay_ahead(mut self, ahead: Duration) -> Self {
        self.request = with(self.request, Tag::REPLAY_AHEAD, wire::duration_bytes(ahead));
        self
    }

    /// Stops the clock at this time.
    #[must_use]
    pub fn at(mut self, now: OffsetDateTime) -> Self {
        self.now = now;
        self.request = with(self.request, Tag::DEADLINE, wire::time_bytes(now + Duration::from_secs(60)));
        self
    }

    /// Which attempt at the job the calls are.
    #[must_use]
    pub fn attempt(mut self, attempt: u32) -> Self {
        self.request = with(self.request, Tag::ATTEMPT, attempt.to_le_bytes());
        self
    }

    /// Scripts the tool's next answer: a status and a JSON body.
    #[must_use]
    pub fn answer(self, status: u16, body: &str) -> Self {
        self.answer_with(Ok(json_response(status, body)))
    }

    /// Scripts what the tool answers to this method and path, whatever the query: as often as it is asked, in whatever order.
    /// Of several for one method and path each answers once, and the last from then on. These come before
    /// [`answer`](Self::answer)'s.
    #[must_use]
    pub fn answer_to(self, method: &str, path: &str, status: u16, body: &str) -> Self {
        let response = json_response(status, body);
        let route = Route { method: method.to_owned(), path: path.to_owned(), response };
        self.routes.lock().unwrap_or_else(PoisonError::into_inner).push(route);
        self
    }

    /// Scripts the tool's next answer, whatever it is.
    #[must_use]
    pub fn answer_with(self, answer: Result<Response, PluginError>) -> Self {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).push_back(answer);
        self
    }

    /// The capability for one call, as the plugin's methods take it.
    pub fn tenant(&self) -> Tenant<'_> {
        Tenant { calls: self, call: 0, request: &self.request }
    }

    /// A webhook that is received now, for one look at it: unlike [`FakeWebhook`]'s, its bytes do not stay.
    pub fn with_webhook<R>(
        &self,
        headers: &[(&str, &[u8])],
        query: &str,
        body: &[u8],
        look: impl FnOnce(&Webhook<'_>) -> R,
    ) -> R {
        let received_at = wire::time_bytes(self.now);
        let mut request = vec![
            Field::text(Tag::METHOD, "POST"),
            Field::text(Tag::PATH, "/webhooks/acme"),
            Field::text(Tag::QUERY, query),
            Field::new(Tag::BODY, body),
            Field::new(Tag::RECEIVED_AT, &received_at),
        ];
        for (name, value) in headers {
            request.extend([Field::text(Tag::HEADER_NAME, name), Field::new(Tag::HEADER_VALUE, value)]);
        }
        look(&Webhook { request: &request })
    }

    fn routed(&self, request: &Request) -> Option<Response> {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut fitting = routes.iter().enumerate().filter(|(_, route)| route.fits(request)).map(|(at, _)| at);
        let (first, is_last) = (fitting.next()?, fitting.next().is_none());
        Some(if is_last { routes[first].response.clone() } else { routes.remove(first).response })
    }

    /// What `new` takes.
    pub fn host(&self) -> Host<'_> {
        Host { calls: self, call: 0, version: "1.0.0" }
    }

    /// The requests that the plugin made, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the plugin logged, in order.
    pub fn logged(&self) -> Vec<(LogLevel, String)> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the plugin said last of why a webhook is not authentic ([`Tenant::not_authentic`]).
    pub fn why_not_authentic(&self) -> Option<String> {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl HostCalls for FakeHost {
    fn log(&self, _call: u64, level: LogLevel, text: &str) {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).push((level, text.to_owned()));
    }

    fn now(&self, _call: u64) -> OffsetDateTime {
        self.now
    }

    fn verify_hmac_sha256(
        &self,
        _call: u64,
        secret: &str,
        key_form: KeyForm,
        parts: &[&[u8]],
        mac: &[u8],
    ) -> Result<bool, PluginError> {
        self.secrets.verify_hmac_sha256(secret, key_form, parts, mac)
    }

    fn verify_secret(&self, _call: u64, secret: &str, presented: &[u8]) -> Result<bool, PluginError> {
        Ok(self.secrets.verify(secret, presented))
    }

    fn http(&self, _call: u64, request: &Request) -> Result<Response, PluginError> {
        request.fault()?;
        if let Some(credential) = request.parts().2 {
            let name = credential.secret();
            if !self.secrets.has(name) {
                return Err(PluginError::Configuration(format!("the tenant has no secret {name:?}")));
            }
        }
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
        if let Some(response) = self.routed(request) {
            return Ok(response);
        }
        let next = self.answers.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        next.unwrap_or_else(|| Err(PluginError::api("FakeHost has no answer scripted for this request")))
    }

    fn not_authentic(&self, _call: u64, why: &Why<'_>) {
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.to_string());
    }
}

/// A tenant's secrets as a host that is played keeps them: they are asked whether something fits, and an absent or empty
/// one fits nothing.
#[derive(Clone, Debug, Default)]
pub struct FakeSecrets(BTreeMap<String, String>);

impl FakeSecrets {
    /// These secrets, by their names.
    pub fn new(secrets: BTreeMap<String, String>) -> Self {
        Self(secrets)
    }

    /// Names and texts.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// Whether there is a secret of this name, and more than nothing in it.
    pub fn has(&self, name: &str) -> bool {
        self.text(name).is_some()
    }

    /// Whether this is the HMAC-SHA256 of the joined parts.
    ///
    /// # Errors
    /// `Configuration` when the secret cannot be read in this form.
    pub fn verify_hmac_sha256(
        &self,
        name: &str,
        form: KeyForm,
        parts: &[&[u8]],
        mac: &[u8],
    ) -> Result<bool, PluginError> {
        let Some(text) = self.text(name) else { return Ok(false) };
        let key =
            key_of(text, form).ok_or_else(|| PluginError::Configuration(format!("secret {name} is not {form:?}")))?;
        Ok(mac_of(&key, parts).verify_slice(mac).is_ok())
    }

    /// Whether this is the secret.
    pub fn verify(&self, name: &str, presented: &[u8]) -> bool {
        self.text(name).is_some_and(|text| text.as_bytes().ct_eq(presented).into())
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }
}

fn json_response(status: u16, body: &str) -> Response {
    Response::new(status, vec![("content-type".to_owned(), "application/json".to_owned())], body)
}

/// The key that a secret's text stands for.
fn key_of(text: &str, form: KeyForm) -> Option<Vec<u8>> {
    match form {
        KeyForm::Text => Some(text.as_bytes().to_vec()),
        KeyForm::Base64 => STANDARD.decode(text.strip_prefix("whsec_").unwrap_or(text)).ok(),
        KeyForm::Hex => {
            (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
        }
    }
}

/// The message with this field, in place of the one with its tag.
fn with(mut fields: Vec<Field<'static>>, tag: Tag, data: impl Into<Vec<u8>>) -> Vec<Field<'static>> {
    fields.retain(|field| field.tag() != tag);
    fields.push(Field::new(tag, data.into().leak()));
    fields
}

/// The HMAC-SHA256 of the joined parts, in lower-case hexadecimal digits.
pub fn hex_mac(key: &[u8], parts: &[&[u8]]) -> String {
    mac_of(key, parts).finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The HMAC-SHA256 of the joined parts, in Base64.
pub fn base64_mac(key: &[u8], parts: &[&[u8]]) -> String {
    STANDARD.encode(mac_of(key, parts).finalize().into_bytes())
}

fn mac_of(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_by_path_however_often_and_in_whatever_order() {
        let host = FakeHost::new()
            .secret("api_key", "k")
            .answer(503, "{}")
            .answer_to("GET", "/tickets/7", 200, "once")
            .answer_to("GET", "/tickets/7", 200, "then")
            .answer_to("post", "/tickets/7/notes", 201, "noted");
        let tenant = host.tenant();
        let said = |request: Request| {
            let answer = tenant.http(request.bearer("api_key")).unwrap();
            (answer.status(), answer.text().into_owned())
        };
        let note = || Request::post("/tickets/7/notes").json(&serde_json::json!({ "public": false }));
        assert_eq!(said(note()), (201, "noted".to_owned()));
        for expected in ["once", "then", "then"] {
            assert_eq!(said(Request::get("/tickets").path("7").query("a", "b")), (200, expected.to_owned()));
        }
        assert_eq!(said(Request::get("/others")), (503, "{}".to_owned()), "what has no path is answered in order");
        let asked = &host.requests()[0];
        assert_eq!(
            (asked.method(), asked.target(), asked.secret_name()),
            ("POST", "/tickets/7/notes", Some("api_key"))
        );
        assert_eq!(asked.header_value("Content-Type"), Some("application/json"));
        assert_eq!(asked.body_json()["public"], false);
        assert_eq!(asked.body_bytes(), Some(br#"{"public":false}"#.as_slice()));
    }
}
