//! Checking limits of 10,000 subjects in a shuffled order, so that caches do not know the next one. The clock
//! moves on by a microsecond with each check, at which all are admitted and their quotas nearly used up.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use criterion::Criterion;
use tollgate_core::Now;
use tollgate_core::config::{Algorithm, EnforceAt, Limit, LimitKey, Sharing};
use tollgate_core::limit::{Demand, Limiter, Secret, Standing, Subject, SubjectKey, admit};

const SUBJECTS: usize = 10_000;
const ROUNDS: usize = 21;
const PASSES: usize = 20;

const ALGORITHMS: [(&str, Algorithm); 5] = [
    ("token_bucket", Algorithm::TokenBucket),
    ("fixed_window", Algorithm::FixedWindow),
    ("sliding_window_log", Algorithm::SlidingWindowLog),
    ("sliding_window_counter", Algorithm::SlidingWindowCounter { strict: false }),
    ("sliding_window_counter_strict", Algorithm::SlidingWindowCounter { strict: true }),
];

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let secret = Secret::new(*b"a secret of some");
    for (name, algorithm) in ALGORITHMS {
        let load = Load::new(vec![limiter(algorithm, LimitKey::Subject, 100)], &secret, 0);
        let mut clock_us = 0;
        let mut next = (0..SUBJECTS).cycle();
        criterion.bench_function(&format!("admit/{name}"), |b| {
            b.iter(|| {
                clock_us += 1;
                load.check(next.next().expect("a cycle has no end"), clock_us)
            })
        });
    }
    criterion.bench_function("subject/api_key", |b| {
        b.iter(|| secret.key(black_box(Subject::ApiKey(b"tg_live_0123456789abcdef0123456789"))))
    });
    criterion.final_summary();
    figures(&secret);
}

fn figures(secret: &Secret) {
    let token_bucket = || limiter(Algorithm::TokenBucket, LimitKey::Subject, 100);
    let one = Load::new(vec![token_bucket()], secret, 0);
    let service = limiter(Algorithm::TokenBucket, LimitKey::Service, 1_000_000);
    let two = Load::new(vec![token_bucket(), service], secret, 0);
    let mut clock_us = 0;
    let mut rounds = |load: &Load| median((0..ROUNDS).map(|_| load.round_ns(&mut clock_us)).collect());
    println!("figure limit_check_ns {:.1}", rounds(&one));
    println!("figure limit_two_checks_ns {:.1}", rounds(&two));
    println!("ratio limit_check_two_threads_vs_one {:.2}", two_threads_vs_one(secret));
}

struct Load {
    limiters: Vec<Limiter>,
    subjects: Vec<SubjectKey>,
}

impl Load {
    fn new(limiters: Vec<Limiter>, secret: &Secret, first: usize) -> Load {
        let mut subjects = subjects(secret, first);
        shuffle(&mut subjects);
        let load = Load { limiters, subjects };
        (0..SUBJECTS).for_each(|index| _ = load.check(index, 0));
        assert!(load.limiters[0].stats().subjects as usize == SUBJECTS, "all are counted");
        load
    }

    fn check(&self, index: usize, clock_us: u64) -> bool {
        check(&self.limiters, self.subjects[index], clock_us)
    }

    fn round_ns(&self, clock_us: &mut u64) -> f64 {
        let start = Instant::now();
        for _ in 0..PASSES {
            for index in 0..SUBJECTS {
                *clock_us += 1;
                self.check(index, *clock_us);
            }
        }
        start.elapsed().as_nanos() as f64 / (PASSES * SUBJECTS) as f64
    }
}

/// Two threads check one limiter for subjects of their own, in turn with one thread that does so alone; wall time of a
/// thread's check, which is its CPU time as long as there is a core for each.
fn two_threads_vs_one(secret: &Secret) -> f64 {
    let limiters = vec![limiter(Algorithm::TokenBucket, LimitKey::Subject, 100)];
    let halves = [subjects(secret, 0), subjects(secret, SUBJECTS)];
    let pass_ns = |subjects: &[SubjectKey], start_us: u64| {
        let start = Instant::now();
        for clock_us in start_us..start_us + PASSES as u64 {
            subjects.iter().for_each(|subject| _ = check(&limiters, *subject, clock_us));
        }
        start.elapsed().as_nanos() as f64
    };
    let ratios = (0..ROUNDS as u64).map(|round| {
        let start_us = round * 1_000;
        let alone = pass_ns(&halves[0], start_us);
        let barrier = Barrier::new(2);
        let run = &|subjects: &Vec<SubjectKey>| {
            barrier.wait();
            pass_ns(subjects, start_us + 500)
        };
        let together = std::thread::scope(|scope| {
            let threads = [&halves[0], &halves[1]].map(|subjects| scope.spawn(move || run(subjects)));
            threads.map(|thread| thread.join().expect("no panic"))
        });
        together.iter().sum::<f64>() / 2.0 / alone
    });
    median(ratios.collect())
}

fn check(limiters: &[Limiter], subject: SubjectKey, clock_us: u64) -> bool {
    let now = Now { wall_us: clock_us, mono_us: clock_us };
    let mut standings = [Standing::default(); 2];
    let demand = |limiter| Demand { limiter, subject, cost: 1 };
    black_box(match limiters {
        [one] => admit(&[demand(one)], true, &mut standings, now),
        [one, two] => admit(&[demand(one), demand(two)], true, &mut standings, now),
        _ => unreachable!("one limit or two"),
    })
}

fn limiter(algorithm: Algorithm, key: LimitKey, requests: u64) -> Limiter {
    let rules = Limit {
        name: "default".to_owned(),
        algorithm,
        requests,
        window: Duration::from_secs(1),
        burst: requests,
        key,
        cost: 1,
        enforce_at: EnforceAt::First,
        sharing: Sharing::Node,
        on_store_failure: None,
        shadow: false,
    };
    Limiter::new(&rules, None)
}

fn subjects(secret: &Secret, first: usize) -> Vec<SubjectKey> {
    (first..first + SUBJECTS)
        .map(|i| secret.key(Subject::User { issuer: "bench", name: &format!("user-{i}") }))
        .collect()
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

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
