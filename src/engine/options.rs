//! What the engine can be told.

use std::time::Duration;

use crate::model::Batching;

/// Settings of the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Inference workers: threads that own one session of every model each. `None` leaves it to the models: one a core, or
    /// as many as their devices want.
    pub workers: Option<usize>,
    /// Threads that turn texts into token ids.
    pub tokenisers: usize,
    /// Tokens, padding included, of one forward pass; a single longer pair still goes alone. `None` leaves it to the
    /// model.
    pub batch_tokens: Option<usize>,
    /// How long a forward pass that is not full waits for company. `None` leaves it to the model.
    pub batch_wait: Option<Duration>,
    /// Estimated tokens that may wait before new work is refused.
    pub queue_tokens: u64,
    /// A forward pass that takes longer than this, and much longer than its size lets expect, is stuck.
    pub stuck_after: Duration,
}

impl Options {
    /// How many workers serve models that are batched like this.
    pub fn count(&self, models: impl Iterator<Item = Batching>) -> usize {
        let wanted = models.filter_map(|batching| batching.workers).max();
        self.workers.or(wanted).unwrap_or(self.tokenisers).max(1)
    }
}
