//! As much of RFC 6455 as it takes to say goodbye between two frames.

/// Close with 1001, going away (§7.4.1): the gateway drains.
pub(super) fn going_away() -> [u8; 4] {
    let code = 1001u16.to_be_bytes();
    [0x88, 2, code[0], code[1]]
}

/// The same from the client's side, where frames are masked (§5.3). A mask hides nothing from the one it is sent to.
pub(super) fn going_away_masked() -> [u8; 8] {
    let code = 1001u16.to_be_bytes();
    [0x88, 0x80 | 2, 0, 0, 0, 0, code[0], code[1]]
}

/// Follows the frames of one direction by their headers (§5.2).
#[derive(Debug, Default)]
pub(super) struct Frames {
    header: [u8; 14],
    header_len: usize,
    /// Bytes of the current frame's payload that are still to come.
    payload_left: u64,
}

impl Frames {
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let len = bytes.len().min(usize::try_from(self.payload_left).unwrap_or(usize::MAX));
                self.payload_left -= len as u64;
                bytes = &bytes[len..];
                continue;
            }
            self.header[self.header_len] = bytes[0];
            self.header_len += 1;
            bytes = &bytes[1..];
            if self.header_len >= 2 && self.header_len == self.needed() {
                self.payload_left = self.payload_len();
                self.header_len = 0;
            }
        }
    }

    /// The last byte that passed was the last one of a frame.
    pub(super) fn are_whole(&self) -> bool {
        self.header_len == 0 && self.payload_left == 0
    }

    fn needed(&self) -> usize {
        let mask = if self.header[1] & 0x80 == 0 { 0 } else { 4 };
        let extended = match self.header[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + extended + mask
    }

    fn payload_len(&self) -> u64 {
        let at = |index: usize| self.header[index];
        match at(1) & 0x7f {
            126 => u16::from_be_bytes([at(2), at(3)]).into(),
            127 => u64::from_be_bytes([at(2), at(3), at(4), at(5), at(6), at(7), at(8), at(9)]),
            short => short.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: bool) {
        let mut at_once = Frames::default();
        at_once.pass(bytes);
        let mut byte_by_byte = Frames::default();
        bytes.iter().for_each(|byte| byte_by_byte.pass(&[*byte]));
        assert_eq!((at_once.are_whole(), byte_by_byte.are_whole()), (expected, expected), "{bytes:?}");
    }

    #[test]
    fn frames_are_whole_between_one_and_the_next_only() {
        check(&[], true);
        check(&[0x81], false);
        check(&[0x81, 2, b'h'], false);
        check(&[0x81, 2, b'h', b'i'], true);
        check(&[0x81, 0x82, 1, 2, 3, 4, b'h', b'i'], true);
        check(&[0x81, 0x82, 1, 2, 3, 4, b'h'], false);
        check(&[0x89, 0, 0x81, 1], false);
        check(&[&[0x82, 126, 1, 0][..], &[0; 256]].concat(), true);
        check(&[&[0x82, 126, 1, 0][..], &[0; 255]].concat(), false);
        check(&[&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0][..], &[0; 65536]].concat(), true);
    }

    #[test]
    fn the_farewell_is_one_whole_frame() {
        check(&going_away(), true);
        check(&going_away_masked(), true);
    }
}
