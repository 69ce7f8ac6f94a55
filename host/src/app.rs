//! Wires the parts: [`App::build`] makes them in an order in which each finds what it needs, [`App::run`] lets them serve,
//! and [`Running::drain`] ends them in the opposite order.

mod last_end;
mod listeners;
mod notices;
mod reloads;
mod runtime;

use std::{fs, path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::{sync::mpsc, task::JoinHandle};

use self::{
    last_end::{Earlier, earlier},
    listeners::Listeners,
    reloads::Reloads,
};
use crate::{
    admin::{self, AdminParts},
    clock::Clock,
    config::{Config, WhenStuck},
    housekeeping::{self, DiskRoom},
    http::{body::BodyRoom, routes::FrontDoor, server},
    ingest::Ingest,
    limits::SharedLimits,
    open_files::OpenFiles,
    plugin::{
        capability::Services,
        folders,
        journal::Journal,
        manager::{ManagerParts, PluginManager, Reload},
        routes::Routes,
        watcher::FolderWatch,
    },
    process,
    queue::wakes::Wakes,
    shutdown::{self, Shutdown},
    state_lock::StateLock,
    store::{Hooks, Store, StoreConfig},
    telemetry::{LogControl, metrics::Metrics},
    tenant::{
        directory::TenantDirectory,
        rates::TenantRates,
        secrets::{KeyFile, KeyRing},
    },
    threads,
    worker::{Worker, WorkerParts, credentials::Credentials, tools::Tools},
};

pub use self::runtime::runtime;

/// Time for all plugins to be taken apart, once webhooks and jobs have ended.
const PLUGINS_END_MAX: Duration = Duration::from_secs(2);
/// Exit code of a host that wants to be restarted.
const EXIT_RESTART: u8 = 75;
/// How often opened secrets that nobody uses any more are overwritten, and idle tenants' rates forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(5);

/// A host whose parts are made and whose listeners are bound. It works on jobs already; nobody is answered yet.
pub struct App {
    config: Config,
    files: OpenFiles,
    lock: Arc<StateLock>,
    shutdown: Shutdown,
    hang_ups: mpsc::Receiver<()>,
    clock: Clock,
    metrics: Metrics,
    limits: SharedLimits,
    store: Store,
    directory: TenantDirectory,
    routes: Routes,
    journal: Journal,
    credentials: Credentials,
    wakes: Wakes,
    worker: Worker,
    services: Services,
    manager: PluginManager,
    listeners: Listeners,
}

/// A host that serves.
pub struct Running {
    config: Config,
    /// Held until the store is closed.
    _lock: Arc<StateLock>,
    shutdown: Shutdown,
    store: Store,
    journal: Journal,
    worker: Worker,
    manager: PluginManager,
    /// `None` once it has ended.
    webhooks: Option<JoinHandle<()>>,
    admin: JoinHandle<()>,
    scrapes: Option<JoinHandle<()>>,
}

impl App {
    /// Makes the parts. Within a runtime.
    ///
    /// # Errors
    /// When one of them cannot be made.
    pub async fn build(config: Config, files: OpenFiles) -> anyhow::Result<Self> {
        let lock = Arc::new(StateLock::take(&config.state_dir)?);
        folders::say(&config);
        config.warnings().for_each(|warning| tracing::warn!("{warning}"));
        let (trigger, shutdown) = Shutdown::new();
        let hang_ups = shutdown::on_signals(trigger.clone()).context("signals")?;
        let (clock, metrics, limits) = (Clock::system(), Metrics::new(), SharedLimits::new(config.clone()));
        notices::few_connections(&config, files);

        let store = open_store(&config, &clock, &metrics).await?;
        let directory = open_directory(&config, &store).await?;
        notices::paused(&directory);
        let (routes, wakes) = (Routes::default(), Wakes::default());
        let journal = Journal::start(store.clone());
        let Earlier { blamed, last_end } = earlier(&config, &store, &clock, lock.before()).await?;
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
            wakes: wakes.clone(),
            shutdown: shutdown.clone(),
        };
        let worker = Worker::start(worker, last_end).await.context("the queue cannot be read")?;
        let services = Services::new(directory.clone(), &config.http, clock.clone());
        let manager = PluginManager::start(ManagerParts {
            config: config.plugins.clone(),
            limits: limits.clone(),
            copies: config.state_dir.join("plugins"),
            services: services.clone(),
            metrics: metrics.clone(),
            routes: routes.clone(),
            wakes: wakes.clone(),
            store: store.clone(),
            records: store.plugin_records().await?,
            blamed,
            journal: journal.clone(),
            shutdown: trigger,
        })
        .context("the plugin manager cannot start")?;
        let listeners = Listeners::bind(&config)?;
        Ok(Self {
            config,
            files,
            lock,
            shutdown,
            hang_ups,
            clock,
            metrics,
            limits,
            store,
            directory,
            routes,
            journal,
            credentials,
            wakes,
            worker,
            services,
            manager,
            listeners,
        })
    }

    /// Loads the plugins, then serves. `reread` reads the configuration again, for SIGHUP.
    ///
    /// # Errors
    /// When a thread cannot be started, or the system does not tell what it should.
    pub async fn run(
        self,
        log: LogControl,
        reread: impl Fn() -> anyhow::Result<Config> + Send + 'static,
    ) -> anyhow::Result<Running> {
        tokio::spawn(note_the_end(self.shutdown.clone(), Arc::clone(&self.lock), self.manager.clone()));
        let listening = self.listeners.shown(&self.config.admin.socket)?;
        let store_folder = self.config.store.path.parent().map_or_else(Default::default, Path::to_owned);
        let disk = DiskRoom::of(store_folder, &self.limits);
        let parts = self.admin_parts(&disk);
        let admin = tokio::spawn(admin::serve(self.listeners.admin, parts.clone(), ended(&self.shutdown)));
        let serve_metrics = |listener| tokio::spawn(admin::serve_metrics(listener, parts, ended(&self.shutdown)));
        let scrapes = self.listeners.metrics.map(serve_metrics);
        load_plugins(&self.config, &self.manager).await?;
        notices::unsigned(&self.manager, &self.limits);

        let rates = TenantRates::new(self.limits.clone());
        tokio::spawn(disk.clone().watch(self.store.clone(), self.limits.clone()));
        tokio::spawn(housekeeping::tidy(self.store.clone(), self.limits.clone(), disk.clone()));
        tokio::spawn(forget_unused(self.services, rates.clone()));
        let reloads = Reloads { log, limits: self.limits.clone(), manager: self.manager.clone() };
        tokio::spawn(reloads.follow(self.hang_ups, reread));
        let door = FrontDoor {
            ingest: Ingest {
                directory: self.directory,
                routes: self.routes,
                store: self.store.clone(),
                rates,
                limits: self.limits.clone(),
                disk,
                wakes: self.wakes,
            },
            store: self.store.clone(),
            manager: self.manager.clone(),
            limits: self.limits,
            metrics: self.metrics,
            clock: self.clock,
            bodies: BodyRoom::default(),
            told: Arc::default(),
        };
        eprintln!("patchbay ready {listening} plugins={}", self.manager.generation_counts().len());
        let drain_max = self.config.worker.drain;
        let webhooks = server::serve(self.listeners.webhooks, door, self.files, ended(&self.shutdown), drain_max);
        Ok(Running {
            config: self.config,
            _lock: self.lock,
            shutdown: self.shutdown,
            store: self.store,
            journal: self.journal,
            worker: self.worker,
            manager: self.manager,
            webhooks: Some(tokio::spawn(webhooks)),
            admin,
            scrapes,
        })
    }

    fn admin_parts(&self, disk: &DiskRoom) -> AdminParts {
        AdminParts {
            host: admin::wire::Host {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                process_id: std::process::id(),
                plugin_folder: self.config.plugins.dir.to_string_lossy().into_owned(),
                state_folder: self.config.state_dir.to_string_lossy().into_owned(),
                rules: None,
            },
            manager: self.manager.clone(),
            routes: self.routes.clone(),
            directory: self.directory.clone(),
            tokens: Arc::clone(&self.services.tokens),
            credentials: self.credentials.clone(),
            store: self.store.clone(),
            disk: disk.clone(),
            metrics: self.metrics.clone(),
            clock: self.clock.clone(),
            wakes: self.wakes.clone(),
        }
    }
}

impl Running {
    /// Waits until somebody asks the host to end.
    ///
    /// # Errors
    /// When a fault of the host ends the listener of webhooks before.
    pub async fn asked_to_end(&mut self) -> anyhow::Result<()> {
        let Some(webhooks) = &mut self.webhooks else { return Ok(()) };
        tokio::select! {
            biased;
            () = self.shutdown.requested() => Ok(()),
            ended = webhooks => {
                // It may have heard first that the host is to end, and a task that has ended cannot be waited for again.
                self.webhooks = None;
                ended.context("webhooks are not served any more")
            }
        }
    }

    /// Lets what is under way end, takes the plugins apart and closes the store. Does not return, but ends the process, when
    /// the dynamic linker is stuck.
    ///
    /// # Errors
    /// When the store cannot be closed.
    pub async fn drain(self) -> anyhow::Result<()> {
        tracing::info!("draining: no more webhooks are taken");
        // Both drain at the same time, so that neither waits for what the other has left of it.
        let served = async {
            match self.webhooks {
                Some(webhooks) => webhooks.await,
                None => Ok(()),
            }
        };
        let (served, ()) = tokio::join!(served, self.worker.drained(self.config.worker.drain));
        served.context("webhooks were not served to the end")?;
        if self.manager.is_stuck() {
            // No library can be closed and no thread be started: what is on disk is safe, the rest is the next host's.
            self.journal.flush().await;
            process::end_now(if self.config.plugins.when_stuck == WhenStuck::Restart { EXIT_RESTART } else { 0 });
        }
        self.manager.stop(PLUGINS_END_MAX).await;
        let _ended = self.admin.await;
        if let Some(scrapes) = self.scrapes {
            let _ended = scrapes.await;
        }
        self.journal.flush().await;
        self.store.close().await.context("closing the store")?;
        // The socket's name must not stay behind: the next host would have to find out that nobody answers.
        if let Err(fault) = fs::remove_file(&self.config.admin.socket) {
            tracing::debug!("the admin socket's file stays behind: {fault}");
        }
        tracing::info!("ended");
        Ok(())
    }
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

async fn open_directory(config: &Config, store: &Store) -> anyhow::Result<TenantDirectory> {
    let key_file = KeyFile::from(&config.secrets.key_file).under(config.plugins.permissions);
    let keys = KeyRing::load_or_create(key_file, store.has_secrets().await?)?;
    let cache_s = u32::try_from(config.secrets.cache.as_secs()).unwrap_or(u32::MAX);
    TenantDirectory::load(store, keys, cache_s)
        .await
        .with_context(|| format!("the tenants cannot be read with the keys of {}", config.secrets.key_file.display()))
}

/// Takes up what is in the plugin folder, and follows it from then on. All threads of the host are there before.
async fn load_plugins(config: &Config, manager: &PluginManager) -> anyhow::Result<()> {
    let watch = config.plugins.watch.then(|| FolderWatch::new(config.plugins.dir.clone()));
    runtime::start_blocking_threads().await?;
    threads::register_all().context("/proc")?;
    manager.reload(Reload::Changed).await;
    if let Some(watch) = watch {
        tokio::spawn(watch.follow(manager.clone(), config.plugins.rescan));
    }
    Ok(())
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
