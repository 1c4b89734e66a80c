//! Group commit: while one sync runs, what arrives gathers for the next.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::disk::Disk;
use super::writer::Writer;
use super::{Batch, Kept, Shared, SpoolError};

/// Bytes after which no more appends are gathered for one sync.
const COMMIT_BYTES_MAX: u64 = 8 << 20;

pub(super) enum Message {
    Append(Append),
    /// Nothing comes after it.
    Close,
}

pub(super) struct Append {
    pub(super) batch: Batch,
    /// `None`: nobody waits.
    pub(super) answer: Option<oneshot::Sender<Result<Kept, SpoolError>>>,
}

/// The writer's thread, which ends after `Spool::close`.
pub(crate) struct Committing(JoinHandle<()>);

impl Committing {
    pub(crate) fn join(self) {
        // A writer that panicked has said so on stderr.
        let _ = self.0.join();
    }
}

pub(super) fn spawn<D: Disk>(
    writer: Writer<D>,
    shared: Arc<Shared<D>>,
) -> io::Result<(Sender<Message>, Committing)> {
    let (messages, received) = channel();
    let thread = std::thread::Builder::new().name("spool".to_owned());
    let thread = thread.spawn(move || run(&received, writer, &shared))?;
    Ok((messages, Committing(thread)))
}

fn run<D: Disk>(received: &Receiver<Message>, mut writer: Writer<D>, shared: &Shared<D>) {
    let mut goes_on = true;
    while goes_on {
        let Ok(Message::Append(first)) = received.recv() else { return };
        let mut bytes = first.batch.frame_bytes();
        let (mut batches, mut answers) = (vec![first.batch], vec![first.answer]);
        while bytes < COMMIT_BYTES_MAX {
            match received.try_recv() {
                Ok(Message::Append(append)) => {
                    bytes += append.batch.frame_bytes();
                    batches.push(append.batch);
                    answers.push(append.answer);
                }
                Ok(Message::Close) => {
                    goes_on = false;
                    break;
                }
                Err(_) => break,
            }
        }
        let outcomes = writer.commit(&batches);
        shared.counts.waiting_bytes.fetch_sub(bytes, Relaxed);
        for ((answer, outcome), batch) in answers.into_iter().zip(outcomes).zip(&batches) {
            if outcome.is_err() {
                shared.counts.refuse(batch, answer.is_some());
            }
            if let Some(answer) = answer {
                // Whoever left does not want to know.
                let _ = answer.send(outcome);
            }
        }
    }
}
