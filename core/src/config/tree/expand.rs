//! `${NAME}`, `${NAME:-default}` and `${file:/path}` in scalars, after parsing.

use super::{Defect, Node, Path, Step, Value};
use crate::config::Sources;

/// Bytes of one scalar after expansion.
const EXPANDED_BYTES_MAX: usize = 1 << 20;

/// Expands every scalar below `node`. What cannot be expanded is hidden, added to `defects` and its path to `hidden`.
pub(in crate::config) fn expand(
    node: &mut Node,
    path: &Path,
    sources: &dyn Sources,
    defects: &mut Vec<Defect>,
    hidden: &mut Vec<Path>,
) {
    match &mut node.value {
        Value::Sequence(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                expand(item, &path.then(Step::Index(index)), sources, defects, hidden);
            }
        }
        Value::Mapping(entries) => {
            for entry in entries {
                expand(&mut entry.node, &path.then(Step::Key(entry.key.clone())), sources, defects, hidden);
            }
        }
        Value::Scalar(scalar) if scalar.text().contains("${") => match expanded(scalar.text(), sources) {
            Ok(text) => scalar.expand_to(text),
            Err(message) => {
                node.hidden = true;
                hidden.push(path.clone());
                defects.push(Defect { position: node.position, message: format!("{path}: {message}") });
            }
        },
        Value::Scalar(_) => {}
    }
}

fn expanded(text: &str, sources: &dyn Sources) -> Result<String, String> {
    let mut result = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        if let Some(literal) = rest[..start].strip_suffix('$') {
            result.push_str(literal);
            result.push_str("${");
            rest = &rest[start + 2..];
            continue;
        }
        result.push_str(&rest[..start]);
        let Some(length) = rest[start..].find('}') else {
            return Err("`${` without `}`; write `$${` for a literal `${`".into());
        };
        result.push_str(&value_of(&rest[start + 2..start + length], sources)?);
        rest = &rest[start + length + 1..];
        if result.len() > EXPANDED_BYTES_MAX {
            return Err(format!("longer than {EXPANDED_BYTES_MAX} bytes once its variables are expanded"));
        }
    }
    result.push_str(rest);
    Ok(result)
}

fn value_of(reference: &str, sources: &dyn Sources) -> Result<String, String> {
    if let Some(path) = reference.strip_prefix("file:") {
        let mut content =
            sources.file(path).map_err(|error| format!("`${{file:{path}}}` cannot be read: {error}"))?;
        // Editors and `echo` end a file with a line break that is no part of the secret.
        if content.ends_with('\n') {
            content.pop();
            if content.ends_with('\r') {
                content.pop();
            }
        }
        return Ok(content);
    }
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    if !is_name(name) {
        return Err(format!(
            "`${{{reference}}}` is not a variable; write `${{NAME}}`, `${{NAME:-default}}`, `${{file:/path}}`, or `$${{` for a literal `${{`"
        ));
    }
    match (sources.variable(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.into()),
        (None, None) => {
            Err(format!("the variable `{name}` is not set; set it or write `${{{name}:-default}}`"))
        }
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
