//! Calls that are sent together: by digest first, and by text what Redis does not know.

use std::borrow::Borrow;

use super::failure::StoreFailure;
use super::operation::{Call, Command};
use super::value::Value;

/// What came of one call: Redis' answer, whatever it says, or why there is none.
pub type Outcome = Result<Value, StoreFailure>;

/// One pipeline that is to be sent, and what is known of its calls already.
#[derive(Debug)]
pub struct Batch {
    outcomes: Vec<Outcome>,
    /// The calls that are sent now, by their place; `by_text` once Redis did not know their scripts.
    sent: Vec<usize>,
    by_text: bool,
}

/// What follows an answer.
#[derive(Debug)]
pub enum Answered {
    /// Send what is left.
    Again(Batch),
    /// In the order of the calls.
    Done(Vec<Outcome>),
}

impl Batch {
    /// Of so many calls.
    pub fn new(calls: usize) -> Batch {
        Batch {
            outcomes: vec![Err(StoreFailure::Unreachable); calls],
            sent: (0..calls).collect(),
            by_text: false,
        }
    }

    /// How many commands are sent now.
    #[expect(clippy::len_without_is_empty, reason = "a batch that is to be sent has commands")]
    pub fn len(&self) -> usize {
        self.sent.len()
    }

    /// The commands to send for `calls`, which are the same each time. A script's text goes once: Redis knows it by the time
    /// that the next call of the same pipeline names it.
    pub fn commands<C: Borrow<Call>>(&self, calls: &[C]) -> Vec<Command> {
        let mut told = Vec::new();
        let command = |index: &usize| {
            let call = calls[*index].borrow();
            let name = call.script().name;
            if !self.by_text || told.contains(&name) {
                return call.evalsha();
            }
            told.push(name);
            call.eval()
        };
        self.sent.iter().map(command).collect()
    }

    /// Takes the answers to the commands, one for each. After a failure nobody knows which of them were run, and none is sent
    /// again.
    pub fn answered(mut self, answers: Result<Vec<Value>, StoreFailure>) -> Answered {
        let answers: Vec<Outcome> = match answers {
            Ok(values) if values.len() == self.sent.len() => values.into_iter().map(Ok).collect(),
            Ok(_) => vec![Err(StoreFailure::Garbled); self.sent.len()],
            Err(failure) => vec![Err(failure); self.sent.len()],
        };
        let mut unknown = Vec::new();
        for (index, answer) in self.sent.iter().zip(answers) {
            if !self.by_text && answer.as_ref().is_ok_and(Value::is_noscript) {
                unknown.push(*index);
            }
            self.outcomes[*index] = answer;
        }
        match unknown.is_empty() {
            true => Answered::Done(self.outcomes),
            false => Answered::Again(Batch { sent: unknown, by_text: true, ..self }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Algorithm;
    use crate::store::{Key, Operation, Part, Rule};

    fn call(algorithm: Algorithm) -> Call {
        let rule = Rule::new(algorithm, 10, Duration::from_secs(60), 10).unwrap();
        let key = Key::new(Part::Plain("t"), Part::Plain("s"), "l", &rule);
        Call::new(key, &Operation::Charge { rule, cost: 1 }).unwrap()
    }

    fn names(batch: &Batch, calls: &[Call]) -> Vec<String> {
        let name = |command: &Command| String::from_utf8_lossy(&command[0]).into_owned();
        batch.commands(calls).iter().map(name).collect()
    }

    fn unknown() -> Value {
        Value::Error("NOSCRIPT No matching script.".into())
    }

    fn again(answered: Answered) -> Batch {
        match answered {
            Answered::Again(batch) => batch,
            Answered::Done(outcomes) => panic!("{outcomes:?} is all"),
        }
    }

    fn done(answered: Answered) -> Vec<Outcome> {
        match answered {
            Answered::Done(outcomes) => outcomes,
            Answered::Again(batch) => panic!("{batch:?} is sent again"),
        }
    }

    #[test]
    fn only_what_redis_does_not_know_is_sent_again_and_each_text_once() {
        let (bucket, log) = (call(Algorithm::TokenBucket), call(Algorithm::SlidingWindowLog));
        let calls = [bucket.clone(), log, bucket.clone(), bucket];
        let batch = Batch::new(calls.len());
        assert_eq!(names(&batch, &calls), ["EVALSHA"; 4]);
        let answers = [unknown(), Value::Integer(2), unknown(), unknown()];
        let batch = again(batch.answered(Ok(answers.into())));
        assert_eq!(names(&batch, &calls), ["EVAL", "EVALSHA", "EVALSHA"]);
        let answers = [Value::Integer(1), Value::Integer(3), Value::Integer(4)];
        let expected = [1, 2, 3, 4].map(|number| Ok(Value::Integer(number)));
        assert_eq!(done(batch.answered(Ok(answers.into()))), expected);
    }

    #[test]
    fn what_failed_is_never_sent_again() {
        let batch = || Batch::new(2);
        let failed = Err(StoreFailure::TimedOut);
        assert_eq!(
            done(batch().answered(failed)),
            [Err(StoreFailure::TimedOut), Err(StoreFailure::TimedOut)]
        );
        let short = Ok(vec![Value::Integer(1)]);
        assert_eq!(done(batch().answered(short)), [Err(StoreFailure::Garbled), Err(StoreFailure::Garbled)]);
        let batch = again(batch().answered(Ok(vec![unknown(), Value::Integer(2)])));
        assert_eq!(done(batch.answered(Ok(vec![unknown()]))), [Ok(unknown()), Ok(Value::Integer(2))]);
    }
}
