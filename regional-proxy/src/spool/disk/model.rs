//! A disk that forgets: what was not synced may be gone after a cut, in part and in any order, and each operation may
//! fail. After a failed sync it does what Linux does: the pages count as clean, are read back, and were never written.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, File};

/// Units that are written whole or not at all.
const SECTOR_BYTES: usize = 512;

#[derive(Clone)]
pub(crate) struct ModelDisk(Arc<Mutex<State>>);

pub(crate) struct ModelFile {
    disk: ModelDisk,
    inode: usize,
    /// Files that were open when the power was cut are of no use.
    boot: u64,
}

/// How often, of 1,000 operations that could, one fails.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) no_space: u64,
    pub(crate) short_write: u64,
    pub(crate) sync: u64,
    pub(crate) read: u64,
}

struct State {
    seed: u64,
    boot: u64,
    faults: Faults,
    /// Operations until the power is cut.
    fuse: Option<u64>,
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    unsynced_names: Vec<NameChange>,
}

#[derive(Clone)]
enum NameChange {
    Link(String, usize),
    Rename(String, String),
    Unlink(String),
}

#[derive(Clone, Default)]
struct Inode {
    contents: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors of `contents` that were written and not synced.
    dirty: Vec<usize>,
}

impl ModelDisk {
    pub(crate) fn new(seed: u64) -> ModelDisk {
        ModelDisk(Arc::new(Mutex::new(State {
            seed,
            boot: 0,
            faults: Faults::default(),
            fuse: None,
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
        })))
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// Cuts the power after so many operations; from then on everything fails.
    pub(crate) fn cut_after(&self, operations: u64) {
        self.lock().fuse = Some(operations);
    }

    /// Cuts the power, if it was not yet, and comes back with what is left.
    pub(crate) fn restart(&self) {
        let mut state = self.lock();
        let state = &mut *state;
        (state.boot, state.fuse) = (state.boot + 1, None);
        for change in std::mem::take(&mut state.unsynced_names) {
            if draw(&mut state.seed, 2) == 0 {
                apply(&mut state.durable_names, change);
            }
        }
        state.names = state.durable_names.clone();
        for inode in &mut state.inodes {
            inode.lose(&mut state.seed);
        }
    }

    pub(crate) fn draw(&self, below: u64) -> u64 {
        draw(&mut self.lock().seed, below)
    }

    /// Changes one bit of a file, durably.
    pub(crate) fn flip(&self, name: &str, bit: usize) {
        let mut state = self.lock();
        let inode = state.names[name];
        let inode = &mut state.inodes[inode];
        for bytes in [&mut inode.contents, &mut inode.durable] {
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    pub(crate) fn bytes(&self, name: &str) -> usize {
        let state = self.lock();
        state.inodes[state.names[name]].contents.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn operate(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        match &mut state.fuse {
            Some(0) => return Err(io::Error::other("the power is off")),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(state)
    }

    fn file(&self, inode: usize, boot: u64) -> ModelFile {
        ModelFile { disk: self.clone(), inode, boot }
    }
}

impl State {
    fn inode(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn change(&mut self, change: NameChange) {
        apply(&mut self.names, change.clone());
        self.unsynced_names.push(change);
    }

    fn fails(&mut self, per_thousand: u64) -> bool {
        draw(&mut self.seed, 1_000) < per_thousand
    }
}

impl Inode {
    /// What was not synced is there sector by sector, as it was before, or in pieces.
    fn lose(&mut self, seed: &mut u64) {
        let longest = self.contents.len().max(self.durable.len());
        let shortest = self.contents.len().min(self.durable.len());
        let dirty = std::mem::take(&mut self.dirty);
        let len = if dirty.is_empty() && longest == shortest {
            longest
        } else {
            shortest + draw(seed, (longest - shortest) as u64 + 1) as usize
        };
        let synced = self.durable.len();
        let mut left = self.durable.clone();
        left.resize(longest, 0);
        for sector in dirty {
            let range = sector * SECTOR_BYTES..((sector + 1) * SECTOR_BYTES).min(self.contents.len());
            match draw(seed, 8) {
                _ if range.start >= range.end => {}
                0..4 => left[range.clone()].copy_from_slice(&self.contents[range]),
                // A sector with synced bytes is written whole or not at all.
                4 if range.start >= synced => left[range].fill_with(|| draw(seed, 256) as u8),
                _ => {}
            }
        }
        left.truncate(len);
        (self.contents, self.durable) = (left.clone(), left);
    }
}

impl Disk for ModelDisk {
    type File = ModelFile;

    fn create(&self, name: &str) -> io::Result<ModelFile> {
        let mut state = self.operate()?;
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let no_space = state.faults.no_space;
        if state.fails(no_space) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let inode = state.inodes.len();
        state.inodes.push(Inode::default());
        state.change(NameChange::Link(name.to_owned(), inode));
        Ok(self.file(inode, state.boot))
    }

    fn open(&self, name: &str) -> io::Result<ModelFile> {
        let state = self.operate()?;
        Ok(self.file(state.inode(name)?, state.boot))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.operate()?.names.keys().cloned().collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.operate()?;
        state.inode(from)?;
        state.change(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.operate()?;
        state.inode(name)?;
        state.change(NameChange::Unlink(name.to_owned()));
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut state = self.operate()?;
        let sync = state.faults.sync;
        if state.fails(sync) {
            return Err(io::Error::other("injected: the folder was not synced"));
        }
        state.durable_names = state.names.clone();
        state.unsynced_names.clear();
        Ok(())
    }
}

impl ModelFile {
    fn operate(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.operate()?;
        match state.boot == self.boot {
            true => Ok(state),
            false => Err(io::Error::other("this file was open before the cut")),
        }
    }
}

impl File for ModelFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut state = self.operate()?;
        let (no_space, short_write) = (state.faults.no_space, state.faults.short_write);
        // What is overwritten has its blocks already.
        let grows = offset as usize + bytes.len() > state.inodes[self.inode].contents.len();
        if grows && state.fails(no_space) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut len = bytes.len();
        if len > 1 && state.fails(short_write) {
            len = 1 + draw(&mut state.seed, len as u64 - 1) as usize;
        }
        let offset = offset as usize;
        let inode = &mut state.inodes[self.inode];
        inode.contents.resize(inode.contents.len().max(offset + len), 0);
        inode.contents[offset..offset + len].copy_from_slice(&bytes[..len]);
        inode.dirty.extend(offset / SECTOR_BYTES..=(offset + len - 1) / SECTOR_BYTES);
        Ok(len)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.operate()?;
        let read = state.faults.read;
        if state.fails(read) {
            return Err(io::Error::other("injected: the block cannot be read"));
        }
        let contents = &state.inodes[self.inode].contents;
        let rest = contents.get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(bytes.len());
        bytes[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.operate()?.inodes[self.inode].contents.len() as u64)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.operate()?;
        state.inodes[self.inode].contents.resize(bytes as usize, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.operate()?;
        let sync = state.faults.sync;
        let fails = state.fails(sync);
        let inode = &mut state.inodes[self.inode];
        let dirty = std::mem::take(&mut inode.dirty);
        if fails {
            return Err(io::Error::other("injected: the file was not synced"));
        }
        inode.durable.resize(inode.contents.len(), 0);
        for sector in dirty {
            let range = sector * SECTOR_BYTES..((sector + 1) * SECTOR_BYTES).min(inode.contents.len());
            if range.start < range.end {
                inode.durable[range.clone()].copy_from_slice(&inode.contents[range]);
            }
        }
        Ok(())
    }
}

fn apply(names: &mut BTreeMap<String, usize>, change: NameChange) {
    match change {
        NameChange::Link(name, inode) => drop(names.insert(name, inode)),
        NameChange::Rename(from, to) => {
            if let Some(inode) = names.remove(&from) {
                names.insert(to, inode);
            }
        }
        NameChange::Unlink(name) => drop(names.remove(&name)),
    }
}

/// SplitMix64.
fn draw(seed: &mut u64, below: u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) % below
}
