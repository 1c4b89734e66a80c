//! A path's segments, split and hashed once a lookup.

use super::edges::TextHash;
use super::pattern::SEGMENTS_MAX;

/// The first segments of a path, as far as the deepest pattern needs them.
pub(super) struct Segments {
    parts: [Part; SEGMENTS_MAX],
    len: usize,
    /// The path has no further segments.
    complete: bool,
}

#[derive(Clone, Copy, Default)]
struct Part {
    start: u16,
    end: u16,
    hash: TextHash,
}

impl Segments {
    /// `path` starts with a slash and has at most 65,535 bytes.
    pub(super) fn split(path: &str, depth: usize) -> Segments {
        let bytes = path.as_bytes();
        let mut segments = Segments { parts: [Part::default(); SEGMENTS_MAX], len: 0, complete: false };
        let mut start = 1;
        for part in &mut segments.parts[..depth] {
            let end =
                bytes[start..].iter().position(|byte| *byte == b'/').map_or(bytes.len(), |at| start + at);
            *part = Part { start: start as u16, end: end as u16, hash: TextHash::of(&bytes[start..end]) };
            segments.len += 1;
            if end == bytes.len() {
                segments.complete = true;
                break;
            }
            start = end + 1;
        }
        segments
    }

    /// Whether the path has exactly `depth` segments.
    pub(super) fn end_at(&self, depth: usize) -> bool {
        self.complete && depth == self.len
    }

    /// A node at the deepest pattern's depth has no children, so no segment beyond those split is asked for.
    pub(super) fn get<'a>(&self, depth: usize, path: &'a str) -> (&'a [u8], TextHash) {
        let part = &self.parts[depth];
        (&path.as_bytes()[usize::from(part.start)..usize::from(part.end)], part.hash)
    }

    pub(super) fn range(&self, depth: usize) -> (u16, u16) {
        (self.parts[depth].start, self.parts[depth].end)
    }

    /// Where the first `count` segments end.
    pub(super) fn end_of_first(&self, count: usize) -> u16 {
        count.checked_sub(1).map_or(0, |last| self.parts[last].end)
    }
}
