//! Keys as WebCrypto imports them (RFC 7517, RFC 7518 section 6, RFC 8037).

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use tollgate_core::{Curve, KeyMaterial};

/// Base64url needs no escape in JSON.
pub(crate) fn text(material: &KeyMaterial) -> String {
    match material {
        KeyMaterial::Hmac(secret) => format!(r#"{{"kty":"oct","k":"{}"}}"#, BASE64.encode(secret)),
        KeyMaterial::Rsa { n, e } => {
            format!(r#"{{"kty":"RSA","n":"{}","e":"{}"}}"#, BASE64.encode(n), BASE64.encode(e))
        }
        KeyMaterial::Ec { curve, x, y } => {
            let curve = match curve {
                Curve::P256 => "P-256",
                Curve::P384 => "P-384",
            };
            let (x, y) = (BASE64.encode(x), BASE64.encode(y));
            format!(r#"{{"kty":"EC","crv":"{curve}","x":"{x}","y":"{y}"}}"#)
        }
        KeyMaterial::Ed25519 { x } => {
            format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{}"}}"#, BASE64.encode(x))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_the_members_that_webcrypto_reads() {
        let check = |material, expected: &str| assert_eq!(text(&material), expected);
        check(KeyMaterial::Hmac(vec![1; 3]), r#"{"kty":"oct","k":"AQEB"}"#);
        check(
            KeyMaterial::Rsa { n: vec![255; 3], e: vec![1, 0, 1] },
            r#"{"kty":"RSA","n":"____","e":"AQAB"}"#,
        );
        check(
            KeyMaterial::Ec { curve: Curve::P256, x: vec![0; 2], y: vec![1; 2] },
            r#"{"kty":"EC","crv":"P-256","x":"AAA","y":"AQE"}"#,
        );
        check(
            KeyMaterial::Ec { curve: Curve::P384, x: vec![0; 2], y: vec![1; 2] },
            r#"{"kty":"EC","crv":"P-384","x":"AAA","y":"AQE"}"#,
        );
        check(
            KeyMaterial::Ed25519 { x: [0; 32] },
            r#"{"kty":"OKP","crv":"Ed25519","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#,
        );
    }
}
