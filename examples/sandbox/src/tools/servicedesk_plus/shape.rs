//! The JSON of ServiceDesk Plus: requests, notes and times as its API returns them, and the webhooks that point at them.

use serde_json::{Value, json};
use time::{OffsetDateTime, macros::format_description};

use super::Edition;
use crate::{
    state::{Note, Ticket},
    webhook::{Event, Form, Webhook, rfc3339},
};

/// A request as `GET …/requests/{id}` shows it, without the envelope.
pub(super) fn request(edition: Edition, ticket: &Ticket) -> Value {
    let fields = &ticket.fields;
    let display_id = match edition {
        Edition::OnPremises => ticket.id.clone(),
        Edition::Cloud => ticket.display_id.to_string(),
    };
    let resolved = matches!(fields.status.as_str(), "Resolved" | "Closed" | "Canceled" | "Cancelled");
    let resolution = fields.resolution.as_ref().map(|content| {
        json!({ "content": content, "submitted_on": fields.resolved_at.map(time), "submitted_by": technician(edition) })
    });
    let mut request = json!({
        "id": ticket.id,
        "display_id": display_id,
        "subject": fields.subject,
        "description": fields.description,
        "status": {
            "id": id(edition, 1), "name": fields.status, "internal_name": fields.status, "color": "#0066ff",
            "in_progress": !resolved, "stop_timer": resolved || fields.status == "On Hold",
        },
        "priority": { "id": id(edition, 2), "name": fields.priority, "color": "#ff0000" },
        "urgency": named(edition, 3, "Normal"),
        "impact": named(edition, 4, "Affects Group"),
        "level": named(edition, 5, "Tier 1"),
        "mode": named(edition, 6, "E-Mail"),
        "request_type": named(edition, 7, "Incident"),
        "template": named(edition, 8, "Default Request"),
        "group": { "id": id(edition, 9), "name": "Network", "site": null, "deleted": false },
        "requester": person(edition, 10, &fields.requester_name, fields.requester_email.as_deref(), false),
        "created_by": technician(edition),
        "created_time": time(fields.created_at),
        "last_updated_time": time(ticket.updated_at),
        "resolved_time": fields.resolved_at.map(time),
        "completed_time": fields.resolved_at.map(time),
        "resolution": resolution,
        "has_notes": !ticket.notes.is_empty(),
        "time_elapsed": "0",
        "unreplied_count": 0,
        "udf_fields": {},
    });
    let empty_lists = ["attachments", "email_to", "email_cc", "email_bcc", "email_ids_to_notify"];
    let switched_off = [
        "cancellation_requested",
        "has_attachments",
        "has_draft",
        "has_linked_requests",
        "has_problem",
        "has_project",
        "has_request_initiated_change",
        "is_escalated",
        "is_fcr",
        "is_first_response_overdue",
        "is_overdue",
        "is_read",
        "is_reopened",
        "is_service_request",
        "is_trashed",
    ];
    let unset = [
        "approval_status",
        "assigned_time",
        "cancel_flag_comments",
        "category",
        "deleted_time",
        "department",
        "due_by_time",
        "first_response_due_by_time",
        "impact_details",
        "item",
        "lifecycle",
        "linked_to_request",
        "notification_status",
        "onhold_scheduler",
        "responded_time",
        "site",
        "sla",
        "subcategory",
        "technician",
    ];
    for (names, value) in [(&empty_lists[..], json!([])), (&switched_off[..], json!(false)), (&unset[..], Value::Null)]
    {
        for name in names {
            request[*name] = value.clone();
        }
    }
    request
}

/// A note as the API shows it, without the envelope.
pub(super) fn note(edition: Edition, ticket: &Ticket, note: &Note) -> Value {
    json!({
        "id": id(edition, note.id),
        "description": note.body,
        "show_to_requester": !note.internal,
        "created_time": time(note.created_at),
        "created_by": technician(edition),
        "request": { "id": ticket.id, "subject": ticket.fields.subject },
    })
}

/// The body of a webhook: the flat form, or ManageEngine's custom webhook with the request as its API shows it.
pub(crate) fn webhook_body(edition: Edition, webhook: &Webhook) -> Vec<u8> {
    let body = match webhook.form {
        Form::Request => json!({ "request": request(edition, &webhook.shown()) }),
        _ => flat(webhook),
    };
    serde_json::to_vec(&body).expect("a JSON value is always writable")
}

fn flat(webhook: &Webhook) -> Value {
    let fields = webhook.ticket_after();
    let mut body = json!({
        "tenant_id": webhook.tenant_id,
        "ticket_id": webhook.ticket_id,
        "event": format!("ticket_{}", webhook.event.name()),
        "subject": fields.subject,
        "description": fields.description,
        "priority": fields.priority.to_lowercase(),
        "created_at": rfc3339(fields.created_at),
    });
    if webhook.event == Event::Resolved {
        body["resolution"] = json!(fields.resolution);
        body["resolved_date"] = json!(fields.resolved_at.map(rfc3339));
        body["tags"] = json!(["sandbox"]);
    }
    body
}

/// A time: `display_value` follows a user's settings and is for people; `value` is epoch milliseconds, as a string.
fn time(at: OffsetDateTime) -> Value {
    let display = format_description!(
        "[month repr:short] [day padding:none], [year] [hour repr:12]:[minute] [period case:upper]"
    );
    let millis = at.unix_timestamp_nanos() / 1_000_000;
    json!({ "display_value": at.format(display).expect("a date has all of these parts"), "value": millis.to_string() })
}

/// An id. Ids are strings: small numbers on-premises, 18 digits in the cloud.
fn id(edition: Edition, number: u64) -> String {
    match edition {
        Edition::OnPremises => number.to_string(),
        Edition::Cloud => format!("123640{number:012}"),
    }
}

fn named(edition: Edition, number: u64, name: &str) -> Value {
    json!({ "id": id(edition, number), "name": name })
}

fn technician(edition: Edition) -> Value {
    person(edition, 11, "administrator", None, true)
}

fn person(edition: Edition, number: u64, name: &str, email: Option<&str>, is_technician: bool) -> Value {
    json!({
        "id": id(edition, number), "name": name, "email_id": email, "is_technician": is_technician, "is_vip_user": false,
        "phone": null, "mobile": null, "sms_mail": null, "department": null,
    })
}
