//! Log lines while a file cannot be written: one at the beginning, then a count of failed commits at intervals, and one
//! at the end.

use std::time::{Duration, Instant};

/// Interval between log lines while commits keep failing.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// State of a file's recent commits.
#[derive(Debug, Default)]
pub(super) struct Failing(Option<Since>);

#[derive(Debug)]
struct Since {
    commits: u64,
    operations: u64,
    told_at: Instant,
}

/// What to log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tell {
    /// A commit has failed after a successful one.
    Begins,
    /// Commits keep failing: how many have failed, and the operations in them.
    GoesOn { commits: u64, operations: u64 },
    /// A commit is on disk again, after this many failed.
    IsOver { commits: u64, operations: u64 },
}

impl Failing {
    /// Records a commit with this many operations, and returns what to log.
    pub(super) fn after(&mut self, is_on_disk: bool, operations: u64, now: Instant) -> Option<Tell> {
        if is_on_disk {
            let Since { commits, operations, .. } = self.0.take()?;
            return Some(Tell::IsOver { commits, operations });
        }
        let Some(since) = &mut self.0 else {
            self.0 = Some(Since { commits: 1, operations, told_at: now });
            return Some(Tell::Begins);
        };
        since.commits += 1;
        since.operations += operations;
        if now.saturating_duration_since(since.told_at) < TOLD_EVERY {
            return None;
        }
        since.told_at = now;
        Some(Tell::GoesOn { commits: since.commits, operations: since.operations })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_a_number_now_and_then_and_an_end() {
        let (mut failing, start) = (Failing::default(), Instant::now());
        for (line, (s, is_on_disk, tell)) in [
            (0, true, None),
            (1, false, Some(Tell::Begins)),
            (2, false, None),
            (60, false, None),
            (61, false, Some(Tell::GoesOn { commits: 4, operations: 8 })),
            (62, false, None),
            (63, true, Some(Tell::IsOver { commits: 5, operations: 10 })),
            (64, true, None),
            (65, false, Some(Tell::Begins)),
            (66, true, Some(Tell::IsOver { commits: 1, operations: 2 })),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(failing.after(is_on_disk, 2, start + Duration::from_secs(s)), tell, "line {line}, at {s} s");
        }
    }
}
