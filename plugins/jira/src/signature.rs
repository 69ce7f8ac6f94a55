//! Who sent a webhook: which proof a tenant's webhooks must carry.

use plugin_abi::{prelude::*, signature::Why};

use crate::{
    payload,
    settings::{WEBHOOK_SECRET, WebhookAuth},
};

/// `<method>=<hexadecimal digits>` over the body. Atlassian keeps the right to another method; only SHA-256 is taken.
/// <https://developer.atlassian.com/cloud/jira/platform/webhooks/#secure-admin-webhooks>
const HUB_SIGNATURE: &str = "x-hub-signature";

/// Whether the webhook is from whom it says. Only `signature` covers the body; a token over the request, or the secret
/// itself, proves who sent it and no more.
///
/// # Errors
/// `Configuration` when the secret cannot be used.
pub(crate) fn is_authentic(
    tenant: &Tenant<'_>,
    auth: &WebhookAuth<'_>,
    webhook: &Webhook<'_>,
) -> Result<bool, PluginError> {
    match auth {
        WebhookAuth::Signature => {
            Ok(signature::hub(tenant, WEBHOOK_SECRET, webhook, HUB_SIGNATURE)? && is_fresh(tenant, webhook))
        }
        WebhookAuth::Connect { base_path } => signature::atlassian_connect(tenant, WEBHOOK_SECRET, webhook, base_path),
        WebhookAuth::OAuth => {
            let Some(("Bearer", token)) =
                webhook.header_text("authorization").and_then(|value| value.trim().split_once(' '))
            else {
                return tenant.not_authentic(&Why::header(webhook, "authorization", "Bearer and a JSON Web Token"));
            };
            let claims = signature::jwt_hs256(tenant, WEBHOOK_SECRET, token.trim(), webhook.received_at())?;
            Ok(claims.is_some())
        }
        WebhookAuth::Presented(presented) => presented.holds(tenant, WEBHOOK_SECRET, webhook),
    }
}

/// Whether the signed body is recent. Jira sends it again for hours, with the time of the event: the tenant's window must
/// be as long. A body without a time is fresh.
fn is_fresh(tenant: &Tenant<'_>, webhook: &Webhook<'_>) -> bool {
    payload::sent_at(webhook).is_none_or(|sent_at| tenant.is_fresh(sent_at, webhook.received_at()))
}
