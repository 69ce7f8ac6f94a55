//! Who sent a webhook. Zendesk signs all that it sends, events and triggers alike, with a secret of the webhook's own:
//! <https://developer.zendesk.com/documentation/webhooks/verifying/>

use plugin_abi::{
    prelude::*,
    signature::{Encoding, Timestamped},
};

use crate::settings::WEBHOOK_SECRET;

/// Base64 of the HMAC-SHA256 over time stamp and body, with nothing between them. The secret looks like Base64, but its
/// text is the key.
const SCHEME: Timestamped<'_> =
    Timestamped::new("x-zendesk-webhook-signature", "x-zendesk-webhook-signature-timestamp", Encoding::Base64);

/// Whether the webhook is from whom it says, and recent.
///
/// # Errors
/// `Configuration` when the secret cannot be used.
pub(crate) fn is_authentic(tenant: &Tenant<'_>, webhook: &Webhook<'_>) -> Result<bool, PluginError> {
    signature::timestamped(tenant, WEBHOOK_SECRET, webhook, &SCHEME)
}
