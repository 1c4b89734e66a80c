//! The compact form of a signed token (RFC 7515 section 7.1), taken apart and not yet believed.

use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::algorithm::Algorithm;
use super::claims::Claims;
use super::json;
use super::unauthorized::Unauthorized;

/// Bytes of a token, and of its parts once they are decoded.
pub(super) const MAX_TOKEN_BYTES: usize = 8 * 1024;
const MAX_HEADER_BYTES: usize = 2 * 1024;
const MAX_CLAIMS_BYTES: usize = 6_000;

/// A bearer token where it stands in its header field: one that was verified before is looked up and never kept.
#[derive(Clone, Debug)]
pub(super) struct Bearer<'a> {
    field: &'a HeaderValue,
    token: Range<usize>,
    hash: [u8; 32],
}

/// A token in its parts.
#[derive(Debug)]
pub(super) struct Token {
    /// Shares the bytes of the header field.
    field: HeaderValue,
    /// The message that is signed, in the field: header, dot, payload.
    message: Range<usize>,
    hash: [u8; 32],
    signature: Vec<u8>,
    pub(super) header: Header,
    pub(super) claims: Claims,
}

/// What counts of a JOSE header. Keys that a token brings along (`jwk`, `jku`, `x5u`, `x5c`) do not.
#[derive(Debug, PartialEq)]
pub(super) struct Header {
    pub(super) algorithm: Algorithm,
    pub(super) key_name: Option<String>,
}

impl<'a> Bearer<'a> {
    /// From an Authorization field; `None` where its scheme is another (RFC 9110 section 11.1: schemes have no case).
    pub(super) fn from_field(field: &'a HeaderValue) -> Result<Option<Bearer<'a>>, Unauthorized> {
        const SCHEME: &[u8] = b"bearer";
        let bytes = field.as_bytes();
        let Some((scheme, rest)) = bytes.split_at_checked(SCHEME.len()) else {
            return Ok(None);
        };
        if !scheme.eq_ignore_ascii_case(SCHEME) || !matches!(rest.first(), None | Some(b' ' | b'\t')) {
            return Ok(None);
        }
        let start = bytes.len() - rest.trim_ascii_start().len();
        let end = bytes.trim_ascii_end().len();
        if start >= end {
            return Err(Unauthorized::NoToken);
        }
        if end - start > MAX_TOKEN_BYTES {
            return Err(Unauthorized::TooLarge);
        }
        let hash = Sha256::digest(&bytes[start..end]).into();
        Ok(Some(Bearer { field, token: start..end, hash }))
    }

    /// SHA-256 of the token.
    pub(super) fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    fn bytes(&self) -> &[u8] {
        &self.field.as_bytes()[self.token.clone()]
    }
}

impl Token {
    pub(super) fn parse(bearer: Bearer<'_>) -> Result<Token, Unauthorized> {
        let mut segments = bearer.bytes().split(|byte| *byte == b'.');
        let (Some(header), Some(payload), Some(signature), None) =
            (segments.next(), segments.next(), segments.next(), segments.next())
        else {
            return Err(Unauthorized::Malformed);
        };
        let start = bearer.token.start;
        let message = start..start + header.len() + 1 + payload.len();
        let header = Header::parse(&object(header, MAX_HEADER_BYTES)?)?;
        let claims = Claims::new(object(payload, MAX_CLAIMS_BYTES)?);
        let signature = decode(signature)?;
        let (field, hash) = (bearer.field.clone(), bearer.hash);
        Ok(Token { field, message, hash, signature, header, claims })
    }

    pub(super) fn message(&self) -> &[u8] {
        &self.field.as_bytes()[self.message.clone()]
    }

    pub(super) fn signature(&self) -> &[u8] {
        &self.signature
    }

    pub(super) fn hash(&self) -> &[u8; 32] {
        &self.hash
    }
}

impl Header {
    fn parse(header: &Map<String, Value>) -> Result<Header, Unauthorized> {
        // No extension is understood here, so that one which must be is not (RFC 7515 section 4.1.11); `b64` would
        // change what is signed (RFC 7797).
        if header.contains_key("crit") || header.contains_key("b64") {
            return Err(Unauthorized::Extension);
        }
        let algorithm = text(header, "alg")?.ok_or(Unauthorized::Malformed)?;
        let algorithm = Algorithm::from_name(algorithm).ok_or(Unauthorized::Algorithm)?;
        if !text(header, "typ")?.is_none_or(is_access_token) {
            return Err(Unauthorized::Type);
        }
        let key_name = text(header, "kid")?.map(str::to_owned);
        Ok(Header { algorithm, key_name })
    }
}

/// RFC 7519 section 5.1 and RFC 9068 section 2.1; other types are for other readers (RFC 8725 section 3.11).
fn is_access_token(kind: &str) -> bool {
    const PREFIX: &str = "application/";
    let kind = match kind.split_at_checked(PREFIX.len()) {
        Some((prefix, kind)) if prefix.eq_ignore_ascii_case(PREFIX) => kind,
        _ => kind,
    };
    kind.eq_ignore_ascii_case("JWT") || kind.eq_ignore_ascii_case("at+jwt")
}

fn text<'a>(header: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Unauthorized> {
    match header.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Unauthorized::Malformed),
    }
}

fn object(segment: &[u8], max_bytes: usize) -> Result<Map<String, Value>, Unauthorized> {
    let decoded = decode(segment)?;
    if decoded.len() > max_bytes {
        return Err(Unauthorized::TooLarge);
    }
    json::object(&decoded).ok_or(Unauthorized::Malformed)
}

/// One spelling for each value (RFC 7515 section 2): no padding, no white space, no stray bits in the last character.
/// Otherwise one token would have many texts, and many places in the cache.
fn decode(segment: &[u8]) -> Result<Vec<u8>, Unauthorized> {
    URL_SAFE_NO_PAD.decode(segment).map_err(|_| Unauthorized::Malformed)
}
