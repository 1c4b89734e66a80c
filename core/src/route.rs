pub struct Match {
    pub service: u32,
    pub route: Option<u32>,
    pub strip: usize,
}
pub enum Miss {
    NotFound,
    MethodNotAllowed { allow: String },
}
#[derive(Debug)]
pub struct Router(Vec<String>);
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct RouteConflict;
impl Router {
    pub fn build(s: &[crate::config::Service]) -> Result<Router, RouteConflict> {
        Ok(Router(s.iter().map(|s| s.name.clone()).collect()))
    }
    pub fn find(&self, _h: &str, p: &str, _m: &http::Method, _hs: &http::HeaderMap) -> Result<Match, Miss> {
        for (i, n) in self.0.iter().enumerate() {
            if p[1..].split('/').next() == Some(n) {
                return Ok(Match { service: i as u32, route: None, strip: n.len() + 1 });
            }
        }
        Err(Miss::NotFound)
    }
}
