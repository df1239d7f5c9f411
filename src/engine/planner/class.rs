//! Requests of one priority: a queue for each model, and whose model's turn it is.
//!
//! It must not know passes or texts.

use std::collections::BTreeSet;

use super::Batching;
use super::flow::Turn;
use super::fluid::Fluid;
use super::sharing::Sharing;

/// Requests of one priority.
#[derive(Debug)]
pub(super) struct Class {
    /// By model.
    pub(super) queues: Vec<Queue>,
    pub(super) sharing: Sharing,
    /// Tokens that are ready, and those expected of unread texts.
    pub(super) waiting: u64,
}

/// Requests of one priority for one model.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) fluid: Fluid,
    /// Requests with texts not yet handed out, in serving order.
    pub(super) textual: BTreeSet<Turn>,
    /// Requests with encodings ready, in serving order.
    pub(super) ready: BTreeSet<Turn>,
    /// Encodings ready, and their tokens.
    pub(super) amount: (u64, u64),
}

impl Class {
    pub(super) fn new(models: &[Batching]) -> Self {
        Self {
            queues: models.iter().map(|_| Queue::default()).collect(),
            sharing: Sharing::new(models.iter().map(|batching| batching.weight)),
            waiting: 0,
        }
    }

    pub(super) fn has_texts(&self) -> bool {
        self.queues.iter().any(|queue| !queue.textual.is_empty())
    }

    /// The model whose turn it is, of those that have encodings ready.
    pub(super) fn next_model(&self) -> Option<usize> {
        let ready = self.queues.iter().enumerate().filter(|(_, queue)| !queue.ready.is_empty());
        ready.map(|(model, _)| model).min_by_key(|&model| self.sharing.turn(model, 0))
    }

    /// Encodings that were ready are gone.
    pub(super) fn take(&mut self, model: usize, (units, tokens): (u64, u64)) {
        self.waiting -= tokens;
        if let Some(queue) = self.queues.get_mut(model) {
            queue.amount.0 -= units;
            queue.amount.1 -= tokens;
        }
    }
}
