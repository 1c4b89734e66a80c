use http::Request;
use proptest::prelude::*;

use super::*;

fn head(method: &str, uri: &str, version: Version, hosts: &[&str]) -> Parts {
    let mut request = Request::builder().method(method).uri(uri).version(version);
    for host in hosts {
        request = request.header(HOST, *host);
    }
    request.body(()).unwrap().into_parts().0
}

fn check(given: &str, expected: Result<&str, UrlError>) {
    let target = Target::new(&head("GET", given, Version::HTTP_11, &["h"]));
    assert_eq!(target.as_ref().map(|t| t.path_and_query().as_str()).map_err(|e| *e), expected, "{given}");
}

fn check_host(uri: &str, version: Version, hosts: &[&str], expected: Result<(&str, Option<u16>), UrlError>) {
    let target = Target::new(&head("GET", uri, version, hosts));
    assert_eq!(
        target.as_ref().map(|t| (t.host(), t.port())).map_err(|e| *e),
        expected,
        "{uri} {version:?} {hosts:?}"
    );
}

#[test]
fn nul_and_broken_escapes_are_refused_wherever_they_stand() {
    check("/a%00", Err(UrlError::Nul { at: 2 }));
    check("/a?b=%00", Err(UrlError::Nul { at: 5 }));
    check("/a%", Err(UrlError::Escape { at: 2 }));
    check("/a%4", Err(UrlError::Escape { at: 2 }));
    check("/a%4/b", Err(UrlError::Escape { at: 2 }));
    check("/%zz", Err(UrlError::Escape { at: 1 }));
    check("/%+1", Err(UrlError::Escape { at: 1 }));
    check("/a?50%", Err(UrlError::Escape { at: 5 }));
    // Behind a dot segment the path is being rewritten already.
    check("/./a%00", Err(UrlError::Nul { at: 4 }));
    check("/./%4", Err(UrlError::Escape { at: 3 }));
    check("/./a?%g0", Err(UrlError::Escape { at: 5 }));
}

#[test]
fn dot_segments_are_removed_in_every_spelling() {
    check("/.", Ok("/"));
    check("/..", Ok("/"));
    check("/../../a", Ok("/a"));
    check("/a/./b", Ok("/a/b"));
    check("/a/../b", Ok("/b"));
    check("/a/b/..", Ok("/a/"));
    check("/a/b/.", Ok("/a/b/"));
    check("/a/%2e%2E/b", Ok("/b"));
    check("/a/.%2e/b?x=..", Ok("/b?x=.."));
    check("/a/%2e", Ok("/a/"));
    check("/a//../b", Ok("/a/b"));
    check("/a\\..\\b", Ok("/b"));
}

#[test]
fn names_that_merely_begin_with_dots_are_kept() {
    check("/.well-known/x", Ok("/.well-known/x"));
    check("/...", Ok("/..."));
    check("/..a", Ok("/..a"));
    check("/%2ea", Ok("/%2ea"));
    check("/a.b/c..", Ok("/a.b/c.."));
}

#[test]
fn encoded_separators_and_escapes_are_kept_as_given() {
    check("/a%2fb", Ok("/a%2fb"));
    check("/a%5cb", Ok("/a%5cb"));
    check("/%61", Ok("/%61"));
    check("//a///b/", Ok("//a///b/"));
    check("/a?b?c/../d", Ok("/a?b?c/../d"));
    check("/a?", Ok("/a?"));
}

#[test]
fn what_the_standard_encodes_is_encoded() {
    check("/a\"b{c}^", Ok("/a%22b%7Bc%7D%5E"));
    check("/a|b[c]", Ok("/a|b[c]"));
    check("/é", Ok("/%C3%A9"));
    check("/?q='é", Ok("/?q=%27%C3%A9"));
    check("/?q={}^\\`", Ok("/?q={}^\\`"));
    check("/a\\b", Ok("/a/b"));
}

#[test]
fn a_target_is_a_path_or_an_http_url() {
    check("http://h?x", Ok("/?x"));
    check("http://h", Ok("/"));
    check("HTTP://h/a/../b#c", Ok("/b"));
    check("ftp://h/", Err(UrlError::Form));
    check("*", Err(UrlError::Form));
    check("h:80", Err(UrlError::Form));
    let asterisk = Target::new(&head("OPTIONS", "*", Version::HTTP_11, &["h"])).unwrap();
    assert!(asterisk.is_asterisk());
    assert_eq!(
        Target::new(&head("CONNECT", "h:80", Version::HTTP_11, &["h:80"])).unwrap_err(),
        UrlError::Form
    );
}

#[test]
fn a_request_names_exactly_one_host() {
    check_host("/", Version::HTTP_11, &[], Err(UrlError::HostMissing));
    check_host("http://h/", Version::HTTP_11, &[], Err(UrlError::HostMissing));
    check_host("/", Version::HTTP_2, &[], Err(UrlError::HostMissing));
    check_host("/", Version::HTTP_11, &["a", "a"], Err(UrlError::HostRepeated));
    check_host("http://a/", Version::HTTP_11, &["b"], Err(UrlError::HostMismatch));
    check_host("http://a/", Version::HTTP_11, &["a:81"], Err(UrlError::HostMismatch));
    check_host("https://a/", Version::HTTP_2, &["a:80"], Err(UrlError::HostMismatch));
    check_host("https://A:443/", Version::HTTP_2, &["a."], Ok(("a", Some(443))));
    check_host("/", Version::HTTP_10, &[], Ok(("", None)));
    check_host("http://h/", Version::HTTP_10, &[], Ok(("h", None)));
    check_host("http://h/", Version::HTTP_2, &[], Ok(("h", None)));
}

#[test]
fn hosts_that_no_name_or_address_is_spelled_like_are_refused() {
    let long_label = "a".repeat(64);
    let long_name = ["a".repeat(63), "a".repeat(63), "a".repeat(63), "a".repeat(62)].join(".");
    for host in
        ["", ".", ":80", "a..b", ".a", "a..", "a b", "a/b", "a%41", "é", "a,b", &long_label, &long_name]
    {
        check_host("/", Version::HTTP_11, &[host], Err(UrlError::HostInvalid));
    }
    for host in
        ["[::1", "[::1]x", "[fe80::1%25eth0]", "[]", "::1", "a@b", "1.2.3", "0x7f.1", "1.2.3.256", "a.0x"]
    {
        let error = Target::new(&head("GET", "/", Version::HTTP_11, &[host])).unwrap_err();
        assert!(matches!(error, UrlError::HostInvalid | UrlError::PortInvalid), "{host}: {error}");
    }
    for host in ["a:65536", "a:+80", "a:8 0", "a:b", "a:80:80"] {
        check_host("/", Version::HTTP_11, &[host], Err(UrlError::PortInvalid));
    }
    check_host("http://u:p@a/", Version::HTTP_11, &["a"], Err(UrlError::UserInfo));
}

#[test]
fn hosts_are_compared_in_one_spelling() {
    check_host("/", Version::HTTP_11, &["API.Example.com.:8080"], Ok(("api.example.com", Some(8080))));
    check_host("/", Version::HTTP_11, &["a_b-c.d"], Ok(("a_b-c.d", None)));
    check_host("/", Version::HTTP_11, &["a:"], Ok(("a", None)));
    check_host("/", Version::HTTP_11, &["127.0.0.1:80"], Ok(("127.0.0.1", Some(80))));
    check_host("/", Version::HTTP_11, &["[::1]:80"], Ok(("[::1]", Some(80))));
    check_host("/", Version::HTTP_11, &["[0:0::0001]"], Ok(("[::1]", None)));
}

#[test]
fn a_canonical_target_keeps_its_buffer() {
    let head = head("GET", "/users/42%2f?q=1", Version::HTTP_11, &["h"]);
    let target = Target::new(&head).unwrap();
    assert_eq!(target.path().as_ptr(), head.uri.path().as_ptr());
    assert_eq!(target.host().as_ptr(), head.headers[HOST].as_bytes().as_ptr());
}

#[test]
fn rebasing_replaces_only_what_is_in_front() {
    let check = |given: &str, base: &str, stripped: usize, expected: &str| {
        let target = Target::new(&head("GET", given, Version::HTTP_11, &["h"])).unwrap();
        assert_eq!(target.rebased(base, stripped).unwrap().as_str(), expected);
    };
    check("/svc/a?b", "", 0, "/svc/a?b");
    check("/svc/a?b", "", 4, "/a?b");
    check("/svc?b", "", 4, "/?b");
    check("/svc", "", 4, "/");
    check("/svc", "/base", 4, "/base");
    check("/svc?b", "/base", 4, "/base?b");
    check("/svc/", "/base", 4, "/base/");
    check("/a", "/base", 0, "/base/a");
    check("/svc//a", "", 4, "//a");
}

#[test]
fn a_rewritten_path_is_canonical_and_never_grows_a_query() {
    let target = Target::new(&head("GET", "/a?q=1", Version::HTTP_11, &["h"])).unwrap();
    assert_eq!(target.with_path("/x/../y z?").unwrap().as_str(), "/y%20z%3F?q=1");
    assert_eq!(target.with_path("/%00"), Err(UrlError::Nul { at: 1 }));
    assert_eq!(assemble("/a", None).unwrap().as_str(), "/a");
    assert_eq!(assemble("/a", Some("b='c'")).unwrap().as_str(), "/a?b=%27c%27");
}

#[test]
fn a_target_that_outgrows_a_uri_is_refused() {
    let given = format!("/{}", "é".repeat(20_000));
    assert_eq!(Target::new(&head("GET", &given, Version::HTTP_11, &["h"])).unwrap_err(), UrlError::TooLong);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// The `url` crate does not encode `^` in paths yet.
    #[test]
    fn paths_and_queries_are_what_a_whatwg_parser_makes_of_them(
        given in "/([ab/\\\\.]|%2[eEfF]|%5c|%C3%a9|[\"^{|}~é!',:;@=&+$*()\\[\\]_-]|%7E){0,12}(\\?([a?/.%]|%2e|['\"{}é`]){0,6})?(#x)?"
    ) {
        let Ok(uri) = given.parse::<Uri>() else { return Ok(()) };
        let Ok(pq) = path_and_query(&uri, &Method::GET) else { return Ok(()) };
        let reference = ::url::Url::parse(&format!("http://h{given}")).unwrap();
        prop_assert_eq!(pq.path(), reference.path().replace('^', "%5E"));
        prop_assert_eq!(pq.query(), reference.query());
    }

    #[test]
    fn the_canonical_form_is_a_fixed_point(given in "/([a/.\\\\]|%2[eE]|[\"{é%?]){0,16}") {
        let Ok(once) = canonical::target(&given) else { return Ok(()) };
        prop_assert!(matches!(canonical::target(&once), Ok(Cow::Borrowed(_))), "{}", once);
    }

    #[test]
    fn segments_compare_equal_exactly_when_they_decode_equal(
        a in "/([aA!.]|%[46]1|%2[1eEfF]|%C3|%c3|%5[cC]|%5e){0,3}",
        b in "/([aA!.]|%[46]1|%2[1eEfF]|%C3|%c3|%5[cC]|%5e){0,3}",
    ) {
        let decode = |text: &str| percent_decode(text.as_bytes());
        // A separator and its escape differ, and a canonical path holds no raw `%`: mark escapes of `/` apart.
        prop_assert_eq!(comparable(&a) == comparable(&b), decode(&a) == decode(&b));
    }
}

/// Naive decoding that tells an encoded slash from a real one.
fn percent_decode(bytes: &[u8]) -> Vec<u16> {
    match bytes {
        [] => Vec::new(),
        [b'%', high, low, rest @ ..] => {
            let digits = [*high, *low];
            let byte = u16::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap();
            let mark = if byte == u16::from(b'/') { 256 } else { 0 };
            [vec![byte + mark], percent_decode(rest)].concat()
        }
        [byte, rest @ ..] => [vec![u16::from(*byte)], percent_decode(rest)].concat(),
    }
}
