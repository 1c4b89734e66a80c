//! One record on disk, and how records are found again among damage. Pure: bytes in, steps out.
//!
//! ```text
//! magic (4) | len (4) | sequence (8) | crc32c (4) | payload (len)        little-endian
//! ```
//!
//! The checksum covers the header before it and the payload, and begins with the segment's salt, which only the name
//! of the segment's file tells. So neither a payload that contains whole frames (a client chose its bytes) nor a block
//! of a removed segment that a crash left in a new one is ever taken for a record.

use std::ops::Range;

use memchr::memmem;

/// Bytes of a record; a longer one is refused before it gets here.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// Bytes before a payload.
pub(super) const HEADER_BYTES: usize = 20;

/// Its first and last byte occur nowhere in UTF-8, so that text holds no candidates.
const MAGIC: [u8; 4] = [0xf5, b'T', b'g', 0xc1];

/// Appends one frame. `payload` is at most [`PAYLOAD_BYTES_MAX`] long.
pub(super) fn encode(sequence: u64, payload: &[u8], salt: u32, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&sequence.to_le_bytes());
    let checksum = checksum(salt, &out[start..], payload);
    out.extend_from_slice(&checksum.to_le_bytes());
    out.extend_from_slice(payload);
}

/// What a window begins with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A whole record; the next step begins after its payload.
    Frame { sequence: u64, payload: Range<usize> },
    /// So many bytes are no frame; the next step begins after them.
    Damage { bytes: usize },
    /// A longer window is needed to tell.
    Starved,
}

/// Finds the frames of one segment from its start to its end.
#[derive(Debug)]
pub(super) struct Scanner {
    salt: u32,
    /// Sequences that may come next. Whatever is outside of it is old, or was forged.
    plausible: Range<u64>,
}

impl Scanner {
    /// `plausible`: the sequences that the segment may hold.
    pub(super) fn new(salt: u32, plausible: Range<u64>) -> Scanner {
        Scanner { salt, plausible }
    }

    /// The segment grew: it may hold sequences up to `below`.
    pub(super) fn extend(&mut self, below: u64) {
        self.plausible.end = below;
    }

    /// `whole`: nothing comes after this window, which is not empty.
    pub(super) fn step(&mut self, window: &[u8], whole: bool) -> Step {
        match self.decode(window) {
            Decoded::Frame(sequence, payload) => {
                self.plausible.start = sequence + 1;
                Step::Frame { sequence, payload }
            }
            Decoded::Cut if !whole => Step::Starved,
            Decoded::Cut | Decoded::Damage => Step::Damage { bytes: up_to_candidate(window, whole) },
        }
    }

    fn decode(&self, window: &[u8]) -> Decoded {
        let Some((header, rest)) = window.split_first_chunk::<HEADER_BYTES>() else {
            return Decoded::Cut;
        };
        let (magic, len, sequence, expected) = parse(header);
        let len = len as usize;
        if magic != MAGIC || len > PAYLOAD_BYTES_MAX || !self.plausible.contains(&sequence) {
            return Decoded::Damage;
        }
        let Some(payload) = rest.get(..len) else { return Decoded::Cut };
        match checksum(self.salt, &header[..HEADER_BYTES - 4], payload) == expected {
            true => Decoded::Frame(sequence, HEADER_BYTES..HEADER_BYTES + len),
            false => Decoded::Damage,
        }
    }
}

enum Decoded {
    Frame(u64, Range<usize>),
    /// What may be a frame goes on beyond the window.
    Cut,
    Damage,
}

fn parse(header: &[u8; HEADER_BYTES]) -> ([u8; 4], u32, u64, u32) {
    let [m0, m1, m2, m3, l0, l1, l2, l3, s0, s1, s2, s3, s4, s5, s6, s7, c0, c1, c2, c3] = *header;
    (
        [m0, m1, m2, m3],
        u32::from_le_bytes([l0, l1, l2, l3]),
        u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]),
        u32::from_le_bytes([c0, c1, c2, c3]),
    )
}

fn checksum(salt: u32, header: &[u8], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(salt, header), payload)
}

/// Bytes from the start of a window, which holds no frame there, to where the next one may begin.
fn up_to_candidate(window: &[u8], whole: bool) -> usize {
    match memmem::find(&window[1..], &MAGIC) {
        Some(at) => at + 1,
        None if whole => window.len(),
        // The last bytes may be the start of a magic.
        None => window.len().saturating_sub(MAGIC.len() - 1).max(1),
    }
}

#[cfg(test)]
mod tests;
