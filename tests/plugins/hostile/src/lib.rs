//! A plugin that does something evil at one or two places. The orders are in its bytes, as `place:deed;`, and a test
//! overwrites them in a copy of the file: one build, any number of hostile plugins.
//!
//! Places: `constructor`, `new`, `validate`, `extract`, `get`, `update`, `drop`, `destructor`; and in the answers of
//! extract, get and update `lie`, `lie-get` and `lie-update`. With `@host` after the place, the deed is done only if
//! the environment is not empty, so not in the process in which plugins are tried. A word that is no other deed is one
//! of `operations`. Methods obey only for tenants whose setting `evil` is `yes`.

#![allow(unsafe_code, reason = "this is what it is for")]

use std::{
    collections::HashMap,
    ffi::{c_char, c_int},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use desk::{Behaviour, Desk};
use plugin_abi::prelude::*;

mod operations;

/// The orders that a test overwrites: the text after `=`, up to the semicolon.
#[used]
static ORDERS: [u8; 64] = *b"HOSTILE-ORDERS=none:none;                                       ";

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = constructor;

#[used]
#[unsafe(link_section = ".fini_array")]
static DESTRUCTOR: extern "C" fn() = destructor;

extern "C" fn constructor() {
    at("constructor");
}

extern "C" fn destructor() {
    at("destructor");
}

struct Hostile;

impl Behaviour for Hostile {
    const INFO: PluginInfo = plugin_info!("desk_hostile");

    fn new() -> Self {
        at("new");
        Self
    }

    fn before(&self, tenant: &Tenant<'_>, method: &str) {
        if tenant.setting("evil") != Some("yes") {
            return;
        }
        if ordered_at(method).as_deref() == Some("log") {
            let line = "flood ".repeat(10 << 10);
            (0..200).for_each(|_| tenant.log(LogLevel::Error, &line));
        }
        at(method);
    }

    fn answer(&self, tenant: &Tenant<'_>, metadata: &mut TicketMetadata) {
        if let Some(deed) = ordered_at("lie").filter(|_| tenant.setting("evil") == Some("yes")) {
            lie(metadata, &deed);
        }
    }

    fn fetched(&self, tenant: &Tenant<'_>, ticket: &mut Ticket) {
        let deed = ordered_at("lie-get").filter(|_| tenant.setting("evil") == Some("yes"));
        match deed.as_deref() {
            Some("id") => ticket.id = "8".to_owned(),
            Some("huge") => ticket.raw = huge(),
            Some("text") => ticket.subject = Some(no_text()),
            _ => {}
        }
    }

    fn posted(&self, tenant: &Tenant<'_>) -> Result<bool, PluginError> {
        let deed = ordered_at("lie-update").filter(|_| tenant.setting("evil") == Some("yes"));
        match deed.as_deref() {
            Some("no") => Ok(false),
            Some("huge") => Err(PluginError::api(huge())),
            Some("text") => Err(PluginError::api(no_text())),
            Some("wait") => {
                Err(PluginError::RateLimit { retry_after: Some(Duration::MAX), message: "for ever".to_owned() })
            }
            _ => Ok(true),
        }
    }
}

/// A text larger than the host accepts in one reply.
fn huge() -> String {
    "x".repeat(17 << 20)
}

/// A `String` that breaks its promise of UTF-8.
fn no_text() -> String {
    // SAFETY: none; the host has to find out that it is no UTF-8.
    unsafe { String::from_utf8_unchecked(vec![b'a', 0xff, 0xfe]) }
}

/// Changes an answer as no honest plugin would.
fn lie(metadata: &mut TicketMetadata, deed: &str) {
    match deed {
        "tenant" => metadata.tenant_id = Some("another".to_owned()),
        "no-id" => metadata.ticket_id.clear(),
        "control" => metadata.ticket_id.push('\u{7}'),
        "huge" => metadata.description = Some(huge()),
        "many" => {
            let tags = vec!["tag".to_owned(); 5000];
            metadata.event = Event::Resolved { resolution: None, resolved_at: None, tags };
        }
        "text" => metadata.subject = Some(no_text()),
        _ => {}
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        at("drop");
    }
}

export_plugin!(Desk<Hostile>);

/// Does the deed ordered for this place.
fn at(place: &str) {
    if let Some(deed) = ordered_at(place) {
        perform(&deed);
    }
}

/// The deed ordered for this place; the first if there are several.
fn ordered_at(place: &str) -> Option<String> {
    // SAFETY: reads a static; volatile, since the compiler must not know what stands there.
    let orders = unsafe { std::ptr::read_volatile(&raw const ORDERS) };
    let orders = std::str::from_utf8(&orders).ok()?.strip_prefix("HOSTILE-ORDERS=")?;
    let (_, deed) = orders.split(';').filter_map(|order| order.split_once(':')).find(|(where_to, _)| {
        let (where_to, in_host) = where_to.strip_suffix("@host").map_or((*where_to, false), |place| (place, true));
        where_to == place && (!in_host || std::env::vars_os().next().is_some())
    })?;
    Some(deed.to_owned())
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("while unwinding");
    }
}

unsafe extern "C" {
    fn _exit(status: c_int) -> !;
    fn signal(number: c_int, handler: usize) -> usize;
    fn setenv(name: *const c_char, value: *const c_char, overwrite: c_int) -> c_int;
    fn umask(mask: u32) -> u32;
    fn pthread_create(thread: *mut usize, attributes: *const (), start: extern "C" fn(*mut ()), with: *mut ())
    -> c_int;
    fn pause() -> c_int;
    fn free(memory: *mut ());
}

/// Counts calls, of which every tenth goes wrong.
static CALLS: AtomicU64 = AtomicU64::new(0);

/// A verdict as the probe's process gives it, except for what precedes it.
const FORGED: &str = r#"{"refused":{"code":"THREADS","reason":"forged"}}"#;

const SIGUSR1: c_int = 10;
const SIGSEGV: c_int = 11;

extern "C" fn handler(_: c_int) {}

/// A thread without thread-locals, so that nothing keeps the library mapped under it.
extern "C" fn pauses(_: *mut ()) {
    loop {
        // SAFETY: a plain call.
        unsafe { pause() };
    }
}

fn perform(deed: &str) {
    match deed {
        "panic" => panic!("as ordered"),
        "panic-tenth" => {
            let call = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
            assert!(!call.is_multiple_of(10), "as ordered, in call {call}");
        }
        "panic-payload" => std::panic::panic_any(PanicsWhenDropped),
        "panic-unwinding" => {
            let _dropped = PanicsWhenDropped;
            panic!("the first of two");
        }
        "nap" => thread::sleep(Duration::from_millis(50)),
        "hang" => loop {
            thread::park();
        },
        "spin" => loop {
            std::hint::spin_loop();
        },
        // SAFETY: none; it is meant to crash.
        "segv" => unsafe { std::ptr::write_volatile(std::ptr::without_provenance_mut::<u8>(8), 1) },
        "abort" => std::process::abort(),
        "exit" => std::process::exit(0),
        // SAFETY: a plain call that does not return.
        "_exit-7" => unsafe { _exit(7) },
        // SAFETY: none; it is meant to crash.
        "wild-free" => unsafe { free(std::ptr::without_provenance_mut(8)) },
        "panic-c" => panics_into_c(),
        // SAFETY: a plain call that does not return.
        "_exit" => unsafe { _exit(0) },
        "overflow" => drop(std::hint::black_box(overflow(1))),
        "thread" => drop(thread::Builder::new().name("stray".to_owned()).spawn(|| {
            loop {
                thread::sleep(Duration::from_millis(50));
            }
        })),
        "c-thread" => {
            let mut thread = 0;
            // SAFETY: the thread needs nothing, and its number has a place.
            let started = unsafe { pthread_create(&raw mut thread, std::ptr::null(), pauses, std::ptr::null_mut()) };
            assert_eq!(started, 0, "no thread was started");
        }
        "thread-crash" => drop(thread::Builder::new().name("stray".to_owned()).spawn(|| perform("segv"))),
        // Only in the process in which plugins are tried, whose parent is the host. Elsewhere the parent is the test
        // itself.
        "kill-host" if std::env::vars_os().next().is_none() => {
            // SAFETY: a plain call.
            let _refused = unsafe { libc::kill(libc::getppid(), libc::SIGKILL) };
        }
        "forge" => {
            eprint!("\n{FORGED}\n");
            // SAFETY: a plain call that does not return.
            unsafe { _exit(0) }
        }
        "handler" => {
            for number in [SIGUSR1, SIGSEGV] {
                // SAFETY: the handler does nothing, for as long as it is mapped.
                unsafe { signal(number, handler as *const () as usize) };
            }
        }
        // SAFETY: other threads may read the environment meanwhile; that is the point.
        "setenv" => drop(unsafe { setenv(c"ALL_PROXY".as_ptr(), c"http://127.0.0.1:9".as_ptr(), 1) }),
        "talk" => eprint!("{}", "a line of nothing\n".repeat(8 << 10)),
        "chdir" => drop(std::env::set_current_dir("/")),
        // SAFETY: a plain call.
        "umask" => drop(unsafe { umask(0) }),
        "alloc" => drop(std::hint::black_box(vec![1_u8; 8 << 30])),
        "work" => work(),
        "thread-ends" => thread::spawn(work).join().expect("a thread may be started, and does its work"),
        "memory" => drop(std::hint::black_box(vec![1_u8; 256 << 20])),
        "flood" => eprint!("{}", "x".repeat(1 << 20)),
        operation => {
            if let Some(outcome) = operations::attempt(operation) {
                // The confinement must prevent this. If it did not, the plugin panics, which every test can see.
                assert!(outcome.is_err(), "it was let through");
            }
        }
    }
}

/// Ordinary work of a plugin: reads the clock, sleeps, fills a map with random keys, writes JSON.
fn work() {
    let began = Instant::now();
    thread::sleep(Duration::from_millis(1));
    let map: HashMap<_, _> = (0..1_000).map(|number| (number.to_string(), number)).collect();
    let json = plugin_abi::serde_json::to_string(&map).expect("a map of numbers has a JSON form");
    assert!(json.len() > 1_000 && began.elapsed() >= Duration::from_millis(1), "time stands still");
}

extern "C" fn panics_into_c() {
    panic!("as ordered");
}

#[inline(never)]
fn overflow(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 512]);
    if depth == 0 { 0 } else { overflow(depth + 1) + frame[17] }
}
