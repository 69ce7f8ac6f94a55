//! A library whose constructor or destructor hangs holds the dynamic linker's lock: no thread can start, and none can
//! register a thread-local's destructor. Webhooks are still accepted, and the host ends in order for a single restart.

use std::{
    collections::BTreeSet,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
};

use object::{Object as _, ObjectSymbol as _, SymbolKind};
use patchbay_tests::{
    Artifact, Host, Line, created,
    hostile::{FILE, TOOL_TYPE, ordered},
    resolved,
};
use rustix::process::Signal;
use sandbox::{Effect, Target};

#[test]
fn a_constructor_that_hangs_costs_one_restart_in_order() {
    blocks_the_linker("constructor@host:hang", &["reload"]);
}

#[test]
fn a_destructor_that_hangs_costs_one_restart_in_order() {
    blocks_the_linker("destructor@host:hang", &["reload", TOOL_TYPE]);
}

/// Checks a command that makes the host open, or close, the hostile plugin's library, which never returns.
#[track_caller]
fn blocks_the_linker(orders: &str, command: &[&str]) {
    let builder = Host::builder().plugin(Artifact::GOOD).config("plugins.settle_ms", 0);
    let builder = builder.config("plugins.slow_deadline_s", 3).config("http.connect_s", 1).config("http.read_s", 1);
    let mut line = Line::start(builder);
    line.add_tenant("good", "desk_good", &[]);
    line.open_ticket("7");
    // A lane uses its plugin's thread-locals in its first call.
    assert_eq!(line.host.send(&created("good", "1")).status, 202);
    line.host.put_file(FILE, &ordered(orders));
    if command.len() > 1 {
        line.host.ctl(&["reload"]);
    }
    thread::scope(|scope| {
        let reload = scope.spawn(|| line.host.try_ctl(command));
        let mut sent = 0;
        while !line.host.log().contains("the dynamic linker is stuck") {
            let webhook = created("good", &(101 + sent).to_string());
            // The host may stop listening between the two checks.
            let Ok(answer) = catch_unwind(AssertUnwindSafe(|| line.host.send(&webhook))) else { break };
            assert_eq!(answer.status, 202, "delivery {sent}: {}", answer.text());
            sent += 1;
        }
        line.host.wait_for_log(&["the dynamic linker is stuck"]);
        assert!(sent > 100, "only {sent} deliveries in all the time");
        // It serves if only the closing of the old one hangs; it is refused; or the host has ended by now.
        let ended = reload.join().expect("plugin-ctl runs");
        assert!([0, 1, 3].contains(&ended.code), "{ended:?}");
    });
    let ended = line.host.end();
    assert_eq!(ended.code, Some(75), "{}", ended.log);
    line.host.start();
    let row = line.host.plugin(TOOL_TYPE);
    assert_eq!(row["state"], "quarantined", "{row:#}");
    assert_eq!(line.host.send(&created("good", "7")).status, 202);
    line.note_on("7");
}

#[test]
fn a_host_that_is_told_to_stay_goes_on_without_loading_anything() {
    let builder = Host::builder().plugin(Artifact::GOOD).config("plugins.settle_ms", 0);
    let mut line = Line::start(builder.config("plugins.when_stuck", "\"stay\""));
    line.add_tenant("good", "desk_good", &[]);
    assert_eq!(line.host.send(&created("good", "1")).status, 202);
    line.host.put_file(FILE, &ordered("constructor@host:hang"));
    assert_eq!(line.host.try_ctl(&["reload"]).code, 1);
    line.host.wait_for_log(&["the dynamic linker is stuck", "until the host is restarted"]);
    for ticket in 2..102 {
        assert_eq!(line.host.send(&created("good", &ticket.to_string())).status, 202, "{ticket}");
    }
    let refused = line.host.try_ctl(&["reload", "desk_good"]);
    assert!(refused.code == 1 && refused.stdout.contains("LOADER_STUCK"), "{refused:?}");
    assert_eq!(line.host.send(&created("good", "102")).status, 202);
    line.host.signal(Signal::TERM);
    let ended = line.host.end();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    line.host.start();
    assert_eq!(line.host.plugin(TOOL_TYPE)["state"], "quarantined");
}

/// Parts of the symbols of thread-locals with a destructor, which `host/src/threads.rs` therefore uses early.
const USED_EARLY: [&str; 9] = [
    "std4sync4mpmc7context",
    "crossbeam_channel7context",
    "parking_lot_core11parking_lot16with_thread_data",
    "arc_swap4debt4list",
    "tokio7runtime7context",
    "rand4rngs6thread",
    "sharded_slab3tid12REGISTRATION",
    "thread_local9thread_id12THREAD_GUARD",
    "tracing_subscriber..fmt..fmt_layer",
];
/// Parts of the symbols of thread-locals with a destructor, but without danger.
const HARMLESS: [&str; 5] = [
    // Used when a thread of ours starts, before it does any work.
    "std6thread9spawnhook11SPAWN_HOOKS",
    // Used when blocking on a future, which the plugin manager and the main thread do first.
    "tokio7runtime4park14CURRENT_PARKER",
    // Used only when a test captures output, a logger is set temporarily, or a type's layout is printed.
    "std2io5stdio14OUTPUT_CAPTURE",
    "tracing_core10dispatcher13CURRENT_STATE",
    "abi_stable11type_layout8printing11DEBUG_STATE",
];
const WITHOUT_DESTRUCTOR: [&str; 13] = [
    "std9panicking11panic_count",
    "std4hash6random",
    "std4sync4mpmc5waker17current_thread_id",
    "std6thread7current7CURRENT",
    "std6thread7current2id",
    "std3sys12thread_local11destructors",
    "abi_stable13abi_stability12abi_checking",
    "thread_local9thread_id6THREAD",
    "crossbeam_channel5waker17current_thread_id",
    "tracing_subscriber6filter13layer_filters9FILTERING",
    "tracing_subscriber8registry7sharded11CLOSE_COUNT",
    "hyper6common4date6CACHED",
    "fastrand10global_rng3RNG",
];

/// A thread-local used only by a contended lock may escape the test below. If a library gets a new one, add it to a
/// list above.
#[test]
fn every_thread_local_of_the_program_has_been_thought_of() {
    let bytes = Artifact::PATCHBAY.bytes();
    let program = object::File::parse(&*bytes).unwrap();
    let thread_locals = program.symbols().filter(|symbol| symbol.kind() == SymbolKind::Tls && symbol.size() > 0);
    let names: BTreeSet<_> = thread_locals.map(|symbol| symbol.name().unwrap().to_owned()).collect();
    for part in USED_EARLY {
        let count = names.iter().filter(|name| name.contains(part)).count();
        assert_eq!(count, 1, "{part}: of one version of one library, that is; {names:#?}");
    }
    let thought_of = [&USED_EARLY[..], &HARMLESS, &WITHOUT_DESTRUCTOR].concat();
    let new = names.iter().filter(|name| !thought_of.iter().any(|part| name.contains(part)));
    assert_eq!(new.collect::<Vec<_>>(), Vec::<&String>::new());
}

/// Prefixes of the names of threads that begin and end with a generation: nothing waits for them in vain.
const OF_A_GENERATION: [&str; 6] = ["f-", "s-", "open-", "drop-", "close-", "joiner"];

#[test]
fn no_thread_meets_a_thread_local_after_the_first_plugin_was_mapped() {
    let folder = tempfile::tempdir().unwrap();
    let notes = folder.path().join("notes");
    let builder = Host::builder()
        .config("plugins.watch", true)
        .config("plugins.settle_ms", 0)
        .environment("LD_PRELOAD", Artifact::ATEXIT_WATCH.path())
        .environment("ATEXIT_WATCH_FILE", &notes);
    let mut line = Line::start(builder);
    let before = fs::read_to_string(&notes).unwrap();
    assert!(before.lines().any(|note| note.starts_with("write-main\t")), "the watch is there: {before}");
    everything(&mut line);
    let ended = line.host.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let after = fs::read_to_string(&notes).unwrap();
    let late = after[before.len()..].lines().filter(|note| !OF_A_GENERATION.iter().any(|name| note.starts_with(name)));
    assert_eq!(late.collect::<Vec<_>>(), Vec::<&str>::new());
}

/// Exercises everything that a host does, with several senders and operators at once.
fn everything(line: &mut Line) {
    for plugin in [Artifact::GOOD, Artifact::PANICS, Artifact::HANGS, Artifact::SERVICEDESK_PLUS] {
        line.host.put_plugin(plugin);
    }
    line.host.wait_for_log(&["plugin serves", "desk_good"]);
    line.host.ctl(&["reload"]);
    line.add_tenant("good", "desk_good", &[]);
    line.add_tenant("acme", "servicedesk_plus", &[]);
    line.add_tenant("panics", "desk_panics", &[("in", "validate_webhook")]);
    line.add_tenant("hangs", "desk_hangs", &[("in", "validate_webhook")]);
    line.fail(Target::Get, Some(5), Effect::Status { status: 500, body: None, content_type: None });
    let line = &*line;
    thread::scope(|scope| {
        for sender in 0..8 {
            scope.spawn(move || {
                for webhook in 0..40 {
                    let ticket = format!("{sender}{webhook}");
                    line.open_ticket(&ticket);
                    let tenant = ["good", "acme", "panics", "nobody"][webhook % 4];
                    let webhook = created(tenant, &ticket);
                    line.host.send(&webhook);
                    line.host.send(&webhook);
                    line.host.send(&resolved(tenant, &ticket));
                    line.host.http("POST", &webhook.path, &[], b"unsigned");
                    line.host.metrics();
                }
            });
        }
        scope.spawn(|| {
            line.host.send(&created("hangs", "1"));
            for _ in 0..5 {
                line.host.signal(Signal::HUP);
                for args in [
                    &["list", "--files"][..],
                    &["events"],
                    &["job", "list"],
                    &["job", "list", "--state", "done"],
                    &["tenant", "list"],
                    &["tenant", "rotate-secret", "acme", "api_key", "another-key"],
                    &["reload", "desk_good"],
                    &["info", "desk_good"],
                    &["nonsense"],
                ] {
                    line.host.try_ctl(args);
                }
                line.host.put_plugin(Artifact::GOOD_V2);
                line.skip_wait(1);
            }
        });
    });
    line.repair();
    line.run_out();
}
