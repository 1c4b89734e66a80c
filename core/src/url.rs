use http::HeaderValue;
use http::uri::PathAndQuery;
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("bad")]
    Bad,
}
pub struct Target {
    pq: PathAndQuery,
    host: String,
    hv: Option<HeaderValue>,
}
impl Target {
    pub fn parse(uri: &http::Uri, h: &http::HeaderMap, _v: http::Version) -> Result<Target, TargetError> {
        let hv = h.get("host").cloned();
        Ok(Target {
            pq: uri.path_and_query().cloned().unwrap(),
            host: hv
                .as_ref()
                .map(|h| h.to_str().unwrap().split(':').next().unwrap().to_owned())
                .unwrap_or_default(),
            hv,
        })
    }
    pub fn path(&self) -> &str {
        self.pq.path()
    }
    pub fn query(&self) -> Option<&str> {
        self.pq.query()
    }
    pub fn host(&self) -> &str {
        &self.host
    }
    pub fn path_and_query(&self) -> &PathAndQuery {
        &self.pq
    }
    pub fn host_header(&self) -> Option<HeaderValue> {
        self.hv.clone()
    }
}
