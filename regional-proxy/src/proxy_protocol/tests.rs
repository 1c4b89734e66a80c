use super::*;

fn check(bytes: &[u8], expected: Result<(Source, &[u8]), HeaderError>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut stream = bytes;
    let outcome = runtime.block_on(read(&mut stream));
    match (outcome, expected) {
        (Ok(source), Ok((expected, rest))) => assert_eq!((source, stream), (expected, rest)),
        (Err(error), Err(expected)) => {
            let error = error.into_inner().expect("an error of this module");
            assert_eq!(*error.downcast::<HeaderError>().expect("an error of this module"), expected);
        }
        (outcome, expected) => {
            panic!("{outcome:?}, expected {expected:?} for {:?}", bytes.escape_ascii().to_string())
        }
    }
}

fn address(text: &str) -> Source {
    Source::Address(text.parse().unwrap())
}

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [V2_SIGNATURE, &[command, family, len[0], len[1]][..], rest].concat()
}

#[test]
fn version_1_names_the_client_and_leaves_what_follows() {
    check(b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\nGET /", Ok((address("192.0.2.1"), b"GET /")));
    check(b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n", Ok((address("2001:db8::1"), b"")));
    check(b"PROXY UNKNOWN\r\nGET /", Ok((Source::Local, b"GET /")));
    check(b"PROXY UNKNOWN anything at all\r\n", Ok((Source::Local, b"")));
}

#[test]
fn a_malformed_version_1_line_is_refused() {
    for line in [
        "PROXY TCP4 192.0.2.1 198.51.100.1 56324\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443 1\r\n",
        "PROXY TCP4 2001:db8::1 198.51.100.1 56324 443\r\n",
        "PROXY TCP6 192.0.2.1 2001:db8::1 56324 443\r\n",
        "PROXY TCP4 192.0.2.1  198.51.100.1 56324 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 65536 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 +1 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 01 443\r\n",
        "PROXY TCP5 192.0.2.1 198.51.100.1 1 443\r\n",
        "PROXY tcp4 192.0.2.1 198.51.100.1 1 443\r\n",
    ] {
        check(line.as_bytes(), Err(HeaderError::Malformed));
    }
    check(format!("PROXY TCP4 {}\r\n", "1".repeat(200)).as_bytes(), Err(HeaderError::Malformed));
}

#[test]
fn a_connection_without_a_header_is_refused() {
    check(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Err(HeaderError::Signature));
    check(b"proxy TCP4 192.0.2.1 198.51.100.1 1 2\r\n", Err(HeaderError::Signature));
}

#[test]
fn version_2_names_the_client_and_skips_what_it_does_not_know() {
    let v4 = [192, 0, 2, 1, 198, 51, 100, 1, 0, 80, 1, 187];
    check(&[&v2(0x21, 0x11, &v4)[..], b"GET /"].concat(), Ok((address("192.0.2.1"), b"GET /")));
    let with_tlv = [&v4[..], &[4, 0, 1, 0]].concat();
    check(&v2(0x21, 0x11, &with_tlv), Ok((address("192.0.2.1"), b"")));
    let v6 = [&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..], &[0; 20]].concat();
    check(&v2(0x21, 0x21, &v6), Ok((address("2001:db8::1"), b"")));
    check(&v2(0x20, 0x00, &[]), Ok((Source::Local, b"")));
    check(&v2(0x21, 0x00, &[1, 2, 3]), Ok((Source::Local, b"")));
    check(&v2(0x21, 0x31, &[0; 216]), Ok((Source::Local, b"")));
}

#[test]
fn a_malformed_version_2_header_is_refused() {
    check(&v2(0x11, 0x11, &[0; 12]), Err(HeaderError::Malformed));
    check(&v2(0x22, 0x11, &[0; 12]), Err(HeaderError::Malformed));
    check(&v2(0x21, 0x11, &[0; 11]), Err(HeaderError::Malformed));
    check(&v2(0x21, 0x21, &[0; 35]), Err(HeaderError::Malformed));
    check(&v2(0x21, 0x41, &[0; 36]), Err(HeaderError::Malformed));
    check(&v2(0x21, 0x11, &[0; V2_MAX_BYTES + 1]), Err(HeaderError::TooLong));
}
