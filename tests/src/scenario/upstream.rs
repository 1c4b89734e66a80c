//! Upstreams that do as the scenario says, on real sockets.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::channel::Channel;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;

use super::expect::{Differences, Names};
use super::{Attempt, Fault};

/// A body that is whole, or one that breaks off.
type Answered = Either<Full<Bytes>, Channel<Bytes, std::io::Error>>;

/// Between the last byte of a body that breaks off and the break.
const BREAK_AFTER: Duration = Duration::from_millis(50);

/// All upstreams of a case, by name.
pub(super) struct Upstreams {
    by_name: BTreeMap<String, Upstream>,
    script: Script,
}

struct Upstream {
    address: SocketAddr,
    /// `None` while nobody listens.
    serving: Option<tokio::task::JoinHandle<()>>,
}

/// What is to come, and what came.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<Scenes>>);

#[derive(Default)]
struct Scenes {
    expected: VecDeque<Attempt>,
    seen: Vec<Seen>,
}

/// A request that reached an upstream, with what was expected just then.
struct Seen {
    upstream: String,
    request: http::request::Parts,
    body: Bytes,
    expected: Option<Attempt>,
}

impl Upstreams {
    /// Starts every upstream that `config` names and points its `urls` to where it listens.
    pub(super) async fn start(config: &mut Value) -> Result<(Upstreams, Names)> {
        let script = Script::default();
        let mut upstreams = Upstreams { by_name: BTreeMap::new(), script };
        let mut names = Names::default();
        for url in urls(config) {
            let text = url.as_str().context("a url is a string")?;
            let rest = text.strip_prefix("http://").context("scripted upstreams speak http")?;
            let (name, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            if !upstreams.by_name.contains_key(name) {
                let listener = TcpListener::bind("127.0.0.1:0").await?;
                let address = listener.local_addr()?;
                names.0.insert(name.to_owned(), address.to_string());
                let serving = Some(upstreams.serve(name, listener));
                upstreams.by_name.insert(name.to_owned(), Upstream { address, serving });
            }
            *url = Value::from(format!("http://{}{path}", upstreams.by_name[name].address));
        }
        Ok((upstreams, names))
    }

    /// Takes the attempts of the next exchange. Upstreams that must refuse connections stop listening.
    pub(super) async fn expect(&mut self, attempts: &[Attempt]) -> Result<()> {
        let refusing = |name: &str| {
            attempts.iter().any(|attempt| attempt.at == name && attempt.fails == Some(Fault::Connect))
        };
        for attempt in attempts.iter().filter(|attempt| attempt.fails != Some(Fault::Connect)) {
            ensure!(
                !refusing(&attempt.at),
                "upstream {} cannot both refuse and answer in one exchange",
                attempt.at
            );
        }
        let names: Vec<String> = self.by_name.keys().cloned().collect();
        for name in names {
            let address = self.by_name[&name].address;
            let serving =
                match (refusing(&name), self.by_name.get_mut(&name).and_then(|one| one.serving.take())) {
                    (true, serving) => {
                        if let Some(serving) = serving {
                            serving.abort();
                            let _ = serving.await;
                        }
                        None
                    }
                    (false, Some(serving)) => Some(serving),
                    (false, None) => {
                        let socket = TcpSocket::new_v4()?;
                        socket.set_reuseaddr(true)?;
                        socket.bind(address)?;
                        Some(self.serve(&name, socket.listen(64)?))
                    }
                };
            self.by_name.get_mut(&name).expect("known names").serving = serving;
        }
        let mut scenes = self.script.0.lock().expect("no scene panics");
        scenes.expected =
            attempts.iter().filter(|attempt| attempt.fails != Some(Fault::Connect)).cloned().collect();
        scenes.seen.clear();
        Ok(())
    }

    /// Compares what came since `expect` with what was expected.
    pub(super) fn review(&self, differences: &mut Differences, names: &Names) {
        let scenes = self.script.0.lock().expect("no scene panics");
        for seen in &scenes.seen {
            let Some(expected) = &seen.expected else {
                differences.note(format!("upstream {} was called once more than expected", seen.upstream));
                continue;
            };
            differences.equal("upstream called", seen.upstream.as_str(), expected.at.as_str());
            if let Some(sees) = &expected.sees {
                let request = format!("{} {}", seen.request.method, seen.request.uri);
                differences.equal("upstream sees", request, sees.clone());
            }
            differences.headers("upstream's", &seen.request.headers, &expected.headers, names);
            if let Some(body) = &expected.body {
                differences.equal("upstream's body", seen.body.as_ref(), body.as_bytes());
            }
        }
        for missing in &scenes.expected {
            differences.note(format!("upstream {} was not called", missing.at));
        }
    }

    fn serve(&self, name: &str, listener: TcpListener) -> tokio::task::JoinHandle<()> {
        let (name, script) = (name.to_owned(), self.script.clone());
        tokio::spawn(async move {
            // Dropped with this task, and every open connection with it.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (name, script) = (name.clone(), script.clone());
                connections.spawn(async move {
                    let answer = service_fn(move |request| answer(name.clone(), script.clone(), request));
                    // A connection that ends in an error is what the scenario asked for.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .auto_date_header(false)
                        .serve_connection(TokioIo::new(stream), answer)
                        .await;
                });
            }
        })
    }
}

/// Everything in a configuration that says where an upstream is: services' and key sets'.
fn urls(config: &mut Value) -> Vec<&mut Value> {
    let mut urls = Vec::new();
    let Value::Object(sections) = config else { return urls };
    for (name, section) in sections {
        match (name.as_str(), section) {
            ("routing", section) => {
                let services = section.get_mut("services").and_then(Value::as_object_mut);
                let lists = services.into_iter().flat_map(|services| services.values_mut());
                let listed = lists.filter_map(|service| service["urls"].as_array_mut()).flatten();
                urls.extend(listed.map(|url| if url.is_object() { &mut url["url"] } else { url }));
            }
            ("auth", section) => match section.get_mut("jwt") {
                Some(Value::Array(providers)) => {
                    urls.extend(providers.iter_mut().filter_map(|provider| provider.get_mut("jwks_url")));
                }
                Some(provider) => urls.extend(provider.get_mut("jwks_url")),
                None => {}
            },
            _ => {}
        }
    }
    urls
}

async fn answer(upstream: String, script: Script, request: Request<Incoming>) -> Result<Response<Answered>> {
    let (request, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let expected = {
        let mut scenes = script.0.lock().expect("no scene panics");
        let expected = scenes.expected.pop_front();
        scenes.seen.push(Seen { upstream, request, body, expected: expected.clone() });
        expected
    };
    let attempt = expected.context("nothing more is expected")?;
    match attempt.fails {
        Some(Fault::Silence) => std::future::pending().await,
        Some(_) => anyhow::bail!("the scenario breaks off here"),
        None => {}
    }
    let (mut head, ()) = super::play_core::response(&attempt.answer)?.into_parts();
    let body = Bytes::from(attempt.answer.body);
    if !attempt.answer.breaks_off {
        return Ok(Response::from_parts(head, Either::Left(Full::new(body))));
    }
    head.headers.insert("content-length", HeaderValue::from(body.len() + 1));
    let (mut sender, broken) = Channel::new(1);
    tokio::spawn(async move {
        let _ = sender.send_data(body).await;
        // What was sent is on its way before the connection breaks.
        tokio::time::sleep(BREAK_AFTER).await;
        sender.abort(std::io::ErrorKind::ConnectionReset.into());
    });
    Ok(Response::from_parts(head, Either::Right(broken)))
}
