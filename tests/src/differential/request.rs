//! What is sent: the same requests from the same seed.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use anyhow::Result;
use http::Uri;
use serde_json::{Value, json};

use crate::scenario::START_WALL_US;
use crate::scenario::token::Token;

/// Tokens of each kind, made once: signing costs more than anything else here.
const TOKENS: usize = 60;

/// The most that passes between two requests.
const STEP_MS_MAX: usize = 400;

#[derive(Clone, Debug)]
pub(super) struct Generated {
    pub(super) at_ms: u64,
    pub(super) from: IpAddr,
    pub(super) method: &'static str,
    pub(super) host: &'static str,
    pub(super) target: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Option<Body>,
}

#[derive(Clone, Debug)]
pub(super) struct Body {
    pub(super) text: String,
    pub(super) is_chunked: bool,
}

pub(super) struct Generator {
    random: Random,
    tokens: Vec<String>,
    at_ms: u64,
}

const METHODS: [&str; 8] = ["GET", "GET", "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"];
const HOSTS: [&str; 7] = [
    "api.example",
    "api.example",
    "one.example",
    "API.Example:8080",
    "a.b.example",
    "evil.test",
    "api.example.",
];
const FIRST: [&str; 10] = [
    "/items",
    "/items/7",
    "/items/7/parts/a/b",
    "/only",
    "/open",
    "/limited",
    "/open/",
    "/health",
    "/nope",
    "/",
];
const PIECES: [&str; 22] = [
    "/x", "/.", "/..", "/%2e%2E/", "/%2e", "//", "/%2F", "/a%2fb", "/%41", "/%7e", "/~", "/%20", "/%zz",
    "/%", "/%00", "/%c3%a9", "/;p=1", "/a+b", "/a:b", "/a@b", "/'", "/*",
];
const QUERIES: [&str; 9] = ["", "", "", "?", "?a=1", "?a=%2e%2e&b=/../", "?a=b?c", "?%zz", "?q=%C3%A9+x"];
const FROM: [&str; 7] = [
    "192.0.2.10",
    "192.0.2.11",
    "192.0.2.12",
    "198.51.100.7",
    "203.0.113.5",
    "2001:db8::1",
    "2001:db8:0:0:1::2",
];

impl Generator {
    pub(super) fn new(seed: u64) -> Result<Generator> {
        let mut random = Random(seed.max(1));
        let tokens = (0..TOKENS).map(|_| token(&mut random)).collect::<Result<_>>()?;
        Ok(Generator { random, tokens, at_ms: 0 })
    }

    pub(super) fn next(&mut self) -> Generated {
        let random = &mut self.random;
        self.at_ms += random.below(STEP_MS_MAX) as u64;
        let method = random.of(&METHODS);
        let mut headers = Vec::new();
        for (name, values, one_in) in optional() {
            if random.below(one_in) == 0 {
                headers.push((name, random.of(values).to_string()));
            }
        }
        match random.below(5) {
            0 | 1 => headers.push(("authorization", format!("Bearer {}", random.of(&self.tokens)))),
            2 => headers
                .push(("authorization", random.of(&["Basic YTpi", "Bearer", "bearer  x.y.z"]).to_string())),
            _ => {}
        }
        let has_body = matches!(method, "POST" | "PUT") && random.below(3) > 0;
        let body = has_body
            .then(|| Body { text: "x".repeat(1 + random.below(40)), is_chunked: random.below(2) == 0 });
        let from = random.of(&FROM).parse().expect("addresses");
        Generated {
            at_ms: self.at_ms,
            from,
            method,
            host: random.of(&HOSTS),
            target: target(random),
            headers,
            body,
        }
    }
}

/// Names, what they may hold, and one in how many requests has them.
fn optional() -> [(&'static str, &'static [&'static str], usize); 11] {
    [
        ("x-api-key", &["correct-horse-battery-staple", "wrong", ""], 6),
        ("origin", &["https://app.example", "https://evil.test", "null"], 5),
        ("access-control-request-method", &["GET", "PUT", "DELETE"], 8),
        ("access-control-request-headers", &["x-version", "x-other"], 12),
        ("x-version", &["1", "2"], 3),
        ("x-tenant", &["a", "b", "c"], 3),
        ("x-user", &["root"], 8),
        ("x_user", &["root"], 12),
        ("x-forwarded-for", &["192.0.2.77", "10.0.0.1, 198.51.100.9", "unknown"], 5),
        ("x-forwarded-proto", &["https"], 8),
        ("cookie", &["a=1; b=2"], 8),
    ]
}

/// One that HTTP/1.1 can say; whether it makes sense is what is asked.
fn target(random: &mut Random) -> String {
    loop {
        let mut target = random.of(&FIRST).to_string();
        for _ in 0..random.below(3) {
            target.push_str(random.of(&PIECES));
        }
        target.push_str(random.of(&QUERIES));
        if target.parse::<Uri>().is_ok() {
            return target;
        }
    }
}

fn token(random: &mut Random) -> Result<String> {
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/keys");
    let (issuer, algorithm, key) = random.of(&[
        ("hs", "HS256", "secret:0123456789abcdef0123456789abcdef"),
        ("rs", "RS256", "rsa"),
        ("rs", "PS384", "rsa"),
        ("es", "ES256", "ec256"),
        ("es3", "ES384", "ec384"),
        ("ed", "EdDSA", "ed"),
    ]);
    let now = START_WALL_US / 1_000_000;
    let mut claims = json!({
        "iss": format!("https://{issuer}.example"),
        "aud": random.of(&["api", "api", "api", "web"]),
        "sub": random.of(&["alice", "bob", "carol", "", "zoë"]),
        "exp": now + [60, 600, 1_000_000][random.below(3)],
        "scope": random.of(&["read", "read write", "write", ""]),
        "roles": random.of(&[json!(["admin"]), json!(["owner", "x"]), json!([]), json!("admin")]),
        "tier": random.of(&["gold", "none"]),
    });
    if random.below(8) == 0 {
        claims["nbf"] = json!(now + 30);
    }
    if random.below(12) == 0 {
        claims["exp"] = Value::Null;
    }
    let mut token = json!({ "key": key, "header": { "alg": algorithm }, "claims": claims });
    if random.below(8) == 0 {
        token["signature"] = json!("AAAA");
    }
    let compact = serde_json::from_value::<Token>(token)?.compact(&keys)?;
    Ok(if random.below(10) == 0 { format!("{compact}x") } else { compact })
}

impl Generated {
    /// Requests with something less.
    pub(super) fn smaller(&self) -> Vec<Generated> {
        let mut smaller = Vec::new();
        for index in 0..self.headers.len() {
            let mut less = self.clone();
            less.headers.remove(index);
            smaller.push(less);
        }
        if self.body.is_some() {
            smaller.push(Generated { body: None, ..self.clone() });
        }
        if self.method != "GET" {
            smaller.push(Generated { method: "GET", ..self.clone() });
        }
        if let Some((path, _)) = self.target.split_once('?') {
            smaller.push(Generated { target: path.to_owned(), ..self.clone() });
        } else if let Some((path, _)) = self.target.rsplit_once('/').filter(|(path, _)| !path.is_empty()) {
            smaller.push(Generated { target: path.to_owned(), ..self.clone() });
        }
        smaller
    }
}

impl fmt::Display for Generated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {} from {} after {} ms", self.method, self.target, self.from, self.at_ms)?;
        writeln!(f, "host: {}", self.host)?;
        for (name, value) in &self.headers {
            writeln!(f, "{name}: {value}")?;
        }
        match &self.body {
            Some(body) => write!(f, "{} bytes, chunked: {}", body.text.len(), body.is_chunked),
            None => Ok(()),
        }
    }
}

/// xorshift64* (Marsaglia; Vigna).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }

    fn of<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }
}
