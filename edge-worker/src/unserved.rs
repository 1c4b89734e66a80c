//! What a policy asks for and a Worker does not do. `build.rs` compiles this file too.

use tollgate_core::config::Config;

/// One warning for each, which names the key. The same file serves a region, so none of them is an error.
pub(crate) fn unserved(config: &Config) -> impl Iterator<Item = &'static str> {
    let login = config.auth.login.as_ref().map(|_| {
        "auth.login: no tokens are issued here; POST /auth/login and /auth/refresh are answered 404, and tokens that \
         a regional proxy issued with this secret are accepted"
    });
    login.into_iter()
}
