//! The history file: finished work, and the solved tickets that later notes draw on. Its rows are written idempotently
//! before a job is deleted.

use rusqlite::params;

use self::reopened::{Moment, TicketKey, is_known, solved};
use super::{Store, StoreError, encoding::errors_json};
use crate::{
    ids::{CorrelationId, Incarnation, JobId, TenantId, ToolType},
    queue::job::{JobError, JobKind},
};

mod reopened;

pub use reopened::ReopenedTicket;

/// Maximum number of words of a text that a search uses; the first ones count.
pub const SIMILAR_TERMS_MAX: usize = 32;
/// Minimum length of a search word, in characters. Shorter words say little.
const TERM_CHARS_MIN: usize = 3;

/// Outcome of an enhancement whose note is on the ticket.
pub const DONE: &str = "done";
/// Outcome of an enhancement whose note is on the ticket, perhaps twice: an earlier attempt may have posted it, and the
/// plugin could not check.
pub const POSSIBLY_TWICE: &str = "possibly_twice";
/// Outcome of an enhancement that was given up. It is or was a dead letter.
pub const DEAD: &str = "dead";

/// A finished enhancement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnhancementRecord {
    /// The job. A second record for it replaces the first.
    pub job_id: JobId,
    /// The tenant that owns the ticket.
    pub tenant: TenantId,
    /// Which tenant with that id.
    pub incarnation: Incarnation,
    /// The tool type.
    pub tool_type: ToolType,
    /// The ticket.
    pub ticket_id: String,
    /// The webhook's id.
    pub correlation_id: CorrelationId,
    /// How it ended: [`DONE`], [`POSSIBLY_TWICE`] or [`DEAD`].
    pub outcome: String,
    /// The note as posted, if one was.
    pub note: Option<String>,
    /// Attempts made.
    pub attempts: u32,
    /// Errors of failed attempts.
    pub errors: Vec<JobError>,
    /// When the webhook was accepted, milliseconds since the epoch.
    pub accepted_ms: i64,
    /// When the job was put back, if it was a dead letter; milliseconds since the epoch.
    pub retried_ms: Option<i64>,
    /// When the job ended, milliseconds since the epoch.
    pub finished_ms: i64,
}

/// A resolved ticket that later tickets can find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedTicket {
    /// The tenant that owns the ticket.
    pub tenant: TenantId,
    /// Which tenant with that id.
    pub incarnation: Incarnation,
    /// The tool type.
    pub tool_type: ToolType,
    /// The ticket. There is one row for each tenant and ticket.
    pub ticket_id: String,
    /// Its subject.
    pub subject: Option<String>,
    /// Its description, as text.
    pub description: Option<String>,
    /// How it was solved, as text.
    pub resolution: Option<String>,
    /// The tool's tags for the ticket.
    pub tags: Vec<String>,
    /// A link for people.
    pub url: Option<String>,
    /// When it was solved, milliseconds since the epoch.
    pub resolved_ms: i64,
    /// The latest time at which the ticket is known to have been solved: the same, or later if the tool was asked
    /// later.
    pub as_of_ms: i64,
    /// When the webhook that reported it was accepted, milliseconds since the epoch.
    pub told_ms: i64,
    /// The job that stored it.
    pub kept_by: KeptBy,
}

/// The job that stored a solved ticket, as it is shown once it is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptBy {
    /// The job.
    pub job: JobId,
    /// The webhook's id.
    pub correlation_id: CorrelationId,
    /// [`JobKind::Record`] or [`JobKind::Confirm`].
    pub kind: JobKind,
    /// Attempts made.
    pub attempts: u32,
}

/// The effect of storing a solved ticket in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// The ticket was new to the history.
    Inserted,
    /// The ticket replaced what the history had.
    Updated,
    /// The history has a later solution.
    Unchanged,
}

impl Kept {
    /// The name of the outcome.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inserted => "inserted",
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
        }
    }
}

/// A past ticket that resembles a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimilarTicket {
    /// The ticket.
    pub ticket_id: String,
    /// Its subject.
    pub subject: Option<String>,
    /// How it was solved.
    pub resolution: Option<String>,
    /// A link for people.
    pub url: Option<String>,
    /// When it was solved, milliseconds since the epoch.
    pub resolved_ms: i64,
}

impl Store {
    /// Stores how a job ended. Call it before [`complete`](Store::complete); a repetition after a crash replaces the
    /// row.
    pub async fn record_enhancement(&self, record: EnhancementRecord) -> Result<(), StoreError> {
        let errors = errors_json(&record.errors);
        self.inner
            .history
            .apply(move |connection| {
                connection
                    .prepare_cached(
                        // REPLACE would count the job twice.
                        "INSERT INTO enhancement_history
                             (job_id, slot, tenant, tool_type, ticket_id, correlation_id, outcome, note, attempts,
                              errors, accepted_ms, finished_ms, incarnation, retried_ms)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
                         ON CONFLICT (job_id) DO UPDATE SET
                             outcome = excluded.outcome,
                             note = excluded.note,
                             attempts = excluded.attempts,
                             errors = excluded.errors,
                             accepted_ms = excluded.accepted_ms,
                             retried_ms = excluded.retried_ms,
                             finished_ms = excluded.finished_ms",
                    )?
                    .execute(params![
                        record.job_id.as_bytes(),
                        record.tenant.slot(),
                        record.tenant.as_str(),
                        record.tool_type.as_str(),
                        record.ticket_id,
                        record.correlation_id.as_str(),
                        record.outcome,
                        record.note,
                        record.attempts,
                        errors,
                        record.accepted_ms,
                        record.finished_ms,
                        record.incarnation,
                        record.retried_ms,
                    ])?;
                Ok(())
            })
            .await
    }

    /// Whether the history has this job's note.
    pub async fn was_enhanced(&self, job: JobId) -> Result<bool, StoreError> {
        self.inner
            .history_reads
            .read(move |connection| {
                connection
                    .prepare_cached(
                        "SELECT EXISTS (SELECT 1 FROM enhancement_history WHERE job_id = ?1 AND note IS NOT NULL)",
                    )?
                    .query_row([job.as_bytes()], |row| row.get(0))
            })
            .await
    }

    /// Stores a resolved ticket. If the history has the ticket, the later resolution wins, and texts that it lacks stay
    /// as they were. A ticket that was reopened later stays open. Call it before [`complete`](Store::complete).
    pub async fn record_resolved(&self, ticket: ResolvedTicket) -> Result<Kept, StoreError> {
        let recorded_ms = self.inner.clock.now_ms();
        let tags = serde_json::Value::from(ticket.tags).to_string();
        self.inner
            .history
            .apply(move |connection| {
                let key = TicketKey::new(&ticket.tenant, ticket.incarnation, &ticket.ticket_id);
                let was_known = is_known(connection, key)?;
                let rows = connection
                    .prepare_cached(
                        "INSERT INTO ticket_history
                             (slot, tenant, tool_type, ticket_id, subject, description, resolution, tags, url,
                              resolved_ms, recorded_ms, as_of_ms, told_ms, incarnation, job_id, correlation_id, job_kind,
                              job_attempts)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)
                         ON CONFLICT (tenant, incarnation, ticket_id) DO UPDATE SET
                             tool_type = excluded.tool_type,
                             subject = coalesce(excluded.subject, subject),
                             description = coalesce(excluded.description, description),
                             resolution = coalesce(excluded.resolution, resolution),
                             tags = excluded.tags,
                             url = coalesce(excluded.url, url),
                             resolved_ms = excluded.resolved_ms,
                             recorded_ms = excluded.recorded_ms,
                             as_of_ms = max(coalesce(as_of_ms, resolved_ms), excluded.as_of_ms),
                             told_ms = max(coalesce(told_ms, recorded_ms), excluded.told_ms),
                             job_id = excluded.job_id,
                             correlation_id = excluded.correlation_id,
                             job_kind = excluded.job_kind,
                             job_attempts = excluded.job_attempts
                         WHERE excluded.resolved_ms >= resolved_ms",
                    )?
                    .execute(params![
                        ticket.tenant.slot(),
                        ticket.tenant.as_str(),
                        ticket.tool_type.as_str(),
                        ticket.ticket_id,
                        ticket.subject,
                        ticket.description,
                        ticket.resolution,
                        tags,
                        ticket.url,
                        ticket.resolved_ms,
                        recorded_ms,
                        ticket.as_of_ms,
                        ticket.told_ms,
                        ticket.incarnation,
                        ticket.kept_by.job.as_bytes(),
                        ticket.kept_by.correlation_id.as_str(),
                        ticket.kept_by.kind.as_str(),
                        ticket.kept_by.attempts,
                    ])?;
                solved(connection, key, Moment(ticket.as_of_ms, ticket.told_ms))?;
                Ok(match (was_known, rows) {
                    (_, 0) => Kept::Unchanged,
                    (true, _) => Kept::Updated,
                    (false, _) => Kept::Inserted,
                })
            })
            .await
    }

    /// The tenant's resolved tickets that share words with `text`, the most similar first. Reopened tickets are left
    /// out as soon as their reopening is accepted. Any text is safe to search for.
    pub async fn similar_resolved(
        &self,
        (tenant, incarnation): (&TenantId, Incarnation),
        text: &str,
        limit: u32,
    ) -> Result<Vec<SimilarTicket>, StoreError> {
        let Some(search) = search_expression(tenant, text) else { return Ok(Vec::new()) };
        // The queue is read first: a reopening that finishes meanwhile is in the history by then.
        let Some(reopening) = self.reopening(tenant).await? else { return Ok(Vec::new()) };
        let reopening = serde_json::Value::from(reopening).to_string();
        let tenant = tenant.clone();
        self.inner
            .history_reads
            .read(move |connection| {
                // The index splits a tenant's id into several words, so the row itself decides whose ticket it is. The
                // weights are of tenant, subject, description, resolution.
                connection
                    .prepare_cached(
                        "SELECT h.ticket_id, h.subject, h.resolution, h.url, h.resolved_ms
                         FROM ticket_text JOIN ticket_history h ON h.id = ticket_text.rowid
                         WHERE ticket_text MATCH ?1 AND h.tenant = ?2 AND h.incarnation = ?5
                           AND NOT EXISTS (SELECT 1 FROM reopened_tickets r
                                           WHERE r.tenant = h.tenant AND r.incarnation = h.incarnation
                                             AND r.ticket_id = h.ticket_id)
                           AND h.ticket_id NOT IN (SELECT value FROM json_each(?4))
                         ORDER BY bm25(ticket_text, 0.0, 4.0, 1.0, 1.0), h.resolved_ms DESC LIMIT ?3",
                    )?
                    .query_map(params![search, tenant.as_str(), limit, reopening, incarnation], |row| {
                        Ok(SimilarTicket {
                            ticket_id: row.get(0)?,
                            subject: row.get(1)?,
                            resolution: row.get(2)?,
                            url: row.get(3)?,
                            resolved_ms: row.get(4)?,
                        })
                    })?
                    .collect()
            })
            .await
    }
}

/// The words of `text`, quoted and joined with OR. `None` if there is nothing to search for.
fn search_expression(tenant: &TenantId, text: &str) -> Option<String> {
    let mut terms: Vec<String> = Vec::new();
    for word in text.split(|c: char| !c.is_alphanumeric()) {
        if word.chars().count() < TERM_CHARS_MIN {
            continue;
        }
        // The word is alphanumeric, so it contains no quote to escape.
        let term = format!("\"{}\"", word.to_lowercase());
        if !terms.contains(&term) {
            terms.push(term);
        }
        if terms.len() == SIMILAR_TERMS_MAX {
            break;
        }
    }
    (!terms.is_empty())
        .then(|| format!("tenant : \"{tenant}\" AND {{subject description resolution}} : ({})", terms.join(" OR ")))
}

#[cfg(test)]
mod tests;
