//! A plugin that keeps its contract except for the rule named by the tenant's setting `breaks`. Each broken rule is
//! noticed by a case of `plugin-ctl conformance`.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use plugin_abi::{
    prelude::*,
    serde_json::{Value, json},
};
use rustix::time::{ClockId, clock_gettime};

/// How often this process has seen something.
static COUNT: AtomicU64 = AtomicU64::new(0);
/// More processor time than a call may take.
const LONG: Duration = Duration::from_millis(1_200);
const SIGNATURE: &str = "x-signature";

struct Careless;

/// Processor time of this thread. Wall-clock time would mean no work on a busy machine.
fn processor_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default()
}

fn breaks(tenant: &Tenant<'_>, rule: &str) -> bool {
    tenant.setting("breaks") == Some(rule)
}

impl TicketingToolPlugin for Careless {
    const INFO: PluginInfo = plugin_info!("desk_careless");
    const FINDS_NOTES: bool = true;

    fn new(_host: &Host<'_>) -> Result<Self, PluginError> {
        Ok(Self)
    }

    fn validate_webhook(&self, tenant: &Tenant<'_>, webhook: &Webhook<'_>) -> Result<bool, PluginError> {
        if breaks(tenant, "takes all") {
            return Ok(true);
        }
        if breaks(tenant, "reads first") {
            read(webhook)?;
        }
        if breaks(tenant, "takes the unsigned") && webhook.header(SIGNATURE).is_none() {
            return Ok(webhook.body().len() > 2);
        }
        if breaks(tenant, "takes the old") {
            let stamp = webhook.header("x-time").unwrap_or_default();
            return tenant.verify_hmac_sha256("webhook_secret", &[stamp, b".", webhook.body()], &presented(webhook));
        }
        if breaks(tenant, "takes the late") {
            let is_authentic = signature::bare(tenant, "webhook_secret", webhook, SIGNATURE, signature::Encoding::Hex)?;
            return Ok(is_authentic && webhook.header("x-time").is_some());
        }
        if breaks(tenant, "logs") {
            let secret = webhook.header_text(SIGNATURE).unwrap_or_default();
            tenant.log(LogLevel::Info, &format!("presented: {secret}"));
            return signature::static_token(tenant, "webhook_secret", webhook, SIGNATURE);
        }
        if breaks(tenant, "trims") {
            return tenant.verify_hmac_sha256("webhook_secret", &[webhook.body().trim_ascii()], &presented(webhook));
        }
        if breaks(tenant, "takes the first") {
            let first = webhook.headers().find(|(name, _)| *name == SIGNATURE);
            let mac = first.map(|(_, value)| hex(value)).unwrap_or_default();
            return tenant.verify_hmac_sha256("webhook_secret", &[webhook.body()], &mac);
        }
        signature::bare(tenant, "webhook_secret", webhook, SIGNATURE, signature::Encoding::Hex)
    }

    fn extract_metadata(&self, tenant: &Tenant<'_>, webhook: &Webhook<'_>) -> Result<TicketMetadata, PluginError> {
        if breaks(tenant, "recurses") {
            depth(webhook.body());
        }
        if breaks(tenant, "panics") {
            std::str::from_utf8(webhook.body()).expect("a text");
        }
        if breaks(tenant, "panics on zero") {
            assert!(!webhook.body().contains(&0), "a zero byte");
        }
        if breaks(tenant, "takes long") && webhook.body().len() > 1_000_000 {
            let until = processor_time() + LONG;
            while processor_time() < until {}
        }
        if breaks(tenant, "keeps memory") {
            vec![1_u8; 8 << 10].leak();
        }
        if breaks(tenant, "is sorry") {
            return Err(PluginError::api("not now"));
        }
        let value = read(webhook)?;
        let id = value["id"].as_str().ok_or_else(|| PluginError::field("id", "must be a text"))?;
        let event = if id.is_empty() && !breaks(tenant, "takes no id") { Event::Other } else { Event::Created };
        let mut metadata = TicketMetadata::new(id.chars().take(100).collect::<String>(), event);
        if breaks(tenant, "counts") {
            metadata.subject = Some(COUNT.fetch_add(1, Ordering::Relaxed).to_string());
        }
        if breaks(tenant, "looks at the clock") {
            metadata.occurred_at = Some(tenant.now());
        }
        Ok(metadata)
    }

    fn get_ticket(&self, tenant: &Tenant<'_>, ticket_id: &str) -> Result<Option<Ticket>, PluginError> {
        if breaks(tenant, "leaves a thread") {
            drop(thread::spawn(|| thread::sleep(Duration::from_secs(60))));
        }
        if breaks(tenant, "exits") {
            std::process::exit(0);
        }
        let request = match breaks(tenant, "pastes") {
            true => Request::get(format!("/tickets/{ticket_id}")),
            false => Request::get("/tickets").path(ticket_id),
        };
        let answer = match tenant.http(request.bearer("api_key")) {
            Err(_) if breaks(tenant, "swallows") => return Ok(None),
            answer => answer?,
        };
        if answer.status() == 404 {
            return Ok(None);
        }
        if answer.status() == 429 && breaks(tenant, "does not wait") {
            return Err(PluginError::RateLimit { retry_after: None, message: answer.excerpt() });
        }
        if breaks(tenant, "reads anything") {
            return Ok(Some(Ticket::new(ticket_id)));
        }
        let answer = answer.success(tenant.now())?;
        let found: Value = answer.json()?;
        let id = found["id"].as_str().ok_or_else(|| PluginError::api("the answer has no id"))?;
        Ok(Some(Ticket::new(id)))
    }

    fn update_ticket(&self, tenant: &Tenant<'_>, ticket_id: &str, note: &Note<'_>) -> Result<bool, PluginError> {
        if breaks(tenant, "posts nothing") {
            return Ok(true);
        }
        let notes = |request: Request| request.path(ticket_id).path("notes").bearer("api_key");
        if breaks(tenant, "looks elsewhere") {
            tenant.http(Request::get("/tickets").path(ticket_id).bearer("api_key"))?.success(tenant.now())?;
        } else if tenant.attempt() > 1 && !breaks(tenant, "does not look") {
            let listed = tenant.http(notes(Request::get("/tickets")))?.success(tenant.now())?;
            let listed: Value = listed.json()?;
            let is_there = listed.to_string().contains(note.marker()) && !breaks(tenant, "looks away");
            if is_there || breaks(tenant, "is sure") {
                return Ok(true);
            }
        }
        let visibility = if breaks(tenant, "posts publicly") { "public" } else { "internal" };
        let body = json!({ "html": note.html(), "visibility": visibility });
        let answer = tenant.http(notes(Request::post("/tickets")).json(&body))?;
        if breaks(tenant, "takes any answer") {
            return Ok(true);
        }
        let answer = answer.success(tenant.now())?;
        if answer.is_html() && !breaks(tenant, "takes pages") {
            return Err(PluginError::api("a page came"));
        }
        Ok(true)
    }
}

fn read(webhook: &Webhook<'_>) -> Result<Value, PluginError> {
    plugin_abi::serde_json::from_slice(webhook.body()).map_err(|fault| PluginError::Malformed(fault.to_string()))
}

fn presented(webhook: &Webhook<'_>) -> Vec<u8> {
    webhook.header(SIGNATURE).map(hex).unwrap_or_default()
}

fn hex(digits: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(digits).unwrap_or_default();
    (0..text.len() / 2).filter_map(|at| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()).collect()
}

/// Recurses as deeply as the body says.
fn depth(body: &[u8]) -> usize {
    match body.split_first() {
        Some((b'[', rest)) => std::hint::black_box(1 + depth(rest)),
        _ => 0,
    }
}

export_plugin!(Careless);
