//! What a process finds in the folder when it starts.

use std::io;

use super::READ_BYTES;
use super::checkpoint::Checkpoint;
use super::disk::{Disk, File};
use super::frame::{HEADER_BYTES, Scanner, Step};
use super::segment::{Index, Segment, SegmentName};

/// The sequence of a spool's first record.
const FIRST: u64 = 1;

pub(super) struct Recovered {
    pub(super) index: Index,
    pub(super) checkpoint: Checkpoint,
    /// Every record below it was delivered.
    pub(super) delivered: u64,
    /// Bytes after the last whole record: what was being written when the former process ended.
    pub(super) torn_bytes: u64,
}

/// Reads the names, the checkpoint, and all of the last segment: where it ends is where sequences go on.
///
/// Nothing is appended to a segment of another process. Only past the last whole record of the last segment is anything
/// cut off: nothing there was acknowledged, unless the disk lost it.
pub(super) fn recover<D: Disk>(disk: &D) -> io::Result<Recovered> {
    let (checkpoint, delivered) = Checkpoint::load(disk)?;
    let mut segments = Vec::new();
    for name in disk.names()? {
        let Some(name) = SegmentName::parse(&name) else { continue };
        let file = name.to_string();
        match disk.open(&file)?.len()? {
            // It was made and never written.
            0 => disk.remove(&file)?,
            durable_bytes => segments.push(Segment { name, durable_bytes, damaged: false }),
        }
    }
    segments.sort_unstable_by_key(|segment| segment.name.first);
    let mut next = delivered.unwrap_or(FIRST).max(FIRST);
    let mut torn_bytes = 0;
    if let Some(last) = segments.last_mut() {
        let file = disk.open(&last.name.to_string())?;
        let (end, after) = end(&file, last)?;
        torn_bytes = last.durable_bytes - end;
        // No sequence is given twice, not even one of a record that nobody will ever read.
        let torn_records = torn_bytes.div_ceil(HEADER_BYTES as u64);
        next = next.max(after + torn_records);
        if torn_bytes > 0 {
            last.durable_bytes = end;
            file.set_len(end)?;
            file.sync()?;
        }
    }
    let start = segments.first().map_or(next, |oldest| oldest.name.first);
    let delivered = delivered.unwrap_or(start);
    Ok(Recovered { index: Index::new(segments, next), checkpoint, delivered, torn_bytes })
}

/// Where the last whole record of a segment ends, and the sequence after it.
fn end<F: File>(file: &F, segment: &Segment) -> io::Result<(u64, u64)> {
    let SegmentName { first, salt } = segment.name;
    let below = first + segment.durable_bytes / HEADER_BYTES as u64;
    let mut scanner = Scanner::new(salt, first..below);
    let (mut end, mut after) = (0, first);
    let (mut window, mut at, mut offset) = (Vec::new(), 0, 0);
    loop {
        let whole = offset + window.len() as u64 == segment.durable_bytes;
        let step = match at == window.len() {
            true if whole => return Ok((end, after)),
            true => Step::Starved,
            false => scanner.step(&window[at..], whole),
        };
        match step {
            Step::Frame { sequence, payload } => {
                at += payload.end;
                (end, after) = (offset + at as u64, sequence + 1);
            }
            Step::Damage { bytes } => at += bytes,
            Step::Starved => {
                window.drain(..at);
                offset += at as u64;
                at = 0;
                let have = window.len();
                let left = segment.durable_bytes - offset - have as u64;
                window.resize(have + READ_BYTES.min(left as usize), 0);
                let read = file.read_at(&mut window[have..], offset + have as u64)?;
                if read < window.len() - have {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
    }
}
