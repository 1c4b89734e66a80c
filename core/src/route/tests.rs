use std::time::Duration;

use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::precedence::Host;
use super::*;
use crate::config::{
    Access, HostHeader, LoadBalancer, Retries, Rewrite, Route, ServiceTimeouts, UpstreamProtocol, UpstreamTls,
};

fn service(name: &str, routes: Vec<Route>) -> Service {
    let second = Duration::from_secs(1);
    Service {
        name: name.to_owned(),
        endpoints: Vec::new(),
        load_balancer: LoadBalancer::RoundRobin,
        timeouts: ServiceTimeouts { connect: second, response: second, idle: second },
        retries: Retries { attempts: 0, budget_ratio: 0.2, floor_per_s: 1 },
        health_check: None,
        circuit_breaker: None,
        ejection: None,
        max_in_flight: None,
        tls: UpstreamTls::default(),
        protocol: UpstreamProtocol::Http1,
        host_header: HostHeader::Upstream,
        access: Access::default(),
        routes,
    }
}

fn path(path: &str) -> Route {
    Route { path: path.to_owned(), ..Route::default() }
}

/// A route written as `[METHOD,METHOD ][host]/path`.
fn route(text: &str) -> Route {
    let (methods, rest) = text.split_once(' ').unwrap_or(("", text));
    let (host, tail) = rest.split_at(rest.find('/').unwrap());
    Route {
        hosts: [host].iter().filter(|host| !host.is_empty()).map(|host| host.to_string()).collect(),
        methods: methods.split(',').filter(|m| !m.is_empty()).map(|m| m.parse().unwrap()).collect(),
        ..path(tail)
    }
}

fn with_header(mut route: Route, name: &'static str, value: Option<&'static str>) -> Route {
    let value = value.map(HeaderValue::from_static);
    route.headers.push(HeaderMatch { name: HeaderName::from_static(name), value });
    route
}

fn router(routes: &[&str]) -> Router {
    Router::build(&[service("s", routes.iter().map(|text| route(text)).collect())]).unwrap()
}

/// `requests` are `METHOD host/path`; what is expected is the name of the route, 404, or 405 with its methods.
fn check(routes: &[&str], requests: &[(&str, &str)]) {
    let router = router(routes);
    for (request, expected) in requests {
        let (method, rest) = request.split_once(' ').unwrap();
        let (host, path) = rest.split_at(rest.find('/').unwrap());
        let found = match router.find(host, path, &method.parse().unwrap(), &HeaderMap::new()) {
            Ok(found) => routes[router.rule(found.rule).route.unwrap()].to_owned(),
            Err(Miss::NotFound) => "404".to_owned(),
            Err(miss) => format!("405 {}", miss.allow().unwrap().to_str().unwrap()),
        };
        assert_eq!(found, *expected, "{request}");
    }
}

#[test]
fn a_path_that_no_pattern_covers_is_not_found() {
    check(
        &["/a/b", "/p/{id}", "/t/*"],
        &[
            ("GET h/", "404"),
            ("GET h/a", "404"),
            ("GET h/a/b/", "404"),
            ("GET h/a/b/c", "404"),
            ("GET h/A/b", "404"),
            ("GET h//a/b", "404"),
            ("GET h/p", "404"),
            ("GET h/p/", "404"),
            ("GET h/p/1/2", "404"),
            ("GET h/tt", "404"),
            ("GET h/t%2Fx", "404"),
        ],
    );
    let router = router(&["/*"]);
    assert_eq!(router.find("h", "*", &Method::OPTIONS, &HeaderMap::new()), Err(Miss::NotFound));
    let long = "/a".repeat(40_000);
    assert_eq!(router.find("h", &long, &Method::GET, &HeaderMap::new()), Err(Miss::NotFound));
}

#[test]
fn prefixes_match_at_segment_boundaries() {
    check(
        &["/a/*", "/a/b/", "/x/{id}/*"],
        &[
            ("GET h/a", "/a/*"),
            ("GET h/a/", "/a/*"),
            ("GET h/a//", "/a/*"),
            ("GET h/a/b", "/a/*"),
            ("GET h/a/b/", "/a/b/"),
            ("GET h/a/b/c/d/e/f", "/a/*"),
            ("GET h/x/1", "/x/{id}/*"),
            ("GET h/x/1/2", "/x/{id}/*"),
            ("GET h/x/", "404"),
        ],
    );
    check(&["/*"], &[("GET h/", "/*"), ("GET h/a/b", "/*"), ("GET h//", "/*")]);
    check(&["/", "/*"], &[("GET h/", "/"), ("GET h//", "/*")]);
}

#[test]
fn the_more_specific_segment_from_the_left_wins() {
    check(
        &["/*", "/{a}/*", "/{a}/{b}", "/{a}/x", "/a/*", "/a/{b}", "/a/x"],
        &[
            ("GET h/a/x", "/a/x"),
            ("GET h/a/y", "/a/{b}"),
            ("GET h/a", "/a/*"),
            ("GET h/b/x", "/{a}/x"),
            ("GET h/b/y", "/{a}/{b}"),
            ("GET h/b", "/{a}/*"),
            ("GET h/b/x/y", "/{a}/*"),
            ("GET h/a/x/y", "/a/*"),
            ("GET h//x", "/*"),
        ],
    );
}

#[test]
fn a_choice_that_leads_nowhere_is_taken_back() {
    check(
        &["/a/b/c", "/{x}/b/d", "/a/{y}/e"],
        &[("GET h/a/b/d", "/{x}/b/d"), ("GET h/a/b/e", "/a/{y}/e"), ("GET h/a/b/f", "404")],
    );
}

#[test]
fn hosts_go_before_paths() {
    check(
        &["/a", "a.b.c/*", "*.b.c/a", "*.c/a", "*.c/b"],
        &[
            ("GET a.b.c/a", "a.b.c/*"),
            ("GET x.b.c/a", "*.b.c/a"),
            ("GET x.y.b.c/a", "*.b.c/a"),
            ("GET b.c/a", "*.c/a"),
            ("GET x.b.c/b", "*.c/b"),
            ("GET c/a", "/a"),
            ("GET c/b", "404"),
            ("GET /a", "/a"),
        ],
    );
}

#[test]
fn only_a_wrong_method_is_405_and_allow_lists_what_would_be_served() {
    check(
        &["GET /a", "POST,DELETE /a", "PURGE /{x}", "GET other/a", "GET /b", "/c"],
        &[
            ("GET h/a", "GET /a"),
            ("HEAD h/a", "GET /a"),
            ("POST h/a", "POST,DELETE /a"),
            ("PURGE h/a", "PURGE /{x}"),
            ("PUT h/a", "405 DELETE, GET, HEAD, POST, PURGE"),
            ("PUT h/b", "405 GET, HEAD, PURGE"),
            ("LINK h/z", "405 PURGE"),
            ("LINK h/c", "/c"),
            ("PUT h/b/c", "404"),
        ],
    );
    check(&["GET /a", "/a"], &[("GET h/a", "GET /a"), ("POST h/a", "/a")]);
    // A route whose headers do not match says nothing about methods.
    let routes = vec![with_header(route("GET /a"), "x-v", Some("2"))];
    let router = Router::build(&[service("s", routes)]).unwrap();
    assert_eq!(router.find("h", "/a", &Method::POST, &HeaderMap::new()), Err(Miss::NotFound));
}

#[test]
fn the_route_with_more_header_conditions_wins_and_all_must_hold() {
    let routes = vec![
        path("/a"),
        with_header(path("/a"), "x-v", None),
        with_header(with_header(path("/a"), "x-v", Some("2")), "x-w", None),
    ];
    let router = Router::build(&[service("s", routes)]).unwrap();
    let check = |headers: &[(&'static str, &'static str)], expected: usize| {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        let found = router.find("h", "/a", &Method::GET, &map).unwrap();
        assert_eq!(router.rule(found.rule).route, Some(expected), "{headers:?}");
    };
    check(&[], 0);
    check(&[("x-w", "1")], 0);
    check(&[("x-v", "2")], 1);
    check(&[("x-v", "1"), ("x-w", "1")], 1);
    check(&[("x-v", "1"), ("x-v", "2"), ("x-w", "1")], 2);
}

#[test]
fn escapes_neither_bypass_a_route_nor_separate_segments() {
    check(
        &["/admin/*", "/caf\u{e9}", "GET /a b", "/x%2fy", "/{any}"],
        &[
            ("GET h/%61dmin", "/admin/*"),
            ("GET h/%61d%6Din/x", "/admin/*"),
            ("GET h/caf%c3%A9", "/caf\u{e9}"),
            ("GET h/a%20b", "GET /a b"),
            ("GET h/x%2Fy", "/x%2fy"),
            ("GET h/admin%2fx", "/{any}"),
        ],
    );
}

#[test]
fn captures_are_the_clients_spelling() {
    let router = router(&["/{a}/p/{b_2}/*"]);
    for path in ["/12/p/xyz/tail", "/%61/%70/x%2fy"] {
        let found = router.find("h", path, &Method::GET, &HeaderMap::new()).unwrap();
        let rule = router.rule(found.rule);
        let segments: Vec<&str> = path.split('/').collect();
        assert_eq!(rule.variable("a", &found, path), Some(segments[1]));
        assert_eq!(rule.variable("b_2", &found, path), Some(segments[3]));
        assert_eq!(rule.variable("c", &found, path), None);
        assert_eq!(found.captures().len(), 2);
        assert_eq!(found.captures().get(2, path), None);
        assert_eq!(found.stripped(), 0);
    }
}

#[test]
fn variables_of_an_abandoned_choice_are_not_captured() {
    let router = router(&["/{a}/{b}/x", "/{a}/*"]);
    let found = router.find("h", "/1/2/y", &Method::GET, &HeaderMap::new()).unwrap();
    assert_eq!(found.captures().len(), 1);
}

#[test]
fn a_service_without_routes_is_reached_by_its_name() {
    let router = Router::build(&[service("users", vec![]), service("orders", vec![])]).unwrap();
    for (path, stripped) in [("/orders", 7), ("/orders/", 7), ("/orders/1/2", 7), ("/%6frders/1", 9)] {
        let found = router.find("h", path, &Method::PUT, &HeaderMap::new()).unwrap();
        assert_eq!((router.rule(found.rule).service, router.rule(found.rule).route), (1, None));
        assert_eq!(found.stripped(), stripped);
    }
    assert_eq!(router.find("h", "/ordersx", &Method::PUT, &HeaderMap::new()), Err(Miss::NotFound));
}

#[test]
fn a_prefix_to_strip_is_made_of_the_paths_first_segments() {
    let strip = |pattern: &str, prefix: &str| {
        let rewrite = Rewrite { strip_prefix: Some(prefix.to_owned()), ..Rewrite::default() };
        Router::build(&[service("s", vec![Route { rewrite, ..path(pattern) }])])
    };
    for (prefix, stripped) in [("/api/{v}", 7), ("/api", 4), ("/api/", 4), ("/", 0)] {
        let router = strip("/api/{v}/*", prefix).unwrap();
        let found = router.find("h", "/api/v1/x", &Method::GET, &HeaderMap::new()).unwrap();
        assert_eq!(found.stripped(), stripped, "{prefix}");
    }
    for prefix in ["/ap", "/api/v1", "/api/{v}/x", "/api/*"] {
        let error = strip("/api/{v}/*", prefix).err().unwrap();
        assert!(matches!(error, RouteError::Pattern { fault: PatternError::Strip, .. }), "{prefix}");
    }
}

#[test]
fn patterns_that_can_never_match_are_refused() {
    let check = |pattern: &str, expected: PatternError| {
        let error = Router::build(&[service("s", vec![path("/ok"), path(pattern)])]).err().unwrap();
        let RouteError::Pattern { place, fault } = error else { panic!("{pattern}: {error}") };
        assert_eq!((fault, place.route_index), (expected, Some(1)), "{pattern}");
    };
    check("", PatternError::NoSlash);
    check("a", PatternError::NoSlash);
    check("/a?b", PatternError::Delimiter);
    check("/a\\b", PatternError::Delimiter);
    check("/a*", PatternError::Star);
    check("/*/a", PatternError::Star);
    check("/a/**", PatternError::Star);
    check("/{}", PatternError::Variable);
    check("/{a", PatternError::Variable);
    check("/x{a}", PatternError::Variable);
    check("/{a-b}", PatternError::Variable);
    check("/{a}/{a}", PatternError::VariableRepeated);
    check("/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}", PatternError::Variables);
    check(&"/a".repeat(SEGMENTS_MAX + 1), PatternError::Segments);
    check(&format!("/{}", "a".repeat(PATTERN_BYTES_MAX)), PatternError::TooLong);
    check("/a/../b", PatternError::Dots);
    check("/%2e", PatternError::Dots);
    check("/%zz", PatternError::Escape);
    check("/%00", PatternError::Escape);
}

#[test]
fn routes_that_serve_the_same_requests_are_refused_with_both_positions() {
    let check = |first: Route, second: Route, conflict: bool| {
        let name = format!("{} {}", first.path, second.path);
        match Router::build(&[service("one", vec![first]), service("two", vec![second])]) {
            Ok(_) => assert!(!conflict, "{name}"),
            Err(RouteError::Conflict { earlier, later }) => {
                assert!(conflict, "{name}");
                assert_eq!((earlier.service.as_str(), later.service.as_str()), ("one", "two"));
            }
            Err(error) => panic!("{name}: {error}"),
        }
    };
    check(route("/a"), route("/a"), true);
    check(route("/a/{x}"), route("/a/{y}"), true);
    check(route("/%61"), route("/a"), true);
    check(route("h/a"), route("H/a"), true);
    check(route("GET,POST /a"), route("POST,PUT /a"), true);
    check(route("GET /a"), route("HEAD /a"), true);
    check(with_header(path("/a"), "x", None), with_header(path("/a"), "x", None), true);
    check(path("/two/*"), path("/two/*"), true);
    check(route("/a"), route("/a/"), false);
    check(route("/a"), route("/a/*"), false);
    check(route("/a"), route("h/a"), false);
    check(route("GET /a"), route("/a"), false);
    check(route("GET /a"), route("POST /a"), false);
    check(with_header(path("/a"), "x", None), with_header(path("/a"), "x", Some("1")), false);
    let error = Router::build(&[service("one", vec![path("/two/*")]), service("two", vec![])]).err().unwrap();
    assert_eq!(
        error.to_string(),
        "service `two`, reached at `/two` would match the same requests as route `/two/*` of service `one`: \
         give them different paths, hosts, headers or methods"
    );
}

/// Every combination of a literal and a variable in `depth` segments: each lookup may have to visit all of them.
fn every_combination(depth: usize) -> Vec<Route> {
    let combination = |bits: usize| {
        (0..depth).map(|i| if bits >> i & 1 == 0 { "/a".to_owned() } else { format!("/{{v{i}}}") }).collect()
    };
    (0..1 << depth).map(|bits| Route { path: combination(bits), ..Route::default() }).collect()
}

#[test]
fn configurations_that_take_too_many_steps_to_search_are_refused() {
    // Depth d has 2^(d+1) - 1 nodes and 2^d candidates.
    assert!(Router::build(&[service("s", every_combination(8))]).is_ok());
    let error = Router::build(&[service("s", [every_combination(8), many_headers(4_000)].concat())]).err();
    assert!(matches!(error, Some(RouteError::Steps { .. })), "{error:?}");
    let error = Router::build(&[service("s", many_headers(STEPS_MAX))]).err();
    assert_eq!(error, Some(RouteError::Steps { host: "any host".to_owned(), steps: STEPS_MAX + 2 }));
}

/// Routes that differ in the value of one header.
fn many_headers(count: usize) -> Vec<Route> {
    let value = |i: usize| Some(HeaderValue::from(i));
    let header = |i| HeaderMatch { name: HeaderName::from_static("x"), value: value(i) };
    (0..count).map(|i| Route { headers: vec![header(i)], ..path("/a") }).collect()
}

#[test]
fn the_worst_request_of_an_ambiguous_configuration_is_answered() {
    let router = Router::build(&[service("s", every_combination(8))]).unwrap();
    let find = |path: &str| router.find("h", path, &Method::GET, &HeaderMap::new());
    assert_eq!(find(&"/a".repeat(9)), Err(Miss::NotFound));
    assert_eq!(find(&"/a".repeat(32_000)), Err(Miss::NotFound));
    assert_eq!(find(&format!("{}/", "/a".repeat(7))), Err(Miss::NotFound));
    assert_eq!(find(&"/b".repeat(8)).unwrap().captures().len(), 8);
}

/// The naive model: every listing is tried, the smallest precedence wins.
fn model(
    services: &[Service],
    host: &str,
    path: &str,
    method: &Method,
    headers: &HeaderMap,
) -> Result<RuleId, Miss> {
    let (rules, listings) = build::list(services).unwrap();
    let (mut best, mut allow) = (None, Vec::new());
    for listing in &listings {
        let rule = &rules[listing.rule.0 as usize];
        let host_fits = match &listing.host {
            Host::Any => true,
            Host::Exact(name) => **name == *host,
            Host::Suffix(suffix) => {
                host.strip_suffix(&**suffix).is_some_and(|h| h.len() > 1 && h.ends_with('.'))
            }
        };
        if !host_fits || !path_fits(&listing.pattern, path) || !rule.accepts_headers(headers) {
            continue;
        }
        if !rule.methods.contains(method) {
            let written = &services[rule.service].routes[rule.route.unwrap()].methods;
            allow.extend(written.iter().map(|method| method.to_string()));
            allow.extend(written.contains(&Method::GET).then(|| "HEAD".to_owned()));
        } else if best.as_ref().is_none_or(|(precedence, _)| listing.precedence < *precedence) {
            best = Some((listing.precedence.clone(), listing.rule));
        }
    }
    allow.sort();
    allow.dedup();
    match best {
        Some((_, rule)) => Ok(rule),
        None if allow.is_empty() => Err(Miss::NotFound),
        None => Err(Miss::MethodNotAllowed { allow: allow.iter().map(|m| m.parse().unwrap()).collect() }),
    }
}

fn path_fits(pattern: &pattern::Pattern, path: &str) -> bool {
    let path = comparable(path);
    let segments: Vec<&str> = path[1..].split('/').collect();
    let fits = |(pattern, text): (&pattern::Segment, &&str)| match pattern {
        pattern::Segment::Literal(literal) => **literal == **text,
        pattern::Segment::Variable(_) => !text.is_empty(),
    };
    let length_fits = match pattern.tail {
        true => segments.len() >= pattern.segments.len(),
        false => segments.len() == pattern.segments.len(),
    };
    length_fits && pattern.segments.iter().zip(&segments).all(fits)
}

fn any_route() -> impl Strategy<Value = Route> {
    let segment = prop_oneof![4 => "[ab]", 3 => Just("{}".to_owned()), 1 => Just(String::new())];
    let any_path = (proptest::collection::vec(segment, 0..5), any::<bool>()).prop_map(|(segments, tail)| {
        let named =
            segments.iter().enumerate().map(|(i, s)| format!("/{}", s.replace("{}", &format!("{{v{i}}}"))));
        let path: String = named.chain(tail.then(|| "/*".to_owned())).collect();
        if path.is_empty() { "/".to_owned() } else { path }
    });
    let hosts = proptest::sample::subsequence(vec!["x.y.z", "*.y.z", "*.z", "y.z"], 0..3);
    let methods = proptest::sample::subsequence(vec!["GET", "POST", "PURGE"], 0..3);
    let header = prop_oneof![3 => Just(vec![]), 1 => Just(vec![("k", None)]), 1 => Just(vec![("k", Some("1"))]),
        1 => Just(vec![("k", Some("1")), ("l", None)])];
    (any_path, hosts, methods, header).prop_map(|(text, hosts, methods, headers)| {
        let route = Route {
            hosts: hosts.into_iter().map(str::to_owned).collect(),
            methods: methods.into_iter().map(|method| method.parse().unwrap()).collect(),
            ..path(&text)
        };
        headers.into_iter().fold(route, |route, (name, value)| with_header(route, name, value))
    })
}

fn any_request() -> impl Strategy<Value = (String, String, Method, HeaderMap)> {
    let host =
        prop_oneof![Just(""), Just("z"), Just("y.z"), Just("x.y.z"), Just("w.x.y.z"), Just("q.z"), Just("q")];
    let segment = prop_oneof![4 => "[abc]", 1 => Just("%61".to_owned()), 1 => Just(String::new())];
    let path =
        proptest::collection::vec(segment, 1..6).prop_map(|segments| format!("/{}", segments.join("/")));
    let method = prop_oneof![Just("GET"), Just("HEAD"), Just("POST"), Just("PURGE"), Just("PUT")];
    let headers = proptest::sample::subsequence(vec![("k", "1"), ("k", "2"), ("l", "1")], 0..3);
    (host, path, method, headers).prop_map(|(host, path, method, headers)| {
        let headers =
            headers.into_iter().map(|(k, v)| (HeaderName::from_static(k), HeaderValue::from_static(v)));
        (host.to_owned(), path, method.parse().unwrap(), headers.collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn the_router_agrees_with_a_scan_of_all_routes(
        routes in proptest::collection::vec(any_route(), 1..40),
        requests in proptest::collection::vec(any_request(), 40),
    ) {
        // Routes that clash with an earlier one are left out, so that there is a table to compare.
        let mut services = vec![service("a", vec![])];
        for route in routes {
            services.push(service("b", vec![route]));
            if Router::build(&services).is_err() {
                services.pop();
            }
        }
        let router = Router::build(&services).unwrap();
        for (host, path, method, headers) in &requests {
            let found = router.find(host, path, method, headers);
            let expected = model(&services, host, path, method, headers);
            prop_assert_eq!(found.clone().map(|found| found.rule), expected, "{} {} {}", method, host, path);
            if let Ok(found) = found {
                let rule = router.rule(found.rule);
                prop_assert_eq!(found.captures().len(), rule.variables.len());
                // Variables are named after their segment.
                for name in &rule.variables {
                    let index: usize = name[1..].parse().unwrap();
                    prop_assert_eq!(rule.variable(name, &found, path), path.split('/').nth(index + 1));
                }
            }
        }
    }
}
