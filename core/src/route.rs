//! Routing: which rule of the configuration a request falls under.
//!
//! A [`Router`] is an immutable table built once from the services of a configuration. A route matches a request
//! when all of its conditions hold (host, path, headers, method); of several that match, the one that comes first in
//! a documented, total order wins: see `precedence`. Paths are
//!
//! - exact, `/a/b`;
//! - templates, `/payments/{id}`, where a variable stands for one whole segment that is not empty;
//! - prefixes, `/a/*`, which match `/a`, `/a/` and everything below, but not `/ab`. `/*` matches every path.
//!
//! A slash at the end counts: `/a` and `/a/` are two paths. A service without routes is reached at `/<name>` and
//! below, with that prefix stripped.
//!
//! Paths are compared segment by segment in a form in which harmless escapes are decoded, so `/%61dmin` is caught
//! by a route for `/admin`. What is forwarded keeps the client's spelling. An encoded slash never separates: it is
//! part of its segment, `/a%2Fb` is not below `/a`, and a server that takes it for a slash needs a route saying so.
//!
//! # How long a lookup takes
//! Each host has a trie of segments; a lookup tries the exact host's, those of the wildcards, then that of any
//! host. In a trie it prefers the literal child, then the variable, then the prefix, and goes back where a choice
//! leads nowhere. Since a node is reached by one way only, no node is visited twice; how many nodes and candidates
//! the worst possible request can make it visit is computed when the table is built, and a configuration that
//! exceeds [`STEPS_MAX`] in one trie is refused. The path is split and hashed once, and no deeper than the deepest
//! pattern.

mod build;
mod edges;
mod method;
mod pattern;
mod precedence;
mod segments;

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue, Method};

use crate::config::{HeaderMatch, Service};
use crate::url::comparable;
pub use build::{Place, RouteError, STEPS_MAX};
use edges::{Edges, NONE, TextHash};
use method::{Methods, Refused};
pub use pattern::{PATTERN_BYTES_MAX, PatternError, SEGMENTS_MAX, VARIABLES_MAX};
use segments::Segments;

/// The routing table of one configuration.
pub struct Router {
    rules: Box<[Rule]>,
    nodes: Box<[Node]>,
    edges: Edges,
    /// Of each node in one stretch, best first.
    candidates: Box<[Candidate]>,
    /// Roots of the tries: the edges from here lead to those of exact hosts.
    hosts: Hosts,
    /// Segments of the deepest pattern.
    depth: usize,
}

/// A rule's number in its [`Router`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleId(u32);

/// One route of the configuration, or the implicit one of a service without routes.
#[derive(Debug)]
pub struct Rule {
    /// Index into the configuration's services.
    pub service: usize,
    /// Index into the service's routes; `None` for the implicit one.
    pub route: Option<usize>,
    /// The path pattern as written; its name in events.
    pub name: Box<str>,
    /// Names of the captured variables, in the order of the path.
    pub variables: Box<[Box<str>]>,
    methods: Methods,
    headers: Box<[HeaderMatch]>,
}

/// The rule a request falls under, and where its variables are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    pub rule: RuleId,
    captures: Captures,
    stripped: u16,
}

/// Why no rule applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Miss {
    NotFound,
    /// At least one route matched everything but the method.
    MethodNotAllowed {
        /// What they would have served, sorted by name, each once.
        allow: Vec<Method>,
    },
}

/// The variables of a match, as ranges of the path that was looked up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Captures {
    ranges: [(u16, u16); VARIABLES_MAX],
    len: u8,
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Router").field("rules", &self.rules.len()).finish_non_exhaustive()
    }
}

impl Router {
    /// The table for these services; a rule's indices refer to them.
    pub fn build(services: &[Service]) -> Result<Router, RouteError> {
        build::router(services)
    }

    /// The rule for a request.
    ///
    /// `host` and `path` are those of a [`Target`](crate::url::Target). Takes no memory unless the path has escapes or
    /// the method is refused.
    pub fn find(&self, host: &str, path: &str, method: &Method, headers: &HeaderMap) -> Result<Match, Miss> {
        if !path.starts_with('/') || path.len() > usize::from(u16::MAX) {
            return Err(Miss::NotFound);
        }
        let compared = comparable(path);
        let segments = Segments::split(&compared, self.depth);
        let mut search = Search {
            router: self,
            path: &compared,
            segments: &segments,
            method,
            method_bit: method::bit(method).unwrap_or(0),
            headers,
            refused: Refused::default(),
        };
        let mut variables = Variables::default();
        let mut found = None;
        for root in self.hosts.tries(&self.edges, host) {
            found = search.descend(root, 0, &mut variables);
            if found.is_some() {
                break;
            }
        }
        let Some(candidate) = found else {
            return Err(search.miss());
        };
        // Ranges refer to the path as it came, which has the same segments.
        match compared {
            Cow::Borrowed(_) => Ok(candidate.matched(&segments, &variables)),
            Cow::Owned(_) => Ok(candidate.matched(&Segments::split(path, self.depth), &variables)),
        }
    }

    /// The rule of a [`Match`] that this router made.
    pub fn rule(&self, id: RuleId) -> &Rule {
        &self.rules[id.0 as usize]
    }

    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }
}

impl Rule {
    /// The value of a variable, still encoded; `path` is the one that was looked up.
    pub fn variable<'a>(&self, name: &str, found: &Match, path: &'a str) -> Option<&'a str> {
        let index = self.variables.iter().position(|variable| **variable == *name)?;
        found.captures.get(index, path)
    }

    fn accepts_headers(&self, headers: &HeaderMap) -> bool {
        self.headers.iter().all(|condition| condition.is_in(headers))
    }
}

impl HeaderMatch {
    pub(crate) fn is_in(&self, headers: &HeaderMap) -> bool {
        match &self.value {
            None => headers.contains_key(&self.name),
            Some(value) => headers.get_all(&self.name).iter().any(|given| given == value),
        }
    }
}

impl Match {
    /// The variables in the order of the path.
    pub fn captures(&self) -> &Captures {
        &self.captures
    }

    /// Bytes to take off the path's front before it is forwarded; they end before a slash or at the path's end.
    pub fn stripped(&self) -> usize {
        usize::from(self.stripped)
    }
}

impl Captures {
    /// The text of the variable at `index`, still encoded; `path` is the one that was looked up.
    pub fn get<'a>(&self, index: usize, path: &'a str) -> Option<&'a str> {
        let (start, end) = *self.ranges[..usize::from(self.len)].get(index)?;
        path.get(usize::from(start)..usize::from(end))
    }

    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Miss {
    /// The value of the Allow header (RFC 9110 section 10.2.1), which a 405 must carry.
    pub fn allow(&self) -> Option<HeaderValue> {
        let Miss::MethodNotAllowed { allow } = self else {
            return None;
        };
        let names: Vec<&str> = allow.iter().map(Method::as_str).collect();
        HeaderValue::try_from(names.join(", ")).ok()
    }
}

/// A node of a trie; which child follows a literal is in [`Edges`].
#[derive(Clone)]
struct Node {
    /// The child for a variable, or [`NONE`].
    variable: u32,
    has_literals: bool,
    /// For paths that end here.
    exact: Span,
    /// For paths that end here or go on.
    tail: Span,
}

/// A stretch of the candidates.
#[derive(Clone, Copy, Default)]
struct Span {
    start: u32,
    len: u32,
}

/// A rule at a node, with what most lookups need of it: the rule itself, another cache line, is left alone.
#[derive(Clone, Copy)]
struct Candidate {
    rule: RuleId,
    /// Registered methods it serves if its headers match.
    methods: u16,
    has_headers: bool,
    /// Segments to strip before forwarding.
    stripped: u8,
}

impl Candidate {
    /// `segments` are those of the path as it came.
    fn matched(&self, segments: &Segments, variables: &Variables) -> Match {
        let mut captures = Captures { len: variables.len, ..Captures::default() };
        for (range, depth) in captures.ranges.iter_mut().zip(variables.depths()) {
            *range = segments.range(usize::from(*depth));
        }
        Match { rule: self.rule, captures, stripped: segments.end_of_first(usize::from(self.stripped)) }
    }
}

/// Where the tries are.
struct Hosts {
    /// Edges from this node are exact hosts.
    exact: u32,
    /// Edges from this node are what follows `*.`.
    suffix: u32,
    has_exact: bool,
    has_suffixes: bool,
    any: u32,
}

impl Hosts {
    /// The roots of the tries that a host is looked up in, most specific first.
    fn tries<'a>(&'a self, edges: &'a Edges, host: &'a str) -> impl Iterator<Item = u32> + 'a {
        let root = |parent, name: &str| edges.child(parent, name.as_bytes(), TextHash::of(name.as_bytes()));
        let exact = self.has_exact.then(|| root(self.exact, host)).flatten();
        let named = if self.has_suffixes { host } else { "" };
        let suffixes = named.match_indices('.').filter(|(dot, _)| *dot > 0);
        let suffixes = suffixes.filter_map(move |(dot, _)| root(self.suffix, &named[dot + 1..]));
        exact.into_iter().chain(suffixes).chain([self.any])
    }
}

/// One lookup under way.
struct Search<'a> {
    router: &'a Router,
    /// In comparable form.
    path: &'a str,
    segments: &'a Segments,
    method: &'a Method,
    method_bit: u16,
    headers: &'a HeaderMap,
    /// Methods of the routes that matched everything else.
    refused: Refused,
}

/// Depths of the variables that were passed on the way to the current node.
#[derive(Default)]
struct Variables {
    depths: [u8; VARIABLES_MAX],
    len: u8,
}

impl Variables {
    fn depths(&self) -> &[u8] {
        &self.depths[..usize::from(self.len)]
    }
}

impl Search<'_> {
    /// The best rule below a node that was reached by `depth` segments. Recursion ends at [`SEGMENTS_MAX`].
    fn descend(&mut self, node: u32, depth: usize, variables: &mut Variables) -> Option<Candidate> {
        let here = &self.router.nodes[node as usize];
        if self.segments.end_at(depth) {
            return self.admit(here.exact).or_else(|| self.admit(here.tail));
        }
        if here.has_literals {
            let (text, hash) = self.segments.get(depth, self.path);
            if let Some(child) = self.router.edges.child(node, text, hash)
                && let Some(found) = self.descend(child, depth + 1, variables)
            {
                return Some(found);
            }
        }
        if here.variable != NONE && !self.segments.get(depth, self.path).0.is_empty() {
            variables.depths[usize::from(variables.len)] = depth as u8;
            variables.len += 1;
            if let Some(found) = self.descend(here.variable, depth + 1, variables) {
                return Some(found);
            }
            variables.len -= 1;
        }
        self.admit(here.tail)
    }

    /// The first of a node's candidates whose other conditions hold.
    fn admit(&mut self, span: Span) -> Option<Candidate> {
        let router = self.router;
        let candidates = &router.candidates[span.start as usize..][..span.len as usize];
        for candidate in candidates {
            if !candidate.has_headers && candidate.methods & self.method_bit != 0 {
                return Some(*candidate);
            }
            let rule = router.rule(candidate.rule);
            if !rule.accepts_headers(self.headers) {
                continue;
            }
            if rule.methods.contains(self.method) {
                return Some(*candidate);
            }
            self.refused.add(&rule.methods);
        }
        None
    }

    fn miss(self) -> Miss {
        let allow = self.refused.into_sorted();
        if allow.is_empty() { Miss::NotFound } else { Miss::MethodNotAllowed { allow } }
    }
}

#[cfg(test)]
mod tests;
