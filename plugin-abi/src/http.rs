//! Requests that a plugin asks the host to make, and what came back.

use std::{fmt::Write as _, time::Duration};

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339, macros::format_description};

use crate::{
    PluginError,
    json::{self, Charset, Mended},
    plugin::SecretName,
    types::Credential,
};

/// How much of an answer's body stands in an error message, in bytes.
const EXCERPT_BYTES_MAX: usize = 300;

/// An HTTP request. There are no attachments and no multipart bodies, and pages of a list are asked for one by one: the
/// SDK has nothing for either. Its target is a path below the tenant's base URL, or a whole URL whose origin the operator allowed.
///
/// ```
/// use plugin_abi::prelude::*;
/// let request = Request::get("/api/tickets").path("a/b").query("expand", "notes & more").bearer("api_key");
/// assert_eq!(request.target(), "/api/tickets/a%2Fb?expand=notes%20%26%20more");
/// ```
#[derive(Clone, Debug)]
pub struct Request {
    pub(crate) method: &'static str,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) credential: Option<Credential>,
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) timeout: Option<Duration>,
    fault: Option<String>,
}

impl Request {
    /// A GET request.
    pub fn get(target: impl Into<String>) -> Self {
        Self::new("GET", target)
    }

    /// A POST request.
    pub fn post(target: impl Into<String>) -> Self {
        Self::new("POST", target)
    }

    /// A PUT request.
    pub fn put(target: impl Into<String>) -> Self {
        Self::new("PUT", target)
    }

    /// A PATCH request.
    pub fn patch(target: impl Into<String>) -> Self {
        Self::new("PATCH", target)
    }

    /// A DELETE request.
    pub fn delete(target: impl Into<String>) -> Self {
        Self::new("DELETE", target)
    }

    pub(crate) fn new(method: &'static str, target: impl Into<String>) -> Self {
        Self {
            method,
            target: target.into(),
            headers: Vec::new(),
            credential: None,
            body: None,
            timeout: None,
            fault: None,
        }
    }

    /// Appends one path segment, percent-encoded whole: a `/` in it does not become a separator.
    #[must_use]
    pub fn path(mut self, segment: &str) -> Self {
        if !self.target.ends_with('/') {
            self.target.push('/');
        }
        percent_encode(&mut self.target, segment);
        if segment.is_empty() || segment == "." || segment == ".." {
            self.fault = Some(format!("{segment:?} cannot be a path segment"));
        }
        self
    }

    /// Appends a query parameter, percent-encoded.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.target.push(if self.target.contains('?') { '&' } else { '?' });
        percent_encode(&mut self.target, name);
        self.target.push('=');
        percent_encode(&mut self.target, value);
        self
    }

    /// Adds a header. For secrets use the methods that name them.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// `Authorization: Bearer <secret>`, filled in by the host.
    #[must_use]
    pub fn bearer(mut self, secret: impl Into<SecretName>) -> Self {
        self.credential = Some(Credential::Bearer { secret: secret.into() });
        self
    }

    /// `Authorization: Basic` with this user and the secret as password, filled in by the host.
    #[must_use]
    pub fn basic(mut self, user: impl Into<String>, secret: impl Into<SecretName>) -> Self {
        self.credential = Some(Credential::Basic { user: user.into(), secret: secret.into() });
        self
    }

    /// `Authorization: Basic` with the secret in the user's place (Freshservice's `APIKEY:X`), filled in by the host.
    #[must_use]
    pub fn basic_user(mut self, secret: impl Into<SecretName>, password: impl Into<String>) -> Self {
        self.credential = Some(Credential::BasicUser { secret: secret.into(), password: password.into() });
        self
    }

    /// A header that is the secret, filled in by the host.
    #[must_use]
    pub fn header_secret(mut self, header: impl Into<SecretName>, secret: impl Into<SecretName>) -> Self {
        self.credential = Some(Credential::Header { header: header.into(), scheme: None, secret: secret.into() });
        self
    }

    /// A header that is a scheme word, a space and the secret: `Authorization: Zoho-oauthtoken <secret>`.
    #[must_use]
    pub fn header_secret_with_scheme(
        mut self,
        header: impl Into<SecretName>,
        scheme: impl Into<SecretName>,
        secret: impl Into<SecretName>,
    ) -> Self {
        let (header, scheme, secret) = (header.into(), Some(scheme.into()), secret.into());
        self.credential = Some(Credential::Header { header, scheme, secret });
        self
    }

    /// A JSON body with its content type.
    #[must_use]
    pub fn json(mut self, value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => self.body = Some(body),
            Err(fault) => self.fault = Some(format!("the body cannot be written as JSON: {fault}")),
        }
        self.header("content-type", "application/json")
    }

    /// A form body (`application/x-www-form-urlencoded`).
    #[must_use]
    pub fn form(mut self, fields: &[(&str, &str)]) -> Self {
        let mut body = String::new();
        for (name, value) in fields {
            if !body.is_empty() {
                body.push('&');
            }
            percent_encode(&mut body, name);
            body.push('=');
            percent_encode(&mut body, value);
        }
        self.body = Some(body.into_bytes());
        self.header("content-type", "application/x-www-form-urlencoded")
    }

    /// A body of another content type.
    #[must_use]
    pub fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self.header("content-type", content_type)
    }

    /// A shorter time-out than the host's for the whole request.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The path and query, or the whole URL, that this request goes to.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The method, in capitals.
    pub fn method(&self) -> &'static str {
        self.method
    }

    /// The headers that the plugin has set, in their order. What the host adds and fills in is not among them.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The first header of this name, in whatever case.
    pub fn header_value(&self, name: &str) -> Option<&str> {
        self.headers().find(|(candidate, _)| candidate.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The name of the secret that the host fills in.
    pub fn secret_name(&self) -> Option<&str> {
        self.credential.as_ref().map(Credential::secret)
    }

    /// The body's bytes, when there is one.
    pub fn body_bytes(&self) -> Option<&[u8]> {
        self.body.as_deref()
    }

    /// The body as JSON, for tests: `request.body_json()["public"]`. `Null` when it is none.
    pub fn body_json(&self) -> serde_json::Value {
        self.body.as_deref().and_then(|body| serde_json::from_slice(body).ok()).unwrap_or_default()
    }

    /// Parts for whoever carries the request out: method, headers, credential, body, time-out.
    #[doc(hidden)]
    #[allow(clippy::type_complexity, reason = "read in two places, both in this project")]
    pub fn parts(&self) -> (&'static str, &[(String, String)], Option<&Credential>, Option<&[u8]>, Option<Duration>) {
        (self.method, &self.headers, self.credential.as_ref(), self.body.as_deref(), self.timeout)
    }

    /// What was wrong with what the plugin put into this request.
    pub(crate) fn fault(&self) -> Result<(), PluginError> {
        self.fault.as_ref().map_or(Ok(()), |fault| Err(PluginError::Configuration(format!("request: {fault}"))))
    }
}

/// What the tool answered.
#[derive(Clone, Debug)]
pub struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Method and target of the request, for error messages.
    pub(crate) request: String,
    mended: Mended,
}

impl PartialEq for Response {
    fn eq(&self, other: &Self) -> bool {
        (self.status, &self.headers, &self.body) == (other.status, &other.headers, &other.body)
    }
}

impl Eq for Response {}

impl Response {
    /// An answer, for tests and for the host.
    pub fn new(status: u16, headers: Vec<(String, String)>, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers, body: body.into(), request: String::new(), mended: Mended::default() }
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The first header of this name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().find(|(candidate, _)| *candidate == name).map(|(_, value)| value)
    }

    /// All headers, names in lower case. Values that were not text are left out.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The body's bytes, decompressed.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The body as text, with what is not UTF-8 replaced.
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// The body as JSON, also into types that borrow from this answer. Read as [`Json`](crate::json::Json) reads it.
    ///
    /// # Errors
    /// `Malformed` when the body is not such JSON: asked again, the tool would say the same. `Api` when there is no body, or
    /// when HTML came instead (a login page, a hibernating instance), which passes.
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, PluginError> {
        self.read(|body| json::parse(body))
    }

    /// As [`json`](Self::json), with a parser of the caller's own: for what is read in more than one step.
    ///
    /// # Errors
    /// As [`json`](Self::json).
    pub fn read<'a, T>(&'a self, read: impl Fn(&'a [u8]) -> Result<T, serde_json::Error>) -> Result<T, PluginError> {
        let charset = Charset::of(self.header("content-type").map(str::as_bytes));
        self.mended.read(&self.body, charset, read).map_err(|error| self.unreadable(&error.to_string()))
    }

    /// The error that this answer is not what it has to be. `why` says what is missing or wrong, and where.
    pub fn unreadable(&self, why: &str) -> PluginError {
        let status = Some(self.status);
        if self.body.trim_ascii().is_empty() {
            return PluginError::Api {
                status,
                message: format!("{}nothing came where JSON is due", self.of_request()),
            };
        }
        if self.is_html() {
            let message = format!("{}HTML came where JSON is due: {}", self.of_request(), self.excerpt());
            return PluginError::Api { status, message };
        }
        let (request, status) = (self.of_request(), self.status);
        PluginError::Malformed(format!(
            "{request}the tool's answer {status} is not as it has to be ({why}): {}",
            self.excerpt()
        ))
    }

    /// `GET /api/v2/tickets/7: `, where the request is known.
    fn of_request(&self) -> String {
        if self.request.is_empty() { String::new() } else { format!("{}: ", self.request) }
    }

    /// Whether this is a web page rather than an API's answer.
    pub fn is_html(&self) -> bool {
        self.header("content-type").is_some_and(|kind| kind.starts_with("text/html"))
            || self.body.trim_ascii_start().starts_with(b"<")
    }

    /// This answer when its status is 2xx, else the error that the status usually means.
    ///
    /// # Errors
    /// 401 and 403 are `Authentication`, 404 and 410 `NotFound`, 429 and a 503 with Retry-After `RateLimit`, 400 and 422
    /// `Validation`, the rest `Api`.
    pub fn success(self, now: OffsetDateTime) -> Result<Self, PluginError> {
        let status = self.status;
        match status {
            200..=299 => Ok(self),
            401 | 403 => Err(PluginError::Authentication(format!("the tool answered {status}: {}", self.excerpt()))),
            404 | 410 => Err(PluginError::NotFound(format!("the tool answered {status}: {}", self.excerpt()))),
            429 => Err(PluginError::RateLimit { retry_after: self.retry_after(now), message: self.excerpt() }),
            503 if self.header("retry-after").is_some() => {
                Err(PluginError::RateLimit { retry_after: self.retry_after(now), message: self.excerpt() })
            }
            400 | 422 => Err(PluginError::field("request", format!("the tool answered {status}: {}", self.excerpt()))),
            _ => Err(PluginError::Api { status: Some(status), message: self.excerpt() }),
        }
    }

    /// What `Retry-After` asks for: seconds, an HTTP date or an ISO time. `None` when absent or unreadable.
    pub fn retry_after(&self, now: OffsetDateTime) -> Option<Duration> {
        let text = self.header("retry-after")?.trim();
        if let Ok(seconds) = text.parse::<u64>() {
            return Some(Duration::from_secs(seconds));
        }
        let http_date =
            format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
        let at = time::PrimitiveDateTime::parse(text, http_date)
            .map(time::PrimitiveDateTime::assume_utc)
            .or_else(|_| OffsetDateTime::parse(text, &Rfc3339))
            .ok()?;
        Some(Duration::try_from(at - now).unwrap_or(Duration::ZERO))
    }

    /// The beginning of the body, for an error message.
    pub fn excerpt(&self) -> String {
        let text = String::from_utf8_lossy(&self.body[..self.body.len().min(EXCERPT_BYTES_MAX)]);
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// Everything but RFC 3986's unreserved characters.
pub(crate) fn percent_encode(target: &mut String, text: impl AsRef<[u8]>) {
    for &byte in text.as_ref() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            target.push(char::from(byte));
        } else {
            let _infallible = write!(target, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn answer(status: u16, header: (&str, &str), body: &str) -> Response {
        Response::new(status, vec![(header.0.to_owned(), header.1.to_owned())], body)
    }

    #[test]
    fn retry_after_in_every_form() {
        let now = datetime!(2026-01-08 10:00:00 UTC);
        for (text, expected) in [
            ("93", Some(93)),
            ("Thu, 08 Jan 2026 10:01:30 GMT", Some(90)),
            ("2026-01-08T10:00:05Z", Some(5)),
            ("Thu, 08 Jan 2026 09:00:00 GMT", Some(0)),
            ("soon", None),
            ("-3", None),
        ] {
            let wait = answer(429, ("retry-after", text), "").retry_after(now);
            assert_eq!(wait, expected.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn statuses_become_errors_of_their_kind() {
        let now = OffsetDateTime::UNIX_EPOCH;
        for (status, kind) in [
            (401, "authentication"),
            (403, "authentication"),
            (404, "not_found"),
            (429, "rate_limit"),
            (422, "validation"),
            (500, "api"),
            (302, "api"),
        ] {
            assert_eq!(answer(status, ("a", "b"), "x").success(now).unwrap_err().kind(), kind, "{status}");
        }
        assert!(answer(204, ("a", "b"), "").success(now).is_ok());
    }

    #[test]
    fn html_is_named_where_json_is_due() {
        let page = answer(200, ("content-type", "text/html"), "<html>sleeping</html>");
        let fault = page.json::<serde_json::Value>().unwrap_err();
        assert!(fault.to_string().contains("HTML came where JSON is due"), "{fault}");
    }

    #[test]
    fn segments_that_would_climb_are_refused() {
        assert!(Request::get("/a").path("..").fault().is_err());
        assert!(Request::get("/a").path("").fault().is_err());
        assert!(Request::get("/a").path("..%2f").fault().is_ok());
        assert_eq!(Request::get("/a").path("..%2f").target(), "/a/..%252f");
    }
}
