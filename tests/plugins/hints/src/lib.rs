//! A plugin whose tool cannot prove its webhooks: they are only hints, and the ticket is read from the tool.

use desk::{Behaviour, Desk};
use plugin_abi::{
    prelude::*,
    serde_json::{self, Value},
    time::OffsetDateTime,
};

struct Hints;

impl Behaviour for Hints {
    const INFO: PluginInfo = plugin_info!("desk_hints");

    fn new() -> Self {
        Self
    }

    fn answer(&self, _tenant: &Tenant<'_>, metadata: &mut TicketMetadata) {
        metadata.read_back = true;
    }

    fn fetched(&self, _tenant: &Tenant<'_>, ticket: &mut Ticket) {
        let raw: Value = serde_json::from_str(&ticket.raw).unwrap_or_default();
        let request = &raw["request"];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        ticket.status = text(&request["status"]["name"]);
        ticket.resolution = text(&request["resolution"]["content"]);
        let resolved_ms = request["resolved_time"]["value"].as_str().and_then(|ms| ms.parse::<i64>().ok());
        ticket.resolved_at = resolved_ms.and_then(|ms| OffsetDateTime::from_unix_timestamp(ms / 1_000).ok());
    }
}

export_plugin!(Desk<Hints>);
