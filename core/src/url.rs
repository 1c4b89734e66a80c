//! The one canonical form of a request's URL: what is matched, and what is forwarded.
//!
//! Platforms at the edge normalise URLs as the WHATWG URL standard does before any of our code runs, so every
//! adapter must see that form or the same request would be decided differently. [`Target`] makes it once:
//!
//! - `.` and `..` segments are removed, also when spelled `%2e` or `%2E`. `%2f` and `%5c` stay encoded.
//! - A backslash in the path is a slash. hyper passes it through, as it does `"`, `^`, `{`, `|`, `}` and UTF-8
//!   in paths; spaces, control characters, `<`, `>` and the backtick in paths, `"` in queries are its own 400.
//! - Characters of the standard's path and special-query percent-encode sets are encoded, everything else is left
//!   as it came: the case of an escape's digits, escapes of harmless characters, empty segments.
//! - The fragment is dropped (`http::Uri` already does).
//!
//! Stricter than the standard, because nothing good comes of guessing: a NUL (also `%00`) and a `%` that is not
//! followed by two hexadecimal digits are errors, in path and query alike; so are hosts that no DNS name, IPv4 or
//! IPv6 address is spelled like. All of [`UrlError`] is the client's fault and answered with 400.

mod canonical;
mod host;

use std::borrow::Cow;

use http::header::HOST;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Uri, Version};

pub(crate) use canonical::comparable;
use host::Authority;

/// A request's target in canonical form.
///
/// Making one from a target that already is canonical copies nothing: path and host stay the buffers they came in.
#[derive(Clone, Debug)]
pub struct Target {
    path_and_query: PathAndQuery,
    authority: Option<Authority>,
}

/// Why a request has no usable target; each is answered with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("`%` at byte {at} of the request target is not followed by two hexadecimal digits")]
    Escape { at: usize },
    #[error("the request target contains NUL at byte {at}")]
    Nul { at: usize },
    #[error("the request target is longer than 65,534 bytes once encoded")]
    TooLong,
    #[error("the request target must be a path or an http or https URL")]
    Form,
    #[error("the authority carries user information")]
    UserInfo,
    #[error("the Host header is missing")]
    HostMissing,
    #[error("there is more than one Host header")]
    HostRepeated,
    #[error("the host is not a DNS name, an IPv4 or a bracketed IPv6 address")]
    HostInvalid,
    #[error("the port is not a number up to 65,535")]
    PortInvalid,
    #[error("the Host header contradicts the request target")]
    HostMismatch,
}

impl Target {
    /// The target of a request: origin form (RFC 9112 section 3.2.1), absolute form, `*` with OPTIONS, or the
    /// pseudo-headers of HTTP/2 as hyper assembles them. The authority form of CONNECT is [`UrlError::Form`].
    pub fn new(head: &Parts) -> Result<Target, UrlError> {
        Ok(Target {
            path_and_query: path_and_query(&head.uri, &head.method)?,
            authority: authority(&head.uri, &head.headers, head.version)?,
        })
    }

    /// Starts with `/`, or is `*`.
    pub fn path(&self) -> &str {
        self.path_and_query.path()
    }

    /// Without its `?`; `Some("")` when there is nothing behind it.
    pub fn query(&self) -> Option<&str> {
        self.path_and_query.query()
    }

    /// Lower case, without port and trailing dot; an IPv6 address is in brackets. Empty when an HTTP/1.0 request
    /// named none.
    pub fn host(&self) -> &str {
        self.authority.as_ref().map_or("", Authority::host)
    }

    /// The port as given, `None` when it was left out.
    pub fn port(&self) -> Option<u16> {
        self.authority.as_ref().and_then(Authority::port)
    }

    /// `OPTIONS *` asks about the server, not about a path; no route matches it.
    pub fn is_asterisk(&self) -> bool {
        self.path() == "*"
    }

    /// What is forwarded when nothing is rewritten; cloning it copies no text.
    pub fn path_and_query(&self) -> &PathAndQuery {
        &self.path_and_query
    }

    /// The target behind another base: `base`, then the path without its first `stripped` bytes, then the query.
    ///
    /// `base` is empty or canonical without a trailing slash, as an endpoint's base path is. `stripped` ends
    /// before a slash or at the path's end, as [`Match::stripped`](crate::route::Match::stripped) does. One copy
    /// at most, none if nothing changes.
    pub fn rebased(&self, base: &str, stripped: usize) -> Result<PathAndQuery, UrlError> {
        if base.is_empty() && stripped == 0 {
            return Ok(self.path_and_query.clone());
        }
        let rest = &self.path_and_query.as_str()[stripped..];
        let slash = if rest.starts_with('/') || !base.is_empty() { "" } else { "/" };
        PathAndQuery::try_from([base, slash, rest].concat()).map_err(|_| UrlError::TooLong)
    }

    /// The same query behind a new path, which is made canonical: captured variables may have been put into it.
    pub fn with_path(&self, path: &str) -> Result<PathAndQuery, UrlError> {
        assemble(path, self.query())
    }
}

/// A canonical target from a path, which starts with `/`, and a query without its `?`.
///
/// A `?` in the path is data here and is encoded: a path never grows a query by rewriting.
pub fn assemble(path: &str, query: Option<&str>) -> Result<PathAndQuery, UrlError> {
    let path = canonical::path(path)?;
    let text = match query {
        Some(query) => [&*path, "?", &*canonical::query(query)?].concat(),
        None => path.into_owned(),
    };
    PathAndQuery::try_from(text).map_err(|_| UrlError::TooLong)
}

/// The canonical form of a path alone; borrowed if it already is canonical.
pub fn canonical_path(path: &str) -> Result<Cow<'_, str>, UrlError> {
    canonical::path(path)
}

fn path_and_query(uri: &Uri, method: &Method) -> Result<PathAndQuery, UrlError> {
    match uri.scheme_str() {
        Some("http" | "https") => {}
        None if uri.authority().is_none() => {}
        _ => return Err(UrlError::Form),
    }
    let given = uri.path_and_query().ok_or(UrlError::Form)?;
    if given.as_str() == "*" {
        return if method == Method::OPTIONS { Ok(given.clone()) } else { Err(UrlError::Form) };
    }
    match canonical::target(given.as_str())? {
        Cow::Borrowed(_) => Ok(given.clone()),
        Cow::Owned(text) => PathAndQuery::try_from(text).map_err(|_| UrlError::TooLong),
    }
}

/// RFC 9112 section 3.2 asks for exactly one Host in HTTP/1.1; RFC 9113 section 8.3.1 lets `:authority` stand for it.
fn authority(uri: &Uri, headers: &HeaderMap, version: Version) -> Result<Option<Authority>, UrlError> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next().map(Authority::from_header).transpose()?;
    if hosts.next().is_some() {
        return Err(UrlError::HostRepeated);
    }
    let target = uri.authority().map(Authority::from_target).transpose()?;
    match (target, host) {
        (Some(target), Some(host)) => {
            let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
            let same_port = target.port().unwrap_or(default) == host.port().unwrap_or(default);
            if !same_port || target.host() != host.host() {
                return Err(UrlError::HostMismatch);
            }
            Ok(Some(target))
        }
        (None, None) if version < Version::HTTP_11 => Ok(None),
        (_, None) if version == Version::HTTP_11 => Err(UrlError::HostMissing),
        (None, None) => Err(UrlError::HostMissing),
        (target, host) => Ok(target.or(host)),
    }
}

#[cfg(test)]
mod tests;
