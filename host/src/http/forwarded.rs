//! The sender of a request: the other end of its connection or, if that is a trusted proxy, the address that the
//! proxies report.

use std::net::{IpAddr, SocketAddr};

use hyper::HeaderMap;

use crate::networks::Networks;

/// The header in which each proxy adds the address that its request came from.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The right-most address that is not a trusted proxy's. Only trusted proxies are believed, so addresses further left
/// are ignored. For a request that a proxy made itself, it is the proxy's own address. `None` if a trusted proxy
/// reports something that is not an address.
pub(super) fn source(peer: IpAddr, headers: &HeaderMap, trusted: &Networks) -> Option<IpAddr> {
    let mut source = peer.to_canonical();
    let values = headers.get_all(FORWARDED_FOR).iter().rev();
    let mut hops = values.flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b','));
    while trusted.contains(source) {
        let Some(hop) = hops.next() else { break };
        source = address(hop)?.to_canonical();
    }
    Some(source)
}

/// Parses an address, with or without the port that some proxies append.
fn address(hop: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(hop).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[track_caller]
    fn check(peer: &str, headers: &[&str], expected: Option<&str>) {
        let trusted = Networks::parse_all(&["10.0.0.0/8", "2001:db8::1"]).unwrap();
        let mut map = HeaderMap::new();
        for value in headers {
            map.append(FORWARDED_FOR, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let found = source(peer.parse().unwrap(), &map, &trusted);
        assert_eq!(found, expected.map(|address| address.parse().unwrap()), "{peer} {headers:?}");
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        check("203.0.113.7", &[], Some("203.0.113.7"));
        check("203.0.113.7", &["198.51.100.1"], Some("203.0.113.7"));
        check("::ffff:203.0.113.7", &["198.51.100.1"], Some("203.0.113.7"));
        check("203.0.113.7", &["garbage"], Some("203.0.113.7"));
        check("10.0.0.1", &["198.51.100.1"], Some("198.51.100.1"));
        check("::ffff:10.0.0.1", &["198.51.100.1"], Some("198.51.100.1"));
        check("2001:db8::1", &["198.51.100.1"], Some("198.51.100.1"));
        check("2001:db8::2", &["198.51.100.1"], Some("2001:db8::2"));
    }

    #[test]
    fn the_right_most_address_that_is_no_proxy_counts() {
        check("10.0.0.1", &["198.51.100.1, 203.0.113.7"], Some("203.0.113.7"));
        check("10.0.0.1", &["198.51.100.1, 203.0.113.7, 10.0.0.2,10.0.0.3"], Some("203.0.113.7"));
        check("10.0.0.1", &["198.51.100.1", "203.0.113.7"], Some("203.0.113.7"));
        check("10.0.0.1", &["198.51.100.1, 203.0.113.7", "10.0.0.2"], Some("203.0.113.7"));
        check("10.0.0.1", &["garbage, 203.0.113.7"], Some("203.0.113.7"));
        check("10.0.0.1", &["::ffff:203.0.113.7"], Some("203.0.113.7"));
        check("10.0.0.1", &["203.0.113.7:4711"], Some("203.0.113.7"));
        check("10.0.0.1", &["2001:db8::7"], Some("2001:db8::7"));
        check("10.0.0.1", &["[2001:db8::7]"], Some("2001:db8::7"));
        check("10.0.0.1", &["[2001:db8::7]:4711"], Some("2001:db8::7"));
    }

    #[test]
    fn a_proxy_that_names_nobody_is_the_sender_and_one_that_says_nonsense_makes_nobody_known() {
        check("10.0.0.1", &[], Some("10.0.0.1"));
        check("10.0.0.1", &["10.0.0.2"], Some("10.0.0.2"));
        check("10.0.0.1", &["10.0.0.3, 10.0.0.2"], Some("10.0.0.3"));
        for nonsense in
            ["", "unknown", "198.51.100.1, ", "198.51.100.1, _hidden", "198.51.100.1 10.0.0.2", "1.2.3.4/32"]
        {
            check("10.0.0.1", &[nonsense], None);
        }
        check("10.0.0.1", &["198.51.100.1, unknown, 10.0.0.2"], None);
        check("10.0.0.1", &["198.51.100.1", "\u{e9}"], None);
    }
}
