//! The host's own memory while plugins are replaced under load: little more than under the same load without
//! replacements.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use patchbay_tests::{
    Artifact, Host, Line, created,
    hostile::StopWhenDropped,
    http::{self, Connection},
    wait_until,
};

const FILE: &str = "libdesk.so";
const REPLACEMENTS: usize = 300;
/// Number of replacements of the control: enough to show that each new thread may use its own arena.
const REPLACEMENTS_OF_THE_CONTROL: usize = 30;
const SENDERS: usize = 8;
/// Maximum time of a long load on a machine that may be busy.
const LOAD_TIME_MAX: Duration = Duration::from_secs(300);
/// Number of arenas that the host allows the allocator for each processor.
const ARENAS_PER_PROCESSOR: usize = 4;
/// Each arena but the first begins at a multiple of this size, and reserves as many addresses.
const ARENA_BYTES: u64 = 64 << 20;

fn line(allocator: Option<&str>) -> Line {
    let builder = Host::builder().config("log.level", "\"error\"").config("plugins.settle_ms", 0);
    let builder = builder.config("plugins.fast_deadline_ms", 30_000);
    let builder = match allocator {
        Some(value) => builder.environment("PATCHBAY_TEST_ALLOCATOR", value),
        None => builder,
    };
    let mut line = Line::stopped(builder);
    line.host.put_file(FILE, &Artifact::SCHEMES.bytes());
    line.host.start();
    for sender in 0..SENDERS {
        line.add_tenant(&format!("t{sender}"), "desk_schemes", &[]);
    }
    line
}

/// Sends webhooks on all senders during `run`, which gets the number accepted so far. Returns the final number.
fn under_load(line: &Line, run: impl FnOnce(&AtomicUsize)) -> usize {
    let (stop, accepted) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for sender in 0..SENDERS {
            let (stop, accepted) = (&stop, &accepted);
            scope.spawn(move || {
                let connection = Connection::open(line.host.address()).unwrap();
                let mut tickets = 1..;
                while !stop.load(Ordering::Relaxed) {
                    let ticket: u64 = tickets.next().expect("there is no last number");
                    let request = http::delivery(&created(&format!("t{sender}"), &ticket.to_string()));
                    let answer = connection.exchange(&request).expect("the connection holds");
                    assert_eq!(answer.status, 202, "{}", answer.text());
                    accepted.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _stopped = StopWhenDropped(&stop);
        run(&accepted);
    });
    accepted.into_inner()
}

/// Replaces the plugin this many times under load. Returns how many webhooks were accepted meanwhile.
fn replace(line: &Line, times: usize) -> usize {
    under_load(line, |_| {
        for number in 0..times {
            line.host.put_file(FILE, &[&Artifact::SCHEMES.bytes()[..], &number.to_le_bytes()].concat());
            line.host.ctl(&["reload"]);
        }
    })
}

#[track_caller]
fn done(line: &Line) {
    wait_until("no live jobs, and the last generation alone", LOAD_TIME_MAX, || {
        let jobs = line.host.ctl(&["job", "list", "--limit=1"]);
        let copies = line.host.copies().len();
        (jobs.as_array().unwrap().is_empty() && copies == 1).then_some(())
    });
}

/// The number of the allocator's arenas: the used part of each, and after it its untouched addresses.
fn arenas(line: &Line) -> usize {
    let maps = line.host.maps();
    let parts: Vec<(u64, u64, &str)> = maps
        .lines()
        .map(|line| {
            let (addresses, rest) = line.split_once(' ').unwrap();
            let (start, end) = addresses.split_once('-').unwrap();
            let number = |text| u64::from_str_radix(text, 16).unwrap();
            (number(start), number(end), &rest[..4])
        })
        .collect();
    let is_arena = |pair: &&[(u64, u64, &str)]| {
        let [(start, end, used), (next, last, unused)] = pair else { return false };
        start % ARENA_BYTES == 0 && *used == "rw-p" && next == end && *unused == "---p" && last % ARENA_BYTES == 0
    };
    1 + parts.windows(2).filter(is_arena).count()
}

#[test]
fn three_hundred_replacements_under_load_need_no_more_than_the_load() {
    let replaced = line(None);
    let webhooks = replace(&replaced, REPLACEMENTS);
    assert_eq!(replaced.host.plugin("desk_schemes")["generation"], REPLACEMENTS + 1);
    done(&replaced);
    let calm = line(None);
    under_load(&calm, |accepted| {
        let enough = || (accepted.load(Ordering::Relaxed) >= webhooks).then_some(());
        wait_until("the same load", LOAD_TIME_MAX, enough);
    });
    done(&calm);
    let (with, without) = (replaced.host.anonymous_kib(), calm.host.anonymous_kib());
    eprintln!("after {webhooks} webhooks: {with} KiB with {REPLACEMENTS} replacements, {without} KiB without");
    assert!(with * 2 <= without * 3, "{with} KiB with replacements, {without} KiB without");
}

/// The control: the allocator with its default settings.
#[test]
fn threads_that_come_and_go_leave_no_arenas_behind() {
    let most = thread::available_parallelism().unwrap().get() * ARENAS_PER_PROCESSOR;
    for (allocator, bounded) in [(None, true), (Some("as_it_comes"), false)] {
        let line = line(allocator);
        replace(&line, REPLACEMENTS_OF_THE_CONTROL);
        done(&line);
        let found = arenas(&line);
        eprintln!("{allocator:?}: {found} arenas, {} KiB", line.host.anonymous_kib());
        assert_eq!(found <= most, bounded, "{found} arenas; {allocator:?}");
    }
}
