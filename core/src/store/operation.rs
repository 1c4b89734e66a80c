//! What a gateway asks of the store, and the Redis command that asks it.

use std::fmt::Display;

use bytes::Bytes;

use super::key::Key;
use super::notices::{Exchange, NOTICES_PER_CALL_MAX, Notice};
use super::rule::{Form, Rule, SUB_BUCKETS};
use super::scripts::{self, SCRIPTS, Script};

/// The arguments of one Redis command, its name first.
pub type Command = Vec<Bytes>;

/// One question to the state of one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Take `cost` permits, or none.
    Charge { rule: Rule, cost: u64 },
    /// Undo a charge of a request that another limit denied. `generation` is that of [`Charged`](super::Charged). It
    /// never gives back more than the charge still holds, and is sent at most once.
    Refund { rule: Rule, cost: u64, generation: u64 },
    /// Take a batch of permits to spend locally.
    Acquire { rule: Rule, acquire: Acquire },
    /// Give back what a grant of a window left over.
    Return { rule: Rule, back: Return },
}

/// `g = min(remaining, max(cost, min(wanted, ⌊share · remaining⌋)))` if the cost fits, else nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acquire {
    pub cost: u64,
    pub wanted: u64,
    /// Thousandths of what remains that one grant may take.
    pub share_permille: u64,
    /// The longest time in which the permits may be spent.
    pub lease_us: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Return {
    pub grant: u64,
    pub generation: u64,
    pub permits: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    #[error("a cost of {cost} can never be admitted by a limit of {most}")]
    Cost { cost: u64, most: u64 },
    #[error("leases come from a fixed window or a token bucket")]
    NotARoot,
    #[error("permits are only returned to a fixed window")]
    NotReturnable,
}

/// A script to run on a key.
#[derive(Clone, Debug)]
pub struct Call {
    script: &'static Script,
    key: Key,
    question: Question,
    arguments: Vec<Bytes>,
}

/// What a call asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Of the state of a limit.
    Limit(Operation),
    /// Of the other nodes.
    Notices(Exchange),
}

impl Call {
    /// # Errors
    ///
    /// A cost above what the limit ever admits (a permanent error, not a denial), or a lease on a rule that has none.
    pub fn new(key: Key, operation: &Operation) -> Result<Call, OperationError> {
        operation.check()?;
        let (script, arguments) = operation.arguments();
        Ok(Call { script: &SCRIPTS[script], key, question: Question::Limit(*operation), arguments })
    }

    /// An exchange of notices under `key`.
    pub fn exchange(key: Key, exchange: Exchange) -> Call {
        let mut arguments = Vec::new();
        push(&mut arguments, [exchange.ttl_ms(), exchange.seen, NOTICES_PER_CALL_MAX as u64]);
        for Notice { life_us, text } in &exchange.notices {
            push(&mut arguments, [life_us]);
            arguments.push(Bytes::copy_from_slice(text.as_bytes()));
        }
        let script = &SCRIPTS[scripts::AT_NOTICES];
        Call { script, key, question: Question::Notices(exchange), arguments }
    }

    pub fn script(&self) -> &'static Script {
        self.script
    }

    pub fn key(&self) -> &Key {
        &self.key
    }

    pub fn question(&self) -> &Question {
        &self.question
    }

    /// What the script sees as ARGV.
    pub fn arguments(&self) -> &[Bytes] {
        &self.arguments
    }

    /// To send first: Redis knows the script by its digest.
    pub fn evalsha(&self) -> Command {
        self.command("EVALSHA", &self.script.sha1)
    }

    /// To send when the answer was [`NOSCRIPT`](super::Value::is_noscript); Redis knows the script from then on.
    pub fn eval(&self) -> Command {
        self.command("EVAL", self.script.text)
    }

    fn command(&self, name: &'static str, script: &'static str) -> Command {
        let head = [name, script, "1"].map(|text| Bytes::from_static(text.as_bytes()));
        let key = Bytes::copy_from_slice(self.key.as_str().as_bytes());
        head.into_iter().chain([key]).chain(self.arguments.iter().cloned()).collect()
    }
}

impl Operation {
    pub fn rule(&self) -> &Rule {
        match self {
            Operation::Charge { rule, .. }
            | Operation::Refund { rule, .. }
            | Operation::Acquire { rule, .. }
            | Operation::Return { rule, .. } => rule,
        }
    }

    pub(super) fn check(&self) -> Result<(), OperationError> {
        let rule = self.rule();
        let (cost, leased) = match *self {
            Operation::Charge { cost, .. } | Operation::Refund { cost, .. } => (cost, false),
            Operation::Acquire { acquire, .. } => (acquire.cost, true),
            Operation::Return { back, .. } => (back.permits, true),
        };
        if cost > rule.most {
            return Err(OperationError::Cost { cost, most: rule.most });
        }
        match rule.form {
            Form::Bucket { .. } if matches!(self, Operation::Return { .. }) => {
                Err(OperationError::NotReturnable)
            }
            Form::FixedWindow { .. } | Form::Bucket { .. } => Ok(()),
            _ if leased => Err(OperationError::NotARoot),
            _ => Ok(()),
        }
    }

    fn arguments(&self) -> (usize, Vec<Bytes>) {
        let ttl_ms = self.rule().ttl_ms();
        match *self {
            Operation::Charge { rule, cost } => charge("charge", &rule, cost, 0),
            Operation::Refund { rule, cost, generation } => charge("refund", &rule, cost, generation),
            Operation::Acquire { rule, acquire } => {
                let mut out = match rule.form {
                    Form::Bucket { per_permit, per_us, capacity } => {
                        let mut out = texts(["acquire", "bucket"]);
                        push(&mut out, [ttl_ms, capacity, per_us, rule.horizon_us(), per_permit]);
                        out
                    }
                    _ => window(&rule, "acquire"),
                };
                push(&mut out, [acquire.cost, acquire.wanted, acquire.share_permille, acquire.lease_us]);
                (scripts::AT_LEASE, out)
            }
            Operation::Return { rule, back } => {
                let mut out = window(&rule, "return");
                push(&mut out, [back.grant, back.generation, back.permits]);
                (scripts::AT_LEASE, out)
            }
        }
    }
}

fn window(rule: &Rule, op: &'static str) -> Vec<Bytes> {
    let mut out = texts([op, "window"]);
    push(&mut out, [rule.ttl_ms(), rule.most, rule.horizon_us()]);
    out
}

fn charge(op: &'static str, rule: &Rule, cost: u64, generation: u64) -> (usize, Vec<Bytes>) {
    let mut out = texts([op]);
    push(&mut out, [rule.ttl_ms()]);
    let script = match rule.form {
        Form::FixedWindow { requests, window_us } => {
            push(&mut out, [requests, window_us, cost]);
            scripts::AT_FIXED_WINDOW
        }
        Form::Log { requests, window_us } => {
            push(&mut out, [requests, window_us, cost]);
            scripts::AT_LOG
        }
        Form::Counter { requests, window_us, grain_us } => {
            push(&mut out, [requests, window_us, grain_us, cost]);
            scripts::AT_COUNTER
        }
        Form::Strict { requests, bucket_us } => {
            push(&mut out, [requests, bucket_us, SUB_BUCKETS, cost]);
            scripts::AT_STRICT
        }
        Form::Bucket { per_permit, per_us, capacity } => {
            push(&mut out, [capacity, per_us, rule.horizon_us(), cost * per_permit]);
            scripts::AT_BUCKET
        }
    };
    push(&mut out, [generation]);
    (script, out)
}

fn texts<const N: usize>(texts: [&'static str; N]) -> Vec<Bytes> {
    texts.iter().map(|text| Bytes::from_static(text.as_bytes())).collect()
}

fn push<const N: usize>(out: &mut Vec<Bytes>, numbers: [impl Display; N]) {
    out.extend(numbers.map(|number| Bytes::from(number.to_string())));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Algorithm;
    use crate::store::Part;

    fn rule(algorithm: Algorithm) -> Rule {
        Rule::new(algorithm, 10, Duration::from_secs(60), 5).unwrap()
    }

    fn call(operation: &Operation) -> Result<Call, OperationError> {
        let rule = operation.rule();
        Call::new(Key::new(Part::Plain("t"), Part::Plain("s"), "l", rule), operation)
    }

    #[test]
    fn a_charge_is_sent_by_digest_and_then_by_text() {
        let call = call(&Operation::Charge { rule: rule(Algorithm::TokenBucket), cost: 2 }).unwrap();
        let script = call.script();
        let tail = "1 tg:{t:s}:l:bucket-6000000-1 charge 31000 30000000 1 30000000 12000000 0";
        let text = |command: Command| {
            command
                .iter()
                .map(|part| String::from_utf8_lossy(part).into_owned())
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(text(call.evalsha()), format!("EVALSHA {} {tail}", script.sha1));
        assert_eq!(text(call.eval()), format!("EVAL {} {tail}", script.text));
        assert_eq!(script.name, "token_bucket");
    }

    #[test]
    fn what_can_never_be_admitted_is_not_asked() {
        let bucket = rule(Algorithm::TokenBucket);
        let charge = Operation::Charge { rule: bucket, cost: 6 };
        assert_eq!(call(&charge).err(), Some(OperationError::Cost { cost: 6, most: 5 }));
        let back = Return { grant: 1, generation: 1, permits: 1 };
        let returned = Operation::Return { rule: bucket, back };
        assert_eq!(call(&returned).err(), Some(OperationError::NotReturnable));
        let acquire = Acquire { cost: 1, wanted: 1, share_permille: 100, lease_us: 1 };
        let lease = Operation::Acquire { rule: rule(Algorithm::SlidingWindowLog), acquire };
        assert_eq!(call(&lease).err(), Some(OperationError::NotARoot));
    }
}
