//! The process's limit of open files: raised as far as possible, and shared between connections and everything else.

use std::io;

use rustix::process::{Resource, Rlimit, setrlimit};

use crate::plugin::confine::limit_of;

/// Files reserved for everything other than webhook connections, in addition to one for each job: two databases with
/// their readers, plugins that are read, tried and loaded, the admin socket, metrics, and idle connections to tools.
const RESERVE: usize = 256;
/// The share of connections, one in this many files, if the limit is so low that the reserve would leave hardly any.
const LEAST_SHARE: usize = 4;
/// Linux's default limit.
const UNTOLD: usize = 1024;

/// The number of files that this process may have open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFiles {
    /// `None` means no limit.
    max: Option<usize>,
}

impl OpenFiles {
    /// Raises the soft limit to the hard one, which any process may do. Must be called once, before the process has
    /// many files open.
    pub fn raise() -> Self {
        Self::try_raise().unwrap_or_else(|fault| {
            tracing::warn!(
                "the system does not tell the limit of open files (prlimit64: {fault}); {UNTOLD} are assumed"
            );
            Self { max: Some(UNTOLD) }
        })
    }

    fn try_raise() -> io::Result<Self> {
        let had = limit_of(Resource::Nofile)?;
        let wanted = Rlimit { current: had.maximum, maximum: had.maximum };
        match setrlimit(Resource::Nofile, wanted) {
            Ok(()) => {}
            Err(fault) => tracing::warn!("the limit of open files stays as it is: {fault}"),
        }
        let has = limit_of(Resource::Nofile)?.current;
        tracing::debug!(before = had.current, now = has, "the limit of open files was raised");
        Ok(Self { max: has.map(|max| usize::try_from(max).unwrap_or(usize::MAX)) })
    }

    /// Number of webhook connections that fit beside everything else while this many jobs run.
    pub fn connections_max(self, jobs: usize) -> usize {
        let Some(max) = self.max else { return usize::MAX };
        max.saturating_sub(RESERVE + jobs).max(max / LEAST_SHARE).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_room_for_the_rest() {
        for (max, jobs, expected) in [
            (None, 64, usize::MAX),
            (Some(20_000), 64, 19_680),
            (Some(1_024), 64, 704),
            (Some(1_024), 10_000, 256),
            (Some(400), 64, 100),
            (Some(3), 64, 1),
        ] {
            assert_eq!(OpenFiles { max }.connections_max(jobs), expected, "{max:?} files, {jobs} jobs");
        }
    }

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        let limit = limit_of(Resource::Nofile).unwrap();
        let lower = limit.maximum.map_or(1 << 16, |max| max - 1);
        setrlimit(Resource::Nofile, Rlimit { current: Some(lower), ..limit }).unwrap();
        let files = OpenFiles::raise();
        assert_eq!(limit_of(Resource::Nofile).unwrap().current, limit.maximum);
        assert_eq!(files.max.map(|max| max as u64), limit.maximum);
    }
}
