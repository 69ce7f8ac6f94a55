//! Jira's API: reading an issue, and putting a note on it that no customer sees.
//!
//! The platform's version 3, <https://developer.atlassian.com/cloud/jira/platform/rest/v3/>, and Jira Service Management's
//! own, <https://developer.atlassian.com/cloud/jira/service-desk/rest/>.

mod answer;

use plugin_abi::{
    json::{self, Json},
    payload::{members, paths},
    prelude::*,
    serde::{Deserialize, de::IgnoredAny},
    serde_json::{json, value::RawValue},
    text,
};

use crate::{
    adf, payload,
    settings::{API_KEY, ApiAuth, NoteCall, Settings},
};

const ISSUES: &str = "/rest/api/3/issue";
const REQUESTS: &str = "/rest/servicedeskapi/request";
/// All of an issue but what can be long and is not looked at.
const FIELDS: &str = "*all,-comment,-worklog,-attachment";
/// Most characters of a comment: 32,767 where no administrator has changed `jira.text.field.character.limit`.
const NOTE_CHARS_MAX: usize = 32_767;
/// As many of the newest comments as one answer has at most.
const COMMENTS_MAX: &str = "100";
/// By this property a comment is internal, in projects of Jira Service Management and nowhere else.
const VISIBILITY: &str = "sd.public.comment";

/// Reads a ticket; `None` when the tool does not have it, or does not show it to our account.
pub(crate) fn get_ticket(
    tenant: &Tenant<'_>,
    settings: &Settings<'_>,
    ticket_id: &str,
) -> Result<Option<Ticket>, PluginError> {
    let request = Request::get(ISSUES).path(ticket_id).query("fields", FIELDS);
    let response = match send(tenant, settings, request) {
        Ok(response) => response,
        Err(PluginError::NotFound(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let ticket = response.read(|body| {
        let raw: &RawValue = json::parse(body)?;
        payload::ticket(ticket_id, raw.get())
    });
    ticket.map(Some)
}

/// Puts the note on the ticket. After a first attempt it looks whether that one was taken: the answer may have been lost.
pub(crate) fn add_note(
    tenant: &Tenant<'_>,
    settings: &Settings<'_>,
    ticket_id: &str,
    note: &Note<'_>,
) -> Result<bool, PluginError> {
    if tenant.attempt() > 1 && has_note(tenant, settings, ticket_id, note.marker())? {
        tenant.log(LogLevel::Info, "the note of an earlier attempt is there");
        return Ok(true);
    }
    match settings.note_call {
        NoteCall::Platform => add_document(tenant, settings, ticket_id, note)?,
        NoteCall::ServiceDesk => {
            let body = json!({ "body": text::within(note.text(), note.marker(), NOTE_CHARS_MAX), "public": false });
            let response = send(tenant, settings, Request::post(REQUESTS).path(ticket_id).path("comment").json(&body))?;
            // A page in its place has taken nothing.
            response.json::<IgnoredAny>()?;
        }
    }
    Ok(true)
}

/// The platform does not refuse a comment that it cannot keep internal, so both the project before and the answer after are
/// looked at.
fn add_document(
    tenant: &Tenant<'_>,
    settings: &Settings<'_>,
    ticket_id: &str,
    note: &Note<'_>,
) -> Result<(), PluginError> {
    check_project(tenant, settings, ticket_id)?;
    let body = json!({
        "body": adf::note(note.markdown(), note.marker(), NOTE_CHARS_MAX),
        "properties": [{ "key": VISIBILITY, "value": { "internal": true } }],
    });
    let comments = |request: Request| request.path(ticket_id).path("comment");
    let response = send(tenant, settings, comments(Request::post(ISSUES)).json(&body))?;
    // A page in its place has taken nothing.
    response.json::<IgnoredAny>()?;
    let [id, public] = response.read(|posted| members(posted, &["id", "jsdPublic"])).unwrap_or_default();
    if public.flag() != Some(true) {
        return Ok(());
    }
    let id = id.word().unwrap_or_default();
    send(tenant, settings, comments(Request::delete(ISSUES)).path(&id))?;
    let message = format!(
        "Jira made the note on {ticket_id} visible to customers; it was deleted: set note_call to service_desk"
    );
    Err(PluginError::Configuration(message))
}

/// Refuses issues of other projects than Jira Service Management's: whoever sees such an issue sees all of its comments.
fn check_project(tenant: &Tenant<'_>, settings: &Settings<'_>, ticket_id: &str) -> Result<(), PluginError> {
    let response = send(tenant, settings, Request::get(ISSUES).path(ticket_id).query("fields", "project"))?;
    let [kind] = response.read(|issue| paths(issue, &["fields.project.projectTypeKey"]))?;
    match kind.text() {
        Some("service_desk") => Ok(()),
        Some(kind) => Err(PluginError::Configuration(format!(
            "{ticket_id} is in a project of type {kind:?}, not service_desk: a note could not be internal there"
        ))),
        None => Err(response.unreadable("fields.project.projectTypeKey must be a text")),
    }
}

fn has_note(tenant: &Tenant<'_>, settings: &Settings<'_>, ticket_id: &str, marker: &str) -> Result<bool, PluginError> {
    #[derive(Deserialize)]
    #[serde(crate = "plugin_abi::serde")]
    struct Comments<'a> {
        #[serde(borrow)]
        comments: Vec<&'a RawValue>,
    }

    #[derive(Deserialize)]
    #[serde(crate = "plugin_abi::serde")]
    struct Comment<'a> {
        #[serde(borrow, default)]
        body: Option<&'a RawValue>,
    }

    // The platform lists the comments of both calls.
    let request = Request::get(ISSUES).path(ticket_id).path("comment");
    let request = request.query("orderBy", "-created").query("maxResults", COMMENTS_MAX);
    let response = send(tenant, settings, request)?;
    let list: Comments<'_> = response.json()?;
    // Each is read on its own: one that cannot be takes none of the others with it.
    let is_ours = |comment: &RawValue| {
        Json::from(comment).object(|comment| {
            let comment: Comment<'_> = json::from_slice(comment)?;
            Ok(comment.body.and_then(|body| adf::text_of(body.get())).is_some_and(|text| text.contains(marker)))
        })
    };
    Ok(!marker.is_empty() && list.comments.into_iter().any(|comment| is_ours(comment) == Ok(true)))
}

/// Sends a request and returns its answer if that says success.
fn send(tenant: &Tenant<'_>, settings: &Settings<'_>, request: Request) -> Result<Response, PluginError> {
    let request = match settings.api_auth {
        ApiAuth::Basic { user } => request.basic(user, API_KEY),
        ApiAuth::Bearer => request.bearer(API_KEY),
    };
    answer::successful(tenant.http(request.header("accept", "application/json"))?, tenant.now())
}
