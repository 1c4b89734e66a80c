//! Redis Cluster's slots: which one a key is in, which node has which, and where an answer redirects to.

use tollgate_core::store::{Key, Value};

const SLOTS: usize = 16_384;
/// Masters of a cluster; Redis itself advises against more than 1,000.
const NODES_MAX: usize = 1_000;

/// Host and port.
pub(super) type Address = (String, u16);

/// Which master has each slot.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Slots {
    nodes: Vec<Address>,
    /// Into `nodes`, and beyond it where nobody has the slot.
    owners: Box<[u16]>,
}

/// What a node says of a call that it did not run.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Redirect {
    /// The slot is another's from now on.
    Moved(Address),
    /// The slot is moving, and this key is there already.
    Ask(Address),
}

impl Slots {
    /// Reads the answer to CLUSTER SLOTS: first and last slot, the master, then replicas. A node that does not know its
    /// own host is at the one that was asked.
    pub(super) fn read(value: &Value, asked: &str) -> Option<Slots> {
        let Value::Array(ranges) = value else { return None };
        let mut slots = Slots { nodes: Vec::new(), owners: vec![u16::MAX; SLOTS].into() };
        for range in ranges {
            let Value::Array(range) = range else { return None };
            let [Value::Integer(first), Value::Integer(last), Value::Array(master), ..] = range.as_slice()
            else {
                return None;
            };
            let [host, Value::Integer(port), ..] = master.as_slice() else { return None };
            let host = match host {
                Value::Text(host) if !host.is_empty() => std::str::from_utf8(host).ok()?,
                _ => asked,
            };
            let node = slots.node((host.to_owned(), u16::try_from(*port).ok()?))?;
            let (first, last) = (usize::try_from(*first).ok()?, usize::try_from(*last).ok()?);
            slots.owners.get_mut(first..=last).filter(|range| !range.is_empty())?.fill(node);
        }
        (!slots.nodes.is_empty()).then_some(slots)
    }

    pub(super) fn owner(&self, key: &Key) -> Option<&Address> {
        self.nodes.get(usize::from(self.owners[slot(key)]))
    }

    pub(super) fn nodes(&self) -> &[Address] {
        &self.nodes
    }

    fn node(&mut self, address: Address) -> Option<u16> {
        let known = self.nodes.iter().position(|node| *node == address);
        let index = known.unwrap_or_else(|| {
            self.nodes.push(address);
            self.nodes.len() - 1
        });
        u16::try_from(index).ok().filter(|_| self.nodes.len() <= NODES_MAX)
    }
}

impl Redirect {
    /// `MOVED 3999 127.0.0.1:6381`; without a host it is that of the node which says so.
    pub(super) fn read(value: &Value, asked: &str) -> Option<Redirect> {
        let Value::Error(message) = value else { return None };
        let mut words = message.split(' ');
        let (kind, _slot, address) = (words.next()?, words.next()?, words.next()?);
        let (host, port) = address.rsplit_once(':')?;
        let host = if host.is_empty() { asked } else { host };
        let address = (host.to_owned(), port.parse().ok()?);
        match kind {
            "MOVED" => Some(Redirect::Moved(address)),
            "ASK" => Some(Redirect::Ask(address)),
            _ => None,
        }
    }
}

/// The hash tag's: what is between the braces that every key of the gateway has.
fn slot(key: &Key) -> usize {
    let key = key.as_str();
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    usize::from(crc16(tag.filter(|tag| !tag.is_empty()).unwrap_or(key).as_bytes())) % SLOTS
}

/// CRC-16/XMODEM, as the Redis Cluster specification has it.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| match crc & 0x8000 {
            0 => crc << 1,
            _ => crc << 1 ^ 0x1021,
        })
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tollgate_core::config::Algorithm;
    use tollgate_core::store::{Part, Rule};

    use super::*;

    fn key(subject: &str) -> Key {
        let rule = Rule::new(Algorithm::TokenBucket, 10, Duration::from_secs(1), 10).unwrap();
        Key::new(Part::Plain("t"), Part::Plain(subject), "l", &rule)
    }

    fn node(host: &str, port: i64) -> Value {
        Value::Array(vec![Value::Text(host.to_owned().into()), Value::Integer(port), Value::Nil])
    }

    fn range(first: i64, last: i64, master: Value) -> Value {
        Value::Array(vec![Value::Integer(first), Value::Integer(last), master, node("replica", 1)])
    }

    #[test]
    fn a_slot_is_the_checksum_of_the_hash_tag() {
        // The check value of the specification.
        assert_eq!(crc16(b"123456789"), 0x31c3);
        // What a Redis answers to `CLUSTER KEYSLOT tg:{t:a}:l:bucket-100000-1`.
        assert_eq!(slot(&key("a")), 4_625);
    }

    #[test]
    fn every_slot_has_the_master_that_the_cluster_says() {
        let a = slot(&key("a")) as i64;
        let value = Value::Array(vec![range(0, a - 1, node("one", 1)), range(a, 16_383, node("", 2))]);
        let slots = Slots::read(&value, "asked").unwrap();
        assert_eq!(slots.nodes(), [("one".to_owned(), 1), ("asked".to_owned(), 2)]);
        assert_eq!(slots.owner(&key("a")), Some(&("asked".to_owned(), 2)));
        let value = Value::Array(vec![range(0, a - 1, node("one", 1))]);
        assert_eq!(Slots::read(&value, "asked").unwrap().owner(&key("a")), None);
    }

    #[test]
    fn what_is_no_map_of_slots_is_none() {
        let check = |value: Value| assert_eq!(Slots::read(&value, "asked"), None, "{value:?}");
        check(Value::Nil);
        check(Value::Array(Vec::new()));
        check(Value::Array(vec![range(0, 16_384, node("one", 1))]));
        check(Value::Array(vec![range(1, 0, node("one", 1))]));
        check(Value::Array(vec![range(-1, 5, node("one", 1))]));
        check(Value::Array(vec![range(0, 5, node("one", 65_536))]));
        check(Value::Array(vec![range(0, 5, Value::Nil)]));
    }

    #[test]
    fn a_redirect_names_a_node() {
        let check = |message: &str, expected: Option<Redirect>| {
            assert_eq!(Redirect::read(&Value::Error(message.into()), "asked"), expected, "{message}");
        };
        check("MOVED 3999 127.0.0.1:6381", Some(Redirect::Moved(("127.0.0.1".into(), 6381))));
        check("ASK 3999 :6381", Some(Redirect::Ask(("asked".into(), 6381))));
        check("MOVED 3999 ::1:6381", Some(Redirect::Moved(("::1".into(), 6381))));
        check("MOVED 3999", None);
        check("MOVED 3999 a:b", None);
        check("ERR 3999 a:1", None);
    }
}
