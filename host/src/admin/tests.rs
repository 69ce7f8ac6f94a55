//! The admin API over real sockets, with plugin-ctl's client on the other side.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
};

use plugin_abi::types::{Event, TicketMetadata};
use serde_json::json;
use tempfile::TempDir;
use tokio::{runtime::Runtime, sync::oneshot, task::JoinHandle};

use super::{
    wire::{
        Changed, Job, JobDetail, NewTenant, Plugin, PluginDetail, PluginEvent, PluginFile, Queue, Reason, Reload,
        Reloaded, Tenant,
    },
    *,
};
use crate::{
    clock::Clock,
    config::Config,
    ctl::{
        client::Client,
        failure::{Exit, Failure},
    },
    housekeeping::DiskRoom,
    ids::{CorrelationId, JobId, TenantId, ToolType},
    limits::SharedLimits,
    plugin::{
        blame::Blamed,
        capability::Services,
        journal::{Happened, Journal},
        manager::ManagerParts,
        routes::Routes,
    },
    queue::job::{Accepted, ClaimWish, DedupKey, Fenced, JobError, JobKind, NewJob},
    shutdown::Shutdown,
    store,
    tenant::directory::tests::open_in,
    worker::credentials::Credentials,
};

mod journal;

/// A host without webhooks and worker.
struct Bed {
    client: Client,
    parts: AdminParts,
    store: Store,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
    socket: PathBuf,
    runtime: Runtime,
    folder: TempDir,
}

impl Bed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let within = runtime.enter();
        let config = Config::load(None, std::iter::empty(), folder.path()).unwrap();
        std::fs::create_dir(&config.plugins.dir).unwrap();
        std::fs::write(config.plugins.dir.join("libforeign.so"), "#!/bin/sh\n").unwrap();
        let clock = Clock::system();
        let (store, directory) = runtime.block_on(open_in(folder.path(), &clock));
        let (metrics, limits) = (Metrics::new(), SharedLimits::new(config.clone()));
        let services = Services::new(directory.clone(), &config.http, clock.clone());
        let routes = Routes::default();
        let manager = PluginManager::start(ManagerParts {
            copies: folder.path().join("copies"),
            services: services.clone(),
            limits: limits.clone(),
            config: config.plugins,
            metrics: metrics.clone(),
            routes: routes.clone(),
            wakes: Wakes::default(),
            store: store.clone(),
            records: Vec::new(),
            blamed: Blamed::default(),
            journal: Journal::start(store.clone()),
            shutdown: Shutdown::new().0,
        })
        .unwrap();
        let wakes = Wakes::default();
        let socket = folder.path().join("admin.sock");
        let listener = bind(&socket).unwrap();
        let (stop, stopped) = oneshot::channel();
        let host = wire::Host {
            version: "0".to_owned(),
            process_id: 1,
            plugin_folder: manager.folder().display().to_string(),
            state_folder: folder.path().display().to_string(),
            rules: None,
        };
        let tokens = services.tokens;
        let credentials = Credentials::new(directory.clone());
        let disk = DiskRoom::of(folder.path().to_owned(), &limits);
        let store_of = store.clone();
        let parts = AdminParts {
            host,
            manager,
            routes,
            directory,
            tokens,
            credentials,
            store: store_of,
            disk,
            metrics,
            clock,
            wakes,
        };
        let served = runtime.spawn(serve(listener, parts.clone(), async {
            let _ended = stopped.await;
        }));
        drop(within);
        let client = Client::new(socket.clone()).unwrap();
        Self { client, parts, store, stop, served, socket, runtime, folder }
    }

    fn add(&self, tenants: serde_json::Value) -> Result<Vec<Tenant>, Failure> {
        self.client.post("/v1/tenants", &tenants)
    }

    fn add_acme(&self) -> Tenant {
        let acme = json!([{"id": "acme", "base_url": "https://desk.example", "secrets": {"key": "hunter2"}}]);
        self.add(acme).unwrap().remove(0)
    }

    fn accept(&self, ticket: &str) -> JobId {
        let metadata = TicketMetadata::new(ticket, Event::Created);
        let tenants = self.runtime.block_on(self.store.tenants()).unwrap();
        let incarnation = tenants.iter().find(|tenant| tenant.id == acme()).unwrap().incarnation;
        let key = DedupKey::new(&acme(), incarnation, &metadata, b"");
        let job = NewJob {
            tenant: acme(),
            incarnation,
            tool_type: ToolType::parse("servicedesk_plus").unwrap(),
            base_url: "https://desk.example".parse().unwrap(),
            kind: JobKind::Enhance,
            correlation_id: CorrelationId::fresh(),
            metadata,
        };
        match self.runtime.block_on(self.store.accept(job, key, store::TenantRoom::UNBOUNDED)).unwrap() {
            Accepted::New(id) => id,
            other => panic!("{ticket}: {other:?}"),
        }
    }

    fn give_up(&self, ticket: &str) -> JobId {
        let id = self.accept(ticket);
        self.runtime.block_on(async {
            let wish = ClaimWish { tenant: acme(), max: 1 };
            let lease = self
                .store
                .claim(vec![wish], self.store.clock().now_ms(), 90_000)
                .await
                .unwrap()
                .remove(0)
                .jobs
                .remove(0)
                .lease;
            let error = JobError::new(1, 0, "api", "the tool said 500");
            assert_eq!(self.store.dead(lease, "give_up", error).await.unwrap(), Fenced::Done);
        });
        id
    }

    /// The tenants that the worker was woken for since the last call, or `all`.
    fn woken(&self) -> Vec<String> {
        let next = async { tokio::time::timeout(Duration::ZERO, self.parts.wakes.next()).await };
        let woken = self.runtime.block_on(next).unwrap_or_default();
        woken.tenants.iter().map(ToString::to_string).chain(woken.all.then(|| "all".to_owned())).collect()
    }
}

fn acme() -> TenantId {
    TenantId::parse("acme").unwrap()
}

#[track_caller]
fn refused<T: std::fmt::Debug>(outcome: Result<T, Failure>, code: &str) -> Box<wire::Problem> {
    let failure = outcome.unwrap_err();
    assert_eq!((failure.exit, failure.problem.code.as_str()), (Exit::Failed, code), "{failure:?}");
    failure.problem
}

#[test]
fn a_tenant_is_added_shown_changed_and_removed() {
    let bed = Bed::new();
    let acme = bed.add_acme();
    assert_eq!((acme.tool_type.as_str(), acme.enabled, acme.live_jobs), ("servicedesk_plus", true, Some(0)));
    bed.accept("17");
    let disabled: Tenant = bed.client.post("/v1/tenants/acme/disable", &()).unwrap();
    assert_eq!((disabled.enabled, disabled.live_jobs), (false, Some(1)));
    assert_eq!(bed.woken(), [""; 0]);
    let enabled: Tenant = bed.client.post("/v1/tenants/acme/enable", &()).unwrap();
    assert!(enabled.enabled);
    assert_eq!(bed.woken(), ["acme"]);
    let rotated: Tenant =
        bed.client.put("/v1/tenants/acme/secrets/key", &json!({"value": "hunter3", "grace_s": 60})).unwrap();
    assert_eq!(rotated.secrets.iter().filter(|secret| secret.expires_at.is_some()).count(), 1);
    let all: Vec<Tenant> = bed.client.get("/v1/tenants").unwrap();
    assert_eq!(all.len(), 1);
    assert!(!serde_json::to_string(&all).unwrap().contains("hunter"));
    let removed: wire::RemovedTenant = bed.client.delete("/v1/tenants/acme").unwrap();
    assert_eq!((removed.holdings.jobs, removed.kept_until), (1, None));
    refused(bed.client.get::<Tenant>("/v1/tenants/acme"), "UNKNOWN_TENANT");
}

#[test]
fn a_change_is_made_whole_or_refused_with_every_fault() {
    let bed = Bed::new();
    bed.add_acme();
    let change = |body: serde_json::Value| bed.client.patch::<wire::ChangedTenant>("/v1/tenants/acme", &body);
    let changed = change(json!({
        "tool_type": "jira", "settings": {"a": "b", "c": "d"}, "allow_origins": ["https://Login.example"],
        "secrets": {"key": "hunter3"}, "replay_window_s": 60, "replay_ahead_s": 5, "enhance_on": ["updated"],
    }))
    .unwrap();
    let tenant = &changed.tenant;
    assert_eq!((tenant.tool_type.as_str(), tenant.base_url.as_str()), ("jira", "https://desk.example/"));
    assert_eq!((tenant.replay_window_s, tenant.replay_ahead_s), (60, 5));
    assert_eq!(
        (&*tenant.enhance_on, &*tenant.allow_origins),
        (&["updated".into()][..], &["https://login.example".into()][..])
    );
    assert!(!serde_json::to_string(&changed).unwrap().contains("hunter"));
    let changed = change(json!({"unset": ["a"], "remove_origins": ["https://login.example"]})).unwrap();
    assert_eq!(changed.tenant.settings.keys().collect::<Vec<_>>(), ["c"]);
    let before: Tenant = bed.client.get("/v1/tenants/acme").unwrap();
    assert_eq!(changed.tenant, before);

    for (body, code, causes) in [
        (json!({"unset": ["b"]}), "INVALID_TENANT", 0),
        (json!({"tool_type": "A", "enhance_on": ["never"]}), "INVALID_TENANT", 2),
        (json!({"secrets": {"key": "", "other": ""}}), "INVALID_TENANT", 2),
        (json!({"base_url": "http://desk.example", "replay_window_s": 0, "unset": ["b"]}), "INVALID_TENANT", 3),
        (json!({"secrets": {"a b": "hunter4"}}), "INVALID_TENANT", 0),
        (json!({"setings": {}}), "BAD_REQUEST", 0),
        (json!({"secrets": ["hunter4"]}), "BAD_REQUEST", 0),
    ] {
        let problem = refused(change(body.clone()), code);
        assert_eq!(problem.causes.len(), causes, "{body}: {problem:?}");
        assert!(!format!("{problem:?}").contains("hunter"), "{problem:?}");
    }
    assert_eq!(bed.client.get::<Tenant>("/v1/tenants/acme").unwrap(), before);
    refused(bed.client.patch::<Tenant>("/v1/tenants/none", &json!({"unset": []})), "UNKNOWN_TENANT");
    refused(bed.client.patch::<Tenant>("/v1/tenants/a_b", &json!({})), "BAD_REQUEST");
}

#[test]
fn another_tool_takes_an_agreement_when_there_are_live_jobs() {
    let bed = Bed::new();
    bed.add_acme();
    let job = bed.accept("1");
    bed.accept("2");
    let change = |body: serde_json::Value| bed.client.patch::<wire::ChangedTenant>("/v1/tenants/acme", &body);
    assert_eq!(change(json!({"settings": {"a": "b"}, "dead_letter_jobs": true})).unwrap().dead_lettered, 0);
    let problem = refused(change(json!({"tool_type": "jira", "settings": {"a": "c"}})), "LIVE_JOBS");
    assert!(problem.message.contains("acme has 2 live jobs"), "{problem:?}");
    assert_eq!(problem.state.as_deref(), Some("nothing was changed"));
    assert_eq!(bed.client.get::<Tenant>("/v1/tenants/acme").unwrap().settings["a"], "b");

    let changed = change(json!({"tool_type": "jira", "dead_letter_jobs": true})).unwrap();
    assert_eq!((changed.dead_lettered, changed.tenant.live_jobs), (2, Some(0)));
    assert!(bed.parts.metrics.encode().contains("patchbay_dead_letters_total{reason=\"tenant_changed\"} 2\n"));
    let dead: JobDetail = bed.client.get(&format!("/v1/jobs/{job}")).unwrap();
    assert_eq!(dead.job.outcome.as_deref(), Some("tenant_changed"));
    let retry = || bed.client.post::<JobDetail>(&format!("/v1/jobs/{job}/retry"), &());
    let problem = refused(retry(), "TENANT_CHANGED");
    assert!(problem.message.contains("servicedesk_plus") && problem.message.contains("jira"), "{problem:?}");
    change(json!({"tool_type": "servicedesk_plus", "base_url": "https://new.example"})).unwrap();
    assert_eq!(retry().unwrap().job.state, "queued");
}

#[test]
fn what_became_of_webhooks_is_shown_with_each_status_that_counts() {
    let bed = Bed::new();
    let added = bed.add_acme();
    let none = wire::Refusals { count: 0, last_at: None, last_reason: None };
    assert_eq!(added.refusals.keys().collect::<Vec<_>>(), ["400", "401", "422", "429", "503"]);
    assert!(added.refusals.values().all(|refusals| *refusals == none), "{added:?}");
    assert_eq!((added.accepted, &added.last_accepted_at), (0, &None));
    let tally = bed.parts.directory.tally("acme").unwrap();
    tally.accepted(1_000);
    tally.duplicate();
    tally.ignored();
    tally.refused(401, "the plugin did not validate it".to_owned(), 2_000);
    let shown: Tenant = bed.client.get("/v1/tenants/acme").unwrap();
    assert_eq!((shown.accepted, shown.duplicate, shown.ignored), (1, 1, 1));
    assert_eq!(shown.last_accepted_at.as_deref(), Some("1970-01-01T00:00:01.000Z"));
    let refused = &shown.refusals["401"];
    assert_eq!((refused.count, refused.last_at.as_deref()), (1, Some("1970-01-01T00:00:02.000Z")));
    assert_eq!(refused.last_reason.as_deref(), Some("the plugin did not validate it"));
    assert_eq!(shown.refusals["400"], none);
    assert_eq!(bed.client.get::<Vec<Tenant>>("/v1/tenants").unwrap()[0].refusals, shown.refusals);
}

#[test]
fn of_many_tenants_all_are_added_or_none() {
    let bed = Bed::new();
    bed.add_acme();
    let good = |id: &str| json!({"id": id, "base_url": "https://desk.example"});
    let mut wrong = vec![
        (json!({"id": "a", "base_url": "http://desk.example"}), "INVALID_TENANT"),
        (json!({"id": "a", "base_url": "https://desk.example", "secrets": {"a b": "x"}}), "INVALID_TENANT"),
        (json!({"id": "a", "base_url": "https://desk.example", "secrets": {"a": ""}}), "INVALID_SECRET"),
        (json!({"id": "a", "base_url": "https://desk.example", "enhance_on": ["never"]}), "INVALID_TENANT"),
        (json!({"id": "a_b", "base_url": "https://desk.example"}), "BAD_REQUEST"),
        (good("acme"), "TENANT_EXISTS"),
        (good("new"), "BAD_REQUEST"),
    ];
    for (tenant, code) in &wrong {
        let problem = refused(bed.add(json!([good("new"), tenant])), "INVALID_TENANTS");
        assert_eq!(problem.causes.iter().map(|cause| cause.code.as_str()).collect::<Vec<_>>(), [*code], "{tenant}");
    }
    wrong.pop();
    for (tenant, code) in wrong {
        refused(bed.add(json!([tenant])), code);
    }
    let all: Vec<Tenant> = bed.client.get("/v1/tenants").unwrap();
    assert_eq!(all.len(), 1, "nothing was added");
    assert_eq!(bed.add(json!([good("new"), good("newer")])).unwrap().len(), 2);
}

#[test]
fn a_grace_at_its_limit_and_one_past_it() {
    let bed = Bed::new();
    bed.add_acme();
    let rotate = |grace_s: u32| {
        bed.client.put::<Tenant>("/v1/tenants/acme/secrets/key", &json!({"value": "x", "grace_s": grace_s}))
    };
    assert!(rotate(GRACE_S_MAX).is_ok());
    refused(rotate(GRACE_S_MAX + 1), "BAD_REQUEST");
}

#[test]
fn dead_letters_are_shown_put_back_and_thrown_away() {
    let bed = Bed::new();
    bed.add_acme();
    let (first, second) = (bed.give_up("1"), bed.give_up("2"));
    let dead: Vec<Job> = bed.client.get("/v1/jobs?state=dead&tenant=acme").unwrap();
    assert_eq!(dead.iter().map(|job| job.id.clone()).collect::<Vec<_>>(), [second.to_string(), first.to_string()]);
    assert_eq!(dead[0].last_error.as_ref().unwrap().message, "the tool said 500");
    let back: JobDetail = bed.client.post(&format!("/v1/jobs/{first}/retry"), &()).unwrap();
    assert_eq!((back.job.state.as_str(), back.errors.len()), ("queued", 1));
    assert_eq!(bed.woken(), ["acme"]);
    refused(bed.client.post::<JobDetail>(&format!("/v1/jobs/{first}/retry"), &()), "NOT_DEAD");
    refused(bed.client.get::<JobDetail>(&format!("/v1/jobs/{}", JobId::fresh())), "UNKNOWN_JOB");
    let retried: Changed = bed.client.post("/v1/jobs/retry-dead", &()).unwrap();
    assert_eq!(retried.jobs, 1);
    assert_eq!(bed.woken(), ["all"]);
    let _removed: wire::RemovedTenant = bed.client.delete("/v1/tenants/acme?keep_days=1").unwrap();
    refused(bed.client.post::<JobDetail>(&format!("/v1/jobs/{first}/retry"), &()), "TENANT_GONE");
    let depth: Queue = bed.client.get("/v1/jobs/depth").unwrap();
    assert_eq!((depth.live, depth.dead), (0, 2));
    let purged: Changed = bed.client.post("/v1/jobs/purge-dead", &()).unwrap();
    assert_eq!(purged.jobs, 2);
}

#[test]
fn lists_of_jobs_are_bounded() {
    let bed = Bed::new();
    bed.add_acme();
    bed.accept("1");
    bed.accept("2");
    let list = |query: &str| bed.client.get::<Vec<Job>>(&format!("/v1/jobs?{query}"));
    assert_eq!(list("limit=1").unwrap().len(), 1);
    assert_eq!(list(&format!("limit={JOBS_LISTED_MAX}")).unwrap().len(), 2);
    for wrong in [&format!("limit={}", JOBS_LISTED_MAX + 1), "limit=0", "limit=x", "state=odd", "tenant=a_b", "x=1"] {
        refused(list(wrong), "BAD_REQUEST");
    }
}

#[test]
fn a_foreign_file_is_listed_with_its_reason_and_a_reload_says_so() {
    let bed = Bed::new();
    let reloaded: Vec<Reloaded> = bed.client.post("/v1/reload", &Reload::default()).unwrap();
    assert_eq!(reloaded.len(), 1);
    assert_eq!((reloaded[0].code.as_deref(), reloaded[0].generation), (Some("NOT_A_PLUGIN"), None));
    let files: Vec<PluginFile> = bed.client.get("/v1/plugin-files").unwrap();
    assert_eq!((files[0].state.as_str(), files[0].signature.as_deref()), ("refused", Some("unsigned")));
    let plugins: Vec<Plugin> = bed.client.get("/v1/plugins").unwrap();
    assert_eq!((plugins[0].state.as_str(), &plugins[0].tool_type), ("refused", &None));
    assert_eq!(plugins[0].last_error.as_ref().unwrap().code, "NOT_A_PLUGIN");
    refused(bed.client.get::<PluginDetail>("/v1/plugins/jira"), "UNKNOWN_PLUGIN");
    let one = Reload { tool_type: Some("jira".to_owned()), ..Reload::default() };
    refused(bed.client.post::<Vec<Reloaded>>("/v1/reload", &one), "UNKNOWN_PLUGIN");
    refused(bed.client.post::<Vec<Reloaded>>("/v1/plugins/jira/enable", &Reason::default()), "UNKNOWN_PLUGIN");
    refused(bed.client.post::<Vec<Reloaded>>("/v1/plugins/Jira/enable", &Reason::default()), "BAD_REQUEST");
    let both = Reload { all: true, ..one };
    refused(bed.client.post::<Vec<Reloaded>>("/v1/reload", &both), "BAD_REQUEST");
}

#[test]
fn events_are_listed_oldest_first_and_bounded() {
    let bed = Bed::new();
    for (at_ms, generation) in [(0, None), (1_000, Some(2))] {
        let event = store::PluginEvent {
            at_ms,
            tool_type: Some("jira".to_owned()),
            generation,
            sha256: Some("9f".to_owned()),
            ..store::PluginEvent::new(Happened::Swapped, "version 1.0.0 serves")
        };
        bed.runtime.block_on(bed.store.record_plugin_events(vec![event])).unwrap();
    }
    let list = |query: &str| bed.client.get::<Vec<PluginEvent>>(&format!("/v1/events{query}"));
    let times = |events: Vec<PluginEvent>| events.into_iter().map(|event| event.at).collect::<Vec<_>>();
    assert_eq!(times(list("").unwrap()), ["1970-01-01T00:00:00.000Z", "1970-01-01T00:00:01.000Z"]);
    let newest = list("?limit=1").unwrap().remove(0);
    assert_eq!((newest.generation, newest.code.as_str(), newest.sha256.as_deref()), (Some(2), "swapped", Some("9f")));
    assert_eq!(list(&format!("?limit={EVENTS_LISTED_MAX}")).unwrap().len(), 2);
    for wrong in [&format!("limit={}", EVENTS_LISTED_MAX + 1), "limit=0", "limit=x", "after=x"] {
        refused(list(&format!("?{wrong}")), "BAD_REQUEST");
    }
}

#[test]
fn a_body_at_its_limit_and_one_byte_past_it() {
    let bed = Bed::new();
    let padded = |bytes: usize| {
        let wanted = |id: String| json!([{"id": id, "base_url": "https://desk.example"}]);
        let base = wanted(String::new()).to_string().len();
        bed.add(wanted("a".repeat(bytes - base)))
    };
    // The padding makes the id too long, but the body has been read.
    assert_eq!(padded(ADMIN_BODY_BYTES_MAX).unwrap_err().problem.code, "BAD_REQUEST");
    let over = padded(ADMIN_BODY_BYTES_MAX + 1).unwrap_err().problem;
    assert!(over.message.contains("limit"), "{over:?}");
}

#[test]
fn unknown_routes_and_misspelt_bodies_are_refused() {
    let bed = Bed::new();
    refused(bed.client.get::<Plugin>("/v2/plugins"), "UNKNOWN_ROUTE");
    refused(bed.client.delete::<Plugin>("/v1/plugins"), "UNKNOWN_ROUTE");
    refused(bed.client.post::<Changed>("/v1/reload", &json!({"tooltype": "jira"})), "BAD_REQUEST");
    refused(bed.client.post::<NewTenant>("/v1/tenants", &json!({})), "BAD_REQUEST");
}

#[test]
fn after_the_shutdown_nobody_answers_and_the_socket_can_be_bound_again() {
    let bed = Bed::new();
    bed.stop.send(()).unwrap();
    bed.runtime.block_on(bed.served).unwrap();
    assert_eq!(bed.client.get::<Queue>("/v1/jobs/depth").unwrap_err().exit, Exit::Unreachable);
    let _within = bed.runtime.enter();
    drop(bind(&bed.socket).unwrap());
    drop(bed.folder);
}

#[cfg(feature = "test-hooks")]
#[test]
fn the_clock_is_moved_and_the_worker_told() {
    let bed = Bed::new();
    let before = bed.store.clock().now_ms();
    let _now: serde_json::Value = bed.client.post("/v1/test/clock", &json!({"advance_ms": 3_600_000})).unwrap();
    assert!(bed.store.clock().now_ms() >= before + 3_600_000);
    assert_eq!(bed.woken(), ["all"]);
}

#[test]
fn metrics_are_refreshed_for_each_scrape_and_nothing_else_is_served() {
    let bed = Bed::new();
    bed.add_acme();
    bed.accept("1");
    let listener = bed.runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    bed.runtime.spawn(serve_metrics(listener, bed.parts.clone(), std::future::pending()));
    let get = |line: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let scrape = get("GET /metrics");
    assert!(scrape.starts_with("HTTP/1.1 200") && scrape.contains("application/openmetrics-text"), "{scrape}");
    assert!(scrape.contains("\"live\"} 1\n") && scrape.ends_with("# EOF\n"), "{scrape}");
    bed.accept("2");
    assert!(get("GET /metrics").contains("\"live\"} 2\n"));
    assert!(get("GET /v1/tenants").starts_with("HTTP/1.1 404"));
    assert!(get("POST /metrics").starts_with("HTTP/1.1 405"));
}
