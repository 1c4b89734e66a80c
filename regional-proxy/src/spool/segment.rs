//! Which segments there are and what they hold. Pure: whoever changes the disk tells the index.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;

use super::frame::HEADER_BYTES;

const SUFFIX: &str = ".segment";

/// Names a segment's file. Names sort by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentName {
    /// Sequence of its first frame.
    pub(super) first: u64,
    /// Where the checksums of its frames begin.
    pub(super) salt: u32,
}

impl SegmentName {
    pub(super) fn parse(name: &str) -> Option<SegmentName> {
        let (first, salt) = name.strip_suffix(SUFFIX)?.split_once('-')?;
        let parsed = SegmentName { first: first.parse().ok()?, salt: u32::from_str_radix(salt, 16).ok()? };
        // Other spellings of the same numbers are not ours.
        (parsed.to_string() == name).then_some(parsed)
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:020}-{:08x}{SUFFIX}", self.first, self.salt)
    }
}

/// What there is to read of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Readable {
    pub(super) durable_bytes: u64,
    /// Every sequence in it is lower.
    pub(super) below: u64,
    pub(super) grows: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) name: SegmentName,
    /// What may be read of it: up to here it is on the disk for certain.
    pub(super) durable_bytes: u64,
    /// Bytes that are no records were found in it.
    pub(super) damaged: bool,
}

/// Every segment from the oldest to the newest, of which only the last may still grow.
#[derive(Debug, Default)]
pub(super) struct Index {
    segments: VecDeque<Segment>,
    /// The last segment is being written.
    open: bool,
    /// The next record's sequence.
    next: u64,
    bytes: u64,
}

impl Index {
    /// Segments that an earlier process left, sorted by name; none of them grows any more.
    pub(super) fn new(segments: Vec<Segment>, next: u64) -> Index {
        let bytes = segments.iter().map(|segment| segment.durable_bytes).sum();
        Index { segments: segments.into(), open: false, next, bytes }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.segments.len()
    }

    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Begins a segment, which is the one that grows from now on.
    pub(super) fn open(&mut self, name: SegmentName) {
        self.segments.push_back(Segment { name, durable_bytes: 0, damaged: false });
        self.open = true;
    }

    /// The open segment grew to `durable_bytes`, with which the next sequence is `next`.
    pub(super) fn commit(&mut self, durable_bytes: u64, next: u64) {
        let Some(segment) = self.segments.back_mut().filter(|_| self.open) else { return };
        self.bytes += durable_bytes - segment.durable_bytes;
        segment.durable_bytes = durable_bytes;
        self.next = next;
    }

    /// Nothing is written to the open segment any more, and no record gets a sequence below `next`.
    pub(super) fn seal(&mut self, next: u64) {
        self.open = false;
        self.next = next;
    }

    /// The segment that a sequence is in, or the next one after it. It may also end before the sequence, if that is
    /// still to come.
    pub(super) fn find(&self, sequence: u64) -> Option<SegmentName> {
        let after = self.segments.partition_point(|segment| segment.name.first <= sequence);
        self.segments.get(after.saturating_sub(1)).map(|segment| segment.name)
    }

    pub(super) fn after(&self, name: SegmentName) -> Option<SegmentName> {
        let after = self.segments.partition_point(|segment| segment.name.first <= name.first);
        self.segments.get(after).map(|segment| segment.name)
    }

    /// What a reader may read of a segment; `None` once it is gone.
    pub(super) fn readable(&self, name: SegmentName) -> Option<Readable> {
        let at = self.position(name)?;
        let durable_bytes = self.segments[at].durable_bytes;
        let end = self.end(at);
        // A segment that grows cannot hold more frames than their headers fit in.
        let below = end.unwrap_or_else(|| name.first + durable_bytes / HEADER_BYTES as u64);
        Some(Readable { durable_bytes, below, grows: end.is_none() })
    }

    pub(super) fn mark_damaged(&mut self, name: SegmentName) {
        if let Some(at) = self.position(name) {
            self.segments[at].damaged = true;
        }
    }

    /// Takes out the oldest segment, if all of its sequences are below `sequence`.
    pub(super) fn retire_below(&mut self, sequence: u64) -> Option<Segment> {
        let end = self.end(0)?;
        (end <= sequence).then(|| self.remove_oldest()).flatten()
    }

    /// Takes out the oldest segment, with the sequences that it may hold, unless it is the one that grows.
    pub(super) fn drop_oldest(&mut self) -> Option<(Segment, Range<u64>)> {
        let end = self.end(0)?;
        let segment = self.remove_oldest()?;
        let first = segment.name.first;
        Some((segment, first..end))
    }

    /// Takes out the newest segment, of which nothing became durable.
    pub(super) fn abandon(&mut self, name: SegmentName) {
        if self.segments.back().is_some_and(|segment| segment.name == name && segment.durable_bytes == 0) {
            self.segments.pop_back();
        }
    }

    fn remove_oldest(&mut self) -> Option<Segment> {
        let segment = self.segments.pop_front()?;
        self.bytes -= segment.durable_bytes;
        Some(segment)
    }

    fn position(&self, name: SegmentName) -> Option<usize> {
        let at = self.segments.partition_point(|segment| segment.name.first < name.first);
        (self.segments.get(at)?.name == name).then_some(at)
    }

    /// One past the last sequence of a segment that does not grow.
    fn end(&self, at: usize) -> Option<u64> {
        match self.segments.get(at + 1) {
            Some(next) => Some(next.name.first),
            None if self.open || at >= self.segments.len() => None,
            None => Some(self.next),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(first: u64) -> SegmentName {
        SegmentName { first, salt: 7 }
    }

    fn index(firsts: &[u64], next: u64) -> Index {
        let segment = |first: &u64| Segment { name: name(*first), durable_bytes: 100, damaged: false };
        Index::new(firsts.iter().map(segment).collect(), next)
    }

    #[test]
    fn a_name_says_where_a_segment_begins_and_its_salt() {
        let name = SegmentName { first: 42, salt: 0xdead_beef };
        assert_eq!(name.to_string(), "00000000000000000042-deadbeef.segment");
        assert_eq!(SegmentName::parse(&name.to_string()), Some(name));
        for other in
            ["42-deadbeef.segment", "00000000000000000042-DEADBEEF.segment", "checkpoint", "-.segment"]
        {
            assert_eq!(SegmentName::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_sequence_is_found_where_it_is_or_after() {
        let mut index = index(&[10, 20], 25);
        assert_eq!(index.find(3), Some(name(10)));
        assert_eq!(index.find(19), Some(name(10)));
        assert_eq!(index.find(20), Some(name(20)));
        assert_eq!(index.find(99), Some(name(20)));
        assert_eq!((index.after(name(10)), index.after(name(20))), (Some(name(20)), None));
        assert_eq!(index.readable(name(20)), Some(Readable { durable_bytes: 100, below: 25, grows: false }));
        index.open(name(25));
        index.commit(60, 27);
        assert_eq!(index.readable(name(25)), Some(Readable { durable_bytes: 60, below: 28, grows: true }));
        assert_eq!(index.readable(SegmentName { first: 25, salt: 8 }), None);
        assert_eq!((index.bytes(), index.next()), (260, 27));
    }

    #[test]
    fn a_segment_is_retired_once_all_of_it_is_below() {
        let mut index = index(&[10, 20], 25);
        index.open(name(25));
        index.commit(60, 27);
        assert_eq!(index.retire_below(19), None);
        assert_eq!(index.retire_below(20).map(|s| s.name.first), Some(10));
        assert_eq!(index.retire_below(99).map(|s| s.name.first), Some(20));
        // The one that grows stays.
        assert_eq!((index.retire_below(99), index.bytes()), (None, 60));
        index.seal(30);
        assert_eq!(index.retire_below(29), None);
        assert_eq!(index.retire_below(30).map(|s| s.name.first), Some(25));
        assert_eq!((index.len(), index.bytes(), index.next()), (0, 0, 30));
    }

    #[test]
    fn the_oldest_is_dropped_with_what_it_held() {
        let mut index = index(&[10, 20], 25);
        assert_eq!(index.drop_oldest().map(|(_, range)| range), Some(10..20));
        assert_eq!(index.drop_oldest().map(|(_, range)| range), Some(20..25));
        index.open(name(25));
        assert_eq!(index.drop_oldest(), None);
    }
}
