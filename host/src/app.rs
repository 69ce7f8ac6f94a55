//! Wires the parts, starts them in an order in which each finds what it needs, and ends them in the opposite one.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};

use crate::{
    admin::{self, AdminParts},
    clock::Clock,
    config::{Config, WhenStuck},
    core_dumps,
    housekeeping::{self, DiskRoom},
    http::{body::BodyRoom, routes::FrontDoor, server},
    ingest::Ingest,
    limits::SharedLimits,
    open_files::OpenFiles,
    plugin::{
        blame::{self, Blamed},
        capability::Services,
        crash, folders,
        journal::{Happened, Journal},
        loader,
        manager::{ManagerParts, PluginManager, PluginRow, PluginState, Reload},
        on_trial::OnTrial,
        routes::Routes,
        signature::Signature,
        watcher::FolderWatch,
    },
    shutdown::{self, Shutdown},
    state_lock::{Before, StateLock},
    store::{EventFilter, EventsFrom, Hooks, LastEnd, PLUGIN_EVENTS_MAX, PluginEvent, Store, StoreConfig},
    telemetry::{self, LogControl, metrics::Metrics},
    tenant::{
        directory::TenantDirectory,
        rates::TenantRates,
        secrets::{KeyFile, KeyRing},
    },
    threads,
    worker::{Worker, WorkerParts, credentials::Credentials, tools::Tools},
};

/// How long the plugins may take after that to be taken apart.
const PLUGINS_END_MAX: Duration = Duration::from_secs(2);
/// Threads for what blocks: the store's readers, and one generation at a time that is taken apart.
const BLOCKING_THREADS: usize = 8;
/// Threads of the blocking pool do not end while the host runs.
const FOR_GOOD: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// The host wants to be restarted.
const EXIT_RESTART: u8 = 75;
/// How often opened secrets that nobody uses any more are overwritten, and idle tenants' rates forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(5);

/// Runs the host until it is told to end. `reread` reads the configuration again, for SIGHUP.
///
/// # Errors
/// When it cannot start; once it serves, it ends without.
pub fn run(config: Config, reread: impl Fn() -> anyhow::Result<Config> + Send + 'static) -> anyhow::Result<()> {
    let log = telemetry::init(&config.log)?;
    core_dumps::forbid();
    loader::bound_freed_memory();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("patchbay")
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_keep_alive(FOR_GOOD)
        .on_thread_start(threads::register)
        .build()?;
    threads::register();
    let files = OpenFiles::raise();
    runtime.block_on(serve(config, log, files, reread))?;
    // All is on disk and nothing is left to do. An ordinary exit would still run what plugins have left behind, and wait
    // for a library that hangs.
    crash::end_now(0)
}

async fn serve(
    config: Config,
    log: LogControl,
    files: OpenFiles,
    reread: impl Fn() -> anyhow::Result<Config> + Send + 'static,
) -> anyhow::Result<()> {
    let lock = Arc::new(StateLock::take(&config.state_dir)?);
    folders::say(&config);
    config.warnings().for_each(|warning| tracing::warn!("{warning}"));
    let (trigger, shutdown) = Shutdown::new();
    let reloads = shutdown::on_signals(trigger.clone()).context("signals")?;
    let clock = Clock::system();
    let metrics = Metrics::new();
    let limits = SharedLimits::new(config.clone());
    let connections_max = files.connections_max(config.worker.concurrency);
    if connections_max < config.server.connections_max {
        tracing::warn!(
            "the limit of open files leaves room for {connections_max} connections; raise it, or lower server.connections_max"
        );
    }

    let store = open_store(&config, &clock, &metrics).await?;
    let key_file = KeyFile::from(&config.secrets.key_file).under(config.plugins.permissions);
    let keys = KeyRing::load_or_create(key_file, store.has_secrets().await?)?;
    let cache_s = u32::try_from(config.secrets.cache.as_secs()).unwrap_or(u32::MAX);
    let directory = TenantDirectory::load(&store, keys, cache_s).await.with_context(|| {
        format!("the tenants cannot be read with the keys of {}", config.secrets.key_file.display())
    })?;

    say_who_is_paused(&directory);

    let routes = Routes::default();
    let journal = Journal::start(store.clone());
    let stuck = Arc::new(AtomicBool::new(false));
    let (blamed, last_end) = crashes(&config, &store, &clock, lock.before()).await?;
    let credentials = Credentials::new(directory.clone());
    let worker = WorkerParts {
        store: store.clone(),
        directory: directory.clone(),
        routes: routes.clone(),
        credentials: credentials.clone(),
        tools: Tools::default(),
        metrics: metrics.clone(),
        clock: clock.clone(),
        limits: limits.clone(),
        slow_lanes_max: config.plugins.slow_lanes_max,
        lease: config.worker.lease,
        shutdown: shutdown.clone(),
    };
    let worker = Worker::start(worker, last_end).await.context("the queue cannot be read")?;
    let woken = worker.clone();
    let services = Services::new(directory.clone(), &config.http, clock.clone());
    let manager = PluginManager::start(ManagerParts {
        config: config.plugins.clone(),
        limits: limits.clone(),
        copies: config.state_dir.join("plugins"),
        services: services.clone(),
        metrics: metrics.clone(),
        routes: routes.clone(),
        on_routes: Arc::new(move || woken.wake_all()),
        store: store.clone(),
        records: store.plugin_records().await?,
        blamed,
        journal: journal.clone(),
        on_stuck: {
            let (stuck, trigger, when_stuck) = (Arc::clone(&stuck), trigger.clone(), config.plugins.when_stuck);
            Arc::new(move || {
                stuck.store(true, Ordering::SeqCst);
                if when_stuck == WhenStuck::Restart {
                    trigger.request();
                }
            })
        },
    })
    .context("the plugin manager cannot start")?;
    tokio::spawn(note_the_end(shutdown.clone(), Arc::clone(&lock), manager.clone()));

    let webhooks =
        server::listen(config.server.listen).with_context(|| not_free("server.listen", config.server.listen))?;
    let webhooks_at = webhooks.local_addr()?;
    let metrics_listener = match config.admin.listen {
        Some(address) => Some(server::listen(address).with_context(|| not_free("admin.listen", address))?),
        None => None,
    };
    let metrics_at = metrics_listener.as_ref().map(TcpListener::local_addr).transpose()?;
    let socket = admin::bind(&config.admin.socket).context("admin.socket")?;
    let woken = worker.clone();
    let disk = DiskRoom::of(config.store.path.parent().map_or_else(Default::default, Path::to_owned), &limits);
    let parts = AdminParts {
        host: admin::wire::Host {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            process_id: std::process::id(),
            plugin_folder: config.plugins.dir.to_string_lossy().into_owned(),
            state_folder: config.state_dir.to_string_lossy().into_owned(),
            rules: None,
        },
        manager: manager.clone(),
        routes: routes.clone(),
        directory: directory.clone(),
        tokens: Arc::clone(&services.tokens),
        credentials,
        store: store.clone(),
        disk: disk.clone(),
        metrics: metrics.clone(),
        clock: clock.clone(),
        wake: Arc::new(move |tenant| match tenant {
            Some(tenant) => woken.wake(tenant),
            None => woken.wake_all(),
        }),
    };
    let admin = tokio::spawn(admin::serve(socket, parts.clone(), ended(&shutdown)));
    let metrics_server =
        metrics_listener.map(|listener| tokio::spawn(admin::serve_metrics(listener, parts, ended(&shutdown))));

    let watch = config.plugins.watch.then(|| FolderWatch::new(config.plugins.dir.clone()));
    start_blocking_threads().await?;
    threads::register_all().context("/proc")?;
    manager.reload(Reload::Changed).await;
    say_who_is_not_vouched_for(&manager, &limits);
    if let Some(watch) = watch {
        tokio::spawn(watch.follow(manager.clone(), config.plugins.rescan));
    }
    let rates = TenantRates::new(limits.clone());
    tokio::spawn(disk.clone().watch(store.clone(), limits.clone()));
    tokio::spawn(housekeeping::tidy(store.clone(), limits.clone(), disk.clone()));
    tokio::spawn(forget_unused(services, rates.clone()));
    tokio::spawn(follow_reloads(reloads, reread, log, limits.clone(), manager.clone()));
    let woken = worker.clone();
    let door = FrontDoor {
        ingest: Ingest {
            directory,
            routes,
            store: store.clone(),
            rates,
            limits: limits.clone(),
            disk,
            on_job: Arc::new(move |tenant| woken.wake(&tenant.id)),
        },
        store: store.clone(),
        manager: manager.clone(),
        limits,
        metrics,
        clock,
        bodies: BodyRoom::default(),
        told: Arc::default(),
    };
    let here = std::env::current_dir().unwrap_or_default();
    let shown = config.admin.socket.strip_prefix(&here).unwrap_or(&config.admin.socket);
    eprintln!(
        "patchbay ready webhooks=http://{webhooks_at} metrics={} admin={} plugins={}",
        metrics_at.map_or_else(|| "off".to_owned(), |address| format!("http://{address}")),
        shown.display(),
        manager.generation_counts().len()
    );

    // Both drain at the same time, so that neither waits for what the other has left of it.
    let drain_max = config.worker.drain;
    let drained = async {
        shutdown.requested().await;
        tracing::info!("draining: no more webhooks are taken");
        worker.drained(drain_max).await;
    };
    tokio::join!(server::serve(webhooks, door, files, ended(&shutdown), drain_max), drained);
    if stuck.load(Ordering::SeqCst) {
        // No library can be closed and no thread be started: what is on disk is safe, the rest is the next host's.
        journal.flush().await;
        crash::end_now(if config.plugins.when_stuck == WhenStuck::Restart { EXIT_RESTART } else { 0 });
    }
    manager.stop(PLUGINS_END_MAX).await;
    let _ended = admin.await;
    if let Some(server) = metrics_server {
        let _ended = server.await;
    }
    journal.flush().await;
    store.close().await.context("closing the store")?;
    // The socket's name must not stay behind: the next host would have to find out that nobody answers.
    if let Err(fault) = fs::remove_file(&config.admin.socket) {
        tracing::debug!("the admin socket's file stays behind: {fault}");
    }
    tracing::info!("ended");
    drop(trigger);
    Ok(())
}

async fn open_store(config: &Config, clock: &Clock, metrics: &Metrics) -> anyhow::Result<Store> {
    let counted = metrics.clone();
    let store = StoreConfig {
        path: config.store.path.clone(),
        dedup_hours: u32::try_from(config.store.dedup.as_secs() / 3600).unwrap_or(u32::MAX),
        hooks: Hooks {
            on_commit: Arc::new(move |stats| {
                if stats.committed {
                    counted.store_commit(Duration::from_secs_f64(stats.seconds), stats.operations);
                }
            }),
            on_thread_start: Arc::new(threads::register),
        },
    };
    let clock = clock.clone();
    Ok(tokio::task::spawn_blocking(move || Store::open(store, clock)).await??)
}

/// Reads what an earlier host died of, keeps it, and tells which artifacts have killed it too often lately to be started,
/// and whether it was one of them.
async fn crashes(config: &Config, store: &Store, clock: &Clock, before: Before) -> anyhow::Result<(Blamed, LastEnd)> {
    let journal = config.state_dir.join("crash.journal");
    let earlier = crash::start(&journal).with_context(|| {
        format!("the crash journal {} cannot be used; look for a full or failing disk", journal.display())
    })?;
    let mut last_end = match before {
        Before::CutOff if earlier.is_none() => LastEnd::Unexplained,
        Before::CutOff | Before::Explained => LastEnd::Explained,
    };
    if let Some(crash) = earlier {
        let message = crash.to_string();
        tracing::error!(tool_type = crash.tool_type, sha256 = crash.sha256, "{message}");
        let event = PluginEvent {
            at_ms: clock.now_ms(),
            tool_type: Some(crash.tool_type),
            generation: i64::try_from(crash.generation).ok(),
            sha256: Some(crash.sha256),
            ..PluginEvent::new(Happened::Crashed, message)
        };
        store.record_plugin_events(vec![event]).await?;
    }
    let on_trial = OnTrial::in_folder(&config.state_dir.join("plugins"));
    let tried = on_trial.left_behind().context("what an earlier host was trying")?;
    if tried.is_some() && before == Before::Explained {
        on_trial.forget().context("what an earlier host was trying")?;
    } else if let Some(tried) = tried {
        last_end = LastEnd::Explained;
        let message = format!("the host ended while it tried {}", tried.path.display());
        tracing::error!(
            tool_type = tried.tool_type,
            sha256 = tried.sha256,
            "{message}; the same bytes are not tried again until plugin-ctl enable"
        );
        let event = PluginEvent {
            at_ms: clock.now_ms(),
            tool_type: Some(tried.tool_type),
            version: Some(tried.version),
            sha256: Some(tried.sha256),
            ..PluginEvent::new(Happened::EndedInProbe, message)
        };
        store.record_plugin_events(vec![event]).await?;
        on_trial.forget().context("what an earlier host was trying")?;
    }
    Ok((
        blame::blamed(store.plugin_events(EventsFrom::Newest, EventFilter::default(), PLUGIN_EVENTS_MAX).await?),
        last_end,
    ))
}

/// Starts all threads of the blocking pool: once a plugin is mapped, the start of a thread may have to wait for it.
async fn start_blocking_threads() -> anyhow::Result<()> {
    let all_there = Arc::new(Barrier::new(BLOCKING_THREADS));
    let mut waiting = JoinSet::new();
    for _ in 0..BLOCKING_THREADS {
        let all_there = Arc::clone(&all_there);
        waiting.spawn_blocking(move || all_there.wait());
    }
    while let Some(waited) = waiting.join_next().await {
        waited.context("the blocking pool")?;
    }
    Ok(())
}

fn not_free(key: &str, address: SocketAddr) -> String {
    format!("{key}: cannot listen on {address}; is another program there?")
}

/// Whatever cuts the host off once it was asked to end is not held against a job or a plugin.
async fn note_the_end(shutdown: Shutdown, lock: Arc<StateLock>, manager: PluginManager) {
    shutdown.requested().await;
    lock.asked_to_end();
    manager.note_no_more_trials();
}

/// A future of one's own that ends when the host is told to end.
fn ended(shutdown: &Shutdown) -> impl Future<Output = ()> + Send + 'static {
    let shutdown = shutdown.clone();
    async move { shutdown.requested().await }
}

async fn forget_unused(services: Services, rates: TenantRates) {
    let mut ticks = tokio::time::interval(FORGET_EVERY);
    loop {
        ticks.tick().await;
        services.directory.forget_stale_secrets();
        services.tokens.forget_stale();
        rates.forget_idle();
    }
}

/// Nothing else shows at a start that notes are not posted.
fn say_who_is_paused(directory: &TenantDirectory) {
    let paused: Vec<_> =
        directory.list().iter().filter(|tenant| tenant.paused).map(|tenant| tenant.id.clone()).collect();
    if directory.is_all_paused() {
        tracing::warn!(
            "the jobs of all tenants are paused: webhooks are accepted, and no note is posted; plugin-ctl job resume"
        );
        return;
    }
    let whose = match &paused[..] {
        [] => return,
        [one] => format!("tenant {one}"),
        [first, others @ ..] => format!("tenant {first} and {} others", others.len()),
    };
    tracing::warn!(
        tenants = paused.len(),
        "the jobs of {whose} are paused: webhooks are accepted, and no note is posted for them; plugin-ctl tenant list shows \
         which, plugin-ctl tenant resume ID lets them run"
    );
}

/// Plugins that no trusted key has signed have all rights of the host: the start says so, as a warning to whoever set keys.
fn say_who_is_not_vouched_for(manager: &PluginManager, limits: &SharedLimits) {
    let trust = &limits.now().trust;
    if trust.required {
        return;
    }
    let trusted = |row: &PluginRow| row.signature.as_ref().is_some_and(Signature::is_trusted);
    let rows = manager.list().into_iter().filter(|row| row.state == PluginState::Active && !trusted(row));
    let tool_types: Vec<_> = rows.filter_map(|row| row.tool_type).map(|tool_type| tool_type.to_string()).collect();
    let unsigned = match &tool_types[..] {
        [] => String::new(),
        tool_types => format!("; no trusted key has signed these plugins: {}", tool_types.join(", ")),
    };
    let said = format!(
        "plugins.require_signature is off: whatever is put into the plugin folder runs with all rights of this host{unsigned}"
    );
    if trust.keys.is_empty() || unsigned.is_empty() {
        tracing::info!("{said}");
    } else {
        tracing::warn!("{said}");
    }
}

/// SIGHUP: all or nothing. When others are trusted than before, the manager looks at the plugin folder again.
async fn follow_reloads(
    mut reloads: mpsc::Receiver<()>,
    reread: impl Fn() -> anyhow::Result<Config> + Send + 'static,
    log: LogControl,
    limits: SharedLimits,
    manager: PluginManager,
) {
    while reloads.recv().await.is_some() {
        let config = match reread() {
            Ok(config) => config,
            Err(fault) => {
                tracing::error!("the configuration was not reloaded, the old one stays: {fault:#}");
                continue;
            }
        };
        if let Err(fault) = log.set_level(config.log.level) {
            tracing::error!("the log level was not changed: {fault}");
            continue;
        }
        let before = limits.now();
        let waiting = limits.reload(&config);
        tracing::info!("configuration reloaded");
        if !waiting.is_empty() {
            tracing::warn!("these keys wait for a restart: {}", waiting.join(", "));
        }
        if limits.now().trust != before.trust {
            manager.reload(Reload::Changed).await;
        }
    }
}
