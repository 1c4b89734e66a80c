//! Heads as `wasi:http` has them and as core has them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Uri, request, response, uri};
use spin_sdk::wasip3::http::client;
use spin_sdk::wasip3::http::types::{self, ErrorCode, Fields, RequestOptions};
use spin_sdk::wasip3::wit_bindgen::FutureReader;
use tollgate_core::{Peer, Scheme};

use super::body::Given;

/// What Spin appends to a request. Only the last one of a name is Spin's, and none is the client's to send.
const CLIENT: &str = "spin-client-addr";
const ROUTING: [&str; 6] = [
    "spin-path-info",
    "spin-full-url",
    "spin-matched-route",
    "spin-base-path",
    "spin-raw-component-route",
    "spin-component-route",
];

/// What a host keeps to itself, and refuses to be given.
const FRAMING: [HeaderName; 4] =
    [header::HOST, header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE];

/// The head of a request, and who sent it.
///
/// # Errors
///
/// What is no HTTP; the host has read it as such.
pub(super) fn request(request: &types::Request) -> Result<(request::Parts, Peer), ErrorCode> {
    let (mut head, ()) = http::Request::new(()).into_parts();
    head.method = request.get_method().try_into().map_err(|_| ErrorCode::HttpRequestMethodInvalid)?;
    let target = request.get_path_with_query().unwrap_or_else(|| "/".to_owned());
    head.uri = Uri::try_from(target).map_err(|_| ErrorCode::HttpRequestUriInvalid)?;
    head.headers = headers(&request.get_headers());
    if !head.headers.contains_key(header::HOST)
        && let Some(host) = request.get_authority()
        && let Ok(host) = HeaderValue::try_from(host)
    {
        head.headers.insert(header::HOST, host);
    }
    let scheme = match request.get_scheme() {
        Some(types::Scheme::Https) => Scheme::Https,
        _ => Scheme::Http,
    };
    let client = client(&mut head.headers);
    Ok((head, Peer::new(client, scheme, 0)))
}

/// Takes what Spin added out of a request, and the client's address with it; without one nobody in particular asks.
fn client(headers: &mut HeaderMap) -> IpAddr {
    let last = headers.get_all(CLIENT).iter().next_back().and_then(|value| value.to_str().ok());
    let address = last.and_then(|text| {
        text.parse::<SocketAddr>().map(|address| address.ip()).or_else(|_| text.parse()).ok()
    });
    headers.remove(CLIENT);
    for name in ROUTING {
        headers.remove(name);
    }
    address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

/// A request to call an upstream with.
pub(super) struct Outgoing<'a> {
    pub(super) method: &'a Method,
    pub(super) scheme: &'a uri::Scheme,
    pub(super) authority: &'a str,
    pub(super) target: &'a str,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: Given,
    pub(super) options: Option<RequestOptions>,
}

/// What an upstream answered. A host closes the connection when nobody asks any more how the request went.
pub(super) struct Answered {
    pub(super) response: types::Response,
    pub(super) went: FutureReader<Result<(), ErrorCode>>,
}

impl Outgoing<'_> {
    pub(super) async fn send(self) -> Result<Answered, ErrorCode> {
        let (contents, ending) = self.body;
        let (request, went) = types::Request::new(fields(self.headers), contents, ending, self.options);
        let unaddressed = |()| ErrorCode::HttpRequestUriInvalid;
        request.set_method(&self.method.into()).map_err(unaddressed)?;
        request.set_scheme(Some(&self.scheme.into())).map_err(unaddressed)?;
        request.set_authority(Some(self.authority)).map_err(unaddressed)?;
        request.set_path_with_query(Some(self.target)).map_err(unaddressed)?;
        Ok(Answered { response: client::send(request).await?, went })
    }
}

/// The head of a response; `None` is a status that HTTP does not have.
pub(super) fn response(response: &types::Response) -> Option<response::Parts> {
    let (mut head, ()) = http::Response::new(()).into_parts();
    head.status = StatusCode::from_u16(response.get_status_code()).ok()?;
    head.headers = headers(&response.get_headers());
    Some(head)
}

/// All but what is the host's own to write.
pub(super) fn fields(headers: &HeaderMap) -> Fields {
    let list: Vec<(String, Vec<u8>)> = headers
        .iter()
        .filter(|(name, _)| !FRAMING.contains(name))
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect();
    Fields::from_list(&list).unwrap_or_else(|_| {
        // The host keeps more to itself than is known here, so it is asked for each.
        let fields = Fields::new();
        for (name, value) in &list {
            let _ = fields.append(name, value);
        }
        fields
    })
}

fn headers(fields: &Fields) -> HeaderMap {
    let list = fields.copy_all();
    let mut headers = HeaderMap::with_capacity(list.len());
    for (name, value) in list {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.append(name, value);
        }
    }
    headers
}
