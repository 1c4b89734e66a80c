//! Path patterns: exact `/a/b`, templates `/a/{id}`, prefixes `/a/*`.

use crate::url::{canonical_path, comparable};

/// Variables of one pattern, so that captures fit into a request's own memory.
pub const VARIABLES_MAX: usize = 8;
/// Segments of one pattern, which bounds how deep a lookup goes.
pub const SEGMENTS_MAX: usize = 32;
/// Bytes of one pattern.
pub const PATTERN_BYTES_MAX: usize = 8_192;

/// A path pattern, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    /// Without the tail.
    pub(super) segments: Vec<Segment>,
    /// Ends in `/*`: whatever follows the segments at a segment boundary, nothing included.
    pub(super) tail: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    /// In comparable form; may be empty, as in `/a/`.
    Literal(Box<str>),
    /// Any one segment that is not empty.
    Variable(Box<str>),
}

/// What is wrong with a path pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("a path starts with `/`")]
    NoSlash,
    #[error("a path holds no `?`, `#` or `\\`; write them as escapes")]
    Delimiter,
    #[error("`*` stands for the rest of a path and only as its last segment; write a literal one as `%2A`")]
    Star,
    #[error("a variable is a whole segment, `{{name}}`, of letters, digits and `_`")]
    Variable,
    #[error("a variable occurs twice")]
    VariableRepeated,
    #[error("a path has at most {VARIABLES_MAX} variables")]
    Variables,
    #[error("a path has at most {SEGMENTS_MAX} segments")]
    Segments,
    #[error("a path has at most {PATTERN_BYTES_MAX} bytes")]
    TooLong,
    #[error("`.` and `..` segments never match: they are removed from requests")]
    Dots,
    #[error("`%` is followed by two hexadecimal digits other than `00`")]
    Escape,
    #[error("the prefix to strip is not made of the first segments of the path")]
    Strip,
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Pattern, PatternError> {
        let rest = text.strip_prefix('/').ok_or(PatternError::NoSlash)?;
        if text.len() > PATTERN_BYTES_MAX {
            return Err(PatternError::TooLong);
        }
        if rest.contains(['?', '#', '\\']) {
            return Err(PatternError::Delimiter);
        }
        let (fixed, tail) = match rest {
            "*" => {
                return Ok(Pattern { segments: Vec::new(), tail: true });
            }
            _ => rest.strip_suffix("/*").map_or((rest, false), |fixed| (fixed, true)),
        };
        let segments = fixed.split('/').map(Segment::parse).collect::<Result<Vec<_>, _>>()?;
        let pattern = Pattern { segments, tail };
        let names: Vec<_> = pattern.variables().collect();
        if pattern.segments.len() > SEGMENTS_MAX {
            return Err(PatternError::Segments);
        }
        if names.len() > VARIABLES_MAX {
            return Err(PatternError::Variables);
        }
        if (1..names.len()).any(|i| names[..i].contains(&names[i])) {
            return Err(PatternError::VariableRepeated);
        }
        Ok(pattern)
    }

    /// How many segments `prefix`, written as in the configuration, takes off what this pattern matches.
    pub(super) fn stripped_by(&self, prefix: &str) -> Result<usize, PatternError> {
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        if prefix.is_empty() {
            return Ok(0);
        }
        let prefix = Pattern::parse(prefix)?;
        if prefix.tail || !self.segments.starts_with(&prefix.segments) {
            return Err(PatternError::Strip);
        }
        Ok(prefix.segments.len())
    }

    /// In the order of the path.
    pub(super) fn variables(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Variable(name) => Some(&**name),
            Segment::Literal(_) => None,
        })
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Segment, PatternError> {
        if text.contains('*') {
            return Err(PatternError::Star);
        }
        if text.contains(['{', '}']) {
            let name = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
            let name = name.filter(|name| {
                !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            });
            return name.map(|name| Segment::Variable(name.into())).ok_or(PatternError::Variable);
        }
        let path = format!("/{text}");
        let canonical = canonical_path(&path).map_err(|_| PatternError::Escape)?;
        // What else canonicalisation could change was refused above; encoding never makes a segment shorter.
        if canonical.len() < path.len() {
            return Err(PatternError::Dots);
        }
        Ok(Segment::Literal(comparable(&canonical)[1..].into()))
    }
}
