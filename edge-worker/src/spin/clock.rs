//! The host's clocks.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use spin_sdk::wasip3::clocks::{monotonic_clock, system_clock};
use tollgate_core::Now;

pub(super) fn now() -> Now {
    #[cfg(feature = "scenarios")]
    if let Some(now) = frozen::now() {
        return now;
    }
    let wall = system_clock::now();
    let wall_us = u64::try_from(wall.seconds).unwrap_or_default() * 1_000_000;
    Now { wall_us: wall_us + u64::from(wall.nanoseconds) / 1_000, mono_us: monotonic_clock::now() / 1_000 }
}

pub(super) async fn sleep(duration: Duration) {
    monotonic_clock::wait_for(nanoseconds(duration)).await;
}

/// `None` if `future` takes longer.
pub(super) async fn within<T>(duration: Duration, future: impl Future<Output = T>) -> Option<T> {
    let (mut future, mut timer) = (pin!(future), pin!(sleep(duration)));
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => timer.as_mut().poll(cx).map(|()| None),
    })
    .await
}

/// As the host counts a duration.
pub(super) fn nanoseconds(duration: Duration) -> u64 {
    duration.as_nanos().try_into().unwrap_or(u64::MAX)
}

/// A clock that stands at what the last request's header said, as in the regional proxy's scenarios.
#[cfg(feature = "scenarios")]
pub(super) mod frozen {
    use std::cell::Cell;

    use http::HeaderMap;
    use tollgate_core::Now;

    const HEADER: &str = "tollgate-frozen-clock";

    thread_local! {
        static FROZEN: Cell<Option<Now>> = const { Cell::new(None) };
    }

    /// Takes the header out of a request.
    pub(in crate::spin) fn take(headers: &mut HeaderMap) {
        if let Some(value) = headers.remove(HEADER)
            && let Some((wall_us, mono_us)) = value.to_str().ok().and_then(|value| value.split_once(','))
            && let (Ok(wall_us), Ok(mono_us)) = (wall_us.parse(), mono_us.parse())
        {
            FROZEN.set(Some(Now { wall_us, mono_us }));
        }
    }

    pub(super) fn now() -> Option<Now> {
        FROZEN.get()
    }
}
