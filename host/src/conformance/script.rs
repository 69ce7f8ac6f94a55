//! The host that a case plays: given secrets, a stopped clock, and a tool that answers from a script.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use plugin_abi::{
    PluginError,
    host::HostCalls,
    http::{Request, Response},
    testing::FakeSecrets,
    time::OffsetDateTime,
    types::{KeyForm, LogLevel},
};

use super::given::{Expected, Given, GivenAnswer};

/// Number of the calls that may make requests: get and update.
pub(super) const SLOW_CALL: u64 = 2;
/// Number of all other calls.
pub(super) const FAST_CALL: u64 = 1;
/// How long an answer that is too slow blocks before it fails.
const SLOW: Duration = Duration::from_millis(100);
/// Minimum length of secrets that are searched for in texts. Shorter ones appear by chance.
const LEAK_BYTES_MIN: usize = 6;

/// What goes wrong with a request to the tool.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// The tool gives this answer.
    Answer { status: u16, header: Option<(&'static str, &'static str)>, body: Vec<u8> },
    /// The answer breaks off in the middle of its body.
    CutBody,
    /// The answer does not end in time.
    SlowBody,
    /// The connection is lost without an answer.
    Lost,
    /// The host is draining.
    Draining,
}

/// A request that the plugin made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) method: &'static str,
    pub(super) target: String,
    /// Whether the script's answer shows the note.
    pub(super) shows_note: bool,
    /// Whether the request is as the script expects.
    pub(super) expected: Expected,
}

impl Asked {
    /// Whether the request may have changed something.
    pub(super) fn is_change(&self) -> bool {
        self.method != "GET"
    }
}

/// A scripted host. Calls may come from several threads.
pub(super) struct Script(Mutex<State>);

struct State {
    secrets: FakeSecrets,
    now: OffsetDateTime,
    base_url: String,
    answers: Vec<GivenAnswer>,
    /// Whether the note is on the ticket.
    is_noted: bool,
    /// Index of the request that fails (`None`: all), and how it fails.
    fault: Option<(Option<usize>, Fault)>,
    asked: Vec<Asked>,
    unscripted: Option<Asked>,
    log: Vec<String>,
}

impl Script {
    /// A host with the given data and the current time.
    pub(super) fn new(given: &Given) -> Self {
        Self(Mutex::new(State {
            secrets: FakeSecrets::new(given.secrets.clone()),
            now: OffsetDateTime::now_utc(),
            base_url: given.base_url.clone(),
            answers: given.answer.clone(),
            is_noted: false,
            fault: None,
            asked: Vec::new(),
            unscripted: None,
            log: Vec::new(),
        }))
    }

    /// Replaces the tenant's secrets.
    pub(super) fn set_secrets(&self, secrets: BTreeMap<String, String>) {
        self.state().secrets = FakeSecrets::new(secrets);
    }

    /// Sets the clock.
    pub(super) fn set_now(&self, now: OffsetDateTime) {
        self.state().now = now;
    }

    /// The time on the clock.
    pub(super) fn now(&self) -> OffsetDateTime {
        self.state().now
    }

    /// From now on the tool answers by its script, except for the request with this index (`None`: all).
    pub(super) fn fails(&self, at: Option<usize>, fault: Fault) {
        self.start(Some((at, fault)));
    }

    /// From now on the tool answers by its script.
    pub(super) fn answers(&self) {
        self.start(None);
    }

    /// From now on the tool answers by its script, and the note is already on the ticket.
    pub(super) fn answers_with_note(&self) {
        self.start(None);
        self.state().is_noted = true;
    }

    fn start(&self, fault: Option<(Option<usize>, Fault)>) {
        let mut state = self.state();
        state.fault = fault;
        state.is_noted = false;
        state.asked.clear();
        state.unscripted = None;
    }

    /// The requests made since the tool's answers were last set.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.state().asked.clone()
    }

    /// A request to which the script has no answer, if there was one.
    pub(super) fn unscripted(&self) -> Option<Asked> {
        self.state().unscripted.clone()
    }

    /// The name of a secret that appears in an answer, or in a log line since the last check.
    pub(super) fn leaked(&self, told: Option<&str>) -> Option<String> {
        let mut state = self.state();
        let log = std::mem::take(&mut state.log);
        let texts: Vec<&str> = log.iter().map(String::as_str).chain(told).collect();
        let mut long = state.secrets.iter().filter(|(_, text)| text.len() >= LEAK_BYTES_MIN);
        long.find(|(_, secret)| texts.iter().any(|text| text.contains(secret))).map(|(name, _)| name.to_owned())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HostCalls for Script {
    fn log(&self, _call: u64, _level: LogLevel, text: &str) {
        self.state().log.push(text.to_owned());
    }

    fn now(&self, _call: u64) -> OffsetDateTime {
        self.now()
    }

    fn verify_hmac_sha256(
        &self,
        _call: u64,
        secret: &str,
        key_form: KeyForm,
        parts: &[&[u8]],
        mac: &[u8],
    ) -> Result<bool, PluginError> {
        self.state().secrets.verify_hmac_sha256(secret, key_form, parts, mac)
    }

    fn verify_secret(&self, _call: u64, secret: &str, presented: &[u8]) -> Result<bool, PluginError> {
        Ok(self.state().secrets.verify(secret, presented))
    }

    fn http(&self, call: u64, request: &Request) -> Result<Response, PluginError> {
        let fault = self.state().take(call, request)?;
        match fault {
            Ok(response) => Ok(response),
            Err(Fault::Answer { status, header, body }) => {
                let headers = header.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
                Ok(Response::new(status, headers.collect(), body))
            }
            Err(Fault::CutBody) => Err(PluginError::api("the answer broke off in the middle of its body")),
            Err(Fault::SlowBody) => {
                thread::sleep(SLOW);
                Err(PluginError::api("the answer did not end in time"))
            }
            Err(Fault::Lost) => Err(PluginError::api("the connection was lost before an answer came")),
            Err(Fault::Draining) => Err(PluginError::Cancelled),
        }
    }
}

impl State {
    /// Records a request, and decides how it is answered.
    fn take(&mut self, call: u64, request: &Request) -> Result<Result<Response, Fault>, PluginError> {
        let configuration = |message: String| Err(PluginError::Configuration(message));
        if call != SLOW_CALL {
            return configuration("http is available in get_ticket and update_ticket only".to_owned());
        }
        let (method, _, credential, _, _) = request.parts();
        let unknown = |name: &&str| !self.secrets.has(name);
        if let Some(name) = credential.map(|credential| credential.secret()).filter(unknown) {
            return configuration(format!("the tenant has no secret {name:?}; name it under [secrets]"));
        }
        let target = request.target().strip_prefix(&self.base_url).unwrap_or(request.target());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let fits = |answer: &&GivenAnswer| answer.fits(method, path, query);
        let of_noted = || self.answers.iter().filter(|answer| answer.noted && self.is_noted).find(fits);
        let answer = of_noted().or_else(|| self.answers.iter().filter(|answer| !answer.noted).find(fits));
        let response = answer.map(GivenAnswer::response);
        let asked = Asked {
            method,
            target: request.target().to_owned(),
            shows_note: answer.is_some_and(GivenAnswer::shows_note),
            expected: answer.map_or(Expected::Nothing, |answer| answer.expected(request)),
        };
        let number = self.asked.len();
        self.asked.push(asked.clone());
        match &self.fault {
            Some((at, fault)) if at.is_none_or(|at| at == number) => return Ok(Err(fault.clone())),
            _ => {}
        }
        Ok(Ok(response.unwrap_or_else(|| {
            self.unscripted = Some(asked);
            Response::new(404, Vec::new(), "{}")
        })))
    }
}
