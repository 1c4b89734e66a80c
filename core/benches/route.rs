//! Routing at 1,000 and 10,000 routes, ten to a service: half literal paths, half templates, one service in ten
//! behind a host of its own. Requests are shuffled, so that neither caches nor branch predictors know the next.

use std::hint::black_box;
use std::time::Instant;

use criterion::{BatchSize, Criterion};
use http::{HeaderMap, Method, Request};
use tollgate_core::config::{
    Access, Endpoint, HostHeader, LoadBalancer, Retries, Route, Service, ServiceTimeouts, UpstreamProtocol,
    UpstreamTls,
};
use tollgate_core::route::Router;
use tollgate_core::url::Target;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for routes in [1_000, 10_000] {
        let table = Table::new(routes);
        let mut next = (0..table.requests.len()).cycle();
        criterion.bench_function(&format!("find/{routes}_routes"), |b| {
            b.iter(|| table.find(next.next().expect("a cycle has no end")))
        });
    }
    let head =
        Request::get("/orders/42/items?page=2").header("host", "api.example.com").body(()).expect("valid");
    let head = head.into_parts().0;
    criterion.bench_function("target/canonical", |b| {
        b.iter_batched(|| (), |()| Target::new(black_box(&head)), BatchSize::SmallInput)
    });
    criterion.final_summary();
    for routes in [1_000, 10_000] {
        println!("figure route_ns_{routes}_routes {:.1}", Table::new(routes).median_ns());
    }
}

struct Table {
    router: Router,
    requests: Vec<(String, String)>,
    headers: HeaderMap,
}

impl Table {
    fn new(routes: usize) -> Table {
        let services: Vec<Service> = (0..routes / 10).map(service).collect();
        let router = Router::build(&services).expect("the routes differ");
        let mut requests: Vec<_> = (0..routes)
            .map(|i| (format!("{}.example.com", host(i / 10)), path(i).replace("{id}", "8417")))
            .collect();
        shuffle(&mut requests);
        let table = Table { router, requests, headers: HeaderMap::new() };
        // Every request is served, or a miss would be measured for a match.
        assert!((0..routes).all(|i| table.find(i)));
        table
    }

    fn find(&self, index: usize) -> bool {
        let (host, path) = &self.requests[index];
        black_box(self.router.find(black_box(host), black_box(path), &Method::GET, &self.headers)).is_ok()
    }

    fn median_ns(&self) -> f64 {
        const ROUNDS: usize = 21;
        let mut rounds: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let passes = 50_000 / self.requests.len();
                let start = Instant::now();
                for _ in 0..passes {
                    (0..self.requests.len()).for_each(|index| assert!(self.find(index)));
                }
                start.elapsed().as_nanos() as f64 / (passes * self.requests.len()) as f64
            })
            .collect();
        rounds.sort_by(f64::total_cmp);
        rounds[ROUNDS / 2]
    }
}

fn service(index: usize) -> Service {
    let hosts =
        if index.is_multiple_of(10) { vec![format!("{}.example.com", host(index))] } else { Vec::new() };
    let routes = (index * 10..index * 10 + 10).map(|i| Route {
        path: path(i),
        hosts: hosts.clone(),
        methods: if i % 3 == 0 { vec![Method::GET, Method::POST] } else { Vec::new() },
        ..Route::default()
    });
    Service { routes: routes.collect(), ..bare_service(format!("service_{index}")) }
}

fn host(service: usize) -> String {
    if service.is_multiple_of(10) { format!("tenant-{service}") } else { "api".to_owned() }
}

fn path(i: usize) -> String {
    let service = i / 10;
    match i % 10 {
        0 => format!("/service_{service}/orders"),
        1 => format!("/service_{service}/orders/{{id}}"),
        2 => format!("/service_{service}/orders/{{id}}/items"),
        3 => format!("/service_{service}/orders/search"),
        4 => format!("/service_{service}/customers/{{id}}"),
        5 => format!("/service_{service}/customers/{{id}}/addresses/home"),
        6 => format!("/service_{service}/reports/daily"),
        7 => format!("/service_{service}/reports/monthly"),
        8 => format!("/service_{service}/reports/{{id}}"),
        _ => format!("/service_{service}/status"),
    }
}

fn shuffle<T>(items: &mut [T]) {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for i in (1..items.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        items.swap(i, (state % (i as u64 + 1)) as usize);
    }
}

fn bare_service(name: String) -> Service {
    let second = std::time::Duration::from_secs(1);
    Service {
        name,
        endpoints: vec![Endpoint {
            tls: false,
            host: "127.0.0.1".to_owned(),
            port: 80,
            base_path: String::new(),
            weight: 1,
        }],
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
        routes: Vec::new(),
    }
}
