//! What a note says: the facts of a ticket and of solved tickets like it, in the three forms that tools take. Pure.

use plugin_abi::{
    time::{Duration, OffsetDateTime, UtcOffset},
    types::{Ticket, TicketMetadata},
};
use url::Url;

use crate::{ids::JobId, plugin::generation::OwnedNote, store::SimilarTicket, tenant::URL_BYTES_MAX};

mod forms;
mod quoted;
#[cfg(test)]
mod tests;

use quoted::Quoted;

/// Similar tickets that a note names.
pub const SIMILAR_MAX: usize = 5;
/// The length to which a subject is cut, in characters.
pub const SUBJECT_CHARS_MAX: usize = 200;
/// The length to which a status, a priority, a requester or a ticket's id is cut, in characters.
pub const FACT_CHARS_MAX: usize = 100;
/// The length to which the solution of a similar ticket is cut, in characters.
pub const RESOLUTION_CHARS_MAX: usize = 500;

/// Everything that a note is made of.
#[derive(Debug, Clone, Copy)]
pub struct Enhancement<'a> {
    /// The ticket as the tool has it now.
    pub ticket: &'a Ticket,
    /// What the webhook said of it; counts where the ticket says nothing.
    pub metadata: &'a TicketMetadata,
    /// Solved tickets like it, the most alike first. The first [`SIMILAR_MAX`] are named, the ticket itself never.
    pub similar: &'a [SimilarTicket],
    /// The job, which the marker names.
    pub job: JobId,
    /// The time by which the ticket's age is told.
    pub now: OffsetDateTime,
}

/// Writes the note. What stands in tickets is written by strangers: it is cut to its limit, put on one line, and can make
/// neither markup nor mentions in any of the forms. Links lead to http and https only.
pub fn enhance(enhancement: &Enhancement<'_>) -> OwnedNote {
    let content = Content::gather(enhancement);
    let markdown = forms::markdown(&content);
    OwnedNote { html: forms::html(&content), text: forms::text(&content), markdown, marker: content.marker }
}

/// A note before it has a form.
struct Content {
    facts: Vec<Fact>,
    similar: Vec<Similar>,
    marker: String,
}

struct Fact {
    label: &'static str,
    value: Quoted,
}

struct Similar {
    id: Quoted,
    subject: Option<Quoted>,
    solved_on: Option<String>,
    resolution: Option<Quoted>,
    link: Option<String>,
}

impl Content {
    fn gather(enhancement: &Enhancement<'_>) -> Self {
        let Enhancement { ticket, metadata, similar, job, now } = *enhancement;
        let subject = ticket.subject.as_deref().or(metadata.subject.as_deref());
        let created = ticket.created_at.or(metadata.created_at).map(|at| moment(at, now));
        let facts = [
            ("Subject", Quoted::of(subject, SUBJECT_CHARS_MAX)),
            ("Priority", Quoted::new(&priority(ticket, metadata), FACT_CHARS_MAX)),
            ("Status", Quoted::of(ticket.status.as_deref(), FACT_CHARS_MAX)),
            ("Requester", Quoted::of(ticket.requester.as_deref(), FACT_CHARS_MAX)),
            ("Created", Quoted::of(created.as_deref(), FACT_CHARS_MAX)),
        ];
        Self {
            facts: facts.into_iter().filter_map(|(label, value)| Some(Fact { label, value: value? })).collect(),
            similar: similar
                .iter()
                .filter(|other| other.ticket_id != ticket.id && other.ticket_id != metadata.ticket_id)
                .filter_map(Similar::of)
                .take(SIMILAR_MAX)
                .collect(),
            marker: format!("patchbay:{job}"),
        }
    }
}

impl Similar {
    /// `None` for a ticket whose id shows nothing: nobody could look it up.
    fn of(ticket: &SimilarTicket) -> Option<Self> {
        let solved_at = OffsetDateTime::from_unix_timestamp(ticket.resolved_ms.div_euclid(1_000)).ok();
        Some(Self {
            id: Quoted::new(&ticket.ticket_id, FACT_CHARS_MAX)?,
            subject: Quoted::of(ticket.subject.as_deref(), SUBJECT_CHARS_MAX),
            solved_on: solved_at.map(|at| at.date().to_string()),
            resolution: Quoted::of(ticket.resolution.as_deref(), RESOLUTION_CHARS_MAX),
            link: ticket.url.as_deref().and_then(web_link),
        })
    }
}

/// The priority on the host's scale, with the tool's own word while that still says the same.
fn priority(ticket: &Ticket, metadata: &TicketMetadata) -> String {
    let scale = ticket.priority.as_str();
    match &metadata.raw_priority {
        // Cut before it is put in brackets, so that the closing one stays.
        Some(raw) if metadata.priority == ticket.priority => match Quoted::new(raw, FACT_CHARS_MAX / 2) {
            Some(raw) => format!("{scale} (\u{201c}{}\u{201d} in the tool)", raw.plain()),
            None => scale.to_owned(),
        },
        _ => scale.to_owned(),
    }
}

/// A time for people: `2026-11-20 16:30 UTC, 3 hours ago`.
fn moment(at: OffsetDateTime, now: OffsetDateTime) -> String {
    let utc = at.checked_to_offset(UtcOffset::UTC).unwrap_or(at);
    let stamp = format!("{} {:02}:{:02} UTC", utc.date(), utc.hour(), utc.minute());
    match age(now - at) {
        Some(age) => format!("{stamp}, {age} ago"),
        None => stamp,
    }
}

/// The age in its largest whole unit; `None` for a time that is yet to come, by the tool's clock or ours.
fn age(age: Duration) -> Option<String> {
    let counted = |count: i64, unit: &str| format!("{count} {unit}{}", if count == 1 { "" } else { "s" });
    Some(match age.whole_minutes() {
        _ if age.is_negative() => return None,
        0 => "less than a minute".to_owned(),
        minutes @ 1..60 => counted(minutes, "minute"),
        minutes @ 60..1_440 => counted(minutes / 60, "hour"),
        minutes => counted(minutes / 1_440, "day"),
    })
}

/// A URL that may become a link: on the web, and without a user that could pass for the host.
fn web_link(text: &str) -> Option<String> {
    if text.len() > URL_BYTES_MAX {
        return None;
    }
    let url = Url::parse(text).ok()?;
    let plain = matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none();
    // Without a user, an `@` is in the path or after it, where it may as well be encoded, and then calls nobody.
    let link = url.as_str().replace('@', "%40");
    (plain && link.len() <= URL_BYTES_MAX).then_some(link)
}
