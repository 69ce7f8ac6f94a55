//! Webhooks of a test's own making, signed as tools sign them.

use time::OffsetDateTime;

use super::{base64_mac, hex_mac, key_of, with};
use crate::{
    raw::{Field, Tag},
    signature::{Encoding, Timestamped},
    types::Webhook,
    wire,
};

/// A webhook of a test's own making.
#[derive(Clone, Debug)]
pub struct FakeWebhook {
    request: Vec<Field<'static>>,
}

impl FakeWebhook {
    /// A POST of this body to `/webhooks/acme`. Its bytes stay until the test's process ends.
    pub fn post(body: impl Into<Vec<u8>>) -> Self {
        let request = vec![
            Field::text(Tag::METHOD, "POST"),
            Field::text(Tag::PATH, "/webhooks/acme"),
            Field::new(Tag::BODY, body.into().leak()),
        ];
        Self { request }.received_at(OffsetDateTime::now_utc())
    }

    /// Adds a header; call it twice for a repeated one. Its text stays until the test's process ends.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.request.push(Field::text(Tag::HEADER_NAME, name.to_ascii_lowercase().leak()));
        self.request.push(Field::new(Tag::HEADER_VALUE, value.into().leak()));
        self
    }

    /// Sets the path, `/webhooks/acme` without this.
    #[must_use]
    pub fn path(mut self, path: &str) -> Self {
        self.request = with(self.request, Tag::PATH, path.as_bytes().to_vec());
        self
    }

    /// Sets the query.
    #[must_use]
    pub fn query(mut self, query: &str) -> Self {
        self.request = with(self.request, Tag::QUERY, query.as_bytes().to_vec());
        self
    }

    /// When it was received.
    #[must_use]
    pub fn received_at(mut self, at: OffsetDateTime) -> Self {
        self.request = with(self.request, Tag::RECEIVED_AT, wire::time_bytes(at));
        self
    }

    /// Adds the header `sha256=<hex>` over the body.
    #[must_use]
    pub fn hub_signed(self, header: &str, secret: &str) -> Self {
        let value = format!("sha256={}", hex_mac(secret.as_bytes(), &[self.borrow().body()]));
        self.header(header, value)
    }

    /// Adds the header `<hex>` over the body.
    #[must_use]
    pub fn hex_signed(self, header: &str, secret: &str) -> Self {
        let value = hex_mac(secret.as_bytes(), &[self.borrow().body()]);
        self.header(header, value)
    }

    /// Adds the header `<base64>` over the body.
    #[must_use]
    pub fn base64_signed(self, header: &str, secret: &str) -> Self {
        let value = base64_mac(secret.as_bytes(), &[self.borrow().body()]);
        self.header(header, value)
    }

    /// Adds the two headers of this scheme: the time stamp as it stands here, and the signature over it and the body.
    #[must_use]
    pub fn timestamp_signed(self, scheme: &Timestamped<'_>, stamp: &str, secret: &str) -> Self {
        let key = key_of(secret, scheme.key_form).unwrap_or_default();
        let webhook = self.borrow();
        let parts = [stamp.as_bytes(), scheme.separator.as_bytes(), webhook.body()];
        let mac = match scheme.encoding {
            Encoding::Hex => hex_mac(&key, &parts),
            Encoding::Base64 => base64_mac(&key, &parts),
        };
        self.header(scheme.timestamp_header, stamp).header(scheme.signature_header, mac)
    }

    /// Adds the header `t=<seconds>,v1=<hex>`, signed at this time.
    #[must_use]
    pub fn stripe_signed(self, header: &str, at: OffsetDateTime, secret: &str) -> Self {
        let stamp = at.unix_timestamp().to_string();
        let mac = hex_mac(secret.as_bytes(), &[stamp.as_bytes(), b".", self.borrow().body()]);
        self.header(header, format!("t={stamp},v1={mac}"))
    }

    /// As a plugin's methods take it.
    pub fn borrow(&self) -> Webhook<'_> {
        Webhook { request: &self.request }
    }
}
