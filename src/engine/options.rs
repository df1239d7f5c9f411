//! Options of the engine.

use std::time::Duration;

use rescored_runtime::Batching;

/// Whether workers keep to cores of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pinning {
    /// The system moves them as it likes.
    #[default]
    Free,
    /// Each keeps to its part of the cores that the process may run on.
    Pinned,
}

/// Settings of the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Inference workers: threads that own one session of every model each. `None` leaves it to the models: one a core, or
    /// as many as their devices want.
    pub workers: Option<usize>,
    /// Whether workers keep to cores of their own.
    pub pinning: Pinning,
    /// Threads that turn texts into token ids.
    pub tokenisers: usize,
    /// Tokens, padding included, of one forward pass; a single longer pair still goes alone. `None` leaves it to the
    /// model.
    pub batch_tokens: Option<usize>,
    /// How long a forward pass that is not full waits for more pairs. `None` leaves it to the model.
    pub batch_wait: Option<Duration>,
    /// Estimated tokens that may wait before new work is refused; the models share them by weight.
    pub queue_tokens: u64,
    /// Weights of models by their ids; a model that is not named weighs 1.
    pub weights: Vec<(String, u32)>,
    /// A forward pass that takes longer than this, and much longer than its size lets expect, is stuck.
    pub stuck_after: Duration,
}

/// A model's part of what models share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Its share of forward passes while others have work too.
    pub weight: u32,
    /// Estimated tokens of it that may wait.
    pub queue_tokens: u64,
}

impl Options {
    /// The parts of these models, by their ids: passes and queue are shared by weight.
    pub fn quotas(&self, models: &[&str]) -> Vec<Quota> {
        let weight =
            |id: &str| self.weights.iter().find(|(named, _)| named == id).map_or(1, |(_, weight)| (*weight).max(1));
        let all = models.iter().map(|id| u128::from(weight(id))).sum::<u128>().max(1);
        let part = |weight: u32| u128::from(self.queue_tokens) * u128::from(weight) / all;
        let quota = |weight| Quota { weight, queue_tokens: u64::try_from(part(weight)).unwrap_or(u64::MAX).max(1) };
        models.iter().map(|id| quota(weight(id))).collect()
    }

    /// How many workers serve models that are batched like this.
    pub fn count(&self, models: impl Iterator<Item = Batching>) -> usize {
        let wanted = models.filter_map(|batching| batching.workers).max();
        self.workers.or(wanted).unwrap_or(self.tokenisers).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_share_the_queue_by_weight() {
        let options = |weights: &[(&str, u32)]| Options {
            workers: None,
            pinning: Pinning::Free,
            tokenisers: 1,
            batch_tokens: None,
            batch_wait: None,
            queue_tokens: 1000,
            weights: weights.iter().map(|(id, weight)| ((*id).to_owned(), *weight)).collect(),
            stuck_after: Duration::from_secs(1),
        };
        let parts = |weights: &[(&str, u32)], models: &[&str]| {
            let quotas = options(weights).quotas(models);
            quotas.iter().map(|quota| (quota.weight, quota.queue_tokens)).collect::<Vec<_>>()
        };
        assert_eq!(parts(&[], &["a"]), [(1, 1000)], "alone it has all");
        assert_eq!(parts(&[], &["a", "b"]), [(1, 500), (1, 500)], "equal where nothing is said");
        assert_eq!(parts(&[("a", 3)], &["a", "b"]), [(3, 750), (1, 250)], "who is not named weighs 1");
        assert_eq!(parts(&[("a", 3)], &["b"]), [(1, 1000)], "a model that is not loaded takes nothing");
        assert_eq!(parts(&[("a", u32::MAX)], &["a", "b"])[1], (1, 1), "nobody is left without");
    }
}
