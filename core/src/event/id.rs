//! UUIDv7 (RFC 9562 §5.7) and the W3C trace context's identifiers.

use std::fmt;

use crate::Now;
use crate::seed::Seed;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Names an event and its request: a UUIDv7, so that identifiers sort by time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId([u8; 16]);

impl EventId {
    pub(crate) fn new(now: Now, seed: &mut Seed) -> EventId {
        let millis = u128::from(now.wall_us / 1_000) & 0xffff_ffff_ffff;
        let (a, b) = (seed.draw(), seed.draw());
        let random = (u128::from(a & 0x0fff) << 64) | u128::from(b & 0x3fff_ffff_ffff_ffff);
        let value = (millis << 80) | (0x7 << 76) | (0b10 << 62) | random;
        EventId(value.to_be_bytes())
    }

    /// The 36 characters of RFC 9562 §4.
    pub fn text(self) -> [u8; 36] {
        let mut text = [b'-'; 36];
        let mut at = 0;
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                at += 1;
            }
            text[at] = HEX[usize::from(byte >> 4)];
            text[at + 1] = HEX[usize::from(byte & 0xf)];
            at += 2;
        }
        text
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).expect("hexadecimal digits are UTF-8"))
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Writes a fresh `traceparent` (W3C Trace Context §3.2), not sampled: nobody upstream of here asked for a trace.
pub(crate) fn traceparent(id: EventId, seed: &mut Seed) -> [u8; 55] {
    let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
    for (index, byte) in id.0.iter().enumerate() {
        text[3 + 2 * index] = HEX[usize::from(byte >> 4)];
        text[4 + 2 * index] = HEX[usize::from(byte & 0xf)];
    }
    // Zero is the one span identifier that is not allowed.
    let span = seed.draw() | 1;
    for (index, byte) in span.to_be_bytes().iter().enumerate() {
        text[36 + 2 * index] = HEX[usize::from(byte >> 4)];
        text[37 + 2 * index] = HEX[usize::from(byte & 0xf)];
    }
    text
}

/// Whether a `traceparent` is one that may be passed on (W3C Trace Context §3.2.2).
pub(crate) fn is_traceparent(value: &[u8]) -> bool {
    let hex = |range: std::ops::Range<usize>| {
        value[range].iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let zero = |range: std::ops::Range<usize>| value[range].iter().all(|byte| *byte == b'0');
    if value.len() < 55 || !(hex(0..2) && hex(3..35) && hex(36..52) && hex(53..55)) {
        return false;
    }
    let dashes = [2, 35, 52].iter().all(|at| value[*at] == b'-');
    let version_allows = match &value[..2] {
        b"ff" => false,
        b"00" => value.len() == 55,
        _ => value.len() == 55 || value[55] == b'-',
    };
    dashes && version_allows && !zero(3..35) && !zero(36..52)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_uuid_of_version_7() {
        let now = Now { wall_us: 0x0192_3456_789a * 1_000 + 999, mono_us: 0 };
        let id = EventId::new(now, &mut Seed::new(1)).to_string();
        assert_eq!(id.len(), 36);
        assert_eq!(&id[..15], "01923456-789a-7");
        assert!(matches!(id.as_bytes()[19], b'8' | b'9' | b'a' | b'b'), "{id}");
    }

    #[test]
    fn ids_sort_by_time() {
        let mut seed = Seed::new(2);
        let ids: Vec<_> =
            (0..100).map(|ms| EventId::new(Now { wall_us: ms * 1_000, mono_us: 0 }, &mut seed)).collect();
        assert!(ids.is_sorted());
    }

    #[test]
    fn a_minted_traceparent_is_valid() {
        let mut seed = Seed::new(3);
        let id = EventId::new(Now::default(), &mut seed);
        assert!(is_traceparent(&traceparent(id, &mut seed)));
    }

    #[test]
    fn only_valid_traceparents_pass() {
        let valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert!(is_traceparent(valid.as_bytes()));
        assert!(is_traceparent(format!("cc{}-later", &valid[2..]).as_bytes()));
        for wrong in [
            String::new(),
            valid[..54].to_owned(),
            format!("{valid}-more"),
            valid.to_uppercase(),
            format!("ff{}", &valid[2..]),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01".to_owned(),
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01".to_owned(),
            valid.replace('-', "_"),
        ] {
            assert!(!is_traceparent(wrong.as_bytes()), "{wrong}");
        }
    }
}
