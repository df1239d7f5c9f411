//! One forward pass while it is put together.
//!
//! Owns what may still join it: by the graph's [`BatchingPolicy`], by the tokens that a pass may hold, and by the share
//! of the waiting work that one worker should take.

use std::ops::RangeInclusive;

use rescored_runtime::BatchingPolicy;

use super::{JobId, SequenceId, work};

/// See the module.
#[derive(Debug)]
pub(super) struct Pass {
    policy: BatchingPolicy,
    /// Tokens, padding included, that it may hold; a single longer encoding still goes alone.
    budget: u64,
    /// Tokens that it should come nearest to, so that workers finish together.
    share: u64,
    longest: u64,
    tokens: u64,
    work: f64,
    sequences: Vec<(JobId, SequenceId)>,
}

impl Pass {
    pub(super) const fn new(policy: BatchingPolicy, budget: u64, share: u64) -> Self {
        Self { policy, budget, share, longest: 0, tokens: 0, work: 0.0, sequences: Vec::new() }
    }

    /// Lengths that may join; `None` when it is full.
    pub(super) fn fitting(&self) -> Option<RangeInclusive<u32>> {
        let pairs = self.sequences.len() as u64;
        if pairs == 0 {
            return Some(0..=u32::MAX);
        }
        // Nearest to the share: a pair joins when the pass then lies over it by less than it lay under it.
        let nearest = self.share.saturating_sub(self.tokens).saturating_mul(2);
        let room =
            match self.policy {
                BatchingPolicy::Alone => 0,
                BatchingPolicy::Packed { slots: Some(slots) } if pairs >= u64::from(slots) => 0,
                BatchingPolicy::Packed { .. } => self.budget.saturating_sub(self.tokens),
                // Every row is as long as the longest.
                BatchingPolicy::SameLength | BatchingPolicy::Padded { .. } => {
                    if self.longest * (pairs + 1) <= self.budget { self.longest } else { 0 }
                }
            };
        let least = match self.policy {
            BatchingPolicy::SameLength => self.longest,
            BatchingPolicy::Padded { least_percent } => (self.longest * u64::from(least_percent)).div_ceil(100),
            BatchingPolicy::Alone | BatchingPolicy::Packed { .. } => 1,
        };
        let most = room.min(nearest);
        let narrow = |length: u64| u32::try_from(length).unwrap_or(u32::MAX);
        (least <= most).then(|| narrow(least)..=narrow(most))
    }

    pub(super) fn join(&mut self, job: JobId, sequence: SequenceId, length: u32) {
        self.longest = self.longest.max(length.into());
        self.tokens += u64::from(length);
        self.work += work(std::iter::once(length as usize));
        self.sequences.push((job, sequence));
    }

    /// Real tokens that it holds.
    pub(super) const fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Its arithmetic, see [`work`].
    pub(super) const fn work(&self) -> f64 {
        self.work
    }

    pub(super) fn into_units(self) -> Vec<(JobId, SequenceId)> {
        self.sequences
    }
}

/// Whether so many encodings of so many tokens fill a pass: waiting for more would not make it larger.
pub(super) fn fills(policy: BatchingPolicy, budget: u64, sequences: u64, tokens: u64) -> bool {
    match policy {
        BatchingPolicy::Alone => sequences > 0,
        BatchingPolicy::Packed { slots: Some(slots) } if sequences >= u64::from(slots) => true,
        BatchingPolicy::SameLength | BatchingPolicy::Padded { .. } | BatchingPolicy::Packed { .. } => tokens >= budget,
    }
}
