//! Suspects: jobs that may be what ends the host. They run one by one, at first with nothing beside them, so that the
//! culprit is found. No IO.

use std::time::Duration;

use tokio::time::Instant;

use crate::{ids::JobId, queue::job::Suspect};

/// How long everything else waits for suspects. After that, other jobs run beside them.
pub(super) const ALONE_MAX: Duration = Duration::from_secs(60);

/// How long the host must be up before a suspect runs that was alone when it was cut off. Otherwise somebody who
/// repeatedly kills the host soon after its start would make the jobs look guilty. The host also accepts webhooks in
/// the meantime.
pub(super) const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// The remaining suspects, and which of them is running.
#[derive(Debug)]
pub(super) struct Suspects {
    /// When the host started.
    start: Instant,
    waiting: Vec<Suspect>,
    running: Option<JobId>,
    /// Until when nothing runs beside them, counted from when the first of them could run.
    alone_until: Option<Instant>,
    /// Whether to ask the store again which suspects exist.
    pub(super) stale: bool,
}

/// What may run now, as far as suspects are concerned.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Run this suspect, and then ask again.
    Run(Suspect),
    /// Start nothing: a suspect runs alone, or is about to.
    Hold,
    /// Run any other due job.
    Others,
}

impl Suspects {
    /// Starts with the store's suspects, in the order in which they are to run.
    pub(super) fn new(waiting: Vec<Suspect>, start: Instant) -> Self {
        Self { start, waiting, running: None, alone_until: None, stale: false }
    }

    /// Takes the store's new answer.
    pub(super) fn found(&mut self, waiting: Vec<Suspect>) {
        (self.waiting, self.stale) = (waiting, false);
    }

    /// What to run while this many jobs are running, suspects included.
    pub(super) fn next(
        &mut self,
        (now, now_ms): (Instant, i64),
        running: usize,
        may_run: impl Fn(&Suspect) -> bool,
    ) -> Next {
        let is_early = now < self.start + AGAIN_AFTER;
        let is_due = |suspect: &Suspect| {
            suspect.due_ms <= now_ms && !(is_early && suspect.cut_off_alone > 0) && may_run(suspect)
        };
        let next = self.waiting.iter().position(is_due);
        if next.is_some() {
            self.alone_until.get_or_insert(now + ALONE_MAX);
        }
        let alone = self.alone_until.is_some_and(|until| now < until);
        match next {
            _ if self.running.is_some() => {
                if alone {
                    Next::Hold
                } else {
                    Next::Others
                }
            }
            Some(_) if alone && running > 0 => Next::Hold,
            Some(next) => {
                let suspect = self.waiting.remove(next);
                self.running = Some(suspect.id);
                Next::Run(suspect)
            }
            None => Next::Others,
        }
    }

    /// Records that a job has ended. If it was the suspect, its new state is in the store.
    pub(super) fn ended(&mut self, job: JobId) {
        if self.running == Some(job) {
            (self.running, self.stale) = (None, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TenantId;

    fn suspects(count: i64) -> Vec<Suspect> {
        let tenant = TenantId::parse("acme").unwrap();
        (0..count)
            .map(|due_ms| Suspect { tenant: tenant.clone(), id: JobId::fresh(), due_ms, cut_off_alone: 0 })
            .collect()
    }

    #[test]
    fn suspects_run_one_by_one_and_for_a_minute_with_nothing_beside_them() {
        let [first, second]: [Suspect; 2] = suspects(2).try_into().unwrap();
        let (start, any) = (Instant::now(), |_: &Suspect| true);
        let mut all = Suspects::new(vec![first.clone(), second.clone()], start);
        assert_eq!(all.next((start, 9), 0, |_| false), Next::Others, "their plugin is not there yet");
        assert_eq!(all.next((start, 9), 3, any), Next::Hold, "others run still");
        assert_eq!(all.next((start, 9), 0, any), Next::Run(first.clone()));
        assert_eq!(all.next((start, 9), 1, any), Next::Hold);
        all.ended(JobId::fresh());
        assert_eq!(all.next((start, 9), 1, any), Next::Hold, "it was another job");
        let later = start + ALONE_MAX;
        assert_eq!(all.next((later, 9), 1, any), Next::Others);
        all.ended(first.id);
        assert!(all.stale);
        all.found(vec![second.clone()]);
        assert_eq!(all.next((later, 9), 7, any), Next::Run(second.clone()), "beside others, once the minute is over");
        assert_eq!(all.next((later, 9), 8, any), Next::Others);
        all.ended(second.id);
        all.found(Vec::new());
        assert_eq!(all.next((later, 9), 7, any), Next::Others);
    }

    #[test]
    fn a_suspect_that_is_not_due_holds_nobody_up() {
        let start = Instant::now();
        let mut all = Suspects::new(suspects(1), start);
        assert_eq!(all.next((start, -1), 0, |_| true), Next::Others);
        let Next::Run(_) = all.next((start, 0), 0, |_| true) else { panic!() };
    }

    #[test]
    fn one_that_has_run_alone_waits_until_the_host_has_been_up_for_a_while() {
        let (start, again) = (Instant::now(), suspects(1).remove(0));
        let mut all = Suspects::new(vec![Suspect { cut_off_alone: 1, ..again }], start);
        assert_eq!(all.next((start, 9), 3, |_| true), Next::Others);
        assert_eq!(all.next((start + AGAIN_AFTER, 9), 3, |_| true), Next::Hold);
        let Next::Run(_) = all.next((start + AGAIN_AFTER, 9), 0, |_| true) else { panic!() };
    }

    #[test]
    fn where_there_is_none_nothing_is_held_up() {
        let start = Instant::now();
        assert_eq!(Suspects::new(Vec::new(), start).next((start, 0), 64, |_| true), Next::Others);
    }
}
