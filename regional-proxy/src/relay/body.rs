//! What arrives: its kind, its compression, and the events in it.

use std::io::Read;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, HeaderName, header};
use bytes::Bytes;
use serde_json::value::RawValue;

use super::refusal::Refusal;

/// How long a request's body may take to arrive.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(10);
pub(super) const KINDS: [&str; 2] = ["application/cloudevents-batch+json", "application/cloudevents+json"];
pub(super) const CODINGS: [&str; 2] = ["gzip", "zstd"];

/// Log2 of the bytes that a frame of zstd may look back, which is memory of ours: 8 MiB (RFC 9659 §3).
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

#[derive(Debug)]
pub(super) struct Form {
    is_batch: bool,
    coding: Coding,
}

#[derive(Debug)]
enum Coding {
    Identity,
    Gzip,
    Zstd,
}

impl Form {
    pub(super) fn of(headers: &HeaderMap) -> Result<Form, Refusal> {
        let kind = only(headers, header::CONTENT_TYPE).ok_or(Refusal::Kind)?;
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let is_batch = match KINDS.iter().position(|known| *known == kind) {
            Some(index) => index == 0,
            None => return Err(Refusal::Kind),
        };
        let coding = match only(headers, header::CONTENT_ENCODING).map(str::to_ascii_lowercase).as_deref() {
            None if headers.contains_key(header::CONTENT_ENCODING) => return Err(Refusal::Coding),
            None | Some("identity") => Coding::Identity,
            Some("gzip" | "x-gzip") => Coding::Gzip,
            Some("zstd") => Coding::Zstd,
            Some(_) => return Err(Refusal::Coding),
        };
        Ok(Form { is_batch, coding })
    }

    /// Decompresses no further than to `bytes_max`, however little was sent.
    pub(super) fn decode(&self, sent: Bytes, bytes_max: usize) -> Result<Vec<u8>, Refusal> {
        let mut decoded = Vec::new();
        let limit = bytes_max as u64 + 1;
        let read = match self.coding {
            Coding::Identity if sent.len() > bytes_max => return Err(Refusal::DecodedTooLong(bytes_max)),
            Coding::Identity => return Ok(sent.into()),
            Coding::Gzip => flate2::read::MultiGzDecoder::new(&*sent).take(limit).read_to_end(&mut decoded),
            Coding::Zstd => zstd::Decoder::with_buffer(&*sent).and_then(|mut decoder| {
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                decoder.take(limit).read_to_end(&mut decoded)
            }),
        };
        match read {
            Ok(_) if decoded.len() > bytes_max => Err(Refusal::DecodedTooLong(bytes_max)),
            Ok(_) => Ok(decoded),
            Err(_) => Err(Refusal::Undecodable),
        }
    }

    /// Each event as it is written, not looked into yet.
    pub(super) fn events<'a>(&self, text: &'a str) -> Result<Vec<&'a RawValue>, Refusal> {
        let events = match self.is_batch {
            true => serde_json::from_str(text),
            false => serde_json::from_str(text).map(|event| vec![event]),
        };
        events.map_err(|error| Refusal::NotJson(error.to_string()))
    }
}

pub(super) async fn read(content: Body, bytes_max: usize) -> Result<Bytes, Refusal> {
    let read = tokio::time::timeout(BODY_TIMEOUT, to_bytes(content, bytes_max));
    read.await.map_err(|_| Refusal::SlowBody)?.map_err(|error| {
        // The limit is a source of the error, whose type is axum's own.
        match std::error::Error::source(&error)
            .is_some_and(|source| source.to_string().contains("length limit"))
        {
            true => Refusal::BodyTooLong(bytes_max),
            false => Refusal::BrokenBody,
        }
    })
}

/// The value of a header that is there once.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    value.to_str().ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn form(headers: &[(HeaderName, &str)]) -> Result<Form, Refusal> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.clone(), value.parse().unwrap());
        }
        Form::of(&map)
    }

    fn gzip(bytes: &[u8]) -> Bytes {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap().into()
    }

    #[test]
    fn what_is_sent_is_read_as_it_says() {
        let form = form(&[
            (header::CONTENT_TYPE, "Application/CloudEvents-Batch+JSON; charset=utf-8"),
            (header::CONTENT_ENCODING, "GZIP"),
        ])
        .unwrap();
        assert_eq!(form.decode(gzip(b"[1]"), 3).unwrap(), b"[1]");
        assert!(matches!(form.decode(gzip(b"[12]"), 3), Err(Refusal::DecodedTooLong(3))));
        assert!(matches!(form.decode(Bytes::from_static(b"[1]"), 3), Err(Refusal::Undecodable)));
        let zstd = Form { is_batch: false, coding: Coding::Zstd };
        let bomb = zstd::encode_all(&[b' '; 1 << 20][..], 19).unwrap();
        assert!(bomb.len() < 200, "{}", bomb.len());
        assert!(matches!(zstd.decode(bomb.into(), 1 << 10), Err(Refusal::DecodedTooLong(1_024))));
        let sent = zstd::encode_all(&b"{}"[..], 1).unwrap();
        assert_eq!(zstd.decode(sent.into(), 2).unwrap(), b"{}");
        assert_eq!(zstd.events("{\"a\": 1}").unwrap()[0].get(), "{\"a\": 1}");
    }

    #[test]
    fn other_kinds_and_codings_are_refused() {
        let kind = (header::CONTENT_TYPE, KINDS[0]);
        assert!(matches!(form(&[]), Err(Refusal::Kind)));
        assert!(matches!(form(&[(header::CONTENT_TYPE, "application/json")]), Err(Refusal::Kind)));
        assert!(matches!(form(&[kind.clone(), kind.clone()]), Err(Refusal::Kind)));
        for coding in ["br", "gzip, gzip", ""] {
            let refused = form(&[kind.clone(), (header::CONTENT_ENCODING, coding)]);
            assert!(matches!(refused, Err(Refusal::Coding)), "{coding}");
        }
    }
}
