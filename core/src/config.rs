//! The policy file: one configuration for every adapter.
//!
//! `load` reads a file and either gives a [`Config`] that makes sense, with warnings about what it does not do, or all
//! that is wrong with the file. It reads no environment and no other file: those come in through `Sources`.

mod cidr;
mod model;
mod secrecy;

#[cfg(feature = "yaml")]
pub mod document;
#[cfg(feature = "yaml")]
mod load;
#[cfg(feature = "yaml")]
mod report;
#[cfg(feature = "yaml")]
mod validate;
#[cfg(feature = "yaml")]
mod yaml;

pub use cidr::CidrError;
pub use model::*;

#[cfg(feature = "yaml")]
pub use load::{Loaded, NoSources, Sources, load, schema};
#[cfg(feature = "yaml")]
pub use report::{ConfigError, ConfigErrors, Position, Warning};
