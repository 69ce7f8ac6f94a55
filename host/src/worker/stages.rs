//! The steps of an attempt. Each is a type that only the previous step can create.

use std::sync::Arc;

use plugin_abi::{
    PluginError,
    time::OffsetDateTime,
    types::{Event, Ticket},
};

use super::{
    Outcome, Posted, WorkerParts,
    decision::{Failure, SOLVED_WITHIN_MS, policy},
    held::Held,
    scheduler::Turn,
    settle::random,
};
use crate::{
    enhance::{Enhancement, SIMILAR_MAX, enhance},
    fault::{self, Point},
    plugin::generation::{CallError, InFlight, JobCall, OwnedNote},
    queue::job::Fenced,
    store::{Kept, KeptBy, ReopenedTicket, ResolvedTicket, StoreError},
    tenant::Tenant,
    texts,
};

/// Maximum length of the text that similar tickets are searched by, in bytes.
const SEARCH_BYTES_MAX: usize = 4_096;
/// From this attempt on, a plugin looks for the note before it posts one.
const LOOKING_ATTEMPT: u32 = 2;

/// Statuses that mean a solved ticket, in any case.
const SOLVED: [&str; 5] = ["resolved", "closed", "solved", "done", "completed"];

/// Words for a ticket that ended without a solution, in any case.
const ENDED_UNSOLVED: [&str; 8] =
    ["canceled", "cancelled", "declined", "duplicate", "duplicated", "merged", "rejected", "withdrawn"];

/// A job with everything needed to work on it. It keeps its generation from being unloaded.
pub(super) struct Staffed<'a> {
    parts: &'a WorkerParts,
    held: &'a Held,
    tenant: Arc<Tenant>,
    generation: InFlight,
}

/// A job with its ticket.
pub(super) struct Fetched<'a> {
    staffed: Staffed<'a>,
    ticket: Ticket,
}

/// A job with its ticket and the note to post.
pub(super) struct Written<'a> {
    staffed: Staffed<'a>,
    note: OwnedNote,
}

/// The job's tenant, if its jobs may run.
pub(super) fn tenant(parts: &WorkerParts, held: &Held) -> Result<Arc<Tenant>, Failure> {
    match parts.directory.get(held.job.tenant.as_str()) {
        None => Err(Failure::TenantRemoved),
        Some(tenant) if tenant.incarnation != held.job.incarnation => Err(Failure::TenantRemoved),
        Some(tenant) if !tenant.enabled => Err(Failure::TenantDisabled),
        Some(tenant) if parts.directory.is_paused(&tenant) => Err(Failure::Paused),
        Some(tenant) => Ok(tenant),
    }
}

impl<'a> Staffed<'a> {
    /// Enters the generation that serves the job's tool type now.
    pub(super) fn enter(parts: &'a WorkerParts, held: &'a Held, tenant: Arc<Tenant>) -> Result<Self, Failure> {
        let generation = parts.routes.enter(&held.job.tool_type)?;
        tracing::Span::current().record("generation", generation.number());
        Ok(Self { parts, held, tenant, generation })
    }

    /// Gets the ticket from the tool.
    pub(super) async fn fetch(self) -> Result<Fetched<'a>, Failure> {
        if let Turn::NotBefore(until_ms) = self.parts.credentials.turn(&self.tenant, self.parts.clock.now_ms()) {
            return Err(Failure::CredentialRefused { until_ms });
        }
        match self.heard(self.generation.get_ticket(self.call()).await).map_err(Failure::Fetch)? {
            Some(ticket) => {
                self.parts.credentials.taken(&self.tenant);
                Ok(Fetched { staffed: self, ticket })
            }
            None => Err(Failure::NoTicket),
        }
    }

    /// Records whether the tool works and accepts the credential. Other errors say nothing about either.
    fn heard<T>(&self, answer: Result<T, CallError>) -> Result<T, CallError> {
        self.parts.tools.heard(&self.tenant, &answer);
        if let Err(CallError::Plugin(PluginError::Authentication(_))) = &answer {
            let retry = policy(&self.parts.limits.now().retry);
            let wait_ms = |pause| retry.wait_ms(pause, random());
            self.parts.credentials.refused(&self.tenant, self.parts.clock.now_ms(), wait_ms);
        }
        answer
    }

    fn call(&self) -> JobCall {
        let job = &self.held.job;
        // A handed-back attempt does not count, but may have posted its note anyway.
        let attempt = if job.sent { job.attempt.max(LOOKING_ATTEMPT) } else { job.attempt };
        JobCall {
            tenant: Arc::clone(&self.tenant),
            correlation_id: job.correlation_id.clone(),
            job: job.lease.id,
            attempt,
            ticket_id: job.metadata.ticket_id.clone(),
        }
    }
}

impl<'a> Fetched<'a> {
    /// Searches for similar solved tickets and writes the note. If the search fails, the note has none.
    pub(super) async fn write(self) -> Written<'a> {
        let Self { staffed, ticket } = self;
        let (store, job) = (&staffed.parts.store, &staffed.held.job);
        // One more, because the ticket itself may be among them.
        let limit = u32::try_from(SIMILAR_MAX + 1).unwrap_or(u32::MAX);
        let similar = match store
            .similar_resolved((&job.tenant, job.incarnation), &search_text(&ticket, staffed.held), limit)
            .await
        {
            Ok(similar) => similar,
            Err(error) => {
                tracing::warn!("the note names no similar tickets: {error}");
                Vec::new()
            }
        };
        let note = enhance(&Enhancement {
            ticket: &ticket,
            metadata: &job.metadata,
            similar: &similar,
            job: job.lease.id,
            now: staffed.parts.clock.now(),
        });
        Written { staffed, note }
    }

    /// Stores the ticket in the history if the tool says that it is solved, which may take a moment. Only what the tool
    /// says is stored.
    pub(super) async fn record_if_solved(self) -> Result<Outcome, Failure> {
        let Self { staffed: Staffed { parts, held, .. }, ticket } = self;
        let job = &held.job;
        if !is_solved(&ticket) {
            let age_ms = parts.clock.now_ms().saturating_sub(job.queued_ms());
            return if age_ms < SOLVED_WITHIN_MS { Err(Failure::NotSolvedYet) } else { Ok(Outcome::NotSolved) };
        }
        let resolved_ms = happened_ms(ticket.resolved_at.or(ticket.updated_at), held);
        let solved = ResolvedTicket {
            tenant: job.tenant.clone(),
            incarnation: job.incarnation,
            tool_type: job.tool_type.clone(),
            ticket_id: job.metadata.ticket_id.clone(),
            subject: texts::cut_to(ticket.subject, texts::SUBJECT_CHARS_MAX),
            description: texts::cut_to(ticket.description, texts::DESCRIPTION_CHARS_MAX),
            resolution: texts::cut_to(ticket.resolution, texts::RESOLUTION_CHARS_MAX),
            tags: Vec::new(),
            url: ticket.url,
            resolved_ms,
            // The tool has just been asked. Some report the time of a solution that did not last.
            as_of_ms: resolved_ms.max(job.queued_ms()),
            told_ms: job.accepted_ms,
            kept_by: kept_by(held),
        };
        let kept = keep(held, || parts.store.record_resolved(solved.clone())).await?;
        Ok(Outcome::Recorded(kept))
    }
}

impl Written<'_> {
    /// Posts the note, after marking that it may be posted from now on.
    pub(super) async fn post(self) -> Result<Posted, Failure> {
        let Self { staffed, note } = self;
        let (lease, sent_before) = (staffed.held.job.lease, staffed.held.job.sent);
        match staffed.held.persist(|| staffed.parts.store.mark_sent(lease)).await? {
            Fenced::Done => {}
            Fenced::Lost => return Err(Failure::LeaseLost),
        }
        fault::reached(Point::MarkedSent);
        let answer = staffed.generation.update_ticket(staffed.call(), note.clone()).await;
        let updated = staffed.heard(answer).map_err(Failure::Post)?;
        fault::reached(Point::Posted);
        if !updated.taken {
            return Err(Failure::NotTaken);
        }
        staffed.parts.credentials.taken(&staffed.tenant);
        staffed.parts.metrics.note_posted();
        Ok(Posted { note, possibly_twice: sent_before && !updated.finds_notes })
    }
}

/// Stores a resolved ticket in the history. The same ticket may be stored again.
pub(super) async fn record(parts: &WorkerParts, held: &Held) -> Result<Kept, Failure> {
    let (job, metadata) = (&held.job, &held.job.metadata);
    let (resolution, resolved_at, tags) = match &metadata.event {
        Event::Resolved { resolution, resolved_at, tags } => (resolution.clone(), *resolved_at, tags.clone()),
        _ => (None, None, Vec::new()),
    };
    let ticket = ResolvedTicket {
        tenant: job.tenant.clone(),
        incarnation: job.incarnation,
        tool_type: job.tool_type.clone(),
        ticket_id: metadata.ticket_id.clone(),
        subject: metadata.subject.clone(),
        description: metadata.description.clone(),
        resolution,
        tags,
        url: metadata.url.clone(),
        resolved_ms: happened_ms(resolved_at.or(metadata.occurred_at), held),
        as_of_ms: happened_ms(resolved_at.max(metadata.occurred_at), held),
        told_ms: job.accepted_ms,
        kept_by: kept_by(held),
    };
    keep(held, || parts.store.record_resolved(ticket.clone())).await
}

/// Removes a reopened ticket from the search results.
pub(super) async fn reopen(parts: &WorkerParts, held: &Held) -> Result<(), Failure> {
    let job = &held.job;
    let ticket = ReopenedTicket {
        tenant: job.tenant.clone(),
        incarnation: job.incarnation,
        ticket_id: job.metadata.ticket_id.clone(),
        reopened_ms: happened_ms(job.metadata.occurred_at, held),
        told_ms: job.accepted_ms,
    };
    keep(held, || parts.store.record_reopened(ticket.clone())).await
}

async fn keep<T, F>(held: &Held, write: impl FnMut() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let kept = held.persist(write).await?;
    fault::reached(Point::HistoryWritten);
    Ok(kept)
}

fn kept_by(held: &Held) -> KeptBy {
    let job = &held.job;
    KeptBy { job: job.lease.id, correlation_id: job.correlation_id.clone(), kind: job.kind, attempts: job.attempt }
}

/// The time of the event or, if it is unknown, when the webhook was accepted.
fn happened_ms(at: Option<OffsetDateTime>, held: &Held) -> i64 {
    at.map_or(held.job.accepted_ms, |at| at.unix_timestamp().saturating_mul(1_000))
}

/// Whether the tool says that a ticket is solved: by the time, by the status or, without a status, by a text that
/// describes the solution. Such a text alone may be a draft on an open ticket. Merged or declined tickets have such a
/// time too.
fn is_solved(ticket: &Ticket) -> bool {
    let is_text = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.trim().is_empty());
    let is_unsolved = |word: &str| ENDED_UNSOLVED.iter().any(|unsolved| unsolved.eq_ignore_ascii_case(word));
    match ticket.status.as_deref().map(str::trim).filter(|status| !status.is_empty()) {
        Some(status) if status.split(|c: char| !c.is_alphanumeric()).any(is_unsolved) => false,
        _ if ticket.resolved_at.is_some() => true,
        Some(status) => SOLVED.iter().any(|solved| solved.eq_ignore_ascii_case(status)),
        None => is_text(&ticket.resolution),
    }
}

/// What a ticket is about. The subject comes first, because the first words count.
fn search_text(ticket: &Ticket, held: &Held) -> String {
    let metadata = &held.job.metadata;
    let subject = ticket.subject.as_deref().or(metadata.subject.as_deref()).unwrap_or_default();
    let description = ticket.description.as_deref().or(metadata.description.as_deref()).unwrap_or_default();
    let cut = |text: &str| text[..text.floor_char_boundary(SEARCH_BYTES_MAX / 2)].to_owned();
    cut(subject) + " " + &cut(description)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_solved_when_its_tool_says_so() {
        for (resolved_at, status, resolution, solved) in [
            (Some(0), Some("Open"), None, true),
            (None, Some("Resolved"), None, true),
            (None, Some(" CLOSED "), None, true),
            (None, Some("solved"), None, true),
            (None, Some("Open"), None, false),
            (None, Some("Open"), Some("a draft"), false),
            (None, Some("not resolved"), None, false),
            (Some(0), Some("Cancelled"), None, false),
            (Some(0), Some("canceled"), Some("no longer needed"), false),
            (Some(0), Some("Closed (duplicate)"), None, false),
            (Some(0), Some("closed_merged"), None, false),
            (Some(0), Some("DECLINED"), None, false),
            (Some(0), Some("Withdrawn by the requester"), None, false),
            (Some(0), Some("Change/Rejected"), None, false),
            (None, Some("Duplicate"), Some("see 17"), false),
            (Some(0), Some("Avoided"), None, true),
            (Some(0), Some("Emergency"), None, true),
            (None, None, Some("rebooted"), true),
            (None, Some(""), Some("rebooted"), true),
            (None, None, Some(" "), false),
            (None, None, None, false),
        ] {
            let mut ticket = Ticket::new("7");
            ticket.resolved_at = resolved_at.and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
            ticket.status = status.map(str::to_owned);
            ticket.resolution = resolution.map(str::to_owned);
            assert_eq!(is_solved(&ticket), solved, "{ticket:?}");
        }
    }
}
