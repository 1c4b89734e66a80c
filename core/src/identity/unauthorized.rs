//! Why a credential is refused.

/// What is displayed goes to the client: it says what to do, fits RFC 6750's `error_description` (section 3: no quotes,
/// no backslashes) and quotes nothing of the token or the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unauthorized {
    #[error("The request carries a credential header more than once.")]
    Repeated,
    #[error("The Authorization header holds no bearer token.")]
    NoToken,
    #[error("The token is larger than this gateway accepts.")]
    TooLarge,
    #[error("The token is not a signed JWT.")]
    Malformed,
    #[error("The token is of a type that grants no access.")]
    Type,
    #[error("The token uses an extension that this gateway does not have.")]
    Extension,
    #[error("The token is signed with an algorithm that is not accepted.")]
    Algorithm,
    #[error("A claim of the token is missing or not of its type.")]
    Claims,
    #[error("The token is from an issuer that is not accepted.")]
    Issuer,
    #[error("The token is for another audience.")]
    Audience,
    #[error("The token has expired.")]
    Expired,
    #[error("The token is not valid yet.")]
    NotYetValid,
    #[error("The token has been revoked.")]
    Revoked,
    #[error("The token is signed with a key its issuer does not publish.")]
    UnknownKey,
    #[error("The token names no key, and its issuer has several that fit.")]
    AmbiguousKey,
    #[error("The signature of the token is not right.")]
    Signature,
    #[error("The API key is not known.")]
    ApiKey,
    /// Nobody's fault but the issuer's: 503, not 401.
    #[error("The keys of the token's issuer cannot be had at the moment; try again later.")]
    KeysUnavailable { retry_after_us: u64 },
}

impl Unauthorized {
    pub(crate) const INVALID_REQUEST: &str = "invalid_request";
    pub(crate) const INVALID_TOKEN: &str = "invalid_token";

    /// A stable name for events, metrics and logs.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Unauthorized::Repeated => "credential_repeated",
            Unauthorized::NoToken => "token_missing",
            Unauthorized::TooLarge => "token_too_large",
            Unauthorized::Malformed => "token_malformed",
            Unauthorized::Type => "token_type",
            Unauthorized::Extension => "token_extension",
            Unauthorized::Algorithm => "token_algorithm",
            Unauthorized::Claims => "token_claims",
            Unauthorized::Issuer => "token_issuer",
            Unauthorized::Audience => "token_audience",
            Unauthorized::Expired => "token_expired",
            Unauthorized::NotYetValid => "token_not_yet_valid",
            Unauthorized::Revoked => "token_revoked",
            Unauthorized::UnknownKey => "token_key_unknown",
            Unauthorized::AmbiguousKey => "token_key_ambiguous",
            Unauthorized::Signature => "token_signature",
            Unauthorized::ApiKey => "api_key_unknown",
            Unauthorized::KeysUnavailable { .. } => "keys_unavailable",
        }
    }

    /// The error code of RFC 6750 section 3.1; `None` where the credential is not what is wrong.
    pub(crate) fn error_code(&self) -> Option<&'static str> {
        match self {
            Unauthorized::Repeated | Unauthorized::NoToken => Some(Unauthorized::INVALID_REQUEST),
            Unauthorized::KeysUnavailable { .. } => None,
            _ => Some(Unauthorized::INVALID_TOKEN),
        }
    }
}
