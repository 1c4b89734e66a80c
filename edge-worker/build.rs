//! Compiles the policy into the adapter: `policy.yaml`, or the file that `TOLLGATE_POLICY` names.

use std::path::{Path, PathBuf};
use std::{env, fs};

use tollgate_core::config::{Sources, Target, bundle};

/// The environment of the build. Only the adapter's own is kept: a bundle holds references.
struct Environment;

impl Sources for Environment {
    fn variable(&self, name: &str) -> Option<String> {
        println!("cargo::rerun-if-env-changed={name}");
        env::var(name).ok()
    }

    fn file(&self, _: &str) -> Result<String, String> {
        Err("there are no files at an edge".into())
    }
}

fn main() {
    println!("cargo::rerun-if-env-changed=TOLLGATE_POLICY");
    let folder = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let file = folder.join(env::var_os("TOLLGATE_POLICY").unwrap_or("policy.yaml".into()));
    println!("cargo::rerun-if-changed={}", file.display());
    match compile(&file) {
        Ok(bundle) => {
            let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
            fs::write(out.join("policy.json"), bundle).expect("cargo's folder can be written");
        }
        Err(error) => {
            for line in error.lines() {
                println!("cargo::error={line}");
            }
        }
    }
}

fn target() -> Target {
    match env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("wasi") => Target::Spin,
        _ => Target::Cloudflare,
    }
}

fn compile(file: &Path) -> Result<String, String> {
    let name = file.display().to_string();
    let text = fs::read_to_string(file).map_err(|error| format!("{name}: {error}"))?;
    let (bundle, loaded) =
        bundle(&text, &name, &Environment, target()).map_err(|errors| errors.to_string())?;
    for warning in &loaded.warnings {
        println!("cargo::warning={name}:{warning}");
    }
    Ok(bundle)
}
