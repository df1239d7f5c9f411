//! How fast workers go. Pure; it must not know who waits.

use std::time::Duration;

/// Forward passes that must have been seen before a rate is believed.
const LEAST_PASSES: u32 = 3;

/// How fast workers go, from their recent forward passes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Speed {
    tokens: f64,
    seconds: f64,
    passes: f64,
    seen: u32,
}

impl Speed {
    /// A worker got through `tokens` in `time`. `memory` is in workers' time.
    pub(super) fn ran(&mut self, tokens: u64, time: Duration, memory: Duration) {
        let seconds = time.as_secs_f64();
        let kept = (-seconds / memory.as_secs_f64().max(0.001)).exp();
        self.tokens = self.tokens * kept + tokens as f64;
        self.seconds = self.seconds * kept + seconds;
        // Time without tokens is what a worker spends between two passes.
        let pass = u32::from(tokens > 0);
        self.passes = self.passes * kept + f64::from(pass);
        self.seen = self.seen.saturating_add(pass);
    }

    /// Tokens a second of one worker, once enough was seen to say so.
    pub(super) fn of_one(&self) -> Option<f64> {
        (self.seen >= LEAST_PASSES && self.seconds > 0.0 && self.tokens > 0.0).then(|| self.tokens / self.seconds)
    }

    /// Seconds of one forward pass.
    pub(super) fn grain(&self) -> f64 {
        if self.passes > 0.0 { self.seconds / self.passes } else { 0.0 }
    }
}
