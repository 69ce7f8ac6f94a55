//! The JSON of Jira: issues, comments and times as its API returns them, and the webhooks that point at them.

use serde_json::{Value, json};
use time::{OffsetDateTime, macros::format_description};

use crate::{
    state::{Note, Ticket},
    webhook::{Event, Form, Webhook},
};

/// The site that the sandbox plays.
const SITE: &str = "https://sandbox.atlassian.net";
/// A project with an issue type whose comments cannot be internal.
const SOFTWARE_PROJECT: &str = "SW";
/// The project of issues that were created by number.
const PROJECT: &str = "SD";

/// The API's versions. Version 2 has texts where version 3 has documents; webhooks use version 2.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    Two,
    Three,
}

/// Whether the issue is in a project of Jira Service Management.
pub(super) fn is_service_desk(id: &str) -> bool {
    !key(id).starts_with(&format!("{SOFTWARE_PROJECT}-"))
}

/// An issue as `GET …/issue/{key}` shows it.
pub(super) fn issue(ticket: &Ticket, version: Version) -> Value {
    let fields = &ticket.fields;
    let key = key(&ticket.id);
    let (project, _) = key.split_once('-').unwrap_or((PROJECT, ""));
    let (category, category_name) = category(&fields.status);
    let resolved = category == "done";
    let description = match version {
        Version::Two => Value::String(fields.description.clone()),
        Version::Three => document(&fields.description),
    };
    let project_type = if is_service_desk(&ticket.id) { "service_desk" } else { "software" };
    let resolution = resolved.then(|| json!({ "self": at("resolution/10000"), "id": "10000", "name": "Done", "description": "Work has been completed on this issue." }));
    let person = person(&fields.requester_name, fields.requester_email.as_deref());
    json!({
        "expand": "renderedFields,names,schema,operations,editmeta,changelog,versionedRepresentations",
        "id": number(ticket),
        "self": format!("{SITE}/rest/api/{}/issue/{}", if version == Version::Two { 2 } else { 3 }, number(ticket)),
        "key": key,
        "fields": {
            "summary": fields.subject,
            "description": description,
            "issuetype": { "self": at("issuetype/10031"), "id": "10031", "name": "[System] Incident", "subtask": false },
            "project": {
                "self": at("project/10020"), "id": "10020", "key": project, "name": project,
                "projectTypeKey": project_type, "simplified": false,
            },
            "priority": { "self": at("priority/2"), "id": "2", "name": fields.priority },
            "status": {
                "self": at("status/10005"), "id": "10005", "name": fields.status, "description": "",
                "statusCategory": { "self": at("statuscategory/4"), "id": 4, "key": category, "colorName": "yellow", "name": category_name },
            },
            "resolution": resolution,
            "resolutiondate": fields.resolved_at.map(time),
            "statuscategorychangedate": time(fields.resolved_at.unwrap_or(fields.created_at)),
            "reporter": person, "creator": person, "assignee": null,
            "labels": [], "components": [], "versions": [], "fixVersions": [], "issuelinks": [], "subtasks": [],
            "created": time(fields.created_at), "updated": time(ticket.updated_at),
            "duedate": null, "environment": null, "customfield_10030": null,
        },
    })
}

/// A comment as the platform shows it.
pub(super) fn comment(ticket: &Ticket, note: &Note) -> Value {
    let author = person("Patchbay", None);
    // A comment from the service desk's call is a text.
    let body = serde_json::from_str(&note.body).ok().filter(Value::is_object).unwrap_or_else(|| document(&note.body));
    json!({
        "self": format!("{SITE}/rest/api/3/issue/{}/comment/{}", number(ticket), note.id), "id": note.id.to_string(),
        "author": author, "body": body, "updateAuthor": author,
        "created": time(note.created_at), "updated": time(note.created_at), "jsdPublic": !note.internal,
    })
}

/// A comment as the service desk shows it.
pub(super) fn request_comment(note: &Note) -> Value {
    let millis = note.created_at.unix_timestamp_nanos() / 1_000_000;
    let created = time(note.created_at);
    json!({
        "id": note.id.to_string(), "body": note.body, "public": !note.internal, "author": person("Patchbay", None),
        "created": { "iso8601": created, "jira": created, "friendly": "Just now", "epochMillis": i64::try_from(millis).unwrap_or(0) },
    })
}

/// The body of a webhook: an administrator's, or one of the two that automation rules send.
pub(crate) fn webhook_body(webhook: &Webhook) -> Vec<u8> {
    let ticket = webhook.shown();
    let mut issue = issue(&ticket, Version::Two);
    let stamp = i64::try_from(ticket.updated_at.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
    let body = match webhook.form {
        Form::Rule => json!({ "issue": of_rule(issue), "timestamp": stamp }),
        Form::Issue => of_rule(issue),
        _ => {
            issue.as_object_mut().map(|issue| issue.remove("expand"));
            let (name, kind) = match webhook.event {
                Event::Created => ("jira:issue_created", "issue_created"),
                Event::Updated | Event::Resolved => ("jira:issue_updated", "issue_generic"),
            };
            json!({
                "timestamp": stamp, "webhookEvent": name, "issue_event_type_name": kind, "user": person("Dana Smith", None),
                "issue": issue, "changelog": { "id": stamp.to_string(), "items": changes(webhook.event) },
            })
        }
    };
    serde_json::to_vec(&body).expect("a JSON value is always writable")
}

fn changes(event: Event) -> Value {
    let change = |field: &str, to: &str, name: &str| json!({ "field": field, "fieldtype": "jira", "fieldId": field, "from": null, "fromString": null, "to": to, "toString": name });
    match event {
        Event::Created => json!([change("status", "1", "Open")]),
        Event::Updated => json!([change("priority", "2", "High")]),
        Event::Resolved => json!([change("resolution", "10000", "Done"), change("status", "10005", "Resolved")]),
    }
}

/// An issue as rules send it: ids are numbers, and the changelog is empty.
fn of_rule(mut issue: Value) -> Value {
    if let Some(id) = issue["id"].as_str().and_then(|id| id.parse::<u64>().ok()) {
        issue["id"] = json!(id);
    }
    issue.as_object_mut().map(|issue| issue.remove("expand"));
    issue["changelog"] = json!({ "startAt": 0, "maxResults": 0, "total": 0, "histories": null });
    issue
}

/// The key of an issue: `101` becomes `SD-101`; a key stays as it is.
fn key(id: &str) -> String {
    if id.contains('-') { id.to_owned() } else { format!("{PROJECT}-{id}") }
}

/// The id besides the key: the number itself, or one far from all numbers of a demo.
fn number(ticket: &Ticket) -> String {
    if ticket.id.contains('-') { (1_000_000 + ticket.display_id).to_string() } else { ticket.id.clone() }
}

fn category(status: &str) -> (&'static str, &'static str) {
    match status {
        "Resolved" | "Closed" | "Done" | "Canceled" => ("done", "Done"),
        "Open" | "To Do" | "New" => ("new", "To Do"),
        _ => ("indeterminate", "In Progress"),
    }
}

/// A text as a document, with a paragraph for each line.
fn document(text: &str) -> Value {
    let paragraphs: Vec<Value> = text
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| json!({ "type": "paragraph", "content": [{ "type": "text", "text": line }] }))
        .collect();
    json!({ "type": "doc", "version": 1, "content": paragraphs })
}

/// A time whose offset has no colon, in a time zone other than UTC.
fn time(at: OffsetDateTime) -> String {
    let form = format_description!(
        "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3][offset_hour sign:mandatory][offset_minute]"
    );
    at.to_offset(time::macros::offset!(+1)).format(form).expect("a time has all of these parts")
}

fn at(path: &str) -> String {
    format!("{SITE}/rest/api/2/{path}")
}

fn person(name: &str, email: Option<&str>) -> Value {
    let account = format!("5b10a2844c20165700ede{:03}", name.len());
    let mut person = json!({
        "self": format!("{SITE}/rest/api/2/user?accountId={account}"), "accountId": account, "displayName": name,
        "active": true, "timeZone": "Europe/Berlin", "accountType": "atlassian",
    });
    // Most people hide their address.
    if let Some(email) = email {
        person["emailAddress"] = json!(email);
    }
    person
}
