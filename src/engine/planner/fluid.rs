//! Equal sharing, the ideal that fairness is measured by.

use std::collections::BTreeSet;

use super::JobId;

/// Virtual time counts tokens (or bytes) in this fixed point, so that equal shares of few do not vanish in rounding.
pub(super) const VIRTUAL_SHIFT: u32 = 16;

/// The ideal that fairness is measured by: all waiting requests served at once in equal shares.
#[derive(Debug, Default)]
pub(super) struct Fluid {
    now: u128,
    /// Requests that the ideal has not finished, by their virtual finish.
    active: BTreeSet<(u128, JobId)>,
}

impl Fluid {
    /// A request that came at `start` is now expected to be `amount` in all: its virtual finish. `former` is the one that it
    /// had before. A request that the ideal had finished too soon, since less was expected, is active again.
    pub(super) fn expect(&mut self, job: JobId, (start, amount): (u128, u64), former: Option<u128>) -> u128 {
        let finish = start + (u128::from(amount.max(1)) << VIRTUAL_SHIFT);
        if former == Some(finish) {
            return finish;
        }
        if let Some(former) = former {
            self.active.remove(&(former, job));
        }
        if finish > self.now {
            self.active.insert((finish, job));
        }
        finish
    }

    /// So much was served: virtual time goes on by each active request's share.
    pub(super) fn serve(&mut self, amount: u64) {
        let mut work = u128::from(amount) << VIRTUAL_SHIFT;
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

    /// How much will be served to all until virtual time comes to `finish`, at the least: no more than `look` requests are
    /// looked at.
    pub(super) fn until(&self, finish: u128, look: usize) -> u64 {
        let (mut sum, mut seen, mut last) = (0, 0, self.now);
        for &(one, _) in self.active.iter().take(look) {
            last = one.min(finish).max(self.now);
            sum += last - self.now;
            seen += 1;
        }
        sum += (self.active.len() - seen) as u128 * (last - self.now);
        u64::try_from(sum >> VIRTUAL_SHIFT).unwrap_or(u64::MAX)
    }
}
