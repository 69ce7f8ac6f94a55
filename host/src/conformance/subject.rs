//! The plugin under test: its four methods, with each call checked for what no plugin may ever do.

use std::{collections::BTreeMap, path::Path, time::Duration};

use plugin_abi::{
    PluginError,
    host::{
        CallContext, CallFault, HostSide, Updated, WebhookParts, extract_metadata, get_ticket, update_ticket,
        validate_webhook,
    },
    time::OffsetDateTime,
    types::{Event, Note, Ticket, TicketMetadata},
};
use rustix::time::{ClockId, clock_gettime};

use super::{
    delivery::Delivery,
    given::{Given, GivenWebhook, MARKER},
    script::{FAST_CALL, SLOW_CALL, Script},
    told::event_word,
};
use crate::plugin::{
    loader::{LoadedLibrary, LoadedPlugin},
    probe::ProbeProcess,
    trial,
};

/// A value, or the sentence that says how the contract was broken.
pub(super) type Checked<T> = Result<T, String>;

/// Maximum processor time of a call. It is not wall-clock time, so that a busy machine breaks no contract.
struct Limit {
    time_max: Duration,
    /// How often a call must exceed it to count as a failure. On a paused virtual machine the pause may look like work,
    /// but a call that is really slow is slow again.
    tries: u32,
}

/// Limit of validate and extract: their deadline.
const FAST: Limit = Limit { time_max: Duration::from_secs(1), tries: 3 };
/// Limit of get and update: far below their deadline, most of which is for the tool. A second try would find the tool
/// changed.
const SLOW: Limit = Limit { time_max: Duration::from_secs(10), tries: 1 };
/// Maximum length of a ticket's id, in characters.
const TICKET_ID_CHARS_MAX: usize = 100;
/// The idempotency key of every job here.
const KEY: &str = "01890000-0000-7000-8000-000000000001";

type Headers<'w> = Box<dyn Iterator<Item = (&'w str, &'w [u8])> + 'w>;

/// A plugin instance with its scripted host.
pub(super) struct Subject {
    plugin: LoadedPlugin<Script>,
    pub(super) given: Given,
}

impl Subject {
    /// Opens this file and creates an instance.
    pub(super) fn open(here: &ProbeProcess, path: &Path, given: &Given) -> Checked<Self> {
        trial::stage(trial::OPENING);
        let library = LoadedLibrary::open_in_probe(here, path).map_err(|refusal| refusal.to_string())?;
        Self::make(library, given)
    }

    /// Creates an instance from this library.
    pub(super) fn make(library: LoadedLibrary, given: &Given) -> Checked<Self> {
        trial::stage("new");
        let script = Box::new(HostSide(Script::new(given)));
        let plugin =
            library.create(script, env!("CARGO_PKG_VERSION"), 0).map_err(|(_, refusal)| refusal.to_string())?;
        Ok(Self { plugin, given: given.clone() })
    }

    /// Drops the instance and returns its library.
    pub(super) fn end(self) -> Checked<LoadedLibrary> {
        trial::stage("dropping the plugin");
        match self.plugin.destroy() {
            (library, _host, None) => Ok(library),
            (_, _, Some(fault)) => Err(format!("while it was dropped: {}", sentence(&fault))),
        }
    }

    /// The scripted host.
    pub(super) fn script(&self) -> &Script {
        &self.plugin.host().0
    }

    /// An unsigned delivery of this body.
    pub(super) fn unsigned(&self, body: impl Into<Vec<u8>>) -> Delivery {
        Delivery {
            settings: self.given.settings.clone(),
            query: String::new(),
            headers: vec![("content-type".to_owned(), b"application/json".to_vec())],
            body: body.into(),
            received_at: OffsetDateTime::now_utc(),
        }
    }

    /// The given webhooks.
    pub(super) fn webhooks(&self) -> impl Iterator<Item = &GivenWebhook> {
        self.given.webhook.iter()
    }

    pub(super) fn validate(&self, what: &str, delivery: &Delivery) -> Checked<Result<bool, PluginError>> {
        self.watched(&format!("validate_webhook ({what})"), &FAST, || {
            self.context(&delivery.settings, 0, None).with_webhook(&self.parts(delivery), |request| {
                let validated = validate_webhook(self.plugin.instance(), self.plugin.host(), FAST_CALL, request);
                validated.map(|validated| validated.authentic)
            })
        })
    }

    pub(super) fn extract(&self, what: &str, delivery: &Delivery) -> Checked<Result<TicketMetadata, PluginError>> {
        let what = format!("extract_metadata ({what})");
        let answer = self.watched(&what, &FAST, || {
            self.context(&delivery.settings, 0, None).with_webhook(&self.parts(delivery), |request| {
                extract_metadata(self.plugin.instance(), self.plugin.host(), FAST_CALL, request)
            })
        })?;
        if let Ok(metadata) = &answer {
            let characters = metadata.ticket_id.chars().count();
            if characters > TICKET_ID_CHARS_MAX || (characters == 0 && metadata.event != Event::Other) {
                let event = event_word(&metadata.event);
                return Err(format!("{what}: a ticket id of {characters} characters with the event {event}"));
            }
        }
        Ok(answer)
    }

    pub(super) fn get(&self, ticket_id: &str) -> Checked<Result<Option<Ticket>, PluginError>> {
        self.watched(&format!("get_ticket ({ticket_id:?})"), &SLOW, || {
            self.context(&self.given.settings, 1, Some(KEY)).with_ticket(ticket_id, None, |request| {
                get_ticket(self.plugin.instance(), self.plugin.host(), SLOW_CALL, request)
            })
        })
    }

    pub(super) fn update(&self, ticket_id: &str, attempt: u32) -> Checked<Result<Updated, PluginError>> {
        let html = format!("<p><strong>About this ticket</strong></p><p>{MARKER}</p>");
        let (markdown, text) = (format!("**About this ticket**\n\n{MARKER}"), format!("About this ticket\n{MARKER}"));
        let note = Note::new(&markdown, &html, &text, MARKER);
        self.watched(&format!("update_ticket ({ticket_id:?}, attempt {attempt})"), &SLOW, || {
            self.context(&self.given.settings, attempt, Some(KEY)).with_ticket(ticket_id, Some(&note), |request| {
                update_ticket(self.plugin.instance(), self.plugin.host(), SLOW_CALL, request)
            })
        })
    }

    fn parts<'w>(&'w self, delivery: &'w Delivery) -> WebhookParts<'w, impl Fn() -> Headers<'w>> {
        WebhookParts {
            method: "POST",
            path: &self.given.path,
            query: &delivery.query,
            headers: || -> Headers<'w> {
                Box::new(delivery.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())))
            },
            body: &delivery.body,
            received_at: delivery.received_at,
        }
    }

    fn context<'a>(
        &'a self,
        settings: &'a BTreeMap<String, String>,
        attempt: u32,
        idempotency_key: Option<&'a str>,
    ) -> CallContext<'a> {
        CallContext {
            tenant_id: &self.given.tenant,
            base_url: &self.given.base_url,
            settings,
            attempt,
            idempotency_key,
            deadline: self.script().now() + SLOW.time_max,
            replay_window: Duration::from_secs(300),
            replay_ahead: Duration::from_secs(30),
        }
    }

    /// Makes a call, and checks for what no answer may be: a panic, an invalid reply, a secret, or too slow.
    fn watched<T>(
        &self,
        what: &str,
        limit: &Limit,
        call: impl Fn() -> Result<T, CallFault>,
    ) -> Checked<Result<T, PluginError>> {
        trial::stage(what);
        let mut tries = 0;
        let answer = loop {
            let before = processor_time();
            let answer = call();
            let took = processor_time().saturating_sub(before);
            tries += 1;
            match took > limit.time_max {
                false => break answer,
                true if tries < limit.tries => {}
                true => return Err(format!("{what} took {} ms of a processor", took.as_millis())),
            }
        };
        let answer = match answer {
            Ok(answer) => Ok(answer),
            Err(CallFault::Plugin(error)) if !matches!(error, PluginError::Panicked { .. }) => Err(error),
            Err(fault) => return Err(format!("{what}: {}", sentence(&fault))),
        };
        let told = answer.as_ref().err().map(ToString::to_string);
        match self.script().leaked(told.as_deref()) {
            Some(secret) => Err(format!("{what}: the secret {secret} stands in what it logged or answered")),
            None => Ok(answer),
        }
    }
}

fn sentence(fault: &CallFault) -> String {
    match fault {
        CallFault::Plugin(error) => error.to_string(),
        CallFault::InvalidReply(reason) => format!("its reply breaks the rules: {reason}"),
    }
}

/// The processor time of this thread.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
