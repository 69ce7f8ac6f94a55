//! Who sent a webhook: which proof a tenant's webhooks must carry.

use plugin_abi::{
    prelude::*,
    signature::{Encoding, Why},
};

use crate::{
    payload::{self, EventWord},
    settings::{WEBHOOK_SECRET, WebhookAuth},
};

/// Hexadecimal digits of the body's HMAC-SHA256, bare or after `sha256=`.
const SERVICEDESK_SIGNATURE: &str = "x-servicedesk-signature";
/// The same digits after `sha256=`, always.
const WEBHOOK_SIGNATURE: &str = "x-webhook-signature";

/// Whether the webhook is from whom it says.
///
/// # Errors
/// `Configuration` when the secret cannot be used.
pub(crate) fn is_authentic(
    tenant: &Tenant<'_>,
    auth: &WebhookAuth<'_>,
    webhook: &Webhook<'_>,
) -> Result<bool, PluginError> {
    match auth {
        WebhookAuth::Signature => Ok(is_signed(tenant, webhook)? && is_fresh(tenant, webhook)),
        WebhookAuth::Presented(presented) => presented.holds(tenant, WEBHOOK_SECRET, webhook),
    }
}

/// One signature is needed, and every one that is there must be right, also a repeated one: else a sender could have a
/// proxy look at one header and us at the other.
fn is_signed(tenant: &Tenant<'_>, webhook: &Webhook<'_>) -> Result<bool, PluginError> {
    let (mut has_servicedesk, mut has_webhook) = (false, false);
    for (name, _) in webhook.headers() {
        has_servicedesk |= name == SERVICEDESK_SIGNATURE;
        has_webhook |= name == WEBHOOK_SIGNATURE;
    }
    if !has_servicedesk && !has_webhook {
        return tenant.not_authentic(&Why::HeaderMissing { header: SERVICEDESK_SIGNATURE });
    }
    let servicedesk_holds = !has_servicedesk || servicedesk_signature_holds(tenant, webhook)?;
    let webhook_holds = !has_webhook || signature::hub(tenant, WEBHOOK_SECRET, webhook, WEBHOOK_SIGNATURE)?;
    Ok(servicedesk_holds && webhook_holds)
}

fn servicedesk_signature_holds(tenant: &Tenant<'_>, webhook: &Webhook<'_>) -> Result<bool, PluginError> {
    if webhook.header_text(SERVICEDESK_SIGNATURE).is_some_and(|value| value.contains('=')) {
        return signature::hub(tenant, WEBHOOK_SECRET, webhook, SERVICEDESK_SIGNATURE);
    }
    signature::bare(tenant, WEBHOOK_SECRET, webhook, SERVICEDESK_SIGNATURE, Encoding::Hex)
}

/// Whether the signed body is recent. Only the flat form's created events say when they were sent; all others are fresh.
fn is_fresh(tenant: &Tenant<'_>, webhook: &Webhook<'_>) -> bool {
    let route = EventWord::of_route(webhook);
    let sent_at = webhook.json().object(|body| payload::sent_at(body, route)).ok().flatten();
    sent_at.is_none_or(|sent_at| tenant.is_fresh(sent_at, webhook.received_at()))
}
