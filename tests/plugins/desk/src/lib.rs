//! A complete working plugin, with one place where a test plugin misbehaves: [`Behaviour`].
//!
//! It accepts the sandbox's flat webhooks, signed as `X-Webhook-Signature: sha256=…`, and talks to the sandbox's
//! on-premises ServiceDesk Plus. A new test plugin is a folder beside this one: a manifest, a type with its
//! `Behaviour`, and `export_plugin!(Desk<ThatType>)`.

use plugin_abi::{
    prelude::*,
    serde::Deserialize,
    serde_json::{self, json},
};

/// The media type that the tool insists on.
const ACCEPT: &str = "application/vnd.manageengine.sdp.v3+json";

/// What a test plugin does in addition to its work.
pub trait Behaviour: Sized + Send + Sync + 'static {
    /// The plugin's information: `plugin_info!` in the plugin's own crate.
    const INFO: PluginInfo;

    /// Called when the plugin is created.
    fn new() -> Self;

    /// Called at the beginning of each method, with the method's short name: `validate`, `extract`, `get`, `update`.
    fn before(&self, tenant: &Tenant<'_>, method: &str) {
        let _well_behaved = (tenant, method);
    }

    /// Called with the answer of `extract_metadata` before it is returned.
    fn answer(&self, tenant: &Tenant<'_>, metadata: &mut TicketMetadata) {
        let _honest = (tenant, metadata);
    }

    /// Called with the answer of `get_ticket` before it is returned.
    fn fetched(&self, tenant: &Tenant<'_>, ticket: &mut Ticket) {
        let _honest = (tenant, ticket);
    }

    /// Returns the answer of `update_ticket` after the tool has accepted the note.
    fn posted(&self, tenant: &Tenant<'_>) -> Result<bool, PluginError> {
        let _honest = tenant;
        Ok(true)
    }
}

/// The plugin around a behaviour.
#[derive(Debug)]
pub struct Desk<B>(B);

#[derive(Deserialize)]
#[serde(crate = "plugin_abi::serde")]
struct Told {
    tenant_id: String,
    ticket_id: String,
    event: String,
    subject: String,
    resolution: Option<String>,
}

/// The parts of a ticket that are read; the rest is ignored.
#[derive(Deserialize)]
#[serde(crate = "plugin_abi::serde")]
struct Shown {
    request: Asked,
}

#[derive(Deserialize)]
#[serde(crate = "plugin_abi::serde")]
struct Asked {
    subject: Option<String>,
}

impl<B: Behaviour> TicketingToolPlugin for Desk<B> {
    const INFO: PluginInfo = B::INFO;

    fn new(_host: &Host<'_>) -> Result<Self, PluginError> {
        Ok(Self(B::new()))
    }

    fn validate_webhook(&self, tenant: &Tenant<'_>, webhook: &Webhook<'_>) -> Result<bool, PluginError> {
        self.0.before(tenant, "validate");
        signature::hub(tenant, "webhook_secret", webhook, "x-webhook-signature")
    }

    fn extract_metadata(&self, tenant: &Tenant<'_>, webhook: &Webhook<'_>) -> Result<TicketMetadata, PluginError> {
        self.0.before(tenant, "extract");
        let told: Told =
            serde_json::from_slice(webhook.body()).map_err(|fault| PluginError::Malformed(fault.to_string()))?;
        let event = match told.event.as_str() {
            "ticket_created" => Event::Created,
            "ticket_resolved" => Event::Resolved { resolution: told.resolution, resolved_at: None, tags: Vec::new() },
            "ticket_reopened" => Event::Reopened,
            _ => Event::Other,
        };
        let mut metadata = TicketMetadata::new(told.ticket_id, event);
        metadata.tenant_id = Some(told.tenant_id);
        metadata.subject = Some(told.subject);
        self.0.answer(tenant, &mut metadata);
        Ok(metadata)
    }

    fn get_ticket(&self, tenant: &Tenant<'_>, ticket_id: &str) -> Result<Option<Ticket>, PluginError> {
        self.0.before(tenant, "get");
        let answer = tenant.http(to_ticket(Request::get("/"), ticket_id))?;
        if answer.status() == 404 {
            return Ok(None);
        }
        let answer = answer.success(tenant.now())?;
        let mut ticket = Ticket::new(ticket_id);
        ticket.subject = answer.json::<Shown>()?.request.subject;
        ticket.raw = answer.text().into_owned();
        self.0.fetched(tenant, &mut ticket);
        Ok(Some(ticket))
    }

    fn update_ticket(&self, tenant: &Tenant<'_>, ticket_id: &str, note: &Note<'_>) -> Result<bool, PluginError> {
        self.0.before(tenant, "update");
        let input = json!({ "note": { "description": note.html(), "show_to_requester": false } }).to_string();
        let request = to_ticket(Request::post("/"), ticket_id).path("notes").form(&[("input_data", &input)]);
        tenant.http(request)?.success(tenant.now())?;
        self.0.posted(tenant)
    }
}

fn to_ticket(start: Request, ticket_id: &str) -> Request {
    let request = start.path("api").path("v3").path("requests").path(ticket_id);
    request.header("accept", ACCEPT).header_secret("authtoken", "api_key")
}
