//! The few things that a spool does to a disk, so that its tests can run on one that loses power.

#[cfg(test)]
pub(super) mod model;

use std::fs::{self, File as OsFile, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Whoever has it locked owns the folder.
const LOCK: &str = "lock";

/// One folder of files. Names survive a crash only after [`Disk::sync_names`], contents only after [`File::sync`].
pub(super) trait Disk: Send + Sync + 'static {
    type File: File;

    /// Makes a file that is not there yet.
    fn create(&self, name: &str) -> io::Result<Self::File>;
    fn open(&self, name: &str) -> io::Result<Self::File>;
    fn names(&self) -> io::Result<Vec<String>>;
    /// Replaces `to`, in one step.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    fn remove(&self, name: &str) -> io::Result<()>;
    fn sync_names(&self) -> io::Result<()>;
}

pub(super) trait File: Send + Sync + 'static {
    /// May write less than all, which is no error yet.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// May read less than was asked for only at the end of the file.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;
    fn len(&self) -> io::Result<u64>;
    fn set_len(&self, bytes: u64) -> io::Result<()>;
    /// Once it failed, what was written since the last one is gone or not, and another call would not tell.
    fn sync(&self) -> io::Result<()>;

    fn write_all_at(&self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write_at(bytes, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    bytes = &bytes[written..];
                    offset += written as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A folder of the operating system's, which is one process's own until it ends.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// Kept open, because the lock goes with it.
    _lock: OsFile,
}

impl Folder {
    pub(super) fn open(path: &Path) -> io::Result<Folder> {
        let mut missing: Vec<&Path> = path.ancestors().take_while(|folder| !folder.exists()).collect();
        fs::create_dir_all(path)?;
        // Each new folder is an entry of the one above it.
        while let Some(made) = missing.pop() {
            let above = made.parent().filter(|above| !above.as_os_str().is_empty());
            sync_folder(above.unwrap_or(Path::new(".")))?;
        }
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path.join(LOCK))?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => {
                io::Error::new(io::ErrorKind::WouldBlock, "another process uses this folder")
            }
            fs::TryLockError::Error(error) => error,
        })?;
        Ok(Folder { path: path.to_owned(), _lock: lock })
    }
}

impl Disk for Folder {
    type File = OsFile;

    fn create(&self, name: &str) -> io::Result<OsFile> {
        OpenOptions::new().read(true).write(true).create_new(true).open(self.path.join(name))
    }

    fn open(&self, name: &str) -> io::Result<OsFile> {
        OpenOptions::new().read(true).write(true).open(self.path.join(name))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            // What is not UTF-8 is not ours.
            names.extend(entry?.file_name().into_string().ok());
        }
        Ok(names)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        sync_folder(&self.path)
    }
}

impl File for OsFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        FileExt::write_at(self, bytes, offset)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut read = 0;
        while read < bytes.len() {
            match FileExt::read_at(self, &mut bytes[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        OsFile::set_len(self, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        // The length is data in this sense, other times are not.
        self.sync_data()
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    OsFile::open(path)?.sync_all()
}
