//! A Cloudflare Worker.
//!
//! `js/entry.js` is the entry. It hands a request's head over as one text, does the I/O that core asks for with
//! `fetch`, and passes native objects on; [`Call`] is the exchange it talks to. Both bodies stay outside of wasm:
//!
//! - An answer of a declared length goes through a `FixedLengthStream` by `pipeTo`, which workerd does natively. Its
//!   end is known, its `Content-Length` is kept, and 64 MiB cost 50 ms of CPU; a loop in JavaScript cost 1,900 ms. What
//!   the native pipe does not say is how much of a body had passed when it broke: such an event has no bytes.
//! - An answer of unknown length is counted by a loop that reads into one buffer of 64 KiB: 175 ms for the same bytes.
//! - Nothing is decoded: `encodeResponseBody` and `encodeBody` are `manual`.
//!
//! - Signatures are WebCrypto's to check. Keys are imported once in an isolate's life, by what they are made of.
//!
//! A promise belongs to the request that made it. What requests share is core's own state, imported keys, and whether a
//! key set is on its way: whoever needs the same one looks for what came of it, on a timer of its own, so that a request
//! that is cut off takes nobody with it. Both of core's clocks are the wall clock. A Worker has no other across requests,
//! and it stands still between two pieces of I/O; core tolerates steps backwards.
//! A verified token, a window or a lease is therefore as exact as the platform's clock is, and ends with its isolate.

mod call;
mod errand;
mod jwk;
mod lines;
#[cfg(target_arch = "wasm32")]
pub mod worker;

pub use call::Call;
pub use errand::Errand;
