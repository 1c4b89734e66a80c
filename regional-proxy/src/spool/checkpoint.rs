//! How far everything was delivered, on disk before anything is removed.
//!
//! Two files take turns, each overwritten in place while the other holds the last value: a cut in between leaves one of
//! them whole, and on a full disk, which only a checkpoint can make room on, no block has to be found for it.

use std::io;

use super::disk::{Disk, File};

const SLOTS: [&str; 2] = ["checkpoint.a", "checkpoint.b"];
const MAGIC: [u8; 8] = *b"TgCheck1";
const BYTES: usize = 20;

pub(super) struct Checkpoint {
    /// The slot with the last value.
    latest: usize,
    /// A sync of the other slot failed: it is made anew, because another sync of the same file may say anything.
    in_doubt: bool,
}

impl Checkpoint {
    /// Reads it, with one past the last sequence that was delivered with all before it; `None` if nothing ever was, or
    /// both files are damaged, when what is there is delivered again.
    pub(super) fn load<D: Disk>(disk: &D) -> io::Result<(Checkpoint, Option<u64>)> {
        let (mut latest, mut made) = (None, false);
        for (slot, name) in SLOTS.iter().enumerate() {
            let mut bytes = [0; BYTES];
            match disk.open(name) {
                Ok(file) => file.read_at(&mut bytes, 0)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    disk.create(name)?.write_all_at(&bytes, 0)?;
                    made = true;
                    continue;
                }
                Err(error) => return Err(error),
            };
            // One that was never written is none, as one that is damaged.
            latest = latest.max(decode(&bytes).map(|delivered| (delivered, slot)));
        }
        if made {
            SLOTS.iter().try_for_each(|name| disk.open(name)?.sync())?;
            disk.sync_names()?;
        }
        let checkpoint = Checkpoint { latest: latest.map_or(0, |(_, slot)| slot), in_doubt: false };
        Ok((checkpoint, latest.map(|(delivered, _)| delivered)))
    }

    /// When this returns, a crash no longer forgets it.
    pub(super) fn save<D: Disk>(&mut self, disk: &D, delivered: u64) -> io::Result<()> {
        let slot = 1 - self.latest;
        let name = SLOTS[slot];
        let is_new = std::mem::replace(&mut self.in_doubt, true);
        let file = match is_new {
            true => {
                // It may be gone since the last try.
                let _ = disk.remove(name);
                disk.create(name)?
            }
            false => disk.open(name)?,
        };
        file.write_all_at(&encode(delivered), 0)?;
        file.sync()?;
        if is_new {
            disk.sync_names()?;
        }
        *self = Checkpoint { latest: slot, in_doubt: false };
        Ok(())
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
