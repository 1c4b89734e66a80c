//! Events as CloudEvents 1.0 in the JSON format, written without an intermediate value: this runs once a request.
//!
//! The `type` ends in a version, which changes when a field changes meaning or goes away.

use std::io::Write;
use std::net::IpAddr;

use super::Event;
use crate::timestamp;

/// Bytes that stand for themselves in a JSON string, and are characters of their own.
const IS_LITERAL: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0x20;
    while byte < 0x7f {
        table[byte] = byte != b'"' as usize && byte != b'\\' as usize;
        byte += 1;
    }
    table
};

/// `00` to `99`.
const PAIRS: [[u8; 2]; 100] = {
    let mut table = [[b'0'; 2]; 100];
    let mut value = 0;
    while value < 100 {
        table[value] = [b'0' + (value / 10) as u8, b'0' + (value % 10) as u8];
        value += 1;
    }
    table
};

impl Event {
    /// Appends the event as one JSON object without a line end.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let source = self.gateway.source();
        out.extend_from_slice(br#"{"specversion":"1.0","id":""#);
        out.extend_from_slice(&self.id().text());
        out.extend_from_slice(br#"","source":"tollgate://"#);
        escape(source.node.as_bytes(), out);
        out.push(b'/');
        number(self.lane.into(), out);
        out.extend_from_slice(br#"","type":"dev.tollgate.api.v1","time":""#);
        timestamp::write(self.started_us(), out);
        out.extend_from_slice(br#"","datacontenttype":"application/json","bootepoch":""#);
        number(source.boot_epoch, out);
        out.extend_from_slice(br#"","sequence":""#);
        number(self.sequence, out);
        out.extend_from_slice(br#"","data":{"event_type":"api_request","service":"#);
        string_or_null(self.service().map(|service| service.name().as_bytes()), out);
        out.extend_from_slice(br#","user_id":"#);
        string_or_null(self.user().map(str::as_bytes), out);
        out.extend_from_slice(br#","tier":"#);
        string_or_null(self.tier().map(str::as_bytes), out);
        out.extend_from_slice(br#","path":"#);
        string(self.path().as_bytes(), out);
        out.extend_from_slice(br#","method":"#);
        plain(self.method().as_str(), out);
        out.extend_from_slice(br#","status_code":"#);
        number(self.status().into(), out);
        out.extend_from_slice(br#","latency_us":"#);
        number(self.latency_us, out);
        out.extend_from_slice(br#","ip_address":""#);
        address(self.client(), out);
        out.extend_from_slice(br#"","user_agent":"#);
        string(self.user_agent(), out);
        self.write_provenance(out);
        out.extend_from_slice(b"}}");
    }

    fn write_provenance(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#","bytes":"#);
        number(self.bytes, out);
        out.extend_from_slice(br#","upstream_us":"#);
        match self.upstream_us() {
            Some(us) => number(us, out),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(br#","attempts":"#);
        number(self.attempts().into(), out);
        out.extend_from_slice(br#","end":"#);
        plain(self.end.as_str(), out);
        out.extend_from_slice(br#","reason":"#);
        plain(self.reason(), out);
        out.extend_from_slice(br#","rule":"#);
        string_or_null(self.route().map(str::as_bytes), out);
        out.extend_from_slice(br#","limits":{"#);
        for (index, (name, outcome)) in self.limits().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            string(name.as_bytes(), out);
            out.push(b':');
            plain(outcome.as_str(), out);
        }
        out.extend_from_slice(br#"},"policy":"#);
        string(self.gateway.policy().as_bytes(), out);
    }
}

fn number(value: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = value;
    // A division by two digits costs as much as one by one.
    while rest >= 10 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[(rest % 100) as usize]);
        rest /= 100;
    }
    // Nothing is left of an even number of digits, unless that is all there is.
    if rest > 0 || at == digits.len() {
        at -= 1;
        digits[at] = b'0' + rest as u8;
    }
    out.extend_from_slice(&digits[at..]);
}

fn address(address: IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(address) => {
            for (index, octet) in address.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                number(octet.into(), out);
            }
        }
        IpAddr::V6(address) => {
            // Writing into a vector cannot fail.
            let _ = write!(out, "{address}");
        }
    }
}

/// A string of the gateway's own or a token (RFC 9110 §5.6.2), neither of which has anything to escape.
fn plain(value: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(value.as_bytes());
    out.push(b'"');
}

fn string_or_null(value: Option<&[u8]>, out: &mut Vec<u8>) {
    match value {
        Some(value) => string(value, out),
        None => out.extend_from_slice(b"null"),
    }
}

fn string(value: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    escape(value, out);
    out.push(b'"');
}

/// JSON string contents (RFC 8259 §7); bytes that are not UTF-8 become U+FFFD.
fn escape(value: &[u8], out: &mut Vec<u8>) {
    if value.iter().all(|byte| IS_LITERAL[usize::from(*byte)]) {
        return out.extend_from_slice(value);
    }
    for character in String::from_utf8_lossy(value).chars() {
        match character {
            '"' => out.extend_from_slice(br#"\""#),
            '\\' => out.extend_from_slice(br"\\"),
            '\0'..='\x1f' | '\x7f' => {
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_become_valid_json(value in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut out = Vec::new();
            string(&value, &mut out);
            let parsed: String = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(parsed, String::from_utf8_lossy(&value).into_owned());
        }

        #[test]
        fn numbers_are_printed_exactly(value: u64) {
            let mut out = Vec::new();
            number(value, &mut out);
            prop_assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }

        #[test]
        fn short_numbers_are_printed_exactly(value in 0u64..=1_000_000) {
            let mut out = Vec::new();
            number(value, &mut out);
            prop_assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }

        #[test]
        fn addresses_are_printed_as_the_library_does(value: IpAddr) {
            let mut out = Vec::new();
            address(value, &mut out);
            prop_assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }
    }
}
