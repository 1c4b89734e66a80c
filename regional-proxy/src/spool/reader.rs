//! The one who reads what is durable, in order, and gives up what was delivered.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::checkpoint::Checkpoint;
use super::disk::{Disk, File};
use super::frame::{Scanner, Step};
use super::segment::{Readable, SegmentName};
use super::{Counts, READ_BYTES, Shared};

/// Segments with damage that are kept after all that could be read of them was delivered; older ones are removed.
const QUARANTINED_MAX: usize = 4;
const QUARANTINED: &str = ".quarantined";
/// Reads of one place that fail before it is passed over.
const READ_ATTEMPTS: u32 = 3;
/// What is passed over of a file where it cannot be read.
const BLOCK_BYTES: usize = 4 << 10;

pub(super) struct Cursor<D: Disk> {
    shared: Arc<Shared<D>>,
    /// The next record that is wanted.
    next: u64,
    segment: Option<Open<D::File>>,
    checkpoint: Checkpoint,
    /// All before it is in the checkpoint.
    saved: u64,
    /// Segment and offset up to where damage was counted, so that what is read again is not.
    counted: (u64, u64),
}

/// The segment that is being read.
struct Open<F> {
    file: F,
    name: SegmentName,
    scanner: Scanner,
    readable: Readable,
    /// The sequence that comes next if nothing is missing.
    expected: u64,
    window: Vec<u8>,
    /// Where the window begins in the file.
    offset: u64,
    /// What of the window was looked at.
    at: usize,
    in_damage: bool,
    /// Reads that failed, one after the other.
    failures: u32,
}

impl<D: Disk> Cursor<D> {
    pub(super) fn new(shared: Arc<Shared<D>>, checkpoint: Checkpoint) -> Cursor<D> {
        let next = shared.delivered();
        // What an earlier process could not remove any more goes with the next release.
        Cursor { shared, next, segment: None, checkpoint, saved: 0, counted: (0, 0) }
    }

    /// Gives `take` up to `records_max` records, in order; fewer only if there are no more yet.
    pub(super) fn read(&mut self, records_max: usize, mut take: impl FnMut(u64, &[u8])) -> io::Result<usize> {
        // A segment that was dropped meanwhile counts as dropped, and is not read to its end.
        let is_gone = |open: &Open<D::File>| self.shared.index().readable(open.name).is_none();
        if self.segment.as_ref().is_some_and(is_gone) {
            self.segment = None;
        }
        let mut taken = 0;
        while taken < records_max {
            if self.segment.is_none() {
                self.begin_segment()?;
            }
            let Some(open) = &mut self.segment else { break };
            let window = &open.window[open.at..];
            if window.is_empty() && open.is_whole() {
                match self.finish_segment() {
                    true => continue,
                    false => break,
                }
            }
            let step = match window.is_empty() {
                true => Step::Starved,
                false => open.scanner.step(window, open.is_whole()),
            };
            match step {
                Step::Frame { sequence, payload } => {
                    let start = open.at;
                    open.at += payload.end;
                    let missing = sequence - open.expected;
                    (open.expected, open.in_damage) = (sequence + 1, false);
                    if sequence >= self.next {
                        take(sequence, &open.window[start + payload.start..start + payload.end]);
                        self.next = sequence + 1;
                        taken += 1;
                    }
                    if missing > 0 && self.is_news(false) {
                        self.shared.counts.lost.fetch_add(missing, Relaxed);
                    }
                }
                Step::Damage { bytes } => {
                    open.at += bytes;
                    let is_region = !std::mem::replace(&mut open.in_damage, true);
                    if self.is_news(false) {
                        self.shared.counts.damage(bytes as u64, is_region);
                    }
                }
                Step::Starved => open.fill(&self.shared.counts)?,
            }
        }
        Ok(taken)
    }

    /// The record that is read next.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Goes back, to read again from a record that was not delivered after all.
    pub(super) fn rewind(&mut self, sequence: u64) {
        (self.next, self.segment) = (sequence, None);
    }

    /// Waits until there is a record to read, for at most `timeout`.
    pub(super) fn wait(&self, timeout: Duration) {
        let index = self.shared.index();
        if index.next() <= self.next {
            drop(self.shared.grown.wait_timeout_while(index, timeout, |index| index.next() <= self.next));
        }
    }

    /// Makes it durable that all below `delivered` was, and then removes what holds nothing else.
    pub(super) fn release(&mut self, delivered: u64) -> io::Result<()> {
        if delivered > self.saved {
            self.shared.delivered.fetch_max(delivered, Relaxed);
            self.checkpoint.save(&self.shared.disk, delivered)?;
            self.saved = delivered;
        }
        loop {
            let Some(segment) = self.shared.index().retire_below(self.saved) else { break };
            let name = segment.name.to_string();
            match segment.damaged {
                true => self.quarantine(&name)?,
                false => self.shared.disk.remove(&name)?,
            }
        }
        Ok(())
    }

    fn quarantine(&self, name: &str) -> io::Result<()> {
        let disk = &self.shared.disk;
        disk.rename(name, &format!("{name}{QUARANTINED}"))?;
        let mut kept: Vec<String> =
            disk.names()?.into_iter().filter(|name| name.ends_with(QUARANTINED)).collect();
        kept.sort_unstable();
        kept[..kept.len().saturating_sub(QUARANTINED_MAX)].iter().try_for_each(|name| disk.remove(name))
    }

    /// Opens the segment that the next record is in, if there is one.
    fn begin_segment(&mut self) -> io::Result<()> {
        let index = self.shared.index();
        let Some(name) = index.find(self.next) else { return Ok(()) };
        let Some(readable) = index.readable(name) else { return Ok(()) };
        drop(index);
        self.segment = Some(Open {
            file: self.shared.disk.open(&name.to_string())?,
            name,
            scanner: Scanner::new(name.salt, name.first..readable.below),
            readable,
            expected: name.first,
            window: Vec::new(),
            offset: 0,
            at: 0,
            in_damage: false,
            failures: 0,
        });
        Ok(())
    }

    /// All that was durable of the segment has been read: goes on to what was added since, or to the next segment. False
    /// if there is neither.
    fn finish_segment(&mut self) -> bool {
        let Some(open) = &mut self.segment else { return false };
        let index = self.shared.index();
        let Some(readable) = index.readable(open.name) else {
            drop(index);
            self.segment = None;
            return true;
        };
        if readable.durable_bytes > open.readable.durable_bytes {
            open.extend(readable);
            return true;
        }
        if index.after(open.name).is_none() {
            // Sequences that were spent on failures, or lost to damage, will not come any more.
            self.next = self.next.max(index.next());
            return false;
        }
        drop(index);
        let missing = if open.in_damage { readable.below.saturating_sub(open.expected) } else { 0 };
        if missing > 0 && self.is_news(true) {
            self.shared.counts.lost.fetch_add(missing, Relaxed);
        }
        self.next = self.next.max(readable.below);
        self.segment = None;
        true
    }

    /// Whether the cursor is where it never was before. Damage marks the segment, which is then kept.
    fn is_news(&mut self, is_end: bool) -> bool {
        let Some(open) = &self.segment else { return false };
        self.shared.index().mark_damaged(open.name);
        let here = (open.name.first, if is_end { u64::MAX } else { open.offset + open.at as u64 });
        let is_news = here > self.counted;
        self.counted = self.counted.max(here);
        is_news
    }
}

impl<F: File> Open<F> {
    fn is_whole(&self) -> bool {
        self.offset + self.window.len() as u64 == self.readable.durable_bytes
    }

    fn extend(&mut self, readable: Readable) {
        self.readable = readable;
        self.scanner.extend(readable.below);
    }

    /// Reads on. What still cannot be read after some attempts is taken for zeros, which are no frame, so that reading goes
    /// on behind them.
    fn fill(&mut self, counts: &Counts) -> io::Result<()> {
        self.window.drain(..self.at);
        self.offset += self.at as u64;
        self.at = 0;
        let have = self.window.len();
        let start = self.offset + have as u64;
        let left = self.readable.durable_bytes - start;
        self.window.resize(have + READ_BYTES.min(left as usize), 0);
        let into = &mut self.window[have..];
        let read = match self.file.read_at(into, start) {
            Ok(read) if read == into.len() => Ok(()),
            Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) => Err(error),
        };
        let Err(error) = read else {
            self.failures = 0;
            return Ok(());
        };
        counts.fail(&error);
        self.failures += 1;
        if self.failures < READ_ATTEMPTS {
            self.window.truncate(have);
            return Err(error);
        }
        self.failures = 0;
        for (index, block) in into.chunks_mut(BLOCK_BYTES).enumerate() {
            let read = self.file.read_at(block, start + (index * BLOCK_BYTES) as u64);
            block[read.unwrap_or(0)..].fill(0);
        }
        Ok(())
    }
}
