//! Ranges of addresses.

use std::net::IpAddr;
use std::str::FromStr;

use super::Cidr;

/// Why a text is not a range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    #[error("`{0}` is not an address range; write `10.0.0.0/8`, `2001:db8::/32` or a single address")]
    Address(String),
    #[error("the prefix length of `{text}` is a number from 0 to {max}")]
    PrefixLength { text: String, max: u8 },
    #[error("`{text}` has bits set beyond its prefix; write `{network}/{prefix_len}`")]
    HostBits { text: String, network: IpAddr, prefix_len: u8 },
}

impl FromStr for Cidr {
    type Err = CidrError;

    /// RFC 4632 notation; an address alone is a range of one.
    fn from_str(text: &str) -> Result<Cidr, CidrError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| CidrError::Address(text.into()))?;
        let max = if address.is_ipv4() { 32 } else { 128 };
        let wrong_length = || CidrError::PrefixLength { text: text.into(), max };
        let prefix_len = match prefix {
            None => max,
            // `parse` alone would take a sign.
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().map_err(|_| wrong_length())?
            }
            Some(_) => return Err(wrong_length()),
        };
        let network = masked(address, prefix_len).ok_or_else(wrong_length)?;
        if network != address {
            return Err(CidrError::HostBits { text: text.into(), network, prefix_len });
        }
        Ok(Cidr { network, prefix_len })
    }
}

/// `address` with the bits beyond `prefix_len` cleared; `None` if it has fewer.
fn masked(address: IpAddr, prefix_len: u8) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => {
            let host_bits = 32u32.checked_sub(prefix_len.into())?;
            let mask = u32::MAX.checked_shl(host_bits).unwrap_or(0);
            Some(IpAddr::from((address.to_bits() & mask).to_be_bytes()))
        }
        IpAddr::V6(address) => {
            let host_bits = 128u32.checked_sub(prefix_len.into())?;
            let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
            Some(IpAddr::from((address.to_bits() & mask).to_be_bytes()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_a_network_and_a_length() {
        let check = |text: &str, network: &str, prefix_len| {
            let expected = Cidr { network: network.parse().unwrap(), prefix_len };
            assert_eq!(text.parse(), Ok(expected), "{text}");
        };
        check("10.0.0.0/8", "10.0.0.0", 8);
        check("10.1.2.3", "10.1.2.3", 32);
        check("0.0.0.0/0", "0.0.0.0", 0);
        check("::/0", "::", 0);
        check("2001:db8::/32", "2001:db8::", 32);
        check("::1/128", "::1", 128);
    }

    #[test]
    fn what_is_not_a_range_says_what_one_is() {
        let check = |text: &str, expected: &str| {
            assert_eq!(text.parse::<Cidr>().unwrap_err().to_string(), expected);
        };
        check(
            "10.0.0/8",
            "`10.0.0/8` is not an address range; write `10.0.0.0/8`, `2001:db8::/32` or a single address",
        );
        check("10.0.0.0/33", "the prefix length of `10.0.0.0/33` is a number from 0 to 32");
        check("10.0.0.0/+8", "the prefix length of `10.0.0.0/+8` is a number from 0 to 32");
        check("10.0.0.0/", "the prefix length of `10.0.0.0/` is a number from 0 to 32");
        check("::/129", "the prefix length of `::/129` is a number from 0 to 128");
        check("10.0.0.1/8", "`10.0.0.1/8` has bits set beyond its prefix; write `10.0.0.0/8`");
    }
}
