//! The way from the root of the file to a value.

use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) enum Step {
    Key(String),
    Index(usize),
}

/// Prints as `routing.services.user_service.urls[1]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::config) struct Path(pub(in crate::config) Vec<Step>);

impl Path {
    pub(in crate::config) fn then(&self, step: Step) -> Path {
        Path(self.0.iter().cloned().chain([step]).collect())
    }

    /// One lies within the other, or both are the same.
    pub(in crate::config) fn touches(&self, other: &Path) -> bool {
        self.0.starts_with(&other.0) || other.0.starts_with(&self.0)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(item) => write!(f, "[{item}]")?,
                Step::Key(key) if !is_bare(key) => write!(f, "[{key:?}]")?,
                Step::Key(key) if index == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
            }
        }
        Ok(())
    }
}

fn is_bare(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}
