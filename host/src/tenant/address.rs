//! Addresses that no request of a plugin may reach, however they are written.
//!
//! A cloud gives a machine its credentials at an address that only that machine can reach. No tenant's tool is there.
//! Private addresses are allowed, because on-premises tools have them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IPv4 addresses of clouds' metadata services.
const METADATA_V4: [Ipv4Addr; 4] = [
    // Link-local, used by nearly all clouds.
    Ipv4Addr::new(169, 254, 169, 254),
    // Alibaba.
    Ipv4Addr::new(100, 100, 100, 200),
    // Oracle, Classic.
    Ipv4Addr::new(192, 0, 0, 192),
    // Azure's wire server.
    Ipv4Addr::new(168, 63, 129, 16),
];
/// IPv6 addresses of clouds' metadata services, as prefixes with their lengths.
const METADATA_V6: [(Ipv6Addr, u32); 6] = [
    // Amazon: metadata is ::254, the credentials of a pod are ::23.
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), 32),
    // Google.
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128),
    // Oracle.
    (Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe), 128),
    // Scaleway.
    (Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42), 128),
    // Akamai.
    (Ipv6Addr::new(0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 1), 128),
    // Alibaba.
    (Ipv6Addr::new(0xfd00, 0x100, 0, 0, 0, 0, 0x100, 0x200), 128),
];

/// Whether requests must never go to this address: it is link-local, a cloud's metadata service, or an IPv6 address
/// that a translator or tunnel maps to one of these.
pub(crate) fn is_never_called(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_never_called_v4(ip),
        IpAddr::V6(ip) => {
            ip.is_unicast_link_local()
                || METADATA_V6.iter().any(|(prefix, length)| is_in(ip, *prefix, *length))
                // Checked for any prefix, because an operator's NAT64 may have its own.
                || METADATA_V4.contains(&v4_after(ip.to_bits(), 96))
                || held_v4(ip).any(is_never_called_v4)
        }
    }
}

fn is_never_called_v4(ip: Ipv4Addr) -> bool {
    ip.is_link_local() || METADATA_V4.contains(&ip)
}

fn is_in(ip: Ipv6Addr, prefix: Ipv6Addr, length: u32) -> bool {
    (ip.to_bits() ^ prefix.to_bits()) >> (128 - length) == 0
}

/// How an IPv6 address contains an IPv4 address. `At` means after this many bits.
#[derive(Clone, Copy)]
enum Holds {
    At(u32),
    /// After this many bits, without the octet that RFC 6052 keeps zero in the middle of the address.
    Translated(u32),
    /// In the last 32 bits, each of them inverted.
    Inverted,
}

const HOLDERS: [(Ipv6Addr, u32, Holds); 10] = [
    // IPv4-compatible and IPv4-mapped (RFC 4291), IPv4-translated (RFC 2765).
    (Ipv6Addr::UNSPECIFIED, 96, Holds::At(96)),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, Holds::At(96)),
    (Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96, Holds::At(96)),
    // NAT64: the well-known prefix (RFC 6052), and the local-use prefix (RFC 8215), which operators divide as they
    // like.
    (NAT64, 96, Holds::At(96)),
    (NAT64_LOCAL, 48, Holds::Translated(48)),
    (NAT64_LOCAL, 48, Holds::Translated(56)),
    (NAT64_LOCAL, 48, Holds::Translated(64)),
    (NAT64_LOCAL, 48, Holds::At(96)),
    // 6to4 (RFC 3056) and Teredo (RFC 4380).
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, Holds::At(16)),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, Holds::Inverted),
];
const NAT64: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0);
const NAT64_LOCAL: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0);

/// The IPv4 addresses that an IPv6 address may contain, by its prefix.
fn held_v4(ip: Ipv6Addr) -> impl Iterator<Item = Ipv4Addr> {
    let bits = ip.to_bits();
    let holders = HOLDERS.into_iter().filter(move |(prefix, length, _)| is_in(ip, *prefix, *length));
    holders.map(move |(_, _, holds)| match holds {
        Holds::At(count) => v4_after(bits, count),
        Holds::Translated(count) => v4_after(bits >> 64 << 64 | bits << 72 >> 64, count),
        Holds::Inverted => v4_after(!bits, 96),
    })
}

/// The 32 bits after the first `count` bits.
fn v4_after(bits: u128, count: u32) -> Ipv4Addr {
    let [.., a, b, c, d] = (bits << count >> 96).to_be_bytes();
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_never_called_in_any_disguise_and_private_addresses_are() {
        for (address, never) in [
            ("169.254.169.254", true),
            ("169.254.0.0", true),
            ("169.254.255.255", true),
            ("169.253.255.255", false),
            ("169.255.0.0", false),
            ("100.100.100.200", true),
            ("100.100.100.201", false),
            ("192.0.0.192", true),
            ("192.0.0.191", false),
            ("168.63.129.16", true),
            ("168.63.129.17", false),
            ("127.0.0.1", false),
            ("10.0.0.5", false),
            ("172.16.0.1", false),
            ("192.168.1.1", false),
            ("100.64.0.1", false),
            ("203.0.113.7", false),
            // Native IPv6.
            ("fe80::1", true),
            ("febf:ffff::1", true),
            ("fe7f::1", false),
            ("fec0::1", false),
            ("fd00:ec2::254", true),
            ("fd00:ec2::23", true),
            ("fd00:ec1::254", false),
            ("fd00:ec3::254", false),
            ("fd20:ce::254", true),
            ("fd20:ce::253", false),
            ("fd00:c1::a9fe:a9fe", true),
            ("fd00:42::42", true),
            ("fd00:a9fe:a9fe::1", true),
            ("fd00:100::100:200", true),
            ("fd12:3456:789a::1", false),
            ("2001:db8::1", false),
            ("::1", false),
            ("::", false),
            // IPv4 in IPv6: compatible, mapped, translated.
            ("::169.254.169.254", true),
            ("::100.100.100.200", true),
            ("::10.0.0.5", false),
            ("::ffff:169.254.169.254", true),
            ("::ffff:192.0.0.192", true),
            ("::ffff:10.0.0.5", false),
            ("::ffff:0:169.254.169.254", true),
            ("::ffff:0:10.0.0.5", false),
            // NAT64.
            ("64:ff9b::169.254.169.254", true),
            ("64:ff9b::168.63.129.16", true),
            ("64:ff9b::10.0.0.5", false),
            ("64:ff9b:1::169.254.169.254", true),
            ("64:ff9b:1:2:3:4:169.254.169.254", true),
            ("64:ff9b:1:a9fe:a9:fe00::", true),
            ("64:ff9b:1:a9:fe:a9fe::", true),
            ("64:ff9b:1:0:a9:fea9:fe00:0", true),
            ("64:ff9b:1:a00:0:500::", false),
            ("64:ff9b:2::169.254.1.1", false),
            ("64:ff9b:1::169.254.1.1", true),
            // 6to4, Teredo.
            ("2002:a9fe:a9fe::1", true),
            ("2002:6464:64c8::", true),
            ("2002:a00:5::1", false),
            ("2001:0:cb00:7107:0:0:5601:5601", true),
            ("2001:0:a9fe:a9fe:0:0:f5ff:fffa", false),
            // An unknown prefix.
            ("2001:db8::169.254.169.254", true),
            ("2001:db8::5efe:100.100.100.200", true),
            ("2001:db8::169.254.169.253", false),
        ] {
            assert_eq!(is_never_called(address.parse().unwrap()), never, "{address}");
        }
    }
}
