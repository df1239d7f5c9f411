//! One forward pass while it is put together.
//!
//! Owns what may still join it: by the graph's [`Company`], by the tokens that a pass may hold, and by the share of the
//! waiting work that one worker should take.

use std::ops::RangeInclusive;

use rescored_runtime::Company;

use super::{JobId, UnitId, work};

/// See the module.
#[derive(Debug)]
pub(super) struct Pass {
    company: Company,
    /// Tokens, padding included, that it may hold; a single longer encoding still goes alone.
    budget: u64,
    /// Tokens that it should come nearest to, so that workers finish together.
    share: u64,
    longest: u64,
    tokens: u64,
    work: f64,
    units: Vec<(JobId, UnitId)>,
}

impl Pass {
    pub(super) const fn new(company: Company, budget: u64, share: u64) -> Self {
        Self { company, budget, share, longest: 0, tokens: 0, work: 0.0, units: Vec::new() }
    }

    /// Lengths that may join; `None` when it is full.
    pub(super) fn fitting(&self) -> Option<RangeInclusive<u32>> {
        let pairs = self.units.len() as u64;
        if pairs == 0 {
            return Some(0..=u32::MAX);
        }
        // Nearest to the share: a pair joins when the pass then lies over it by less than it lay under it.
        let nearest = self.share.saturating_sub(self.tokens).saturating_mul(2);
        let room = match self.company {
            Company::Alone => 0,
            Company::Packed { slots: Some(slots) } if pairs >= u64::from(slots) => 0,
            Company::Packed { .. } => self.budget.saturating_sub(self.tokens),
            // Every row is as long as the longest.
            Company::SameLength | Company::Padded { .. } => {
                if self.longest * (pairs + 1) <= self.budget {
                    self.longest
                } else {
                    0
                }
            }
        };
        let least = match self.company {
            Company::SameLength => self.longest,
            Company::Padded { least_percent } => (self.longest * u64::from(least_percent)).div_ceil(100),
            Company::Alone | Company::Packed { .. } => 1,
        };
        let most = room.min(nearest);
        let narrow = |length: u64| u32::try_from(length).unwrap_or(u32::MAX);
        (least <= most).then(|| narrow(least)..=narrow(most))
    }

    pub(super) fn join(&mut self, job: JobId, unit: UnitId, length: u32) {
        self.longest = self.longest.max(length.into());
        self.tokens += u64::from(length);
        self.work += work(std::iter::once(length as usize));
        self.units.push((job, unit));
    }

    /// Real tokens that it holds.
    pub(super) const fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Its arithmetic, see [`work`].
    pub(super) const fn work(&self) -> f64 {
        self.work
    }

    pub(super) fn into_units(self) -> Vec<(JobId, UnitId)> {
        self.units
    }
}

/// Whether so many encodings of so many tokens fill a pass: waiting for more would not make it larger.
pub(super) fn fills(company: Company, budget: u64, (units, tokens): (u64, u64)) -> bool {
    match company {
        Company::Alone => units > 0,
        Company::Packed { slots: Some(slots) } if units >= u64::from(slots) => true,
        Company::SameLength | Company::Padded { .. } | Company::Packed { .. } => tokens >= budget,
    }
}
