//! Decides whose jobs are claimed next: tenants get permits one at a time and in turn, however many jobs each has. No
//! IO.

use std::collections::{BTreeSet, HashMap, VecDeque};

use crate::{ids::TenantId, queue::job::ClaimWish};

/// Maximum number of tenants in one claim, so that accepting never waits long for the writer behind it.
pub const TENANTS_PER_CLAIM_MAX: usize = 64;

/// How many jobs may run.
#[derive(Debug, Clone, Copy)]
pub struct Permits {
    /// Jobs in total.
    pub concurrency: usize,
    /// Jobs of one tenant.
    pub per_tenant: usize,
    /// Jobs of all tenants whose tools were recently slow.
    pub slow: usize,
    /// Jobs of all tenants whose tools were recently slow or are unknown.
    pub careful: usize,
}

/// How fast a tenant's tool was recently.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// The tool has not been asked yet: one job at a time.
    #[default]
    Unknown,
    Fast,
    /// The tool was slow, and then fast this many times in a row.
    Slow(u8),
}

/// Consecutive fast jobs after which a tenant is no longer slow.
const FAST_AGAIN: u8 = 8;

/// What a tenant may do when its turn comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Run as many jobs as there are permits.
    Free,
    /// Run one job at a time.
    Single,
    /// Run none before this time, milliseconds since the epoch.
    NotBefore(i64),
    /// Run none until it is [`due`](Scheduler::due) again.
    Blocked,
}

/// What is known of every tenant that has live jobs, and whose turn it is. Times are milliseconds since the epoch.
#[derive(Debug, Default)]
pub struct Scheduler {
    tenants: HashMap<TenantId, Entry>,
    /// Tenants that are [`Due::At`] a time, earliest first.
    timers: BTreeSet<(i64, TenantId)>,
    /// Tenants that are [`Due::Now`], the next in turn first.
    turns: VecDeque<TenantId>,
    /// Tenants whose turn has come but who wait until fewer slow jobs run, and those who wait until fewer unknown ones
    /// do.
    held: [VecDeque<TenantId>; 2],
    /// The pace of each tenant that was ever asked.
    paces: HashMap<TenantId, Pace>,
    running: usize,
    careful: Careful,
}

/// Running jobs of tenants whose tools are not known to be fast.
#[derive(Debug, Default, Clone, Copy)]
struct Careful {
    slow: usize,
    unknown: usize,
}

impl Careful {
    fn moved(&mut self, pace: Pace, fewer: usize, more: usize) {
        let running = match pace {
            Pace::Fast => return,
            Pace::Slow(_) => &mut self.slow,
            Pace::Unknown => &mut self.unknown,
        };
        *running = running.saturating_sub(fewer) + more;
    }
}

#[derive(Debug, Default)]
struct Entry {
    running: usize,
    due: Due,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// Nothing is known to be due, or it has just been claimed.
    #[default]
    Never,
    /// Due at this time, not before.
    At(i64),
    /// Waits for its turn.
    Now,
    /// Jobs wait but may not run. Only a new due time ends this.
    Blocked,
}

/// A tenant that is given permits.
struct Chosen {
    tenant: TenantId,
    room: usize,
    given: usize,
    pace: Pace,
}

/// Permits left for tenants whose tools are not known to be fast.
#[derive(Debug, Clone, Copy)]
struct Fence {
    slow: usize,
    careful: usize,
}

impl Fence {
    fn lets(self, pace: Pace) -> bool {
        match pace {
            Pace::Fast => true,
            Pace::Unknown => self.careful > 0,
            Pace::Slow(_) => self.careful > 0 && self.slow > 0,
        }
    }

    fn give(&mut self, pace: Pace) {
        match pace {
            Pace::Fast => {}
            Pace::Unknown => self.careful -= 1,
            Pace::Slow(_) => (self.careful, self.slow) = (self.careful - 1, self.slow - 1),
        }
    }
}

impl Scheduler {
    /// Records that a job of this tenant falls due at this time; a time in the past means now. An earlier known time
    /// stays.
    pub fn due(&mut self, tenant: &TenantId, at_ms: i64) {
        let entry = self.tenants.entry(tenant.clone()).or_default();
        match entry.due {
            Due::Now => return,
            Due::At(known_ms) if known_ms <= at_ms => return,
            Due::At(known_ms) => {
                self.timers.remove(&(known_ms, tenant.clone()));
            }
            Due::Never | Due::Blocked => {}
        }
        entry.due = Due::At(at_ms);
        self.timers.insert((at_ms, tenant.clone()));
    }

    /// Distributes the free permits and returns what to claim, as far as `turn_of` lets each tenant. Each wish must be
    /// answered by [`granted`](Self::granted).
    pub fn wishes(
        &mut self,
        now_ms: i64,
        permits: Permits,
        mut turn_of: impl FnMut(&TenantId) -> Turn,
    ) -> Vec<ClaimWish> {
        self.turn_up(now_ms);
        let mut free = permits.concurrency.saturating_sub(self.running);
        let mut fence = self.fence(permits);
        let mut chosen: Vec<Chosen> = Vec::new();
        let mut full = Vec::new();
        while chosen.len() < free.min(TENANTS_PER_CLAIM_MAX) {
            let Some(tenant) = self.next_turn(fence) else { break };
            let pace = self.pace(&tenant);
            let Some(entry) = self.tenants.get_mut(&tenant) else { continue };
            if !fence.lets(pace) {
                self.held[usize::from(pace == Pace::Unknown)].push_back(tenant);
                continue;
            }
            let most = match turn_of(&tenant) {
                Turn::Free if pace == Pace::Unknown => 1,
                Turn::Free => permits.per_tenant,
                Turn::Single => permits.per_tenant.min(1),
                Turn::NotBefore(at_ms) => {
                    entry.due = Due::At(at_ms);
                    self.timers.insert((at_ms, tenant));
                    continue;
                }
                Turn::Blocked => {
                    entry.due = Due::Blocked;
                    continue;
                }
            };
            let room = most.saturating_sub(entry.running);
            if room == 0 {
                full.push(tenant);
            } else {
                entry.due = Due::Never;
                fence.give(pace);
                chosen.push(Chosen { tenant, room, given: 1, pace });
            }
        }
        for tenant in full.into_iter().rev() {
            self.turns.push_front(tenant);
        }
        free -= chosen.len();
        while free > 0 {
            let before = free;
            for tenant in chosen.iter_mut().filter(|tenant| tenant.given < tenant.room) {
                if free > 0 && fence.lets(tenant.pace) {
                    fence.give(tenant.pace);
                    tenant.given += 1;
                    free -= 1;
                }
            }
            if free == before {
                break;
            }
        }
        let wish =
            |chosen: Chosen| ClaimWish { tenant: chosen.tenant, max: u32::try_from(chosen.given).unwrap_or(u32::MAX) };
        chosen.into_iter().map(wish).collect()
    }

    /// Records that this many jobs of the tenant have started, and when the next falls due.
    pub fn granted(&mut self, tenant: &TenantId, jobs: usize, next_due_ms: Option<i64>) {
        self.tenants.entry(tenant.clone()).or_default().running += jobs;
        self.running += jobs;
        self.careful.moved(self.pace(tenant), 0, jobs);
        match next_due_ms {
            Some(at_ms) => self.due(tenant, at_ms),
            None => self.forget_idle(tenant),
        }
    }

    /// Records that a job of the tenant has run so long that its tool must be slow.
    pub fn is_slow(&mut self, tenant: &TenantId) {
        self.set_pace(tenant, Pace::Slow(0));
    }

    /// Records that a job that asked the tenant's tool ended quickly.
    pub fn was_fast(&mut self, tenant: &TenantId) {
        match self.pace(tenant) {
            Pace::Fast => {}
            Pace::Slow(times) if times + 1 < FAST_AGAIN => self.set_pace(tenant, Pace::Slow(times + 1)),
            Pace::Slow(_) | Pace::Unknown => self.set_pace(tenant, Pace::Fast),
        }
    }

    /// Forgets the pace of tenants that are gone.
    pub fn forget_paces(&mut self, is_there: impl Fn(&TenantId) -> bool) {
        let tenants = &self.tenants;
        self.paces.retain(|tenant, _| is_there(tenant) || tenants.contains_key(tenant));
    }

    fn pace(&self, tenant: &TenantId) -> Pace {
        self.paces.get(tenant).copied().unwrap_or_default()
    }

    fn set_pace(&mut self, tenant: &TenantId, pace: Pace) {
        let running = self.tenants.get(tenant).map_or(0, |entry| entry.running);
        self.careful.moved(self.pace(tenant), running, 0);
        self.careful.moved(pace, 0, running);
        self.paces.insert(tenant.clone(), pace);
        if pace == Pace::Fast {
            // Nothing holds the tenant back any more.
            for held in &mut self.held {
                if let Some(at) = held.iter().position(|held| held == tenant) {
                    self.turns.extend(held.remove(at));
                }
            }
        }
    }

    /// The permits that the running jobs leave.
    fn fence(&self, permits: Permits) -> Fence {
        let Careful { slow, unknown } = self.careful;
        Fence { slow: permits.slow.saturating_sub(slow), careful: permits.careful.saturating_sub(slow + unknown) }
    }

    /// The next tenant in turn. Tenants that were held back and can run now come first.
    fn next_turn(&mut self, fence: Fence) -> Option<TenantId> {
        let [slow, unknown] = &mut self.held;
        let held = if fence.lets(Pace::Slow(0)) { slow.pop_front() } else { None };
        let held = held.or_else(|| if fence.lets(Pace::Unknown) { unknown.pop_front() } else { None });
        held.or_else(|| self.turns.pop_front())
    }

    /// Records that a job of the tenant has ended.
    pub fn ended(&mut self, tenant: &TenantId) {
        let pace = self.pace(tenant);
        if let Some(entry) = self.tenants.get_mut(tenant).filter(|entry| entry.running > 0) {
            entry.running -= 1;
            self.running = self.running.saturating_sub(1);
            self.careful.moved(pace, 1, 0);
        }
        self.forget_idle(tenant);
    }

    /// Forgets which tenants may not run, before [`due`](Self::due) reports everything that waits again.
    pub fn forget_blocked(&mut self) {
        self.tenants.retain(|_, entry| {
            if entry.due == Due::Blocked {
                entry.due = Due::Never;
            }
            entry.running > 0 || entry.due != Due::Never
        });
    }

    /// When the next tenant falls due. Tenants that only wait for a permit do not count.
    pub fn next_due_ms(&self) -> Option<i64> {
        self.timers.first().map(|(at_ms, _)| *at_ms)
    }

    /// Queues tenants whose time has come, longest due first.
    fn turn_up(&mut self, now_ms: i64) {
        while self.next_due_ms().is_some_and(|at_ms| at_ms <= now_ms) {
            let Some((_, tenant)) = self.timers.pop_first() else { return };
            if let Some(entry) = self.tenants.get_mut(&tenant) {
                entry.due = Due::Now;
                self.turns.push_back(tenant);
            }
        }
    }

    fn forget_idle(&mut self, tenant: &TenantId) {
        if self.tenants.get(tenant).is_some_and(|entry| entry.running == 0 && entry.due == Due::Never) {
            self.tenants.remove(tenant);
        }
    }
}

#[cfg(test)]
mod tests;
