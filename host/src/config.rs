//! Configuration: defaults, file and environment become one checked [`Config`], or a list of every fault found.

mod check;
mod layers;
mod raw;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use check::{Check, MEBIBYTES_MAX};
use layers::{Laid, Layers};
use raw::Raw;

use crate::{
    networks::Networks,
    plugin::signature::Trust,
    store::{Keeping, TenantRoom},
};

/// The file that is read when none is named and it exists in the current directory.
pub const DEFAULT_FILE: &str = "patchbay.toml";
/// A larger configuration file is not read, in bytes.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// The whole configuration, checked: every value is in its range, every path is absolute (when the folder it was
/// loaded from is). What a key means and what it allows is in docs/reference/configuration.md.
#[derive(Debug, Clone)]
pub struct Config {
    /// Folder of everything that the host writes.
    pub state_dir: PathBuf,
    /// The webhook listener.
    pub server: Server,
    /// The admin socket and the metrics listener.
    pub admin: Admin,
    /// The plugin folder, and how plugins are loaded and called.
    pub plugins: Plugins,
    /// The database.
    pub store: Store,
    /// Secrets at rest.
    pub secrets: Secrets,
    /// How jobs are worked on.
    pub worker: Worker,
    /// When failed jobs are tried again.
    pub retry: Retry,
    /// Requests to the ticketing tools.
    pub http: Http,
    /// Logs.
    pub log: Log,
    file: Option<PathBuf>,
    values: toml::Table,
    warnings: Vec<Fault>,
}

/// `[server]`
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// Address for webhooks; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Largest body that is read.
    pub body_bytes_max: usize,
    /// From the connection's (or the previous answer's) end to the end of the headers.
    pub header_timeout: Duration,
    /// From the end of the headers to the end of the body.
    pub body_timeout: Duration,
    /// For how long a client may take nothing of what is sent to it.
    pub answer_timeout: Duration,
    /// Connections open at once.
    pub connections_max: usize,
    /// Authentic webhooks of one tenant.
    pub tenant_rate: TenantRate,
    /// Proxies that are believed about who sent a request.
    pub trusted_proxies: Networks,
}

/// How many authentic webhooks of one tenant are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenantRate {
    /// In a second, over a longer time; 0 is without a limit.
    pub per_s: u32,
    /// At once, after a while without any; at least 1.
    pub burst: u32,
}

/// `[admin]`
#[derive(Debug, Clone, PartialEq)]
pub struct Admin {
    /// The Unix socket that plugin-ctl talks to.
    pub socket: PathBuf,
    /// Address for `/metrics`; `None` is off.
    pub listen: Option<SocketAddr>,
}

/// `[plugins]`
#[derive(Debug, Clone, PartialEq)]
pub struct Plugins {
    /// The operator's folder of plugin files.
    pub dir: PathBuf,
    /// Whether changes in the folder are looked for at once.
    pub watch: bool,
    /// For how long a file must stay unchanged before it is read.
    pub settle: Duration,
    /// Time between two scans of the folder.
    pub rescan: Duration,
    /// What is done about files and folders that others may write.
    pub permissions: Permissions,
    /// Whose signatures are good, and whether a file needs one.
    pub trust: Trust,
    /// Threads of a generation that validate and extract.
    pub fast_lanes: usize,
    /// Threads of a generation, at most, that talk to the tool.
    pub slow_lanes_max: usize,
    /// Calls that may wait for a lane.
    pub lane_queue: usize,
    /// Deadline of validate and extract.
    pub fast_deadline: Duration,
    /// Deadline of every other call.
    pub slow_deadline: Duration,
    /// For how long an old generation may end its calls.
    pub drain: Duration,
    /// Generations that could not be unmapped, at most; then nothing more is loaded.
    pub retained_max: usize,
    /// What the host does when opening or closing a library does not end.
    pub when_stuck: WhenStuck,
    /// After this a plugin that failed too often is tried again.
    pub quarantine: Duration,
}

/// Who besides root and the host's user may write plugin files and the folders above them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permissions {
    /// Nobody.
    Strict,
    /// Their group.
    Group,
    /// Whoever can, as on volumes whose modes and owners nobody can change.
    Volume,
}

impl Permissions {
    /// Reads the key's word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Strict, Self::Group, Self::Volume].into_iter().find(|policy| policy.to_string() == word)
    }
}

/// As the key wants it.
impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Strict => "strict",
            Self::Group => "group",
            Self::Volume => "volume",
        })
    }
}

/// What the host does when a plugin's library blocks the dynamic linker of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenStuck {
    /// Ends in order, to be started again without that plugin.
    Restart,
    /// Goes on with the threads and the plugins that there are, until somebody restarts it.
    Stay,
}

/// `[store]`
#[derive(Debug, Clone, PartialEq)]
pub struct Store {
    /// The SQLite database's file.
    pub path: PathBuf,
    /// For how long a delivery is recognised when it comes again, at least.
    pub dedup: Duration,
    /// How long what has ended is kept.
    pub keeping: Keeping,
    /// What one tenant may have.
    pub tenant_room: TenantRoom,
    /// Bytes that stay free where the database lies; with less, no more webhooks are taken.
    pub free_bytes_min: u64,
}

/// `[secrets]`
#[derive(Debug, Clone, PartialEq)]
pub struct Secrets {
    /// The file of the key that secrets are encrypted with.
    pub key_file: PathBuf,
    /// For how long a decrypted secret stays in memory; zero keeps none.
    pub cache: Duration,
}

/// `[worker]`
#[derive(Debug, Clone, PartialEq)]
pub struct Worker {
    /// Jobs worked on at once.
    pub concurrency: usize,
    /// Jobs of one tenant worked on at once.
    pub per_tenant: usize,
    /// For how long a job belongs to the worker that took it, unless extended.
    pub lease: Duration,
    /// How long what is under way may take to end after SIGTERM.
    pub drain: Duration,
}

/// `[retry]`
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// The wait after the first failure.
    pub base: Duration,
    /// What each further wait is multiplied by.
    pub multiplier: f64,
    /// The longest wait; at least `base`.
    pub max: Duration,
    /// Part of a wait, 0 to 1, by which it is varied at random, either way.
    pub jitter: f64,
    /// After this time since acceptance a failing job is a dead letter.
    pub give_up: Duration,
    /// The tool's HTTP statuses that are worth another attempt.
    pub statuses: Vec<u16>,
}

/// `[http]`
#[derive(Debug, Clone, PartialEq)]
pub struct Http {
    /// Time to connect, TLS included.
    pub connect: Duration,
    /// Time from the sent request to the answer's end.
    pub read: Duration,
    /// Largest answer that is read, unpacked.
    pub answer_bytes_max: usize,
    /// All answers under way together; at least twice `answer_bytes_max`.
    pub answers_bytes_max: usize,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    /// How a line looks.
    pub format: LogFormat,
    /// The least important level that is written.
    pub level: tracing::Level,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people: time, level, message, `name=value`.
    Text,
    /// For programs: one flat JSON object on each line.
    Json,
}

impl Config {
    /// Reads `file`, else [`DEFAULT_FILE`] in `cwd` when it exists, under the environment (see [`environment`]).
    /// `file` and, without a file, all relative paths are relative to `cwd`. Blocks on the file system.
    ///
    /// # Errors
    /// Every fault of every key, in one [`ConfigError`].
    pub fn load(
        file: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
        cwd: &Path,
    ) -> Result<Self, ConfigError> {
        let named = file.or_else(|| cwd.join(DEFAULT_FILE).exists().then_some(Path::new(DEFAULT_FILE)));
        let mut layers = Layers::defaults();
        if let Some(file) = named {
            layers.file(file, &cwd.join(file));
        }
        layers.environment(env);
        let Laid { values, places, mut faults, warnings } = layers.finish();
        let raw = match Raw::deserialize_from(&values) {
            Ok(raw) => raw,
            Err(error) => {
                // `Layers` lets nothing in that does not fit; should it ever, this is better than a panic.
                faults.push(Fault { place: Place::Defaults, text: error.to_string() });
                return Err(ConfigError { faults });
            }
        };
        let file = named.map(|file| cwd.join(file));
        let base = file.as_deref().and_then(Path::parent).unwrap_or(cwd);
        let mut check = Check::new(&places, base, &raw.state_dir, faults);
        let config = Self::checked(&raw, &mut check, file.clone(), values);
        check.finish().map(|()| Self { warnings, ..config })
    }

    /// The file that was read, if one was.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// What was ignored, and probably was not meant to be: a sentence each.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        self.warnings.iter().map(Fault::to_string)
    }

    /// Keys (`section.key`) whose value differs in `other`, sorted.
    pub fn changed_keys(&self, other: &Self) -> Vec<String> {
        let old = layers::flat(&self.values);
        let new = layers::flat(&other.values);
        old.into_iter().filter(|(key, value)| new.get(key) != Some(value)).map(|(key, _)| key).collect()
    }

    /// The one place where a key meets its range. A value at fault is replaced, so that all faults are found; such a
    /// configuration never leaves [`Config::load`].
    fn checked(raw: &Raw, check: &mut Check<'_>, file: Option<PathBuf>, values: toml::Table) -> Self {
        Self::check_deadlines(raw, check);
        Self {
            state_dir: check.state_dir(),
            server: Server {
                listen: check.address("server.listen", &raw.server.listen),
                body_bytes_max: check.integer("server.body_bytes_max", raw.server.body_bytes_max, 1..=67_108_864),
                header_timeout: check.seconds("server.header_timeout_s", raw.server.header_timeout_s, 1..=300),
                body_timeout: check.seconds("server.body_timeout_s", raw.server.body_timeout_s, 1..=600),
                answer_timeout: check.seconds("server.answer_timeout_s", raw.server.answer_timeout_s, 1..=600),
                connections_max: check.integer("server.connections_max", raw.server.connections_max, 1..=1_000_000),
                tenant_rate: TenantRate {
                    per_s: check.integer("server.tenant_rate_per_s", raw.server.tenant_rate_per_s, 0..=1_000_000),
                    burst: check.integer("server.tenant_burst", raw.server.tenant_burst, 1..=10_000_000),
                },
                trusted_proxies: check.networks("server.trusted_proxies", &raw.server.trusted_proxies),
            },
            admin: Admin {
                socket: check.socket("admin.socket", &raw.admin.socket),
                listen: (!raw.admin.listen.is_empty()).then(|| check.address("admin.listen", &raw.admin.listen)),
            },
            plugins: Self::checked_plugins(&raw.plugins, check),
            store: Store {
                path: check.sqlite("store.url", &raw.store.url),
                dedup: check.hours("store.dedup_hours", raw.store.dedup_hours, 1..=8_760),
                keeping: Keeping {
                    dead_letters_ms: check.days_ms("store.dead_letters_days", raw.store.dead_letters_days),
                    solved_ms: check.days_ms("store.solved_days", raw.store.solved_days),
                    notes_ms: check.days_ms("store.notes_days", raw.store.notes_days),
                },
                tenant_room: TenantRoom {
                    jobs_max: check.integer("store.tenant_jobs_max", raw.store.tenant_jobs_max, 1..=1_000_000_000),
                    bytes_max: check.mebibytes("store.tenant_mb_max", raw.store.tenant_mb_max, 1..=MEBIBYTES_MAX),
                },
                free_bytes_min: check.mebibytes("store.free_mb_min", raw.store.free_mb_min, 0..=MEBIBYTES_MAX),
            },
            secrets: Secrets {
                key_file: check.path("secrets.key_file", &raw.secrets.key_file),
                cache: check.seconds("secrets.cache_s", raw.secrets.cache_s, 0..=3_600),
            },
            worker: Worker {
                concurrency: check.integer("worker.concurrency", raw.worker.concurrency, 1..=10_000),
                per_tenant: check.integer("worker.per_tenant", raw.worker.per_tenant, 1..=10_000),
                lease: check.seconds("worker.lease_s", raw.worker.lease_s, 10..=3_600),
                drain: check.seconds("worker.drain_s", raw.worker.drain_s, 1..=30),
            },
            retry: Self::checked_retry(&raw.retry, check),
            http: Self::checked_http(&raw.http, check),
            log: Log {
                format: check.one_of(
                    "log.format",
                    &raw.log.format,
                    &[("text", LogFormat::Text), ("json", LogFormat::Json)],
                ),
                level: check.one_of(
                    "log.level",
                    &raw.log.level,
                    &[
                        ("error", tracing::Level::ERROR),
                        ("warn", tracing::Level::WARN),
                        ("info", tracing::Level::INFO),
                        ("debug", tracing::Level::DEBUG),
                        ("trace", tracing::Level::TRACE),
                    ],
                ),
            },
            file,
            values,
            warnings: Vec::new(),
        }
    }

    fn checked_plugins(raw: &raw::Plugins, check: &mut Check<'_>) -> Plugins {
        let keys = check.minisign_keys("plugins.trusted_keys", &raw.trusted_keys);
        if raw.require_signature && raw.trusted_keys.is_empty() {
            check.fault("plugins.require_signature", "needs at least one key in plugins.trusted_keys");
        }
        Plugins {
            dir: check.path("plugins.dir", &raw.dir),
            watch: raw.watch,
            settle: check.millis("plugins.settle_ms", raw.settle_ms, 0..=60_000),
            rescan: check.seconds("plugins.rescan_s", raw.rescan_s, 1..=86_400),
            permissions: check.one_of(
                "plugins.permissions",
                &raw.permissions,
                &[("strict", Permissions::Strict), ("group", Permissions::Group), ("volume", Permissions::Volume)],
            ),
            trust: Trust { keys, required: raw.require_signature },
            fast_lanes: check.integer("plugins.fast_lanes", raw.fast_lanes, 1..=64),
            slow_lanes_max: check.integer("plugins.slow_lanes_max", raw.slow_lanes_max, 1..=1_024),
            lane_queue: check.integer("plugins.lane_queue", raw.lane_queue, 1..=65_536),
            fast_deadline: check.millis("plugins.fast_deadline_ms", raw.fast_deadline_ms, 10..=60_000),
            slow_deadline: check.seconds("plugins.slow_deadline_s", raw.slow_deadline_s, 3..=3_600),
            drain: check.seconds("plugins.drain_s", raw.drain_s, 1..=3_600),
            retained_max: check.integer("plugins.retained_max", raw.retained_max, 0..=1_024),
            when_stuck: check.one_of(
                "plugins.when_stuck",
                &raw.when_stuck,
                &[("restart", WhenStuck::Restart), ("stay", WhenStuck::Stay)],
            ),
            quarantine: check.seconds("plugins.quarantine_s", raw.quarantine_s, 1..=900),
        }
    }

    /// A request to the tool has to end before the call that it is part of.
    fn check_deadlines(raw: &Raw, check: &mut Check<'_>) {
        let (connect_s, read_s, deadline_s) = (raw.http.connect_s, raw.http.read_s, raw.plugins.slow_deadline_s);
        if connect_s.saturating_add(read_s) >= deadline_s {
            let text = format!(
                "plugins.slow_deadline_s must be more than http.connect_s and http.read_s together, since a request ends before its call; but it is {deadline_s}, and they are {connect_s} and {read_s}"
            );
            check.fault_between(&["plugins.slow_deadline_s", "http.read_s", "http.connect_s"], &text);
        }
    }

    fn checked_http(raw: &raw::Http, check: &mut Check<'_>) -> Http {
        let http = Http {
            connect: check.seconds("http.connect_s", raw.connect_s, 1..=300),
            read: check.seconds("http.read_s", raw.read_s, 1..=600),
            answer_bytes_max: check.integer("http.answer_bytes_max", raw.answer_bytes_max, 1_024..=1_073_741_824),
            answers_bytes_max: check.integer("http.answers_bytes_max", raw.answers_bytes_max, 2_048..=17_179_869_184),
        };
        // One tenant has half of the room: an answer must fit into that.
        let least = raw.answer_bytes_max.saturating_mul(2);
        if raw.answers_bytes_max < least {
            let found = raw.answers_bytes_max;
            let text = format!("must be at least {least}, twice http.answer_bytes_max, but is {found}");
            check.fault("http.answers_bytes_max", &text);
        }
        http
    }

    fn checked_retry(raw: &raw::Retry, check: &mut Check<'_>) -> Retry {
        let retry = Retry {
            base: check.seconds("retry.base_s", raw.base_s, 1..=3_600),
            multiplier: check.number("retry.multiplier", raw.multiplier, 1.0..=10.0),
            max: check.seconds("retry.max_s", raw.max_s, 1..=86_400),
            jitter: check.number("retry.jitter", raw.jitter, 0.0..=1.0),
            give_up: check.hours("retry.give_up_hours", raw.give_up_hours, 1..=8_760),
            statuses: raw.statuses.iter().map(|status| check.integer("retry.statuses", *status, 400..=599)).collect(),
        };
        if raw.max_s < raw.base_s {
            check.fault("retry.max_s", &format!("must be at least retry.base_s, which is {}", raw.base_s));
        }
        retry
    }
}

/// This process's environment as [`Config::load`] takes it. Bytes that are not UTF-8 are replaced: such variables
/// of other programs are no reason to stop.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
}

/// Everything that is wrong with a configuration; shows one fault on each line, in the order file, environment, values.
#[derive(Debug, thiserror::Error)]
#[error("{}", .faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigError {
    faults: Vec<Fault>,
}

impl ConfigError {
    /// The faults' texts; never empty.
    pub fn faults(&self) -> impl Iterator<Item = String> {
        self.faults.iter().map(Fault::to_string)
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Fault {
    place: Place,
    text: String,
}

/// Where a value comes from, as it is shown to the operator.
#[derive(Debug, Clone, PartialEq)]
enum Place {
    Defaults,
    File { path: PathBuf, line: Option<usize> },
    Environment(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Defaults => f.write_str("defaults: ")?,
            Place::File { path, line: Some(line) } => write!(f, "{}:{line}: ", path.display())?,
            Place::File { path, line: None } => write!(f, "{}: ", path.display())?,
            Place::Environment(name) => write!(f, "environment {name}: ")?,
        }
        f.write_str(&self.text)
    }
}
