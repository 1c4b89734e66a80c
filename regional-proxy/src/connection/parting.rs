//! The end of a connection, so that the last reply arrives.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::stream::Stream;

/// How long a client may take to see the end of its connection.
const LINGER: Duration = Duration::from_secs(2);
/// Bytes that are read and thrown away meanwhile.
const LINGER_BYTES: usize = 1024 * 1024;

/// RFC 9112 §9.5 and RFC 9110 §15.5.9. Nothing of the request is known that a reply could refer to.
const REQUEST_TIMEOUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\n\
    content-type: application/problem+json\r\n\
    content-length: 115\r\n\
    connection: close\r\n\r\n\
    {\"type\":\"about:blank\",\"title\":\"Request Timeout\",\"status\":408,\
    \"detail\":\"The request's head did not arrive in time.\"}";

/// Closes a connection with the half-close of RFC 9112 §9.6: a socket that is closed while its client still sends is
/// reset, and the reset can destroy a reply that the client has not read yet.
pub(super) async fn linger(mut stream: Stream) {
    // Whatever goes wrong, the socket is closed next.
    let _ = timeout(LINGER, async {
        stream.shutdown().await?;
        let mut scrap = [0; 1024];
        let mut left = LINGER_BYTES;
        loop {
            match stream.read(&mut scrap).await? {
                0 => return Ok::<_, std::io::Error>(()),
                read if read >= left => return Ok(()),
                read => left -= read,
            }
        }
    })
    .await;
}

/// Says that the head of a request took too long, and closes.
pub(super) async fn head_overdue(mut stream: Stream) {
    if let Ok(Ok(())) = timeout(LINGER, stream.write_all(REQUEST_TIMEOUT)).await {
        linger(stream).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_the_timeout_reply_is_its_body_s() {
        let text = std::str::from_utf8(REQUEST_TIMEOUT).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{}", body.len());
    }
}
