//! Every input is given whole and cut at each place: what comes out may not depend on it.

use super::*;

/// What a body was, or how far it came.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    data: Vec<u8>,
    trailers: Vec<(String, String)>,
    end: Option<Result<(), Malformed>>,
    /// Bytes behind the end, or of which nothing is known yet.
    left: Vec<u8>,
}

/// Feeds the pieces as they would be read one after the other.
fn decode(mut decoder: Decoder, pieces: &[&[u8]]) -> Outcome {
    let mut outcome = Outcome::default();
    let mut received = BytesMut::new();
    let mut pieces = pieces.iter();
    while outcome.end.is_none() {
        match decoder.decode(&mut received) {
            Ok(Decoded::Data(bytes)) => {
                assert!(!bytes.is_empty(), "a frame without bytes ends a chunked body");
                outcome.data.extend_from_slice(&bytes);
            }
            Ok(Decoded::Trailers(fields)) => {
                let text = |value: &http::HeaderValue| value.to_str().unwrap().to_owned();
                outcome.trailers =
                    fields.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
            }
            Ok(Decoded::End) => outcome.end = Some(Ok(())),
            Err(malformed) => outcome.end = Some(Err(malformed)),
            Ok(Decoded::More) => match pieces.next() {
                Some(piece) => received.extend_from_slice(piece),
                None => break,
            },
        }
    }
    pieces.for_each(|piece| received.extend_from_slice(piece));
    outcome.left = received.to_vec();
    outcome
}

/// The one outcome of `input`, however it is cut in two or into single bytes.
fn outcome(decoder: fn() -> Decoder, input: &[u8]) -> Outcome {
    let whole = decode(decoder(), &[input]);
    for at in 0..=input.len() {
        let (front, back) = input.split_at(at);
        assert_eq!(decode(decoder(), &[front, back]), whole, "cut at {at}");
    }
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(decode(decoder(), &bytes), whole, "in single bytes");
    whole
}

fn chunked() -> Decoder {
    Decoder::Chunked(Chunks::default())
}

#[track_caller]
fn check(input: &str, data: &str, trailers: &[(&str, &str)], left: &str) {
    let owned = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
    let expected = Outcome {
        data: data.into(),
        trailers: trailers.iter().map(owned).collect(),
        end: Some(Ok(())),
        left: left.into(),
    };
    assert_eq!(outcome(chunked, input.as_bytes()), expected);
}

#[track_caller]
fn refuse(input: &str, malformed: Malformed) {
    assert_eq!(outcome(chunked, input.as_bytes()).end, Some(Err(malformed)), "{input:?}");
}

#[test]
fn chunks_are_the_bytes_in_them() {
    check("0\r\n\r\n", "", &[], "");
    check("1\r\na\r\n02\r\nbc\r\n0\r\n\r\n", "abc", &[], "");
    check("A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\nHTTP", "01234567890123456789", &[], "HTTP");
    check("0000000000000002\r\n\r\n\r\n0000\r\n\r\n", "\r\n", &[], "");
}

#[test]
fn extensions_and_blanks_are_ignored() {
    check("3;name=value;other=\"x y\"\r\nabc\r\n0;last\r\n\r\n", "abc", &[], "");
    check("3 \t;x\r\nabc\r\n0 \r\n\r\n", "abc", &[], "");
}

#[test]
fn trailers_follow_the_last_chunk() {
    let trailers = [("x-sum", "7"), ("x-other", "a b")];
    check("2\r\nok\r\n0\r\nX-Sum: 7\r\nx-other:  a b \r\n\r\nleft", "ok", &trailers, "left");
}

#[test]
fn what_is_no_size_is_refused() {
    for line in [
        "",
        " 3",
        "-3",
        "+3",
        "0x3",
        "3x",
        "3 3",
        "3,3",
        ";x",
        "zz",
        "00000000000000003",
        "10000000000000003",
        "fffffffffffffffff",
        "3;a\rb",
        "3;a\0b",
        "3\r",
        "3;\u{7f}",
    ] {
        refuse(&format!("{line}\r\nabc\r\n0\r\n\r\n"), Malformed::Chunk);
    }
}

#[test]
fn a_bare_line_feed_ends_no_line_of_a_chunk() {
    refuse("3\nabc\r\n0\r\n\r\n", Malformed::Chunk);
    refuse("3;a\nb\r\nabc\r\n0\r\n\r\n", Malformed::Chunk);
    refuse("3\r\nabc\n0\r\n\r\n", Malformed::Chunk);
    refuse("3\r\nabc\r0\r\n\r\n", Malformed::Chunk);
}

#[test]
fn a_chunk_is_as_long_as_it_says() {
    refuse("3\r\nabcd\r\n0\r\n\r\n", Malformed::Chunk);
    refuse("3\r\nabc0\r\n\r\n", Malformed::Chunk);
    // The largest size there is: taken, and never fulfilled.
    let long = outcome(chunked, b"ffffffffffffffff\r\nabc");
    assert_eq!((long.data.as_slice(), long.end), (&b"abc"[..], None));
}

#[test]
fn what_are_no_trailers_is_refused() {
    for section in ["no colon", ": nameless", "x y: 1", "x: 1\r\n folded", "x: a\0b", "\nx: 1", "x: 1\n\r"] {
        refuse(&format!("0\r\n{section}\r\n\r\n"), Malformed::Trailers);
    }
    refuse(&format!("0\r\n{}\r\n", "x: 1\r\n".repeat(101)), Malformed::Trailers);
}

#[test]
fn extensions_are_bounded_over_the_whole_body() {
    let in_one = |bytes: usize| format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(bytes - 1));
    let in_many = |chunks: usize| "1;xxxxxxx\r\na\r\n".repeat(chunks) + "0\r\n\r\n";
    let end = |input: String| decode(chunked(), &[input.as_bytes()]).end;
    assert_eq!(end(in_one(MAX_EXTENSION_BYTES)), Some(Ok(())));
    assert_eq!(end(in_one(MAX_EXTENSION_BYTES + 1)), Some(Err(Malformed::Extensions)));
    assert_eq!(end(in_many(MAX_EXTENSION_BYTES / 8)), Some(Ok(())));
    assert_eq!(end(in_many(MAX_EXTENSION_BYTES / 8 + 1)), Some(Err(Malformed::Extensions)));
    // A line that does not end is given up as soon as it cannot be good any more, in pieces or at once.
    let endless = [b"1;".as_slice(), &[b'x'; 20_000]].concat();
    assert_eq!(decode(chunked(), &[&endless]).end, Some(Err(Malformed::Extensions)));
    let bytes: Vec<&[u8]> = endless.chunks(1).collect();
    assert_eq!(decode(chunked(), &bytes).end, Some(Err(Malformed::Extensions)));
}

#[test]
fn trailers_are_bounded() {
    let section = |bytes: usize| format!("0\r\nx: {}\r\n\r\n", "y".repeat(bytes - "x: \r\n\r\n".len()));
    let end = |input: String, piece: usize| {
        decode(chunked(), &input.as_bytes().chunks(piece).collect::<Vec<_>>()).end
    };
    for piece in [1, 1_000, usize::MAX] {
        assert_eq!(end(section(MAX_TRAILER_BYTES), piece), Some(Ok(())));
        assert_eq!(end(section(MAX_TRAILER_BYTES + 1), piece), Some(Err(Malformed::Trailers)));
        assert_eq!(end("0\r\n".to_owned() + &"x".repeat(20_000), piece), Some(Err(Malformed::Trailers)));
    }
}

#[test]
fn a_length_is_that_many_bytes() {
    let expected = |data: &str, end, left: &str| Outcome {
        data: data.into(),
        end,
        left: left.into(),
        ..Outcome::default()
    };
    let three = || Decoder::Length(3);
    assert_eq!(outcome(three, b"abcHTTP"), expected("abc", Some(Ok(())), "HTTP"));
    assert_eq!(outcome(three, b"ab"), expected("ab", None, ""));
    assert_eq!(outcome(|| Decoder::Length(0), b"x"), expected("", Some(Ok(())), "x"));
    assert_eq!(outcome(|| Decoder::Length(u64::MAX), b"ab"), expected("ab", None, ""));
}

#[test]
fn only_a_body_without_a_length_ends_with_the_connection() {
    let close = |mut decoder: Decoder, input: &[u8]| {
        let mut received = BytesMut::from(input);
        while matches!(decoder.decode(&mut received), Ok(Decoded::Data(_))) {}
        (decoder.close(), decoder.decode(&mut received))
    };
    assert_eq!(close(Decoder::ToEnd, b"abc"), (true, Ok(Decoded::End)));
    assert_eq!(close(Decoder::Length(3), b"abc"), (true, Ok(Decoded::End)));
    assert_eq!(close(Decoder::Length(4), b"abc"), (false, Ok(Decoded::More)));
    for cut in ["", "3", "3\r\nab", "3\r\nabc", "3\r\nabc\r\n", "0\r\n", "0\r\n\r", "0\r\nx: 1\r\n"] {
        assert_eq!(close(chunked(), cut.as_bytes()), (false, Ok(Decoded::More)), "{cut:?}");
    }
}
