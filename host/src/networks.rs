//! Lists of networks in an operator's settings: who may send a tenant's webhooks, and which proxies are trusted.

use std::{fmt, net::IpAddr, slice};

use ipnet::{IpNet, Ipv4Net};

/// Number of bits before an IPv4 address that is written as IPv6 (`::ffff:0:0/96`).
const MAPPED_BITS: u8 = 96;

/// A set of networks. An IPv4 address written as IPv6 counts as IPv4, in the list and in look-ups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

/// Why a text is not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNetwork {
    /// It is not an address or a network.
    #[error("it is no address such as 203.0.113.7 and no network such as 203.0.113.0/24 or 2001:db8::/32")]
    Syntax,
    /// The address has bits beyond the prefix, so one of the two is wrong.
    #[error("it has bits behind its prefix; the network is {0}, the address alone {1}")]
    Host(IpNet, IpAddr),
}

impl Networks {
    /// Parses a network, or a single address, which is a network of its own.
    pub fn parse(text: &str) -> Result<IpNet, InvalidNetwork> {
        let network = match text.parse::<IpNet>() {
            Ok(network) => canonical(network),
            Err(_) => IpNet::from(text.parse::<IpAddr>().map_err(|_| InvalidNetwork::Syntax)?.to_canonical()),
        };
        match network.trunc() {
            truncated if truncated == network => Ok(network),
            truncated => Err(InvalidNetwork::Host(truncated, network.addr())),
        }
    }

    /// Parses a list; the error comes with the wrong text.
    pub fn parse_all<T: AsRef<str>>(texts: &[T]) -> Result<Self, (&str, InvalidNetwork)> {
        let parsed = texts.iter().map(AsRef::as_ref).map(|text| Self::parse(text).map_err(|fault| (text, fault)));
        parsed.collect()
    }

    /// Whether an address is in one of the networks.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whether there are no networks.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of networks.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds a network, unless it is there.
    pub fn add(&mut self, network: IpNet) {
        if !self.0.contains(&network) {
            self.0.push(network);
        }
    }

    /// Removes a network. Returns false if it was not there.
    pub fn remove(&mut self, network: IpNet) -> bool {
        let before = self.0.len();
        self.0.retain(|known| *known != network);
        self.0.len() < before
    }

    /// The networks as texts.
    pub fn texts(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }
}

impl FromIterator<IpNet> for Networks {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Self {
        let mut all = Self::default();
        networks.into_iter().for_each(|network| all.add(network));
        all
    }
}

impl<'a> IntoIterator for &'a Networks {
    type Item = &'a IpNet;
    type IntoIter = slice::Iter<'a, IpNet>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// The networks separated by commas.
impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.texts().join(", "))
    }
}

fn canonical(network: IpNet) -> IpNet {
    let (IpAddr::V4(address), Some(prefix)) =
        (network.addr().to_canonical(), network.prefix_len().checked_sub(MAPPED_BITS))
    else {
        return network;
    };
    match network {
        IpNet::V4(_) => network,
        IpNet::V6(_) => Ipv4Net::new(address, prefix).map_or(network, IpNet::V4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_and_written_in_one_form() {
        for (text, expected) in [
            ("203.0.113.0/24", Ok("203.0.113.0/24")),
            ("203.0.113.7", Ok("203.0.113.7/32")),
            ("203.0.113.7/32", Ok("203.0.113.7/32")),
            ("0.0.0.0/0", Ok("0.0.0.0/0")),
            ("2001:DB8::/32", Ok("2001:db8::/32")),
            ("2001:db8::1", Ok("2001:db8::1/128")),
            ("::ffff:203.0.113.7", Ok("203.0.113.7/32")),
            ("::ffff:203.0.113.0/120", Ok("203.0.113.0/24")),
            ("::/0", Ok("::/0")),
            ("203.0.113.7/24", Err("203.0.113.0/24")),
            ("::ffff:203.0.113.7/120", Err("203.0.113.0/24")),
            ("2001:db8::1/32", Err("2001:db8::/32")),
            ("203.0.113.0/33", Err("no address")),
            ("203.0.113/24", Err("no address")),
            ("203.0.113.7:80", Err("no address")),
            ("desk.example", Err("no address")),
            ("", Err("no address")),
        ] {
            let found = Networks::parse(text);
            match expected {
                Ok(expected) => assert_eq!(found.unwrap().to_string(), expected, "{text}"),
                Err(words) => assert!(found.clone().unwrap_err().to_string().contains(words), "{text}: {found:?}"),
            }
        }
    }

    #[test]
    fn an_address_is_in_a_network_whatever_it_wears() {
        let networks = Networks::parse_all(&["203.0.113.0/24", "2001:db8::/32", "::ffff:198.51.100.7"]).unwrap();
        for (address, expected) in [
            ("203.0.113.0", true),
            ("203.0.113.255", true),
            ("203.0.114.0", false),
            ("203.0.112.255", false),
            ("::ffff:203.0.113.9", true),
            ("::203.0.113.9", false),
            ("198.51.100.7", true),
            ("198.51.100.8", false),
            ("2001:db8:ffff::1", true),
            ("2001:db9::1", false),
        ] {
            assert_eq!(networks.contains(address.parse().unwrap()), expected, "{address}");
        }
        assert!(!Networks::default().contains("203.0.113.7".parse().unwrap()));
        let all_v6 = Networks::parse_all(&["::/0"]).unwrap();
        assert!(!all_v6.contains("::ffff:203.0.113.7".parse().unwrap()), "IPv4 is not IPv6");
    }
}
