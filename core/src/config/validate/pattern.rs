//! Path patterns, as far as a file can get them wrong: `/a/b`, `/a/{id}`, `/a/*`.

use super::url::is_path;

/// Variables of one pattern.
const VARIABLES_MAX: usize = 8;
/// Segments of one pattern.
const SEGMENTS_MAX: usize = 32;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern<'a> {
    pub(super) segments: Vec<Segment<'a>>,
    /// Ends in `/*`.
    pub(super) tail: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Segment<'a> {
    Literal(&'a str),
    Variable(&'a str),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PatternError {
    #[error("`{0}` does not start with `/`; write `/{0}`")]
    NoSlash(String),
    #[error("`*` stands for the rest of a path and only as its last segment; write a literal one as `%2A`")]
    Star,
    #[error("`{0}` is not a variable; a variable is a whole segment, `{{name}}`, of letters, digits and `_`")]
    Variable(String),
    #[error("the variable `{{{0}}}` occurs twice; give each its own name")]
    Repeated(String),
    #[error("more than {VARIABLES_MAX} variables in one path")]
    Variables,
    #[error("more than {SEGMENTS_MAX} segments in one path")]
    Segments,
    #[error(
        "`{0}` is not part of a path; write visible ASCII characters, others as `%` and two hexadecimal digits, and no `.` or `..` segments"
    )]
    Literal(String),
}

impl<'a> Pattern<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Pattern<'a>, PatternError> {
        let rest = text.strip_prefix('/').ok_or_else(|| PatternError::NoSlash(text.into()))?;
        let (fixed, tail) = match rest {
            "*" => return Ok(Pattern { segments: Vec::new(), tail: true }),
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
        match (1..names.len()).find(|index| names[..*index].contains(&names[*index])) {
            Some(index) => Err(PatternError::Repeated(names[index].into())),
            None => Ok(pattern),
        }
    }

    pub(super) fn variables(&self) -> impl Iterator<Item = &'a str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Variable(name) => Some(*name),
            Segment::Literal(_) => None,
        })
    }

    /// What two patterns share that match the same paths: variables without their names.
    pub(super) fn shape(&self) -> String {
        let mut shape = String::new();
        for segment in &self.segments {
            shape.push('/');
            shape.push_str(match segment {
                Segment::Literal(text) => text,
                Segment::Variable(_) => "{}",
            });
        }
        if self.tail {
            shape.push_str("/*");
        }
        shape
    }
}

impl<'a> Segment<'a> {
    fn parse(text: &'a str) -> Result<Segment<'a>, PatternError> {
        if text.contains('*') {
            return Err(PatternError::Star);
        }
        if text.contains(['{', '}']) {
            let is_name = |name: &&str| {
                !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            };
            let name = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).filter(is_name);
            return name.map(Segment::Variable).ok_or_else(|| PatternError::Variable(text.into()));
        }
        match is_path(&format!("/{text}")) {
            true => Ok(Segment::Literal(text)),
            false => Err(PatternError::Literal(text.into())),
        }
    }
}
