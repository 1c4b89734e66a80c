//! Who sends events, and of which sources.

use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;
use tollgate_core::config::RelayToken;

/// One token, and how many of its requests may be in work.
pub(super) struct Holder {
    sha256: [u8; 32],
    pub(super) source_prefix: String,
    pub(super) places: Semaphore,
}

impl Holder {
    pub(super) fn new(token: &RelayToken, in_flight: usize) -> Holder {
        let source_prefix = token.source_prefix.clone();
        Holder { sha256: token.sha256, source_prefix, places: Semaphore::new(in_flight) }
    }
}

/// Every hash is compared, so that the time says nothing about which one is near.
pub(super) fn holder<'a>(holders: &'a [Holder], headers: &HeaderMap) -> Option<&'a Holder> {
    let digest: [u8; 32] = Sha256::digest(bearer(headers)?).into();
    holders.iter().fold(None, |found, holder| match bool::from(digest.ct_eq(&holder.sha256)) {
        true => Some(holder),
        false => found,
    })
}

/// RFC 6750 §2.1; the scheme's name has no case (RFC 9110 §11.1). A second header is ambiguous.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim_matches(' ').as_bytes())
}
