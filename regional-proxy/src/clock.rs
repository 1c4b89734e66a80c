//! The clock of the data path.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tollgate_core::Now;

/// Two readings that are further apart say nothing about the distance of their clocks, µs.
const MAX_READING_US: u64 = 100;

static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
/// What the wall clock is ahead of the monotonic one, µs; zero while nobody looked.
static WALL_AHEAD_US: AtomicU64 = AtomicU64::new(0);

/// Tells both times, as core wants them. The origin of `mono_us` is the first call in this process.
///
/// One clock is read for both: the wall clock is followed by `follow_wall`.
pub fn now() -> Now {
    #[cfg(feature = "frozen-clock")]
    if let Some(frozen) = frozen::now() {
        return frozen;
    }
    if WALL_AHEAD_US.load(Ordering::Relaxed) == 0 {
        follow_wall();
    }
    let mono_us = mono_us();
    Now { wall_us: mono_us + WALL_AHEAD_US.load(Ordering::Relaxed), mono_us }
}

/// Looks how far the wall clock is ahead. Data-path threads do at each tick, so that `now` follows a clock that is set
/// or slewed within 20 ms.
pub(crate) fn follow_wall() {
    let before_us = mono_us();
    let wall_us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
    let is_unset = WALL_AHEAD_US.load(Ordering::Relaxed) == 0;
    // Whoever lost the processor between the readings leaves it to the next tick.
    if is_unset || mono_us() - before_us <= MAX_READING_US {
        WALL_AHEAD_US.store(wall_us.saturating_sub(before_us).max(1), Ordering::Relaxed);
    }
}

/// Milliseconds on the monotonic clock, of the same origin as `Now::mono_us`.
pub(crate) fn mono_ms() -> u64 {
    mono_us() / 1000
}

fn mono_us() -> u64 {
    // An origin in the past keeps zero free to mean "long ago".
    ORIGIN.elapsed().as_micros() as u64 + 1_000_000
}

/// A clock that stands at what the last request's header said, so that scenarios play days in no time. Only for
/// tests: no build that users run has the feature.
#[cfg(feature = "frozen-clock")]
pub(crate) mod frozen {
    use std::sync::Mutex;

    use http::HeaderMap;
    use tollgate_core::Now;

    static FROZEN: Mutex<Option<Now>> = Mutex::new(None);

    /// Takes `tollgate-frozen-clock: wall_us,mono_us` out of a request.
    pub(crate) fn take(headers: &mut HeaderMap) {
        let value = headers.remove("tollgate-frozen-clock");
        let value = value.as_ref().and_then(|value| value.to_str().ok()?.split_once(','));
        if let Some((wall_us, mono_us)) = value
            && let (Ok(wall_us), Ok(mono_us)) = (wall_us.parse(), mono_us.parse())
        {
            *FROZEN.lock().expect("no holder panics") = Some(Now { wall_us, mono_us });
        }
    }

    pub(super) fn now() -> Option<Now> {
        *FROZEN.lock().expect("no holder panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_is_the_systems() {
        follow_wall();
        let told_us = now().wall_us;
        let system_us = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
        assert!(told_us.abs_diff(system_us) < 1_000_000, "{told_us} {system_us}");
    }
}
