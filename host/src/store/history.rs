//! What was done, and what past tickets teach: the history file, written idempotently before a job is deleted.

use rusqlite::params;

use self::reopened::{Moment, TicketKey, is_known, solved};
use super::{Store, StoreError, encoding::errors_json};
use crate::{
    ids::{CorrelationId, Incarnation, JobId, TenantId, ToolType},
    queue::job::{JobError, JobKind},
};

mod reopened;

pub use reopened::ReopenedTicket;

/// Words of a text that a search uses; the first ones count.
pub const SIMILAR_TERMS_MAX: usize = 32;
/// Shorter words say little and are left out; in characters.
const TERM_CHARS_MIN: usize = 3;

/// How an enhancement ended: its note is on the ticket.
pub const DONE: &str = "done";
/// ... but an earlier attempt may have posted it as well, and the plugin could not look.
pub const POSSIBLY_TWICE: &str = "possibly_twice";
/// It was given up, and is or was a dead letter.
pub const DEAD: &str = "dead";

/// A finished enhancement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnhancementRecord {
    /// The job; a second record of it replaces the first.
    pub job_id: JobId,
    /// Whose ticket it was.
    pub tenant: TenantId,
    /// Which tenant of that id.
    pub incarnation: Incarnation,
    /// The tool type.
    pub tool_type: ToolType,
    /// The ticket.
    pub ticket_id: String,
    /// The webhook's id.
    pub correlation_id: CorrelationId,
    /// How it ended: [`DONE`], [`POSSIBLY_TWICE`] or [`DEAD`].
    pub outcome: String,
    /// The note as posted, when one was.
    pub note: Option<String>,
    /// Attempts made.
    pub attempts: u32,
    /// What went wrong on the way.
    pub errors: Vec<JobError>,
    /// When the webhook was accepted, milliseconds since the epoch.
    pub accepted_ms: i64,
    /// When the job was put back, if it was a dead letter; milliseconds since the epoch.
    pub retried_ms: Option<i64>,
    /// When the job ended, milliseconds since the epoch.
    pub finished_ms: i64,
}

/// A resolved ticket, to be found by later ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedTicket {
    /// Whose ticket it is.
    pub tenant: TenantId,
    /// Which tenant of that id.
    pub incarnation: Incarnation,
    /// The tool type.
    pub tool_type: ToolType,
    /// The ticket; one row for each tenant and ticket.
    pub ticket_id: String,
    /// Its subject.
    pub subject: Option<String>,
    /// Its description, as text.
    pub description: Option<String>,
    /// How it was solved, as text.
    pub resolution: Option<String>,
    /// Words that the tool keeps with it.
    pub tags: Vec<String>,
    /// Where a person can open it.
    pub url: Option<String>,
    /// When it was solved, milliseconds since the epoch.
    pub resolved_ms: i64,
    /// When it was solved for sure: the same, or later when the tool was asked later.
    pub as_of_ms: i64,
    /// When the webhook that told it was accepted, milliseconds since the epoch.
    pub told_ms: i64,
    /// The job that keeps it.
    pub kept_by: KeptBy,
}

/// The job that has kept a solved ticket: what is shown of it when it is done.
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

/// What became of a solved ticket in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// The history did not know it.
    Inserted,
    /// What the history had of it was replaced.
    Updated,
    /// The history knows a later solution.
    Unchanged,
}

impl Kept {
    /// The word for it.
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
    /// Where a person can open it.
    pub url: Option<String>,
    /// When it was solved, milliseconds since the epoch.
    pub resolved_ms: i64,
}

impl Store {
    /// Keeps how a job ended. Call before [`complete`](Store::complete): what is repeated after a crash replaces itself.
    pub async fn record_enhancement(&self, record: EnhancementRecord) -> Result<(), StoreError> {
        let errors = errors_json(&record.errors);
        self.inner
            .history
            .apply(move |connection| {
                connection
                    .prepare_cached(
                        // No REPLACE: it would count the job twice.
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

    /// Whether the history has the note of this job.
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

    /// Keeps a resolved ticket. Of two records of one ticket the one resolved later counts, and texts that it lacks stay
    /// as they were. A ticket that was reopened later stays open. Call before [`complete`](Store::complete).
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

    /// The tenant's resolved tickets that share words with `text`, the most alike first; none that was reopened, as soon as
    /// that was accepted. Any text is safe to search for.
    pub async fn similar_resolved(
        &self,
        (tenant, incarnation): (&TenantId, Incarnation),
        text: &str,
        limit: u32,
    ) -> Result<Vec<SimilarTicket>, StoreError> {
        let Some(search) = search_expression(tenant, text) else { return Ok(Vec::new()) };
        // Asked first: what is done with meanwhile is in the history by then.
        let Some(reopening) = self.reopening(tenant).await? else { return Ok(Vec::new()) };
        let reopening = serde_json::Value::from(reopening).to_string();
        let tenant = tenant.clone();
        self.inner
            .history_reads
            .read(move |connection| {
                // A tenant's id is several words to the index, so the row itself decides whose it is. The weights are of
                // tenant, subject, description, resolution.
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

/// The words of `text`, each quoted, any of which may match. `None` when there is nothing to look for.
fn search_expression(tenant: &TenantId, text: &str) -> Option<String> {
    let mut terms: Vec<String> = Vec::new();
    for word in text.split(|c: char| !c.is_alphanumeric()) {
        if word.chars().count() < TERM_CHARS_MIN {
            continue;
        }
        // Alphanumeric only, so there is no quote in it to escape.
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
