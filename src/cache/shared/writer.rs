//! The writing thread: scores go to the tier behind the requests that made them.
//!
//! Owns the writing connection. What cannot be written is given up and counted: it can be computed again.

use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rescored_process::budget::BudgetError;

use super::link::{Entry, Link, Pace, STEP_BYTES};
use super::resp::Broken;
use super::{Around, NO_MEMORY, WRITE_BYTES, Write, name, value};
use crate::cached_score;

/// Entries in one round trip.
const BATCH: usize = 1000;

/// How long a round trip may take. No request waits for it, but the end of the process may.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long a scope may take to be forgotten: a server that always names one more entry is not believed for ever.
const FORGETTING: Duration = Duration::from_mins(1);

/// How long it waits between two looks for memory to do so.
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

pub(super) fn run(around: &Around, writes: &Receiver<Write>) {
    let mut hand = Writer { around, link: None, retry: Instant::now() };
    while let Ok(first) = writes.recv() {
        let mut batch = Vec::new();
        let mut next = Some(first);
        while let Some(write) = next {
            match write {
                Write::Keep { scope, key, cached } => batch.extend(hand.entry(scope, key, cached)),
                // In its turn: what was written before goes, what comes after stays.
                Write::Forget { scope } => {
                    hand.write(&std::mem::take(&mut batch));
                    hand.forget(scope);
                }
            }
            next = if batch.len() < BATCH { writes.try_recv().ok() } else { None };
        }
        hand.write(&batch);
    }
}

struct Writer<'a> {
    around: &'a Around,
    link: Option<Link>,
    /// Not before this instant after a failure: with the tier down, the queue must not wait for each batch.
    retry: Instant,
}

impl Writer<'_> {
    fn entry(&self, scope: usize, key: crate::Key, cached: cached_score::CachedScore) -> Option<Entry> {
        let name = name(&self.around.prefixes.get(scope)?.load(), key);
        let left = self.around.ttl.map(|ttl| ttl.saturating_sub(cached.age(cached_score::now())).as_secs().max(1));
        let value = value(&name, cached);
        Some((name, value, left))
    }

    fn write(&mut self, batch: &[Entry]) {
        if batch.is_empty() {
            return;
        }
        let (around, metrics) = (self.around, &self.around.metrics);
        let written = self.exchange(|link| {
            let _memory = around.reserve(batch.len() as u64 * WRITE_BYTES)?;
            link.set(batch, PATIENCE)
        });
        match written {
            Some(()) => metrics.cache_shared_writes.inc_by(batch.len() as u64),
            None => metrics.cache_shared_dropped.inc_by(batch.len() as u64),
        };
    }

    fn forget(&mut self, scope: usize) {
        let Some(prefix) = self.around.prefixes.get(scope).map(ArcSwap::load_full) else { return };
        let (around, until) = (self.around, Instant::now() + FORGETTING);
        let go_on = || Instant::now() < until && !around.is_over();
        let removed = self.exchange(|link| {
            // What is to be forgotten is not given up for a moment's want of memory.
            let _memory = loop {
                match around.reserve(STEP_BYTES) {
                    Err(BudgetError::Full { .. }) if go_on() => std::thread::sleep(BETWEEN_TRIES),
                    outcome => break outcome?,
                }
            };
            link.remove(&prefix, &Pace { step: PATIENCE, go_on: &go_on })
        });
        if let Some(removed) = removed {
            tracing::info!(removed, "forgotten in the shared cache tier");
        } else {
            tracing::warn!("the shared cache tier was asked to forget a model and did not");
        }
    }

    fn exchange<T>(&mut self, work: impl FnOnce(&mut Link) -> Result<T, Broken>) -> Option<T> {
        // The process is ending and has waited long enough: what is left is given up.
        if self.around.is_over() {
            return None;
        }
        if self.link.is_none() {
            if !self.around.breaker.is_closed() || Instant::now() < self.retry {
                return None;
            }
            self.link = self.around.open(PATIENCE).map_err(|error| self.failed(&error)).ok();
        }
        match work(self.link.as_mut()?) {
            Ok(done) => Some(done),
            Err(error) => {
                self.failed(&error);
                None
            }
        }
    }

    fn failed(&mut self, error: &Broken) {
        // A tier that refuses writes, because it is full or has become a replica, can perhaps be read all the same: reading
        // has its own breaker. A connection anew finds a master's successor. One that was not spoken to is as good as before.
        if !matches!(error, Broken::Memory(_)) {
            self.link = None;
            self.retry = Instant::now() + PATIENCE;
        }
        match error {
            // Who answers so is not asked either.
            Broken::Nonsense(_) => self.around.broke("writing", error),
            Broken::Refused(_) => self.around.failed("write_refused"),
            Broken::Memory(_) => self.around.failed(NO_MEMORY),
            Broken::Late | Broken::Down(_) => self.around.failed("write"),
        }
        tracing::debug!(%error, "the shared cache tier did not take a write");
    }
}
