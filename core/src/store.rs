//! Limits in the shared store: what is sent to Redis and what its answers mean, as data. Adapters do the sending,
//! natively or through the Upstash REST protocol.
//!
//! One script an algorithm ([`SCRIPTS`]) runs inside Redis, whose `TIME` is the only clock. [`Operation`] is what a
//! gateway asks, [`Call`] the command that asks it, and [`Charged`] and [`Granted`] are what came of it. [`model`] has
//! the same semantics in process: tests hold the two to the same answers.

pub mod model;
pub mod rest;

mod answer;
mod batch;
mod failure;
mod key;
mod notices;
mod operation;
mod rule;
mod scripts;
mod value;

pub use answer::{Answer, AnswerError, Charged, Granted, Returned};
pub use batch::{Answered, Batch, Outcome};
pub use failure::StoreFailure;
pub use key::{Key, Part};
pub use notices::{Exchange, Heard, NOTICES_PER_CALL_MAX, NOTICES_TTL_MIN_MS, Notice};
pub use operation::{Acquire, Call, Command, Operation, OperationError, Question, Return};
pub use rule::{
    COUNTER_SCALE_MAX, HORIZON_MAX_US, LOG_REQUESTS_MAX, REQUESTS_MAX, Rule, RuleError, SUB_BUCKETS,
    TICKS_MAX, TTL_SLACK_MS,
};
pub use scripts::{SCRIPTS, Script, TIME_LINE};
pub use value::Value;
