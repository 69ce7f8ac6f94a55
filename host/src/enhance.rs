//! The content of a note: the facts of a ticket and of similar solved tickets, in the three forms that tools accept.
//! Pure.

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

/// Maximum number of similar tickets in a note.
pub const SIMILAR_MAX: usize = 5;
/// Maximum length of a subject, in characters.
pub const SUBJECT_CHARS_MAX: usize = 200;
/// Maximum length of a status, a priority, a requester or a ticket's id, in characters.
pub const FACT_CHARS_MAX: usize = 100;
/// Maximum length of a similar ticket's solution, in characters.
pub const RESOLUTION_CHARS_MAX: usize = 500;

/// Everything that a note is made from.
#[derive(Debug, Clone, Copy)]
pub struct Enhancement<'a> {
    /// The ticket as the tool has it now.
    pub ticket: &'a Ticket,
    /// What the webhook said about the ticket. It is used where the ticket says nothing.
    pub metadata: &'a TicketMetadata,
    /// Similar solved tickets, most similar first. The note names the first [`SIMILAR_MAX`], never the ticket itself.
    pub similar: &'a [SimilarTicket],
    /// The job, which the note's marker names.
    pub job: JobId,
    /// The current time, from which the ticket's age is computed.
    pub now: OffsetDateTime,
}

/// Writes the note. Ticket texts are written by strangers: each is cut to its limit, put on one line, and can produce
/// neither markup nor mentions in any form. Links lead to http and https only.
pub fn enhance(enhancement: &Enhancement<'_>) -> OwnedNote {
    let content = Content::gather(enhancement);
    let markdown = forms::markdown(&content);
    OwnedNote { html: forms::html(&content), text: forms::text(&content), markdown, marker: content.marker }
}

/// A note's content, before it has a form.
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
    /// `None` for a ticket whose id has no visible characters: nobody could look it up.
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

/// The priority on the host's scale, with the tool's own word while both agree.
fn priority(ticket: &Ticket, metadata: &TicketMetadata) -> String {
    let scale = ticket.priority.as_str();
    match &metadata.raw_priority {
        // The word is cut before it is put in brackets, so that the closing one stays.
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

/// The age in its largest whole unit. `None` for a time in the future, by the tool's clock or ours.
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

/// A URL that may become a link: on the web, and without a user name that could be mistaken for the host.
fn web_link(text: &str) -> Option<String> {
    if text.len() > URL_BYTES_MAX {
        return None;
    }
    let url = Url::parse(text).ok()?;
    let plain = matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none();
    // Without a user name, any `@` is in the path or after it. It may be encoded there, and then mentions nobody.
    let link = url.as_str().replace('@', "%40");
    (plain && link.len() <= URL_BYTES_MAX).then_some(link)
}
