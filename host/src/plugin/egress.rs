//! Requests to the tools: only where the tenant's operator said, without redirects, bounded in time and size, and on
//! the calling lane from name lookup to the last byte.

use std::{
    net::ToSocketAddrs as _,
    sync::Arc,
    time::{Duration, Instant},
};

use plugin_abi::{
    PluginError,
    http::{Request, Response},
};
use ureq::{
    Agent, Error,
    config::Config,
    http::{self, HeaderName, HeaderValue, Uri},
    unversioned::{
        resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver},
        transport::{Connector as _, DefaultConnector, NextTimeout},
    },
};
use url::Url;
use zeroize::Zeroizing;

use self::{
    body::Unread,
    line::Lines,
    meter::{Metering, TooMuchSent},
    room::{AnswerRoom, SMALL_BYTES},
};
use crate::{
    config,
    tenant::{Tenant, address::is_never_called},
};

mod body;
mod line;
mod meter;
mod room;

pub use self::line::{Asker, Unauthorized};
pub(super) use self::room::Share;

/// Most bytes of a request's body.
const REQUEST_BYTES_MAX: usize = 10 << 20;
/// Most bytes of a token endpoint's answer: it needs no room, and its secrets stay in one place while it is read.
const TOKEN_BYTES_MAX: usize = SMALL_BYTES;
/// Most bytes of an answer's head. Of headers ureq takes 128.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// What may come for one request beside the bytes of the largest answer twice: for heads, and for the sizes of chunks.
const SENT_BESIDE_BYTES_MAX: usize = 1 << 20;
/// Most connections that are kept open to one tool.
const IDLE_PER_HOST_MAX: usize = 64;
/// Most connections that are kept open in all.
const IDLE_MAX: usize = 256;
/// Addresses of one name that are tried; ureq has places for as many.
const ADDRESSES_MAX: usize = 16;
/// Headers that belong to the host.
const OWN_HEADERS: &[&str] = &["host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer"];

/// The HTTP client that all plugins share.
pub struct Egress {
    agent: Agent,
    read: Duration,
    answer_bytes_max: usize,
    room: Arc<AnswerRoom>,
    lines: Lines,
}

/// One request of a plugin, with its credential filled in.
pub struct Outgoing<'a> {
    /// For whom.
    pub tenant: &'a Tenant,
    /// What the plugin wants.
    pub request: &'a Request,
    /// The header that carries the secret.
    pub credential: Option<(String, Zeroizing<String>)>,
    /// When the call that it is part of ends.
    pub deadline: Instant,
    /// For the log.
    pub asker: Option<Asker<'a>>,
}

/// What a tool answered.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    /// Unpacked.
    pub(super) body: Vec<u8>,
    /// The body's part of the room for answers. To be kept for as long as anybody has the body.
    pub(super) share: Share,
}

impl Egress {
    /// A client with these limits.
    pub fn new(config: &config::Http) -> Self {
        let agent = Config::builder()
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .user_agent(concat!("patchbay/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(config.connect))
            .max_response_header_size(HEAD_BYTES_MAX)
            .max_idle_connections(IDLE_MAX)
            .max_idle_connections_per_host(IDLE_PER_HOST_MAX)
            .proxy(None)
            .build();
        // An answer may be a little longer packed than it is, and comes in parts.
        let sent_bytes_max = config.answer_bytes_max.saturating_mul(2).saturating_add(SENT_BESIDE_BYTES_MAX);
        let connector = DefaultConnector::default().chain(Metering { bytes_max: sent_bytes_max as u64 });
        Self {
            agent: Agent::with_parts(agent, connector, LaneResolver),
            read: config.read,
            answer_bytes_max: config.answer_bytes_max,
            room: AnswerRoom::new(config.answers_bytes_max),
            lines: Lines::default(),
        }
    }

    /// Sends it and reads the whole answer. Blocks, at most until the deadline.
    ///
    /// # Errors
    /// `Configuration` for a target that the tenant does not have, `Malformed` for a success that is too large, `Api` when
    /// no whole answer came or there is no room for it now.
    pub(super) fn send(&self, outgoing: Outgoing<'_>) -> Result<Answer, PluginError> {
        let url = target(outgoing.tenant, outgoing.request.target())?;
        let (method, headers, _, body, timeout) = outgoing.request.parts();
        if body.is_some_and(|body| body.len() > REQUEST_BYTES_MAX) {
            return Err(refusal(format!("a request's body may have {REQUEST_BYTES_MAX} bytes at most")));
        }
        if let Some((name, _)) = headers.iter().find(|(name, _)| OWN_HEADERS.contains(&&*name.to_ascii_lowercase())) {
            return Err(refusal(format!("the header {name} is the host's own")));
        }
        let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let credential = outgoing.credential.as_ref();
        let time_max = timeout.unwrap_or(self.read);
        let (deadline, asker) = (outgoing.deadline, outgoing.asker);
        let asked = Asked { method, url: &url, headers, credential, body, time_max, deadline, asker };
        let mut answer = self.ask(outgoing.tenant, &asked, self.answer_bytes_max).map_err(|failure| {
            failure.error(|status, why| {
                let message = format!("{method} {}: the tool's answer {status} {why}", url.path());
                if !(200..300).contains(&status) {
                    return PluginError::Api { status: Some(status), message };
                }
                // Asked again, the tool would say the same.
                PluginError::Malformed(format!(
                    "{message}; if that is no fault of the tool, raise http.answer_bytes_max, restart the host, and \
                     take the job up again with plugin-ctl job retry"
                ))
            })
        })?;
        answer.body.shrink_to_fit();
        answer.share.fit(answer.body.len());
        Ok(answer)
    }

    /// Posts a body of this type to a token endpoint: the status, the headers, and the body, which holds secrets. Blocks, at most until
    /// the deadline.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub(super) fn ask_for_token(
        &self,
        tenant: &Tenant,
        url: &Url,
        credential: Option<&(String, Zeroizing<String>)>,
        (content_type, body): (&str, &[u8]),
        deadline: Instant,
    ) -> Result<(Response, Zeroizing<Vec<u8>>), PluginError> {
        let url = target(tenant, url.as_str())?;
        let headers = vec![("content-type", content_type), ("accept", "application/json")];
        let (body, time_max) = (Some(body), self.read);
        let asked = Asked { method: "POST", url: &url, headers, credential, body, time_max, deadline, asker: None };
        let answer = self.ask(tenant, &asked, TOKEN_BYTES_MAX).map_err(|failure| {
            failure.error(|status, why| PluginError::api(format!("the token endpoint's answer {status} {why}")))
        })?;
        Ok((Response::new(answer.status, answer.headers, Vec::new()), Zeroizing::new(answer.body)))
    }

    fn ask(&self, tenant: &Tenant, asked: &Asked<'_>, bytes_max: usize) -> Result<Answer, Failure> {
        let started = Instant::now();
        let attempt = || self.attempt(asked, bytes_max, self.room.share(&tenant.id));
        let answer = match attempt() {
            // A pooled connection that the tool has closed meanwhile: a request that changes nothing is sent once more.
            Err(Failure::Dead(_)) if matches!(asked.method, "GET" | "HEAD") => attempt(),
            answer => answer,
        };
        self.lines.write(tenant, asked, answer.as_ref(), started.elapsed());
        answer
    }

    fn attempt(&self, asked: &Asked<'_>, bytes_max: usize, mut share: Share) -> Result<Answer, Failure> {
        let left = asked.deadline.saturating_duration_since(Instant::now());
        let time_max = asked.time_max.min(self.read).min(left);
        if time_max.is_zero() {
            return Err(Failure::NoAnswer("the call's deadline has passed".to_owned()));
        }
        let mut request = http::Request::builder().method(asked.method).uri(asked.url.as_str());
        for (name, value) in &asked.headers {
            request = request.header(*name, *value);
        }
        if let Some((name, value)) = asked.credential {
            let name =
                HeaderName::try_from(name.as_str()).map_err(|fault| refused(format!("credential header: {fault}")))?;
            let value = HeaderValue::try_from(value.as_str());
            let mut value = value.map_err(|_| refused("the tenant's secret cannot stand in a header".to_owned()))?;
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        let answer = match asked.body {
            Some(body) => self.run(request.body(body), time_max),
            None if matches!(asked.method, "POST" | "PUT" | "PATCH") => self.run(request.body(&[][..]), time_max),
            None => self.run(request.body(()), time_max),
        }?;
        let status = answer.status().as_u16();
        let headers = answer.headers().iter();
        let headers =
            headers.filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned()))).collect();
        let body = body::whole(answer.into_body(), bytes_max, &mut share).map_err(|unread| match unread {
            Unread::TooLarge => {
                Failure::TooLarge { status, why: format!("has more than {bytes_max} bytes, counted unpacked") }
            }
            Unread::Crowded => Failure::NoAnswer(format!(
                "there is no room for the answer ({status}) now: all answers under way may have {} bytes together, those \
                 of one tenant half of that (http.answers_bytes_max)",
                self.room.bytes_max()
            )),
            Unread::Broken(fault) => match TooMuchSent::of(&fault) {
                Some(fault) => Failure::TooLarge { status, why: format!("does not end: {fault}") },
                None => Failure::NoAnswer(format!("the answer ({status}) broke off: {fault}")),
            },
        })?;
        Ok(Answer { status, headers, body, share })
    }

    fn run<B: ureq::AsSendBody>(
        &self,
        request: Result<http::Request<B>, http::Error>,
        time_max: Duration,
    ) -> Result<http::Response<ureq::Body>, Failure> {
        let request = request.map_err(|fault| refused(format!("the request is malformed: {fault}")))?;
        let request = self.agent.configure_request(request).timeout_global(Some(time_max)).build();
        self.agent.run(request).map_err(|fault| match fault {
            Error::Io(fault)
                if matches!(
                    fault.kind(),
                    std::io::ErrorKind::ConnectionReset
                        | std::io::ErrorKind::BrokenPipe
                        | std::io::ErrorKind::UnexpectedEof
                        | std::io::ErrorKind::ConnectionAborted
                ) =>
            {
                Failure::Dead(format!("the connection to the tool was lost: {fault}"))
            }
            fault => Failure::NoAnswer(format!("the tool gave no answer: {fault}")),
        })
    }
}

/// A request whose target is allowed.
struct Asked<'a> {
    method: &'a str,
    url: &'a Url,
    headers: Vec<(&'a str, &'a str)>,
    credential: Option<&'a (String, Zeroizing<String>)>,
    body: Option<&'a [u8]>,
    time_max: Duration,
    deadline: Instant,
    asker: Option<Asker<'a>>,
}

enum Failure {
    /// What was asked for is not allowed.
    Refused(PluginError),
    /// The connection was lost; nothing of an answer came.
    Dead(String),
    /// The answer is larger than it may be.
    TooLarge { status: u16, why: String },
    /// Anything else.
    NoAnswer(String),
}

impl Failure {
    /// The status of the answer, where one came.
    fn status(&self) -> Option<u16> {
        match self {
            Self::TooLarge { status, .. } => Some(*status),
            Self::Refused(_) | Self::Dead(_) | Self::NoAnswer(_) => None,
        }
    }

    fn error(self, too_large: impl FnOnce(u16, String) -> PluginError) -> PluginError {
        match self {
            Self::Refused(error) => error,
            Self::TooLarge { status, why } => too_large(status, why),
            Self::Dead(message) | Self::NoAnswer(message) => PluginError::api(message),
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn refused(message: String) -> Failure {
    Failure::Refused(refusal(message))
}

fn refusal(message: String) -> PluginError {
    PluginError::Configuration(message)
}

/// Where the request goes: below the tenant's base URL, or to an origin that its operator allowed.
fn target(tenant: &Tenant, target: &str) -> Result<Url, PluginError> {
    let base = &tenant.base_url;
    if target.starts_with('/') {
        let below = format!("{}{target}", base.as_str().trim_end_matches('/'));
        let url =
            Url::parse(&below).map_err(|fault| PluginError::Configuration(format!("target {target:?}: {fault}")))?;
        let inside = url.origin() == base.origin() && url.path().starts_with(base.path().trim_end_matches('/'));
        return if inside {
            Ok(url)
        } else {
            Err(PluginError::Configuration(format!("the target {target:?} leaves the tenant's base URL")))
        };
    }
    let url = Url::parse(target).map_err(|fault| PluginError::Configuration(format!("target {target:?}: {fault}")))?;
    if tenant.may_call(&url) {
        Ok(url)
    } else {
        let origin = url.origin().ascii_serialization();
        let message = format!("requests to {origin} are not allowed for tenant {} (see --allow-origin)", tenant.id);
        Err(PluginError::Configuration(message))
    }
}

/// Looks names up on the calling thread: ureq's own way starts threads, and one that outlives its call would look like a
/// plugin's. Addresses that serve a machine its own credentials are never connected to.
#[derive(Debug)]
struct LaneResolver;

impl Resolver for LaneResolver {
    fn resolve(&self, uri: &Uri, _config: &Config, _timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return Err(Error::BadUri(uri.to_string()));
        };
        let host = DefaultResolver::host_and_port(scheme, authority).ok_or(Error::HostNotFound)?;
        let (mut addresses, mut refused) = (self.empty(), None);
        for address in host.to_socket_addrs()?.take(ADDRESSES_MAX) {
            if is_never_called(address.ip()) {
                refused = Some(address.ip());
            } else {
                addresses.push(address);
            }
        }
        match refused {
            _ if !addresses.is_empty() => Ok(addresses),
            Some(ip) => {
                let message = format!("{host} is {ip}, and link-local addresses and cloud metadata are never called");
                Err(Error::Other(message.into()))
            }
            None => Err(Error::HostNotFound),
        }
    }
}

#[cfg(test)]
mod tests;
