//! The hostile plugin: orders are written into its bytes, and it runs beside a good one.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use serde_json::Value;

use crate::{
    artifacts::Artifact,
    host::{Host, HostBuilder},
    line::{Line, created},
    wait::{WAIT_MAX, wait_until},
};

/// The place in the plugin's bytes that is overwritten.
const ORDERS: &[u8] = b"HOSTILE-ORDERS=none:none;";
/// Maximum length of the orders, in bytes.
const ORDERS_BYTES: usize = 64;

/// The hostile plugin's name in the plugin folder.
pub const FILE: &str = "libdesk_hostile.so";
/// Its tool type.
pub const TOOL_TYPE: &str = "desk_hostile";
/// Orders to do no harm.
pub const PEACE: &str = "none:none";

/// The hostile plugin with these orders (`place:deed`).
///
/// # Panics
/// When they are too long.
pub fn ordered(orders: &str) -> Vec<u8> {
    let mut bytes = Artifact::HOSTILE.bytes();
    let at = bytes.windows(ORDERS.len()).position(|window| window == ORDERS).expect("the plugin takes orders");
    let text = format!("HOSTILE-ORDERS={orders};");
    assert!(text.len() <= ORDERS_BYTES, "{orders}");
    bytes[at..at + ORDERS_BYTES].fill(b' ');
    bytes[at..at + text.len()].copy_from_slice(text.as_bytes());
    bytes
}

/// A host with the good plugin and short deadlines.
pub fn builder() -> HostBuilder {
    Host::builder()
        .plugin(Artifact::GOOD)
        .config("plugins.fast_deadline_ms", 300)
        .config("plugins.slow_deadline_s", 3)
        .config("http.connect_s", 1)
        .config("http.read_s", 1)
        .config("plugins.settle_ms", 0)
}

/// Adds three tenants: `good` has the good plugin, `evil` has the hostile one and gets what it is ordered to do, `calm`
/// has it too but is spared.
#[track_caller]
pub fn add_tenants(line: &Line) {
    line.add_tenant("good", "desk_good", &[]);
    line.add_tenant("evil", TOOL_TYPE, &[("evil", "yes")]);
    line.add_tenant("calm", TOOL_TYPE, &[]);
}

/// A line with that host and these tenants.
#[track_caller]
pub fn line() -> Line {
    let line = Line::start(builder());
    add_tenants(&line);
    line
}

/// Runs something while the good plugin's tenant sends webhooks, which must all be accepted.
///
/// # Panics
/// When one is not.
pub fn beside_the_good_one<T>(line: &Line, run: impl FnOnce() -> T) -> T {
    beside(line, &["good"], run)
}

/// Runs something while these tenants send webhooks in turn, which must all be accepted.
///
/// # Panics
/// When one is not.
pub fn beside<T>(line: &Line, tenants: &[&str], run: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            for (sent, tenant) in tenants.iter().cycle().enumerate() {
                if stop.load(Ordering::Relaxed) && sent >= tenants.len() {
                    break;
                }
                let answer = line.host.send(&created(tenant, &sent.to_string()));
                assert_eq!(answer.status, 202, "delivery {sent} of {tenant}: {}", answer.text());
            }
        });
        let stopped = StopWhenDropped(&stop);
        let result = run();
        drop(stopped);
        load.join().expect("all webhooks are accepted");
        result
    })
}

/// Stops what runs in other threads, even if a test fails.
#[derive(Debug)]
pub struct StopWhenDropped<'a>(pub &'a AtomicBool);

impl Drop for StopWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Waits for this many matching events and returns all of them, because they are stored in the background of a reload.
#[track_caller]
pub fn events(line: &Line, what: &str, count: usize, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
    wait_until(what, WAIT_MAX, || {
        let events = line.host.ctl(&["events"]);
        let wanted: Vec<_> = events.as_array()?.iter().filter(|event| wanted(event)).cloned().collect();
        (wanted.len() >= count).then_some(wanted)
    })
}
