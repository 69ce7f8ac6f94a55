//! A plugin that takes its time, as the tenant's settings say:
//!
//! * `in`: it never returns from this method; with `while` only as long as that file exists.
//! * `slow_ms`: it sleeps this long for each webhook, in naps: while the host is stopped, only one nap passes.
//! * `work_ms`: it computes for each webhook until it has used this much processor time.
//! * `asks`: before it gets a ticket, it sends the tool this many other requests, whatever they return; then it sleeps
//!   `own_ms`.

use std::{hint, path::Path, str::FromStr, thread, time::Duration};

use desk::{Behaviour, Desk};
use plugin_abi::prelude::*;
use rustix::time::{ClockId, clock_gettime};

/// Interval between two checks for the file named by `while`.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// One of the naps that make up a sleep.
const NAP_MS: u64 = 20;

struct Hangs;

impl Behaviour for Hangs {
    const INFO: PluginInfo = plugin_info!("desk_hangs");

    fn new() -> Self {
        Self
    }

    fn before(&self, tenant: &Tenant<'_>, method: &str) {
        let goes_on = || tenant.setting("while").is_none_or(|file| Path::new(file).exists());
        while tenant.setting("in") == Some(method) && goes_on() {
            thread::park_timeout(LOOK_EVERY);
        }
        match method {
            "validate" => {
                sleep_ms(number(tenant, "slow_ms"));
                work_ms(number(tenant, "work_ms"));
            }
            "get" => {
                for _ in 0..number(tenant, "asks") {
                    let _whatever = tenant.http(Request::get("/"));
                }
                sleep_ms(number(tenant, "own_ms"));
            }
            _ => {}
        }
    }
}

fn number<T: FromStr + Default>(tenant: &Tenant<'_>, setting: &str) -> T {
    tenant.setting(setting).and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn sleep_ms(ms: u64) {
    for _ in 0..ms / NAP_MS {
        thread::sleep(Duration::from_millis(NAP_MS));
    }
}

fn work_ms(ms: u64) {
    let used = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default();
    let until = used() + Duration::from_millis(ms);
    while ms > 0 && used() < until {
        hint::spin_loop();
    }
}

export_plugin!(Desk<Hangs>);
