//! One signature under each kind of algorithm, as a token that is seen for the first time costs it: what the gateway does, and
//! beside it jsonwebtoken on RustCrypto, with its key made once.

use std::hint::black_box;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use criterion::Criterion;
use jsonwebtoken::DecodingKey;
use serde_json::Value;
use tollgate::signature::verify;
use tollgate_core::{Algorithm, Curve, KeyMaterial};

fn main() {
    jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER.install_default().expect("nobody else installs one");
    let mut criterion = Criterion::default().configure_from_args();
    let cases = cases();
    for case in &cases {
        criterion.bench_function(&format!("verify/{}", case.name), |b| b.iter(|| case.ours()));
        criterion.bench_function(&format!("verify_jsonwebtoken/{}", case.name), |b| b.iter(|| case.theirs()));
    }
    criterion.final_summary();
    for case in &cases {
        let (ours, theirs) = case.medians_us();
        println!("figure verify_fresh_us_{} {ours:.2}", case.name);
        println!("figure verify_fresh_us_{}_jsonwebtoken {theirs:.2}", case.name);
        println!("ratio verify_fresh_{}_vs_jsonwebtoken {:.2}", case.name, ours / theirs);
    }
}

struct Case {
    name: &'static str,
    message: String,
    ours: (Algorithm, KeyMaterial, Vec<u8>),
    theirs: (jsonwebtoken::Algorithm, DecodingKey, String),
}

impl Case {
    fn ours(&self) {
        let (algorithm, key, signature) = black_box(&self.ours);
        assert!(verify(*algorithm, key, self.message.as_bytes(), signature));
    }

    fn theirs(&self) {
        let (algorithm, key, signature) = black_box(&self.theirs);
        let verified = jsonwebtoken::crypto::verify(signature, self.message.as_bytes(), key, *algorithm);
        assert!(verified.expect("the key fits"));
    }

    /// Interleaved, so that both see the same machine.
    fn medians_us(&self) -> (f64, f64) {
        const ROUNDS: usize = 21;
        let (mut ours, mut theirs): (Vec<_>, Vec<_>) =
            (0..ROUNDS).map(|_| (mean_us(|| self.ours()), mean_us(|| self.theirs()))).unzip();
        ours.sort_by(f64::total_cmp);
        theirs.sort_by(f64::total_cmp);
        (ours[ROUNDS / 2], theirs[ROUNDS / 2])
    }
}

fn mean_us(run: impl Fn()) -> f64 {
    const TIMES: u32 = 200;
    let start = Instant::now();
    (0..TIMES).for_each(|_| run());
    start.elapsed().as_secs_f64() * 1e6 / f64::from(TIMES)
}

fn cases() -> Vec<Case> {
    let file: Value =
        serde_json::from_str(include_str!("../src/signature/vectors.json")).expect("it is JSON");
    let text = |key: &str, part: &str| file["keys"][key][part].as_str().expect("it is there").to_owned();
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).expect("it is base64url");
    let part = |key: &str, name: &str| bytes(&text(key, name));
    let case = |name, algorithm, key, their_algorithm, their_key| {
        let signature = file["signatures"][name].as_str().expect("it is there").to_owned();
        Case {
            name,
            message: file["message"].as_str().expect("it is there").to_owned(),
            ours: (algorithm, key, bytes(&signature)),
            theirs: (their_algorithm, their_key, signature),
        }
    };
    let ec = |curve, name| KeyMaterial::Ec { curve, x: part(name, "x"), y: part(name, "y") };
    let their_ec =
        |name| DecodingKey::from_ec_components(&text(name, "x"), &text(name, "y")).expect("a point");
    let rsa = KeyMaterial::Rsa { n: part("rsa", "n"), e: part("rsa", "e") };
    let their_rsa =
        DecodingKey::from_rsa_components(&text("rsa", "n"), &text("rsa", "e")).expect("two numbers");
    let ed = KeyMaterial::Ed25519 { x: part("ed25519", "x").try_into().expect("32 bytes") };
    let their_ed = DecodingKey::from_ed_components(&text("ed25519", "x")).expect("a point");
    let secret = part("hmac", "secret");
    use jsonwebtoken::Algorithm as Theirs;
    vec![
        case(
            "HS256",
            Algorithm::HS256,
            KeyMaterial::Hmac(secret.clone()),
            Theirs::HS256,
            DecodingKey::from_secret(&secret),
        ),
        case("RS256", Algorithm::RS256, rsa.clone(), Theirs::RS256, their_rsa.clone()),
        case("PS256", Algorithm::PS256, rsa, Theirs::PS256, their_rsa),
        case("ES256", Algorithm::ES256, ec(Curve::P256, "p256"), Theirs::ES256, their_ec("p256")),
        case("ES384", Algorithm::ES384, ec(Curve::P384, "p384"), Theirs::ES384, their_ec("p384")),
        case("EdDSA", Algorithm::EdDSA, ed, Theirs::EdDSA, their_ed),
    ]
}
