//! Requests of one priority: a queue for each model, and whose model's turn it is.
//!
//! It must not know passes or texts.

use std::collections::BTreeSet;

use super::Batching;
use super::flow::{Flow, Turn};
use super::fluid::Fluid;
use super::sharing::Sharing;

/// Requests of one priority.
#[derive(Debug)]
pub(super) struct Class {
    /// By model.
    pub(super) queues: Vec<Queue>,
    pub(super) sharing: Sharing,
    /// Tokens that are ready, and those expected of texts that are not.
    pub(super) waiting: u64,
}

/// Requests of one priority for one model.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Equal sharing of forward passes, in tokens.
    pub(super) passes: Fluid,
    /// Equal sharing of what reads texts, in bytes.
    pub(super) reads: Fluid,
    /// Requests with texts not yet handed out, in reading order: those that may be read on now.
    pub(super) readable: BTreeSet<Turn>,
    /// Requests with texts not yet handed out, and enough ready for now.
    pub(super) ahead: usize,
    /// Requests with encodings ready, in serving order.
    pub(super) ready: BTreeSet<Turn>,
    /// Encodings ready, and their tokens.
    pub(super) amount: (u64, u64),
}

/// What the sums of a queue know of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    turn: Turn,
    reading: Turn,
    waiting: u64,
    amount: (u64, u64),
    reads: Reads,
}

/// How a request stands with its texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reads {
    #[default]
    Nothing,
    Now,
    Later,
}

impl Standing {
    /// Of a request that is read on while fewer tokens than `enough` are ready.
    pub(super) fn of(flow: &Flow, enough: u64) -> Self {
        let reads = match (flow.unread.is_empty(), flow.is_readable(enough)) {
            (true, _) => Reads::Nothing,
            (false, true) => Reads::Now,
            (false, false) => Reads::Later,
        };
        let amount = (flow.ready_units, flow.ready_tokens);
        Self { turn: flow.turn, reading: flow.reading, waiting: flow.waiting(), amount, reads }
    }
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
        self.queues.iter().any(|queue| queue.ahead > 0 || !queue.readable.is_empty())
    }

    /// The model whose turn it is, of those that have encodings ready.
    pub(super) fn next_model(&self) -> Option<usize> {
        let ready = self.queues.iter().enumerate().filter(|(_, queue)| !queue.ready.is_empty());
        ready.map(|(model, _)| model).min_by_key(|&model| self.sharing.turn(model, 0))
    }

    /// A request of a model stands otherwise than before.
    pub(super) fn account(&mut self, model: usize, before: &Standing, after: &Standing) {
        self.waiting = self.waiting - before.waiting + after.waiting;
        let Some(queue) = self.queues.get_mut(model) else { return };
        queue.amount.0 = queue.amount.0 - before.amount.0 + after.amount.0;
        queue.amount.1 = queue.amount.1 - before.amount.1 + after.amount.1;
        let ready = |standing: &Standing| (standing.amount.0 > 0).then_some(standing.turn);
        change(&mut queue.ready, ready(before), ready(after));
        let open = |standing: &Standing| (standing.reads == Reads::Now).then_some(standing.reading);
        change(&mut queue.readable, open(before), open(after));
        queue.ahead -= usize::from(before.reads == Reads::Later);
        queue.ahead += usize::from(after.reads == Reads::Later);
    }
}

fn change(set: &mut BTreeSet<Turn>, before: Option<Turn>, after: Option<Turn>) {
    if before == after {
        return;
    }
    if let Some(before) = before {
        set.remove(&before);
    }
    set.extend(after);
}
