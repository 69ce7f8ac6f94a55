//! The JSON of Freshservice: tickets, their embedded parts and notes as its API returns them, and the webhooks about them.

use serde_json::{Value, json};
use time::{OffsetDateTime, UtcOffset, macros::format_description};

use crate::{
    state::{Note, Ticket},
    webhook::{Form, Webhook},
};

const AGENT: u64 = 21_001_397_559;
const REQUESTER: u64 = 21_001_397_563;

/// A ticket as `GET /api/v2/tickets/{id}` shows it, without the envelope.
pub(super) fn ticket(ticket: &Ticket) -> Value {
    let fields = &ticket.fields;
    let mut shown = json!({
        "id": number(&ticket.id),
        "subject": fields.subject,
        "description": fields.description,
        "description_text": without_tags(&fields.description),
        "status": status(&fields.status),
        "priority": priority(&fields.priority),
        "source": 2,
        "type": "Incident",
        "requester_id": REQUESTER,
        "requested_for_id": REQUESTER,
        "responder_id": AGENT,
        "workspace_id": 2,
        "created_at": time(fields.created_at),
        "updated_at": time(ticket.updated_at),
        "resolution_notes": fields.resolution.as_deref().map(without_tags),
        "resolution_notes_html": fields.resolution.as_ref().map(|text| format!("<div>{text}</div>")),
        "custom_fields": {},
    });
    let unset = [
        "category",
        "department_id",
        "due_by",
        "email_config_id",
        "fr_due_by",
        "group_id",
        "item_category",
        "sub_category",
        "to_emails",
    ];
    let empty_lists = ["attachments", "cc_emails", "fwd_emails", "reply_cc_emails"];
    let switched_off = ["deleted", "fr_escalated", "is_escalated", "spam"];
    for (names, value) in [(&unset[..], Value::Null), (&empty_lists[..], json!([])), (&switched_off[..], json!(false))]
    {
        for name in names {
            shown[*name] = value.clone();
        }
    }
    shown
}

/// The fields that `include=requester` adds.
pub(super) fn requester(ticket: &Ticket) -> Value {
    let fields = &ticket.fields;
    json!({
        "id": REQUESTER, "name": fields.requester_name, "email": fields.requester_email, "mobile": null, "phone": null,
    })
}

/// The fields that `include=stats` adds.
pub(super) fn stats(ticket: &Ticket) -> Value {
    let fields = &ticket.fields;
    let ended = fields.resolved_at.map(time);
    json!({
        "ticket_id": number(&ticket.id),
        "created_at": time(fields.created_at),
        "updated_at": time(ticket.updated_at),
        "resolved_at": ended,
        "closed_at": ended.filter(|_| fields.status == "Closed"),
        "resolution_time_in_secs": fields.resolved_at.map(|at| (at - fields.created_at).whole_seconds()),
    })
}

/// A note as the API shows it, without the envelope.
pub(super) fn note(ticket: &Ticket, note: &Note) -> Value {
    json!({
        "id": note.id,
        "user_id": AGENT,
        "to_emails": [],
        "body": note.body,
        "body_text": without_tags(&note.body),
        "ticket_id": number(&ticket.id),
        "created_at": time(note.created_at),
        "updated_at": time(note.created_at),
        "incoming": false,
        "private": note.internal,
        "support_email": null,
        "attachments": [],
    })
}

/// The body of a webhook, as the placeholders of an administrator's template render it: all values are texts, and
/// missing ones are empty.
pub(crate) fn webhook_body(webhook: &Webhook) -> Vec<u8> {
    let fields = webhook.ticket_after();
    let (ticket_id, event) = (&webhook.ticket_id, webhook.event.name());
    let body = match webhook.form {
        Form::Request => json!({ "ticket_id": ticket_id, "event": event }),
        _ => json!({
            "tenant_id": webhook.tenant_id,
            "event": event,
            "ticket_id": format!("INC-{ticket_id}"),
            "subject": fields.subject,
            "description": format!("<div>{}</div>", fields.description),
            "status": fields.status,
            "priority": fields.priority,
            "created_at": time(fields.created_at),
            "updated_at": time(webhook.happened_at()),
            "resolved_at": fields.resolved_at.map(time).unwrap_or_default(),
            "resolution": fields.resolution.unwrap_or_default(),
            "tags": "sandbox",
            "url": format!("https://sandbox.freshservice.com/helpdesk/tickets/{ticket_id}"),
        }),
    };
    serde_json::to_vec(&body).expect("a JSON value is always writable")
}

fn number(id: &str) -> u64 {
    id.parse().expect("ids are checked when tickets are made")
}

/// Statuses that an account adds have numbers from 6 up.
fn status(name: &str) -> u64 {
    match name {
        "Open" => 2,
        "Pending" => 3,
        "Resolved" => 4,
        "Closed" => 5,
        _ => 6,
    }
}

fn priority(name: &str) -> u64 {
    match name {
        "Low" => 1,
        "High" => 3,
        "Urgent" => 4,
        _ => 2,
    }
}

fn time(at: OffsetDateTime) -> String {
    let form = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    at.to_offset(UtcOffset::UTC).format(form).expect("a time has all of these parts")
}

fn without_tags(html: &str) -> String {
    let mut parts = html.split('<');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push_str(part.split_once('>').map_or(part, |(_, after)| after));
    }
    text
}
