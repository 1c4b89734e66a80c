//! Heads as text: one line for each name and each value, since neither can hold a line break.

use std::fmt::Write;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::store::Post;

/// The lines of a text.
pub(crate) type Lines<'a> = std::str::Split<'a, char>;

/// The rest of `lines` as header fields; what HTTP does not allow as one is left out.
pub(crate) fn headers(lines: &mut Lines<'_>) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(16);
    while let (Some(name), Some(value)) = (lines.next(), lines.next()) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.append(name, value);
        }
    }
    headers
}

/// Appends every field but those that the platform writes itself.
pub(crate) fn write(headers: &HeaderMap, text: &mut String) {
    for (name, value) in headers {
        let is_framing =
            [header::HOST, header::CONTENT_LENGTH, header::CONNECTION, header::TRANSFER_ENCODING]
                .contains(name);
        if !is_framing {
            text.push('\n');
            text.push_str(name.as_str());
            text.push('\n');
            text.push_str(&String::from_utf8_lossy(value.as_bytes()));
        }
    }
}

/// The step that posts to the shared store. JSON has no line break of its own in it.
pub(super) fn post(post: &Post<'_>, text: &mut String) {
    let Post { url, token, timeout, body } = post;
    // Writing into a string cannot fail.
    let _ =
        write!(text, "charge\n{url}\n{token}\n{}\n{}", timeout.as_millis(), String::from_utf8_lossy(body));
}
