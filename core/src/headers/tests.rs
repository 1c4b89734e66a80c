use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::*;
use crate::config::Cidr;
use crate::peer::{Peer, Scheme};

fn map(fields: &[(&str, &str)]) -> HeaderMap {
    let field = |(name, value): &(&str, &str)| {
        (HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap())
    };
    fields.iter().map(field).collect()
}

fn cleaned(fields: &[(&str, &str)], trusted: bool) -> HeaderMap {
    let reserved = [HeaderName::from_static("x-user-id")];
    let mut headers = map(fields);
    let survey = Survey::of(&headers, &reserved);
    clean_request(&mut headers, survey, trusted, &reserved);
    headers
}

#[test]
fn hop_by_hop_and_nominated_headers_are_removed() {
    let headers = cleaned(
        &[
            ("connection", "close, X-Internal"),
            ("x-internal", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("proxy-authorization", "Basic x"),
            ("expect", "100-continue"),
            ("accept", "*/*"),
        ],
        false,
    );
    assert_eq!(headers, map(&[("accept", "*/*")]));
}

#[test]
fn a_client_cannot_nominate_host_or_content_length() {
    let headers =
        cleaned(&[("connection", "host, content-length"), ("host", "a"), ("content-length", "3")], false);
    assert_eq!(headers, map(&[("host", "a"), ("content-length", "3")]));
}

#[test]
fn a_strangers_forwarding_and_identity_headers_are_deleted() {
    let lies = [
        ("x-forwarded-for", "1.2.3.4"),
        ("x-forwarded-user", "root"),
        ("forwarded", "for=1.2.3.4"),
        ("x-real-ip", "1.2.3.4"),
        ("true-client-ip", "1.2.3.4"),
        ("x-user-id", "root"),
        ("x-original-url", "/admin"),
    ];
    assert_eq!(cleaned(&lies, false), HeaderMap::new());
    let believed: Vec<_> = lies.into_iter().filter(|(name, _)| *name != "x-user-id").collect();
    assert_eq!(cleaned(&lies, true), map(&believed), "what only the gateway sets nobody else does");
}

#[test]
fn underscore_spellings_are_deleted_from_anybody() {
    let lies = [("x_forwarded_for", "1.2.3.4"), ("x-user_id", "root"), ("x_harmless", "1")];
    for trusted in [false, true] {
        assert_eq!(cleaned(&lies, trusted), map(&[("x_harmless", "1")]));
    }
}

#[test]
fn cookie_crumbs_become_one_field() {
    assert_eq!(cleaned(&[("cookie", "a=1"), ("cookie", "b=2")], false), map(&[("cookie", "a=1; b=2")]));
}

#[test]
fn an_upgrade_needs_its_nomination() {
    assert_eq!(upgrade(&map(&[("upgrade", "websocket")])), None);
    assert_eq!(upgrade(&map(&[("connection", "close"), ("upgrade", "websocket")])), None);
    let asked = map(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]);
    assert_eq!(upgrade(&asked), Some(HeaderValue::from_static("websocket")));
}

#[test]
fn the_client_is_the_rightmost_untrusted_hop() {
    let trusted = [
        Cidr { network: "10.0.0.0".parse().unwrap(), prefix_len: 8 },
        Cidr { network: "192.0.2.7".parse().unwrap(), prefix_len: 32 },
    ];
    let check = |peer: &str, forwarded: &[&str], expected: &str| {
        let peer = Peer::new(peer.parse().unwrap(), Scheme::Http, 0);
        let fields: Vec<_> = forwarded.iter().map(|value| ("x-forwarded-for", *value)).collect();
        let expected: IpAddr = expected.parse().unwrap();
        assert_eq!(client_address(&peer, &map(&fields), &trusted), expected, "{forwarded:?}");
    };
    check("203.0.113.9", &["1.2.3.4"], "203.0.113.9");
    check("10.0.0.1", &[], "10.0.0.1");
    check("10.0.0.1", &["1.2.3.4"], "1.2.3.4");
    check("10.0.0.1", &["6.6.6.6, 1.2.3.4, 10.1.1.1"], "1.2.3.4");
    check("10.0.0.1", &["6.6.6.6", "1.2.3.4", "192.0.2.7"], "1.2.3.4");
    check("10.0.0.1", &["10.9.9.9, 10.8.8.8"], "10.9.9.9");
    check("10.0.0.1", &["1.2.3.4, unknown, 10.8.8.8"], "10.8.8.8");
    check("10.0.0.1", &["1.2.3.4, "], "10.0.0.1");
    check("::ffff:10.0.0.1", &["2001:db8::1"], "2001:db8::1");
}

#[test]
fn forwarding_headers_are_set_afresh_for_strangers_and_appended_for_proxies() {
    let peer = Peer::new("10.0.0.1".parse().unwrap(), Scheme::Https, 0);
    let host = HeaderValue::from_static("api.example");
    let apply = |trusted, fields: &[(&str, &str)]| {
        let mut headers = map(fields);
        Forwarding { peer: &peer, trusted, host: Some(&host) }.apply(&mut headers);
        headers
    };
    let fresh = [
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "api.example"),
    ];
    assert_eq!(apply(false, &[]), map(&fresh));
    assert_eq!(apply(true, &[]), map(&fresh));
    let said =
        [("x-forwarded-for", "1.2.3.4"), ("x-forwarded-proto", "http"), ("x-forwarded-host", "old.example")];
    let expected = [
        ("x-forwarded-for", "1.2.3.4, 10.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "old.example"),
    ];
    assert_eq!(apply(true, &said), map(&expected));
}

#[test]
fn every_hop_is_kept_in_via() {
    let mut headers = map(&[("via", "1.0 fred")]);
    append_via(&mut headers, http::Version::HTTP_2);
    assert_eq!(headers, map(&[("via", "1.0 fred"), ("via", "2 tollgate")]));
}

#[test]
fn a_coding_below_the_chunks_would_be_lost() {
    let check = |values: &[&str], expected| {
        let fields: Vec<_> = values.iter().map(|value| ("transfer-encoding", *value)).collect();
        assert_eq!(has_lost_coding(&map(&fields)), expected, "{values:?}");
    };
    check(&[], false);
    check(&["Chunked"], false);
    check(&["gzip, chunked"], true);
    check(&["gzip", "chunked"], true);
    check(&["chunked", "chunked"], true);
}
