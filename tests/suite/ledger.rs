//! The ledger: senders write every 202 down before they count it, while the host is killed repeatedly under load. At
//! the end each is exactly one finished job, and each ticket has exactly one note.
//!
//! `PATCHBAY_TEST_LEDGER_KILLS` sets how often the host is killed (20), `PATCHBAY_TEST_LEDGER_SEED` at which moments.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    hint,
    io::Write as _,
    net::SocketAddr,
    path::Path,
    sync::{Condvar, Mutex, MutexGuard},
    thread,
    time::{Duration, Instant},
};

use patchbay_tests::{
    Artifact, Host, Line, TOOL, WAIT_MAX, created,
    http::{self, Connection},
    wait_until,
};
use sandbox::{Sandbox, TicketFields};
use serde_json::Value;

/// Default number of kills.
const KILLS: usize = 20;
const SEED: u64 = 0x1ed9;
/// Number of senders, each with its own connection and one tenant at a time.
const SENDERS: usize = 4;
/// Number of tickets that each sender gets with each start of the host.
const TICKETS_PER_RUN: usize = 25;
/// A tenant's jobs must fit into one list.
const RUNS_PER_TENANT: usize = 1_000 / TICKETS_PER_RUN;
/// Longest delay of a kill after an answer, so that it can hit whatever happens between two answers.
const LATER_MAX: Duration = Duration::from_millis(4);
/// Maximum time for all jobs to finish once nobody kills the host any more.
const END_TIME_MAX: Duration = Duration::from_secs(60);

/// What one sender has to send.
#[derive(Clone, Copy)]
struct Parcel {
    sender: usize,
    run: usize,
    number: usize,
}

impl Parcel {
    fn ticket(self) -> String {
        ((self.run * TICKETS_PER_RUN + self.number) * SENDERS + self.sender + 1).to_string()
    }

    fn tenant(self) -> String {
        format!("t{}-{}", self.sender, self.run / RUNS_PER_TENANT)
    }
}

/// State shared by senders and killer: the host's address, and the number of answers.
struct Shared {
    now: Mutex<Now>,
    changed: Condvar,
}

struct Now {
    /// Number of the host's starts.
    runs: usize,
    up: Option<SocketAddr>,
    /// Number of answers since the last start.
    answered: usize,
}

impl Shared {
    fn wait(&self, what: &str, wanted: impl Fn(&Now) -> bool) -> MutexGuard<'_, Now> {
        let now = self.now.lock().unwrap();
        let (now, waited) = self.changed.wait_timeout_while(now, WAIT_MAX, |now| !wanted(now)).unwrap();
        assert!(!waited.timed_out(), "{what}: not within {WAIT_MAX:?}");
        now
    }

    fn change(&self, change: impl FnOnce(&mut Now)) {
        change(&mut self.now.lock().unwrap());
        self.changed.notify_all();
    }
}

/// Sends all parcels of one sender. Each is repeated until it is answered, and its 202 goes into the ledger.
fn send_all(sender: usize, runs: usize, shared: &Shared, tool: &Sandbox, ledger: &Mutex<File>) {
    let mut connection = None;
    for run in 0..runs {
        drop(shared.wait("the next start", |now| now.runs > run));
        for number in 0..TICKETS_PER_RUN {
            let parcel = Parcel { sender, run, number };
            tool.put_ticket(TOOL, &parcel.ticket(), TicketFields::default()).unwrap();
            let request = http::delivery(&created(&parcel.tenant(), &parcel.ticket()));
            let answer = loop {
                connection = connection.or_else(|| {
                    let up = shared.wait("the host", |now| now.up.is_some()).up.unwrap();
                    Connection::open(up)
                });
                match connection.as_ref().and_then(|connection| connection.exchange(&request)) {
                    Some(answer) => break answer,
                    None => connection = None,
                }
            };
            assert_eq!(answer.status, 202, "{}", answer.text());
            let mut ledger = ledger.lock().unwrap();
            writeln!(ledger, "{}", parcel.ticket()).and_then(|()| ledger.flush()).unwrap();
            drop(ledger);
            shared.change(|now| now.answered += 1);
        }
    }
}

/// Starts and kills the host repeatedly, each time some answers and a moment after the start.
fn kill_again_and_again(host: &mut Host, kills: usize, seed: u64, shared: &Shared) {
    let mut random = seed;
    for run in 0..=kills {
        if run > 0 {
            host.start();
        }
        let up = Some(host.address());
        shared.change(|now| *now = Now { runs: run + 1, up, answered: 0 });
        if run == kills {
            return;
        }
        let answers = next(&mut random) % (SENDERS * TICKETS_PER_RUN) + 1;
        let later = LATER_MAX / 1_000 * u32::try_from(next(&mut random) % 1_000).unwrap();
        let answered = shared.wait("answers", |now| now.answered >= answers);
        drop(answered);
        let at = Instant::now() + later;
        while Instant::now() < at {
            hint::spin_loop();
        }
        shared.change(|now| now.up = None);
        host.kill9();
    }
}

/// The next number of the sequence (SplitMix64).
fn next(state: &mut u64) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    usize::try_from((mixed ^ (mixed >> 31)) >> 33).unwrap()
}

fn from_environment<T: std::str::FromStr>(name: &str, default: T) -> T {
    std::env::var(name).map_or(default, |text| text.parse().ok().unwrap_or_else(|| panic!("{name}={text}")))
}

/// The tickets of the ledger, each with its number of entries.
fn read(ledger: &Path) -> BTreeMap<String, usize> {
    let mut counted = BTreeMap::new();
    for ticket in fs::read_to_string(ledger).unwrap().lines() {
        *counted.entry(ticket.to_owned()).or_default() += 1;
    }
    counted
}

/// The tickets of a tenant's jobs in this state.
fn jobs(host: &Host, tenant: &str, state: &str) -> Vec<Value> {
    let listed = host.ctl(&["job", "list", "--limit=1000", "--tenant", tenant, "--state", state]);
    listed.as_array().unwrap().clone()
}

#[test]
fn every_202_is_one_job_and_one_note_however_often_the_host_is_killed() {
    let kills = from_environment("PATCHBAY_TEST_LEDGER_KILLS", KILLS);
    let seed = from_environment("PATCHBAY_TEST_LEDGER_SEED", SEED);
    // The fast deadline does not matter here, and the machine may be busy.
    let builder = Host::builder().config("plugins.fast_deadline_ms", 10_000).config("log.level", "\"info\"");
    let builder = builder.plugin(Artifact::SERVICEDESK_PLUS);
    let mut line = Line::start(builder);
    let runs = kills + 1;
    let tenants: Vec<_> = (0..runs)
        .step_by(RUNS_PER_TENANT)
        .flat_map(|run| (0..SENDERS).map(move |sender| Parcel { sender, run, number: 0 }.tenant()))
        .collect();
    tenants.iter().for_each(|tenant| line.add_tenant(tenant, "servicedesk_plus", &[]));
    let path = line.host.folder().join("ledger");
    let ledger = Mutex::new(File::create(&path).unwrap());
    let shared = Shared { now: Mutex::new(Now { runs: 0, up: None, answered: 0 }), changed: Condvar::new() };
    thread::scope(|scope| {
        let (shared, ledger, tool) = (&shared, &ledger, &line.tool);
        for sender in 0..SENDERS {
            scope.spawn(move || send_all(sender, runs, shared, tool, ledger));
        }
        kill_again_and_again(&mut line.host, kills, seed, shared);
    });
    wait_until("no live jobs", END_TIME_MAX, || {
        let left = line.host.ctl(&["job", "list", "--limit=1"]);
        let left = left.as_array().unwrap();
        assert!(left.iter().all(|job| job["state"] != "dead"), "seed {seed}: {left:#?}");
        left.is_empty().then_some(())
    });

    let told = read(&path);
    assert_eq!(told.len(), runs * SENDERS * TICKETS_PER_RUN);
    let mut done = BTreeMap::<_, usize>::new();
    let mut cut_off = 0;
    for tenant in &tenants {
        assert_eq!(jobs(&line.host, tenant, "dead"), Vec::<Value>::new(), "seed {seed}");
        for job in jobs(&line.host, tenant, "done") {
            assert_eq!(job["outcome"], "done", "seed {seed}: {job:#}");
            cut_off += usize::from(job["attempts"] != 1);
            *done.entry(job["ticket_id"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    // Each ticket once in both.
    assert_eq!(done, told, "seed {seed}");
    for ticket in told.keys() {
        let notes = line.tool.ticket(TOOL, ticket).unwrap().notes.len();
        assert_eq!(notes, 1, "seed {seed}: ticket {ticket}");
    }
    eprintln!("{kills} kills, {} answers of 202, {cut_off} jobs took more than one attempt", told.len());
}
