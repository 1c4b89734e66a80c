//! The clock of the data path.

use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tollgate_core::Now;

static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Reads both clocks, as core wants them. The origin of `mono_us` is the first call in this process.
pub fn now() -> Now {
    #[cfg(feature = "frozen-clock")]
    if let Some(frozen) = frozen::now() {
        return frozen;
    }
    let wall_us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
    Now { wall_us, mono_us: mono_us() }
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
