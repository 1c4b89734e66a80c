//! The spool: records on disk between whoever produces them and a broker that may be away.
//!
//! An append is answered after the sync that covers it, and many appends share one (`writer`, on a thread of its own).
//! One reader takes the records in order (`reader`); what it has delivered becomes a durable checkpoint before the
//! segments that held it are removed. Which bytes are a record (`frame`) and which segments there are (`segment`) is
//! decided without I/O, and all I/O goes through `disk`, so that the tests can cut its power.
//!
//! Sequences number the records from 1 and are never given twice. They may skip: whatever a failed write spent is gone.

mod checkpoint;
mod commit;
mod disk;
mod frame;
mod reader;
mod recovery;
mod segment;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

use commit::{Append, Message};
use disk::{Disk, Folder};
use reader::Cursor;
use segment::Index;
use writer::Writer;

pub(crate) use commit::Committing;
pub(crate) use frame::PAYLOAD_BYTES_MAX;

/// Bytes after which a segment is followed by the next one; it may be longer by one commit.
const SEGMENT_BYTES: u64 = 64 << 20;
/// A spool has at least so many segments, so that what was delivered makes room long before all of it was.
const SEGMENTS_MIN: u64 = 8;
/// Bytes handed over and not written yet; beyond it appends are refused.
const WAITING_BYTES_MAX: u64 = 32 << 20;
/// Bytes that are read at once.
const READ_BYTES: usize = 256 << 10;

/// What happens to records for which there is no room, be it in the configured bytes or on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overflow {
    /// They are refused, and whoever has them tries again.
    Block,
    /// They are dropped.
    DropNewest,
    /// The oldest segment is.
    DropOldest,
}

#[derive(Clone, Debug)]
struct Rules {
    /// Of all segments together.
    max_bytes: u64,
    segment_bytes: u64,
    overflow: Overflow,
}

/// Records that are appended together or not at all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// It is on the disk; `end` is one past the sequence of its last record.
    Stored { end: u64 },
    /// There was no room, and the newest are to be dropped.
    Dropped,
}

/// Why a batch was not appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SpoolError {
    #[error("the spool is full")]
    Full,
    #[error("more is waiting for the disk already than the spool takes")]
    Busy,
    #[error("the disk refused: {0}")]
    Disk(Arc<str>),
    #[error("the spool is closed")]
    Closed,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot use the spool in {directory}: {source}")]
pub(crate) struct OpenError {
    directory: PathBuf,
    source: io::Error,
}

/// The spool as its producers see it; clones share it.
#[derive(Clone)]
pub(crate) struct Spool {
    shared: Arc<Shared<Folder>>,
    messages: std::sync::mpsc::Sender<Message>,
}

/// What is read of it, by one reader.
pub(crate) struct Records(Cursor<Folder>);

/// The spool in numbers, since the start of the process where it counts something.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct SpoolStats {
    /// Records that are on the disk and not delivered yet; what failed writes spent counts, too.
    pub(crate) depth: u64,
    pub(crate) bytes: u64,
    pub(crate) segments: usize,
    pub(crate) stored: u64,
    /// Syncs that covered appends.
    pub(crate) commits: u64,
    /// Refused, and whoever had them was told.
    pub(crate) refused: u64,
    pub(crate) dropped_newest: u64,
    pub(crate) dropped_oldest: u64,
    /// Of this node's own events, which nobody could be told about.
    pub(crate) dropped_own: u64,
    /// Bytes that were being written when the former process ended.
    pub(crate) torn_bytes: u64,
    /// Pieces of segments that are no records, and their bytes.
    pub(crate) damaged_regions: u64,
    pub(crate) damaged_bytes: u64,
    /// Records that are missing where there is damage.
    pub(crate) lost: u64,
    pub(crate) last_error: Option<String>,
}

impl Spool {
    /// Takes up what the former process left in the folder, which is made if it is not there.
    pub(crate) fn open(
        directory: &Path,
        max_bytes: u64,
        overflow: Overflow,
    ) -> Result<(Spool, Records, Committing), OpenError> {
        let failed = |source| OpenError { directory: directory.to_owned(), source };
        let rules = Rules { max_bytes, segment_bytes: SEGMENT_BYTES.min(max_bytes / SEGMENTS_MIN), overflow };
        let folder = Folder::open(directory).map_err(failed)?;
        let (shared, writer, cursor) = open(folder, rules).map_err(failed)?;
        let (messages, committing) = commit::spawn(writer, shared.clone()).map_err(failed)?;
        Ok((Spool { shared, messages }, Records(cursor), committing))
    }

    /// Resolves once the batch is on the disk for certain. The batch is handed over at the first poll, and appended even
    /// if nobody waits for the answer any more.
    pub(crate) async fn append(&self, batch: Batch) -> Result<Kept, SpoolError> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        self.hand_over(Append { batch, answer: Some(answer) })?;
        answered.await.unwrap_or(Err(SpoolError::Closed))
    }

    /// Hands over records that nobody waits for; if they cannot be kept they are dropped and counted.
    pub(crate) fn offer(&self, batch: Batch) {
        // What becomes of them is counted.
        let _ = self.hand_over(Append { batch, answer: None });
    }

    pub(crate) fn stats(&self) -> SpoolStats {
        self.shared.stats()
    }

    /// Ends the writer once it wrote what was handed over before.
    pub(crate) fn close(&self) {
        let _ = self.messages.send(Message::Close);
    }

    fn hand_over(&self, append: Append) -> Result<(), SpoolError> {
        let bytes = append.batch.frame_bytes();
        let waiting = &self.shared.counts.waiting_bytes;
        if waiting.fetch_add(bytes, Relaxed) + bytes > WAITING_BYTES_MAX {
            waiting.fetch_sub(bytes, Relaxed);
            self.shared.counts.refuse(&append.batch, append.answer.is_some());
            return Err(SpoolError::Busy);
        }
        self.messages.send(Message::Append(append)).map_err(|_| SpoolError::Closed)
    }
}

impl Records {
    /// Gives `take` up to `records_max` records, in order; fewer only if there are no more yet.
    ///
    /// # Errors
    ///
    /// If a segment cannot be opened or read. Asking again may help; what never can be read is passed over then, and
    /// counted.
    pub(crate) fn read(&mut self, records_max: usize, take: impl FnMut(u64, &[u8])) -> io::Result<usize> {
        self.0.read(records_max, take)
    }

    /// The sequence that is read next: all below it were read, or will never come.
    pub(crate) fn next(&self) -> u64 {
        self.0.next()
    }

    /// Goes back, to read again from a record that was not delivered after all.
    pub(crate) fn rewind(&mut self, sequence: u64) {
        self.0.rewind(sequence);
    }

    /// Waits until there is a record to read, for at most `timeout`.
    pub(crate) fn wait(&self, timeout: Duration) {
        self.0.wait(timeout);
    }

    /// Makes it durable that all below `delivered` was delivered, and then removes what holds nothing else.
    pub(crate) fn release(&mut self, delivered: u64) -> io::Result<()> {
        self.0.release(delivered)
    }
}

impl Batch {
    /// Adds a record of at most [`PAYLOAD_BYTES_MAX`] bytes.
    pub(crate) fn push(&mut self, record: &[u8]) {
        debug_assert!(record.len() <= PAYLOAD_BYTES_MAX);
        self.push_with(|out| out.extend_from_slice(record));
    }

    /// Adds the record of at most [`PAYLOAD_BYTES_MAX`] bytes that `write` appends.
    pub(crate) fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// Of records.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    fn records(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }

    /// What it takes on the disk.
    pub(crate) fn frame_bytes(&self) -> u64 {
        (self.bytes.len() + self.ends.len() * frame::HEADER_BYTES) as u64
    }
}

/// What the writer, the reader and whoever asks for numbers share.
struct Shared<D> {
    disk: D,
    index: Mutex<Index>,
    /// Told when there is more to read.
    grown: Condvar,
    /// All below it was delivered.
    delivered: AtomicU64,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    waiting_bytes: AtomicU64,
    stored: AtomicU64,
    commits: AtomicU64,
    refused: AtomicU64,
    dropped_newest: AtomicU64,
    dropped_oldest: AtomicU64,
    dropped_own: AtomicU64,
    torn_bytes: AtomicU64,
    damaged_regions: AtomicU64,
    damaged_bytes: AtomicU64,
    lost: AtomicU64,
    last_error: Mutex<Option<String>>,
}

type Ends<D> = (Arc<Shared<D>>, Writer<D>, Cursor<D>);

/// Recovers what is on a disk, for one writer and one reader.
fn open<D: Disk>(disk: D, rules: Rules) -> io::Result<Ends<D>> {
    let recovered = recovery::recover(&disk)?;
    let counts = Counts { torn_bytes: recovered.torn_bytes.into(), ..Counts::default() };
    let shared = Arc::new(Shared {
        disk,
        index: Mutex::new(recovered.index),
        grown: Condvar::new(),
        delivered: recovered.delivered.into(),
        counts,
    });
    let writer = Writer::new(shared.clone(), rules);
    let cursor = Cursor::new(shared.clone(), recovered.checkpoint);
    Ok((shared, writer, cursor))
}

impl<D> Shared<D> {
    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn delivered(&self) -> u64 {
        self.delivered.load(Relaxed)
    }

    fn stats(&self) -> SpoolStats {
        let load = |count: &AtomicU64| count.load(Relaxed);
        let counts = &self.counts;
        let index = self.index();
        SpoolStats {
            depth: index.next().saturating_sub(self.delivered()),
            bytes: index.bytes(),
            segments: index.len(),
            stored: load(&counts.stored),
            commits: load(&counts.commits),
            refused: load(&counts.refused),
            dropped_newest: load(&counts.dropped_newest),
            dropped_oldest: load(&counts.dropped_oldest),
            dropped_own: load(&counts.dropped_own),
            torn_bytes: load(&counts.torn_bytes),
            damaged_regions: load(&counts.damaged_regions),
            damaged_bytes: load(&counts.damaged_bytes),
            lost: load(&counts.lost),
            last_error: counts.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

impl Counts {
    fn refuse(&self, batch: &Batch, is_told: bool) {
        let count = if is_told { &self.refused } else { &self.dropped_own };
        count.fetch_add(batch.len() as u64, Relaxed);
    }

    fn damage(&self, bytes: u64, is_region: bool) {
        self.damaged_bytes.fetch_add(bytes, Relaxed);
        self.damaged_regions.fetch_add(is_region.into(), Relaxed);
    }

    fn fail(&self, error: &io::Error) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
    }
}

#[cfg(test)]
mod tests;
