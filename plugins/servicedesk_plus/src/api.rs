//! ServiceDesk Plus's API, version 3: reading a request, and putting a note on it that no requester sees.
//!
//! Paths, headers and wrappers: <https://www.manageengine.com/products/service-desk/sdpop-v3-api/> and `sdpod-v3-api`.

mod answer;
mod notes;

use plugin_abi::{
    html, json,
    prelude::*,
    serde::Deserialize,
    serde_json::{json, value::RawValue},
};

use crate::{
    payload,
    settings::{API_KEY, Edition, Settings},
};

/// The media type that names the API's version.
const ACCEPT: &str = "application/vnd.manageengine.sdp.v3+json";
/// The one parameter that carries all input, as JSON.
const INPUT: &str = "input_data";
/// Most characters of a note. The vendor names no limit; this is well below what its rich-text fields hold.
const NOTE_CHARS_MAX: usize = 60_000;
/// The newest notes of a ticket, as many as the API gives in one list (100).
const NEWEST_NOTES: &str =
    r#"{"list_info":{"row_count":100,"start_index":1,"sort_field":"created_time","sort_order":"desc"}}"#;

/// Reads a ticket; `None` when the tool does not have it.
pub(crate) fn get_ticket(
    tenant: &Tenant<'_>,
    settings: &Settings<'_>,
    ticket_id: &str,
) -> Result<Option<Ticket>, PluginError> {
    #[derive(Deserialize)]
    #[serde(crate = "plugin_abi::serde")]
    struct Found<'a> {
        #[serde(borrow)]
        request: Option<&'a RawValue>,
    }

    let response = match send(tenant, settings, Request::get("/"), ticket_id, |request| request) {
        Ok(response) => response,
        Err(PluginError::NotFound(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let ticket = response.read(|body| {
        let found: Found<'_> = json::parse(body)?;
        let request = found.request.map(RawValue::get).filter(|raw| raw.starts_with('{'));
        request.map(|raw| payload::ticket(ticket_id, raw)).transpose()
    })?;
    ticket.map(Some).ok_or_else(|| response.unreadable("it has no request that is an object"))
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
    // Whatever the defaults of an installation are: internal, and nobody is notified.
    let mut fields = json!({
        "description": html::of_note(note, NOTE_CHARS_MAX),
        "show_to_requester": false,
        "mark_first_response": false,
        "add_to_linked_requests": false,
    });
    if let Edition::Cloud { .. } = settings.edition {
        fields["notify_technician"] = json!(false);
    }
    let input = json!({ settings.note_wrapper: fields }).to_string();
    send(tenant, settings, Request::post("/"), ticket_id, |request| request.path("notes").form(&[(INPUT, &input)]))?;
    Ok(true)
}

fn has_note(tenant: &Tenant<'_>, settings: &Settings<'_>, ticket_id: &str, marker: &str) -> Result<bool, PluginError> {
    let ask = |request: Request| request.path("notes").query(INPUT, NEWEST_NOTES);
    send(tenant, settings, Request::get("/"), ticket_id, ask)?.read(|body| notes::hold_marker(body, marker))
}

/// Sends a request about this ticket and returns its answer if that says success.
fn send(
    tenant: &Tenant<'_>,
    settings: &Settings<'_>,
    start: Request,
    ticket_id: &str,
    complete: impl FnOnce(Request) -> Request,
) -> Result<Response, PluginError> {
    let api = match settings.edition {
        Edition::OnPremises => start.header_secret("authtoken", API_KEY),
        Edition::Cloud { portal } => start
            .path("app")
            .path(portal)
            // Zoho's own word; it refuses Bearer.
            .header_secret_with_scheme("authorization", "Zoho-oauthtoken", API_KEY),
    };
    let request = api.path("api").path("v3").path("requests").path(ticket_id).header("accept", ACCEPT);
    answer::successful(tenant.http(complete(request))?, tenant.now())
}
