//! The webhooks that the tools send: what they say, and how they are made authentic.

use base64::{Engine, engine::general_purpose::STANDARD};
use clap::ValueEnum;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{
    state::{TicketFields, whole_second_now},
    tools::Tool,
};

/// The user name of [`Scheme::Basic`].
pub const BASIC_USER: &str = "patchbay";

/// One event on one ticket, told to a tenant's host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// The tool that tells it.
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
    /// The flat form from ServiceDesk Plus about a ticket with default fields, opened now.
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

    /// The ticket once the event has happened: a resolved one says so, and has a resolution and its time.
    pub fn ticket_after(&self) -> TicketFields {
        let mut ticket = self.ticket.clone();
        if self.event == Event::Resolved {
            "Resolved".clone_into(&mut ticket.status);
            ticket.resolution.get_or_insert_with(|| "Increased the connection pool from 10 to 25.".to_owned());
            ticket.resolved_at.get_or_insert_with(whole_second_now);
        }
        ticket
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

/// The forms of ServiceDesk Plus's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// One flat object with `tenant_id`, `ticket_id` and `event`.
    Flat,
    /// ManageEngine's custom webhook: the API's own request object, nested under `request`.
    Request,
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
}

/// A POST request that is ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedRequest {
    /// The path at the receiving host, beginning with a slash.
    pub path: String,
    /// Names and values; the length and host are the client's to add.
    pub headers: Vec<(&'static str, String)>,
    /// The exact bytes that the signature covers.
    pub body: Vec<u8>,
}

/// There is no secret to sign with: anybody could make such a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the secret is empty")]
pub struct EmptySecret;

/// The request with which the tool would tell this event.
pub fn signed(webhook: &Webhook, scheme: Scheme, secret: &str) -> Result<SignedRequest, EmptySecret> {
    let body = webhook.tool.webhook_body(webhook);
    let proof = proof(scheme, secret, &body)?;
    Ok(SignedRequest {
        path: format!("/webhooks/{}", webhook.tenant_id),
        headers: vec![("content-type", "application/json".to_owned()), proof],
        body,
    })
}

/// The header, name and value, by which `body` is authentic; for tests that write or break bodies themselves.
pub fn proof(scheme: Scheme, secret: &str, body: &[u8]) -> Result<(&'static str, String), EmptySecret> {
    if secret.is_empty() {
        return Err(EmptySecret);
    }
    Ok(match scheme {
        Scheme::SignatureHeader => ("x-servicedesk-signature", hmac_sha256_hex(secret, body)),
        Scheme::HubHeader => ("x-webhook-signature", format!("sha256={}", hmac_sha256_hex(secret, body))),
        Scheme::StaticToken => ("x-webhook-token", secret.to_owned()),
        Scheme::Basic => ("authorization", format!("Basic {}", STANDARD.encode(format!("{BASIC_USER}:{secret}")))),
    })
}

fn hmac_sha256_hex(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(body);
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
