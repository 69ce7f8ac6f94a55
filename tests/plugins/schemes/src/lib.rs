//! A plugin that is its own tool: it has every ticket and accepts every note at once, without any request. The tenant's
//! setting `scheme` says how webhooks are signed, and `tells` how the plugin leaks what it was presented.

use plugin_abi::{
    prelude::*,
    serde::Deserialize,
    signature::{Encoding, Timestamped, Unit},
};

const SECRET: &str = "webhook_secret";
/// The user of Basic authentication.
const USER: &str = "desk";

struct Schemes;

#[derive(Deserialize)]
#[serde(crate = "plugin_abi::serde")]
struct Told {
    ticket_id: String,
    event: String,
}

impl TicketingToolPlugin for Schemes {
    const INFO: PluginInfo = plugin_info!("desk_schemes");

    fn new(_host: &Host<'_>) -> Result<Self, PluginError> {
        Ok(Self)
    }

    fn validate_webhook(&self, tenant: &Tenant<'_>, webhook: &Webhook<'_>) -> Result<bool, PluginError> {
        let timestamped = Timestamped::new("x-signature", "x-timestamp", Encoding::Base64);
        let authentic = match tenant.setting("scheme").unwrap_or("hub") {
            "hub" => signature::hub(tenant, SECRET, webhook, "x-webhook-signature"),
            "hex" => {
                let header = tenant.setting("header").unwrap_or("x-signature");
                signature::bare(tenant, SECRET, webhook, header, Encoding::Hex)
            }
            "timestamped" => signature::timestamped(tenant, SECRET, webhook, &timestamped),
            "millis" => signature::timestamped(tenant, SECRET, webhook, &timestamped.unit(Unit::Millis)),
            "stripe" => signature::stripe(tenant, SECRET, webhook, "x-signature"),
            "standard" => signature::standard_webhooks(tenant, SECRET, webhook),
            "token" => signature::static_token(tenant, SECRET, webhook, "x-token"),
            "basic" => signature::basic(tenant, USER, SECRET, webhook),
            "jwt" => {
                let token = webhook.header_text("authorization").and_then(|value| value.strip_prefix("JWT "));
                let Some(token) = token else { return Ok(false) };
                Ok(signature::jwt_hs256(tenant, SECRET, token, webhook.received_at())?.is_some())
            }
            other => Err(PluginError::Configuration(format!("there is no scheme {other:?}"))),
        }?;
        let presented = webhook.header_text("authorization").or(webhook.header_text("x-token")).unwrap_or_default();
        match tenant.setting("tells") {
            Some("panic") => panic!("presented was {presented:?}"),
            Some("error") => Err(PluginError::api(format!("presented was {presented:?}"))),
            Some("log") => {
                tenant.log(LogLevel::Error, &format!("presented was {presented:?}"));
                Ok(authentic)
            }
            _ => Ok(authentic),
        }
    }

    fn extract_metadata(&self, _tenant: &Tenant<'_>, webhook: &Webhook<'_>) -> Result<TicketMetadata, PluginError> {
        let told: Told = webhook.json().parse()?;
        let event = if told.event == "ticket_created" { Event::Created } else { Event::Other };
        Ok(TicketMetadata::new(told.ticket_id, event))
    }

    fn get_ticket(&self, _tenant: &Tenant<'_>, ticket_id: &str) -> Result<Option<Ticket>, PluginError> {
        let mut ticket = Ticket::new(ticket_id);
        ticket.subject = Some("Server slow and unresponsive".to_owned());
        Ok(Some(ticket))
    }

    fn update_ticket(&self, _tenant: &Tenant<'_>, _ticket_id: &str, _note: &Note<'_>) -> Result<bool, PluginError> {
        Ok(true)
    }
}

export_plugin!(Schemes);
