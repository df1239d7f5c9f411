//! Equal sharing, the ideal that fairness is measured by.

use std::collections::BTreeSet;

use super::JobId;

/// Virtual time counts tokens in this fixed point, so that equal shares of few tokens do not vanish in rounding.
pub(super) const VIRTUAL_SHIFT: u32 = 16;

/// The ideal that fairness is measured by: all waiting requests served at once in equal shares.
#[derive(Debug, Default)]
pub(super) struct Fluid {
    now: u128,
    /// Requests that the ideal has not finished, by their virtual finish.
    active: BTreeSet<(u128, JobId)>,
}

impl Fluid {
    /// A request of `tokens` arrives; the virtual time at which the ideal finishes it.
    pub(super) fn join(&mut self, job: JobId, tokens: u64) -> u128 {
        let finish = self.now + (u128::from(tokens.max(1)) << VIRTUAL_SHIFT);
        self.active.insert((finish, job));
        finish
    }

    /// `tokens` were served: virtual time goes on by each active request's share.
    pub(super) fn serve(&mut self, tokens: u64) {
        let mut work = u128::from(tokens) << VIRTUAL_SHIFT;
        while let Some(&(finish, _)) = self.active.first() {
            let sharing = self.active.len() as u128;
            let needed = (finish - self.now) * sharing;
            if needed > work {
                self.now += work / sharing;
                return;
            }
            work -= needed;
            self.now = finish;
            self.active.pop_first();
        }
    }

    /// Virtual time: what each request that was here all the while would have been given.
    pub(super) const fn now(&self) -> u128 {
        self.now
    }

    /// A request goes away unfinished.
    pub(super) fn leave(&mut self, finish: u128, job: JobId) {
        self.active.remove(&(finish, job));
    }
}
