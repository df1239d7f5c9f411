//! Equal sharing, the ideal that fairness is measured by.
//!
//! **The ideal** serves all requests that have something ready at once, in equal shares, and is given what is ready when
//! the planner is: a request has no part in it before its texts are read, nor while all that was read of it is served. Its
//! virtual time counts what each request that takes part all the while is given. What becomes ready of a request is
//! finished by the ideal at `max(former finish, now) + tokens`, which is the request's finish from then on. Nothing of
//! this is estimated: a finish moves when texts come back, and only by what they turned out to be.
//!
//! **What it promises.** The planner serves the request of the earliest finish first. Let request `i` be read to its end,
//! with finish `f`, and count time in tokens that were handed to workers. Then the last of `i` is handed out no later
//! than the ideal finishes it, plus the rest of the pass that it is handed out in:
//!
//! 1. A request's finish never moves back, but by what is given up of it (4).
//! 2. Let `t` be the end of the last pass, before `i` is done, that was begun with a request of a later finish than `f`,
//!    or zero. When that pass was begun, no request of a finish up to `f` had anything ready, and by (1) those that have
//!    such a finish later had one then. So all that is handed out from `t` until `i` is done became ready after that
//!    pass was begun, and is finished by the ideal at virtual time `f` at the latest.
//! 3. The ideal serves as many tokens as the planner hands out, since it has something to serve whenever the planner has.
//!    So what (2) speaks of is handed out before the ideal comes to `f`, but for the rest of one pass. A later request
//!    that fills up a pass past an earlier one takes no more than the earlier one can spare: what the ideal serves
//!    until its finish ([`Fluid::until`]), less what is ready of it and of those before it. What becomes ready adds at
//!    least as much to the former as to the latter, so this never falls short afterwards.
//! 4. What is left of a request of which something is given up is at the latest served by the ideal as if it had become
//!    ready then ([`Fluid::follow`]), so (2) holds for it, too.
//!
//! Work is handed out when a worker is free, so in time there is besides the pass that each worker is at when `i` is
//! read: two passes a worker, in all. The proof is that of packet-by-packet generalised processor sharing (Parekh and
//! Gallager 1993), with requests in the place of packets, in the order of the fair sojourn protocol (Friedman and
//! Henderson 2003).

use std::collections::BTreeSet;

use super::JobId;

/// Virtual time counts tokens (or bytes) in this fixed point, so that equal shares of few do not vanish in rounding.
const VIRTUAL_SHIFT: u32 = 16;

/// The ideal that fairness is measured by: see the module.
#[derive(Debug, Default)]
pub(super) struct Fluid {
    now: u128,
    /// Requests that the ideal has not finished, by their virtual finish.
    active: BTreeSet<(u128, JobId)>,
}

/// What happened to what a request has ready, beside that some of it was served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// What became ready.
    pub(super) added: u64,
    /// What was ready and is not wanted any more.
    pub(super) given_up: u64,
    /// What is ready now.
    pub(super) ready: u64,
}

/// So many tokens (or bytes) in virtual time.
pub(super) fn span(amount: u64) -> u128 {
    u128::from(amount) << VIRTUAL_SHIFT
}

/// A span of virtual time in tokens (or bytes), rounded up.
pub(super) fn amount(span: u128) -> u64 {
    u64::try_from(span.div_ceil(1 << VIRTUAL_SHIFT)).unwrap_or(u64::MAX)
}

impl Fluid {
    /// A request that came at `start` is known to be `amount` in all: its virtual finish. `former` is the one that it had
    /// before.
    pub(super) fn expect(&mut self, job: JobId, start: u128, amount: u64, former: Option<u128>) -> u128 {
        let finish = start + span(amount.max(1));
        self.place(job, finish, former);
        finish
    }

    /// What a request has ready changed: its virtual finish, which was `former`.
    pub(super) fn follow(&mut self, job: JobId, former: u128, change: Change) -> u128 {
        let mut finish = former;
        if change.given_up > 0 {
            // What is left is served as if it had just become ready, unless it is served earlier anyway; or, where more
            // was served than by the ideal, by as much later.
            let anew = self.now + span(change.ready.saturating_sub(change.added));
            finish = former.saturating_sub(span(change.given_up)).max(former.min(anew));
        }
        if change.added > 0 {
            finish = finish.max(self.now) + span(change.added);
        }
        self.place(job, finish, Some(former));
        finish
    }

    /// So much was served: virtual time goes on by each active request's share.
    pub(super) fn serve(&mut self, amount: u64) {
        let mut work = span(amount);
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

    /// Virtual time: what each request that took part all the while was given.
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

    fn place(&mut self, job: JobId, finish: u128, former: Option<u128>) {
        if former == Some(finish) {
            return;
        }
        if let Some(former) = former {
            self.active.remove(&(former, job));
        }
        if finish > self.now {
            self.active.insert((finish, job));
        }
    }
}
