//! What must hold of every run, whatever happened in it.

use super::{Sim, Verdict};
use crate::lease::bound;

impl Sim {
    /// What is held of a token bucket is spent within τ of its debit, which is what its bound follows from.
    pub(super) fn in_time(&self, decided_at: u64, at: u64) -> Verdict {
        let late_us = (at - decided_at).saturating_sub(self.scene.terms.target_us);
        if !self.scene.terms.window_root && late_us > 0 {
            return Err(format!("spent {late_us} µs too late, at {at}"));
        }
        Ok(())
    }

    pub(super) fn spend(&mut self, generation: u64, permits: u64, at: u64, held: bool) -> Verdict {
        self.spends.push((at, permits));
        if !self.scene.terms.window_root {
            return Ok(());
        }
        let (epoch, index) = self.windows[&generation];
        let spent = self.spent_of.entry((epoch, index)).or_default();
        *spent += permits;
        if *spent > self.scene.terms.rule.most() {
            return Err(format!("{spent} spent in window {index}"));
        }
        let end_us = (index + 1) * self.scene.terms.rule.horizon_us();
        if held && self.wall(at) >= end_us {
            return Err(format!("spent {} µs after window {index}", self.wall(at) - end_us));
        }
        Ok(())
    }

    /// A token bucket as large as the bound allows would have admitted every spend: this is the bound over all
    /// intervals at once.
    pub(super) fn judge(&mut self) -> Verdict {
        let terms = &self.scene.terms;
        if terms.window_root {
            return Ok(());
        }
        let bound = bound(terms, Some(self.scene.nodes as u32));
        let window_us = i128::from(terms.window_us());
        let per_us = i128::from(bound.permits_within(window_us as u64) - bound.permits_within(0));
        let most = i128::from(bound.permits_within(0)) * window_us;
        self.spends.sort_unstable();
        let (mut level, mut last) = (0i128, 0u64);
        for (at, permits) in &self.spends {
            level = (level - i128::from(at - last) * per_us).max(0) + i128::from(*permits) * window_us;
            last = *at;
            if level > most {
                return Err(format!("{} of {} at {at}", level / window_us, most / window_us));
            }
        }
        Ok(())
    }
}
