//! One request, read completely before anything is decided about it.

use hyper::{body::Bytes, http::request::Parts};

/// Head and body of one request.
pub(crate) struct Call {
    pub(crate) head: Parts,
    pub(crate) body: Bytes,
}

impl Call {
    /// The path as sent, still percent-encoded: the tools' paths need no decoding, and a decoded slash must not match.
    pub(crate) fn path(&self) -> &str {
        self.head.uri.path()
    }

    /// Path and query as sent.
    pub(crate) fn target(&self) -> &str {
        self.head.uri.path_and_query().map_or("/", |target| target.as_str())
    }

    /// The decoded parameters of the query, in order.
    pub(crate) fn parameters(&self) -> Vec<(String, String)> {
        url::form_urlencoded::parse(self.head.uri.query().unwrap_or_default().as_bytes()).into_owned().collect()
    }

    /// A header's text; `None` when it is absent, repeated or not text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.head.headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().ok(),
            _ => None,
        }
    }
}
