//! Every head is given whole and cut at each place: what comes out may not depend on it.

use super::*;

#[derive(Debug, PartialEq, Eq)]
struct Read {
    status: u16,
    version: Version,
    fields: Vec<(String, String)>,
    body: Decoder,
    keeps_alive: bool,
    left: Vec<u8>,
}

type Outcome = Result<Option<Read>, Malformed>;

fn read_pieces(answers_head: bool, pieces: &[&[u8]]) -> Outcome {
    let mut reader = HeadReader::new(answers_head);
    let mut received = BytesMut::new();
    let mut pieces = pieces.iter();
    while let Some(piece) = pieces.next() {
        received.extend_from_slice(piece);
        let Some(Answered { head, body, keeps_alive }) = reader.read(&mut received)? else { continue };
        pieces.for_each(|piece| received.extend_from_slice(piece));
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let fields = head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        let (status, left) = (head.status.as_u16(), received.to_vec());
        return Ok(Some(Read { status, version: head.version, fields, body, keeps_alive, left }));
    }
    Ok(None)
}

/// The one outcome of `input`, however it is cut in two or into single bytes.
#[track_caller]
fn read(answers_head: bool, input: impl AsRef<[u8]>) -> Outcome {
    let input = input.as_ref();
    let whole = read_pieces(answers_head, &[input]);
    for at in 0..=input.len() {
        let (front, back) = input.split_at(at);
        assert_eq!(read_pieces(answers_head, &[front, back]), whole, "cut at {at}");
    }
    assert_eq!(read_pieces(answers_head, &input.chunks(1).collect::<Vec<_>>()), whole, "in single bytes");
    whole
}

/// How the body of `HTTP/<version> <status>` with these fields is read, and whether the connection is kept.
#[track_caller]
fn framing(start: &str, fields: &str) -> Result<(Decoder, bool), Malformed> {
    let read = read(false, format!("HTTP/{start}\r\n{fields}\r\n\r\n").replace("\r\n\r\n\r\n", "\r\n\r\n"))?;
    let read = read.expect("a whole head");
    Ok((read.body, read.keeps_alive))
}

fn chunked() -> Decoder {
    Decoder::Chunked(Chunks::default())
}

#[test]
fn a_head_is_read_to_its_last_byte() {
    let input =
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nset-cookie: a=1\r\nSet-Cookie:  b=2 \r\nx-empty:\r\n\r\nok";
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let expected = Read {
        status: 200,
        version: Version::HTTP_11,
        fields: vec![
            field("content-length", "2"),
            field("set-cookie", "a=1"),
            field("set-cookie", "b=2"),
            field("x-empty", ""),
        ],
        body: Decoder::Length(2),
        keeps_alive: true,
        left: b"ok".to_vec(),
    };
    assert_eq!(read(false, input), Ok(Some(expected)));
    assert_eq!(read(false, &input[..input.len() - 4]), Ok(None));
}

#[test]
fn a_reason_that_is_not_the_usual_one_is_kept() {
    let reason = |start: &str| {
        let mut received = BytesMut::from(format!("HTTP/1.1 {start}\r\ncontent-length: 0\r\n\r\n").as_str());
        let head = HeadReader::new(false).read(&mut received).unwrap().unwrap().head;
        head.extensions.get::<ReasonPhrase>().map(|reason| reason.as_bytes().to_vec())
    };
    assert_eq!(reason("200 OK"), None);
    assert_eq!(reason("200 Fine"), Some(b"Fine".to_vec()));
    assert_eq!(reason("299 "), Some(Vec::new()));
}

#[test]
fn bare_line_feeds_end_lines_of_a_head() {
    let head = read(false, "HTTP/1.1 204 No Content\nx: 1\n\nHTTP").unwrap().unwrap();
    assert_eq!((head.status, head.left), (204, b"HTTP".to_vec()));
    assert_eq!(head.fields, [("x".to_owned(), "1".to_owned())]);
}

#[test]
fn what_is_no_head_is_refused() {
    use httparse::Error;
    for (input, error) in [
        ("GET / HTTP/1.1\r\n\r\n", Error::Version),
        ("HTTP/2.0 200 OK\r\n\r\n", Error::Version),
        ("HTTP/1.2 200 OK\r\n\r\n", Error::Version),
        ("SSH-2.0-OpenSSH_9.2\r\n", Error::Version),
        ("HTTP/1.1 20 OK\r\n\r\n", Error::Status),
        ("HTTP/1.1 2000 OK\r\n\r\n", Error::Status),
        ("HTTP/1.1 abc OK\r\n\r\n", Error::Status),
        ("HTTP/1.1 200 O\0K\r\n\r\n", Error::Status),
        ("HTTP/1.1 200 OK\r\nx: 1\r\n folded: 2\r\n\r\n", Error::HeaderName),
        ("HTTP/1.1 200 OK\r\n x: 1\r\n\r\n", Error::HeaderName),
        ("HTTP/1.1 200 OK\r\nx : 1\r\n\r\n", Error::HeaderName),
        ("HTTP/1.1 200 OK\r\nx y: 1\r\n\r\n", Error::HeaderName),
        ("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", Error::HeaderName),
        ("HTTP/1.1 200 OK\r\n: nameless\r\n\r\n", Error::HeaderName),
        ("HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n", Error::HeaderValue),
        ("HTTP/1.1 200 OK\r\nx: a\rset-cookie: b\r\n\r\n", Error::HeaderValue),
    ] {
        assert_eq!(read(false, input), Err(Malformed::Head(error)), "{input:?}");
    }
    assert_eq!(read(false, "HTTP/1.1 099 OK\r\n\r\n"), Err(Malformed::Status));
    let fields = |count: usize| format!("HTTP/1.1 204 OK\r\n{}\r\n", "x: 1\r\n".repeat(count));
    assert_eq!(read(false, fields(100)).unwrap().unwrap().fields.len(), 100);
    assert_eq!(read(false, fields(101)), Err(Malformed::Head(Error::TooManyHeaders)));
}

/// What `Parsed::take` relies on. Long enough that every way the parser has to look at a value is taken.
#[test]
fn a_value_has_the_bytes_that_a_header_value_may_have() {
    for byte in 0..=u8::MAX {
        for at in [1, 40] {
            let mut value = [b'v'; 80];
            value[at] = byte;
            let input = [b"HTTP/1.1 204 No Content\r\nx: ".as_slice(), &value, b"\r\n\r\n"].concat();
            let read = HeadReader::new(false).read(&mut BytesMut::from(&input[..]));
            // The rest of the line would be the next one.
            let is_value = byte != b'\n' && HeaderValue::from_bytes(&value).is_ok();
            assert_eq!(read.is_ok(), is_value, "{byte:#x} at {at}");
            if let Ok(answered) = read {
                assert_eq!(answered.unwrap().head.headers["x"].as_bytes(), value);
            }
        }
    }
}

#[test]
fn a_head_has_a_largest_size() {
    let head = |bytes: usize| {
        let (start, end) = ("HTTP/1.1 204 No Content\r\nx: ", "\r\n\r\n");
        format!("{start}{}{end}", "y".repeat(bytes - start.len() - end.len()))
    };
    for piece in [1_000, usize::MAX] {
        let read = |input: String| read_pieces(false, &input.as_bytes().chunks(piece).collect::<Vec<_>>());
        assert!(read(head(MAX_HEAD_BYTES)).unwrap().is_some());
        assert_eq!(read(head(MAX_HEAD_BYTES + 1)), Err(Malformed::HeadTooLong));
        let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(MAX_HEAD_BYTES));
        assert_eq!(read(endless), Err(Malformed::HeadTooLong));
    }
}

#[test]
fn interim_responses_are_dropped_as_far_as_they_go() {
    let interim = "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n";
    let after = |count: usize| interim.repeat(count) + "HTTP/1.1 204 No Content\r\n\r\n";
    let read_all = |input: String| read_pieces(false, &[input.as_bytes()]);
    let read_after = read(false, after(2)).unwrap().unwrap();
    assert_eq!((read_after.status, read_after.fields.len()), (204, 0));
    assert_eq!(read(false, interim), Ok(None));
    assert_eq!(read_all(after(MAX_INTERIM)).unwrap().unwrap().status, 204);
    assert_eq!(read_all(after(MAX_INTERIM + 1)), Err(Malformed::Interim));
}

#[test]
fn a_switch_of_protocols_is_the_last_message() {
    let head =
        read(false, "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\ncontent-length: 9\r\n\r\n\u{1}");
    let head = head.unwrap().unwrap();
    assert_eq!((head.status, head.body, head.keeps_alive), (101, Decoder::Length(0), false));
    assert_eq!(head.left, b"\x01");
}

#[test]
fn a_body_has_one_length_or_chunks_or_the_rest() {
    for (fields, body) in [
        ("content-length: 0", Decoder::Length(0)),
        ("content-length: 003", Decoder::Length(3)),
        ("content-length: 18446744073709551615", Decoder::Length(u64::MAX)),
        ("transfer-encoding: chunked", chunked()),
        ("Transfer-Encoding: Chunked", chunked()),
    ] {
        assert_eq!(framing("1.1 200 OK", fields), Ok((body, true)), "{fields}");
    }
    assert_eq!(framing("1.1 200 OK", ""), Ok((Decoder::ToEnd, false)));
    assert_eq!(framing("1.0 200 OK", "connection: keep-alive"), Ok((Decoder::ToEnd, false)));
}

#[test]
fn a_length_that_is_not_one_plain_number_is_refused() {
    for fields in [
        "content-length:",
        "content-length: +3",
        "content-length: -3",
        "content-length: 0x3",
        "content-length: 3a",
        "content-length: 3.0",
        "content-length: 3 3",
        "content-length: \"3\"",
        "content-length: 3, 4",
        "content-length: 3,",
        "content-length: ,3",
        "content-length: 3\r\ncontent-length: 4",
        "content-length: 3\r\ncontent-length:",
        "content-length: 18446744073709551616",
    ] {
        assert_eq!(framing("1.1 200 OK", fields), Err(Malformed::Length), "{fields}");
    }
}

#[test]
fn the_same_length_several_times_is_passed_on_once() {
    for fields in ["content-length: 3\r\ncontent-length: 3", "content-length: 3, 3", "content-length: 3 ,03"]
    {
        let head = read(false, format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n")).unwrap().unwrap();
        assert_eq!(head.body, Decoder::Length(3));
        assert_eq!(head.fields, [("content-length".to_owned(), "3".to_owned())], "{fields}");
    }
}

#[test]
fn a_coding_that_is_not_chunks_alone_is_refused() {
    for fields in [
        "transfer-encoding: chunked\r\ncontent-length: 3",
        "content-length: 3\r\ntransfer-encoding: chunked",
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: chunked, chunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "transfer-encoding: gzip",
        "transfer-encoding: identity",
        "transfer-encoding: xchunked",
        "transfer-encoding: \"chunked\"",
        "transfer-encoding: chunked;q=1",
        "transfer-encoding:",
    ] {
        assert_eq!(framing("1.1 200 OK", fields), Err(Malformed::Coding), "{fields}");
    }
    assert_eq!(framing("1.0 200 OK", "transfer-encoding: chunked"), Err(Malformed::Coding));
}

#[test]
fn some_responses_have_no_body_whatever_they_say() {
    for fields in ["content-length: 9", "transfer-encoding: chunked", "content-length: x", ""] {
        for start in ["1.1 204 No Content", "1.1 304 Not Modified"] {
            assert_eq!(framing(start, fields), Ok((Decoder::Length(0), true)), "{start} {fields}");
        }
        let input = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n").replace("\r\n\r\n\r\n", "\r\n\r\n");
        let head = read(true, input).unwrap().unwrap();
        assert_eq!((head.body, head.keeps_alive), (Decoder::Length(0), true), "{fields}");
    }
}

#[test]
fn a_connection_is_kept_unless_either_version_s_rules_say_otherwise() {
    for (version, connection, kept) in [
        ("1.1", "", true),
        ("1.1", "connection: close", false),
        ("1.1", "connection: Close", false),
        ("1.1", "connection: x, close", false),
        ("1.1", "connection: close\r\nconnection: keep-alive", false),
        ("1.1", "connection: keep-alive\r\nconnection: close", false),
        ("1.1", "connection: closed", true),
        ("1.0", "", false),
        ("1.0", "connection: keep-alive", true),
        ("1.0", "connection: Keep-Alive, x", true),
        ("1.0", "connection: keep-alive, close", false),
    ] {
        let fields = format!("{connection}\r\ncontent-length: 0").trim_start().to_owned();
        let framed = framing(&format!("{version} 200 OK"), &fields);
        assert_eq!(framed, Ok((Decoder::Length(0), kept)), "{version} {connection}");
    }
}
