//! Events as JSON lines on disk: rotated by size, bounded in number, written by one thread.
//!
//! Nobody waits for the disk. Lanes hand over encoded batches; when the writer falls behind by more than
//! [`MAX_WAITING_BYTES`], or the disk refuses, batches are dropped and counted.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use serde::Serialize;
use tollgate_core::config;

/// Bytes handed over and not written yet; beyond it batches are dropped.
const MAX_WAITING_BYTES: u64 = 32 << 20;
const PREFIX: &str = "events-";
const SUFFIX: &str = ".jsonl";
/// How far back an unfinished last line is looked for.
const MAX_LINE_BYTES: u64 = 1 << 20;

/// The log as its producers see it; clones share it.
#[derive(Clone)]
pub struct EventLog {
    batches: Sender<Message>,
    counts: Arc<Counts>,
}

/// The writer's thread, which ends after `EventLog::close`.
pub struct Writing(JoinHandle<()>);

enum Message {
    Batch {
        lines: Vec<u8>,
        events: u64,
    },
    /// Nothing comes after it.
    Close,
}

#[derive(Default)]
struct Counts {
    waiting_bytes: AtomicU64,
    written: AtomicU64,
    dropped_slow: AtomicU64,
    dropped_disk: AtomicU64,
    last_error: Mutex<Option<String>>,
}

/// What became of the events so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EventLogStats {
    pub written: u64,
    /// The writer was behind by more than 32 MiB.
    pub dropped_slow: u64,
    /// The disk refused: it is full, or its folder is gone.
    pub dropped_disk: u64,
    pub waiting_bytes: u64,
    pub last_error: Option<String>,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot write the event log in {directory}: {source}; change event_processing.log.directory")]
pub struct EventLogError {
    directory: PathBuf,
    source: io::Error,
}

impl EventLog {
    /// Opens the folder's newest file, cutting off a last line that a crash left unfinished.
    pub fn open(rules: &config::Events) -> Result<(EventLog, Writing), EventLogError> {
        let failed = |source| EventLogError { directory: rules.directory.clone(), source };
        fs::create_dir_all(&rules.directory).map_err(failed)?;
        let files = Files::open(rules).map_err(failed)?;
        let (batches, received) = channel();
        let counts = Arc::<Counts>::default();
        let shared = counts.clone();
        let thread = std::thread::Builder::new().name("event-log".to_owned());
        let thread = thread.spawn(move || write_all(&received, files, &shared)).map_err(failed)?;
        Ok((EventLog { batches, counts }, Writing(thread)))
    }

    /// Hands over `events` lines, each with its line end.
    pub fn append(&self, lines: Vec<u8>, events: u64) {
        let bytes = lines.len() as u64;
        if self.counts.waiting_bytes.load(Ordering::Relaxed) + bytes > MAX_WAITING_BYTES {
            self.counts.dropped_slow.fetch_add(events, Ordering::Relaxed);
            return;
        }
        self.counts.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        // A log that was closed is a process that goes.
        let _ = self.batches.send(Message::Batch { lines, events });
    }

    /// Ends the writer once it wrote what was handed over before.
    pub fn close(&self) {
        let _ = self.batches.send(Message::Close);
    }

    pub fn stats(&self) -> EventLogStats {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        EventLogStats {
            written: load(&self.counts.written),
            dropped_slow: load(&self.counts.dropped_slow),
            dropped_disk: load(&self.counts.dropped_disk),
            waiting_bytes: load(&self.counts.waiting_bytes),
            last_error: self.counts.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

impl Writing {
    pub fn join(self) {
        // A writer that panicked has said so on stderr.
        let _ = self.0.join();
    }
}

fn write_all(received: &Receiver<Message>, mut files: Files, counts: &Counts) {
    while let Ok(Message::Batch { lines, events }) = received.recv() {
        let outcome = files.append(&lines);
        counts.waiting_bytes.fetch_sub(lines.len() as u64, Ordering::Relaxed);
        let count = if outcome.is_ok() { &counts.written } else { &counts.dropped_disk };
        count.fetch_add(events, Ordering::Relaxed);
        *counts.last_error.lock().unwrap_or_else(PoisonError::into_inner) =
            outcome.err().map(|e| e.to_string());
    }
}

/// The files of the log; the last of them is written.
struct Files {
    directory: PathBuf,
    file_bytes: u64,
    max_files: usize,
    number: u64,
    file: File,
    size: u64,
}

impl Files {
    fn open(rules: &config::Events) -> io::Result<Files> {
        let number = numbers(&rules.directory)?.last().copied().unwrap_or(1);
        let (file, size) = open_whole(&path(&rules.directory, number))?;
        let max_files = rules.max_files as usize;
        Ok(Files {
            directory: rules.directory.clone(),
            file_bytes: rules.file_bytes,
            max_files,
            number,
            file,
            size,
        })
    }

    /// Writes all of `lines` or, as far as readers can tell, nothing.
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.size > 0 && self.size + lines.len() as u64 > self.file_bytes {
            self.rotate()?;
        }
        if let Err(error) = self.file.write_all(lines) {
            // Part of it may be there; a line cut in half would spoil the next one too.
            self.file.set_len(self.size)?;
            self.file.seek(SeekFrom::Start(self.size))?;
            return Err(error);
        }
        self.size += lines.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let (file, size) = open_whole(&path(&self.directory, self.number + 1))?;
        (self.file, self.size) = (file, size);
        self.number += 1;
        let numbers = numbers(&self.directory)?;
        for number in &numbers[..numbers.len().saturating_sub(self.max_files)] {
            fs::remove_file(path(&self.directory, *number))?;
        }
        Ok(())
    }
}

/// Names sort by age.
fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{PREFIX}{number:012}{SUFFIX}"))
}

fn numbers(directory: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let digits = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX));
        let number: Option<u64> = digits.and_then(|digits| digits.parse().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Opens a file for appending after its last whole line.
fn open_whole(path: &Path) -> io::Result<(File, u64)> {
    let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
    let len = file.metadata()?.len();
    let start = len.saturating_sub(MAX_LINE_BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end as u64 + 1);
    let size = start + whole;
    file.set_len(size)?;
    file.seek(SeekFrom::Start(size))?;
    Ok((file, size))
}

#[cfg(test)]
mod tests;
