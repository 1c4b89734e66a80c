//! Key sets (JWKS, RFC 7517) as they are fetched: one flight at a time for each address.
//!
//! Whoever needs a set that is on its way looks for what came of it, on a timer of its own: a request that its host ends
//! takes nobody with it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Uri, header};
use spin_sdk::wasip3::clocks::monotonic_clock;
use tollgate_core::{KEY_SET_TIMEOUT, KeysFailure, MAX_KEY_SET_BYTES};

use super::body::{self, Source, Uncollected};
use super::clock;
use super::message::{self, Answered, Outgoing};

/// Redirects that are followed, all with the scheme of the first address.
const REDIRECTS_MAX: usize = 3;

/// How often a request looks whether the key set came that another one fetches.
const LOOK: Duration = Duration::from_millis(5);

pub(super) type Fetched = Result<Rc<[u8]>, KeysFailure>;

/// A fetch under way, for all who need it.
struct Flight {
    /// On the host's monotonic clock: when nobody believes in it any more.
    lost_at_ns: u64,
    outcome: RefCell<Option<Fetched>>,
}

thread_local! {
    /// By address; bounded by the addresses that the policy names.
    static FLIGHTS: RefCell<HashMap<String, Rc<Flight>>> = RefCell::default();
}

/// The key set at `url`, from the fetch that is under way or from a new one.
pub(super) async fn fetch(url: &str) -> Fetched {
    let known = FLIGHTS.with_borrow(|flights| flights.get(url).cloned());
    let Some(flight) = known.filter(|flight| !flight.is_lost()) else { return land(url).await };
    loop {
        if let Some(fetched) = &*flight.outcome.borrow() {
            return fetched.clone();
        }
        if flight.is_lost() {
            return Err(KeysFailure::Unreachable);
        }
        clock::sleep(LOOK).await;
    }
}

pub(super) fn as_core_takes_it(fetched: &Fetched) -> Result<&[u8], KeysFailure> {
    fetched.as_deref().map_err(|failure| *failure)
}

async fn land(url: &str) -> Fetched {
    let lost_at_ns = monotonic_clock::now() + clock::nanoseconds(KEY_SET_TIMEOUT);
    let flight = Rc::new(Flight { lost_at_ns, outcome: RefCell::default() });
    FLIGHTS.with_borrow_mut(|flights| flights.insert(url.to_owned(), flight.clone()));
    let fetched = clock::within(KEY_SET_TIMEOUT, follow(url)).await.unwrap_or(Err(KeysFailure::Unreachable));
    *flight.outcome.borrow_mut() = Some(fetched.clone());
    // Whoever comes from here on wants a newer answer than this one.
    FLIGHTS.with_borrow_mut(|flights| {
        if flights.get(url).is_some_and(|known| Rc::ptr_eq(known, &flight)) {
            flights.remove(url);
        }
    });
    fetched
}

impl Flight {
    fn is_lost(&self) -> bool {
        monotonic_clock::now() >= self.lost_at_ns
    }
}

async fn follow(url: &str) -> Fetched {
    let mut uri: Uri = url.parse().map_err(|_| KeysFailure::Unreachable)?;
    for _ in 0..=REDIRECTS_MAX {
        let Answered { response, went } = get(&uri).await.ok_or(KeysFailure::Unreachable)?;
        let head = message::response(&response).ok_or(KeysFailure::Unreachable)?;
        if head.status.is_redirection()
            && let Some(location) = head.headers.get(header::LOCATION)
        {
            uri = redirected(&uri, location).ok_or(KeysFailure::Unreachable)?;
            continue;
        }
        if head.status != http::StatusCode::OK {
            return Err(KeysFailure::Status(head.status.as_u16()));
        }
        let body = Source::of_response(response).collect(MAX_KEY_SET_BYTES).await;
        drop(went);
        return body.map(Rc::from).map_err(|why| match why {
            Uncollected::TooLarge => KeysFailure::TooLarge,
            Uncollected::Broken => KeysFailure::Unreachable,
        });
    }
    Err(KeysFailure::Unreachable)
}

async fn get(uri: &Uri) -> Option<Answered> {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/jwk-set+json, application/json"));
    let request = Outgoing {
        method: &Method::GET,
        scheme: uri.scheme()?,
        authority: uri.authority()?.as_str(),
        target: uri.path_and_query().map_or("/", |target| target.as_str()),
        headers: &headers,
        body: body::nothing(),
        options: None,
    };
    request.send().await.ok()
}

/// A whole address of the same scheme, or an absolute path; issuers redirect to nothing else.
fn redirected(from: &Uri, location: &HeaderValue) -> Option<Uri> {
    let to: Uri = location.to_str().ok()?.parse().ok()?;
    if to.scheme().is_some() {
        return (to.scheme() == from.scheme()).then_some(to);
    }
    let mut parts = from.clone().into_parts();
    parts.path_and_query = Some(to.path_and_query().filter(|path| path.as_str().starts_with('/'))?.clone());
    Uri::from_parts(parts).ok()
}
