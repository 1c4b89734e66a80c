//! The policy file: one configuration for every adapter.

mod model;

pub use model::*;
