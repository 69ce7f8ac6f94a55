//! What the log says while a file cannot be written: that it begins, now and then how many commits have failed since, and
//! that it is over.

use std::time::{Duration, Instant};

/// Between two lines while it goes on.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// How the last commits of one file went.
#[derive(Debug, Default)]
pub(super) struct Failing(Option<Since>);

#[derive(Debug)]
struct Since {
    commits: u64,
    operations: u64,
    told_at: Instant,
}

/// What is to be told now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tell {
    /// A commit has failed; the one before it has not.
    Begins,
    /// So many have failed since it began, with so many operations in them.
    GoesOn { commits: u64, operations: u64 },
    /// A commit is on disk again, after so many that have failed.
    IsOver { commits: u64, operations: u64 },
}

impl Failing {
    /// Takes note of a commit with so many operations, and says what to tell.
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
