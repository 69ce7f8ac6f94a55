//! The bodies that ServiceNow's business rules send about a record.

use serde_json::{Value, json};
use time::Duration;

use super::record::{self, Values, View, stored_time};
use crate::{
    state::Ticket,
    webhook::{Event, Form, Webhook, rfc3339},
};

/// The record's columns with the event, the API's record under `record`, or a few fields with `data`.
pub(crate) fn webhook_body(webhook: &Webhook) -> Vec<u8> {
    let ticket = told(webhook);
    let body = match webhook.form {
        Form::Request => {
            let view = View { values: Values::Both, links: false, columns: None };
            json!({ "tenant_id": webhook.tenant_id, "event": webhook.event.name(), "record": view.record(&ticket) })
        }
        Form::Event => rule(webhook, &ticket),
        _ => columns(webhook, &ticket),
    };
    serde_json::to_vec(&body).expect("a JSON value is always writable")
}

/// The body sent by the rule in the plugin's documentation.
fn columns(webhook: &Webhook, ticket: &Ticket) -> Value {
    let names = [
        "sys_id",
        "number",
        "short_description",
        "description",
        "priority",
        "state",
        "sys_created_on",
        "sys_updated_on",
        "sys_mod_count",
        "resolved_at",
        "close_code",
        "close_notes",
    ];
    let view = View { values: Values::Stored, links: false, columns: Some(names.map(str::to_owned).to_vec()) };
    let mut body = view.record(ticket);
    body["tenant_id"] = json!(webhook.tenant_id);
    body["event"] = json!(webhook.event.name());
    body
}

fn rule(webhook: &Webhook, ticket: &Ticket) -> Value {
    let fields = &ticket.fields;
    let priority = match record::priority(&fields.priority).0 {
        "1" => "CRITICAL",
        "2" => "HIGH",
        "3" => "MEDIUM",
        "4" => "LOW",
        _ => "MINIMAL",
    };
    json!({
        "eventType": "incident",
        "incidentId": record::number(ticket),
        "action": webhook.event.name(),
        "priority": priority,
        "title": fields.subject,
        "description": fields.description,
        "timestamp": rfc3339(ticket.updated_at),
        "service": "ServiceNow",
        "data": {
            "sysId": ticket.id,
            "incidentNumber": record::number(ticket),
            "incidentUrl": format!("https://instance.service-now.com/incident.do?sys_id={}", ticket.id),
            "state": record::state(&fields.status).0,
            "closeCode": if fields.resolution.is_some() { "Solution provided" } else { "" },
            "closeNotes": fields.resolution.as_deref().unwrap_or(""),
            "lastUpdated": stored_time(ticket.updated_at),
        },
    })
}

/// The ticket after the event.
fn told(webhook: &Webhook) -> Ticket {
    let mut ticket = webhook.shown();
    if webhook.event == Event::Updated {
        // Well after its creation, so that a reader can recognise an update.
        ticket.updated_at = ticket.updated_at.max(ticket.fields.created_at + Duration::MINUTE);
    }
    ticket
}
