//! A plugin for Acme Desk, a made-up ticketing tool with a JSON API: what every plugin needs, and no more.

use plugin_abi::{prelude::*, serde::Deserialize, serde_json::json};

struct AcmeDesk;

/// A ticket, as Acme Desk's webhooks and API write it.
#[derive(Deserialize)]
#[serde(crate = "plugin_abi::serde")]
struct AcmeTicket {
    id: String,
    title: Option<String>,
    priority: Option<String>,
    #[serde(default)]
    is_new: bool,
}

impl TicketingToolPlugin for AcmeDesk {
    const INFO: PluginInfo = plugin_info!("acme_desk");

    fn new(_host: &Host<'_>) -> Result<Self, PluginError> {
        Ok(Self)
    }

    fn validate_webhook(&self, tenant: &Tenant<'_>, webhook: &Webhook<'_>) -> Result<bool, PluginError> {
        signature::hub(tenant, "webhook_secret", webhook, "x-acme-signature")
    }

    fn extract_metadata(&self, _tenant: &Tenant<'_>, webhook: &Webhook<'_>) -> Result<TicketMetadata, PluginError> {
        let ticket: AcmeTicket = webhook.json().parse()?;
        let event = if ticket.is_new { Event::Created } else { Event::Updated };
        let mut metadata = TicketMetadata::new(ticket.id, event);
        metadata.subject = ticket.title;
        metadata.priority =
            priority_from(ticket.priority.as_deref(), &[(Priority::High, &["urgent"]), (Priority::Low, &["later"])]);
        Ok(metadata)
    }

    fn get_ticket(&self, tenant: &Tenant<'_>, ticket_id: &str) -> Result<Option<Ticket>, PluginError> {
        let answer = tenant.http(Request::get("/api/tickets").path(ticket_id).bearer("api_key"))?;
        if answer.status() == 404 {
            return Ok(None);
        }
        let answer = answer.success(tenant.now())?;
        let mut ticket = Ticket::new(ticket_id);
        ticket.subject = answer.json::<AcmeTicket>()?.title;
        ticket.raw = answer.text().into_owned();
        Ok(Some(ticket))
    }

    fn update_ticket(&self, tenant: &Tenant<'_>, ticket_id: &str, note: &Note<'_>) -> Result<bool, PluginError> {
        let request = Request::post("/api/tickets").path(ticket_id).path("notes").bearer("api_key");
        let note = json!({ "html": note.html(), "internal": true, "idempotency_key": tenant.idempotency_key() });
        tenant.http(request.json(&note))?.success(tenant.now())?;
        Ok(true)
    }
}

export_plugin!(AcmeDesk);
