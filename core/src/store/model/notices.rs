//! The set of notices in process.

use std::collections::BTreeMap;

use super::super::notices::{Exchange, NOTICES_PER_CALL_MAX};
use super::super::value::Value;

/// Notices kept; the oldest are forgotten first.
const KEPT_MAX: usize = 10_000;

#[derive(Clone, Debug, Default)]
pub(super) struct Notices {
    /// By arrival, with when each ends.
    by_arrival: BTreeMap<u64, (u64, String)>,
    expires_us: u64,
}

impl Notices {
    pub(super) fn exchange(&mut self, exchange: &Exchange, wall: u64) -> Value {
        if self.expires_us <= wall {
            self.by_arrival.clear();
        }
        let ttl_us = exchange.ttl_ms() * 1_000;
        let newest = self.by_arrival.last_key_value().map(|(arrival, _)| *arrival);
        let stepped = newest.is_some_and(|newest| newest > wall && newest - wall > ttl_us);
        if stepped {
            self.by_arrival.clear();
        }
        let newest = newest.filter(|_| !stepped);
        let now = newest.map_or(wall, |newest| newest.max(wall));
        let mut last = newest.unwrap_or(0);
        for notice in &exchange.notices {
            last = now.max(last + 1);
            let until = now + notice.life_us;
            self.by_arrival.retain(|_, (other, text)| (*other, text.as_str()) != (until, &notice.text));
            self.by_arrival.insert(last, (until, notice.text.clone()));
        }
        if !exchange.notices.is_empty() {
            while self.by_arrival.len() > KEPT_MAX {
                self.by_arrival.pop_first();
            }
            let life_us = (exchange.ttl_ms() + (last - wall).div_ceil(1_000)) * 1_000;
            self.expires_us = self.expires_us.max(wall + life_us);
        }
        let seen = if exchange.seen > last { 0 } else { exchange.seen };
        let mut answer = vec![number(now), number(last)];
        for (arrival, (until, text)) in self.by_arrival.range(seen + 1..).take(NOTICES_PER_CALL_MAX) {
            answer[1] = number(*arrival);
            if *until > now {
                answer.extend([number(until - now), Value::Text(text.clone().into())]);
            }
        }
        Value::Array(answer)
    }
}

fn number(number: u64) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}
