//! Paths and queries as the WHATWG URL standard writes them: <https://url.spec.whatwg.org/#path-state>.

use std::borrow::Cow;

use super::UrlError;

/// The canonical form of a path with an optional `?query`; borrowed if it already is canonical.
pub(super) fn target(text: &str) -> Result<Cow<'_, str>, UrlError> {
    if is_canonical(text.as_bytes())? {
        return Ok(Cow::Borrowed(text));
    }
    let (path, query) = match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (text, None),
    };
    let mut out = String::with_capacity(text.len() + SLACK_BYTES);
    push_path(&mut out, path)?;
    if let Some(query) = query {
        out.push('?');
        push_encoded(&mut out, query, path.len() + 1, &QUERY)?;
    }
    Ok(Cow::Owned(out))
}

/// The canonical form of a path; a `?` in it is encoded.
pub(super) fn path(text: &str) -> Result<Cow<'_, str>, UrlError> {
    if !text.contains('?') && is_canonical(text.as_bytes())? {
        return Ok(Cow::Borrowed(text));
    }
    let mut out = String::with_capacity(text.len() + SLACK_BYTES);
    push_path(&mut out, text)?;
    Ok(Cow::Owned(out))
}

/// The canonical form of a query.
pub(super) fn query(text: &str) -> Result<Cow<'_, str>, UrlError> {
    if is_canonical_query(text.as_bytes(), 0)? {
        return Ok(Cow::Borrowed(text));
    }
    let mut out = String::with_capacity(text.len() + SLACK_BYTES);
    push_encoded(&mut out, text, 0, &QUERY)?;
    Ok(Cow::Owned(out))
}

/// The form of a canonical path in which paths are compared: an escape of a character that could as well stand
/// there itself is decoded, the digits of all others are upper case.
///
/// Two segments have the same comparable form exactly when they decode to the same bytes, so `/%61dmin` does not
/// slip past a route for `/admin` to a server that decodes it. Slashes are neither made nor removed: the form
/// has the same number of segments.
pub(crate) fn comparable(path: &str) -> Cow<'_, str> {
    let Some(first) = path.find('%') else {
        return Cow::Borrowed(path);
    };
    let mut out = String::with_capacity(path.len());
    out.push_str(&path[..first]);
    let mut rest = &path[first..];
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        match decode(rest.as_bytes(), at) {
            Some(byte) => {
                match PATH[byte as usize] {
                    Class::Keep | Class::Dot => out.push(byte as char),
                    _ => push_escape(&mut out, byte),
                }
                rest = &rest[at + 3..];
            }
            None => {
                out.push('%');
                rest = &rest[at + 1..];
            }
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Room for a few escapes before the text is moved.
const SLACK_BYTES: usize = 16;

/// What canonicalisation does about a byte; one table, so that the common byte costs one load and one branch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Keep,
    Slash,
    Dot,
    Percent,
    Backslash,
    Query,
    Encode,
}

/// The path percent-encode set, which holds `^` since 2024, and the bytes the path state looks at.
const PATH: [Class; 256] = classes(b" \"#<>?^`{}", true);

/// The special-query percent-encode set.
const QUERY: [Class; 256] = classes(b" \"#<>'", false);

const fn classes(encode: &[u8], path: bool) -> [Class; 256] {
    let mut table = [Class::Keep; 256];
    let mut byte = 0;
    while byte < 256 {
        if byte < 0x20 || byte > 0x7e {
            table[byte] = Class::Encode;
        }
        byte += 1;
    }
    let mut i = 0;
    while i < encode.len() {
        table[encode[i] as usize] = Class::Encode;
        i += 1;
    }
    table[b'%' as usize] = Class::Percent;
    if path {
        table[b'/' as usize] = Class::Slash;
        table[b'.' as usize] = Class::Dot;
        table[b'\\' as usize] = Class::Backslash;
        table[b'?' as usize] = Class::Query;
    }
    table
}

/// `false` leaves what follows unchecked: rewriting checks it again.
fn is_canonical(bytes: &[u8]) -> Result<bool, UrlError> {
    if bytes.first() != Some(&b'/') {
        return Ok(false);
    }
    for (at, &byte) in bytes.iter().enumerate().skip(1) {
        match PATH[byte as usize] {
            Class::Keep | Class::Slash => {}
            Class::Dot if bytes[at - 1] != b'/' => {}
            Class::Dot if starts_with_dots(&bytes[at..]) => return Ok(false),
            Class::Dot => {}
            Class::Percent => {
                check_escape(bytes, at, 0)?;
                if bytes[at - 1] == b'/' && starts_with_dots(&bytes[at..]) {
                    return Ok(false);
                }
            }
            Class::Query => return is_canonical_query(&bytes[at + 1..], at + 1),
            Class::Backslash | Class::Encode => return Ok(false),
        }
    }
    Ok(true)
}

fn is_canonical_query(bytes: &[u8], offset: usize) -> Result<bool, UrlError> {
    for (at, &byte) in bytes.iter().enumerate() {
        match QUERY[byte as usize] {
            Class::Encode => return Ok(false),
            Class::Percent => check_escape(bytes, at, offset)?,
            _ => {}
        }
    }
    Ok(true)
}

/// The path state of the standard, on a path that is known to need it.
fn push_path(out: &mut String, path: &str) -> Result<(), UrlError> {
    let rest = path.strip_prefix(['/', '\\']).unwrap_or(path);
    let mut offset = path.len() - rest.len();
    let mut segments = rest.split(['/', '\\']).peekable();
    while let Some(segment) = segments.next() {
        match dots(segment.as_bytes()) {
            0 => {
                out.push('/');
                push_encoded(out, segment, offset, &PATH)?;
            }
            dots => {
                if dots == 2 {
                    out.truncate(out.rfind('/').unwrap_or(0));
                }
                // A dot segment at the end leaves the slash before it.
                if segments.peek().is_none() {
                    out.push('/');
                }
            }
        }
        offset += segment.len() + 1;
    }
    Ok(())
}

fn push_encoded(out: &mut String, text: &str, offset: usize, table: &[Class; 256]) -> Result<(), UrlError> {
    let mut copied = 0;
    for (at, character) in text.char_indices() {
        let end = at + character.len_utf8();
        // All bytes of a character beyond ASCII are in the same class.
        match table[text.as_bytes()[at] as usize] {
            Class::Percent => check_escape(text.as_bytes(), at, offset)?,
            Class::Encode | Class::Query => {
                if character == '\0' {
                    return Err(UrlError::Nul { at: offset + at });
                }
                out.push_str(&text[copied..at]);
                text.as_bytes()[at..end].iter().for_each(|byte| push_escape(out, *byte));
                copied = end;
            }
            _ => {}
        }
    }
    out.push_str(&text[copied..]);
    Ok(())
}

fn push_escape(out: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(DIGITS[usize::from(byte >> 4)] as char);
    out.push(DIGITS[usize::from(byte & 15)] as char);
}

fn check_escape(bytes: &[u8], at: usize, offset: usize) -> Result<(), UrlError> {
    match decode(bytes, at) {
        Some(0) => Err(UrlError::Nul { at: offset + at }),
        Some(_) => Ok(()),
        None => Err(UrlError::Escape { at: offset + at }),
    }
}

/// The byte that the escape at `at` stands for.
fn decode(bytes: &[u8], at: usize) -> Option<u8> {
    let digit = |i: usize| (*bytes.get(i)? as char).to_digit(16);
    Some((digit(at + 1)? << 4 | digit(at + 2)?) as u8)
}

/// Whether the first segment of `bytes` is a dot segment.
fn starts_with_dots(bytes: &[u8]) -> bool {
    let end = bytes.iter().position(|byte| matches!(byte, b'/' | b'\\' | b'?')).unwrap_or(bytes.len());
    dots(&bytes[..end]) > 0
}

/// 1 for a single-dot segment, 2 for a double-dot segment, in any spelling; else 0.
fn dots(segment: &[u8]) -> usize {
    let mut rest = segment;
    let mut count = 0;
    while !rest.is_empty() {
        rest = match rest {
            [b'.', rest @ ..] | [b'%', b'2', b'e' | b'E', rest @ ..] => rest,
            _ => return 0,
        };
        count += 1;
    }
    if count <= 2 { count } else { 0 }
}
