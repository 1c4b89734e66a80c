//! From a policy to a configuration, whatever the policy was read from.

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::document::Document;
use super::report::{At, ConfigError, ConfigErrors, ERRORS_MAX, Report, Warning};
#[cfg(feature = "yaml")]
use super::target::{self, Target};
use super::tree::{self, Defect, Fault, Kind, Node, Path, Step, Typed, Value};
use super::{Config, validate};

/// A policy file that makes sense.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    /// In the order of the file.
    pub warnings: Vec<Warning>,
    /// SHA-256 over every value of the file, variables expanded, in hexadecimal digits. Layout, comments, quotes and
    /// the order of keys make no difference.
    pub hash: String,
    /// As written, with defaults; it serialises without secrets.
    pub document: Document,
}

/// Where `${…}` comes from. An adapter has its environment; an edge bundle has [`NoSources`].
pub trait Sources {
    /// The variable of that name, if it is set.
    fn variable(&self, name: &str) -> Option<String>;
    /// The text of a file, or why it cannot be read.
    fn file(&self, path: &str) -> Result<String, String>;
}

/// No variable is set and no file is there.
#[derive(Clone, Copy, Debug)]
pub struct NoSources;

impl Sources for NoSources {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn file(&self, _: &str) -> Result<String, String> {
        Err("there are no files here".into())
    }
}

/// Reads the policy file `text`, called `name` in errors. JSON is YAML, so it reads that too.
///
/// # Errors
///
/// Everything that is wrong with the file, up to a bound, and not only the first.
#[cfg(feature = "yaml")]
pub fn load(text: &str, name: &str, sources: &dyn Sources) -> Result<Loaded, ConfigErrors> {
    check(text, name, sources, Target::Region)
}

/// As [`load`], with what `target` does not do of the policy among the errors and warnings. Files are an error where
/// there are none.
///
/// # Errors
///
/// As those of `load`, and what would mean something else there.
#[cfg(feature = "yaml")]
pub fn check(text: &str, name: &str, sources: &dyn Sources, target: Target) -> Result<Loaded, ConfigErrors> {
    let (tree, defects) = parse(text, name)?;
    match target.is_edge() {
        true => resolve(tree, defects, name, &VariablesOnly(sources), |document, at| {
            target::unserved(document, at, target);
        }),
        false => resolve(tree, defects, name, sources, |_, _| {}),
    }
}

/// Sources without files, as an edge has them.
#[cfg(feature = "yaml")]
pub(super) struct VariablesOnly<'a>(pub(super) &'a dyn Sources);

#[cfg(feature = "yaml")]
impl Sources for VariablesOnly<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        self.0.variable(name)
    }

    fn file(&self, _: &str) -> Result<String, String> {
        Err("there are no files where a bundle runs; name a variable".into())
    }
}

/// The tree of the policy file `text` as written, and what its parser found wrong with it.
#[cfg(feature = "yaml")]
pub(super) fn parse(text: &str, name: &str) -> Result<(Node, Vec<Defect>), ConfigErrors> {
    let mut defects = Vec::new();
    match super::yaml::parse(text, &mut defects) {
        Ok(tree) => Ok((tree, defects)),
        Err(defect) => {
            defects.push(defect);
            Err(ConfigErrors::new(name, defects.into_iter().map(ConfigError::from).collect()))
        }
    }
}

/// Expands the variables of a policy and validates it; `defects` are known already, and `more` has a look of its own.
pub(super) fn resolve(
    mut tree: Node,
    mut defects: Vec<Defect>,
    name: &str,
    sources: &dyn Sources,
    more: impl FnOnce(&Document, &At<'_>),
) -> Result<Loaded, ConfigErrors> {
    let mut hidden = Vec::new();
    tree::expand(&mut tree, &Path::default(), sources, &mut defects, &mut hidden);
    let mut errors: Vec<_> = defects.into_iter().map(ConfigError::from).collect();
    let Some(document) = read(&mut tree, &mut errors, &mut hidden) else {
        return Err(ConfigErrors::new(name, errors));
    };
    let report = Report::new(hidden);
    let root = At::root(&report, &tree);
    let config = validate::config(&document, &root);
    more(&document, &root);
    let (found, mut warnings) = report.into_parts();
    errors.extend(found);
    match config {
        Some(config) if errors.is_empty() => {
            warnings.sort_by_key(|warning| warning.position);
            Ok(Loaded { config, warnings, hash: hash(&tree), document })
        }
        _ => Err(ConfigErrors::new(name, errors)),
    }
}

/// JSON Schema (draft 2020-12) of the policy file, for editors.
#[cfg(feature = "yaml")]
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::generate::SchemaSettings::draft2020_12()
        .for_deserialize()
        .into_generator()
        .into_root_schema_for::<Document>();
    schema.insert("title".into(), "Tollgate policy file".into());
    schema.into()
}

impl From<Defect> for ConfigError {
    fn from(defect: Defect) -> ConfigError {
        ConfigError { position: defect.position, message: defect.message }
    }
}

/// Reads the document as often as it takes to find all that is wrong: what was reported is hidden from the next
/// round. `None` if the whole is not readable, or there is too much.
fn read(tree: &mut Node, errors: &mut Vec<ConfigError>, hidden: &mut Vec<Path>) -> Option<Document> {
    for _ in 0..ERRORS_MAX {
        let fault = match Document::deserialize(&*tree) {
            Ok(document) => return Some(document),
            Err(fault) => fault,
        };
        let path = fault.path();
        if !is_consequence(&fault, &path, tree) {
            let position = fault.position.unwrap_or(tree.position);
            let message = match path.0.is_empty() {
                true => fault.message.clone(),
                false => format!("{path}: {}", fault.message),
            };
            errors.push(ConfigError { position, message });
        }
        let node = tree.at_mut(&path.0).filter(|_| !path.0.is_empty())?;
        node.hidden = true;
        // An unknown key is not what makes anything else wrong.
        if fault.kind != Kind::UnknownKey {
            hidden.push(path);
        }
    }
    None
}

/// A key that is missing because its value was wrong has been reported.
fn is_consequence(fault: &Fault, path: &Path, tree: &mut Node) -> bool {
    match fault.kind {
        Kind::MissingKey(key) => {
            tree.at_mut(&path.then(Step::Key(key.into())).0).is_some_and(|node| node.hidden)
        }
        Kind::UnknownKey | Kind::Value => false,
    }
}

fn hash(tree: &Node) -> String {
    let mut hasher = Sha256::new();
    hasher.update(b"tollgate policy 1\n");
    digest(tree, &mut hasher);
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every value with its type, every text and collection with its length, so that no two trees share a form.
fn digest(node: &Node, hasher: &mut Sha256) {
    let text = |hasher: &mut Sha256, text: &str| {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text);
    };
    match &node.value {
        Value::Scalar(scalar) => match scalar.typed() {
            Typed::Null => hasher.update(b"0"),
            Typed::Bool(value) => hasher.update([b'b', value.into()]),
            Typed::Integer(value) => {
                hasher.update(b"i");
                hasher.update(value.to_le_bytes());
            }
            Typed::Float(value) => {
                hasher.update(b"f");
                hasher.update(value.to_le_bytes());
            }
            Typed::Text(value) => {
                hasher.update(b"t");
                text(hasher, value);
            }
        },
        Value::Sequence(items) => {
            hasher.update(b"[");
            hasher.update((items.len() as u64).to_le_bytes());
            items.iter().for_each(|item| digest(item, hasher));
        }
        Value::Mapping(entries) => {
            hasher.update(b"{");
            hasher.update((entries.len() as u64).to_le_bytes());
            let mut sorted: Vec<_> = entries.iter().collect();
            sorted.sort_by(|a, b| a.key.cmp(&b.key));
            for entry in sorted {
                text(hasher, &entry.key);
                digest(&entry.node, hasher);
            }
        }
    }
}

#[cfg(all(test, feature = "yaml"))]
mod tests;
