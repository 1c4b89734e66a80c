//! Building the table: parse, sort by precedence, refuse conflicts, lay out.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;

use super::edges::{Edges, NONE};
use super::method::Methods;
use super::pattern::{Pattern, PatternError, Segment};
use super::precedence::{Host, Precedence};
use super::{Candidate, Hosts, Node, Router, Rule, RuleId, Span};
use crate::config::{HeaderMatch, Route, Service};

/// Nodes and candidates that the worst possible request may visit in the trie of one host.
pub const STEPS_MAX: usize = 4_096;

/// Why services make no routing table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    #[error("{place}: {fault}")]
    Pattern { place: Place, fault: PatternError },
    #[error(
        "{later} would match the same requests as {earlier}: give them different paths, hosts, headers or methods"
    )]
    Conflict { earlier: Box<Place>, later: Box<Place> },
    #[error(
        "the routes of {host} would take up to {steps} steps to search, more than {STEPS_MAX}: use fewer variables beside literals, or fewer header conditions on one path"
    )]
    Steps { host: String, steps: usize },
}

/// A route's position in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub service: String,
    pub path: String,
    /// Index into the configuration's services.
    pub service_index: usize,
    /// Index into the service's routes; `None` for the implicit route of a service without any.
    pub route_index: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.route_index {
            Some(_) => write!(f, "route `{}` of service `{}`", self.path, self.service),
            None => write!(f, "service `{}`, reached at `/{}`", self.service, self.service),
        }
    }
}

pub(super) fn router(services: &[Service]) -> Result<Router, RouteError> {
    let (rules, mut listings) = list(services)?;
    refuse_conflicts(services, &rules, &listings)?;
    listings.sort_by(|a, b| a.precedence.cmp(&b.precedence));
    let mut tries = Tries::new();
    for listing in &listings {
        tries.insert(listing, &rules[listing.rule.0 as usize]);
    }
    tries.check_steps()?;
    let depth = listings.iter().map(|listing| listing.pattern.segments.len()).max().unwrap_or(0);
    // A path has at least one segment, which is split off even if all there is are patterns `/*`.
    Ok(tries.into_router(rules.into(), depth.max(1)))
}

/// A rule under one of its hosts.
pub(super) struct Listing {
    pub(super) rule: RuleId,
    pub(super) host: Host,
    pub(super) pattern: Pattern,
    /// Segments to strip before forwarding, at most all of the pattern's.
    stripped: usize,
    pub(super) precedence: Precedence,
}

/// All rules, and each under all of its hosts.
pub(super) fn list(services: &[Service]) -> Result<(Vec<Rule>, Vec<Listing>), RouteError> {
    let mut rules = Vec::new();
    let mut listings = Vec::new();
    for (service_index, service) in services.iter().enumerate() {
        if service.routes.is_empty() {
            let implicit = Route { path: format!("/{}/*", service.name), ..Route::default() };
            add(&mut rules, &mut listings, &implicit, place(services, service_index, None))?;
        }
        for (route_index, route) in service.routes.iter().enumerate() {
            add(&mut rules, &mut listings, route, place(services, service_index, Some(route_index)))?;
        }
    }
    Ok((rules, listings))
}

fn add(
    rules: &mut Vec<Rule>,
    listings: &mut Vec<Listing>,
    route: &Route,
    place: Place,
) -> Result<(), RouteError> {
    let parsed = Pattern::parse(&route.path).and_then(|pattern| {
        let stripped = match (&route.rewrite.strip_prefix, place.route_index) {
            (Some(prefix), _) => pattern.stripped_by(prefix)?,
            (None, None) => pattern.segments.len(),
            (None, Some(_)) => 0,
        };
        Ok((pattern, stripped))
    });
    let (pattern, stripped) = match parsed {
        Ok(parsed) => parsed,
        Err(fault) => return Err(RouteError::Pattern { place, fault }),
    };
    let id = RuleId(rules.len() as u32);
    let position = (place.service_index, place.route_index);
    let mut hosts: Vec<Host> = route.hosts.iter().map(|host| Host::parse(host)).collect();
    hosts.sort();
    hosts.dedup();
    if hosts.is_empty() {
        hosts.push(Host::Any);
    }
    for host in hosts {
        let any_method = route.methods.is_empty();
        let precedence = Precedence::new(&host, &pattern, route.headers.len(), any_method, position);
        listings.push(Listing { rule: id, host, pattern: pattern.clone(), stripped, precedence });
    }
    rules.push(Rule {
        service: place.service_index,
        route: place.route_index,
        name: route.path.as_str().into(),
        variables: pattern.variables().map(Into::into).collect(),
        methods: Methods::new(&route.methods),
        headers: route.headers.clone().into(),
    });
    Ok(())
}

fn place(services: &[Service], service_index: usize, route_index: Option<usize>) -> Place {
    let service = &services[service_index];
    let path = route_index.map_or_else(|| format!("/{}/*", service.name), |i| service.routes[i].path.clone());
    Place { service: service.name.clone(), path, service_index, route_index }
}

/// Two routes clash when host, shape of the path and header conditions are the same, however their variables are
/// called, and a method is served by both: the later one would never see a request of it.
fn refuse_conflicts(services: &[Service], rules: &[Rule], listings: &[Listing]) -> Result<(), RouteError> {
    type Shape<'a> = (&'a Host, Vec<Option<&'a str>>, bool, Vec<(&'a str, Option<&'a [u8]>)>);
    let mut seen: HashMap<Shape<'_>, Vec<RuleId>> = HashMap::new();
    for listing in listings {
        let rule = &rules[listing.rule.0 as usize];
        let segments = listing.pattern.segments.iter().map(|segment| match segment {
            Segment::Literal(text) => Some(&**text),
            Segment::Variable(_) => None,
        });
        let shape = (&listing.host, segments.collect(), listing.pattern.tail, header_set(&rule.headers));
        let alike = seen.entry(shape).or_default();
        for earlier in alike.iter().map(|id| &rules[id.0 as usize]) {
            if earlier.methods.clashes_with(&rule.methods) {
                return Err(RouteError::Conflict {
                    earlier: place(services, earlier.service, earlier.route).into(),
                    later: place(services, rule.service, rule.route).into(),
                });
            }
        }
        alike.push(listing.rule);
    }
    Ok(())
}

fn header_set(headers: &[HeaderMatch]) -> Vec<(&str, Option<&[u8]>)> {
    let mut set: Vec<_> =
        headers.iter().map(|h| (h.name.as_str(), h.value.as_ref().map(|value| value.as_bytes()))).collect();
    set.sort();
    set.dedup();
    set
}

/// The tries while they grow. Nodes 0 to 2 are the starting points of [`Hosts`].
struct Tries {
    nodes: Vec<Growing>,
    edges: HashMap<(u32, Box<str>), u32>,
    roots: Vec<(Host, u32)>,
}

#[derive(Default)]
struct Growing {
    parent: u32,
    variable: Option<u32>,
    has_literals: bool,
    exact: Vec<Candidate>,
    tail: Vec<Candidate>,
}

const EXACT: u32 = 0;
const SUFFIX: u32 = 1;
const ANY: u32 = 2;

impl Tries {
    fn new() -> Tries {
        let nodes = vec![Growing::default(), Growing::default(), Growing::default()];
        Tries { nodes, edges: HashMap::new(), roots: vec![(Host::Any, ANY)] }
    }

    /// Listings come in order of precedence, so each node's candidates do.
    fn insert(&mut self, listing: &Listing, rule: &Rule) {
        let mut node = self.root(&listing.host);
        for segment in &listing.pattern.segments {
            node = match segment {
                Segment::Literal(text) => self.literal(node, text).0,
                Segment::Variable(_) => self.variable(node),
            };
        }
        let candidate = Candidate {
            rule: listing.rule,
            methods: rule.methods.bits(),
            has_headers: !rule.headers.is_empty(),
            stripped: listing.stripped as u8,
        };
        let node = &mut self.nodes[node as usize];
        if listing.pattern.tail { &mut node.tail } else { &mut node.exact }.push(candidate);
    }

    fn root(&mut self, host: &Host) -> u32 {
        let (root, new) = match host {
            Host::Exact(name) => self.literal(EXACT, name),
            Host::Suffix(name) => self.literal(SUFFIX, name),
            Host::Any => (ANY, false),
        };
        if new {
            self.roots.push((host.clone(), root));
        }
        root
    }

    /// The child, and whether it is new.
    fn literal(&mut self, parent: u32, text: &str) -> (u32, bool) {
        let next = self.nodes.len() as u32;
        match self.edges.entry((parent, text.into())) {
            Entry::Occupied(edge) => (*edge.get(), false),
            Entry::Vacant(edge) => {
                edge.insert(next);
                self.nodes[parent as usize].has_literals = true;
                self.nodes.push(Growing { parent, ..Growing::default() });
                (next, true)
            }
        }
    }

    fn variable(&mut self, parent: u32) -> u32 {
        if let Some(child) = self.nodes[parent as usize].variable {
            return child;
        }
        let child = self.nodes.len() as u32;
        self.nodes[parent as usize].variable = Some(child);
        self.nodes.push(Growing { parent, ..Growing::default() });
        child
    }

    /// The worst request takes, from each node, the costliest of the literal children (a segment leads to one of
    /// them) and the variable besides. Children have higher numbers than their parents.
    fn check_steps(&self) -> Result<(), RouteError> {
        let mut steps = vec![0; self.nodes.len()];
        let mut literal = vec![0; self.nodes.len()];
        for (index, node) in self.nodes.iter().enumerate().skip(ANY as usize).rev() {
            let variable = node.variable.map_or(0, |child| steps[child as usize]);
            steps[index] = 1 + node.exact.len() + node.tail.len() + literal[index] + variable;
            let parent = node.parent as usize;
            if self.nodes[parent].variable != Some(index as u32) {
                literal[parent] = literal[parent].max(steps[index]);
            }
        }
        for (host, root) in &self.roots {
            let steps = steps[*root as usize];
            if steps > STEPS_MAX {
                let host = match host {
                    Host::Exact(name) => format!("host `{name}`"),
                    Host::Suffix(name) => format!("host `*.{name}`"),
                    Host::Any => "any host".to_owned(),
                };
                return Err(RouteError::Steps { host, steps });
            }
        }
        Ok(())
    }

    fn into_router(self, rules: Box<[Rule]>, depth: usize) -> Router {
        let mut candidates = Vec::new();
        let mut place = |list: &[Candidate]| {
            let span = Span { start: candidates.len() as u32, len: list.len() as u32 };
            candidates.extend_from_slice(list);
            span
        };
        let nodes = self.nodes.iter().map(|node| Node {
            variable: node.variable.unwrap_or(NONE),
            has_literals: node.has_literals,
            exact: place(&node.exact),
            tail: place(&node.tail),
        });
        let nodes: Box<[Node]> = nodes.collect();
        let hosts = Hosts {
            exact: EXACT,
            suffix: SUFFIX,
            has_exact: nodes[EXACT as usize].has_literals,
            has_suffixes: nodes[SUFFIX as usize].has_literals,
            any: ANY,
        };
        let edges = self.edges.iter().map(|((parent, text), child)| (*parent, &**text, *child));
        Router { rules, nodes, edges: Edges::new(edges), candidates: candidates.into(), hosts, depth }
    }
}
