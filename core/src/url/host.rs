//! Hosts and ports, from a Host header or a request target.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::HeaderValue;

use super::UrlError;

/// A host in canonical form with its port.
#[derive(Clone, Debug)]
pub(super) struct Authority {
    text: Text,
    port: Option<u16>,
}

impl Authority {
    pub(super) fn from_header(value: &HeaderValue) -> Result<Authority, UrlError> {
        let text = str::from_utf8(value.as_bytes()).map_err(|_| UrlError::HostInvalid)?;
        let parsed = parse(text)?;
        let text = match parsed.host {
            Host::AsGiven { bytes } => Text::Header(value.clone(), bytes),
            Host::Rewritten(text) => Text::Owned(text),
        };
        Ok(Authority { text, port: parsed.port })
    }

    pub(super) fn from_target(authority: &http::uri::Authority) -> Result<Authority, UrlError> {
        if authority.as_str().contains('@') {
            return Err(UrlError::UserInfo);
        }
        let parsed = parse(authority.as_str())?;
        let text = match parsed.host {
            Host::AsGiven { bytes } => Text::Target(authority.clone(), bytes),
            Host::Rewritten(text) => Text::Owned(text),
        };
        Ok(Authority { text, port: parsed.port })
    }

    pub(super) fn host(&self) -> &str {
        match &self.text {
            Text::Header(value, bytes) => str::from_utf8(&value.as_bytes()[..usize::from(*bytes)])
                .expect("was checked when the authority was parsed"),
            Text::Target(authority, bytes) => &authority.as_str()[..usize::from(*bytes)],
            Text::Owned(text) => text,
        }
    }

    pub(super) fn port(&self) -> Option<u16> {
        self.port
    }
}

/// Bytes of a DNS name (RFC 1035 section 2.3.4), less the root's dot.
const NAME_BYTES_MAX: usize = 253;
/// Bytes of one label of it.
const LABEL_BYTES_MAX: usize = 63;

/// Where the host's text is: the buffer it came in, of which it is the first bytes, or a copy if it was changed.
#[derive(Clone, Debug)]
enum Text {
    Header(HeaderValue, u8),
    Target(http::uri::Authority, u8),
    Owned(Box<str>),
}

struct Parsed {
    host: Host,
    port: Option<u16>,
}

enum Host {
    /// The first `bytes` of the text are canonical.
    AsGiven {
        bytes: u8,
    },
    Rewritten(Box<str>),
}

fn parse(text: &str) -> Result<Parsed, UrlError> {
    // Of bytes: a search for a character costs more than such short texts are worth.
    let find = |wanted| text.bytes().position(|byte| byte == wanted);
    let end = match text.starts_with('[') {
        true => find(b']').ok_or(UrlError::HostInvalid)? + 1,
        false => find(b':').unwrap_or(text.len()),
    };
    let (host, rest) = text.split_at(end);
    let port = match rest.strip_prefix(':') {
        Some(digits) => port(digits)?,
        None if rest.is_empty() => None,
        None => return Err(UrlError::HostInvalid),
    };
    let host = if host.starts_with('[') { ipv6(host)? } else { name(host)? };
    Ok(Parsed { host, port })
}

/// RFC 3986 section 3.2.3 lets the digits be missing, which means the default port.
fn port(digits: &str) -> Result<Option<u16>, UrlError> {
    match digits {
        "" => Ok(None),
        // `parse` alone would take a sign.
        _ if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().map(Some).map_err(|_| UrlError::PortInvalid)
        }
        _ => Err(UrlError::PortInvalid),
    }
}

/// RFC 5952 text in brackets.
fn ipv6(bracketed: &str) -> Result<Host, UrlError> {
    let inner = &bracketed[1..bracketed.len() - 1];
    let address: Ipv6Addr = inner.parse().map_err(|_| UrlError::HostInvalid)?;
    let text = format!("[{address}]");
    Ok(match text == bracketed {
        true => Host::AsGiven { bytes: text.len() as u8 },
        false => Host::Rewritten(text.into()),
    })
}

fn name(text: &str) -> Result<Host, UrlError> {
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(UrlError::HostInvalid);
    }
    let mut lower = true;
    let (mut label, mut last) = (0, 0);
    for (at, byte) in name.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => label += 1,
            b'A'..=b'Z' => {
                lower = false;
                label += 1;
            }
            b'.' if label > 0 => (label, last) = (0, at + 1),
            _ => return Err(UrlError::HostInvalid),
        }
        if label > LABEL_BYTES_MAX {
            return Err(UrlError::HostInvalid);
        }
    }
    if label == 0 || (is_number(&name[last..]) && name.parse::<Ipv4Addr>().is_err()) {
        return Err(UrlError::HostInvalid);
    }
    Ok(match lower {
        true => Host::AsGiven { bytes: name.len() as u8 },
        false => Host::Rewritten(name.to_ascii_lowercase().into()),
    })
}

/// The WHATWG standard takes a host whose last label is a number for an IPv4 address, however it is spelled. Only the
/// dotted decimal spelling is let through, so that `0x7f.1` is not another name for a host that is matched as `127.0.0.1`.
fn is_number(last: &str) -> bool {
    let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    match hexadecimal {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => last.bytes().all(|byte| byte.is_ascii_digit()),
    }
}
