//! Counts a tenant's webhooks since the host started, and keeps the last reason for each kind of refusal. Counts are in
//! memory only, exist for known tenants only, and go with the tenant.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
};

/// The statuses whose refusals are counted. Those that are the sender's fault come first.
pub const REFUSED_STATUSES: [u16; 5] = [400, 401, 422, 429, PLUGIN_OR_STORE];
/// Maximum length of a refusal's reason, in bytes.
pub const REASON_BYTES_MAX: usize = 300;

/// The status of a refusal that is not the sender's fault. The plugin's events and the log report these.
const PLUGIN_OR_STORE: u16 = 503;
/// After a tenant was reported as refused, it is not reported again for this long.
const QUIET_MS: i64 = 3_600_000;
/// Maximum number of tenants reported within that time. Anyone who knows ids can get every tenant refused; that must
/// not fill the journal.
const TOLD_MAX: u32 = 100;
/// Stands for no webhook accepted yet.
const NEVER_MS: i64 = i64::MIN;

/// The counts of one tenant. Can be used on any thread; counting accepted webhooks takes no lock.
#[derive(Debug)]
pub struct Tally {
    accepted: AtomicU64,
    duplicate: AtomicU64,
    ignored: AtomicU64,
    last_accepted_ms: AtomicI64,
    /// Whether the tenant was reported as refused and nothing was accepted since.
    told: AtomicBool,
    refused: Mutex<Refused>,
    limit: Arc<ToldLimit>,
}

#[derive(Debug, Default)]
struct Refused {
    by_status: [Refusals; REFUSED_STATUSES.len()],
    told_ms: Option<i64>,
}

/// Refusals with one status.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusals {
    /// How many.
    pub count: u64,
    /// When the last one was, milliseconds since the epoch, and its reason.
    pub last: Option<(i64, String)>,
}

/// The counts at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// Webhooks that became jobs.
    pub accepted: u64,
    /// Webhooks that had been accepted before.
    pub duplicate: u64,
    /// Authentic webhooks that made no job.
    pub ignored: u64,
    /// When the last one was accepted, milliseconds since the epoch.
    pub last_accepted_ms: Option<i64>,
    /// Refusals by their status, in the order of [`REFUSED_STATUSES`].
    pub refusals: [(u16, Refusals); REFUSED_STATUSES.len()],
}

impl Default for Counts {
    fn default() -> Self {
        let refusals = REFUSED_STATUSES.map(|status| (status, Refusals::default()));
        Self { accepted: 0, duplicate: 0, ignored: 0, last_accepted_ms: None, refusals }
    }
}

impl Tally {
    /// Starts at zero. All tallies with the same limit share the number of reports that it allows.
    pub fn new(limit: Arc<ToldLimit>) -> Self {
        Self {
            accepted: AtomicU64::new(0),
            duplicate: AtomicU64::new(0),
            ignored: AtomicU64::new(0),
            last_accepted_ms: AtomicI64::new(NEVER_MS),
            told: AtomicBool::new(false),
            refused: Mutex::default(),
            limit,
        }
    }

    /// Counts a webhook that became a job.
    pub fn accepted(&self, now_ms: i64) {
        self.last_accepted_ms.store(now_ms, Ordering::Relaxed);
        self.taken(&self.accepted);
    }

    /// Counts a webhook that had been accepted before.
    pub fn duplicate(&self) {
        self.taken(&self.duplicate);
    }

    /// Counts an authentic webhook that made no job.
    pub fn ignored(&self) {
        self.taken(&self.ignored);
    }

    fn taken(&self, count: &AtomicU64) {
        count.fetch_add(1, Ordering::Relaxed);
        if self.told.load(Ordering::Relaxed) {
            self.told.store(false, Ordering::Relaxed);
        }
    }

    /// Counts a refused webhook. Returns true if the refusal should be reported: the tenant begins to be refused, since
    /// the start or since its last accepted webhook. Reports come at most once an hour, and not for too many tenants. A
    /// beginning within that hour is reported with the first refusal after it.
    pub fn refused(&self, status: u16, mut reason: String, now_ms: i64) -> bool {
        let Some(at) = REFUSED_STATUSES.iter().position(|known| *known == status) else { return false };
        reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let of_status = &mut refused.by_status[at];
        of_status.count += 1;
        of_status.last = Some((now_ms, reason));
        let begins = status != PLUGIN_OR_STORE
            && !self.told.load(Ordering::Relaxed)
            && refused.told_ms.is_none_or(|told_ms| is_over(told_ms, now_ms))
            && self.limit.admits(now_ms);
        if begins {
            refused.told_ms = Some(now_ms);
            self.told.store(true, Ordering::Relaxed);
        }
        begins
    }

    /// The current counts.
    pub fn counts(&self) -> Counts {
        let last_accepted_ms = self.last_accepted_ms.load(Ordering::Relaxed);
        let mut counts = Counts {
            accepted: self.accepted.load(Ordering::Relaxed),
            duplicate: self.duplicate.load(Ordering::Relaxed),
            ignored: self.ignored.load(Ordering::Relaxed),
            last_accepted_ms: (last_accepted_ms != NEVER_MS).then_some(last_accepted_ms),
            ..Counts::default()
        };
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        for ((_, shown), known) in counts.refusals.iter_mut().zip(&refused.by_status) {
            shown.clone_from(known);
        }
        counts
    }
}

/// How many tenants were reported as refused within the hour. Can be used on any thread.
#[derive(Debug, Default)]
pub struct ToldLimit(Mutex<ToldHour>);

#[derive(Debug, Default)]
struct ToldHour {
    from_ms: Option<i64>,
    told: u32,
}

impl ToldLimit {
    fn admits(&self, now_ms: i64) -> bool {
        let mut hour = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if hour.from_ms.is_none_or(|from_ms| is_over(from_ms, now_ms)) {
            *hour = ToldHour { from_ms: Some(now_ms), told: 0 };
        }
        let admitted = hour.told < TOLD_MAX;
        hour.told += u32::from(admitted);
        admitted
    }
}

/// Whether the quiet time is over. It also is if the clock was set back.
fn is_over(from_ms: i64, now_ms: i64) -> bool {
    !(from_ms..from_ms.saturating_add(QUIET_MS)).contains(&now_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    fn tally() -> Tally {
        Tally::new(Arc::default())
    }

    #[test]
    fn a_beginning_is_told_once_and_at_most_once_an_hour() {
        enum Came {
            Accepted,
            Duplicate,
            Ignored,
            Refused(u16),
        }
        use Came::{Accepted, Duplicate, Ignored, Refused};
        let tally = tally();
        for (line, (at_ms, came, told)) in [
            (0, Refused(503), false),
            (1, Refused(401), true),
            (2, Refused(401), false),
            (3, Refused(422), false),
            // The refusals continue: reported once.
            (3 * HOUR_MS, Refused(401), false),
            (3 * HOUR_MS, Accepted, false),
            (3 * HOUR_MS + 1, Refused(400), true),
            (3 * HOUR_MS + 2, Duplicate, false),
            // The tenant is refused again within the hour: reported afterwards, if it still is.
            (3 * HOUR_MS + 3, Refused(429), false),
            (4 * HOUR_MS, Refused(429), false),
            (4 * HOUR_MS + 1, Refused(429), true),
            (4 * HOUR_MS + 2, Ignored, false),
            (5 * HOUR_MS, Refused(400), false),
            (5 * HOUR_MS + 1, Ignored, false),
            (5 * HOUR_MS + 2, Refused(400), true),
            // The clock is set back.
            (5 * HOUR_MS + 3, Accepted, false),
            (HOUR_MS, Refused(400), true),
            (HOUR_MS, Refused(404), false),
            (HOUR_MS, Refused(500), false),
        ]
        .into_iter()
        .enumerate()
        {
            let is_told = match came {
                Accepted => {
                    tally.accepted(at_ms);
                    false
                }
                Duplicate => {
                    tally.duplicate();
                    false
                }
                Ignored => {
                    tally.ignored();
                    false
                }
                Refused(status) => tally.refused(status, "why".to_owned(), at_ms),
            };
            assert_eq!(is_told, told, "line {line}, at {at_ms}");
        }
    }

    #[test]
    fn numbers_are_kept_by_status_with_the_last_reason() {
        let tally = tally();
        let none = tally.counts();
        assert_eq!((none.accepted, none.duplicate, none.ignored, none.last_accepted_ms), (0, 0, 0, None));
        assert!(none.refusals.iter().all(|(_, of)| *of == Refusals::default()), "{none:?}");
        tally.accepted(5);
        tally.accepted(7);
        tally.duplicate();
        tally.ignored();
        for (status, reason, at_ms) in [(401, "one", 1), (401, "two", 2), (503, "no plugin", 3), (404, "odd", 4)] {
            tally.refused(status, reason.to_owned(), at_ms);
        }
        let counts = tally.counts();
        assert_eq!((counts.accepted, counts.duplicate, counts.ignored), (2, 1, 1));
        assert_eq!(counts.last_accepted_ms, Some(7));
        let last = |at_ms, reason: &str| Some((at_ms, reason.to_owned()));
        let of = |count, last| Refusals { count, last };
        assert_eq!(
            counts.refusals,
            [
                (400, of(0, None)),
                (401, of(2, last(2, "two"))),
                (422, of(0, None)),
                (429, of(0, None)),
                (503, of(1, last(3, "no plugin"))),
            ]
        );
    }

    #[test]
    fn a_reason_at_its_limit_and_one_byte_past_it() {
        let tally = tally();
        for (reason, kept) in [
            ("x".repeat(REASON_BYTES_MAX), REASON_BYTES_MAX),
            ("x".repeat(REASON_BYTES_MAX + 1), REASON_BYTES_MAX),
            ("x".repeat(REASON_BYTES_MAX - 1) + "ü", REASON_BYTES_MAX - 1),
        ] {
            tally.refused(400, reason, 0);
            let (_, last) = tally.counts().refusals[0].1.last.clone().unwrap();
            assert_eq!(last.len(), kept);
        }
    }

    #[test]
    fn the_journal_is_told_of_so_many_tenants_and_the_next_ones_when_the_hour_is_over() {
        let limit = Arc::<ToldLimit>::default();
        let tallies: Vec<_> = (0..=TOLD_MAX).map(|_| Tally::new(Arc::clone(&limit))).collect();
        let told = |at_ms| tallies.iter().filter(|tally| tally.refused(401, String::new(), at_ms)).count();
        assert_eq!(told(0), TOLD_MAX as usize, "one past it is not told");
        assert_eq!(told(HOUR_MS - 1), 0);
        assert_eq!(told(HOUR_MS), 1, "and now it is");
        assert_eq!(told(2 * HOUR_MS), 0);
    }
}
