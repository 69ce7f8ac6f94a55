//! A ticket as the API answers it, in the host's terms; and what its numbers and their names mean.
//!
//! Fields: <https://api.freshservice.com/#view_a_ticket>, embedded `requester` and `stats` included.

use plugin_abi::{
    html,
    payload::{Scalar, instant},
    prelude::*,
    serde::Deserialize,
    serde_json,
    time::OffsetDateTime,
};

/// Numbers of the statuses that every account has; its own ones have others and no name in the API's answer.
const STATUSES: [(&str, &str); 4] = [("2", "Open"), ("3", "Pending"), ("4", "Resolved"), ("5", "Closed")];

#[derive(Debug, Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
struct Answered<'a> {
    #[serde(borrow)]
    subject: Scalar<'a>,
    #[serde(borrow)]
    description: Scalar<'a>,
    #[serde(borrow)]
    description_text: Scalar<'a>,
    #[serde(borrow)]
    status: Scalar<'a>,
    #[serde(borrow)]
    priority: Scalar<'a>,
    #[serde(borrow)]
    requester: Option<Requester<'a>>,
    #[serde(borrow)]
    created_at: Scalar<'a>,
    #[serde(borrow)]
    updated_at: Scalar<'a>,
    #[serde(borrow)]
    stats: Option<Stats<'a>>,
    #[serde(borrow)]
    resolution_notes: Scalar<'a>,
    #[serde(borrow)]
    resolution_notes_html: Scalar<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
struct Requester<'a> {
    #[serde(borrow)]
    name: Scalar<'a>,
    #[serde(borrow)]
    email: Scalar<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
struct Stats<'a> {
    #[serde(borrow)]
    resolved_at: Scalar<'a>,
    #[serde(borrow)]
    closed_at: Scalar<'a>,
}

/// The ticket; `raw` is kept with it.
///
/// # Errors
/// When `raw` is not such JSON.
pub(crate) fn read(ticket_id: &str, base_url: &str, raw: &str) -> Result<Ticket, serde_json::Error> {
    let answered: Answered<'_> = serde_json::from_str(raw)?;
    let mut ticket = Ticket::new(ticket_id);
    ticket.subject = text(&answered.subject).map(str::to_owned);
    ticket.description = markup(&answered.description, &answered.description_text);
    ticket.status = word(&answered.status).map(|status| status_name(&status).to_owned());
    ticket.priority = priority(word(&answered.priority).as_deref());
    let requester = answered.requester.unwrap_or_default();
    ticket.requester = text(&requester.name).or(text(&requester.email)).map(str::to_owned);
    ticket.created_at = time(&answered.created_at);
    ticket.updated_at = time(&answered.updated_at);
    let stats = answered.stats.unwrap_or_default();
    ticket.resolved_at = time(&stats.resolved_at).or(time(&stats.closed_at));
    ticket.resolution = markup(&answered.resolution_notes_html, &answered.resolution_notes);
    ticket.url = Some(format!("{}/helpdesk/tickets/{ticket_id}", base_url.trim_end_matches('/')));
    raw.clone_into(&mut ticket.raw);
    Ok(ticket)
}

/// 1 Low, 2 Medium, 3 High, 4 Urgent: the API writes the number, placeholders the name.
pub(crate) fn priority(word: Option<&str>) -> Priority {
    priority_from(word, &[(Priority::High, &["3", "high", "4", "urgent"]), (Priority::Low, &["1", "low"])])
}

/// Whether this status, by name or number, is the end of a ticket.
pub(crate) fn is_resolved(status: &str) -> bool {
    let name = status_name(status);
    name.eq_ignore_ascii_case("resolved") || name.eq_ignore_ascii_case("closed")
}

fn status_name(status: &str) -> &str {
    STATUSES.iter().find(|(number, _)| *number == status).map_or(status, |(_, name)| name)
}

/// The text of the HTML, which still has its lines, or else the text that the tool made of it.
fn markup(html: &Scalar<'_>, plain: &Scalar<'_>) -> Option<String> {
    text(html).map(html::to_text).or_else(|| text(plain).map(str::to_owned))
}

fn word(value: &Scalar<'_>) -> Option<String> {
    value.number().map(|number| number.to_string()).or_else(|| text(value).map(str::to_owned))
}

fn text<'s>(value: &'s Scalar<'_>) -> Option<&'s str> {
    value.text().filter(|text| !text.is_empty())
}

fn time(value: &Scalar<'_>) -> Option<OffsetDateTime> {
    instant(value.text()?)
}
