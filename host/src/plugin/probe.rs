//! Trying a plugin in a process of its own: whatever its constructors and its `new` do, they do it there first.
//!
//! The process is this very program, started again with a hidden argument; see [`trial`].

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, OnceLock},
    time::Duration,
};

use plugin_abi::{
    export::InfoRecord,
    host::{CallContext, CallFault, HostCalls, HostSide, WebhookParts, extract_metadata},
    http::{Request, Response},
    types::{KeyForm, LogLevel},
    {PluginError, time::OffsetDateTime},
};
use serde::{Deserialize, Serialize};

use super::{
    confine::{self, Level, Steps},
    loader::LoadedLibrary,
    refusal::{Code, Refusal},
    surroundings::{self, Surroundings},
    trial::{self, Order, Start},
};

/// The hidden argument.
const ARGUMENT: &str = "__probe";
/// How long a plugin may take to be opened, made, called twice and dropped.
const TIME_MAX: Duration = Duration::from_secs(5);

/// Starts probe processes. Used from one long-lived thread, the plugin manager's. Clones share what one of them has found
/// out about the surroundings.
#[derive(Clone, Debug)]
pub struct Prober {
    program: PathBuf,
    time_max: Duration,
    scratch: PathBuf,
    surroundings: Arc<OnceLock<Surroundings>>,
}

impl Default for Prober {
    /// With this very program, also when its file has been replaced since.
    fn default() -> Self {
        Self::with_program("/proc/self/exe", TIME_MAX)
    }
}

impl Prober {
    /// With another program that calls [`run_if_asked`], and another time limit: for tests.
    pub fn with_program(program: impl Into<PathBuf>, time_max: Duration) -> Self {
        Self { program: program.into(), time_max, scratch: std::env::temp_dir(), surroundings: Arc::default() }
    }

    /// The same, putting what is tried into this folder where it cannot be in memory.
    #[must_use]
    pub fn with_scratch(self, folder: PathBuf) -> Self {
        Self { scratch: folder, ..self }
    }

    /// What a process that tries a plugin can do here. Found out by the first call, for as long as this process lives.
    ///
    /// # Errors
    /// `PROBE_FAILED`: no plugin can be tried here, and why.
    pub fn surroundings(&self) -> Result<&Surroundings, Refusal> {
        if let Some(known) = self.surroundings.get() {
            return Ok(known);
        }
        let found = surroundings::explore(&self.program, self.time_max)?;
        Ok(self.surroundings.get_or_init(|| found))
    }

    /// Tries these bytes. `info` is what their note says. Gives the walls that the process was shut in by.
    ///
    /// # Errors
    /// What was wrong, with the signal when the process died of one.
    pub fn probe(&self, bytes: &[u8], info: &InfoRecord) -> Result<Level, Refusal> {
        let surroundings = self.surroundings()?;
        let library = surroundings.library(bytes, &self.scratch)?;
        let start = Start {
            program: &self.program,
            argument: ARGUMENT,
            left_out: surroundings.left_out(),
            library: Some(&library),
            input: None,
            time_max: self.time_max,
        };
        let ended = start.run().map_err(|fault| Refusal::new(Code::ProbeFailed, fault.to_string()))?;
        let verdict = ended.verdict().map_err(|death| {
            let (code, when) = match death.had_begun {
                false => (Code::ProbeFailed, ", before anything of the plugin was opened"),
                true if death.is_hang() => (Code::ProbeTimeout, ""),
                true => (Code::ProbeCrashed, ""),
            };
            Refusal::new(code, format!("{death}{when}"))
        })?;
        match verdict {
            Report::Refused(refusal) => Err(refusal),
            Report::Sound { info: module, level } => {
                let module = serde_json::from_str::<InfoRecord>(&module).ok();
                if module.as_ref() == Some(info) {
                    Ok(Level { bytes: surroundings.level().bytes, ..level })
                } else {
                    Err(Refusal::new(Code::InfoMismatch, "its module and its note describe two different plugins"))
                }
            }
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Report {
    Sound { info: String, level: Level },
    Refused(Refusal),
}

/// Proof that this process exists to try a plugin and for nothing else.
pub struct ProbeProcess(());

impl ProbeProcess {
    /// When this process was started by [`Start::run`] with this argument, and what it was told.
    pub(crate) fn if_asked(argument: &str) -> Option<(Self, Order)> {
        Order::of_this_process(argument).map(|order| (Self(()), order))
    }
}

/// Becomes a probe, or the process that looks what a probe can do, when this process was started as one: to be called
/// first thing in `main`, before any runtime starts.
pub fn run_if_asked() -> Option<ExitCode> {
    let probe = || {
        let (here, order) = ProbeProcess::if_asked(ARGUMENT)?;
        let token = order.token.clone();
        Some(trial::tell_verdict(&token, &attempt(&here, order).unwrap_or_else(Report::Refused)))
    };
    probe().or_else(surroundings::run_if_asked)
}

fn attempt(here: &ProbeProcess, order: Order) -> Result<Report, Refusal> {
    let unconfined =
        |fault: io::Error| Refusal::new(Code::ProbeFailed, format!("its process could not be confined: {fault}"));
    trial::stage("confining the process");
    confine::close_inherited().map_err(unconfined)?;
    let mut tasks = confine::Tasks::open().map_err(unconfined)?;
    let level = confine::enter(order.parent, TIME_MAX, &mut Steps::new(order.left_out)).map_err(unconfined)?;
    trial::stage(trial::OPENING);
    let library = LoadedLibrary::open_in_probe(here, Path::new(trial::LIBRARY))?;
    confine::tighten(level).map_err(unconfined)?;
    let info = library.info().to_owned();
    trial::stage("new");
    let plugin =
        library.create(Box::new(HostSide(NoServices)), env!("CARGO_PKG_VERSION"), 0).map_err(|(_, refusal)| refusal)?;
    trial::stage("extract_metadata");
    for body in [&b""[..], b"\xff{\"no\":[sense"] {
        extract(&plugin, body)?;
    }
    trial::stage("dropping the plugin");
    let (library, _host, fault) = plugin.destroy();
    if let Some(CallFault::Plugin(error)) = fault {
        return Err(Refusal::new(Code::InitPanic, format!("while it was dropped: {error}")));
    }
    trial::stage("counting threads");
    let others = tasks.count().map_err(unconfined)?.saturating_sub(1);
    if others > 0 {
        let started = if others == 1 {
            "1 thread that the plugin started".to_owned()
        } else {
            format!("{others} of the plugin's threads")
        };
        return Err(Refusal::new(Code::Threads, format!("{started} still ran after the plugin was dropped")));
    }
    trial::stage("closing the library");
    library.close().map_err(|fault| Refusal::new(Code::Load, fault))?;
    trial::stage("the end");
    Ok(Report::Sound { info, level })
}

/// Any error is an answer; a panic or a reply against the rules is not.
fn extract(plugin: &super::loader::LoadedPlugin<NoServices>, body: &[u8]) -> Result<(), Refusal> {
    let now = OffsetDateTime::now_utc();
    let context = CallContext {
        tenant_id: "probe",
        base_url: "https://probe.invalid",
        settings: &BTreeMap::new(),
        attempt: 0,
        idempotency_key: None,
        deadline: now + TIME_MAX,
        replay_window: Duration::from_secs(300),
        replay_ahead: Duration::from_secs(30),
    };
    let webhook = WebhookParts {
        method: "POST",
        path: "/webhooks/probe",
        query: "",
        headers: std::iter::empty,
        body,
        received_at: now,
    };
    let answer =
        context.with_webhook(&webhook, |request| extract_metadata(plugin.instance(), plugin.host(), 0, request));
    match answer {
        Ok(_) => Ok(()),
        Err(CallFault::Plugin(error @ PluginError::Panicked { .. })) => {
            Err(Refusal::new(Code::InitPanic, format!("extract_metadata with a body of {} bytes: {error}", body.len())))
        }
        Err(CallFault::Plugin(_)) => Ok(()),
        Err(CallFault::InvalidReply(reason)) => Err(Refusal::new(Code::Layout, format!("extract_metadata: {reason}"))),
    }
}

/// A probe has no tenants, no network and no log.
struct NoServices;

impl NoServices {
    fn nothing<T>() -> Result<T, PluginError> {
        Err(PluginError::Configuration("not available while a plugin is tried".to_owned()))
    }
}

impl HostCalls for NoServices {
    fn log(&self, _call: u64, _level: LogLevel, _text: &str) {}

    fn now(&self, _call: u64) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }

    fn verify_hmac_sha256(&self, _: u64, _: &str, _: KeyForm, _: &[&[u8]], _: &[u8]) -> Result<bool, PluginError> {
        Self::nothing()
    }

    fn verify_secret(&self, _call: u64, _secret: &str, _presented: &[u8]) -> Result<bool, PluginError> {
        Self::nothing()
    }

    fn http(&self, _call: u64, _request: &Request) -> Result<Response, PluginError> {
        Self::nothing()
    }
}
