//! A plugin of ABI 1.0 that uses as much of it as one plugin can: the sandbox's flat webhooks, and its on-premises
//! ServiceDesk Plus. `../make` has built `../libgolden_1_0.so` of it.

use plugin_abi::{
    prelude::*,
    serde::Deserialize,
    serde_json::{self, json},
    time::OffsetDateTime,
};

/// The media type that the tool insists on.
const ACCEPT: &str = "application/vnd.manageengine.sdp.v3+json";

struct Golden {
    made_at: OffsetDateTime,
}

#[derive(Deserialize)]
#[serde(crate = "plugin_abi::serde")]
struct Told {
    tenant_id: String,
    ticket_id: String,
    event: String,
    subject: String,
    priority: Option<String>,
}

impl TicketingToolPlugin for Golden {
    const INFO: PluginInfo = plugin_info!("golden");

    fn new(host: &Host<'_>) -> Result<Self, PluginError> {
        host.log(LogLevel::Info, &format!("golden plugin in host {}", host.version()));
        Ok(Self { made_at: host.now() })
    }

    fn validate_webhook(&self, tenant: &Tenant<'_>, webhook: &Webhook<'_>) -> Result<bool, PluginError> {
        if tenant.setting("webhook_auth") == Some("token") {
            return signature::static_token(tenant, "webhook_secret", webhook, "x-webhook-token");
        }
        signature::hub(tenant, "webhook_secret", webhook, "x-webhook-signature")
    }

    fn extract_metadata(&self, tenant: &Tenant<'_>, webhook: &Webhook<'_>) -> Result<TicketMetadata, PluginError> {
        let told: Told =
            serde_json::from_slice(webhook.body()).map_err(|fault| PluginError::Malformed(fault.to_string()))?;
        let event = match &*told.event {
            "ticket_created" => Event::Created,
            "ticket_resolved" => Event::Resolved {
                resolution: Some("solved".to_owned()),
                resolved_at: Some(webhook.received_at()),
                tags: vec![format!("{} {}", webhook.method(), webhook.path())],
            },
            "ticket_panics" => panic!("told to"),
            _ => return Err(PluginError::field("event", "must be ticket_created or ticket_resolved")),
        };
        let mut metadata = TicketMetadata::new(told.ticket_id, event);
        metadata.tenant_id = Some(told.tenant_id);
        metadata.subject = Some(told.subject);
        metadata.priority =
            priority_from(told.priority.as_deref(), &[(Priority::High, &["high"]), (Priority::Low, &["low"])]);
        metadata.raw_priority = told.priority;
        metadata.occurred_at = Some(self.made_at.max(tenant.now()));
        Ok(metadata)
    }

    fn get_ticket(&self, tenant: &Tenant<'_>, ticket_id: &str) -> Result<Option<Ticket>, PluginError> {
        let answer = tenant.http(to_ticket(Request::get("/"), ticket_id))?;
        if answer.status() == 404 {
            return Ok(None);
        }
        let answer = answer.success(tenant.now())?;
        let raw: serde_json::Value = answer.json()?;
        let mut ticket = Ticket::new(ticket_id);
        ticket.subject = raw["request"]["subject"].as_str().map(str::to_owned);
        ticket.updated_at = Some(tenant.now());
        ticket.raw = answer.text().into_owned();
        Ok(Some(ticket))
    }

    fn update_ticket(&self, tenant: &Tenant<'_>, ticket_id: &str, note: &Note<'_>) -> Result<bool, PluginError> {
        let (attempt, key) = (tenant.attempt(), tenant.idempotency_key().unwrap_or_default());
        tenant.log(LogLevel::Debug, &format!("attempt {attempt} of {key} with {}", note.marker()));
        let input = json!({ "note": { "description": note.html(), "show_to_requester": false } }).to_string();
        let request = to_ticket(Request::post("/"), ticket_id).path("notes").form(&[("input_data", &input)]);
        tenant.http(request)?.success(tenant.now())?;
        Ok(true)
    }
}

fn to_ticket(start: Request, ticket_id: &str) -> Request {
    let request = start.path("api").path("v3").path("requests").path(ticket_id);
    request.header("accept", ACCEPT).header_secret("authtoken", "api_key")
}

export_plugin!(Golden);
