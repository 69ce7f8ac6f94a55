//! The trait that a vendor implements, and the two capabilities that its methods are given.

use std::{borrow::Cow, time::Duration};

use serde::de::DeserializeOwned;
use time::OffsetDateTime;

use crate::{
    export::PluginInfo,
    http::{Request, Response},
    raw::{Field, Pairs, Tag, find},
    settings,
    signature::{self, Why},
    types::{KeyForm, LogLevel, Note, Ticket, TicketMetadata, Webhook},
    wire,
    {PluginError, types::Priority},
};

/// A ticketing tool's protocol: four methods.
///
/// The methods are called from several threads at once, and all of them on threads that belong to this one loaded plugin.
/// They may block, up to the call's deadline ([`Tenant::deadline`]). They must not start threads that outlive the call. A
/// panic is caught and becomes an error; it counts against the plugin.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a ticketing-tool plugin",
    label = "does not implement `TicketingToolPlugin`",
    note = "implement it: the constant INFO, `new` and the four methods; the first page of plugin-abi's docs shows a whole plugin"
)]
pub trait TicketingToolPlugin: Sized + Send + Sync + 'static {
    /// What the plugin is: [`plugin_info!`](crate::plugin_info).
    const INFO: PluginInfo;

    /// Whether [`update_ticket`](Self::update_ticket) looks for the note's [`marker`](Note::marker) on the ticket before it
    /// posts when an earlier attempt may have posted already ([`Tenant::attempt`] above 1). Where a tool shows no notes that
    /// cannot be done; then the history says of a job that was taken up again that its note may be there twice.
    const FINDS_NOTES: bool = false;

    /// Makes the one instance of a loaded plugin. Secrets and the network are not available here.
    ///
    /// # Errors
    /// Any error refuses the plugin; the one that served before goes on.
    fn new(host: &Host<'_>) -> Result<Self, PluginError>;

    /// Whether the webhook is from whom it says: over the raw bytes, before anything is parsed. Fast: it runs before the
    /// sender is known, under a deadline of about a second, and has no network.
    ///
    /// # Errors
    /// `Ok(false)` and `Authentication` answer 401, other errors 503.
    fn validate_webhook(&self, tenant: &Tenant<'_>, webhook: &Webhook<'_>) -> Result<bool, PluginError>;

    /// What an authentic webhook says. Pure: the same webhook gives the same answer.
    ///
    /// # Errors
    /// `Malformed` answers 400, `Validation` 422 with its fields, other errors 503.
    fn extract_metadata(&self, tenant: &Tenant<'_>, webhook: &Webhook<'_>) -> Result<TicketMetadata, PluginError>;

    /// Fetches the ticket; `None` when the tool does not have it. It is asked again until the webhook is ten minutes old, since
    /// some tools show a new ticket late; then the job is a dead letter. `NotFound` and `Authentication` are treated the same here.
    ///
    /// # Errors
    /// See [`PluginError`] for which errors are tried again.
    fn get_ticket(&self, tenant: &Tenant<'_>, ticket_id: &str) -> Result<Option<Ticket>, PluginError>;

    /// Puts the note on the ticket so that the requester can never see it. `Ok(false)` says that the tool did not take it for
    /// a reason that passes: it is **tried again**, like `Api`, until the host gives up and makes a dead letter of the job. A
    /// reason that does not pass is an error that says so, such as `Validation`.
    ///
    /// # Errors
    /// See [`PluginError`] for which errors are tried again.
    fn update_ticket(&self, tenant: &Tenant<'_>, ticket_id: &str, note: &Note<'_>) -> Result<bool, PluginError>;
}

/// What the host does for a plugin. Implemented by the host and by [`FakeHost`](crate::testing::FakeHost); a plugin uses
/// [`Tenant`] and [`Host`]. `call` is the number of the call that asks.
#[doc(hidden)]
pub trait HostCalls: Sync {
    fn log(&self, call: u64, level: LogLevel, text: &str);
    fn now(&self, call: u64) -> OffsetDateTime;
    fn verify_hmac_sha256(
        &self,
        call: u64,
        secret: &str,
        key_form: KeyForm,
        parts: &[&[u8]],
        mac: &[u8],
    ) -> Result<bool, PluginError>;
    fn verify_secret(&self, call: u64, secret: &str, presented: &[u8]) -> Result<bool, PluginError>;
    fn http(&self, call: u64, request: &Request) -> Result<Response, PluginError>;
    /// Keeps why the webhook is not authentic, for the reply. Only the plugin's side has a use for it.
    fn not_authentic(&self, _call: u64, _why: &Why<'_>) {}
}

/// What a plugin has while it is made: a log, a clock and the host's version.
#[derive(Clone, Copy)]
pub struct Host<'a> {
    pub(crate) calls: &'a dyn HostCalls,
    pub(crate) call: u64,
    pub(crate) version: &'a str,
}

impl<'a> Host<'a> {
    /// The host's version.
    pub fn version(&self) -> &'a str {
        self.version
    }

    /// The host's time.
    pub fn now(&self) -> OffsetDateTime {
        self.calls.now(self.call)
    }

    /// Writes a line into the host's log, which names the plugin. Bounded in length and rate.
    pub fn log(&self, level: LogLevel, text: &str) {
        self.calls.log(self.call, level, text);
    }
}

/// The tenant that a call is for, and the capability to act for it, good for this call only.
///
/// It can be shared with threads that end before the call does. No secret can be read through it: the host compares,
/// signs and fills in.
#[derive(Clone, Copy)]
pub struct Tenant<'a> {
    pub(crate) calls: &'a dyn HostCalls,
    pub(crate) call: u64,
    /// The call's message: a plugin that never asks for a part does not pay for reading it.
    pub(crate) request: &'a [Field<'a>],
}

impl<'a> Tenant<'a> {
    /// The tenant's id.
    pub fn id(&self) -> &'a str {
        wire::sent_text(self.request, Tag::TENANT_ID)
    }

    /// Where the tenant's tool is. Requests whose target is a path go there.
    pub fn base_url(&self) -> &'a str {
        wire::sent_text(self.request, Tag::BASE_URL)
    }

    /// One of the settings that the operator gave this tenant.
    pub fn setting(&self, name: &str) -> Option<&'a str> {
        let (_, value) = Pairs::new(self.request, Tag::SETTING_NAME, Tag::SETTING_VALUE)
            .find(|(candidate, _)| *candidate == name.as_bytes())?;
        std::str::from_utf8(value).ok()
    }

    /// A setting that is `true` or `false`.
    ///
    /// # Errors
    /// `Configuration` for any other value, naming the setting.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, PluginError> {
        match self.setting(name) {
            None => Ok(default),
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(other) => Err(PluginError::setting(name, other, "true or false")),
        }
    }

    /// All settings as a struct of the plugin's own: numbers, booleans, options, lists (comma-separated) and enums are
    /// read from their text; `#[serde(default)]` and `deny_unknown_fields` do what they say.
    ///
    /// # Errors
    /// `Configuration`, naming the setting.
    pub fn settings<T: DeserializeOwned>(&self) -> Result<T, PluginError> {
        settings::read(self.request)
    }

    /// The host's time.
    pub fn now(&self) -> OffsetDateTime {
        self.calls.now(self.call)
    }

    /// When the host gives this call up. Requests through [`http`](Self::http) end by then.
    pub fn deadline(&self) -> OffsetDateTime {
        wire::sent_time(self.request, Tag::DEADLINE)
    }

    /// Which attempt at this job it is, from 1; 0 in validate and extract.
    pub fn attempt(&self) -> u32 {
        wire::sent_number(self.request, Tag::ATTEMPT).map_or(0, u32::from_le_bytes)
    }

    /// The same for all attempts at one job; only in get and update. Send it where the tool honours such a key.
    pub fn idempotency_key(&self) -> Option<&'a str> {
        find(self.request, Tag::IDEMPOTENCY_KEY).and_then(|key| std::str::from_utf8(key.bytes()).ok())
    }

    /// How old a signed time stamp may be.
    pub fn replay_window(&self) -> Duration {
        wire::sent_duration(self.request, Tag::REPLAY_WINDOW).unwrap_or(Duration::ZERO)
    }

    /// How far a signed time stamp may be ahead of the host's clock. Half a minute where a host of 1.0 does not say it.
    pub fn replay_ahead(&self) -> Duration {
        wire::sent_duration(self.request, Tag::REPLAY_AHEAD).unwrap_or(signature::AHEAD_USUAL)
    }

    /// Whether a webhook that was received then may have been signed at that time, by the tenant's two limits. When not, the
    /// operator's log says by how much.
    pub fn is_fresh(&self, signed_at: OffsetDateTime, received_at: OffsetDateTime) -> bool {
        let (age, window, ahead) = (received_at - signed_at, self.replay_window(), self.replay_ahead());
        let too_old = Duration::try_from(age - window).ok().filter(|by| !by.is_zero());
        let too_new = Duration::try_from(-age - ahead).ok().filter(|by| !by.is_zero());
        let why = match (too_old, too_new) {
            (Some(by), _) => Why::Stale { by, allowed: window },
            (_, Some(by)) => Why::Ahead { by, allowed: ahead },
            _ => return true,
        };
        self.calls.not_authentic(self.call, &why);
        false
    }

    /// `Ok(false)`, with a reason for the host's log and for `plugin-ctl tenant show`; the sender is never told. What is said
    /// last counts, and what is said of a webhook that is authentic after all is forgotten. A host of 1.0 does not hear it.
    ///
    /// # Errors
    /// None: the result is what [`validate_webhook`](TicketingToolPlugin::validate_webhook) returns.
    pub fn not_authentic(&self, why: &Why<'_>) -> Result<bool, PluginError> {
        self.calls.not_authentic(self.call, why);
        Ok(false)
    }

    /// Writes a line into the host's log, which names plugin, tenant and webhook. Bounded in length and rate.
    pub fn log(&self, level: LogLevel, text: &str) {
        self.calls.log(self.call, level, text);
    }

    /// Whether `mac` is the HMAC-SHA256 of the joined parts under the tenant's secret of this name; in constant time, and
    /// with both secrets while one is being rotated. An absent or empty secret verifies nothing.
    ///
    /// # Errors
    /// `Configuration` when the secret cannot be used.
    pub fn verify_hmac_sha256(&self, secret: &str, parts: &[&[u8]], mac: &[u8]) -> Result<bool, PluginError> {
        self.verify_hmac_sha256_with(secret, KeyForm::Text, parts, mac)
    }

    /// As [`verify_hmac_sha256`](Self::verify_hmac_sha256), for a secret that is not the key as it stands.
    ///
    /// # Errors
    /// `Configuration` when the secret does not have that form.
    pub fn verify_hmac_sha256_with(
        &self,
        secret: &str,
        key_form: KeyForm,
        parts: &[&[u8]],
        mac: &[u8],
    ) -> Result<bool, PluginError> {
        self.calls.verify_hmac_sha256(self.call, secret, key_form, parts, mac)
    }

    /// Whether these bytes are the tenant's secret of this name; as [`verify_hmac_sha256`](Self::verify_hmac_sha256).
    ///
    /// # Errors
    /// `Configuration` when the secret cannot be used.
    pub fn verify_secret(&self, secret: &str, presented: &[u8]) -> Result<bool, PluginError> {
        self.calls.verify_secret(self.call, secret, presented)
    }

    /// Makes one HTTP request through the host, which fills the named credential in: only to the tenant's base URL or an
    /// origin that the operator allowed, without following redirects. Only in get and update. The answer is whatever the
    /// tool said, any status; [`Response::success`] turns the usual failures into errors.
    ///
    /// # Errors
    /// `Configuration` for a target or secret that the tenant does not have, `Api` when no whole answer came, `Cancelled`
    /// while the host drains.
    pub fn http(&self, request: Request) -> Result<Response, PluginError> {
        let mut response = self.calls.http(self.call, &request)?;
        response.request = format!("{} {}", request.method, request.target);
        Ok(response)
    }
}

/// Reads a priority by a table of the tool's words, whatever their case; unknown or missing is medium.
///
/// ```
/// use plugin_abi::prelude::*;
/// let table = [(Priority::High, &["high", "urgent"][..]), (Priority::Low, &["low"])];
/// assert_eq!(priority_from(Some("Urgent"), &table), Priority::High);
/// assert_eq!(priority_from(Some("whatever"), &table), Priority::Medium);
/// ```
pub fn priority_from(word: Option<&str>, table: &[(Priority, &[&str])]) -> Priority {
    let Some(word) = word else { return Priority::Medium };
    table
        .iter()
        .find(|(_, words)| words.iter().any(|candidate| candidate.eq_ignore_ascii_case(word.trim())))
        .map_or(Priority::Medium, |(priority, _)| *priority)
}

/// A name of a secret: a literal costs nothing, a `String` from the settings works too.
pub type SecretName = Cow<'static, str>;
