//! The power is cut at any operation, again and again: whatever was acknowledged is read back, once and in order.

use std::collections::BTreeMap;

use super::*;

const CUTS: u64 = 200;
/// Cuts that one disk goes through.
const CUTS_A_DISK: u64 = 5;

/// What the test knows of one disk, across its cuts.
#[derive(Default)]
struct Known {
    /// By sequence, and never changed: a sequence is given once.
    acknowledged: BTreeMap<u64, String>,
    /// Appended without an answer, or with an error: each may come back, as it was, or not.
    attempted: Vec<String>,
    /// What the checkpoint may say, and what it says at least.
    delivered: u64,
    released: u64,
    written: u64,
}

impl Known {
    fn batch(&mut self, disk: &ModelDisk) -> (Batch, Vec<String>) {
        let mut batch = Batch::default();
        let records: Vec<String> = (0..=disk.draw(4))
            .map(|_| {
                self.written += 1;
                // Some are longer than a sector of the disk.
                format!("{}{}", self.written, ".".repeat(disk.draw(1_200) as usize))
            })
            .collect();
        records.iter().for_each(|record| batch.push(record.as_bytes()));
        (batch, records)
    }

    fn append(&mut self, writer: &mut Writer<ModelDisk>, disk: &ModelDisk) {
        let made: Vec<_> = (0..=disk.draw(3)).map(|_| self.batch(disk)).collect();
        let batches: Vec<Batch> = made.iter().map(|(batch, _)| batch.clone()).collect();
        for ((_, records), answer) in made.into_iter().zip(writer.commit(&batches)) {
            match answer {
                Ok(Kept::Stored { end }) => {
                    let first = end - records.len() as u64;
                    for (sequence, record) in (first..).zip(records) {
                        assert_eq!(self.acknowledged.insert(sequence, record), None, "given twice");
                    }
                }
                Ok(Kept::Dropped) => panic!("nothing is dropped while appends block"),
                Err(_) => self.attempted.extend(records),
            }
        }
    }

    /// Takes what there is to read, from `next` on, and checks it against what was acknowledged.
    fn read(&mut self, cursor: &mut Cursor<ModelDisk>, records_max: usize) -> io::Result<()> {
        let from = cursor.next();
        let mut found = Vec::new();
        let take =
            |sequence, payload: &[u8]| found.push((sequence, String::from_utf8(payload.to_vec()).unwrap()));
        // An error is the end of this run, but not of what it had read before.
        let outcome = cursor.read(records_max, take);
        self.delivered = self.delivered.max(cursor.next());
        assert!(found.is_sorted_by(|a, b| a.0 < b.0), "not in order, or twice");
        for (sequence, record) in &found {
            match self.acknowledged.get(sequence) {
                Some(expected) => assert_eq!(record, expected, "another record came back"),
                None => assert!(self.attempted.contains(record), "a record that nobody wrote"),
            }
        }
        outcome?;
        let read: BTreeMap<_, _> = found.into_iter().collect();
        for sequence in self.acknowledged.range(from..cursor.next()).map(|(sequence, _)| sequence) {
            assert!(read.contains_key(sequence), "{sequence} was acknowledged and is not read");
        }
        Ok(())
    }

    fn run(&mut self, disk: &ModelDisk, rules: &Rules) -> io::Result<()> {
        let (shared, mut writer, mut cursor) = open(disk.clone(), rules.clone())?;
        let start = cursor.next();
        assert!(start <= self.delivered.max(1), "nothing undelivered is skipped: {start} {}", self.delivered);
        assert!(start >= self.released, "the checkpoint went back");
        // A failed write may leave more on the disk than it was let to; no append adds to that.
        let bytes_max = rules.max_bytes.max(shared.index().bytes());
        loop {
            match disk.draw(10) {
                0..5 => self.append(&mut writer, disk),
                5..8 => self.read(&mut cursor, 1 + disk.draw(20) as usize)?,
                8 => {
                    let delivered = cursor.next() - disk.draw(4).min(cursor.next() - start);
                    cursor.release(delivered)?;
                    self.released = self.released.max(delivered);
                }
                _ => disk.names().map(drop)?,
            }
            assert!(shared.index().bytes() <= bytes_max);
        }
    }
}

fn check(seed: u64) {
    let disk = ModelDisk::new(seed);
    let rules = Rules { max_bytes: 60_000, segment_bytes: 1 + disk.draw(9_000), overflow: Overflow::Block };
    let mut known = Known::default();
    for _ in 0..CUTS_A_DISK {
        disk.set_faults(Faults { no_space: 10, short_write: 50, sync: 20, read: 0 });
        disk.cut_after(disk.draw(400));
        // It ends when the power does, or a disk that fails ends it before.
        let _ = known.run(&disk, &rules);
        disk.restart();
        disk.set_faults(Faults::default());
        // All that is left is read, whatever the interrupted run had read of it.
        let (shared, _, mut cursor) = open(disk.clone(), rules.clone()).unwrap();
        assert!(cursor.next() <= known.delivered.max(1), "an undelivered record is skipped");
        known.read(&mut cursor, usize::MAX).unwrap();
        let last = known.acknowledged.keys().next_back().copied().unwrap_or(0);
        assert!(cursor.next() > last, "the end is missing: {} of {last}", cursor.next());
        // A cut leaves holes only where nothing was acknowledged, and nothing there was lost.
        drop(shared);
        disk.restart();
    }
    assert!(known.written > 0);
}

#[test]
fn what_was_acknowledged_before_a_cut_is_read_back_once_and_in_order() {
    for seed in 0..CUTS / CUTS_A_DISK {
        let outcome = std::panic::catch_unwind(|| check(seed));
        assert!(outcome.is_ok(), "seed {seed}");
    }
}
