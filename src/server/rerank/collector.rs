//! Where one request's outcomes come together.
//!
//! Owns the wait: outcomes arrive from worker threads, one a pair, and wake the request's task when none is missing.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use rescored_core::domain::Scored;
use rescored_engine::PairError;
use tokio::sync::Notify;

/// What came of one pair.
pub(super) type Outcome = Result<Scored, PairError>;

/// Outcomes of one attempt at a request, by the caller's index.
#[derive(Debug)]
pub(super) struct ResultCollector {
    slots: Box<[OnceLock<Outcome>]>,
    missing: AtomicUsize,
    full: Notify,
    abandoned: AtomicBool,
    /// When whoever waits here gives up.
    deadline: Instant,
}

impl ResultCollector {
    /// A collector for `pairs` pairs, at which somebody waits until `deadline`.
    pub(super) fn new(pairs: usize, deadline: Instant) -> Self {
        Self {
            slots: (0..pairs).map(|_| OnceLock::new()).collect(),
            missing: AtomicUsize::new(pairs),
            full: Notify::new(),
            abandoned: AtomicBool::new(false),
            deadline,
        }
    }

    /// Takes the outcome of a pair. The first one stays.
    pub(super) fn put(&self, slot: usize, outcome: Outcome) {
        let fresh = self.slots.get(slot).is_some_and(|cell| cell.set(outcome).is_ok());
        if fresh && self.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.full.notify_one();
        }
    }

    /// Waits until every pair has its outcome.
    pub(super) async fn filled(&self) {
        while !self.is_full() {
            self.full.notified().await;
        }
    }

    /// Whether every pair has its outcome.
    pub(super) fn is_full(&self) -> bool {
        self.missing.load(Ordering::Acquire) == 0
    }

    /// The outcome of a pair, if it is here.
    pub(super) fn get(&self, slot: usize) -> Option<Outcome> {
        self.slots.get(slot)?.get().copied()
    }

    /// Nobody waits at this collector any more.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
    }

    /// Until when somebody waits at this collector; `None` when nobody does any more.
    pub(super) fn awaited_until(&self) -> Option<Instant> {
        (!self.abandoned.load(Ordering::Acquire)).then_some(self.deadline)
    }
}
