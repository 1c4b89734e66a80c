//! URLs that the gateway itself calls.

use std::net::{Ipv4Addr, Ipv6Addr};

/// An absolute `http` or `https` URL, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Absolute {
    pub(super) tls: bool,
    /// Lower case; IPv6 without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// Empty or with a leading slash and without a trailing one.
    pub(super) path: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum UrlError {
    #[error("`{0}` has no scheme; write `http://{0}` or `https://{0}`")]
    NoScheme(String),
    #[error("`{0}` is not a scheme that is spoken here; write `http` or `https`")]
    Scheme(String),
    #[error(
        "`{0}` is not a scheme that Redis is reached by; write `redis://host:6379` or `rediss://host:6379`"
    )]
    RedisScheme(String),
    #[error("the URL holds a user name or password; those of Redis are set as `user` and `password`")]
    RedisCredentials,
    #[error("the URL holds a user name or password; set an `authorization` header with `rewrite` instead")]
    Credentials,
    #[error("`{0}` is not a host; write a name, an IPv4 address, or an IPv6 address in brackets")]
    Host(String),
    #[error("`{0}` is not a port; write a number from 1 to 65535")]
    Port(String),
    #[error("the URL holds a query or a fragment; only a path can follow the host")]
    Query,
    #[error(
        "`{0}` is not a path; write visible ASCII characters, others as `%` and two hexadecimal digits, and no `.` or `..` segments"
    )]
    Path(String),
}

impl std::str::FromStr for Absolute {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Absolute, UrlError> {
        let (scheme, rest) = text.split_once("://").ok_or_else(|| UrlError::NoScheme(text.into()))?;
        match scheme.to_ascii_lowercase().as_str() {
            "http" => Absolute::parse(rest, false, 80),
            "https" => Absolute::parse(rest, true, 443),
            _ => Err(UrlError::Scheme(scheme.into())),
        }
    }
}

impl Absolute {
    /// `redis://` or, through TLS, `rediss://`.
    pub(super) fn redis(text: &str) -> Result<Absolute, UrlError> {
        let (scheme, rest) = text.split_once("://").unwrap_or((text, ""));
        if rest.contains('@') {
            return Err(UrlError::RedisCredentials);
        }
        match scheme.to_ascii_lowercase().as_str() {
            "redis" => Absolute::parse(rest, false, 6_379),
            "rediss" => Absolute::parse(rest, true, 6_379),
            _ => Err(UrlError::RedisScheme(scheme.into())),
        }
    }

    pub(super) fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    fn parse(rest: &str, tls: bool, default_port: u16) -> Result<Absolute, UrlError> {
        if rest.contains(['?', '#']) {
            return Err(UrlError::Query);
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(UrlError::Credentials);
        }
        let (host, port) = split_port(authority);
        let port = match port {
            None => default_port,
            Some(digits) => match digits.parse() {
                Ok(port) if port != 0 && digits.bytes().all(|byte| byte.is_ascii_digit()) => port,
                _ => return Err(UrlError::Port(digits.into())),
            },
        };
        let host = parse_host(host).ok_or_else(|| UrlError::Host(host.into()))?;
        let path = path.trim_end_matches('/');
        if !path.is_empty() && !is_path(path) {
            return Err(UrlError::Path(path.into()));
        }
        Ok(Absolute { tls, host, port, path: path.into() })
    }
}

/// The host in the form it is compared in, without the brackets of IPv6.
pub(super) fn parse_host(host: &str) -> Option<String> {
    if let Some(address) = host.strip_prefix('[') {
        return address.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(|address| address.to_string());
    }
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let name = host.strip_suffix('.').unwrap_or(host);
    // What ends in a number is an IPv4 address or nothing (WHATWG URL, "ends in a number").
    let last = name.rsplit('.').next()?;
    if !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()) {
        return name.parse::<Ipv4Addr>().ok().map(|address| address.to_string());
    }
    (name.len() <= 253 && name.split('.').all(is_label)).then(|| name.to_ascii_lowercase())
}

/// A path as it is sent: with a leading slash, encoded, and as RFC 3986 section 5.2.4 leaves it.
pub(super) fn is_path(path: &str) -> bool {
    let visible = path.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"#<>?\\^`{|}".contains(&byte));
    let escapes = path.split('%').skip(1).all(|escape| {
        let digits = escape.as_bytes();
        digits.len() >= 2 && digits[..2].iter().all(u8::is_ascii_hexdigit) && &digits[..2] != b"00"
    });
    let dots = path.split('/').any(|segment| matches!(decoded_dots(segment).as_str(), "." | ".."));
    path.starts_with('/') && visible && escapes && !dots
}

fn decoded_dots(segment: &str) -> String {
    segment.replace("%2e", ".").replace("%2E", ".")
}

fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let check = |text: &str, tls, host: &str, port, path: &str| {
            let expected = Absolute { tls, host: host.into(), port, path: path.into() };
            assert_eq!(text.parse(), Ok(expected), "{text}");
        };
        check("http://one", false, "one", 80, "");
        check("HTTPS://One.Example./", true, "one.example", 443, "");
        check("http://10.0.0.1:9101/a/b/", false, "10.0.0.1", 9101, "/a/b");
        check("http://[2001:DB8::1]:81/a%20b", false, "2001:db8::1", 81, "/a%20b");
        check("http://user_service:1", false, "user_service", 1, "");
    }

    #[test]
    fn what_is_not_a_url_says_why() {
        let check =
            |text: &str, expected: UrlError| assert_eq!(text.parse::<Absolute>(), Err(expected), "{text}");
        check("one:80", UrlError::NoScheme("one:80".into()));
        check("ftp://one", UrlError::Scheme("ftp".into()));
        check("http://a:b@one", UrlError::Credentials);
        check("http://", UrlError::Host(String::new()));
        check("http://a..b", UrlError::Host("a..b".into()));
        check("http://-a", UrlError::Host("-a".into()));
        check("http://1.2.3", UrlError::Host("1.2.3".into()));
        check("http://256.1.1.1", UrlError::Host("256.1.1.1".into()));
        check("http://[::1", UrlError::Host("[:".into()));
        check("http://2001:db8::1", UrlError::Host("2001:db8:".into()));
        check("http://a:0", UrlError::Port("0".into()));
        check("http://a:65536", UrlError::Port("65536".into()));
        check("http://a:+1", UrlError::Port("+1".into()));
        check("http://a:", UrlError::Port(String::new()));
        check("http://a/?x", UrlError::Query);
        check("http://a/%2e%2E/b", UrlError::Path("/%2e%2E/b".into()));
        check("http://a/%zz", UrlError::Path("/%zz".into()));
        check("http://a/ b", UrlError::Path("/ b".into()));
    }
}
