//! When a piece of work went through the stages.
//!
//! Owns the union of such times. It must not know who measures them.

use std::time::Instant;

/// When the stages of one piece of work began and ended, whatever number of threads was at them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    /// When it was admitted.
    pub admitted: Option<Instant>,
    /// The first text taken by a tokenizer thread, and the last one done.
    pub tokenised: Option<(Instant, Instant)>,
    /// The first forward pass begun, and the last one over.
    pub inferred: Option<(Instant, Instant)>,
    /// Forward passes that its pairs took part in.
    pub forwards: u32,
}

impl Timeline {
    /// Both together: from the first beginning to the last end.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let longest = |a: Option<(Instant, Instant)>, b: Option<(Instant, Instant)>| match (a, b) {
            (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
            (one, other) => one.or(other),
        };
        Self {
            admitted: self.admitted.into_iter().chain(other.admitted).min(),
            tokenised: longest(self.tokenised, other.tokenised),
            inferred: longest(self.inferred, other.inferred),
            forwards: self.forwards + other.forwards,
        }
    }
}
