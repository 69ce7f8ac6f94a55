//! A plugin ends the host: a supervisor restarts it as the unit file does, the host blames the right plugin, and
//! nothing that was accepted is lost.

use std::time::Duration;

use patchbay_tests::{
    Line, Supervisor, created,
    hostile::{self, FILE, PEACE, TOOL_TYPE, events, ordered},
};
use rustix::process::Signal;
use sandbox::{Effect, Target};
use serde_json::Value;

/// Longer than any job waits after a few failures, but shorter than a lease: a running job must not lose its own.
const SKIP: Duration = Duration::from_secs(60);
/// Number of crashes after which a plugin is left out.
const CRASHES_MAX: usize = 3;
/// A ticket of the good plugin, whose webhook is accepted first.
const EARLIER: &str = "7";

/// A supervised host. The supervisor is dropped first, because it works in the line's folder.
struct Supervised {
    supervisor: Supervisor,
    line: Line,
}

impl Supervised {
    /// Starts with the hostile plugin under these orders, and a waiting job of the good plugin's tenant.
    #[track_caller]
    fn start(orders: &str) -> Self {
        // The fast deadline does not matter here, and the machine may be busy.
        let line = Line::stopped(hostile::builder().config("plugins.fast_deadline_ms", 5_000));
        let this = Self { supervisor: Supervisor::start(&line.host), line };
        hostile::add_tenants(&this.line);
        this.line.fail(Target::Any, None, Effect::Status { status: 503, body: None, content_type: None });
        this.accepted("good", EARLIER);
        this.line.host.put_file(FILE, &ordered(orders));
        this
    }

    /// Loads the plugin, which the host survives.
    #[track_caller]
    fn load(&self) {
        self.line.host.ctl(&["reload"]);
    }

    /// Sends the webhook of a ticket whose job cannot be done yet, and waits until it has been tried.
    #[track_caller]
    fn accepted(&self, tenant: &str, ticket: &str) {
        self.line.open_ticket(ticket);
        assert_eq!(self.supervisor.send(&created(tenant, ticket)), Some(202));
        self.line.job(ticket, "waits", |job| job["state"] == "waiting");
    }

    /// Checks that the host has ended this often and is up, and that all crashes are blamed on the hostile plugin at
    /// this step, and on nothing else.
    #[track_caller]
    fn blames(&self, orders: &str, ends: usize, crashes: usize, how: &str, step: &str) {
        for ended in self.supervisor.up_after(ends) {
            assert_ne!(ended.code, Some(0), "{orders}: {}", ended.log);
        }
        let blamed = events(&self.line, "the crashes", crashes, |event| event["code"] == "crashed");
        assert_eq!(blamed.len(), crashes, "{orders}: {blamed:#?}");
        for crash in blamed {
            let message = crash["message"].as_str().unwrap();
            assert_eq!(crash["tool_type"], TOOL_TYPE, "{orders}: {crash:#}");
            assert!(message.contains(how) && message.contains(step), "{orders}: {message}");
        }
    }

    #[track_caller]
    fn is_left_out(&self, orders: &str) {
        let row = self.line.host.plugin(TOOL_TYPE);
        assert_eq!((&row["state"], &row["last_error"]["code"]), (&"quarantined".into(), &"CRASHED".into()), "{row:#}");
        assert_eq!(self.supervisor.send(&created("calm", "90")), Some(503), "{orders}");
        assert_eq!(self.supervisor.send(&created("good", "91")), Some(202), "{orders}");
    }

    /// Makes the tool work again, and replaces the bad plugin file by a better one.
    #[track_caller]
    fn mend(&self) {
        self.line.repair();
        self.line.host.put_file(FILE, &ordered(PEACE));
        self.line.host.ctl(&["enable", TOOL_TYPE]);
        assert_eq!(self.line.host.plugin(TOOL_TYPE)["state"], "active");
    }

    /// Makes the tool work again. Each of these tickets must get one note, and the host must not end any more.
    #[track_caller]
    fn all_is_done(&self, tickets: &[&str], ends: usize) {
        self.line.repair();
        self.line.host.advance_clock(SKIP);
        for ticket in tickets {
            self.line.note_on(ticket);
        }
        self.line.job(EARLIER, "done", |job| job["state"] == "done");
        assert_eq!(self.supervisor.ends(), ends);
    }
}

#[test]
fn the_host_is_back_after_a_crash_or_exit_in_a_fast_call() {
    for (orders, how, step) in [
        ("validate:segv", "died of SIGSEGV", "validate_webhook"),
        ("validate:overflow", "died of SIGSEGV", "validate_webhook"),
        ("validate:exit", "ended by a call of exit", "validate_webhook"),
        ("extract:abort", "died of SIGABRT", "extract_metadata"),
        ("extract:panic-unwinding", "died of SIGABRT", "extract_metadata"),
        ("extract:exit", "ended by a call of exit", "extract_metadata"),
        ("validate:thread-crash", "died of SIGSEGV", "a thread of its own"),
        ("new@host:handler;validate:segv", "died of SIGSEGV", "validate_webhook"),
    ] {
        let host = Supervised::start(orders);
        host.load();
        // When the thread crashes, the answer may already have been sent.
        let answered = host.supervisor.send(&created("evil", "1"));
        assert!(answered.is_none() || orders.contains("thread"), "{orders}: {answered:?}");
        host.blames(orders, 1, 1, how, step);
        assert_eq!(host.line.host.plugin(TOOL_TYPE)["state"], "active", "{orders}: once is no reason");
        host.all_is_done(&[EARLIER], 1);
    }
}

#[test]
fn a_payload_that_kills_the_host_three_times_shuts_its_plugin_out() {
    let orders = "validate:segv";
    let host = Supervised::start(orders);
    host.load();
    host.accepted("calm", "8");
    // A kill from outside is blamed on nobody.
    host.supervisor.kill9();
    for crash in 1..=CRASHES_MAX {
        assert_eq!(host.supervisor.send(&created("evil", &crash.to_string())), None);
        host.blames(orders, 1 + crash, crash, "died of SIGSEGV", "validate_webhook");
    }
    host.is_left_out(orders);
    host.supervisor.kill9();
    let ends = CRASHES_MAX + 2;
    host.blames(orders, ends, CRASHES_MAX, "died of SIGSEGV", "validate_webhook");
    host.is_left_out(orders);
    host.mend();
    host.all_is_done(&[EARLIER, "8"], ends);
}

#[test]
fn an_end_that_no_plugin_can_be_blamed_for_blames_none() {
    // A plugin's `_exit` leaves no trace.
    let host = Supervised::start("validate:_exit");
    host.load();
    assert_eq!(host.supervisor.send(&created("evil", "1")), None);
    host.supervisor.up_after(1);
    // Signals from outside, while a call of the plugin is running.
    host.line.host.put_file(FILE, &ordered("get:hang"));
    host.line.host.ctl(&["reload"]);
    // With two running jobs, neither can be what ends the host.
    host.line.add_tenant("evil-too", TOOL_TYPE, &[("evil", "yes")]);
    for (tenant, ticket) in [("evil", "9"), ("evil-too", "10")] {
        host.line.open_ticket(ticket);
        assert_eq!(host.supervisor.send(&created(tenant, ticket)), Some(202));
    }
    for (at, signal) in [Signal::SEGV, Signal::ABORT, Signal::BUS].into_iter().enumerate() {
        host.line.job("9", "runs", |job| job["state"] == "running");
        if at < 2 {
            host.line.job("10", "runs too", |job| job["state"] == "running");
        }
        host.supervisor.end_by(signal);
        host.supervisor.up_after(2 + at);
    }
    let crashes = events(&host.line, "all events", 0, |event| event["code"] == "crashed");
    assert!(crashes.is_empty(), "{crashes:#?}");
    assert_eq!(host.line.host.plugin(TOOL_TYPE)["state"], "active");
    host.line.job("9", "given up for now", |job| job["state"] == "waiting");
    host.mend();
    host.all_is_done(&[EARLIER, "9", "10"], 4);
}

/// A job runs again after each start, so it is a crash loop by itself.
fn loops_until_it_is_left_out(orders: &str, how: &str, step: &str) {
    let host = Supervised::start(orders);
    host.load();
    host.accepted("calm", "8");
    host.supervisor.kill9();
    host.line.open_ticket("9");
    if step == "update_ticket" {
        // The job reaches the note only if the tool answers.
        host.line.repair();
    }
    let answer = host.supervisor.send(&created("evil", "9"));
    // Its job may have been faster than the answer to the webhook.
    assert!(matches!(answer, Some(202) | None), "{orders}: {answer:?}");
    let ends = 1 + CRASHES_MAX;
    host.blames(orders, ends, CRASHES_MAX, how, step);
    host.is_left_out(orders);
    let shown = |job: &Value| job["state"] != "running" && job["attempts"] == CRASHES_MAX;
    host.line.job("9", "waits, each crash an attempt", shown);
    host.mend();
    host.all_is_done(&[EARLIER, "8", "9"], ends);
    let done = host.line.job("9", "done", |job| job["state"] == "done");
    assert_eq!(done["attempts"], CRASHES_MAX + 1, "{orders}: {done:#}");
    let errors: Vec<_> = done["errors"].as_array().unwrap().iter().map(|error| &error["code"]).collect();
    assert_eq!(errors, ["host_ended"; CRASHES_MAX], "{orders}: {done:#}");
}

#[test]
fn a_job_that_crashes_in_get_ticket_waits_for_a_better_plugin() {
    loops_until_it_is_left_out("get:segv", "died of SIGSEGV", "get_ticket");
}

#[test]
fn a_job_that_exits_in_get_ticket_waits_for_a_better_plugin() {
    loops_until_it_is_left_out("get:exit", "ended by a call of exit", "get_ticket");
}

#[test]
fn a_job_that_crashes_in_update_ticket_waits_for_a_better_plugin() {
    loops_until_it_is_left_out("update:abort", "died of SIGABRT", "update_ticket");
}

#[test]
fn a_job_that_exits_in_update_ticket_waits_for_a_better_plugin() {
    loops_until_it_is_left_out("update:exit", "ended by a call of exit", "update_ticket");
}

#[test]
fn a_crash_while_it_is_loaded_is_a_crash_of_every_start_until_it_is_left_out() {
    for (orders, how) in [
        ("constructor@host:abort", "died of SIGABRT"),
        ("new@host:segv", "died of SIGSEGV"),
        ("new@host:exit", "ended by a call of exit"),
    ] {
        let host = Supervised::start(orders);
        // The answer is lost with the host.
        assert_ne!(host.line.host.try_ctl(&["reload"]).code, 0, "{orders}");
        host.blames(orders, CRASHES_MAX, CRASHES_MAX, how, "opening its library or new");
        host.is_left_out(orders);
        host.mend();
        host.all_is_done(&[EARLIER], CRASHES_MAX);
    }
}

#[test]
fn a_crash_while_a_generation_is_taken_apart_is_blamed_on_it() {
    for (orders, how, step) in [
        ("drop@host:segv", "died of SIGSEGV", "dropping its instance"),
        ("drop@host:exit", "ended by a call of exit", "dropping its instance"),
        ("destructor@host:abort", "died of SIGABRT", "closing its library"),
    ] {
        let host = Supervised::start(orders);
        host.load();
        // The answer may be lost here too.
        let _lost = host.line.host.try_ctl(&["reload", TOOL_TYPE]);
        host.blames(orders, 1, 1, how, step);
        assert_eq!(host.line.host.plugin(TOOL_TYPE)["state"], "active", "{orders}");
        host.all_is_done(&[EARLIER], 1);
    }
}

#[test]
fn what_hangs_while_it_is_made_or_dropped_costs_a_restart_or_a_generation() {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let host = Supervised::start("new@host:hang");
            // The plugin does not serve. Whether the answer comes before the end does not matter.
            assert_ne!(host.line.host.try_ctl(&["reload"]).code, 0);
            let ended = host.supervisor.up_after(1);
            assert_eq!(ended[0].code, Some(75), "{}", ended[0].log);
            events(&host.line, "the event", 1, |event| {
                event["code"] == "loader_stuck" && event["tool_type"] == TOOL_TYPE
            });
            host.is_left_out("new@host:hang");
            host.mend();
            host.all_is_done(&[EARLIER], 1);
        });
        scope.spawn(|| {
            let host = Supervised::start("drop@host:hang");
            host.load();
            host.line.host.ctl(&["reload", TOOL_TYPE]);
            let reason = "dropping its instance has not ended";
            events(&host.line, "the old one is retained", 1, |event| {
                event["code"] == "retained" && event["message"].as_str().unwrap().contains(reason)
            });
            host.all_is_done(&[EARLIER], 0);
            assert_eq!(host.supervisor.send(&created("calm", "1")), Some(202));
        });
    });
}
