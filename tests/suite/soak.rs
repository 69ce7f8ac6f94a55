//! Half load for a while, with a fault at one delivery in a hundred: at the tool, on the disk, with the plugin's file,
//! with the clock, or the host is killed. At the end every 202 is one note, or a dead letter with its reason, and the
//! host has no more memory, threads, files and processes than in the middle.
//!
//! `PATCHBAY_TEST_SOAK_S` sets the duration (90 s), `PATCHBAY_TEST_SOAK_SEED` at which deliveries the faults come. The
//! full load is first measured on the machine as it is.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{
        Condvar, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    },
    thread,
    time::{Duration, Instant},
};

use patchbay_tests::{
    Artifact, Census, Host, Line, TOOL, WAIT_MAX, created,
    http::{self, Connection},
    wait_until,
};
use sandbox::{Effect, Fault, Sandbox, Target, TicketFields};
use serde_json::Value;

/// Default duration, in seconds.
const SECONDS: u64 = 90;
const SEED: usize = 0x50a4;
/// Number of senders, each with its own connection.
const SENDERS: usize = 8;
const TENANTS: usize = 4;
/// Number of tickets that measure what the machine can do.
const TRIAL_TICKETS: usize = 400;
/// Maximum number of tickets; the sandbox has room for some more.
const TICKETS_MAX: usize = 90_000;
/// Deliveries for each fault; fewer if each kind would otherwise come less than twice.
const DELIVERIES_PER_FAULT: usize = 100;
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Larger than the configuration below allows for an answer.
const HUGE_BYTES: usize = 2 << 20;
const ANSWER_BYTES_MAX: usize = 1 << 20;
const SLOW_MS: u64 = 2_000;
/// Few enough that lanes that come and go do not look like a leak of threads.
const SLOW_LANES_MAX: usize = 8;
/// How far the clock is set, forward and then back.
const CLOCK_STEP_MS: i64 = 600_000;
/// Longer than a sender may have to wait while the host is killed, the disk is full and the machine is busy.
const TAKEN_TIME_MAX: Duration = Duration::from_secs(120);
/// Maximum time for all jobs to finish once the faults are over.
const END_TIME_MAX: Duration = Duration::from_secs(300);
/// Memory that the second half may use beyond the first, in addition to a fifth.
const MEMORY_SLACK_KIB: u64 = 8 << 10;
const COUNT_SLACK: u64 = 8;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// The tool answers 500.
    Status,
    /// The tool answers 429, with a time to retry.
    TooMany,
    /// The tool closes the connection.
    Reset,
    /// The tool closes the connection after doing the work.
    Lost,
    /// The tool sends half of its answer.
    Cut,
    /// The tool answers after a while.
    Slow,
    /// The tool answers with an HTML page.
    Garbage,
    /// The tool answers with more than is accepted, which is final.
    Huge,
    /// The tool does not have the ticket and never will.
    Missing,
    /// Nothing can be written for a while.
    Disk,
    /// The clock is set.
    Clock,
    /// The plugin's file is replaced.
    Replace,
    /// The host is killed and started again.
    Kill,
}

const KINDS: [Kind; 13] = [
    Kind::Status,
    Kind::Kill,
    Kind::TooMany,
    Kind::Replace,
    Kind::Reset,
    Kind::Disk,
    Kind::Lost,
    Kind::Clock,
    Kind::Cut,
    Kind::Missing,
    Kind::Slow,
    Kind::Garbage,
    Kind::Huge,
];

impl Kind {
    /// The tool's fault, if this kind is one of the tool.
    fn fault(self) -> Option<Fault> {
        let status = |status, body| Effect::Status { status, body, content_type: None };
        let effect = match self {
            Self::Status => status(500, None),
            Self::TooMany => Effect::RateLimited { retry_after: Some("1".to_owned()) },
            Self::Reset => Effect::DropBefore,
            Self::Lost => Effect::DropAfter,
            Self::Cut => Effect::CutBody,
            Self::Garbage => Effect::Html,
            Self::Huge => status(200, Some(" ".repeat(HUGE_BYTES))),
            Self::Slow => return Some(Fault { times: Some(1), delay_ms: SLOW_MS, ..Fault::default() }),
            Self::Missing | Self::Disk | Self::Clock | Self::Replace | Self::Kill => return None,
        };
        let operation = if self == Self::Lost { Target::Note } else { Target::Any };
        Some(Fault { operation, times: Some(1), effect: Some(effect), ..Fault::default() })
    }
}

/// Which fault comes at which delivery: seeded moments, with the kinds in turn. Kills come in the first quarter, so
/// that the measured run is a long one.
struct Plan {
    seed: usize,
    deliveries: usize,
}

impl Plan {
    fn faults(&self) -> BTreeMap<usize, Kind> {
        let distance = DELIVERIES_PER_FAULT.min(self.deliveries / (2 * KINDS.len())).max(1);
        let mut kinds = KINDS.iter().cycle();
        let mut faults = BTreeMap::new();
        for from in (0..self.deliveries).step_by(distance) {
            // The last interval may be a short one.
            let at = from + mixed(self.seed + from) % distance.min(self.deliveries - from);
            let may_kill = at < self.deliveries / 4;
            faults.extend(kinds.find(|kind| may_kill || **kind != Kind::Kill).map(|kind| (at, *kind)));
        }
        faults
    }
}

/// A random-looking number (SplitMix64).
fn mixed(number: usize) -> usize {
    let mixed = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    usize::try_from((mixed ^ (mixed >> 27)) >> 33).expect("31 bits fit")
}

/// The host's address, and the answers to the senders.
struct Shared {
    now: Mutex<Now>,
    changed: Condvar,
    next: AtomicUsize,
}

#[derive(Default)]
struct Now {
    up: Option<SocketAddr>,
    /// Number of deliveries answered 503.
    refused: usize,
    sent: usize,
    /// Tickets whose webhook was answered 202.
    taken: BTreeSet<usize>,
}

impl Shared {
    fn at(host: &Host) -> Self {
        let now = Now { up: Some(host.address()), ..Now::default() };
        Self { now: Mutex::new(now), changed: Condvar::new(), next: AtomicUsize::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut Now)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    fn wait(&self, what: &str, wanted: impl Fn(&Now) -> bool) -> MutexGuard<'_, Now> {
        let (now, waited) = self.changed.wait_timeout_while(self.lock(), WAIT_MAX, |now| !wanted(now)).unwrap();
        assert!(!waited.timed_out(), "{what}: not within {WAIT_MAX:?}");
        now
    }
}

/// A load: this many tickets from `first` on, at this pace or as fast as the host accepts them, with these faults.
struct Load<'a> {
    shared: &'a Shared,
    tool: &'a Sandbox,
    first: usize,
    count: usize,
    every: Duration,
    faults: &'a BTreeMap<usize, Kind>,
}

impl Load<'_> {
    /// Runs one sender until everything is sent. Faults outside the tool go to the receiver.
    fn send(&self, elsewhere: &SyncSender<Kind>) {
        let began = Instant::now();
        let mut connection = None;
        loop {
            let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.count {
                return;
            }
            let due = began + self.every * u32::try_from(number).unwrap();
            wait_until("the next delivery's turn", WAIT_MAX, || (Instant::now() >= due).then_some(()));
            let ticket = self.first + number;
            let kind = self.faults.get(&number).copied();
            if kind != Some(Kind::Missing) {
                self.tool.put_ticket(TOOL, &ticket.to_string(), TicketFields::default()).unwrap();
            }
            match kind.and_then(Kind::fault) {
                Some(fault) => self.tool.set_faults(vec![fault]).unwrap(),
                None => kind.into_iter().for_each(|kind| elsewhere.send(kind).unwrap()),
            }
            self.deliver(ticket, &mut connection);
        }
    }

    /// Sends a webhook until it is accepted.
    fn deliver(&self, ticket: usize, connection: &mut Option<Connection>) {
        let request = http::delivery(&created(&tenant(ticket), &ticket.to_string()));
        wait_until("the webhook is taken", TAKEN_TIME_MAX, || {
            if connection.is_none() {
                let up = self.shared.wait("the host is up", |now| now.up.is_some()).up?;
                *connection = Connection::open(up);
            }
            self.shared.lock().sent += 1;
            let answer = connection.as_ref()?.exchange(&request);
            match answer.as_ref().map(|answer| answer.status) {
                Some(202) => {}
                Some(503 | 429) => {
                    self.shared.change(|now| now.refused += 1);
                    return None;
                }
                Some(_) => panic!("{answer:?}"),
                None => {
                    *connection = None;
                    return None;
                }
            }
            self.shared.change(|now| {
                now.taken.insert(ticket);
            });
            Some(())
        });
    }
}

fn tenant(ticket: usize) -> String {
    format!("t{}", ticket % TENANTS)
}

/// Injects faults into the host, and measures it every second since its last start.
struct Warden<'a> {
    host: &'a mut Host,
    shared: &'a Shared,
    clock_ms: i64,
    replaced: u64,
    looks: Vec<Census>,
}

impl Warden<'_> {
    /// Works until all senders have ended.
    fn watch(&mut self, elsewhere: &Receiver<Kind>) {
        let mut next = Instant::now() + LOOK_EVERY;
        loop {
            match elsewhere.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(kind) => self.carry_out(kind),
                Err(RecvTimeoutError::Timeout) => {
                    self.looks.push(Census::of(self.host.process_id()));
                    next = Instant::now() + LOOK_EVERY;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn carry_out(&mut self, kind: Kind) {
        match kind {
            Kind::Kill => self.kill(),
            Kind::Replace => {
                self.replaced += 1;
                let bytes = [&Artifact::SERVICEDESK_PLUS.bytes()[..], &self.replaced.to_le_bytes()].concat();
                self.host.put_file(&file_name(), &bytes);
            }
            Kind::Clock => {
                let step_ms = if self.clock_ms > 0 { -CLOCK_STEP_MS } else { CLOCK_STEP_MS };
                self.host.set_clock(step_ms);
                self.clock_ms += step_ms;
            }
            Kind::Disk => {
                let before = self.shared.lock().refused;
                self.host.limit_files(Some(0));
                // The last delivery may have been accepted already.
                drop(self.shared.wait("a delivery is refused", |now| {
                    now.refused > before || now.taken.len() >= self.shared.next.load(Ordering::Relaxed)
                }));
                self.host.limit_files(None);
            }
            _ => {}
        }
    }

    fn kill(&mut self) {
        self.shared.change(|now| now.up = None);
        self.host.kill9();
        self.host.start();
        self.clock_ms = 0;
        self.looks.clear();
        let up = Some(self.host.address());
        self.shared.change(|now| now.up = up);
    }
}

fn file_name() -> String {
    Artifact::SERVICEDESK_PLUS.path().file_name().unwrap().to_string_lossy().into_owned()
}

/// The host's resources in the first and in the second half of the measurements, as medians. The first fifth is left
/// out, because many things are used for the first time then.
fn halves(looks: &[Census]) -> [Census; 2] {
    let looks = &looks[looks.len() / 5..];
    let middle = |looks: &[Census], what: fn(&Census) -> u64| {
        let mut values: Vec<_> = looks.iter().map(what).collect();
        values.sort_unstable();
        values[values.len() / 2]
    };
    let (first, second) = looks.split_at(looks.len() / 2);
    [first, second].map(|half| Census {
        memory_kib: middle(half, |look| look.memory_kib),
        threads: middle(half, |look| look.threads),
        files: middle(half, |look| look.files),
        children: middle(half, |look| look.children),
    })
}

/// Whether the second half has no more than the first, apart from fluctuation.
fn is_flat([first, second]: [Census; 2]) -> bool {
    let within = |first: u64, second: u64, slack: u64| second <= first + first / 5 + slack;
    within(first.memory_kib, second.memory_kib, MEMORY_SLACK_KIB)
        && within(first.threads, second.threads, COUNT_SLACK)
        && within(first.files, second.files, COUNT_SLACK)
        && within(first.children, second.children, 1)
}

/// The result for a ticket whose webhook was answered 202.
#[derive(Debug, Default)]
struct Became {
    notes: usize,
    /// Why its job was given up.
    dead: Option<String>,
}

/// The tickets that are neither one note nor a dead letter with its reason.
fn unaccounted(became: &BTreeMap<usize, Became>) -> Vec<(usize, &Became)> {
    let is_one = |became: &Became| match &became.dead {
        None => became.notes == 1,
        Some(reason) => became.notes <= 1 && !reason.is_empty(),
    };
    became.iter().filter(|(_, became)| !is_one(became)).map(|(ticket, became)| (*ticket, became)).collect()
}

fn list(host: &Host, args: &[&str]) -> Vec<Value> {
    host.ctl(&[&["job", "list", "--limit=1000"], args].concat()).as_array().unwrap().clone()
}

/// Lets time pass until only jobs of missing tickets are live, and then until those are given up.
fn settle(line: &Line, missing: &BTreeSet<String>) {
    wait_until("the jobs of all tickets that exist are done", END_TIME_MAX, || {
        line.host.advance_clock(Duration::from_secs(20));
        let live = list(&line.host, &[]);
        let is_missing = |job: &Value| missing.contains(job["ticket_id"].as_str().unwrap());
        live.iter().all(|job| job["state"] == "dead" || is_missing(job)).then_some(())
    });
    line.run_out();
}

fn from_environment<T: std::str::FromStr>(name: &str, default: T) -> T {
    std::env::var(name).map_or(default, |text| text.parse().ok().unwrap_or_else(|| panic!("{name}={text}")))
}

fn line() -> Line {
    // The fast deadline does not matter here, and the machine may be busy.
    let builder = Host::builder()
        .plugin(Artifact::SERVICEDESK_PLUS)
        .config("plugins.watch", true)
        .config("plugins.fast_deadline_ms", 10_000)
        .config("plugins.slow_lanes_max", SLOW_LANES_MAX)
        .config("http.answer_bytes_max", ANSWER_BYTES_MAX)
        .config("log.level", "\"warn\"");
    let line = Line::start(builder);
    for number in 0..TENANTS {
        line.add_tenant(&tenant(number), "servicedesk_plus", &[]);
        // The host's clock goes wrong; that of the senders does not.
        line.host.ctl(&["tenant", "update", &tenant(number), "--replay-window=2h", "--replay-ahead=2h"]);
    }
    line
}

/// Sends a whole load, while the warden injects the faults.
fn run(load: &Load<'_>, warden: &mut Warden<'_>) {
    let (tell, elsewhere) = mpsc::sync_channel(KINDS.len());
    thread::scope(|scope| {
        for _ in 0..SENDERS {
            let tell = tell.clone();
            scope.spawn(move || load.send(&tell));
        }
        drop(tell);
        warden.watch(&elsewhere);
    });
}

#[test]
fn half_load_with_faults_of_every_kind_loses_nothing_and_grows_nothing() {
    let seconds = from_environment("PATCHBAY_TEST_SOAK_S", SECONDS);
    let seed = from_environment("PATCHBAY_TEST_SOAK_SEED", SEED);
    let Line { tool, mut host } = line();

    // As fast as possible, until the last note is posted.
    let trial = Shared::at(&host);
    let none = BTreeMap::new();
    let began = Instant::now();
    let mut warden = Warden { host: &mut host, shared: &trial, clock_ms: 0, replaced: 0, looks: Vec::new() };
    let every = Duration::ZERO;
    run(&Load { shared: &trial, tool: &tool, first: 1, count: TRIAL_TICKETS, every, faults: &none }, &mut warden);
    (1..=TRIAL_TICKETS).for_each(|ticket| drop(tool.wait_for_notes(TOOL, &ticket.to_string(), 1, WAIT_MAX).unwrap()));
    let whole = began.elapsed();

    let every = (whole * 2 / u32::try_from(TRIAL_TICKETS).unwrap())
        .max(Duration::from_secs(seconds) / u32::try_from(TICKETS_MAX).unwrap());
    let deliveries = usize::try_from(Duration::from_secs(seconds).as_nanos() / every.as_nanos()).unwrap();
    let faults = Plan { seed, deliveries }.faults();
    let first = TRIAL_TICKETS + 1;
    let shared = Shared::at(&host);
    let mut warden = Warden { host: &mut host, shared: &shared, clock_ms: 0, replaced: 0, looks: Vec::new() };
    run(&Load { shared: &shared, tool: &tool, first, count: deliveries, every, faults: &faults }, &mut warden);
    let looks = std::mem::take(&mut warden.looks);
    warden.kill();

    tool.set_faults(Vec::new()).unwrap();
    let line = Line { tool, host };
    let missing = faults.iter().filter(|(_, kind)| **kind == Kind::Missing);
    let missing: BTreeSet<_> = missing.map(|(number, _)| (first + number).to_string()).collect();
    settle(&line, &missing);

    let Now { taken, sent, .. } = std::mem::take(&mut *shared.lock());
    assert_eq!(taken.len(), deliveries, "all are taken in the end");
    let notes = |ticket: &usize| line.notes(&ticket.to_string()).len();
    let mut became: BTreeMap<_, _> =
        taken.iter().map(|ticket| (*ticket, Became { notes: notes(ticket), dead: None })).collect();
    for job in list(&line.host, &["--state", "dead"]) {
        let ticket = job["ticket_id"].as_str().unwrap().parse().unwrap();
        became.entry(ticket).or_default().dead = Some(job["last_error"]["code"].as_str().unwrap_or("").to_owned());
    }
    let mut dead = BTreeMap::<_, BTreeSet<_>>::new();
    for (ticket, became) in &became {
        if let Some(reason) = &became.dead {
            dead.entry(reason.as_str()).or_default().insert(ticket.to_string());
        }
    }
    let given_up: BTreeMap<_, _> = dead.iter().map(|(reason, tickets)| (*reason, tickets.len())).collect();
    let mut counted = BTreeMap::<_, usize>::new();
    faults.values().for_each(|kind| *counted.entry(*kind).or_default() += 1);
    let halves = halves(&looks);
    eprintln!(
        "soak of {seconds} s, seed {seed}: a trial of {TRIAL_TICKETS} took {whole:.1?}, one delivery each {every:.1?}; {sent} \
         requests, {deliveries} answered 202, {} notes; dead letters: {given_up:?}; faults: {counted:?}; {} looks, halves: {halves:?}",
        became.values().map(|became| became.notes).sum::<usize>(),
        looks.len(),
    );
    assert!(KINDS.iter().all(|kind| counted.contains_key(kind)), "every kind: {counted:?}");
    let lost = unaccounted(&became);
    assert!(lost.is_empty(), "seed {seed}: {lost:?}");
    assert_eq!(dead.remove("not_found").unwrap_or_default(), missing, "seed {seed}");
    let too_large = dead.remove("malformed").unwrap_or_default().len();
    assert!(too_large <= counted[&Kind::Huge] && dead.is_empty(), "seed {seed}: {too_large}, {dead:?}");
    assert!(is_flat(halves), "seed {seed}: {looks:?}");
    let list = line.host.ctl(&["info", "servicedesk_plus"]);
    let generations = list["generations"].as_array().unwrap();
    assert!(generations.iter().all(|generation| generation["state"] != "retained"), "{list:#}");
}

/// The controls: the soak would notice what it looks for.
#[test]
fn what_is_lost_doubled_or_leaks_is_seen() {
    let became = |notes, dead: Option<&str>| Became { notes, dead: dead.map(str::to_owned) };
    for (became, is_well) in [
        (became(1, None), true),
        (became(0, Some("not_found")), true),
        (became(1, Some("api")), true),
        (became(0, None), false),
        (became(2, None), false),
        (became(0, Some("")), false),
        (became(2, Some("api")), false),
    ] {
        let all = BTreeMap::from([(7, became)]);
        assert_eq!(unaccounted(&all).is_empty(), is_well, "{all:?}");
    }
    let steady = Census { memory_kib: 30_000, threads: 40, files: 60, children: 0 };
    let grown = |by: fn(&mut Census, u64)| {
        let looks = (0..100).map(|second| {
            let mut look = steady;
            by(&mut look, second);
            look
        });
        is_flat(halves(&looks.collect::<Vec<_>>()))
    };
    assert!(grown(|_, _| {}));
    assert!(grown(|look, second| look.children = second % 2), "a probe now and then");
    assert!(!grown(|look, second| look.memory_kib += 1_000 * second));
    assert!(!grown(|look, second| look.threads += second));
    assert!(!grown(|look, second| look.files += second));
    assert!(!grown(|look, second| look.children += second / 10));
}

#[test]
fn the_plan_has_every_kind_and_kills_early() {
    for deliveries in [30, 700, 9_000, TICKETS_MAX] {
        let faults = Plan { seed: SEED, deliveries }.faults();
        assert!(KINDS.iter().all(|kind| faults.values().any(|planned| planned == kind)), "{deliveries}: {faults:?}");
        let last_kill = faults.iter().filter(|(_, kind)| **kind == Kind::Kill).map(|(at, _)| at).max();
        assert!(last_kill.is_some_and(|at| *at < deliveries / 4), "{deliveries}: {last_kill:?}");
    }
}
