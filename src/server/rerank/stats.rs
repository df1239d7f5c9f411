//! Where a request's time and work went.
//!
//! Owns the sums over attempts and stages. It must not know what is reported about them, or to whom.

use std::time::{Duration, Instant};

use rescored_engine::{Timeline, WorkHandle};

use super::task::Attempt;

/// Where a request's time and work went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Pairs answered from the cache.
    pub cached: usize,
    /// Tokens of all pairs, cached ones included.
    pub tokens: u64,
    /// Documents that were cut.
    pub cut: usize,
    /// Documents without text, which were not scored.
    pub empty: usize,
    /// Longest wait of a pair between admission and its forward pass.
    pub queue: Duration,
    /// Tokenisation of this request's misses, summed over threads.
    pub tokenise: Duration,
    /// Forward passes that this request's pairs took part in, summed over workers.
    pub inference: Duration,
    /// The accelerator that would have scored, had it not been lost.
    pub moved_from: Option<&'static str>,
    /// When the cache's tiers were asked: the first beginning, the last end.
    pub looked_up: Option<(Instant, Instant)>,
    /// When the engine did what.
    pub timeline: Timeline,
}

impl Stats {
    /// Adds what one attempt brought.
    pub(super) fn add(&mut self, attempt: &Attempt) {
        self.cached += attempt.cached;
        if let Some(times) = attempt.handle.as_ref().map(WorkHandle::times) {
            self.tokenise += times.tokenise;
            self.queue = self.queue.max(times.queue);
            self.inference += times.inference;
            self.timeline = self.timeline.and(times.timeline);
        }
    }
}

/// One stage after the other.
impl std::ops::AddAssign for Stats {
    fn add_assign(&mut self, other: Self) {
        self.cached += other.cached;
        self.tokens += other.tokens;
        self.cut += other.cut;
        self.empty += other.empty;
        self.queue += other.queue;
        self.tokenise += other.tokenise;
        self.inference += other.inference;
        self.moved_from = self.moved_from.or(other.moved_from);
        self.looked_up = match (self.looked_up, other.looked_up) {
            (Some(first), Some(last)) => Some((first.0, last.1)),
            (one, other) => one.or(other),
        };
        self.timeline = self.timeline.and(other.timeline);
    }
}
