//! Who sent a webhook: which proof a tenant's webhooks must carry.

use plugin_abi::{prelude::*, signature::Encoding};

use crate::{
    payload,
    settings::{WEBHOOK_SECRET, WebhookAuth},
};

/// Bare hexadecimal digits of the body's HMAC-SHA256.
const SERVICEDESK_SIGNATURE: &str = "x-servicedesk-signature";
/// The same digits after `sha256=`.
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
    let (mut bare, mut hub) = (false, false);
    for (name, _) in webhook.headers() {
        bare |= name == SERVICEDESK_SIGNATURE;
        hub |= name == WEBHOOK_SIGNATURE;
    }
    let bare_holds = !bare || signature::bare(tenant, WEBHOOK_SECRET, webhook, SERVICEDESK_SIGNATURE, Encoding::Hex)?;
    let hub_holds = !hub || signature::hub(tenant, WEBHOOK_SECRET, webhook, WEBHOOK_SIGNATURE)?;
    Ok((bare || hub) && bare_holds && hub_holds)
}

/// Whether the signed body is recent. Only the flat form's created events say when they were sent; all others are fresh.
fn is_fresh(tenant: &Tenant<'_>, webhook: &Webhook<'_>) -> bool {
    payload::sent_at(webhook.body())
        .is_none_or(|sent_at| signature::fresh(sent_at, webhook.received_at(), tenant.replay_window()))
}
