//! A job is the durable work that follows a webhook. This file has its forms between ingest, store and worker.

use std::fmt;

use plugin_abi::types::{Event, TicketMetadata};
use sha2::{Digest, Sha256};
use url::Url;

use crate::ids::{CorrelationId, Incarnation, JobId, TenantId, ToolType};

/// Maximum number of errors stored with a job; the oldest are dropped first.
pub const JOB_ERRORS_MAX: usize = 20;
/// Maximum length of an error's message, in bytes.
pub const JOB_ERROR_BYTES_MAX: usize = 1_024;

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobKind {
    /// Posts an enhancement as a note on the ticket.
    Enhance,
    /// Stores a resolved ticket in the ticket history.
    Record,
    /// As `Record`, for an unauthenticated webhook: first asks the tool whether the ticket is resolved.
    Confirm,
    /// Removes a reopened ticket from the search results.
    Reopen,
}

impl JobKind {
    const ALL: [Self; 4] = [Self::Enhance, Self::Record, Self::Confirm, Self::Reopen];

    /// The kind as text: `enhance`, `record`, `confirm` or `reopen`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enhance => "enhance",
            Self::Record => "record",
            Self::Confirm => "confirm",
            Self::Reopen => "reopen",
        }
    }

    /// Parses the output of [`as_str`](Self::as_str).
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A job to be accepted. The store adds its id and its time.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// The tenant that owns the ticket.
    pub tenant: TenantId,
    /// Which tenant with that id.
    pub incarnation: Incarnation,
    /// The tenant's tool type when the webhook came. It stays, even if the tenant switches to another.
    pub tool_type: ToolType,
    /// The address of the tenant's tool at that time.
    pub base_url: Url,
    /// What to do.
    pub kind: JobKind,
    /// The webhook's id.
    pub correlation_id: CorrelationId,
    /// What the plugin read in the webhook.
    pub metadata: TicketMetadata,
}

/// Identifies an event, so that a second delivery is recognised: 16 bytes of a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DedupKey([u8; 16]);

impl DedupKey {
    /// Builds the key from tenant, event, ticket and the plugin's delivery id or, without one, the digest of the raw
    /// body.
    pub fn new(tenant: &TenantId, incarnation: Incarnation, metadata: &TicketMetadata, raw_body: &[u8]) -> Self {
        let event: &[u8] = match metadata.event {
            Event::Created => b"created",
            Event::Updated => b"updated",
            Event::Resolved { .. } => b"resolved",
            Event::Reopened => b"reopened",
            _ => b"other",
        };
        let mut digest = Sha256::new();
        let mut part = |bytes: &[u8]| {
            // Each part is preceded by its length, so that no part can be mistaken for the end of the one before.
            digest.update((bytes.len() as u64).to_be_bytes());
            digest.update(bytes);
        };
        part(tenant.as_str().as_bytes());
        part(event);
        part(metadata.ticket_id.as_bytes());
        match &metadata.delivery_id {
            Some(id) => {
                part(b"delivery");
                part(id.as_bytes());
            }
            None => {
                part(b"body");
                part(raw_body);
            }
        }
        // The first incarnation is left out, so that keys from before incarnations existed stay valid.
        if incarnation > Incarnation::FIRST {
            digest.update(incarnation.number().to_be_bytes());
        }
        Self::of(digest)
    }

    /// The key of the same event after the ticket has been reopened this many times. After none, it is the key itself.
    pub fn after(self, reopenings: u32) -> Self {
        if reopenings == 0 {
            return self;
        }
        Self::of(Sha256::new().chain_update(self.0).chain_update(reopenings.to_be_bytes()))
    }

    fn of(digest: Sha256) -> Self {
        let mut key = [0; 16];
        key.copy_from_slice(&digest.finalize()[..16]);
        Self(key)
    }

    /// The form stored in the database.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// The result of accepting a webhook. In the first two cases its job is on disk when this is returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// The webhook made a new job.
    New(JobId),
    /// The same event was accepted before.
    Duplicate,
    /// The tenant is gone or has another tool than the webhook was read for. Nothing was stored.
    OtherTenant,
    /// The tenant has used all its room in the store. Nothing was stored.
    TenantFull,
}

/// The right to work on a job until the lease ends. Each claim raises the fence, so a lost lease matches no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The tenant's slot.
    pub slot: u16,
    /// The job.
    pub id: JobId,
    /// The number of this claim.
    pub fence: i64,
}

/// Whether a change that needs a lease was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a lost lease means that somebody else works on the job"]
pub enum Fenced {
    /// The change was made.
    Done,
    /// The lease was lost: the job was claimed again, finished or removed. Nothing was changed.
    Lost,
}

/// A failed attempt, as stored with the job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobError {
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// When it failed, milliseconds since the epoch.
    pub at_ms: i64,
    /// A short code for programs.
    pub kind: String,
    /// A sentence for people, without secrets, at most [`JOB_ERROR_BYTES_MAX`] long.
    pub message: String,
}

impl JobError {
    /// Cuts the message to [`JOB_ERROR_BYTES_MAX`].
    pub fn new(attempt: u32, at_ms: i64, kind: impl Into<String>, message: impl fmt::Display) -> Self {
        let mut message = message.to_string();
        message.truncate(message.floor_char_boundary(JOB_ERROR_BYTES_MAX));
        Self { attempt, at_ms, kind: kind.into(), message }
    }
}

/// A request for due jobs of one tenant.
#[derive(Debug, Clone)]
pub struct ClaimWish {
    /// The tenant whose jobs are wanted.
    pub tenant: TenantId,
    /// Maximum number of jobs.
    pub max: u32,
}

/// The answer to a [`ClaimWish`].
#[derive(Debug, Clone)]
pub struct TenantClaim {
    /// The tenant that owns the jobs.
    pub tenant: TenantId,
    /// The jobs, oldest first.
    pub jobs: Vec<ClaimedJob>,
    /// When the tenant's next job falls due, milliseconds since the epoch. It is now or earlier if more than `max` were
    /// due, and the end of a lease if only running jobs are left. `None` if the tenant has no jobs.
    pub next_due_ms: Option<i64>,
}

/// A job that the caller holds a lease on.
#[derive(Debug, Clone)]
pub struct ClaimedJob {
    /// The lease, which every change to the job requires.
    pub lease: Lease,
    /// The tenant that owns the ticket.
    pub tenant: TenantId,
    /// Which tenant with that id.
    pub incarnation: Incarnation,
    /// The tool type it was accepted for.
    pub tool_type: ToolType,
    /// What to do.
    pub kind: JobKind,
    /// The webhook's id.
    pub correlation_id: CorrelationId,
    /// What the plugin read in the webhook.
    pub metadata: TicketMetadata,
    /// When it was accepted, milliseconds since the epoch.
    pub accepted_ms: i64,
    /// When it was put back, if it was a dead letter; milliseconds since the epoch.
    pub retried_ms: Option<i64>,
    /// When the lease ends, milliseconds since the epoch, by the store's clock.
    pub lease_ends_ms: i64,
    /// The number of this attempt, from 1. A claim after an expired lease counts the attempt that was cut off.
    pub attempt: u32,
    /// Errors of earlier attempts.
    pub errors: Vec<JobError>,
    /// Whether an earlier attempt may have posted the note.
    pub sent: bool,
}

impl ClaimedJob {
    /// When the job entered the queue, milliseconds since the epoch. The time until it is given up counts from here.
    pub fn queued_ms(&self) -> i64 {
        self.retried_ms.unwrap_or(self.accepted_ms)
    }
}

/// The state of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobState {
    /// Due, and waiting for a permit.
    Queued,
    /// Leased by the worker.
    Running,
    /// Waiting for its time: after a failure, or for a plugin or tenant.
    Waiting,
    /// Given up, and stored until it is retried or purged.
    Dead,
    /// Finished, and known from the history.
    Done,
    /// Given up and purged, and known from the history. Dead letters that still exist look the same there, so a job has
    /// this state only if no dead letter was found for it.
    Purged,
}

impl JobState {
    const ALL: [Self; 6] = [Self::Queued, Self::Running, Self::Waiting, Self::Dead, Self::Done, Self::Purged];

    /// The state as text: `queued`, `running`, `waiting`, `dead`, `done` or `purged`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Dead => "dead",
            Self::Done => "done",
            Self::Purged => "purged",
        }
    }

    /// Parses the output of [`as_str`](Self::as_str).
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// A job as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobView {
    /// The job.
    pub id: JobId,
    /// Its state.
    pub state: JobState,
    /// The tenant that owns the ticket.
    pub tenant: TenantId,
    /// Which tenant with that id.
    pub incarnation: Incarnation,
    /// The tool type it was accepted for.
    pub tool_type: ToolType,
    /// What it does.
    pub kind: JobKind,
    /// The ticket.
    pub ticket_id: String,
    /// The webhook's id.
    pub correlation_id: CorrelationId,
    /// Attempts made, the running one included.
    pub attempt: u32,
    /// Errors of its attempts, oldest first.
    pub errors: Vec<JobError>,
    /// Whether an attempt may have posted the note.
    pub sent: bool,
    /// When it was accepted, milliseconds since the epoch.
    pub accepted_ms: i64,
    /// When it was put back, if it was a dead letter; milliseconds since the epoch.
    pub retried_ms: Option<i64>,
    /// When it may next be claimed (if running: when its lease ends); live jobs only.
    pub due_ms: Option<i64>,
    /// When it was given up or finished; dead and done jobs only.
    pub ended_ms: Option<i64>,
    /// Why it was given up, or how it ended; dead and done jobs only.
    pub outcome: Option<String>,
    /// The note that was posted; done jobs only.
    pub note: Option<String>,
}

/// A job that was running on at least two occasions when the host was cut off, and may be what ends the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspect {
    /// The tenant that owns the job.
    pub tenant: TenantId,
    /// The job.
    pub id: JobId,
    /// When it falls due, milliseconds since the epoch.
    pub due_ms: i64,
    /// How often it was running alone when the host was cut off.
    pub cut_off_alone: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dedup_key_tells_tenant_event_ticket_and_delivery_apart() {
        let acme = TenantId::parse("acme").unwrap();
        let metadata = |ticket: &str, event, delivery: Option<&str>| {
            let mut metadata = TicketMetadata::new(ticket, event);
            metadata.delivery_id = delivery.map(str::to_owned);
            metadata
        };
        let resolved = |tag: &str| Event::Resolved { resolution: None, resolved_at: None, tags: vec![tag.to_owned()] };
        let incarnated = |number, metadata: &TicketMetadata, body: &[u8]| {
            DedupKey::new(&acme, Incarnation::new(number), metadata, body)
        };
        let key = |metadata: &TicketMetadata, body: &[u8]| incarnated(1, metadata, body);
        let first = metadata("17", Event::Created, None);
        let different = [
            key(&first, b"{}"),
            key(&first, b"{ }"),
            key(&metadata("1", Event::Created, None), b"7{}"),
            key(&metadata("17", Event::Updated, None), b"{}"),
            key(&metadata("17", resolved("a"), None), b"{}"),
            key(&metadata("17", Event::Created, Some("d-1")), b"{}"),
            key(&metadata("17", Event::Created, Some("{}")), b"{}"),
            key(&metadata("17", Event::Reopened, None), b"{}"),
            key(&metadata("17", Event::Other, None), b"{}"),
            key(&first, b"{}").after(1),
            key(&first, b"{}").after(2),
            incarnated(2, &first, b"{}"),
            incarnated(3, &first, b"{}"),
            DedupKey::new(&TenantId::parse("acme2").unwrap(), Incarnation::FIRST, &first, b"{}"),
        ];
        let distinct: std::collections::HashSet<_> = different.iter().collect();
        assert_eq!(distinct.len(), different.len());
        let delivered = metadata("17", Event::Created, Some("d-1"));
        assert_eq!(key(&delivered, b"one body"), key(&delivered, b"another"), "the delivery id replaces the body");
        assert_eq!(key(&first, b"{}").after(0), key(&first, b"{}"), "keys from before there were reopenings stay good");
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let error = JobError::new(1, 0, "api", "ä".repeat(JOB_ERROR_BYTES_MAX));
        assert_eq!(error.message.len(), JOB_ERROR_BYTES_MAX);
        assert_eq!(JobError::new(1, 0, "api", format!("x{}", "ä".repeat(600))).message.len(), JOB_ERROR_BYTES_MAX - 1);
    }

    #[test]
    fn kinds_and_states_are_read_as_they_are_written() {
        for state in JobState::ALL {
            assert_eq!(JobState::parse(state.as_str()), Some(state));
        }
        for kind in JobKind::ALL {
            assert_eq!(JobKind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(JobState::parse("Queued"), None);
    }
}
