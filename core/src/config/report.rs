//! What a policy file got wrong, each with its place and what to do about it.

use std::cell::RefCell;
use std::fmt::{self, Display};

use super::tree::{Entry, Node, Path, Step, Value};

/// Errors of one file that are collected; a file with more is told about these first.
pub(super) const ERRORS_MAX: usize = 100;

/// A place in the file, both from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    pub line: u32,
    pub column: u32,
}

/// One thing that is wrong. The message says what to do and never holds what a variable expanded to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigError {
    pub position: Position,
    /// As in `routing.services.user_service.timeout: …`, where there is a path.
    pub message: String,
}

/// Everything that is wrong with a file, in its order. Prints as one `file:line:column: message` a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.lines())]
pub struct ConfigErrors {
    pub name: String,
    pub errors: Vec<ConfigError>,
}

/// Something that is accepted and does not do what it seems to. Prints as `line:column: path: message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    pub path: String,
    pub position: Position,
    pub message: String,
}

impl ConfigErrors {
    pub(super) fn new(name: &str, mut errors: Vec<ConfigError>) -> ConfigErrors {
        errors.sort();
        errors.dedup();
        errors.truncate(ERRORS_MAX);
        ConfigErrors { name: name.into(), errors }
    }

    fn lines(&self) -> String {
        let line = |error: &ConfigError| format!("{}:{}: {}", self.name, error.position, error.message);
        self.errors.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

impl Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

impl Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.position, self.path, self.message)
    }
}

/// Collects what validation finds.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Values that were already reported: what they lack is no second error.
    hidden: Vec<Path>,
    errors: RefCell<Vec<ConfigError>>,
    warnings: RefCell<Vec<Warning>>,
}

impl Report {
    pub(super) fn new(hidden: Vec<Path>) -> Report {
        Report { hidden, ..Report::default() }
    }

    pub(super) fn into_parts(self) -> (Vec<ConfigError>, Vec<Warning>) {
        (self.errors.into_inner(), self.warnings.into_inner())
    }
}

/// A value under validation: where it is, and where its faults are reported.
#[derive(Clone, Debug)]
pub(super) struct At<'a> {
    report: &'a Report,
    node: Option<&'a Node>,
    /// Of the scalar itself, of the key of a larger value, or of what surrounds a value that is not there.
    position: Position,
    path: Path,
}

impl<'a> At<'a> {
    pub(super) fn root(report: &'a Report, node: &'a Node) -> At<'a> {
        At { report, node: Some(node), position: node.position, path: Path::default() }
    }

    /// The value of `key`, which need not be there.
    pub(super) fn field(&self, key: &str) -> At<'a> {
        match self.node.and_then(|node| node.entry(key)) {
            Some(entry) => self.value_of(entry),
            None => At { node: None, path: self.path.then(Step::Key(key.into())), ..self.clone() },
        }
    }

    /// The key itself.
    pub(super) fn key(&self, key: &str) -> At<'a> {
        match self.node.and_then(|node| node.entry(key)) {
            Some(entry) => self.key_of(entry),
            None => self.field(key),
        }
    }

    fn value_of(&self, entry: &'a Entry) -> At<'a> {
        let position = match entry.node.value {
            Value::Scalar(_) => entry.node.position,
            Value::Sequence(_) | Value::Mapping(_) => entry.position,
        };
        let path = self.path.then(Step::Key(entry.key.clone()));
        At { report: self.report, node: Some(&entry.node), position, path }
    }

    fn key_of(&self, entry: &Entry) -> At<'a> {
        let path = self.path.then(Step::Key(entry.key.clone()));
        At { report: self.report, node: None, position: entry.position, path }
    }

    /// The values of a list that were not reported yet; a lone value is its own only item.
    pub(super) fn items(&self) -> Vec<At<'a>> {
        let Some(Value::Sequence(items)) = self.node.map(|node| &node.value) else {
            return vec![self.clone()];
        };
        let visible = items.iter().enumerate().filter(|(_, node)| !node.hidden);
        let place = |(index, node): (usize, &'a Node)| At {
            report: self.report,
            node: Some(node),
            position: node.position,
            path: self.path.then(Step::Index(index)),
        };
        visible.map(place).collect()
    }

    /// The `index`th of [`At::items`].
    pub(super) fn item(&self, index: usize) -> At<'a> {
        self.items().into_iter().nth(index).unwrap_or_else(|| self.clone())
    }

    /// The values of a mapping that were not reported yet, in the order of the file: each with the place of its key
    /// and its own.
    pub(super) fn entries(&self) -> Vec<(At<'a>, At<'a>)> {
        let Some(Value::Mapping(entries)) = self.node.map(|node| &node.value) else { return Vec::new() };
        let visible = entries.iter().filter(|entry| !entry.node.hidden);
        visible.map(|entry| (self.key_of(entry), self.value_of(entry))).collect()
    }

    pub(super) fn is_set(&self) -> bool {
        self.node.is_some()
    }

    pub(super) fn line(&self) -> u32 {
        self.position.line
    }

    pub(super) fn error(&self, message: impl Display) {
        if self.report.hidden.iter().any(|hidden| hidden.touches(&self.path)) {
            return;
        }
        let message = format!("{}: {}", self.path, self.shown(message));
        self.report.errors.borrow_mut().push(ConfigError { position: self.position, message });
    }

    pub(super) fn warn(&self, message: impl Display) {
        let (path, message) = (self.path.to_string(), self.shown(message));
        self.report.warnings.borrow_mut().push(Warning { path, position: self.position, message });
    }

    /// The value, or its error reported here.
    pub(super) fn check<T, E: Display>(&self, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.error(error)).ok()
    }

    fn shown(&self, message: impl Display) -> String {
        let message = message.to_string();
        match self.node.map(|node| &node.value) {
            Some(Value::Scalar(scalar)) => scalar.without_expansion(message),
            _ => message,
        }
    }
}

/// The candidate closest to `word`, if it is close enough to be what was meant.
pub(super) fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    // A third of the letters may be wrong; more is another word.
    let allowed = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits (insertion, deletion, substitution, swap of neighbours) from `a` to `b`: optimal string alignment.
fn distance(a: &str, b: &str) -> usize {
    // A key this long is near none of ours, and the table stays small.
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let substituted = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let mut least = substituted.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    least = least.min(rows[i - 2][j - 2] + 1);
                }
                least
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_keyboard_is_near_and_another_word_is_not() {
        let keys = ["timeout", "retries", "urls"];
        let check = |word, expected| assert_eq!(nearest(word, keys), expected, "{word}");
        check("tiemout", Some("timeout"));
        check("timeouts", Some("timeout"));
        check("url", Some("urls"));
        check("retry", None);
        check("colour", None);
        check("", None);
    }
}
