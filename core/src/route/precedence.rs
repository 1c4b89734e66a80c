//! Which route wins where several match.

use std::cmp::Reverse;

use super::pattern::{Pattern, Segment};

/// The order of routes that match the same request; the smallest wins.
///
/// 1. Host: named exactly, then the wildcard with more labels, then any host.
/// 2. Path, segment by segment from the left: a literal before a variable before the rest of a prefix. A path that
///    ends comes before a prefix that goes on: `/a` before `/a/*`.
/// 3. More header conditions before fewer.
/// 4. Restricted to methods before any method.
/// 5. The order in the file: service, then route.
///
/// The order is total, since no two routes have the same position.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Precedence {
    host: HostRank,
    path: Vec<SegmentRank>,
    headers: Reverse<usize>,
    any_method: bool,
    position: (usize, Option<usize>),
}

impl Precedence {
    pub(super) fn new(
        host: &Host,
        pattern: &Pattern,
        headers: usize,
        any_method: bool,
        position: (usize, Option<usize>),
    ) -> Precedence {
        let segments = pattern.segments.iter().map(|segment| match segment {
            Segment::Literal(_) => SegmentRank::Literal,
            Segment::Variable(_) => SegmentRank::Variable,
        });
        Precedence {
            host: match host {
                Host::Exact(_) => HostRank::Exact,
                Host::Suffix(suffix) => HostRank::Suffix(Reverse(suffix.split('.').count())),
                Host::Any => HostRank::Any,
            },
            path: segments.chain(pattern.tail.then_some(SegmentRank::Tail)).collect(),
            headers: Reverse(headers),
            any_method,
            position,
        }
    }
}

/// A host condition of one route.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Host {
    Exact(Box<str>),
    /// What follows `*.`, for which one label or more stand.
    Suffix(Box<str>),
    Any,
}

impl Host {
    pub(super) fn parse(text: &str) -> Host {
        let lower = text.to_ascii_lowercase();
        match lower.strip_prefix("*.") {
            Some(suffix) => Host::Suffix(suffix.into()),
            None => Host::Exact(lower.into()),
        }
    }
}

/// The derived order is the one documented above, as is that of `SegmentRank`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum HostRank {
    Exact,
    Suffix(Reverse<usize>),
    Any,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum SegmentRank {
    Literal,
    Variable,
    Tail,
}
