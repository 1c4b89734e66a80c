//! What a broker was sent and has not confirmed yet, and up to where it has confirmed everything. Pure.

use std::collections::VecDeque;

/// In the order of sequences, which is the order they were sent in.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    records: VecDeque<Record>,
    bytes: usize,
}

#[derive(Debug)]
struct Record {
    sequence: u64,
    bytes: usize,
    is_confirmed: bool,
}

impl InFlight {
    /// Of records, those included that wait for an earlier one.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// `sequence` is higher than any before it.
    pub(super) fn sent(&mut self, sequence: u64, bytes: usize) {
        self.bytes += bytes;
        self.records.push_back(Record { sequence, bytes, is_confirmed: false });
    }

    /// Confirmations come in any order.
    pub(super) fn confirmed(&mut self, sequence: u64) {
        let at = self.records.partition_point(|record| record.sequence < sequence);
        if let Some(record) = self.records.get_mut(at).filter(|record| record.sequence == sequence) {
            record.is_confirmed = true;
        }
    }

    /// One past the last record up to which all are confirmed, if nothing below `next` is still to be sent.
    pub(super) fn watermark(&mut self, next: u64) -> u64 {
        while let Some(record) = self.records.front().filter(|record| record.is_confirmed) {
            self.bytes -= record.bytes;
            self.records.pop_front();
        }
        self.records.front().map_or(next, |record| record.sequence)
    }

    /// Nothing of it will be confirmed any more.
    pub(super) fn clear(&mut self) {
        *self = InFlight::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watermark_passes_only_what_is_confirmed_without_a_hole() {
        let mut flight = InFlight::default();
        assert_eq!(flight.watermark(3), 3);
        for sequence in [3, 4, 7, 8] {
            flight.sent(sequence, 10);
        }
        flight.confirmed(4);
        flight.confirmed(8);
        assert_eq!((flight.watermark(9), flight.len(), flight.bytes()), (3, 4, 40));
        flight.confirmed(3);
        assert_eq!((flight.watermark(9), flight.len(), flight.bytes()), (7, 2, 20));
        flight.confirmed(5);
        flight.confirmed(7);
        assert_eq!((flight.watermark(9), flight.len(), flight.bytes()), (9, 0, 0));
    }
}
