//! What the scripts' answers mean. Scripts answer with their state in whole numbers; what a client is told follows from
//! it here, in 128 bits.

use super::failure::StoreFailure;
use super::notices::Heard;
use super::operation::{Operation, Question};
use super::rule::{Form, Rule, SUB_BUCKETS};
use super::value::Value;

/// What came of a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charged {
    pub admitted: bool,
    /// Permits that could be taken now.
    pub remaining: u64,
    /// When the same cost fits if nothing else is taken; 0 if it was admitted.
    pub retry_after_us: u64,
    /// When everything taken has come back.
    pub reset_us: u64,
    /// Names the charge in a refund.
    pub generation: u64,
    /// Redis' clock was set back beyond the horizon and the state was carried to the new time; to be counted.
    pub clock_stepped: bool,
}

/// What came of an acquire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// 0 is a denial.
    pub permits: u64,
    /// At the root, after this grant.
    pub remaining: u64,
    /// How long the permits may be spent, from the root's answer on.
    pub lease_us: u64,
    pub generation: u64,
    pub grant: u64,
    /// When the asked cost fits; 0 unless this is a denial.
    pub retry_after_us: u64,
    pub reset_us: u64,
    pub clock_stepped: bool,
}

/// What came of a return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Returned {
    /// 0 when the grant was returned before, or its window is over.
    pub permits: u64,
    pub clock_stepped: bool,
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Of a charge or a refund.
    Charged(Charged),
    Granted(Granted),
    Returned(Returned),
    Heard(Heard),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    #[error("the store refused the script: {0}")]
    Refused(String),
    #[error("the store's answer is not one of the script's")]
    Shape,
}

impl From<AnswerError> for StoreFailure {
    fn from(error: AnswerError) -> StoreFailure {
        match error {
            AnswerError::Refused(_) => StoreFailure::Refused,
            AnswerError::Shape => StoreFailure::Garbled,
        }
    }
}

impl Answer {
    /// # Errors
    ///
    /// The store's own error, or an answer that the call's script cannot have given.
    pub fn read(question: &Question, value: &Value) -> Result<Answer, AnswerError> {
        let operation = match question {
            Question::Limit(operation) => operation,
            Question::Notices(_) => return Heard::read(value).map(Answer::Heard),
        };
        match operation {
            Operation::Charge { rule, cost } | Operation::Refund { rule, cost, .. } => {
                Charged::read(rule, *cost, value).map(Answer::Charged)
            }
            Operation::Acquire { rule, acquire } => {
                let granted = Granted::read(rule, acquire.cost, value)?;
                // A grant of more than was asked would be spent.
                let possible = acquire.cost..=acquire.wanted.max(acquire.cost);
                let sound = granted.permits == 0 || possible.contains(&granted.permits);
                sound.then_some(Answer::Granted(granted)).ok_or(AnswerError::Shape)
            }
            Operation::Return { .. } => Returned::read(value).map(Answer::Returned),
        }
    }
}

impl Charged {
    /// Reads the answer to a charge, or to a refund, whose `admitted` says whether anything was given back.
    ///
    /// # Errors
    ///
    /// The store's own error, or an answer that the script cannot have given.
    pub fn read(rule: &Rule, cost: u64, value: &Value) -> Result<Charged, AnswerError> {
        let numbers = integers(value)?;
        let view = match (&rule.form, numbers.as_slice()) {
            (Form::FixedWindow { requests, window_us }, &[_, now, used, stepped]) => {
                let end_us = window_us - now % window_us;
                View { remaining: requests.saturating_sub(used), retry_us: end_us, reset_us: end_us, stepped }
            }
            (Form::Log { requests, window_us }, &[_, now, used, newest, leaving, stepped]) => View {
                remaining: requests.saturating_sub(used),
                retry_us: (leaving + window_us).saturating_sub(now),
                reset_us: if used == 0 { 0 } else { (newest + window_us).saturating_sub(now) },
                stepped,
            },
            (Form::Counter { requests, window_us, grain_us }, &[_, now, before, used, stepped]) => {
                let weights = Weights { requests: *requests, window_us: *window_us, grain_us: *grain_us };
                weights.view(now, before, used, cost, stepped)
            }
            (Form::Strict { requests, bucket_us }, [_, now, stepped, buckets @ ..]) => {
                strict(*requests, *bucket_us, *now, cost, buckets, *stepped)?
            }
            (Form::Bucket { .. }, &[_, _, debt, stepped]) => View { stepped, ..bucket(rule, debt, cost) },
            _ => return Err(AnswerError::Shape),
        };
        let (&[admitted, now, ..], 0 | 1) = (numbers.as_slice(), view.stepped) else {
            return Err(AnswerError::Shape);
        };
        Ok(Charged {
            admitted: admitted == 1,
            remaining: view.remaining,
            retry_after_us: if admitted == 1 { 0 } else { view.retry_us },
            reset_us: view.reset_us,
            generation: now,
            clock_stepped: view.stepped == 1,
        })
    }
}

impl Granted {
    /// # Errors
    ///
    /// As for [`Charged::read`].
    pub fn read(rule: &Rule, cost: u64, value: &Value) -> Result<Granted, AnswerError> {
        let [permits, now, remaining, lease_us, generation, grant, debt, stepped] = lease_answer(value)?;
        let view = match rule.form {
            Form::Bucket { .. } => bucket(rule, debt, cost),
            _ => {
                let end_us = rule.horizon_us() - now % rule.horizon_us();
                View { remaining, retry_us: end_us, reset_us: end_us, stepped }
            }
        };
        let retry_after_us = if permits == 0 { view.retry_us } else { 0 };
        let (reset_us, clock_stepped) = (view.reset_us, stepped == 1);
        Ok(Granted {
            permits,
            remaining,
            lease_us,
            generation,
            grant,
            retry_after_us,
            reset_us,
            clock_stepped,
        })
    }
}

impl Returned {
    /// # Errors
    ///
    /// As for [`Charged::read`].
    pub fn read(value: &Value) -> Result<Returned, AnswerError> {
        let [permits, _, _, _, _, _, _, stepped] = lease_answer(value)?;
        Ok(Returned { permits, clock_stepped: stepped == 1 })
    }
}

/// What a state means to a client.
struct View {
    remaining: u64,
    retry_us: u64,
    reset_us: u64,
    stepped: u64,
}

fn bucket(rule: &Rule, debt: u64, cost: u64) -> View {
    let Form::Bucket { per_permit, per_us, capacity } = rule.form else {
        unreachable!("only a bucket's answer has a debt")
    };
    // Both are at most 2^52, so their sum fits.
    let short = (debt + cost * per_permit).saturating_sub(capacity);
    View {
        remaining: capacity.saturating_sub(debt) / per_permit,
        retry_us: short.div_ceil(per_us),
        reset_us: debt.div_ceil(per_us),
        stepped: 0,
    }
}

fn strict(
    requests: u64,
    bucket_us: u64,
    now: u64,
    cost: u64,
    buckets: &[u64],
    stepped: u64,
) -> Result<View, AnswerError> {
    let (pairs, []) = buckets.as_chunks::<2>() else { return Err(AnswerError::Shape) };
    let total: u64 = pairs.iter().map(|[_, used]| used).sum();
    let leaves_us = |bucket: u64| ((bucket + SUB_BUCKETS + 1) * bucket_us).saturating_sub(now);
    let short = (total + cost).saturating_sub(requests);
    let mut freed = 0;
    let enough = pairs.iter().find(|[_, used]| {
        freed += used;
        freed >= short
    });
    Ok(View {
        remaining: requests.saturating_sub(total),
        retry_us: enough.map_or(0, |[bucket, _]| leaves_us(*bucket)),
        reset_us: pairs.last().map_or(0, |[bucket, _]| leaves_us(*bucket)),
        stepped,
    })
}

/// The two windows of a sliding counter, whose products stay below 2^53.
struct Weights {
    requests: u64,
    window_us: u64,
    grain_us: u64,
}

impl Weights {
    fn view(&self, now: u64, before: u64, used: u64, cost: u64, stepped: u64) -> View {
        let whole = self.window_us / self.grain_us;
        let end_us = self.window_us - now % self.window_us;
        let taken = before * end_us.div_ceil(self.grain_us) + used * whole;
        let reset_us = match (before, used) {
            (0, 0) => 0,
            (_, 0) => end_us,
            _ => end_us + self.window_us,
        };
        let within = self.fits_at_us(before, used + cost);
        let retry_us = match within {
            Some(at_us) => at_us.saturating_sub(now % self.window_us),
            None => end_us + self.fits_at_us(used, cost).unwrap_or(self.window_us),
        };
        let remaining = (self.requests * whole).saturating_sub(taken) / whole;
        View { remaining, retry_us, reset_us, stepped }
    }

    /// How far into a window `used` fits beside what is left of `before`; `None` if never.
    fn fits_at_us(&self, before: u64, used: u64) -> Option<u64> {
        let whole = self.window_us / self.grain_us;
        let room = self.requests.checked_sub(used)? * whole;
        if before == 0 {
            return Some(0);
        }
        let covered = (room / before).min(whole);
        // At least one grain is covered until the window ends.
        (covered > 0).then_some(self.window_us - covered * self.grain_us)
    }
}

fn lease_answer(value: &Value) -> Result<[u64; 8], AnswerError> {
    <[u64; 8]>::try_from(integers(value)?).map_err(|_| AnswerError::Shape)
}

/// Every script answers with an array of whole numbers, none of them negative but what remains under a limit that was
/// lowered meanwhile.
fn integers(value: &Value) -> Result<Vec<u64>, AnswerError> {
    match value {
        Value::Array(values) => values
            .iter()
            .map(|value| match value {
                Value::Integer(number) => Ok((*number).max(0).unsigned_abs()),
                _ => Err(AnswerError::Shape),
            })
            .collect(),
        Value::Error(message) => Err(AnswerError::Refused(message.clone())),
        _ => Err(AnswerError::Shape),
    }
}

#[cfg(test)]
mod tests;
