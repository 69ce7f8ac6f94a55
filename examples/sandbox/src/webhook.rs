//! The webhooks that the tools send: their content, and their proof of authenticity.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use clap::ValueEnum;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::{Digest, Sha256};
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    state::{Ticket, TicketFields, whole_second_now},
    tools::Tool,
};

/// The user name of [`Scheme::Basic`].
pub const BASIC_USER: &str = "patchbay";

/// One event of one ticket, sent to a tenant's host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// The tool that sends it.
    pub tool: Tool,
    /// The tenant at the receiving host.
    pub tenant_id: String,
    /// What happened.
    pub event: Event,
    /// How the body is built.
    pub form: Form,
    /// The ticket's id in the tool.
    pub ticket_id: String,
    /// The ticket before the event.
    pub ticket: TicketFields,
}

impl Webhook {
    /// The flat form of ServiceDesk Plus for a ticket with default fields, opened now.
    pub fn new(tenant_id: impl Into<String>, event: Event, ticket_id: impl Into<String>) -> Self {
        Self {
            tool: Tool::ServicedeskPlus,
            tenant_id: tenant_id.into(),
            event,
            form: Form::Flat,
            ticket_id: ticket_id.into(),
            ticket: TicketFields::default(),
        }
    }

    /// The ticket after the event. A resolved one has the status, a resolution and its time.
    pub fn ticket_after(&self) -> TicketFields {
        let mut ticket = self.ticket.clone();
        if self.event == Event::Resolved {
            "Resolved".clone_into(&mut ticket.status);
            ticket.resolution.get_or_insert_with(|| "Increased the connection pool from 10 to 25.".to_owned());
            ticket.resolved_at.get_or_insert_with(whole_second_now);
        }
        ticket
    }

    /// When the event happened.
    pub(crate) fn happened_at(&self) -> OffsetDateTime {
        let fields = self.ticket_after();
        match self.event {
            Event::Created => fields.created_at,
            // Later than its creation, so that a reader can recognise an update.
            Event::Updated => whole_second_now().max(fields.created_at + Duration::SECOND),
            Event::Resolved => fields.resolved_at.unwrap_or(fields.created_at),
        }
    }

    /// The ticket that the webhook shows.
    pub(crate) fn shown(&self) -> Ticket {
        Ticket {
            tool: self.tool,
            id: self.ticket_id.clone(),
            display_id: 1,
            fields: self.ticket_after(),
            updated_at: self.happened_at(),
            notes: Vec::new(),
        }
    }
}

/// What happened to a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Event {
    /// It was opened.
    Created,
    /// It was resolved.
    Resolved,
    /// It was changed in any other way.
    Updated,
}

impl Event {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Resolved => "resolved",
            Self::Updated => "updated",
        }
    }
}

/// The forms of bodies. A tool that does not have the form sends the flat one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// One flat object with `tenant_id`, `ticket_id` and `event`; from ServiceNow the record's columns with `event`; from
    /// Jira an administrator's webhook; from Zendesk a trigger's.
    Flat,
    /// ManageEngine's custom webhook: the API's own request object, nested under `request`; from ServiceNow the API's own
    /// record, nested under `record`; from Freshservice, which has no such object, `ticket_id` and `event` alone.
    Request,
    /// A ServiceNow rule's `eventType`, `action` and `data`; Zendesk's fixed envelope of events.
    Event,
    /// "Issue data (Jira format)" of a rule of Jira's: `issue` and `timestamp`.
    Rule,
    /// "Issue data (Automation format)" of a rule of Jira's: the issue alone.
    Issue,
}

/// How a webhook proves where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scheme {
    /// `X-ServiceDesk-Signature: <lower-case hex of HMAC-SHA256 over the raw body>`.
    SignatureHeader,
    /// `X-Webhook-Signature: sha256=<the same hex>`.
    HubHeader,
    /// `X-Webhook-Token: <secret>`: ManageEngine's own webhooks cannot sign.
    StaticToken,
    /// `Authorization: Basic …` with user `patchbay` and the secret as password.
    Basic,
    /// `X-ServiceNow-Signature: <Base64 of HMAC-SHA256 over time stamp, colon and raw body>`, the time stamp being the text
    /// of `X-ServiceNow-Timestamp`.
    ServicenowSignature,
    /// `X-Webhook-Signature: t=<seconds>,v1=<hex of HMAC-SHA256 over those seconds, a dot and the raw body>`.
    Stripe,
    /// `X-Zendesk-Webhook-Signature: <Base64 of HMAC-SHA256 over time stamp and raw body>`, the time stamp being the text
    /// of `X-Zendesk-Webhook-Signature-Timestamp`.
    ZendeskSignature,
    /// `X-Webhook-Signature: <hex of HMAC-SHA256 over time stamp, dot and raw body>`, the time stamp being the text of
    /// `X-Webhook-Timestamp`.
    Timestamped,
    /// `X-Hub-Signature: sha256=<hex of HMAC-SHA256 over the raw body>`.
    XHubSignature,
    /// `Authorization: JWT <token>` of an Atlassian Connect app: method, path and query are signed, the body is not.
    ConnectJwt,
    /// `Authorization: Bearer <token>`, a token that is signed with the client secret of an OAuth app.
    OauthJwt,
}

impl Scheme {
    /// The header with the time of sending, and the separator between that time and the body, if the scheme signs the
    /// time before the body.
    const fn timestamp(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::ServicenowSignature => Some(("x-servicenow-timestamp", ":")),
            Self::Timestamped => Some(("x-webhook-timestamp", ".")),
            Self::ZendeskSignature => Some(("x-zendesk-webhook-signature-timestamp", "")),
            _ => None,
        }
    }
}

/// A POST request, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedRequest {
    /// The path at the receiving host, beginning with a slash.
    pub path: String,
    /// Header names and values; the client adds length and host.
    pub headers: Vec<(&'static str, String)>,
    /// The exact bytes that the signature covers.
    pub body: Vec<u8>,
}

/// The secret is empty: anybody could make such a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the secret is empty")]
pub struct EmptySecret;

/// The request that the tool would send for this event.
pub fn signed(webhook: &Webhook, scheme: Scheme, secret: &str) -> Result<SignedRequest, EmptySecret> {
    let body = webhook.tool.webhook_body(webhook);
    let path = format!("/webhooks/{}", webhook.tenant_id);
    let mut headers = vec![("content-type", "application/json".to_owned())];
    let proof = if scheme == Scheme::Stripe {
        let sent_at = whole_second_now().unix_timestamp().to_string();
        let covered = [sent_at.as_bytes(), b".", &body].concat();
        let (header, digits) = proof(scheme, secret, &covered)?;
        (header, format!("t={sent_at},v1={digits}"))
    } else if scheme == Scheme::ConnectJwt {
        proof(scheme, secret, format!("POST&{path}&").as_bytes())?
    } else if let Some((header, separator)) = scheme.timestamp() {
        let sent_at = rfc3339(whole_second_now());
        let covered = [sent_at.as_bytes(), separator.as_bytes(), &body].concat();
        headers.push((header, sent_at));
        proof(scheme, secret, &covered)?
    } else {
        proof(scheme, secret, &body)?
    };
    headers.push(proof);
    Ok(SignedRequest { path, headers, body })
}

/// The name and value of the header that makes `body` authentic; for tests that write or break bodies themselves.
/// `body` begins with what the scheme signs before it. For a scheme that signs the request instead of the body, it is
/// `POST&/path&query`.
pub fn proof(scheme: Scheme, secret: &str, body: &[u8]) -> Result<(&'static str, String), EmptySecret> {
    if secret.is_empty() {
        return Err(EmptySecret);
    }
    Ok(match scheme {
        Scheme::SignatureHeader => ("x-servicedesk-signature", hmac_sha256_hex(secret, body)),
        Scheme::HubHeader => ("x-webhook-signature", format!("sha256={}", hmac_sha256_hex(secret, body))),
        Scheme::StaticToken => ("x-webhook-token", secret.to_owned()),
        Scheme::Basic => ("authorization", format!("Basic {}", STANDARD.encode(format!("{BASIC_USER}:{secret}")))),
        Scheme::ServicenowSignature => ("x-servicenow-signature", STANDARD.encode(hmac_sha256(secret, body))),
        Scheme::ZendeskSignature => ("x-zendesk-webhook-signature", STANDARD.encode(hmac_sha256(secret, body))),
        Scheme::Timestamped | Scheme::Stripe => ("x-webhook-signature", hmac_sha256_hex(secret, body)),
        Scheme::XHubSignature => ("x-hub-signature", format!("sha256={}", hmac_sha256_hex(secret, body))),
        Scheme::ConnectJwt => {
            let hash: String = Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect();
            ("authorization", format!("JWT {}", json_web_token(secret, Some(&hash))))
        }
        Scheme::OauthJwt => ("authorization", format!("Bearer {}", json_web_token(secret, None))),
    })
}

/// A time as tools write it in webhooks.
pub(crate) fn rfc3339(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).expect("years of tickets have four digits")
}

/// A token as Atlassian makes it: valid for three minutes, with the hash of the request if there is one.
fn json_web_token(secret: &str, request_hash: Option<&str>) -> String {
    let now = whole_second_now().unix_timestamp();
    let mut claims = json!({ "iss": "sandbox", "iat": now, "exp": now + 180 });
    if let Some(hash) = request_hash {
        claims["qsh"] = json!(hash);
    }
    let parts = [json!({ "typ": "JWT", "alg": "HS256" }), claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let signed = parts.join(".");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(hmac_sha256(secret, signed.as_bytes())))
}

fn hmac_sha256_hex(secret: &str, body: &[u8]) -> String {
    hmac_sha256(secret, body).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hmac_sha256(secret: &str, body: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(body);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests;
