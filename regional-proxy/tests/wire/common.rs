//! What every test here stands on: the binary, upstreams that follow a script, and clients that say exactly what they
//! are told to.

mod certificates;
pub(crate) mod frames;
mod gateway;
mod message;
mod upstream;

use std::thread;
use std::time::{Duration, Instant};

pub(crate) use certificates::{Authority, Identity};
pub(crate) use gateway::{Gateway, free_address};
pub(crate) use message::{Message, Wire};
pub(crate) use upstream::Upstream;

/// For everything that takes milliseconds on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "it does not happen: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
