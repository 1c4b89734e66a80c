//! The one who appends: batches in, one write and one sync for all of them, answers out.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::disk::{Disk, File};
use super::frame;
use super::segment::SegmentName;
use super::{Batch, Kept, Overflow, Rules, Shared, SpoolError};

pub(super) struct Writer<D: Disk> {
    shared: Arc<Shared<D>>,
    rules: Rules,
    active: Option<Active<D::File>>,
    /// The next record's sequence.
    next: u64,
    frames: Vec<u8>,
}

/// The segment that grows.
struct Active<F> {
    file: F,
    name: SegmentName,
    /// Up to here it was synced; whatever is behind belongs to nobody.
    durable_bytes: u64,
}

impl<D: Disk> Writer<D> {
    pub(super) fn new(shared: Arc<Shared<D>>, rules: Rules) -> Writer<D> {
        let next = shared.index().next();
        Writer { shared, rules, active: None, next, frames: Vec::new() }
    }

    /// Appends batches by one write and one sync; each gets its answer, in the same order.
    pub(super) fn commit(&mut self, batches: &[Batch]) -> Vec<Result<Kept, SpoolError>> {
        let mut pending_bytes = 0;
        let admitted: Vec<_> = batches.iter().map(|batch| self.admit(batch, &mut pending_bytes)).collect();
        let chosen = || batches.iter().zip(&admitted).filter(|(_, admitted)| admitted.is_ok());
        let first = self.next;
        let written = match pending_bytes {
            0 => Ok(()),
            _ => self.write_making_room(|| chosen().map(|(batch, _)| batch)),
        };
        let counts = &self.shared.counts;
        let mut end = first;
        let answers = batches.iter().zip(&admitted).map(|(batch, admitted)| {
            let records = batch.len() as u64;
            let answer = admitted.clone().and_then(|()| written.clone());
            match answer {
                Ok(()) => {
                    end += records;
                    counts.stored.fetch_add(records, Relaxed);
                    Ok(Kept::Stored { end })
                }
                Err(SpoolError::Full) if self.rules.overflow != Overflow::Block => {
                    counts.dropped_newest.fetch_add(records, Relaxed);
                    Ok(Kept::Dropped)
                }
                Err(error) => Err(error),
            }
        });
        answers.collect()
    }

    /// Whether there is room for a batch beside what was admitted before it.
    fn admit(&mut self, batch: &Batch, pending_bytes: &mut u64) -> Result<(), SpoolError> {
        let bytes = batch.frame_bytes();
        while self.shared.index().bytes() + *pending_bytes + bytes > self.rules.max_bytes {
            if self.rules.overflow != Overflow::DropOldest || !self.drop_oldest() {
                return Err(SpoolError::Full);
            }
        }
        *pending_bytes += bytes;
        Ok(())
    }

    /// Removes the oldest segment that does not grow; false if there is none.
    fn drop_oldest(&mut self) -> bool {
        let Some((segment, sequences)) = self.shared.index().drop_oldest() else { return false };
        let undelivered = sequences.end.saturating_sub(sequences.start.max(self.shared.delivered()));
        self.shared.counts.dropped_oldest.fetch_add(undelivered, Relaxed);
        // One that stays on the disk comes back at the next start, which is no harm.
        let _ = self.shared.disk.remove(&segment.name.to_string());
        true
    }

    fn write_making_room<'a, I>(&mut self, batches: impl Fn() -> I) -> Result<(), SpoolError>
    where
        I: Iterator<Item = &'a Batch>,
    {
        loop {
            let Err(error) = self.write(batches()) else { return Ok(()) };
            self.end_segment();
            self.shared.counts.fail(&error);
            if !is_full(&error) {
                return Err(SpoolError::Disk(error.to_string().into()));
            }
            if self.rules.overflow != Overflow::DropOldest || !self.drop_oldest() {
                return Err(SpoolError::Full);
            }
        }
    }

    fn write<'a>(&mut self, batches: impl Iterator<Item = &'a Batch>) -> io::Result<()> {
        let active = match self.active.take() {
            Some(active) => active,
            None => self.begin_segment()?,
        };
        self.frames.clear();
        for record in batches.flat_map(Batch::records) {
            frame::encode(self.next, record, active.name.salt, &mut self.frames);
            // Also if it fails: nobody can say then which of them are on the disk, so that they are spent.
            self.next += 1;
        }
        let active = self.active.insert(active);
        if let Err(error) = active.file.write_all_at(&self.frames, active.durable_bytes) {
            // What is behind the durable offset of this segment, which is still ours, takes room and is nobody's.
            let _ = active.file.set_len(active.durable_bytes);
            return Err(error);
        }
        active.file.sync()?;
        active.durable_bytes += self.frames.len() as u64;
        self.shared.counts.commits.fetch_add(1, Relaxed);
        let is_full = active.durable_bytes >= self.rules.segment_bytes;
        self.shared.index().commit(active.durable_bytes, self.next);
        if is_full {
            self.end_segment();
        }
        self.shared.grown.notify_all();
        Ok(())
    }

    /// It is in the folder for certain before anything is written to it.
    fn begin_segment(&mut self) -> io::Result<Active<D::File>> {
        let salt = getrandom::u32().map_err(io::Error::other)?;
        let name = SegmentName { first: self.next, salt };
        let disk = &self.shared.disk;
        let file = disk.create(&name.to_string())?;
        if let Err(error) = disk.sync_names() {
            let _ = disk.remove(&name.to_string());
            return Err(error);
        }
        self.shared.index().open(name);
        Ok(Active { file, name, durable_bytes: 0 })
    }

    /// After a failure, or full. A sync that failed is never tried again on the same file: the pages it could not write
    /// may count as clean, and the next one would succeed without them.
    fn end_segment(&mut self) {
        let Some(active) = self.active.take() else { return };
        let mut index = self.shared.index();
        index.abandon(active.name);
        index.seal(self.next);
        drop(index);
        if active.durable_bytes == 0 {
            let _ = self.shared.disk.remove(&active.name.to_string());
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}
