//! The journal of what happened to plugins, and of what was done to tenants and jobs: what an entry says, and keeping
//! entries in the order in which they come.

use tokio::sync::{mpsc, oneshot, watch};

use super::{artifact::Sha256Sum, generation::Generation};
use crate::{
    clock::Clock,
    ids::{TenantId, ToolType},
    store::{PluginEvent, Store},
    tenant::Tenant,
};

/// Most characters of a reason.
pub const REASON_CHARS_MAX: usize = 500;
/// Most entries that wait for the disk.
const WAITING_MAX: usize = 1024;

macro_rules! codes {
    ($($variant:ident $text:literal : $meaning:literal;)*) => {
        /// What can happen to plugins, tenants and jobs. More may come.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Happened {
            $(#[doc = $meaning] $variant,)*
        }

        impl Happened {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The entry's code; it never changes.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            /// What the code says.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning),* }
            }
        }
    };
}

codes! {
    Installed "installed": "plugin-ctl has put a file into the folder";
    ReloadAsked "reload_asked": "somebody asks for a reload";
    Found "found": "a file with other content than before lies in the folder";
    Refused "refused": "a file is not loaded; the entry says why, and what serves";
    Loaded "loaded": "a generation has been proven and mapped";
    Swapped "swapped": "from here on calls go to this generation";
    Drained "drained": "a generation has ended its calls and is unmapped";
    Retained "retained": "a generation has ended its calls, but something keeps it in memory";
    RolledBack "rolled_back": "an artifact is passed over until its file changes; what served before it serves";
    Pinned "pinned": "an operator wants this version or digest, whatever else comes";
    Unpinned "unpinned": "the highest version serves again";
    Disabled "disabled": "an operator lets the plugin not serve";
    Enabled "enabled": "an operator lets the plugin serve again; its crashes are forgotten";
    Missing "missing": "no file of the tool type is in the folder any more";
    Quarantined "quarantined": "a generation failed too often, or failed its trial, and gets no calls for a while";
    Released "released": "a quarantined generation has passed its trial and gets calls again";
    Crashed "crashed": "an artifact has ended the host";
    EndedInProbe "ended_in_probe": "the host ended without order while it tried an artifact";
    LoaderStuck "loader_stuck": "an artifact has blocked the dynamic linker";
    TenantRefused "tenant_refused": "a tenant's webhooks begin to be refused; at most once an hour for a tenant";
    TenantAdded "tenant_added": "a tenant has been added; of more than 100 at a time, one entry for all";
    TenantChanged "tenant_changed": "a tenant has been changed; the entry names what, of settings and secrets their names alone";
    SecretSet "secret_set": "a secret of a tenant has been set, or replaced";
    SecretRemoved "secret_removed": "a secret of a tenant has been removed";
    TenantEnabled "tenant_enabled": "a tenant's webhooks are taken again, and its jobs run";
    TenantDisabled "tenant_disabled": "a tenant's webhooks are refused, and its jobs wait";
    TenantPaused "tenant_paused": "a tenant's jobs wait; its webhooks are taken";
    TenantResumed "tenant_resumed": "a paused tenant's jobs run again";
    TenantRemoved "tenant_removed": "a tenant has been removed; of all entries about it this one stays when its data are erased";
    TenantErased "tenant_erased": "what removed tenants had left behind under an id has been erased";
    JobsRetried "jobs_retried": "dead letters have been put back into the queue, or waiting jobs were made due";
    JobsPurged "jobs_purged": "dead letters have been deleted for good";
    JobsPaused "jobs_paused": "the jobs of all tenants wait";
    JobsResumed "jobs_resumed": "jobs run again, but those of tenants that are paused by themselves";
}

impl PluginEvent {
    /// An entry of the host's own, of the time at which it will be noted; what it is about is filled in by
    /// [`Self::about`] or by hand.
    pub fn new(happened: Happened, message: impl Into<String>) -> Self {
        Self {
            id: 0,
            at_ms: 0,
            tool_type: None,
            generation: None,
            version: None,
            sha256: None,
            code: happened.as_str().to_owned(),
            message: message.into(),
            who: Actor::Host.to_string(),
            why: None,
            tenant: None,
            incarnation: None,
        }
    }

    /// The same about this tool type.
    #[must_use]
    pub fn of(self, tool_type: &ToolType) -> Self {
        Self { tool_type: Some(tool_type.to_string()), ..self }
    }

    /// The same about this tenant. It goes when what is stored for the tenant is erased.
    #[must_use]
    pub fn of_tenant(self, tenant: &Tenant) -> Self {
        Self { incarnation: Some(tenant.incarnation), ..self.of_any(&tenant.id) }.of(&tenant.tool_type)
    }

    /// The same about whatever tenant has, or had, this id. It stays when what is stored is erased.
    #[must_use]
    pub fn of_any(self, tenant: &TenantId) -> Self {
        Self { tenant: Some(tenant.to_string()), ..self }
    }

    /// The same about these bytes.
    #[must_use]
    pub fn with_sha256(self, sha256: Option<Sha256Sum>) -> Self {
        Self { sha256: sha256.map(|sum| sum.to_string()), ..self }
    }

    /// The same about this version.
    #[must_use]
    pub fn with_version(self, version: Option<&semver::Version>) -> Self {
        Self { version: version.map(ToString::to_string), ..self }
    }

    /// The same about this generation.
    #[must_use]
    pub fn about(self, generation: &Generation) -> Self {
        Self { generation: i64::try_from(generation.number()).ok(), ..self }
            .of(generation.tool_type())
            .with_sha256(Some(generation.artifact().sha256()))
            .with_version(Some(generation.version()))
    }

    /// The same as somebody's decision.
    #[must_use]
    pub fn by(self, decided: &Decided) -> Self {
        Self { who: decided.who.to_string(), why: decided.why.clone(), ..self }
    }
}

/// Who does something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The host by itself.
    Host,
    /// The user of this number, through the admin socket.
    User(u32),
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::User(uid) => write!(f, "uid {uid}"),
        }
    }
}

/// Who decided something, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// Who.
    pub who: Actor,
    /// Why, in their words.
    pub why: Option<String>,
}

impl Decided {
    /// The host by itself.
    pub const BY_HOST: Self = Self { who: Actor::Host, why: None };
}

/// A reason that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReason {
    /// Nothing, or too much.
    #[error("a reason has 1 to {REASON_CHARS_MAX} characters, this one has {0}")]
    Length(usize),
    /// Something that steers whoever shows it.
    #[error("a reason is one line without control characters, this one holds U+{:04X}", u32::from(*.0))]
    Control(char),
}

/// A reason in somebody's words, as it may be kept: one line of 1 to [`REASON_CHARS_MAX`] characters.
///
/// # Errors
/// [`InvalidReason`]
pub fn checked_reason(text: &str) -> Result<String, InvalidReason> {
    let text = text.trim();
    match (text.chars().count(), text.chars().find(|c| c.is_control())) {
        (1..=REASON_CHARS_MAX, None) => Ok(text.to_owned()),
        (1..=REASON_CHARS_MAX, Some(control)) => Err(InvalidReason::Control(control)),
        (length, _) => Err(InvalidReason::Length(length)),
    }
}

/// Keeps entries. Cheap to clone.
#[derive(Clone)]
pub struct Journal {
    keep: mpsc::Sender<Keep>,
    kept: watch::Receiver<()>,
    clock: Clock,
}

enum Keep {
    Event(Box<PluginEvent>),
    Flush(oneshot::Sender<()>),
}

impl Journal {
    /// Starts it, within a runtime; it ends with its last clone.
    pub fn start(store: Store) -> Self {
        let (keep, mut noted) = mpsc::channel(WAITING_MAX);
        let (tell, kept) = watch::channel(());
        let clock = store.clock().clone();
        tokio::spawn(async move {
            // What came while the disk was busy goes there at once.
            let mut next = Vec::new();
            while noted.recv_many(&mut next, WAITING_MAX).await > 0 {
                let (mut events, mut flushed) = (Vec::new(), Vec::new());
                for keep in next.drain(..) {
                    match keep {
                        Keep::Event(event) => events.push(*event),
                        Keep::Flush(done) => flushed.push(done),
                    }
                }
                let count = events.len();
                match store.record_plugin_events(events).await {
                    Ok(()) => tell.send_replace(()),
                    Err(fault) => tracing::warn!("{count} events were not kept: {fault}"),
                }
                for done in flushed {
                    let _gone = done.send(());
                }
            }
        });
        Self { keep, kept, clock }
    }

    /// Notes that this has happened now; does not block.
    pub fn note(&self, event: PluginEvent) {
        let event = PluginEvent { at_ms: self.clock.now_ms(), ..event };
        if let Err(fault) = self.keep.try_send(Keep::Event(Box::new(event))) {
            tracing::warn!("an event was not kept: {fault}");
        }
    }

    /// Notes what somebody has done, and returns when it is on disk: whoever did it finds it there.
    pub async fn keep(&self, events: impl IntoIterator<Item = PluginEvent>) {
        let at_ms = self.clock.now_ms();
        for event in events {
            if self.keep.send(Keep::Event(Box::new(PluginEvent { at_ms, ..event }))).await.is_err() {
                tracing::warn!("an event was not kept: the host ends");
            }
        }
        self.flush().await;
    }

    /// Changes whenever another entry has been kept.
    pub fn kept(&self) -> watch::Receiver<()> {
        self.kept.clone()
    }

    /// Returns when all that was noted before is on disk.
    pub async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        if self.keep.send(Keep::Flush(done)).await.is_ok() {
            // The keeper ends only with its runtime; then there is nothing to wait for.
            let _ended = flushed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_short_line() {
        let longest = "ä".repeat(REASON_CHARS_MAX);
        for (text, expected) in [
            ("ticket 4711", Ok("ticket 4711")),
            ("  around  ", Ok("around")),
            (&longest, Ok(longest.as_str())),
            (&format!("{longest}ä"), Err(InvalidReason::Length(REASON_CHARS_MAX + 1))),
            ("", Err(InvalidReason::Length(0))),
            (" \n", Err(InvalidReason::Length(0))),
            ("two\nlines", Err(InvalidReason::Control('\n'))),
            ("\u{9b}2J", Err(InvalidReason::Control('\u{9b}'))),
        ] {
            assert_eq!(checked_reason(text), expected.map(str::to_owned), "{text:?}");
        }
    }

    #[test]
    fn the_reference_page_lists_every_code_in_order() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/events.md");
        let page = std::fs::read_to_string(page).unwrap();
        let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| `")).map(str::to_owned).collect();
        let codes = Happened::ALL.iter();
        let expected: Vec<_> = codes.map(|code| format!("| `{}` | {} |", code.as_str(), code.meaning())).collect();
        assert_eq!(rows, expected);
    }
}
