use http::Request;

use super::*;

/// What is written of a request with these fields, whose body is as long as `len` says; and the encoder for it.
fn written(start: (&str, &str), fields: &[(&str, &str)], len: Option<u64>) -> (String, Encoder) {
    let mut request = Request::builder().method(start.0).uri(start.1);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let (head, ()) = request.body(()).unwrap().into_parts();
    let mut text = Vec::new();
    let encoder = write_head(&head, &len.map_or_else(SizeHint::default, SizeHint::with_exact), &mut text);
    (String::from_utf8(text).unwrap(), encoder)
}

#[track_caller]
fn check(fields: &[(&str, &str)], len: Option<u64>, lines: &str) {
    let (text, _) = written(("POST", "/"), fields, len);
    assert_eq!(text, format!("POST / HTTP/1.1\r\n{lines}\r\n"));
}

/// `pieces` as they are written; the last one is known to be the last if `is_known`.
fn framed(mut encoder: Encoder, pieces: &[&'static str], is_known: bool) -> Result<String, WrongLength> {
    let mut text = Vec::new();
    for (index, piece) in pieces.iter().enumerate() {
        let is_last = is_known && index + 1 == pieces.len();
        let piece = Bytes::from_static(piece.as_bytes());
        let tail = encoder.piece(&piece, is_last, &mut text)?;
        text.extend_from_slice(&piece);
        text.extend_from_slice(tail);
    }
    if !is_known {
        encoder.end(&mut text)?;
    }
    Ok(String::from_utf8(text).unwrap())
}

fn chunked() -> Encoder {
    Encoder::Chunked { announced: Vec::new() }
}

#[test]
fn the_start_line_has_path_and_query() {
    for (target, written_target) in
        [("/a/b?c=%20d", "/a/b?c=%20d"), ("http://a", "/"), ("http://a/b?c", "/b?c"), ("*", "*")]
    {
        let (text, _) = written(("OPTIONS", target), &[("host", "a")], Some(0));
        assert_eq!(text, format!("OPTIONS {written_target} HTTP/1.1\r\nhost: a\r\n\r\n"));
    }
}

#[test]
fn fields_are_written_one_a_line() {
    let fields = [("x", "1"), ("host", "a"), ("x", "2"), ("empty", "")];
    check(&fields, Some(0), "x: 1\r\nx: 2\r\nhost: a\r\nempty: \r\n");
}

#[test]
fn framing_comes_from_the_body_and_is_said_once() {
    check(&[], Some(0), "");
    check(&[("content-length", "0")], Some(0), "content-length: 0\r\n");
    check(&[("content-length", "9")], Some(0), "content-length: 0\r\n");
    check(&[], Some(3), "content-length: 3\r\n");
    check(&[("content-length", "3"), ("content-length", "3")], Some(3), "content-length: 3\r\n");
    check(&[("transfer-encoding", "gzip")], Some(3), "content-length: 3\r\n");
    check(&[("content-length", "3")], None, "transfer-encoding: chunked\r\n");
    check(&[("transfer-encoding", "gzip, chunked")], None, "transfer-encoding: chunked\r\n");
}

#[test]
fn a_body_of_known_length_is_written_as_it_is() {
    for is_known in [false, true] {
        assert_eq!(framed(Encoder::Length(3), &["ab", "c"], is_known), Ok("abc".to_owned()));
        assert_eq!(framed(Encoder::Length(4), &["ab", "c"], is_known), Err(WrongLength));
        assert_eq!(framed(Encoder::Length(2), &["ab", "c"], is_known), Err(WrongLength));
    }
}

#[test]
fn chunks_end_with_the_last_piece_and_never_before() {
    let body = "2\r\nab\r\n11\r\n0123456789abcdefg\r\n0\r\n\r\n";
    for is_known in [false, true] {
        assert_eq!(framed(chunked(), &["ab", "0123456789abcdefg"], is_known), Ok(body.to_owned()));
        assert_eq!(framed(chunked(), &["", "ab", ""], is_known), Ok("2\r\nab\r\n0\r\n\r\n".to_owned()));
    }
    assert_eq!(framed(chunked(), &[], false), Ok("0\r\n\r\n".to_owned()));
}

#[test]
fn trailers_are_those_that_were_announced_and_may_follow_a_body() {
    let (_, encoder) =
        written(("POST", "/"), &[("trailer", "x-a, Content-Length"), ("trailer", "x-b")], None);
    let mut fields = HeaderMap::new();
    for (name, value) in [("x-a", "1"), ("x-a", "2"), ("x-b", "3"), ("x-c", "4"), ("content-length", "5")] {
        fields.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let mut text = Vec::new();
    encoder.trailers(&fields, &mut text).unwrap();
    assert_eq!(String::from_utf8(text).unwrap(), "0\r\nx-a: 1\r\nx-a: 2\r\nx-b: 3\r\n\r\n");
    assert_eq!(Encoder::Length(1).trailers(&fields, &mut Vec::new()), Err(WrongLength));
    let mut none = Vec::new();
    Encoder::Length(0).trailers(&fields, &mut none).unwrap();
    assert_eq!(none, b"");
}
