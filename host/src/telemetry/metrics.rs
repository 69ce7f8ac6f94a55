//! Every metric of the host, each with one typed method; what `/metrics` shows. A tenant is never a label.

mod labels;

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, AtomicU64},
    },
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Registry, Unit},
};

pub use labels::{AttemptOutcome, CallOutcome, GenerationState, LaneKind, Method, ReloadOutcome};

use crate::ids::ToolType;

/// The media type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers on the hot path take about a millisecond, calls to a tool up to a minute.
const DURATION_BUCKETS: [f64; 15] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0];
const BATCH_BUCKETS: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// The metrics. Cheap to clone; every method may be called from any thread and does not block noticeably.
#[derive(Clone, Debug)]
pub struct Metrics {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    registry: Registry,
    http_requests: Family<HttpLabels, Counter>,
    http_durations: Histograms<RouteLabel>,
    connections: Gauge,
    calls: Family<CallLabels, Counter>,
    call_durations: Histograms<MethodLabels>,
    lane_queue: Family<LaneLabels, Gauge>,
    lane_in_flight: Family<LaneLabels, Gauge>,
    generations: Family<GenerationLabels, Gauge>,
    panics: Family<ToolLabel, Counter>,
    stuck_calls: Family<ToolLabel, Counter>,
    over_budget: Family<MethodLabels, Counter>,
    reloads: Family<ReloadLabel, Counter>,
    jobs: Family<JobsLabel, Gauge>,
    oldest_age: Gauge<f64, AtomicU64>,
    paused_tenants: Gauge,
    refused_tenants: Gauge,
    attempts: Family<AttemptLabel, Counter>,
    dead_letters: Family<ReasonLabel, Counter>,
    notes: Counter,
    commit_durations: Histogram,
    commit_operations: Histogram,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HttpLabels {
    route: &'static str,
    code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabel {
    route: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ToolLabel {
    tool_type: ToolType,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    tool_type: ToolType,
    method: Method,
    outcome: CallOutcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodLabels {
    tool_type: ToolType,
    method: Method,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LaneLabels {
    tool_type: ToolType,
    lane: LaneKind,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GenerationLabels {
    tool_type: ToolType,
    state: GenerationState,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabel {
    outcome: ReloadOutcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AttemptLabel {
    outcome: AttemptOutcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JobsLabel {
    state: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A registry of its own; a host has one, a test as many as it likes.
    pub fn new() -> Self {
        let mut r = Registry::with_prefix("patchbay");
        let build = vec![("version", env!("CARGO_PKG_VERSION"))];
        r.register("build", "The running build", Info::new(build));
        let inner = Inner {
            http_requests: registered(&mut r, "http_requests", "Answered requests", Family::default()),
            http_durations: timed(&mut r, "http_request_duration", "From the headers' end to the answer", durations()),
            connections: registered(
                &mut r,
                "http_connections_open",
                "Connections to the webhook listener",
                Gauge::default(),
            ),
            calls: registered(&mut r, "plugin_calls", "Calls to plugins", Family::default()),
            call_durations: timed(
                &mut r,
                "plugin_call_duration",
                "From a call's start on its lane to its end",
                durations(),
            ),
            lane_queue: registered(&mut r, "plugin_lane_queue_length", "Calls that wait for a lane", Family::default()),
            lane_in_flight: registered(&mut r, "plugin_lane_in_flight", "Calls that run on a lane", Family::default()),
            generations: registered(&mut r, "plugin_generations", "Generations that are loaded", Family::default()),
            panics: registered(&mut r, "plugin_panics", "Panics that were caught at the boundary", Family::default()),
            stuck_calls: registered(
                &mut r,
                "plugin_stuck_calls",
                "Calls whose lane had to be replaced",
                Family::default(),
            ),
            over_budget: registered(
                &mut r,
                "plugin_calls_over_budget",
                "Calls that took more time of their own than a call of that method should",
                Family::default(),
            ),
            reloads: registered(&mut r, "plugin_reloads", "Loads and replacements of plugins", Family::default()),
            jobs: registered(&mut r, "queue_jobs", "Jobs in the store: live ones, and dead letters", Family::default()),
            oldest_age: timed(&mut r, "queue_oldest_age", "Age of the oldest live job", Gauge::default()),
            paused_tenants: registered(
                &mut r,
                "tenants_paused",
                "Tenants whose jobs are paused, alone or with all",
                Gauge::default(),
            ),
            refused_tenants: registered(
                &mut r,
                "tenants_credential_refused",
                "Tenants whose jobs wait because the tool refuses their credential",
                Gauge::default(),
            ),
            attempts: registered(&mut r, "job_attempts", "Attempts of jobs", Family::default()),
            dead_letters: registered(&mut r, "dead_letters", "Jobs that became dead letters", Family::default()),
            notes: registered(&mut r, "notes_posted", "Notes that a tool has taken", Counter::default()),
            commit_durations: timed(
                &mut r,
                "store_commit_duration",
                "One commit, fsync included",
                duration_histogram(),
            ),
            commit_operations: registered(
                &mut r,
                "store_commit_operations",
                "Operations that one commit made durable",
                Histogram::new(BATCH_BUCKETS),
            ),
            registry: r,
        };
        Self { inner: Arc::new(inner) }
    }

    /// One answered request. `route` is the pattern, never the path: `/webhooks/{tenant_id}`.
    pub fn http(&self, route: &'static str, code: u16, took: Duration) {
        self.inner.http_requests.get_or_create(&HttpLabels { route, code }).inc();
        self.inner.http_durations.get_or_create(&RouteLabel { route }).observe(took.as_secs_f64());
    }

    /// Counts a connection as open until the returned value is dropped.
    pub fn connection(&self) -> Counted {
        Counted::new(self.inner.connections.clone())
    }

    /// The metrics of one tool type's plugin, looked up once: keep it with the generation.
    pub fn plugin(&self, tool_type: &ToolType) -> PluginMetrics {
        let tool = ToolLabel { tool_type: tool_type.clone() };
        let lane = |family: &Family<LaneLabels, Gauge>, lane| {
            family.get_or_create_owned(&LaneLabels { tool_type: tool_type.clone(), lane })
        };
        PluginMetrics {
            calls: Default::default(),
            durations: Default::default(),
            queue: [LaneKind::Fast, LaneKind::Slow].map(|kind| lane(&self.inner.lane_queue, kind)),
            in_flight: [LaneKind::Fast, LaneKind::Slow].map(|kind| lane(&self.inner.lane_in_flight, kind)),
            panics: self.inner.panics.get_or_create_owned(&tool),
            stuck_calls: self.inner.stuck_calls.get_or_create_owned(&tool),
            tool_type: tool_type.clone(),
            metrics: self.clone(),
        }
    }

    /// The generations that there are, counted; call it before [`encode`](Self::encode). Those not named are gone.
    pub fn set_generations(&self, counted: impl IntoIterator<Item = (ToolType, GenerationState, usize)>) {
        self.inner.generations.clear();
        for (tool_type, state, count) in counted {
            self.inner.generations.get_or_create(&GenerationLabels { tool_type, state }).set(signed(count));
        }
    }

    /// The store's jobs and the age of the oldest live one (zero without any); call it before
    /// [`encode`](Self::encode).
    pub fn set_queue(&self, live: usize, dead: usize, oldest_age: Duration) {
        self.inner.jobs.get_or_create(&JobsLabel { state: "live" }).set(signed(live));
        self.inner.jobs.get_or_create(&JobsLabel { state: "dead" }).set(signed(dead));
        self.inner.oldest_age.set(oldest_age.as_secs_f64());
    }

    /// How many tenants' jobs are paused; call it before [`encode`](Self::encode).
    pub fn set_paused_tenants(&self, paused: usize) {
        self.inner.paused_tenants.set(signed(paused));
    }

    /// How many tenants' jobs wait because of a refused credential; call it before [`encode`](Self::encode).
    pub fn set_refused_tenants(&self, refused: usize) {
        self.inner.refused_tenants.set(signed(refused));
    }

    /// A plugin file was taken up, or was not.
    pub fn reload(&self, outcome: ReloadOutcome) {
        self.inner.reloads.get_or_create(&ReloadLabel { outcome }).inc();
    }

    /// An attempt of a job has ended.
    pub fn attempt(&self, outcome: AttemptOutcome) {
        self.inner.attempts.get_or_create(&AttemptLabel { outcome }).inc();
    }

    /// A job became a dead letter. `reason` is one of a few fixed words.
    pub fn dead_letter(&self, reason: &'static str) {
        self.inner.dead_letters.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// A tool has taken a note.
    pub fn note_posted(&self) {
        self.inner.notes.inc();
    }

    /// The store made `operations` durable in one commit.
    pub fn store_commit(&self, took: Duration, operations: usize) {
        self.inner.commit_durations.observe(took.as_secs_f64());
        self.inner.commit_operations.observe(f64::from(u32::try_from(operations).unwrap_or(u32::MAX)));
    }

    /// Everything as OpenMetrics text ([`CONTENT_TYPE`]).
    pub fn encode(&self) -> String {
        let mut text = String::new();
        text::encode(&mut text, &self.inner.registry).expect("writing to a String does not fail");
        text
    }
}

/// One plugin's metrics; all generations of a tool type count together. No look-ups after the first use of each.
#[derive(Debug)]
pub struct PluginMetrics {
    metrics: Metrics,
    tool_type: ToolType,
    calls: [[OnceLock<Counter>; CallOutcome::ALL.len()]; Method::ALL.len()],
    durations: [OnceLock<Histogram>; Method::ALL.len()],
    queue: [Gauge; 2],
    in_flight: [Gauge; 2],
    panics: Counter,
    stuck_calls: Counter,
}

impl PluginMetrics {
    /// A call has ended; `took` is its time on the lane. Panics are counted here as well.
    pub fn call(&self, method: Method, outcome: CallOutcome, took: Duration) {
        self.count(method, outcome);
        self.durations[method as usize]
            .get_or_init(|| {
                let labels = MethodLabels { tool_type: self.tool_type.clone(), method };
                self.metrics.inner.call_durations.get_or_create_owned(&labels)
            })
            .observe(took.as_secs_f64());
        if outcome == CallOutcome::Panicked {
            self.panics.inc();
        }
    }

    /// A call was turned away because the lane's queue was full.
    pub fn saturated(&self, method: Method) {
        self.count(method, CallOutcome::Saturated);
    }

    /// Counts a call as waiting for a lane until the returned value is dropped.
    pub fn queued(&self, lane: LaneKind) -> Counted {
        Counted::new(self.queue[lane as usize].clone())
    }

    /// Counts a call as running on a lane until the returned value is dropped; a lane that never returns keeps it.
    pub fn in_flight(&self, lane: LaneKind) -> Counted {
        Counted::new(self.in_flight[lane as usize].clone())
    }

    /// A call did not end in time and its lane was replaced.
    pub fn stuck_call(&self) {
        self.stuck_calls.inc();
    }

    /// A call took more time of its own than it should.
    pub fn over_budget(&self, method: Method) {
        let labels = MethodLabels { tool_type: self.tool_type.clone(), method };
        self.metrics.inner.over_budget.get_or_create(&labels).inc();
    }

    fn count(&self, method: Method, outcome: CallOutcome) {
        self.calls[method as usize][outcome as usize]
            .get_or_init(|| {
                let labels = CallLabels { tool_type: self.tool_type.clone(), method, outcome };
                self.metrics.inner.calls.get_or_create_owned(&labels)
            })
            .inc();
    }
}

/// Something that a gauge counts for as long as this value lives.
#[derive(Debug)]
#[must_use = "it is counted only until this is dropped"]
pub struct Counted {
    gauge: Gauge<i64, AtomicI64>,
}

impl Counted {
    fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self { gauge }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

fn registered<M: prometheus_client::registry::Metric + Clone>(
    r: &mut Registry,
    name: &str,
    help: &str,
    metric: M,
) -> M {
    r.register(name, help, metric.clone());
    metric
}

fn timed<M: prometheus_client::registry::Metric + Clone>(r: &mut Registry, name: &str, help: &str, metric: M) -> M {
    r.register_with_unit(name, help, Unit::Seconds, metric.clone());
    metric
}

fn durations<L: Clone + Eq + std::hash::Hash>() -> Histograms<L> {
    Family::new_with_constructor(duration_histogram)
}

fn duration_histogram() -> Histogram {
    Histogram::new(DURATION_BUCKETS)
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
