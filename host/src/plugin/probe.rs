//! Trying a plugin in a process of its own: whatever its constructors and its `new` do, they do it there first.
//!
//! The process is this very program, started again with a hidden argument; see [`trial`].

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    process::ExitCode,
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
    confine::{self, Level},
    loader::LoadedLibrary,
    refusal::{Code, Refusal},
    trial,
};

/// The hidden argument.
const ARGUMENT: &str = "__probe";
/// How long a plugin may take to be opened, made, called twice and dropped.
const TIME_MAX: Duration = Duration::from_secs(5);

/// Starts probe processes. Used from one long-lived thread, the plugin manager's.
#[derive(Clone, Debug)]
pub struct Prober {
    program: PathBuf,
    time_max: Duration,
}

impl Default for Prober {
    /// With this very program, also when its file has been replaced since.
    fn default() -> Self {
        Self { program: PathBuf::from("/proc/self/exe"), time_max: TIME_MAX }
    }
}

impl Prober {
    /// With another program that calls [`run_if_asked`], and another time limit: for tests.
    pub fn with_program(program: impl Into<PathBuf>, time_max: Duration) -> Self {
        Self { program: program.into(), time_max }
    }

    /// Tries these bytes. `info` is what their note says. Gives the walls that the process was shut in by.
    ///
    /// # Errors
    /// What was wrong, with the signal when the process died of one.
    pub fn probe(&self, bytes: &[u8], info: &InfoRecord) -> Result<Level, Refusal> {
        let failed = |fault: io::Error| Refusal::new(Code::ProbeFailed, format!("its process: {fault}"));
        let library = trial::sealed("plugin", bytes).map_err(failed)?;
        let ended = trial::run(&self.program, ARGUMENT, &library, None, self.time_max).map_err(failed)?;
        let verdict = ended.verdict().map_err(|death| {
            let code = if death.is_hang() { Code::ProbeTimeout } else { Code::ProbeCrashed };
            Refusal::new(code, death.to_string())
        })?;
        match verdict {
            Report::Refused(refusal) => Err(refusal),
            Report::Sound { info: module, level } => {
                let module = serde_json::from_str::<InfoRecord>(&module).ok();
                if module.as_ref() == Some(info) {
                    Ok(level)
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
    /// When this process was started by [`trial::run`] with this argument, and by which process.
    pub(crate) fn if_asked(argument: &str) -> Option<(Self, u32)> {
        let mut arguments = std::env::args_os().skip(1);
        if arguments.next().as_deref() != Some(OsStr::new(argument)) {
            return None;
        }
        let parent = arguments.next().and_then(|parent| parent.to_str()?.parse().ok()).unwrap_or(0);
        Some((Self(()), parent))
    }
}

/// Becomes a probe when this process was started as one: to be called first thing in `main`, before any runtime starts.
pub fn run_if_asked() -> Option<ExitCode> {
    let (here, parent) = ProbeProcess::if_asked(ARGUMENT)?;
    Some(trial::tell_verdict(&attempt(&here, parent).unwrap_or_else(Report::Refused)))
}

fn attempt(here: &ProbeProcess, parent: u32) -> Result<Report, Refusal> {
    let unconfined =
        |fault: io::Error| Refusal::new(Code::ProbeFailed, format!("its process could not be confined: {fault}"));
    trial::stage("confining the process");
    let mut tasks = confine::Tasks::open().map_err(unconfined)?;
    let level = confine::enter(parent, TIME_MAX).map_err(unconfined)?;
    trial::stage("opening the library");
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
        return Err(Refusal::new(Code::Threads, format!("{others} of them still ran after it was dropped")));
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
