//! The scheduler against a queue in memory, with time as a number.

use super::*;

const PERMITS: Permits = Permits { concurrency: 64, per_tenant: 8, slow: 16, careful: 24 };

fn id(text: &str) -> TenantId {
    TenantId::parse(text).unwrap()
}

/// A store in memory: what each tenant has due. Jobs run until the test ends them.
#[derive(Default)]
struct Bed {
    scheduler: Scheduler,
    waiting: HashMap<TenantId, usize>,
    running: VecDeque<TenantId>,
    done: HashMap<TenantId, usize>,
}

impl Bed {
    fn with(waiting: &[(&str, usize)]) -> Self {
        let mut bed = Self::default();
        for (tenant, jobs) in waiting {
            bed.accept(tenant, *jobs);
        }
        bed
    }

    fn accept(&mut self, tenant: &str, jobs: usize) {
        self.scheduler.was_fast(&id(tenant));
        self.accept_unknown(tenant, jobs);
    }

    /// Accepts jobs of a tenant whose tool was never asked.
    fn accept_unknown(&mut self, tenant: &str, jobs: usize) {
        *self.waiting.entry(id(tenant)).or_default() += jobs;
        self.scheduler.due(&id(tenant), 0);
    }

    /// Claims once, as the store would answer. Returns the wishes.
    fn claim(&mut self, permits: Permits) -> Vec<(String, u32)> {
        let wishes = self.scheduler.wishes(0, permits, |_| Turn::Free);
        for wish in &wishes {
            let waiting = self.waiting.entry(wish.tenant.clone()).or_default();
            let jobs = (*waiting).min(wish.max as usize);
            *waiting -= jobs;
            self.running.extend(std::iter::repeat_n(wish.tenant.clone(), jobs));
            let next_due_ms = if *waiting > 0 { Some(0) } else { (jobs > 0).then_some(90_000) };
            self.scheduler.granted(&wish.tenant, jobs, next_due_ms);
        }
        wishes.into_iter().map(|wish| (wish.tenant.to_string(), wish.max)).collect()
    }

    fn claim_all(&mut self, permits: Permits) {
        while !self.claim(permits).is_empty() {}
    }

    /// Ends the oldest running job.
    fn end_one(&mut self) {
        let tenant = self.running.pop_front().expect("a job runs");
        self.scheduler.ended(&tenant);
        *self.done.entry(tenant).or_default() += 1;
    }

    fn running_of(&self, tenant: &str) -> usize {
        self.running.iter().filter(|running| running.as_str() == tenant).count()
    }

    fn done_of(&self, tenant: &str) -> usize {
        self.done.get(&id(tenant)).copied().unwrap_or(0)
    }
}

#[test]
fn permits_are_given_in_turn() {
    let small = |concurrency, per_tenant| Permits { concurrency, per_tenant, ..PERMITS };
    let check = |waiting: &[(&str, usize)], permits, expected: &[(&str, u32)]| {
        let wished = Bed::with(waiting).claim(permits);
        let expected: Vec<_> = expected.iter().map(|(tenant, max)| ((*tenant).to_owned(), *max)).collect();
        assert_eq!(wished, expected, "{waiting:?} {permits:?}");
    };
    check(&[], PERMITS, &[]);
    check(&[("a", 1)], PERMITS, &[("a", 8)]);
    check(&[("a", 100)], small(5, 8), &[("a", 5)]);
    check(&[("a", 100), ("b", 1)], small(5, 8), &[("a", 3), ("b", 2)]);
    check(&[("a", 9), ("b", 9), ("c", 9)], small(2, 8), &[("a", 1), ("b", 1)]);
    check(&[("a", 9), ("b", 9)], small(64, 1), &[("a", 1), ("b", 1)]);
    check(&[("a", 9)], small(0, 8), &[]);
}

#[test]
fn a_tenant_with_little_is_done_before_the_next_200_of_one_with_100_000() {
    let mut bed = Bed::with(&[("loud", 100_000)]);
    bed.claim_all(PERMITS);
    for _ in 0..1_000 {
        bed.end_one();
        bed.claim_all(PERMITS);
    }
    bed.accept("quiet", 1);
    let before = bed.done_of("loud");
    while bed.done_of("quiet") == 0 {
        bed.claim_all(PERMITS);
        bed.end_one();
    }
    let meanwhile = bed.done_of("loud") - before;
    assert!(meanwhile < 200, "{meanwhile}");
}

#[test]
fn many_with_much_share_evenly() {
    let names: Vec<String> = (0..100).map(|n| format!("t{n}")).collect();
    let mut bed = Bed::default();
    for (n, name) in names.iter().enumerate() {
        bed.accept(name, if n == 0 { 100_000 } else { 1_000 });
    }
    for _ in 0..10_000 {
        bed.claim_all(PERMITS);
        bed.end_one();
    }
    let shares: Vec<usize> = names.iter().map(|name| bed.done_of(name)).collect();
    let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
    assert!(most - least <= PERMITS.per_tenant, "{least} to {most}");
}

#[test]
fn no_more_runs_than_the_permits_allow() {
    let mut bed = Bed::with(&[("a", 1_000), ("b", 3), ("c", 1_000)]);
    for (permits, a, b, c) in [
        (Permits { concurrency: 12, per_tenant: 8, ..PERMITS }, 5, 3, 4),
        (Permits { concurrency: 30, per_tenant: 8, ..PERMITS }, 8, 3, 8),
        (Permits { concurrency: 4, per_tenant: 2, ..PERMITS }, 8, 3, 8),
    ] {
        bed.claim_all(permits);
        assert_eq!((bed.running_of("a"), bed.running_of("b"), bed.running_of("c")), (a, b, c), "{permits:?}");
    }
    for _ in 0..16 {
        bed.end_one();
        bed.claim_all(Permits { concurrency: 4, per_tenant: 2, ..PERMITS });
    }
    assert!(bed.running.len() <= 4, "fewer permits hold as soon as jobs end");
}

#[test]
fn a_claim_names_a_bounded_number_of_tenants_and_the_next_one_goes_on() {
    let mut bed = Bed::default();
    for n in 0..=TENANTS_PER_CLAIM_MAX {
        bed.accept(&format!("t{n:03}"), 1);
    }
    let permits = Permits { concurrency: 1_000, per_tenant: 8, ..PERMITS };
    assert_eq!(bed.claim(permits).len(), TENANTS_PER_CLAIM_MAX);
    assert_eq!(bed.claim(permits).len(), 1);
    assert_eq!(bed.claim(permits).len(), 0);
}

#[test]
fn what_may_not_run_is_asked_about_again_only_when_it_is_due_anew() {
    let mut scheduler = Scheduler::default();
    scheduler.due(&id("a"), 0);
    assert!(scheduler.wishes(0, PERMITS, |_| Turn::Blocked).is_empty());
    assert!(scheduler.wishes(0, PERMITS, |_| panic!("asked again")).is_empty());
    assert_eq!(scheduler.next_due_ms(), None);
    scheduler.due(&id("a"), 0);
    assert_eq!(scheduler.wishes(0, PERMITS, |_| Turn::Free).len(), 1);
    scheduler.due(&id("b"), 0);
    assert!(scheduler.wishes(0, PERMITS, |_| Turn::Blocked).is_empty());
    scheduler.forget_blocked();
    assert!(!scheduler.tenants.contains_key(&id("b")));
}

#[test]
fn who_may_run_one_job_at_a_time_gets_the_next_when_that_one_has_ended() {
    let mut scheduler = Scheduler::default();
    let wished = |scheduler: &mut Scheduler, now_ms, turn| {
        let wishes = scheduler.wishes(now_ms, PERMITS, |id| if id.as_str() == "a" { turn } else { Turn::Free });
        wishes.into_iter().map(|wish| (wish.tenant.to_string(), wish.max)).collect::<Vec<_>>()
    };
    ["a", "b"].iter().for_each(|tenant| scheduler.was_fast(&id(tenant)));
    // All waiting jobs are due, and some of them ran before.
    scheduler.due(&id("a"), 0);
    scheduler.granted(&id("a"), 2, Some(0));
    scheduler.due(&id("b"), 0);
    assert_eq!(wished(&mut scheduler, 0, Turn::Single), [("b".to_owned(), 8)]);
    scheduler.ended(&id("a"));
    assert_eq!(wished(&mut scheduler, 0, Turn::Single), []);
    scheduler.ended(&id("a"));
    assert_eq!(wished(&mut scheduler, 0, Turn::Single), [("a".to_owned(), 1)]);
    scheduler.granted(&id("a"), 1, Some(0));
    assert_eq!(wished(&mut scheduler, 0, Turn::Single), []);
    scheduler.ended(&id("a"));
    // The tenant waits for its time, unless it is told otherwise.
    assert_eq!(wished(&mut scheduler, 0, Turn::NotBefore(500)), []);
    assert_eq!((wished(&mut scheduler, 499, Turn::Free), scheduler.next_due_ms()), (vec![], Some(500)));
    assert_eq!(wished(&mut scheduler, 500, Turn::NotBefore(900)), []);
    scheduler.due(&id("a"), 600);
    assert_eq!(wished(&mut scheduler, 600, Turn::Free), [("a".to_owned(), 8)]);
    assert_eq!(wished(&mut scheduler, 10_000, Turn::Free), [], "nothing is left of the times before");
}

#[test]
fn the_earliest_time_counts_and_nothing_is_claimed_before_it() {
    let mut scheduler = Scheduler::default();
    scheduler.due(&id("a"), 500);
    scheduler.due(&id("a"), 900);
    scheduler.due(&id("b"), 700);
    scheduler.due(&id("b"), 600);
    assert_eq!(scheduler.next_due_ms(), Some(500));
    assert!(scheduler.wishes(499, PERMITS, |_| Turn::Free).is_empty());
    assert_eq!(scheduler.wishes(500, PERMITS, |_| Turn::Free).len(), 1);
    assert_eq!(scheduler.next_due_ms(), Some(600));
}

#[test]
fn nothing_is_kept_of_a_tenant_without_jobs() {
    let mut scheduler = Scheduler::default();
    scheduler.due(&id("a"), 0);
    assert_eq!(scheduler.wishes(0, PERMITS, |_| Turn::Free).len(), 1);
    scheduler.granted(&id("a"), 1, None);
    assert_eq!(scheduler.tenants.len(), 1);
    scheduler.ended(&id("a"));
    scheduler.ended(&id("a"));
    assert!(scheduler.tenants.is_empty() && scheduler.timers.is_empty() && scheduler.turns.is_empty());
    assert_eq!(scheduler.running, 0);
}

#[test]
fn a_tenant_whose_tool_was_never_asked_gets_one_permit() {
    let mut bed = Bed::default();
    bed.accept_unknown("new", 100);
    bed.claim_all(PERMITS);
    assert_eq!(bed.running_of("new"), 1);
    bed.scheduler.was_fast(&id("new"));
    bed.end_one();
    bed.claim_all(PERMITS);
    assert_eq!(bed.running_of("new"), 8);
}

#[test]
fn slow_tools_leave_room_for_others_whatever_they_have_waiting() {
    let mut bed = Bed::default();
    let slow: Vec<String> = (0..20).map(|n| format!("slow-{n}")).collect();
    slow.iter().for_each(|tenant| bed.accept_unknown(tenant, 1_000));
    bed.claim_all(PERMITS);
    assert_eq!(bed.running.len(), 20, "one of each");
    slow.iter().for_each(|tenant| bed.scheduler.is_slow(&id(tenant)));
    bed.accept_unknown("new", 1);
    bed.claim_all(PERMITS);
    assert_eq!((bed.running_of("new"), bed.running.len()), (1, 21));
    bed.accept("fast", 100);
    bed.claim_all(PERMITS);
    assert_eq!(bed.running_of("fast"), 8);
    while slow.iter().any(|tenant| bed.running_of(tenant) > 0) && bed.done.len() < 20 {
        bed.end_one();
        bed.claim_all(PERMITS);
    }
    let running = slow.iter().map(|tenant| bed.running_of(tenant)).sum::<usize>();
    assert_eq!(running, PERMITS.slow, "no more and no less: they are not starved either");
    // Tenants take turns, though each has more jobs waiting than there are permits.
    while bed.done.len() < 22 {
        bed.end_one();
        bed.claim_all(PERMITS);
    }
    assert!(slow.iter().all(|tenant| bed.done.contains_key(&id(tenant))), "{:?}", bed.done);
}

#[test]
fn a_slow_tool_is_fast_again_after_fast_jobs_in_a_row() {
    let mut bed = Bed::with(&[("a", 1_000)]);
    let permits = Permits { slow: 2, ..PERMITS };
    bed.scheduler.is_slow(&id("a"));
    for _ in 0..FAST_AGAIN - 1 {
        bed.scheduler.was_fast(&id("a"));
    }
    bed.claim_all(permits);
    assert_eq!(bed.running_of("a"), 2);
    bed.scheduler.is_slow(&id("a"));
    for _ in 0..FAST_AGAIN {
        bed.scheduler.was_fast(&id("a"));
    }
    bed.claim_all(permits);
    bed.end_one();
    bed.claim_all(permits);
    assert_eq!(bed.running_of("a"), 8);
    assert_eq!((bed.scheduler.careful.slow, bed.scheduler.careful.unknown), (0, 0));
}

#[test]
fn a_tenant_that_turns_out_to_be_fast_is_not_held_with_those_that_are_unknown() {
    let mut bed = Bed::default();
    let permits = Permits { slow: 2, careful: 2, ..PERMITS };
    bed.accept_unknown("slow", 10);
    bed.accept_unknown("new", 10);
    bed.claim_all(permits);
    assert_eq!((bed.running_of("slow"), bed.running_of("new")), (1, 1));
    bed.scheduler.is_slow(&id("slow"));
    bed.claim_all(permits);
    assert_eq!(bed.running.len(), 2, "there is no more room for either");
    bed.scheduler.was_fast(&id("new"));
    bed.claim_all(permits);
    assert_eq!(bed.running_of("new"), 8);
    bed.scheduler.forget_paces(|_| false);
    assert_eq!(bed.scheduler.paces.len(), 2, "their jobs run");
}
