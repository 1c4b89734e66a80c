//! The policy file: read from disk, and read again when it changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tollgate_core::config::{self, ConfigErrors, Loaded, Sources, Target};
use tollgate_core::{BuildError, Gateway, Options};

use crate::issuer::{Issuer, IssuerError};

/// Bytes of a policy file, and of a file that `${file:…}` names.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// A policy and where it came from.
pub struct PolicyFile {
    /// `None`: compiled in.
    pub path: Option<PathBuf>,
    pub loaded: Loaded,
    text: String,
}

#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error("cannot read {path}: {reason}")]
    Read { path: PathBuf, reason: String },
    #[error("the configuration is not valid:\n{0}")]
    Invalid(#[from] ConfigErrors),
    #[error("the configuration cannot be served: {0}")]
    Unservable(#[from] BuildError),
    #[error("the configuration cannot be served: {0}")]
    Issuer(#[from] IssuerError),
}

impl PolicyFile {
    pub fn read(path: &Path) -> Result<PolicyFile, PolicyError> {
        let text = text(path)?;
        let loaded = config::load(&text, &path.display().to_string(), &System)?;
        Ok(PolicyFile { path: Some(path.to_owned()), loaded, text })
    }

    pub fn embedded(text: &str, name: &str) -> Result<PolicyFile, PolicyError> {
        let loaded = config::load(text, name, &System)?;
        Ok(PolicyFile { path: None, loaded, text: text.to_owned() })
    }

    /// The file as it is now, if it is not what this was read from; comparing contents sees through the symbolic
    /// links by which Kubernetes swaps files.
    pub fn reread_if_changed(&self) -> Option<Result<PolicyFile, PolicyError>> {
        let path = self.path.as_deref()?;
        match read(path) {
            Ok(text) if text == self.text => None,
            _ => Some(PolicyFile::read(path)),
        }
    }

    /// The gateway of this policy, which takes over the state of the one before.
    pub fn gateway(&self, previous: Option<&Gateway>, options: Options) -> Result<Arc<Gateway>, PolicyError> {
        let policy = self.loaded.hash[..16].to_owned();
        Ok(Gateway::new(self.loaded.config.clone(), previous, Options { policy, ..options })?)
    }

    /// The token issuer of this policy, if it has one, which takes over the logins of the one before. It comes after
    /// everything else that can refuse the policy: users who are gone are logged out by it.
    pub fn issuer(&self, previous: Option<&Issuer>) -> Result<Option<Issuer>, PolicyError> {
        let Some(rules) = &self.loaded.config.auth.login else { return Ok(None) };
        let issuer = match previous {
            Some(previous) => Issuer::taking_over(rules, previous)?,
            None => Issuer::new(rules)?,
        };
        Ok(Some(issuer))
    }
}

/// The file compiled for adapters that read no YAML.
pub fn bundle(path: &Path, target: Target) -> Result<String, PolicyError> {
    let text = text(path)?;
    let (bundle, loaded) = config::bundle(&text, &path.display().to_string(), &System, target)?;
    warn(&loaded);
    Ok(bundle)
}

/// The file as an edge would take it.
pub fn check(path: &Path, target: Target) -> Result<Loaded, PolicyError> {
    Ok(config::check(&text(path)?, &path.display().to_string(), &System, target)?)
}

/// Logs what the policy asks for and does not get.
pub fn warn(loaded: &Loaded) {
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
}

/// The environment and the files of this machine.
struct System;

impl Sources for System {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn file(&self, path: &str) -> Result<String, String> {
        // An editor's last line end is not part of a secret.
        read(Path::new(path)).map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
    }
}

fn text(path: &Path) -> Result<String, PolicyError> {
    read(path).map_err(|reason| PolicyError::Read { path: path.to_owned(), reason })
}

fn read(path: &Path) -> Result<String, String> {
    let size = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > MAX_FILE_BYTES {
        return Err(format!("it is larger than {MAX_FILE_BYTES} bytes"));
    }
    fs::read_to_string(path).map_err(|error| error.to_string())
}
