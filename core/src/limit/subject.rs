//! Who is counted, as a keyed hash.

use std::fmt;
use std::hash::Hasher;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU128;

use siphasher::sip128::{Hasher128, SipHasher24};

/// What a limit tells requests apart by. Kinds do not collide: a user who is called like somebody's key is another.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// A name is one user's only among those that the same issuer vouches for.
    User {
        issuer: &'a str,
        name: &'a str,
    },
    ApiKey(&'a [u8]),
    /// An IPv6 address counts as its /64, an IPv4-mapped one as what it maps.
    Address(IpAddr),
    /// The value of the header, claim or path variable that the limit names.
    Value(&'a [u8]),
    /// Everybody, for a limit on a whole service.
    Service,
}

/// The key of the hash, unguessable and constant within a process, so that clients can neither collide with somebody
/// else's count nor crowd one shard.
#[derive(Clone, Copy)]
pub struct Secret(SipHasher24);

/// SipHash-2-4 with 128 bits: two subjects among 2^20 share a key with a probability of 2^-89.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubjectKey(NonZeroU128);

impl Secret {
    pub fn new(key: [u8; 16]) -> Secret {
        Secret(SipHasher24::new_with_key(&key))
    }

    pub fn key(&self, subject: Subject<'_>) -> SubjectKey {
        if let Subject::Service = subject {
            return SubjectKey::SERVICE;
        }
        let mut hasher = self.0;
        subject.write_to(|bytes| hasher.write(bytes));
        SubjectKey(NonZeroU128::new(hasher.finish128().as_u128()).unwrap_or(NonZeroU128::MIN))
    }
}

impl Subject<'_> {
    /// What tells it from every other subject, the same on every platform.
    #[inline]
    pub(crate) fn write_to(self, mut write: impl FnMut(&[u8])) {
        match self {
            Subject::User { issuer, name } => {
                write(&[0]);
                write(&(issuer.len() as u64).to_le_bytes());
                write(issuer.as_bytes());
                write(name.as_bytes());
            }
            Subject::ApiKey(key) => {
                write(&[1]);
                write(key);
            }
            Subject::Address(address) => {
                write(&[2]);
                write(&network(address).octets());
            }
            Subject::Value(value) => {
                write(&[3]);
                write(value);
            }
            Subject::Service => write(&[4]),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl SubjectKey {
    /// For a limit on a whole service, which looks nobody up.
    pub const SERVICE: SubjectKey = SubjectKey(NonZeroU128::MIN);

    /// Shards and slots are chosen by different bits, or a shard's slots would fill unevenly.
    pub(crate) fn shard_bits(self) -> usize {
        (self.0.get() >> 64) as usize
    }

    pub(super) fn slot_bits(self) -> usize {
        self.0.get() as usize
    }

    #[cfg(test)]
    pub(super) fn test(value: u128) -> SubjectKey {
        SubjectKey(NonZeroU128::new(value).expect("not zero"))
    }
}

/// What an address is counted as: IPv4 as the mapped IPv6 address, IPv6 as the first of its /64, since every host may
/// choose the rest of it (RFC 7421).
pub(super) fn network(address: IpAddr) -> Ipv6Addr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(subject: Subject<'_>) -> SubjectKey {
        Secret::new(*b"0123456789abcdef").key(subject)
    }

    fn address(address: &str) -> SubjectKey {
        key(Subject::Address(address.parse().expect("an address")))
    }

    #[test]
    fn kinds_of_subjects_do_not_collide() {
        let user = |issuer, name| Subject::User { issuer, name };
        let others = [Subject::ApiKey(b"a"), Subject::Value(b"a")];
        let users = [user("", "a"), user("", "b"), user("a", "b"), user("ab", ""), user("", "ab")];
        let keys: Vec<_> = others.into_iter().chain(users).map(key).collect();
        for (i, a) in keys.iter().enumerate() {
            assert!(keys[i + 1..].iter().all(|b| a != b));
        }
        assert_ne!(key(Subject::ApiKey(b"a")), Secret::new(*b"another secret!!").key(Subject::ApiKey(b"a")));
    }

    #[test]
    fn addresses_count_by_host_or_by_64() {
        assert_eq!(address("2001:db8:1:2::1"), address("2001:db8:1:2:ffff::9"));
        assert_ne!(address("2001:db8:1:2::1"), address("2001:db8:1:3::1"));
        assert_eq!(address("192.0.2.1"), address("::ffff:192.0.2.1"));
        assert_ne!(address("192.0.2.1"), address("192.0.2.2"));
    }
}
