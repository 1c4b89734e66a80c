//! The PROXY protocol, versions 1 and 2, as a load balancer puts it before a connection's own bytes
//! (haproxy, `doc/proxy-protocol.txt`).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tokio::io::{AsyncRead, AsyncReadExt};

const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of the longest version 1 line, CRLF included (§2.1).
const V1_MAX_BYTES: usize = 107;
/// Bytes after a version 2 header's fixed part: addresses and TLVs. The length field would allow 65,535.
const V2_MAX_BYTES: usize = 2048;

/// Where the connection came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Address(IpAddr),
    /// The load balancer itself, or it does not know: the socket's address stands.
    Local,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeaderError {
    #[error("no PROXY protocol header")]
    Signature,
    #[error("a malformed PROXY protocol header")]
    Malformed,
    #[error("a PROXY protocol header longer than {V2_MAX_BYTES} bytes")]
    TooLong,
}

/// Reads exactly the header, so that what follows it is left in `stream`.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Source> {
    // The shortest header of version 1 is `PROXY UNKNOWN\r\n`, longer than the signature of version 2.
    let mut start = [0; V2_SIGNATURE.len()];
    stream.read_exact(&mut start).await?;
    if start == *V2_SIGNATURE {
        let mut fixed = [0; 4];
        stream.read_exact(&mut fixed).await?;
        let len = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
        if len > V2_MAX_BYTES {
            return Err(invalid(HeaderError::TooLong));
        }
        let mut rest = vec![0; len];
        stream.read_exact(&mut rest).await?;
        return parse_v2(fixed, &rest).map_err(invalid);
    }
    if !start.starts_with(b"PROXY ") {
        return Err(invalid(HeaderError::Signature));
    }
    let mut line = start.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() == V1_MAX_BYTES {
            return Err(invalid(HeaderError::Malformed));
        }
        // Byte by byte, as nothing else says where the line ends; it is short and comes once a connection.
        line.push(stream.read_u8().await?);
    }
    parse_v1(&line).map_err(invalid)
}

fn parse_v1(line: &[u8]) -> Result<Source, HeaderError> {
    let line = line.strip_suffix(b"\r\n").ok_or(HeaderError::Malformed)?;
    let line = std::str::from_utf8(line).map_err(|_| HeaderError::Malformed)?;
    let mut words = line.split(' ');
    if words.next() != Some("PROXY") {
        return Err(HeaderError::Signature);
    }
    let family = words.next();
    if family == Some("UNKNOWN") {
        return Ok(Source::Local);
    }
    let mut address = || -> Option<IpAddr> {
        let text = words.next()?;
        match family? {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let (source, destination) = (address(), address());
    let mut is_port = || words.next().is_some_and(|text| is_decimal(text) && text.parse::<u16>().is_ok());
    let is_complete = destination.is_some() && is_port() && is_port() && words.next().is_none();
    match source {
        Some(source) if is_complete => Ok(Source::Address(source)),
        _ => Err(HeaderError::Malformed),
    }
}

fn is_decimal(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'))
}

/// `fixed` is version and command, family and transport, and the length of `rest`.
fn parse_v2(fixed: [u8; 4], rest: &[u8]) -> Result<Source, HeaderError> {
    const LOCAL: u8 = 0x20;
    const PROXY: u8 = 0x21;
    match (fixed[0], fixed[1] >> 4) {
        (LOCAL, _) => Ok(Source::Local),
        // AF_UNSPEC, and AF_UNIX, which has no address that could be compared with anything.
        (PROXY, 0) => Ok(Source::Local),
        (PROXY, 3) if rest.len() >= 216 => Ok(Source::Local),
        (PROXY, 1) if rest.len() >= 12 => {
            let octets: [u8; 4] = rest[..4].try_into().expect("four bytes were sliced");
            Ok(Source::Address(Ipv4Addr::from(octets).into()))
        }
        (PROXY, 2) if rest.len() >= 36 => {
            let octets: [u8; 16] = rest[..16].try_into().expect("sixteen bytes were sliced");
            Ok(Source::Address(IpAddr::from(octets).to_canonical()))
        }
        _ => Err(HeaderError::Malformed),
    }
}

fn invalid(error: HeaderError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests;
