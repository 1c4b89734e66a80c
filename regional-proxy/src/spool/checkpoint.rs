//! How far everything was delivered, on disk before anything is removed. Replaced whole, never in part.

use std::io;

use super::disk::{Disk, File};

const NAME: &str = "checkpoint";
/// The next checkpoint's file is made ahead, while there is room: on a full disk it could not be made, and without a
/// checkpoint nothing could be removed.
const SPARE: &str = "checkpoint.next";
const MAGIC: [u8; 8] = *b"TgCheck1";
const BYTES: usize = 20;

/// One past the last sequence that was delivered, with all before it; `None` if nothing was ever said.
///
/// # Errors
///
/// Also if the file is there and damaged: guessing would deliver everything again, or lose what is left.
pub(super) fn load<D: Disk>(disk: &D) -> io::Result<Option<u64>> {
    let file = match disk.open(NAME) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = [0; BYTES];
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, format!("the file `{NAME}` is damaged"));
    match file.read_at(&mut bytes, 0)? {
        BYTES => decode(&bytes).map(Some).ok_or_else(damaged),
        _ => Err(damaged()),
    }
}

/// When this returns, a crash no longer forgets it.
pub(super) fn save<D: Disk>(disk: &D, delivered: u64) -> io::Result<()> {
    let spare = match disk.open(SPARE) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => disk.create(SPARE),
        other => other,
    };
    let written = spare.and_then(|file| {
        file.write_all_at(&encode(delivered), 0)?;
        file.sync()
    });
    if let Err(error) = written {
        // What it holds is unknown now; the next one is made anew.
        let _ = disk.remove(SPARE);
        return Err(error);
    }
    disk.rename(SPARE, NAME)?;
    disk.sync_names()
}

/// Makes the next checkpoint's file, with its block. Without room for it there is none, and no harm in that yet.
pub(super) fn make_spare<D: Disk>(disk: &D) {
    let Ok(file) = disk.create(SPARE) else { return };
    if file.write_all_at(&[0; BYTES], 0).is_err() {
        let _ = disk.remove(SPARE);
    }
}

fn encode(delivered: u64) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..16].copy_from_slice(&delivered.to_le_bytes());
    let checksum = crc32c::crc32c(&bytes[..16]);
    bytes[16..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8; BYTES]) -> Option<u64> {
    let delivered = u64::from_le_bytes(bytes[8..16].try_into().ok()?);
    (encode(delivered) == *bytes).then_some(delivered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_bit_is_noticed() {
        let bytes = encode(0x0102_0304);
        assert_eq!(decode(&bytes), Some(0x0102_0304));
        for bit in 0..BYTES * 8 {
            let mut changed = bytes;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&changed), None, "bit {bit}");
        }
    }
}
