//! What `Debug` shows of the parts of a configuration that hold secrets: a configuration may end up in a log.

use std::fmt;

use super::{KeySource, Login, LoginUser};

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeySource::Secret(_) => f.write_str("Secret([redacted])"),
            KeySource::PublicKey(key) => f.debug_tuple("PublicKey").field(key).finish(),
            KeySource::Jwks { url, .. } => f.debug_struct("Jwks").field("url", url).finish_non_exhaustive(),
        }
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("issuer", &self.issuer)
            .field("users", &self.users)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for LoginUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginUser").field("username", &self.username).finish_non_exhaustive()
    }
}
