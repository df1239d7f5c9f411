//! How far one request has come: attempt after attempt, until every pair is scored or the time is up.
//!
//! Owns the choice between trying again, giving a part, and failing. Pure but for the attempts that it begins: the time is
//! given. It must not know how somebody waits for an attempt.

use std::time::Instant;

use rescored_core::domain::Scored;

use super::error::is_anothers;
use super::task::{Attempt, RerankTask};
use super::{Late, RerankError, Stats};

/// See the module.
#[derive(Debug)]
pub(super) struct Progress {
    scored: Vec<Option<Scored>>,
    /// Pairs to try next, by the caller's index.
    missing: Vec<usize>,
    late: Late,
    deadline: Instant,
}

impl Progress {
    /// Of a request none of whose pairs is scored.
    pub(super) fn new(pairs: usize, late: Late, deadline: Instant) -> Self {
        Self { scored: vec![None; pairs], missing: (0..pairs).collect(), late, deadline }
    }

    /// Begins an attempt at what is missing; `None` when there is nothing more to try.
    ///
    /// # Errors
    /// The engine's refusal, where nothing else can be given.
    pub(super) fn begin(
        &mut self,
        task: &RerankTask<'_>,
        stats: &mut Stats,
        now: Instant,
    ) -> Result<Option<Attempt>, RerankError> {
        if self.missing.is_empty() {
            return Ok(None);
        }
        match task.begin(&self.missing, now) {
            // What the cache holds is served even when nothing else is.
            Err(refused) if self.late == Late::IsLeftOut && task.found().iter().any(Option::is_some) => {
                tracing::debug!(%refused, "answered from the cache alone");
                self.scored.copy_from_slice(task.found());
                stats.cached += task.found().iter().flatten().count();
                self.missing.clear();
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    /// Takes what an attempt has brought by now, when it has brought everything or the deadline has passed.
    ///
    /// # Errors
    /// The first pair's fault, or that the time is up, where the caller takes no part of an answer.
    pub(super) fn take(&mut self, attempt: &Attempt, stats: &mut Stats, now: Instant) -> Result<(), RerankError> {
        stats.add(attempt);
        let in_time = attempt.collector().is_full();
        let (mut fault, mut again) = (None, Vec::new());
        for (slot, &index) in self.missing.iter().enumerate() {
            match attempt.collector().get(slot) {
                Some(Ok(done)) => self.scored[index] = Some(done),
                Some(Err(of_anothers)) if is_anothers(of_anothers) => again.push(index),
                Some(Err(its_own)) => fault = fault.or(Some((index, its_own))),
                None => {}
            }
        }
        let over = !in_time || (!again.is_empty() && now >= self.deadline);
        self.missing = again;
        match (self.late, fault) {
            (Late::IsAFault, Some((index, fault))) => Err(RerankError::of(fault, index)),
            (Late::IsAFault, None) if over => {
                let scored = self.scored.iter().flatten().count();
                Err(RerankError::Deadline { scored, pairs: self.scored.len() })
            }
            (Late::IsLeftOut, _) if over => {
                self.missing.clear();
                Ok(())
            }
            (Late::IsAFault | Late::IsLeftOut, _) => Ok(()),
        }
    }

    /// What was scored, by the caller's index.
    pub(super) fn into_scored(self) -> Vec<Option<Scored>> {
        self.scored
    }
}
