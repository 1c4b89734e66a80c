//! Who is at the other end of a client connection.

use std::net::{IpAddr, Ipv6Addr};

use http::HeaderValue;

/// One client connection, made once and used for all its requests.
#[derive(Clone, Debug)]
pub struct Peer {
    address: IpAddr,
    /// The address as `X-Forwarded-For` wants it, so that no request has to print it.
    text: HeaderValue,
    scheme: Scheme,
    lane: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

impl Peer {
    /// `address` is the socket's, or what a trusted load balancer said in a PROXY protocol header. `lane` names the
    /// data-path thread, below `Options::lanes`.
    pub fn new(address: IpAddr, scheme: Scheme, lane: u16) -> Peer {
        let address = address.to_canonical();
        let text = HeaderValue::try_from(address.to_string()).expect("an address is visible ASCII");
        Peer { address, text, scheme, lane }
    }

    pub fn address(&self) -> IpAddr {
        self.address
    }

    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    pub(crate) fn text(&self) -> &HeaderValue {
        &self.text
    }

    pub(crate) fn lane(&self) -> usize {
        usize::from(self.lane)
    }
}

impl Scheme {
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

impl crate::config::Cidr {
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.network, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix_len)).unwrap_or(0);
                address.to_bits() & mask == network.to_bits() & mask
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix_len)).unwrap_or(0);
                address.to_bits() & mask == network.to_bits() & mask
            }
            _ => false,
        }
    }
}

/// An address as `X-Forwarded-For` spells it: bare, in brackets, or with a port.
pub(crate) fn parse_forwarded(text: &str) -> Option<IpAddr> {
    let text = text.trim_matches([' ', '\t']);
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    if let Some(bracketed) = text.strip_prefix('[') {
        let (address, port) = bracketed.split_once(']')?;
        let port_is_valid =
            port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
        let address: Ipv6Addr = address.parse().ok()?;
        return port_is_valid.then_some(IpAddr::V6(address).to_canonical());
    }
    let address: std::net::SocketAddrV4 = text.parse().ok()?;
    Some(IpAddr::V4(*address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Cidr;

    #[test]
    fn forwarded_addresses_parse_in_every_spelling_and_no_other() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(parse_forwarded(text), expected.map(|ip| ip.parse().unwrap()), "{text}");
        };
        check("192.0.2.1", Some("192.0.2.1"));
        check(" 192.0.2.1:4711\t", Some("192.0.2.1"));
        check("2001:db8::1", Some("2001:db8::1"));
        check("[2001:db8::1]", Some("2001:db8::1"));
        check("[2001:db8::1]:443", Some("2001:db8::1"));
        check("::ffff:192.0.2.1", Some("192.0.2.1"));
        for wrong in [
            "",
            "unknown",
            "_hidden",
            "192.0.2",
            "192.0.2.1:",
            "192.0.2.1:70000",
            "[::1",
            "[::1]x",
            "[::1]:x",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn a_cidr_contains_its_range_and_nothing_else() {
        let check = |network: &str, prefix_len, address: &str, expected| {
            let cidr = Cidr { network: network.parse().unwrap(), prefix_len };
            assert_eq!(
                cidr.contains(address.parse().unwrap()),
                expected,
                "{address} in {network}/{prefix_len}"
            );
        };
        check("10.0.0.0", 8, "10.255.255.255", true);
        check("10.0.0.0", 8, "11.0.0.0", false);
        check("10.0.0.0", 8, "::ffff:10.1.2.3", true);
        check("0.0.0.0", 0, "255.255.255.255", true);
        check("0.0.0.0", 0, "::1", false);
        check("192.0.2.1", 32, "192.0.2.1", true);
        check("192.0.2.1", 32, "192.0.2.0", false);
        check("2001:db8::", 32, "2001:db8:ffff::1", true);
        check("2001:db8::", 32, "2001:db9::", false);
        check("::", 0, "2001:db8::1", true);
    }
}
