//! Turns single raw values into what the host works with, and collects what is out of range, with its place.

use std::{
    fmt::{Debug, Display},
    net::{Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{ConfigError, Fault, Place, layers::Places};
use crate::{networks::Networks, plugin::signature::TrustedKey};

const STATE_DIR: &str = "<state_dir>";
const SQLITE: &str = "sqlite:";
/// The longest time for which something can be kept, other than for ever: a hundred years.
const DAYS_MAX: i64 = 36_500;
/// The most MiB that a limit may be: a PiB.
pub(super) const MEBIBYTES_MAX: u64 = 1 << 30;
/// Linux's `sun_path` is 108 bytes with its closing zero.
const SOCKET_BYTES_MAX: usize = 107;

/// Each method returns a stand-in for a value at fault, so that the caller goes on and finds the next.
pub(super) struct Check<'a> {
    places: &'a Places,
    base: &'a Path,
    state_dir: PathBuf,
    faults: Vec<Fault>,
}

impl<'a> Check<'a> {
    /// Paths are relative to `base`; `faults` are those found before.
    pub(super) fn new(places: &'a Places, base: &'a Path, state_dir: &str, faults: Vec<Fault>) -> Self {
        let mut check = Self { places, base, state_dir: base.join(state_dir), faults };
        if state_dir.is_empty() {
            check.fault("state_dir", "must be a path, but is empty");
        } else if state_dir.starts_with('<') {
            check.fault("state_dir", &format!("must be a path without a placeholder, but is {state_dir:?}"));
        }
        check
    }

    pub(super) fn finish(self) -> Result<(), ConfigError> {
        if self.faults.is_empty() { Ok(()) } else { Err(ConfigError { faults: self.faults }) }
    }

    /// Adds a fault of `key`; `text` goes on after its name.
    pub(super) fn fault(&mut self, key: &str, text: &str) {
        let place = self.places.get(key).cloned().unwrap_or(Place::Defaults);
        self.faults.push(Fault { place, text: format!("{key} {text}") });
    }

    /// Adds a fault that lies between these keys, at the place of the first that is not left at its default.
    pub(super) fn fault_between(&mut self, keys: &[&str], text: &str) {
        let place = keys.iter().find_map(|key| self.places.get(*key)).cloned().unwrap_or(Place::Defaults);
        self.faults.push(Fault { place, text: text.to_owned() });
    }

    pub(super) fn integer<T>(&mut self, key: &str, value: i64, range: RangeInclusive<T>) -> T
    where
        T: TryFrom<i64> + PartialOrd + Copy + Display,
    {
        match T::try_from(value) {
            Ok(value) if range.contains(&value) => value,
            _ => {
                self.out_of_range(key, value, &range);
                *range.start()
            }
        }
    }

    pub(super) fn number(&mut self, key: &str, value: f64, range: RangeInclusive<f64>) -> f64 {
        if range.contains(&value) {
            return value;
        }
        self.out_of_range(key, value, &range);
        *range.start()
    }

    pub(super) fn millis(&mut self, key: &str, value: i64, range: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.integer(key, value, range))
    }

    pub(super) fn seconds(&mut self, key: &str, value: i64, range: RangeInclusive<u64>) -> Duration {
        Duration::from_secs(self.integer(key, value, range))
    }

    pub(super) fn hours(&mut self, key: &str, value: i64, range: RangeInclusive<u64>) -> Duration {
        Duration::from_secs(3_600 * self.integer(key, value, range))
    }

    /// Milliseconds of so many days; `None` for 0, which stands for ever.
    pub(super) fn days_ms(&mut self, key: &str, value: i64) -> Option<i64> {
        Some(self.integer(key, value, 0..=DAYS_MAX) * 24 * 3_600_000).filter(|ms| *ms > 0)
    }

    /// Bytes of so many MiB.
    pub(super) fn mebibytes(&mut self, key: &str, value: i64, range: RangeInclusive<u64>) -> u64 {
        self.integer(key, value, range) << 20
    }

    /// An address as the operating system takes it; names are not resolved.
    pub(super) fn address(&mut self, key: &str, value: &str) -> SocketAddr {
        value.parse().unwrap_or_else(|_| {
            self.fault(key, &format!("must be an IP address and a port such as 127.0.0.1:8080, but is {value:?}"));
            SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
        })
    }

    pub(super) fn one_of<T: Copy>(&mut self, key: &str, value: &str, allowed: &[(&str, T)]) -> T {
        if let Some((_, found)) = allowed.iter().find(|(name, _)| *name == value) {
            return *found;
        }
        let names: Vec<_> = allowed.iter().map(|(name, _)| format!("{name:?}")).collect();
        self.fault(key, &format!("must be one of {}, but is {value:?}", names.join(", ")));
        allowed[0].1
    }

    pub(super) fn state_dir(&self) -> PathBuf {
        self.state_dir.clone()
    }

    /// A path, relative to the configuration's folder; `<state_dir>` at its front stands for that folder.
    pub(super) fn path(&mut self, key: &str, value: &str) -> PathBuf {
        if value.is_empty() {
            self.fault(key, "must be a path, but is empty");
        }
        match value.strip_prefix(STATE_DIR) {
            Some("") => self.state_dir.clone(),
            Some(rest) if rest.starts_with('/') => self.state_dir.join(rest.trim_start_matches('/')),
            _ => {
                if value.starts_with('<') {
                    self.fault(key, &format!("may begin with {STATE_DIR}/ and no other placeholder, but is {value:?}"));
                }
                self.base.join(value)
            }
        }
    }

    pub(super) fn socket(&mut self, key: &str, value: &str) -> PathBuf {
        let path = self.path(key, value);
        let bytes = path.as_os_str().len();
        if bytes > SOCKET_BYTES_MAX {
            let shown = path.display();
            self.fault(key, &format!("must be a path of at most {SOCKET_BYTES_MAX} bytes, but {shown} has {bytes}"));
        }
        path
    }

    /// The file of a `sqlite:` address, which is the only kind of store there is.
    pub(super) fn sqlite(&mut self, key: &str, value: &str) -> PathBuf {
        match value.strip_prefix(SQLITE) {
            Some(path) if !path.is_empty() => self.path(key, path),
            _ => {
                self.fault(key, &format!("must be sqlite:<path>, but is {value:?}"));
                PathBuf::new()
            }
        }
    }

    /// Public keys as minisign prints them; a wrong one is named by its position, from 1.
    pub(super) fn minisign_keys(&mut self, key: &str, values: &[String]) -> Vec<TrustedKey> {
        let mut keys = Vec::new();
        for (position, value) in (1..).zip(values) {
            match TrustedKey::parse(value) {
                Ok(trusted) => keys.push(trusted),
                Err(fault) => self.fault(key, &format!("has a fault at number {position}, {value:?}: {fault}")),
            }
        }
        keys
    }

    /// Networks and addresses; a wrong one is named by its position, from 1.
    pub(super) fn networks(&mut self, key: &str, values: &[String]) -> Networks {
        let mut networks = Networks::default();
        for (position, value) in (1..).zip(values) {
            match Networks::parse(value) {
                Ok(network) => networks.add(network),
                Err(fault) => self.fault(key, &format!("has a fault at number {position}, {value:?}: {fault}")),
            }
        }
        networks
    }

    fn out_of_range<T: Display, V: Debug>(&mut self, key: &str, value: V, range: &RangeInclusive<T>) {
        self.fault(key, &format!("must be from {} to {}, but is {value:?}", range.start(), range.end()));
    }
}
