//! What the engine can be told.

/// Settings of the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Inference workers: threads that own one session of every model each.
    pub workers: usize,
    /// Tokens, padding included, of one forward pass; a single longer pair still goes alone.
    pub batch_tokens: usize,
    /// Estimated tokens that may wait before new work is refused.
    pub queue_tokens: u64,
}
