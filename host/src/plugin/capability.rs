//! What a plugin can ask of the host during one call, and for whom: secrets are compared here and filled in here, and
//! leave the host only inside a request to the tenant's own tool.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering},
    },
    time::Instant,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use plugin_abi::{
    PluginError,
    host::HostCalls,
    http::{Request, Response},
    raw::Method,
    time::OffsetDateTime,
    types::{Credential, KeyForm, LogLevel},
};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{
    call_time::CallTime,
    egress::{Answer, Asker, Egress, Outgoing, Share, Unauthorized},
    pulse::Pulse,
    redact::{self, Redaction},
    tokens::Tokens,
    why::{self, Why},
};
use crate::{
    clock::Clock,
    config,
    ids::{CorrelationId, JobId, ToolType},
    tenant::{
        Tenant,
        directory::TenantDirectory,
        secrets::{SecretError, SecretText},
    },
};

/// Most bytes of one line that a plugin logs.
const LOG_BYTES_MAX: usize = 4096;
/// Most lines that a generation may log in a second.
const LOG_LINES_PER_S_MAX: u32 = 50;

/// The status by which a tool refuses a credential.
const UNAUTHORIZED: u16 = 401;

/// What all generations share.
#[derive(Clone)]
pub struct Services {
    /// Tenants and their secrets.
    pub directory: TenantDirectory,
    /// Requests to the tools.
    pub egress: Arc<Egress>,
    /// Access tokens for them.
    pub tokens: Arc<Tokens>,
    /// The host's time.
    pub clock: Clock,
    /// The time that calls are measured by.
    pub pulse: Pulse,
}

impl Services {
    /// Services for these tenants.
    pub fn new(directory: TenantDirectory, config: &config::Http, clock: Clock) -> Self {
        let egress = Arc::new(Egress::new(config));
        let tokens = Arc::new(Tokens::new(directory.clone(), Arc::clone(&egress), clock.clone()));
        Self { directory, egress, tokens, clock, pulse: Pulse::beginning_now() }
    }
}

/// Whom one call is for and how long it may take; what its callbacks may do follows from it.
#[derive(Clone)]
pub struct CallScope {
    /// The tenant that the call acts for.
    pub tenant: Arc<Tenant>,
    /// Which method runs.
    pub method: Method,
    /// The time that it has.
    pub time: Arc<CallTime>,
    /// What the call's log lines are known by.
    pub correlation_id: CorrelationId,
    /// The job that it is part of, if it is part of one.
    pub job: Option<JobId>,
}

/// The callbacks of one generation.
///
/// A call is known to the plugin by a number only. So a callback that comes late, from a thread that should not live any
/// more, finds that its call is over instead of finding freed memory or another tenant's secrets.
pub struct Capability {
    tool_type: ToolType,
    generation: u64,
    services: Services,
    /// One place for each thread of the generation: which call it carries out.
    places: Box<[Mutex<Place>]>,
    cancelled: AtomicBool,
    log_limit: LogLimit,
}

#[derive(Default)]
struct Place {
    /// How many calls have begun here: with the place's index it makes a call's number, never given twice.
    begun: u64,
    scope: Option<CallScope>,
    /// Why the last comparison that the call asked for has failed.
    unproven: Option<Why>,
    /// What the tool's answers take of the room for them. The plugin has its own copy of an answer, for as long as it
    /// likes: until its next request, or the end of the call, that counts as one with the host's.
    answers: Vec<Share>,
}

/// A call's number is its count times this, plus its place.
const PLACES_MAX: u64 = 1 << 12;

impl Capability {
    /// Callbacks for a generation with so many threads at most.
    pub fn new(tool_type: ToolType, generation: u64, services: Services, threads_max: usize) -> Self {
        let places = (0..threads_max).map(|_| Mutex::default()).collect();
        let log_limit = LogLimit { second: AtomicI64::new(0), lines: AtomicU32::new(0) };
        Self { tool_type, generation, services, places, cancelled: AtomicBool::new(false), log_limit }
    }

    /// Begins a call on the thread with this place; its number goes to the plugin.
    pub fn begin(&self, place: usize, scope: CallScope) -> u64 {
        let mut at = self.places[place].lock().unwrap_or_else(PoisonError::into_inner);
        at.begun += 1;
        at.scope = Some(scope);
        at.unproven = None;
        at.begun * PLACES_MAX + place as u64
    }

    /// Ends the call of the thread with this place, and takes what must not be told out of its error.
    pub fn end(&self, place: usize, error: Option<&mut PluginError>) {
        let mut at = self.places[place].lock().unwrap_or_else(PoisonError::into_inner);
        let scope = at.scope.take();
        at.answers.clear();
        drop(at);
        if let (Some(scope), Some(error)) = (scope, error) {
            self.redaction(&scope.tenant).clean_error(error);
        }
    }

    /// Why the last comparison that this call asked for has failed, if it has.
    pub fn unproven(&self, call: u64) -> Option<Why> {
        let mut at = self.place(call)?.lock().unwrap_or_else(PoisonError::into_inner);
        if at.begun == call / PLACES_MAX { at.unproven.take() } else { None }
    }

    /// From now on new requests to tools are answered `Cancelled`; those under way end by their time-outs.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Runs `then` with what the call may do; an error when it is over.
    fn with_scope<T>(
        &self,
        call: u64,
        then: impl FnOnce(&CallScope) -> Result<T, PluginError>,
    ) -> Result<T, PluginError> {
        self.at_place(call, |scope, _| then(scope))
    }

    /// Runs a comparison for the call, and keeps why it has failed. Of several the last one counts.
    fn compare(
        &self,
        call: u64,
        compare: impl FnOnce(&Tenant) -> Result<Result<(), Why>, PluginError>,
    ) -> Result<bool, PluginError> {
        self.at_place(call, |scope, unproven| {
            *unproven = compare(&scope.tenant)?.err();
            Ok(unproven.is_none())
        })
    }

    fn at_place<T>(
        &self,
        call: u64,
        then: impl FnOnce(&CallScope, &mut Option<Why>) -> Result<T, PluginError>,
    ) -> Result<T, PluginError> {
        let over = || PluginError::Configuration("this call is over".to_owned());
        let place = self.place(call).ok_or_else(over)?;
        let mut at = place.lock().unwrap_or_else(PoisonError::into_inner);
        let Place { begun, scope, unproven, .. } = &mut *at;
        match scope {
            Some(scope) if *begun == call / PLACES_MAX => then(scope, unproven),
            _ => Err(over()),
        }
    }

    fn place(&self, call: u64) -> Option<&Mutex<Place>> {
        self.places.get(usize::try_from(call % PLACES_MAX).ok()?)
    }

    /// The call makes another request: the plugin has done with the answers before it.
    fn give_back_answers(&self, call: u64) {
        if let Some(place) = self.place(call) {
            place.lock().unwrap_or_else(PoisonError::into_inner).answers.clear();
        }
    }

    /// The call has an answer, with this share of the room.
    fn keep_answer(&self, call: u64, share: Share) {
        if let Some(place) = self.place(call) {
            let mut at = place.lock().unwrap_or_else(PoisonError::into_inner);
            if at.scope.is_some() && at.begun == call / PLACES_MAX {
                at.answers.push(share);
            }
        }
    }

    fn secrets(&self, tenant: &Tenant, name: &str) -> Result<Arc<[SecretText]>, SecretError> {
        self.services.directory.secrets(tenant, name)
    }
}

impl HostCalls for Capability {
    fn log(&self, call: u64, level: LogLevel, text: &str) {
        if !self.log_limit.admits(self.services.clock.now_ms() / 1000) {
            return;
        }
        let mut text = text.to_owned();
        let scope = self.with_scope(call, |scope| Ok(scope.clone())).ok();
        if let Some(scope) = &scope {
            self.redaction(&scope.tenant).clean(&mut text);
        }
        // Not before: half a secret would not be known again.
        text.truncate(text.floor_char_boundary(LOG_BYTES_MAX));
        let tenant = scope.as_ref().map(|scope| scope.tenant.id.as_str()).unwrap_or_default();
        let correlation_id = scope.as_ref().map(|scope| scope.correlation_id.as_str()).unwrap_or_default();
        let (tool_type, generation) = (self.tool_type.as_str(), self.generation);
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(target: "plugin", tool_type, generation, tenant, correlation_id, "{text}")
            };
        }
        match level {
            LogLevel::Debug => line!(debug),
            LogLevel::Info => line!(info),
            LogLevel::Warn => line!(warn),
            LogLevel::Error => line!(error),
        }
    }

    fn now(&self, _call: u64) -> OffsetDateTime {
        self.services.clock.now()
    }

    fn verify_hmac_sha256(
        &self,
        call: u64,
        secret: &str,
        key_form: KeyForm,
        parts: &[&[u8]],
        mac: &[u8],
    ) -> Result<bool, PluginError> {
        self.compare(call, |tenant| {
            let secrets = match presentable(self.secrets(tenant, secret), tenant, secret)? {
                Ok(secrets) => secrets,
                Err(why) => return Ok(Err(why)),
            };
            let mut verified = false;
            for key in secrets.iter().filter(|key| !key.expose().is_empty()) {
                let key = key_bytes(key, key_form, secret)?;
                let mut expected = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes keys of any length");
                parts.iter().for_each(|part| expected.update(part));
                // During a rotation both are tried, and nobody can tell from the time which of them it was.
                verified |= expected.verify_slice(mac).is_ok();
            }
            Ok(if verified { Ok(()) } else { Err(wrong_signature(secret)) })
        })
    }

    fn verify_secret(&self, call: u64, secret: &str, presented: &[u8]) -> Result<bool, PluginError> {
        self.compare(call, |tenant| {
            let secrets = match presentable(self.secrets(tenant, secret), tenant, secret)? {
                Ok(secrets) => secrets,
                Err(why) => return Ok(Err(why)),
            };
            let known = secrets.iter().filter(|known| !known.expose().is_empty());
            let verified =
                known.fold(false, |found, known| found | bool::from(known.expose().as_bytes().ct_eq(presented)));
            Ok(if verified { Ok(()) } else { Err(wrong_secret(secret)) })
        })
    }

    fn http(&self, call: u64, request: &Request) -> Result<Response, PluginError> {
        let scope = self.with_scope(call, |scope| Ok(scope.clone()))?;
        if !matches!(scope.method, Method::GET_TICKET | Method::UPDATE_TICKET) {
            let message = "http is available in get_ticket and update_ticket only".to_owned();
            return Err(PluginError::Configuration(message));
        }
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(PluginError::Cancelled);
        }
        let deadline = scope.time.request_deadline().ok_or_else(|| {
            let limit_s = scope.time.limit().as_secs_f64();
            PluginError::api(format!("too little is left of the call's {limit_s} s for another request to the tool"))
        })?;
        self.give_back_answers(call);
        let _with_tool = scope.time.with_tool();
        let Answer { status, mut headers, mut body, share } = self.send(&scope, request, deadline)?;
        self.keep_answer(call, share);
        self.redaction(&scope.tenant).clean_answer(&mut headers, &mut body);
        Ok(Response::new(status, headers, body))
    }
}

impl Capability {
    /// Sends a request with its credential. One that the tool refuses with 401 for its access token is sent once more
    /// with another, whatever its method: the tool looks at the token before it does anything (RFC 6750, section 3.1).
    fn send(&self, scope: &CallScope, request: &Request, deadline: Instant) -> Result<Answer, PluginError> {
        let (tenant, tokens) = (&scope.tenant, &self.services.tokens);
        let clean = |text: &mut String| self.redaction(tenant).clean(text);
        let send = |credential, unauthorized| {
            let (correlation_id, job) = (&scope.correlation_id, scope.job);
            let asker = Some(Asker { correlation_id, job, unauthorized, clean: &clean });
            self.services.egress.send(Outgoing { tenant, request, credential, deadline, asker })
        };
        let Some(credential) = request.parts().2 else { return send(None, Unauthorized::Fails) };
        let name = credential.secret();
        let Some(token) = tokens.token(tenant, name, deadline)? else {
            return send(Some(self.filled_in(tenant, credential)?), Unauthorized::Fails);
        };
        let answer = send(Some(header(credential, token[0].expose())?), Unauthorized::IsRetried)?;
        if answer.status != UNAUTHORIZED {
            return Ok(answer);
        }
        let Some(token) = tokens.renewed(tenant, name, &token, deadline)? else { return Ok(answer) };
        drop(answer);
        let answer = send(Some(header(credential, token[0].expose())?), Unauthorized::Fails)?;
        if answer.status == UNAUTHORIZED {
            tokens.was_futile(tenant, name);
        }
        Ok(answer)
    }

    /// The header that carries a plain secret.
    fn filled_in(&self, tenant: &Tenant, credential: &Credential) -> Result<(String, Zeroizing<String>), PluginError> {
        let name = credential.secret();
        let secrets = self.secrets(tenant, name).map_err(|fault| PluginError::Configuration(fault.to_string()))?;
        let secret = secrets.first().map(SecretText::expose).filter(|secret| !secret.is_empty());
        let secret =
            secret.ok_or_else(|| PluginError::Configuration(format!("the tenant's secret {name} is empty")))?;
        header(credential, secret)
    }

    /// What to take out of texts for this tenant. A plugin is presented with some by webhooks, and a tool may send back
    /// what it was sent.
    fn redaction(&self, tenant: &Tenant) -> Redaction {
        let secrets = redact::secrets_of(&self.services.directory, tenant);
        Redaction::of(secrets.into_iter().chain(self.services.tokens.shown(tenant)))
    }
}

/// The header that carries this secret, or this token.
fn header(credential: &Credential, secret: &str) -> Result<(String, Zeroizing<String>), PluginError> {
    let authorization = "authorization".to_owned();
    let basic =
        |pair: Zeroizing<String>| Zeroizing::new(format!("Basic {}", &*Zeroizing::new(STANDARD.encode(&*pair))));
    let (header, value) = match credential {
        Credential::Bearer { .. } => (authorization, Zeroizing::new(format!("Bearer {secret}"))),
        Credential::Basic { user, .. } => (authorization, basic(Zeroizing::new(format!("{user}:{secret}")))),
        Credential::BasicUser { password, .. } => {
            (authorization, basic(Zeroizing::new(format!("{secret}:{password}"))))
        }
        Credential::Header { header, scheme: Some(scheme), .. } => {
            (header.to_string(), Zeroizing::new(format!("{scheme} {secret}")))
        }
        Credential::Header { header, scheme: None, .. } => (header.to_string(), Zeroizing::new(secret.to_owned())),
        _ => return Err(PluginError::Configuration("this host does not know that kind of credential".to_owned())),
    };
    Ok((header, value))
}

/// An absent secret verifies nothing; one that cannot be opened, or that no sender knows, is the configuration's fault.
fn presentable(
    secrets: Result<Arc<[SecretText]>, SecretError>,
    tenant: &Tenant,
    name: &str,
) -> Result<Result<Arc<[SecretText]>, Why>, PluginError> {
    match secrets {
        Ok(secrets) if secrets.iter().any(|secret| !matches!(secret.oauth2(), Ok(None))) => {
            let message =
                format!("the tenant's secret {name} is of the kind oauth2, which proves nothing of a webhook");
            Err(PluginError::Configuration(message))
        }
        Ok(secrets) if secrets.iter().all(|secret| secret.expose().is_empty()) => {
            Ok(Err(Why::host(why::SECRET_EMPTY, no_secret(tenant, name, "is empty"))))
        }
        Ok(secrets) => Ok(Ok(secrets)),
        Err(SecretError::Missing { .. }) => Ok(Err(Why::no_such_secret(no_secret(tenant, name, "is not there")))),
        Err(fault) => Err(PluginError::Configuration(fault.to_string())),
    }
}

fn no_secret(tenant: &Tenant, name: &str, what: &str) -> String {
    let id = &tenant.id;
    format!("the tenant's secret {name} {what}: set it with plugin-ctl tenant update {id} --secret {name}=@FILE")
}

fn wrong_signature(name: &str) -> Why {
    let text = format!(
        "the signature does not belong to this body and the secret {name}: the tool has another secret, or something on the \
         way has changed the body"
    );
    Why::host(why::SIGNATURE_WRONG, text)
}

fn wrong_secret(name: &str) -> Why {
    Why::host(why::SECRET_WRONG, format!("what the webhook presents is not the tenant's secret {name}"))
}

fn key_bytes(secret: &SecretText, form: KeyForm, name: &str) -> Result<Zeroizing<Vec<u8>>, PluginError> {
    let text = secret.expose();
    let decoded = match form {
        KeyForm::Text => Some(text.as_bytes().to_vec()),
        KeyForm::Base64 => STANDARD.decode(text.strip_prefix("whsec_").unwrap_or(text)).ok(),
        KeyForm::Hex => hex_bytes(text),
        _ => None,
    };
    let decoded = decoded.map(Zeroizing::new).filter(|key| !key.is_empty());
    decoded.ok_or_else(|| PluginError::Configuration(format!("the tenant's secret {name} is not written as {form:?}")))
}

fn hex_bytes(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let pairs = text.as_bytes().chunks_exact(2);
    pairs.remainder().is_empty().then(|| pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect())?
}

/// So many lines in each second; the rest of that second is dropped.
struct LogLimit {
    second: AtomicI64,
    lines: AtomicU32,
}

impl LogLimit {
    fn admits(&self, second: i64) -> bool {
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.lines.store(0, Ordering::Relaxed);
        }
        self.lines.fetch_add(1, Ordering::Relaxed) < LOG_LINES_PER_S_MAX
    }
}

#[cfg(test)]
mod tests;
