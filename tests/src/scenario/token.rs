//! Tokens that scenarios send, made as an issuer or an attacker makes them.
//!
//! A file's `tokens` are signed when it is loaded, by another library than the gateway checks them with, and stand where
//! `${token:NAME}` is written. `${jwks:rsa,ec256}` is the key set with these of the keys in `keys/`, and `${key:rsa}` a
//! public key as PEM in one line.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde::Deserialize;
use serde_json::{Value, json};

/// A compact JWS (RFC 7515 section 7.1), part by part.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Token {
    /// Merged over `{"alg":"HS256","typ":"JWT"}`.
    #[serde(default)]
    header: Value,
    /// Instead of `header`, to the letter.
    header_text: Option<String>,
    #[serde(default)]
    claims: Value,
    /// Instead of `claims`, to the letter.
    claims_text: Option<String>,
    /// `secret:…` or the name of a private key in `keys/`; `public:NAME` is the PEM of its public half as a secret.
    #[serde(default)]
    key: String,
    /// What it is signed with; by default what the header says.
    sign_with: Option<String>,
    /// Instead of the signature, to the letter.
    signature: Option<String>,
}

#[derive(Deserialize)]
struct Tokens {
    #[serde(default)]
    tokens: BTreeMap<String, Token>,
}

/// The text of a scenario file with its tokens and keys in place.
pub(crate) fn fill(text: &str, folder: &Path) -> Result<String> {
    let Tokens { tokens } = serde_saphyr::from_str(text)?;
    let keys = folder.join("keys");
    let mut filled = text.to_owned();
    for (name, token) in &tokens {
        let compact = token.compact(&keys).with_context(|| format!("token {name}"))?;
        filled = filled.replace(&format!("${{token:{name}}}"), &compact);
    }
    while let Some((before, rest)) = filled.split_once("${jwks:") {
        let (names, after) = rest.split_once('}').context("`${jwks:` without `}`")?;
        let read = |name: &str| std::fs::read_to_string(keys.join(format!("{name}.jwk")));
        let set: Vec<String> =
            names.split(',').filter(|name| !name.is_empty()).map(read).collect::<Result<_, _>>()?;
        let set: Vec<&str> = set.iter().map(|key| key.trim()).collect();
        filled = format!("{before}{{\"keys\":[{}]}}{after}", set.join(","));
    }
    while let Some((before, rest)) = filled.split_once("${key:") {
        let (name, after) = rest.split_once('}').context("`${key:` without `}`")?;
        let pem = std::fs::read_to_string(keys.join(format!("{name}.pub.pem")))?;
        filled = format!("{before}{}{after}", pem.trim().replace('\n', "\\n"));
    }
    Ok(filled)
}

impl Token {
    pub(crate) fn compact(&self, keys: &Path) -> Result<String> {
        let mut header = json!({ "alg": "HS256", "typ": "JWT" });
        super::merge(&mut header, self.header.clone());
        let algorithm = self.sign_with.as_deref().or(header["alg"].as_str()).unwrap_or("HS256").to_owned();
        let header = self.header_text.clone().unwrap_or_else(|| header.to_string());
        let claims = self.claims_text.clone().unwrap_or_else(|| self.claims.to_string());
        let message = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims));
        let signature = match &self.signature {
            Some(signature) => signature.clone(),
            None => {
                let algorithm: Algorithm = algorithm.parse()?;
                jsonwebtoken::crypto::sign(
                    message.as_bytes(),
                    &self.signing_key(algorithm, keys)?,
                    algorithm,
                )?
            }
        };
        Ok(format!("{message}.{signature}"))
    }

    fn signing_key(&self, algorithm: Algorithm, keys: &Path) -> Result<EncodingKey> {
        if let Some(secret) = self.key.strip_prefix("secret:") {
            return Ok(EncodingKey::from_secret(secret.as_bytes()));
        }
        if let Some(name) = self.key.strip_prefix("public:") {
            return Ok(EncodingKey::from_secret(&std::fs::read(keys.join(format!("{name}.pub.pem")))?));
        }
        let pem = std::fs::read(keys.join(format!("{}.pem", self.key))).with_context(|| self.key.clone())?;
        Ok(match algorithm {
            Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_pem(&pem)?,
            Algorithm::EdDSA => EncodingKey::from_ed_pem(&pem)?,
            _ => EncodingKey::from_rsa_pem(&pem)?,
        })
    }
}
