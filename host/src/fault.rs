//! Points in the processing of a job, or in a change of a tenant, at which a test can end the host as by kill -9.
//! Without the feature `test-hooks` they compile to nothing.

/// A point, in the order in which a job reaches them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// The job is in a transaction that is not committed yet.
    Inserted = 1,
    /// The job is on disk, and the sender has no answer yet.
    Accepted,
    /// The job is leased.
    Claimed,
    /// The tool has shown the ticket.
    Fetched,
    /// The note is written.
    Written,
    /// It is stored that the note may be posted from now on.
    MarkedSent,
    /// The tool has accepted the note.
    Posted,
    /// The history has the note, or the ticket's new state; the queue still has the job.
    HistoryWritten,
    /// The queue no longer has the job.
    Completed,
    /// A refresh token that was given in exchange is on disk, and nobody has used it yet.
    TokenKept,
    /// A change of a tenant is in a transaction that is not committed.
    TenantChanging,
    /// The change is on disk, and webhooks do not see it yet.
    TenantChanged,
}

/// Ends the process if this point is armed.
#[inline]
pub fn reached(point: Point) {
    #[cfg(feature = "test-hooks")]
    armed::reached(point);
    #[cfg(not(feature = "test-hooks"))]
    let _never_armed = point;
}

#[cfg(feature = "test-hooks")]
pub(crate) mod armed {
    use std::sync::atomic::{AtomicU8, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    use super::Point;

    /// No point.
    const NOWHERE: u8 = 0;
    static ARMED: AtomicU8 = AtomicU8::new(NOWHERE);

    impl Point {
        const ALL: [(&str, Self); 12] = [
            ("inserted", Self::Inserted),
            ("accepted", Self::Accepted),
            ("claimed", Self::Claimed),
            ("fetched", Self::Fetched),
            ("written", Self::Written),
            ("marked_sent", Self::MarkedSent),
            ("posted", Self::Posted),
            ("history_written", Self::HistoryWritten),
            ("completed", Self::Completed),
            ("token_kept", Self::TokenKept),
            ("tenant_changing", Self::TenantChanging),
            ("tenant_changed", Self::TenantChanged),
        ];

        pub(crate) fn parse(text: &str) -> Option<Self> {
            Self::ALL.into_iter().find(|(name, _)| *name == text).map(|(_, point)| point)
        }
    }

    /// Arms a point: the next thread that reaches it ends the process.
    pub(crate) fn arm(point: Point) {
        ARMED.store(point as u8, Ordering::Relaxed);
    }

    pub(super) fn reached(point: Point) {
        if ARMED.load(Ordering::Relaxed) == point as u8 {
            // Nothing of this process runs after this call: no destructor, no handler, no other thread.
            let _refused = kill_process(getpid(), Signal::KILL);
            std::process::abort();
        }
    }
}
