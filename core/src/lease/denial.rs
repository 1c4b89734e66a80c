//! What the store denied a moment ago.

/// How long a denial is believed at most.
pub const DENIAL_MAX_US: u64 = 1_000_000;

/// No cost from `cost` on is admitted before `until_us`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Denial {
    cost: u64,
    since_us: u64,
    until_us: u64,
    /// When it fits as the store said, which clients are told however short the denial is believed.
    retry_at_us: u64,
}

impl Denial {
    /// The answer to a question of `cost` permits that was sent at `sent_us`.
    pub(crate) fn new(cost: u64, sent_us: u64, retry_after_us: u64, now_us: u64) -> Denial {
        let retry_at_us = sent_us.saturating_add(retry_after_us);
        let until_us = retry_at_us.min(now_us + DENIAL_MAX_US);
        Denial { cost, since_us: sent_us, until_us, retry_at_us }
    }

    /// Puts the newer one in the place of `known`, unless that says more.
    pub(crate) fn note(self, known: &mut Option<Denial>, now_us: u64) {
        let stands = |known: &Denial| known.until_us > now_us && known.cost <= self.cost;
        let later = known.filter(stands).is_none_or(|known| known.until_us < self.until_us);
        if self.until_us > now_us && later {
            *known = Some(self);
        }
    }

    /// When `cost` fits, as long as it is denied without asking.
    pub(crate) fn retry_after_us(&self, cost: u64, now_us: u64) -> Option<u64> {
        let holds = self.since_us <= now_us && now_us < self.until_us && self.cost <= cost;
        holds.then(|| self.retry_at_us - now_us)
    }

    /// Whether it was sent at `sent_us` or before.
    pub(crate) fn is_from(&self, sent_us: u64) -> bool {
        self.since_us <= sent_us
    }
}
