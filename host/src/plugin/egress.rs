//! Requests to the tools: only where the tenant's operator said, without redirects, bounded in time and size, and on
//! the calling lane from name lookup to the last byte.

use std::{
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
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
        transport::{DefaultConnector, NextTimeout},
    },
};
use url::Url;
use zeroize::Zeroizing;

use crate::{config, tenant::Tenant};

/// Most bytes of a request's body.
const REQUEST_BYTES_MAX: usize = 10 << 20;
/// Most bytes of a token endpoint's answer.
const TOKEN_BYTES_MAX: u64 = 64 << 10;
/// Most connections that are kept open to one tool.
const IDLE_PER_HOST_MAX: usize = 64;
/// Most connections that are kept open in all.
const IDLE_MAX: usize = 256;
/// Headers that belong to the host.
const OWN_HEADERS: &[&str] = &["host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer"];

/// The HTTP client that all plugins share.
pub struct Egress {
    agent: Agent,
    read: Duration,
    answer_bytes_max: u64,
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
            .max_idle_connections(IDLE_MAX)
            .max_idle_connections_per_host(IDLE_PER_HOST_MAX)
            .proxy(None)
            .build();
        Self {
            agent: Agent::with_parts(agent, DefaultConnector::default(), LaneResolver),
            read: config.read,
            answer_bytes_max: config.answer_bytes_max.try_into().unwrap_or(u64::MAX),
        }
    }

    /// Sends it and reads the whole answer. Blocks, at most until the deadline.
    ///
    /// # Errors
    /// `Configuration` for a target that the tenant does not have, `Api` when no whole answer came.
    pub fn send(&self, outgoing: Outgoing<'_>) -> Result<Response, PluginError> {
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
        let asked = Asked { method, url: &url, headers, credential, body, time_max, deadline: outgoing.deadline };
        let (status, headers, bytes) = self.ask(outgoing.tenant, &asked, self.answer_bytes_max)?;
        Ok(Response::new(status, headers, bytes))
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
        let asked = Asked { method: "POST", url: &url, headers, credential, body, time_max, deadline };
        let (status, headers, bytes) = self.ask(tenant, &asked, TOKEN_BYTES_MAX)?;
        Ok((Response::new(status, headers, Vec::new()), Zeroizing::new(bytes)))
    }

    fn ask(&self, tenant: &Tenant, asked: &Asked<'_>, bytes_max: u64) -> Result<Answer, PluginError> {
        let started = Instant::now();
        let answer = match self.attempt(asked, bytes_max) {
            // A pooled connection that the tool has closed meanwhile: a request that changes nothing is sent once more.
            Err(Failure::Dead(_)) if matches!(asked.method, "GET" | "HEAD") => self.attempt(asked, bytes_max),
            answer => answer,
        };
        tracing::debug!(
            tenant = %tenant.id,
            method = asked.method,
            host = asked.url.host_str().unwrap_or_default(),
            path = asked.url.path(),
            status = answer.as_ref().map_or(0, |(status, ..)| *status),
            took_ms = started.elapsed().as_millis(),
            "request to the tool"
        );
        answer.map_err(|failure| match failure {
            Failure::Refused(error) => error,
            Failure::Dead(message) | Failure::NoAnswer(message) => PluginError::api(message),
        })
    }

    fn attempt(&self, asked: &Asked<'_>, bytes_max: u64) -> Result<Answer, Failure> {
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
        let bytes = answer
            .into_body()
            .into_with_config()
            .limit(bytes_max)
            .read_to_vec()
            .map_err(|fault| Failure::NoAnswer(format!("the answer ({status}) broke off: {fault}")))?;
        Ok((status, headers, bytes))
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
}

/// Status, headers and body.
type Answer = (u16, Vec<(String, String)>, Vec<u8>);

enum Failure {
    /// What was asked for is not allowed.
    Refused(PluginError),
    /// The connection was lost; nothing of an answer came.
    Dead(String),
    /// Anything else.
    NoAnswer(String),
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
        let mut addresses = self.empty();
        for address in host.to_socket_addrs()?.filter(|address| !is_link_local(address)).take(16) {
            addresses.push(address);
        }
        if addresses.is_empty() { Err(Error::HostNotFound) } else { Ok(addresses) }
    }
}

fn is_link_local(address: &SocketAddr) -> bool {
    match address.ip() {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_link_local()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::{TenantId, ToolType},
        tenant::NewTenant,
    };

    #[test]
    fn requests_stay_where_the_operator_said() {
        let mut new = NewTenant::new(
            TenantId::parse("acme").unwrap(),
            ToolType::parse("desk").unwrap(),
            "https://desk.example/base/",
        );
        new.allow_origins = vec!["https://login.example".to_owned()];
        let tenant = new.check().unwrap();
        for (asked, expected) in [
            ("/api/1", Some("https://desk.example/base/api/1")),
            ("/../other", None),
            ("https://desk.example/anywhere", Some("https://desk.example/anywhere")),
            ("https://login.example/token", Some("https://login.example/token")),
            ("https://login.example:444/token", None),
            ("http://login.example/token", None),
            ("https://evil.example/", None),
            ("//evil.example/", Some("https://desk.example/base//evil.example/")),
            ("api/1", None),
        ] {
            assert_eq!(target(&tenant, asked).ok().as_ref().map(Url::as_str), expected, "{asked}");
        }
    }

    #[test]
    fn link_local_addresses_are_never_called() {
        for (address, expected) in [
            ("169.254.169.254:80", true),
            ("[fe80::1]:80", true),
            ("[::ffff:169.254.1.1]:80", true),
            ("10.0.0.1:80", false),
            ("127.0.0.1:80", false),
        ] {
            assert_eq!(is_link_local(&address.parse().unwrap()), expected, "{address}");
        }
    }
}
