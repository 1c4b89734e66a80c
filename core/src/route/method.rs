//! Sets of methods.

use http::Method;

/// The methods a route serves: a bit for each registered one, and names for the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Methods {
    Any,
    Only { bits: u16, others: Box<[Method]> },
}

impl Methods {
    /// Empty means any. GET brings HEAD with it (RFC 9110 section 9.3.2).
    pub(super) fn new(methods: &[Method]) -> Methods {
        if methods.is_empty() {
            return Methods::Any;
        }
        let bits = methods.iter().filter_map(bit).fold(0, |bits, bit| bits | bit);
        let head = if bits & GET != 0 { HEAD } else { 0 };
        let others = methods.iter().filter(|method| bit(method).is_none()).cloned().collect();
        Methods::Only { bits: bits | head, others }
    }

    pub(super) fn contains(&self, method: &Method) -> bool {
        match (self, bit(method)) {
            (Methods::Any, _) => true,
            (Methods::Only { bits, .. }, Some(bit)) => bits & bit != 0,
            (Methods::Only { others, .. }, None) => others.contains(method),
        }
    }

    /// The registered methods that are served.
    pub(super) fn bits(&self) -> u16 {
        match self {
            Methods::Any => u16::MAX,
            Methods::Only { bits, .. } => *bits,
        }
    }

    /// Whether one request could be told apart from the other set by nothing: both serve its method and neither
    /// is the more specific.
    pub(super) fn clashes_with(&self, other: &Methods) -> bool {
        match (self, other) {
            (Methods::Any, Methods::Any) => true,
            (Methods::Only { bits: a, others: x }, Methods::Only { bits: b, others: y }) => {
                a & b != 0 || x.iter().any(|method| y.contains(method))
            }
            _ => false,
        }
    }
}

/// Methods gathered during a lookup from routes that matched everything else.
///
/// Registered ones are bits, so that passing a route for another method on the way to the right one costs nothing.
#[derive(Debug, Default)]
pub(super) struct Refused {
    bits: u16,
    others: Vec<Method>,
}

impl Refused {
    pub(super) fn add(&mut self, methods: &Methods) {
        if let Methods::Only { bits, others } = methods {
            self.bits |= bits;
            self.others.extend_from_slice(others);
        }
    }

    /// Sorted by name, each once.
    pub(super) fn into_sorted(self) -> Vec<Method> {
        let registered = REGISTERED.into_iter().filter(|m| bit(m).is_some_and(|bit| self.bits & bit != 0));
        let mut methods: Vec<Method> = registered.chain(self.others).collect();
        methods.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        methods.dedup();
        methods
    }
}

const GET: u16 = 1;
const HEAD: u16 = 1 << 1;

const REGISTERED: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::OPTIONS,
    Method::PATCH,
    Method::CONNECT,
    Method::TRACE,
];

/// The bit of a registered method.
pub(super) fn bit(method: &Method) -> Option<u16> {
    Some(match *method {
        Method::GET => GET,
        Method::HEAD => HEAD,
        Method::POST => 1 << 2,
        Method::PUT => 1 << 3,
        Method::DELETE => 1 << 4,
        Method::OPTIONS => 1 << 5,
        Method::PATCH => 1 << 6,
        Method::CONNECT => 1 << 7,
        Method::TRACE => 1 << 8,
        _ => return None,
    })
}
