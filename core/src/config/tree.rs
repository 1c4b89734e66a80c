//! A policy as a tree whose every node knows its place, and from there to any `Deserialize` type.
//!
//! YAML text becomes one, and so does a bundle. Variables are expanded on scalars of the finished tree, so no value
//! can add structure.

mod de;
mod expand;
mod path;
mod scalar;

pub(super) use de::{Fault, Kind};
pub(super) use expand::expand;
pub(super) use path::{Path, Step};
pub(super) use scalar::{Scalar, Typed};

use super::report::Position;

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) position: Position,
    pub(super) value: Value,
    /// Already reported as wrong: what is built from the tree leaves it out.
    pub(super) hidden: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Scalar(Scalar),
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    /// Of the key.
    pub(super) position: Position,
    pub(super) node: Node,
}

/// What is wrong with the text itself, or with a variable in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Defect {
    pub(super) position: Position,
    pub(super) message: String,
}

impl Node {
    #[cfg(feature = "yaml")]
    pub(super) fn null(position: Position) -> Node {
        Node { position, value: Value::Scalar(Scalar::plain(String::new())), hidden: false }
    }

    /// The node at `path`, unless something on the way is missing.
    pub(super) fn at_mut(&mut self, path: &[Step]) -> Option<&mut Node> {
        path.iter().try_fold(self, |node, step| match (&mut node.value, step) {
            (Value::Mapping(entries), Step::Key(key)) => {
                entries.iter_mut().find(|entry| entry.key == *key).map(|entry| &mut entry.node)
            }
            (Value::Sequence(items), Step::Index(index)) => items.get_mut(*index),
            _ => None,
        })
    }

    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Mapping(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }
}
