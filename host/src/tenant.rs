//! A tenant: its ticketing tool, the tool's address, and how its webhooks are handled. Checked once, on entry.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use url::{Host, Url};

use self::address::is_never_called;
use crate::{
    ids::{Incarnation, TenantId, ToolType},
    networks::Networks,
};

pub(crate) mod address;
pub mod change;
pub mod directory;
pub mod rates;
pub mod secrets;
pub mod tally;

/// Maximum number of settings of a tenant.
pub const SETTINGS_MAX: usize = 64;
/// Maximum length of a setting's value, in bytes.
pub const SETTING_BYTES_MAX: usize = 4_096;
/// Maximum number of origins that an operator can allow for a tenant in addition to its base URL.
pub const ALLOW_ORIGINS_MAX: usize = 16;
/// Maximum number of networks that a tenant's webhooks may come from.
pub const ALLOW_FROM_MAX: usize = 64;
/// Maximum length of a URL, in bytes.
pub const URL_BYTES_MAX: usize = 2_048;
/// The longest replay window, in seconds: a week.
pub const REPLAY_WINDOW_S_MAX: u32 = 7 * 24 * 3_600;
/// The default replay window, in seconds.
pub const REPLAY_WINDOW_S_DEFAULT: u32 = 300;
/// The default of how far ahead of the host's clock a signed timestamp may be, in seconds.
pub const REPLAY_AHEAD_S_DEFAULT: u32 = 30;
/// Maximum length of the name of a setting or secret, in characters.
pub const NAME_CHARS_MAX: usize = 64;

/// A ticket event that can make an enhancement job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EnhanceOn {
    /// The ticket is new.
    Created,
    /// The ticket changed.
    Updated,
}

impl EnhanceOn {
    /// The name of the event: `created` or `updated`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
        }
    }

    /// Parses the output of [`as_str`](Self::as_str).
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Created, Self::Updated].into_iter().find(|event| event.as_str() == text)
    }

    /// Parses a list with commas, as it is typed. An empty text means no events.
    pub fn list(text: &str) -> Result<BTreeSet<Self>, String> {
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        let parse = |name| Self::parse(name).ok_or_else(|| format!("{name:?} is neither created nor updated"));
        names.map(parse).collect()
    }
}

/// An operator's input for a new tenant. [`check`](Self::check) turns it into a [`Tenant`].
#[derive(Debug, Clone)]
pub struct NewTenant {
    /// Its id.
    pub id: TenantId,
    /// The tool type.
    pub tool_type: ToolType,
    /// The base URL of its tool.
    pub base_url: String,
    /// Settings that its plugin reads.
    pub settings: BTreeMap<String, String>,
    /// Other origins that its plugin may call.
    pub allow_origins: Vec<String>,
    /// Networks that its webhooks may come from; if empty, they may come from anywhere.
    pub allow_from: Vec<String>,
    /// Maximum age of a signed timestamp, in seconds; see [`REPLAY_WINDOW_S_DEFAULT`].
    pub replay_window_s: u32,
    /// How far ahead of the host's clock a signed timestamp may be, in seconds; see [`REPLAY_AHEAD_S_DEFAULT`].
    pub replay_ahead_s: u32,
    /// The events that are enhanced; usually [`EnhanceOn::Created`] alone.
    pub enhance_on: BTreeSet<EnhanceOn>,
    /// Whether its webhooks are accepted and its jobs run.
    pub enabled: bool,
}

/// A checked tenant. It never changes; changes replace it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// Which tenant with that id it is; 0 until the store has it.
    pub incarnation: Incarnation,
    /// Its partition, computed from the id.
    pub slot: u16,
    /// The tool type, which selects the plugin.
    pub tool_type: ToolType,
    /// The base URL of its tool; https, or http on loopback.
    pub base_url: Url,
    /// Settings that its plugin reads. They contain no secrets.
    pub settings: BTreeMap<String, String>,
    /// Other origins that its plugin may call, as `scheme://host[:port]`.
    pub allow_origins: Vec<String>,
    /// Networks that its webhooks may come from; if empty, they may come from anywhere.
    pub allow_from: Networks,
    /// Whether its webhooks are accepted and its jobs run.
    pub enabled: bool,
    /// Whether its jobs wait although its webhooks are accepted.
    pub paused: bool,
    /// Maximum age of a signed timestamp, in seconds.
    pub replay_window_s: u32,
    /// How far ahead of the host's clock a signed timestamp may be, in seconds.
    pub replay_ahead_s: u32,
    /// The events that are enhanced.
    pub enhance_on: BTreeSet<EnhanceOn>,
}

/// What is wrong with a tenant that somebody wants to add.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTenant {
    /// A URL that plugins must not call.
    #[error("{url:?} cannot be used: {reason}")]
    Url {
        /// The URL as given, without user info.
        url: String,
        /// The reason.
        reason: &'static str,
    },
    /// Something else.
    #[error("{what}: {reason}")]
    Other {
        /// The part of the tenant that is wrong.
        what: String,
        /// The reason.
        reason: String,
    },
}

impl NewTenant {
    /// An enabled tenant with default values.
    pub fn new(id: TenantId, tool_type: ToolType, base_url: impl Into<String>) -> Self {
        Self {
            id,
            tool_type,
            base_url: base_url.into(),
            settings: BTreeMap::new(),
            allow_origins: Vec::new(),
            allow_from: Vec::new(),
            replay_window_s: REPLAY_WINDOW_S_DEFAULT,
            replay_ahead_s: REPLAY_AHEAD_S_DEFAULT,
            enhance_on: BTreeSet::from([EnhanceOn::Created]),
            enabled: true,
        }
    }

    /// Checks every part, and returns the first error.
    pub fn check(self) -> Result<Tenant, InvalidTenant> {
        self.check_all().map_err(|mut faults| faults.swap_remove(0))
    }

    /// Checks every part, and returns all errors, of which there is at least one.
    pub fn check_all(self) -> Result<Tenant, Vec<InvalidTenant>> {
        let mut faults = Vec::new();
        let base_url = check_url(&self.base_url).map_err(|fault| faults.push(fault)).ok();
        if self.allow_origins.len() > ALLOW_ORIGINS_MAX {
            faults.push(other("allowed origins", format!("there may be {ALLOW_ORIGINS_MAX} at most")));
        }
        let origins = self.allow_origins.iter().map(|text| check_origin(text));
        let allow_origins = origins.filter_map(|origin| origin.map_err(|fault| faults.push(fault)).ok()).collect();
        let networks = self.allow_from.iter().map(|text| check_network(text));
        let allow_from: Networks =
            networks.filter_map(|network| network.map_err(|fault| faults.push(fault)).ok()).collect();
        if allow_from.len() > ALLOW_FROM_MAX {
            faults.push(other("allow_from", format!("there may be {ALLOW_FROM_MAX} networks at most")));
        }
        if self.settings.len() > SETTINGS_MAX {
            faults.push(other("settings", format!("there may be {SETTINGS_MAX} at most")));
        }
        for (name, value) in &self.settings {
            faults.extend(check_name(name).err());
            if value.len() > SETTING_BYTES_MAX {
                faults.push(other(name, format!("its value is longer than {SETTING_BYTES_MAX} bytes")));
            }
        }
        if !(1..=REPLAY_WINDOW_S_MAX).contains(&self.replay_window_s) {
            faults.push(other("replay window", format!("it must be 1 to {REPLAY_WINDOW_S_MAX} seconds")));
        }
        if self.replay_ahead_s > REPLAY_WINDOW_S_MAX {
            faults.push(other("replay ahead", format!("it must be at most {REPLAY_WINDOW_S_MAX} seconds")));
        }
        let Some(base_url) = base_url.filter(|_| faults.is_empty()) else { return Err(faults) };
        Ok(Tenant {
            slot: self.id.slot(),
            id: self.id,
            incarnation: Incarnation::default(),
            tool_type: self.tool_type,
            base_url,
            settings: self.settings,
            allow_origins,
            allow_from,
            enabled: self.enabled,
            paused: false,
            replay_window_s: self.replay_window_s,
            replay_ahead_s: self.replay_ahead_s,
            enhance_on: self.enhance_on,
        })
    }
}

impl Tenant {
    /// Whether this is the same tenant with the same tool: same type, same address.
    pub fn has_tool_of(&self, other: &Tenant) -> bool {
        (self.incarnation, &self.tool_type, &self.base_url) == (other.incarnation, &other.tool_type, &other.base_url)
    }

    /// Whether a request of this tenant may go to this URL: to its tool, or to an origin that its operator allowed.
    pub fn may_call(&self, url: &Url) -> bool {
        url.origin() == self.base_url.origin() || self.allow_origins.contains(&url.origin().ascii_serialization())
    }
}

/// Checks the name of a setting or secret: `[A-Za-z0-9_.-]{1,64}`.
pub fn check_name(name: &str) -> Result<(), InvalidTenant> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    if !name.is_empty() && name.len() <= NAME_CHARS_MAX && name.bytes().all(allowed) {
        Ok(())
    } else {
        Err(other(format!("name {name:?}"), "it must match [A-Za-z0-9_.-]{1,64}"))
    }
}

/// Checks a URL that a plugin may call: https, or http on loopback; no user info, query or fragment; never a cloud's
/// metadata service. Host names are checked again when they are resolved, at connect time.
pub(crate) fn check_url(text: &str) -> Result<Url, InvalidTenant> {
    let shown = if text.contains('@') { "<a URL with user info>" } else { text };
    let refuse = |reason| Err(InvalidTenant::Url { url: shown.chars().take(200).collect(), reason });
    if text.len() > URL_BYTES_MAX {
        return refuse("it is too long");
    }
    let Ok(url) = Url::parse(text) else { return refuse("it is not a URL") };
    let Some(host) = url.host() else { return refuse("it has no host") };
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(&host) => {}
        "http" => return refuse("it must be https; http is for loopback addresses only"),
        _ => return refuse("it must be https"),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("it must not hold a user or password; use --secret");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return refuse("it must not have a query or fragment");
    }
    if address(&host).is_some_and(is_never_called) {
        return refuse("link-local addresses and those of cloud metadata are never called");
    }
    Ok(url)
}

fn check_origin(text: &str) -> Result<String, InvalidTenant> {
    let url = check_url(text)?;
    if url.path() == "/" {
        Ok(url.origin().ascii_serialization())
    } else {
        Err(InvalidTenant::Url {
            url: text.chars().take(200).collect(),
            reason: "an origin is scheme, host and port, without a path",
        })
    }
}

fn check_network(text: &str) -> Result<IpNet, InvalidTenant> {
    let shown: String = text.chars().take(80).collect();
    Networks::parse(text).map_err(|fault| other(format!("allow_from {shown:?}"), fault.to_string()))
}

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(_) | Host::Ipv6(_) => address(host).is_some_and(|ip| ip.is_loopback()),
    }
}

/// The address that a host literally is. An IPv4 address written as IPv6 counts as IPv4.
fn address(host: &Host<&str>) -> Option<IpAddr> {
    match host {
        Host::Domain(_) => None,
        Host::Ipv4(ip) => Some(IpAddr::V4(*ip)),
        Host::Ipv6(ip) => Some(IpAddr::V6(*ip).to_canonical()),
    }
}

fn other(what: impl Into<String>, reason: impl Into<String>) -> InvalidTenant {
    InvalidTenant::Other { what: what.into(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(base_url: &str) -> NewTenant {
        NewTenant::new(TenantId::parse("acme").unwrap(), ToolType::parse("jira").unwrap(), base_url)
    }

    #[test]
    fn a_base_url_is_https_or_loopback_and_nothing_odd() {
        for (url, taken) in [
            ("https://desk.example", true),
            ("https://desk.example:8443/app/", true),
            ("https://10.0.0.5", true),
            ("http://127.0.0.1:9000", true),
            ("http://127.9.9.9", true),
            ("http://[::1]:80", true),
            ("http://[::ffff:127.0.0.1]", true),
            ("http://localhost:1", true),
            ("http://LOCALHOST", true),
            ("http://desk.example", false),
            ("http://localhost.evil.example", false),
            ("http://10.0.0.5", false),
            ("ftp://desk.example", false),
            ("file:///etc/passwd", false),
            ("desk.example", false),
            ("https://user@desk.example", false),
            ("https://:pw@desk.example", false),
            ("https://desk.example/#top", false),
            ("https://desk.example/?a=b", false),
            ("https://169.254.169.254", false),
            ("https://0xa9fea9fe", false),
            ("https://[fe80::1]", false),
            ("https://[febf::1]", false),
            ("https://[::ffff:169.254.169.254]", false),
            ("https://[64:ff9b::a9fe:a9fe]", false),
            ("https://100.100.100.200", false),
            ("https://[fd00:ec2::254]", false),
            ("https://", false),
            ("", false),
        ] {
            assert_eq!(tenant(url).check().is_ok(), taken, "{url}");
        }
    }

    #[test]
    fn events_are_read_as_they_are_typed() {
        use EnhanceOn::{Created, Updated};
        for (text, expected) in [
            ("created", Some(vec![Created])),
            ("created,updated", Some(vec![Created, Updated])),
            ("updated, created,", Some(vec![Created, Updated])),
            ("", Some(vec![])),
            ("resolved", None),
            ("created updated", None),
        ] {
            assert_eq!(EnhanceOn::list(text).ok().map(|events| events.into_iter().collect()), expected, "{text:?}");
        }
    }

    #[test]
    fn a_refusal_does_not_repeat_a_password() {
        let error = tenant("https://me:hunter2@desk.example").check().unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn origins_are_kept_without_path_and_default_port() {
        let check = |origin: &str| {
            let mut new = tenant("https://desk.example");
            new.allow_origins = vec![origin.to_owned()];
            new.check().ok().map(|tenant| tenant.allow_origins[0].clone())
        };
        for (given, kept) in [
            ("https://Login.Example", Some("https://login.example")),
            ("https://login.example:443/", Some("https://login.example")),
            ("https://login.example:8443", Some("https://login.example:8443")),
            ("https://login.example/token", None),
            ("http://login.example", None),
            ("https://169.254.169.254", None),
        ] {
            assert_eq!(check(given).as_deref(), kept, "{given}");
        }
    }

    #[test]
    fn each_limit_and_one_past_it() {
        let check = |change: &dyn Fn(&mut NewTenant)| {
            let mut new = tenant("https://desk.example");
            change(&mut new);
            new.check().is_ok()
        };
        let settings = |count: usize| (0..count).map(|n| (format!("s{n}"), String::new())).collect();
        let one = |name: &str, bytes: usize| BTreeMap::from([(name.to_owned(), "x".repeat(bytes))]);
        let origins = |count| vec!["https://a.example".to_owned(); count];
        assert!(check(&|new| new.settings = settings(SETTINGS_MAX)));
        assert!(!check(&|new| new.settings = settings(SETTINGS_MAX + 1)));
        assert!(check(&|new| new.settings = one(&"n".repeat(NAME_CHARS_MAX), SETTING_BYTES_MAX)));
        assert!(!check(&|new| new.settings = one("n", SETTING_BYTES_MAX + 1)));
        assert!(!check(&|new| new.settings = one(&"n".repeat(NAME_CHARS_MAX + 1), 1)));
        assert!(!check(&|new| new.settings = one("a b", 1)));
        let networks = |count: usize| (0..count).map(|n| format!("10.0.{n}.0/24")).collect();
        assert!(check(&|new| new.allow_from = networks(ALLOW_FROM_MAX)));
        assert!(!check(&|new| new.allow_from = networks(ALLOW_FROM_MAX + 1)));
        assert!(!check(&|new| new.allow_from = vec!["10.0.0.1/24".to_owned()]));
        assert!(check(&|new| new.allow_origins = origins(ALLOW_ORIGINS_MAX)));
        assert!(!check(&|new| new.allow_origins = origins(ALLOW_ORIGINS_MAX + 1)));
        assert!(check(&|new| new.replay_window_s = REPLAY_WINDOW_S_MAX));
        assert!(!check(&|new| new.replay_window_s = REPLAY_WINDOW_S_MAX + 1));
        assert!(!check(&|new| new.replay_window_s = 0));
        assert!(check(&|new| new.replay_ahead_s = 0) && check(&|new| new.replay_ahead_s = REPLAY_WINDOW_S_MAX));
        assert!(!check(&|new| new.replay_ahead_s = REPLAY_WINDOW_S_MAX + 1));
    }
}
