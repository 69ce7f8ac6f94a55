//! The JSON of Zendesk: tickets, users and comments as its API returns them, and the webhooks that point at them.

use std::fmt::Write as _;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use time::{Duration, OffsetDateTime};

use crate::{
    state::{Note, Ticket},
    webhook::{Event, Form, Webhook, rfc3339},
};

/// The requester of every ticket here; the other people follow.
const REQUESTER_ID: u64 = 9_120_044;
const AGENT_ID: u64 = 9_120_099;
const ACCOUNT_ID: u64 = 31_007;
/// The id of the comment that a ticket begins with; that of the answer that solved it follows. Notes have numbers from
/// 1.
const DESCRIPTION_COMMENT_ID: u64 = 1_000_000_001;
const RESOLUTION_COMMENT_ID: u64 = 1_000_000_002;

/// A ticket as `GET …/tickets/{id}` shows it, without side-loads.
pub(super) fn ticket(ticket: &Ticket) -> Value {
    let fields = &ticket.fields;
    let id = number(&ticket.id);
    json!({
        "url": format!("https://sandbox.zendesk.com/api/v2/tickets/{id}.json"),
        "id": id,
        "external_id": null,
        "via": { "channel": "email", "source": { "from": {}, "to": {}, "rel": null } },
        "created_at": rfc3339(fields.created_at),
        "updated_at": rfc3339(whole_seconds(ticket.updated_at)),
        "generated_timestamp": ticket.updated_at.unix_timestamp(),
        "type": "incident",
        "subject": fields.subject,
        "raw_subject": fields.subject,
        "description": fields.description,
        "priority": priority(&fields.priority),
        "status": status(&fields.status),
        "recipient": null,
        "requester_id": REQUESTER_ID,
        "submitter_id": REQUESTER_ID,
        "assignee_id": AGENT_ID,
        "organization_id": null,
        "group_id": null,
        "collaborator_ids": [],
        "follower_ids": [],
        "email_cc_ids": [],
        "forum_topic_id": null,
        "problem_id": null,
        "has_incidents": false,
        "is_public": true,
        "due_at": null,
        "tags": ["sandbox"],
        "custom_fields": [],
        "satisfaction_rating": null,
        "sharing_agreement_ids": [],
        "custom_status_id": null,
        "fields": [],
        "followup_ids": [],
        "ticket_form_id": null,
        "brand_id": null,
        "allow_channelback": false,
        "allow_attachments": true,
        "from_messaging_channel": false,
    })
}

pub(super) fn metric_set(ticket: &Ticket) -> Value {
    json!({ "ticket_id": number(&ticket.id), "solved_at": ticket.fields.resolved_at.map(rfc3339), "reopens": 0 })
}

/// The people of a ticket.
pub(super) fn users(ticket: &Ticket) -> Value {
    let fields = &ticket.fields;
    json!([
        { "id": AGENT_ID, "name": "Sandbox Agent", "email": "agent@sandbox.example", "role": "agent" },
        { "id": REQUESTER_ID, "name": fields.requester_name, "email": fields.requester_email, "role": "end-user" },
    ])
}

/// The comments of a ticket, oldest first: its description, the answer that solved it, and posted notes.
pub(super) fn comments(ticket: &Ticket) -> Vec<Value> {
    let fields = &ticket.fields;
    let spoken = |id, author_id, text: &str, at| comment(id, author_id, &escaped(text), true, at);
    let mut comments = vec![spoken(DESCRIPTION_COMMENT_ID, REQUESTER_ID, &fields.description, fields.created_at)];
    if let (Some(resolution), Some(at)) = (&fields.resolution, fields.resolved_at) {
        comments.push(spoken(RESOLUTION_COMMENT_ID, AGENT_ID, resolution, at));
    }
    comments.extend(ticket.notes.iter().map(posted));
    // Times in this form sort like texts.
    comments.sort_by(|one, other| one["created_at"].as_str().cmp(&other["created_at"].as_str()));
    comments
}

/// The audit of an update.
pub(super) fn audit(ticket: &Ticket, note: &Note) -> Value {
    let mut event = posted(note);
    event["type"] = json!("Comment");
    json!({ "id": note.id, "ticket_id": number(&ticket.id), "author_id": AGENT_ID, "events": [event] })
}

/// The body of a webhook: an event's envelope, or what an administrator wrote into a trigger.
pub(crate) fn webhook_body(webhook: &Webhook) -> Vec<u8> {
    let body = match webhook.form {
        Form::Event => event(webhook),
        _ => trigger(webhook),
    };
    serde_json::to_vec(&body).expect("a JSON value is always writable")
}

/// The vendor's name for a status, whatever tool the ticket came from.
pub(super) fn status(name: &str) -> String {
    match name.to_ascii_lowercase().as_str() {
        "resolved" => "solved".to_owned(),
        known @ ("new" | "open" | "pending" | "hold" | "solved" | "closed") => known.to_owned(),
        _ => "open".to_owned(),
    }
}

/// A text as HTML.
pub(super) fn escaped(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!("<p dir=\"auto\">{}</p>", escaped.replace('\n', "<br>"))
}

fn event(webhook: &Webhook) -> Value {
    let fields = webhook.ticket_after();
    let now = webhook.happened_at();
    let (kind, change) = match webhook.event {
        Event::Created => ("created", json!({})),
        Event::Resolved => ("status_changed", json!({ "current": "SOLVED", "previous": "OPEN" })),
        Event::Updated => {
            ("priority_changed", json!({ "current": capitals(priority(&fields.priority)), "previous": null }))
        }
    };
    json!({
        "account_id": ACCOUNT_ID,
        "detail": {
            "actor_id": AGENT_ID.to_string(),
            "assignee_id": AGENT_ID.to_string(),
            "brand_id": "7710",
            "created_at": rfc3339(fields.created_at),
            "custom_status": "4401",
            "description": fields.description,
            "external_id": null,
            "form_id": "5501",
            "group_id": "6601",
            "id": webhook.ticket_id,
            "is_public": true,
            "organization_id": null,
            "priority": capitals(priority(&fields.priority)),
            "requester_id": REQUESTER_ID.to_string(),
            "status": status(&fields.status).to_uppercase(),
            "subject": fields.subject,
            "submitter_id": REQUESTER_ID.to_string(),
            "tags": ["sandbox"],
            "type": "INCIDENT",
            "updated_at": rfc3339(now),
            "via": { "channel": "email" },
        },
        "event": change,
        "id": event_id(webhook),
        "subject": format!("zen:ticket:{}", webhook.ticket_id),
        "time": rfc3339(now + Duration::nanoseconds(672_717_030)),
        "type": format!("zen:event-type:ticket.{kind}"),
        "zendesk_event_version": "2022-11-06",
    })
}

fn trigger(webhook: &Webhook) -> Value {
    let fields = webhook.ticket_after();
    let mut body = json!({
        "tenant_id": webhook.tenant_id,
        "ticket_id": webhook.ticket_id,
        "event": webhook.event.name(),
        "subject": fields.subject,
        "description": fields.description,
        "priority": fields.priority,
        "created_at": to_the_minute(fields.created_at),
        "updated_at": to_the_minute(webhook.happened_at()),
    });
    if webhook.event == Event::Resolved {
        body["resolution"] = json!(fields.resolution);
        body["tags"] = json!("sandbox");
    }
    body
}

/// An id that is the same for every delivery of an event, and different for other events.
fn event_id(webhook: &Webhook) -> String {
    let said = format!("{} {} {:?}", webhook.event.name(), webhook.ticket_id, webhook.ticket_after());
    let mut id = String::new();
    for (at, byte) in Sha256::digest(said).into_iter().take(16).enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            id.push('-');
        }
        write!(id, "{byte:02x}").expect("a text takes all that is written");
    }
    id
}

/// A time as placeholders write it.
fn to_the_minute(at: OffsetDateTime) -> String {
    let text = rfc3339(whole_seconds(at));
    format!("{}Z", &text[.."2013-12-12T05:35".len()])
}

fn posted(note: &Note) -> Value {
    comment(note.id, AGENT_ID, &note.body, !note.internal, note.created_at)
}

fn comment(id: u64, author_id: u64, html: &str, public: bool, at: OffsetDateTime) -> Value {
    let text = text_of(html);
    json!({
        "id": id, "type": "Comment", "author_id": author_id, "body": text, "plain_body": text,
        "html_body": format!("<div class=\"zd-comment\" dir=\"auto\">{html}</div>"),
        "public": public, "attachments": [], "created_at": rfc3339(whole_seconds(at)),
    })
}

fn text_of(html: &str) -> String {
    let parts = html.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text));
    parts.collect::<String>().replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

fn priority(name: &str) -> Option<&'static str> {
    ["urgent", "high", "normal", "low"].into_iter().find(|known| known.eq_ignore_ascii_case(name))
}

fn capitals(word: Option<&str>) -> Option<String> {
    word.map(str::to_uppercase)
}

fn whole_seconds(at: OffsetDateTime) -> OffsetDateTime {
    at.replace_nanosecond(0).expect("0 is a nanosecond")
}

/// An id as a number, as in the API; webhooks have texts.
fn number(id: &str) -> u64 {
    id.parse().expect("a ticket is made with at most 18 digits")
}
