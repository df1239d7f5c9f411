//! Coalescing: a pair that is being scored for one request is waited for by every other.
//!
//! Owns the table of pairs in flight. The first request that asks for a pair leads it through the engine; later ones
//! wait at the same entry. An entry ends when its outcome lands, or when nobody waits for it any more.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::board::{Board, Outcome};
use crate::cache::Key;

/// Locks, so that requests on different cores seldom meet at one.
const SHARDS: usize = 64;

/// Somebody who waits for a pair: a place on a board.
#[derive(Clone, Debug)]
pub(super) struct Waiter {
    pub(super) board: Arc<Board>,
    pub(super) slot: usize,
}

/// Whether a request has to bring a pair through the engine itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joined {
    /// It has: nobody else does.
    Leads,
    /// Somebody does already; the outcome will come.
    Follows,
}

/// Pairs in flight.
#[derive(Debug)]
pub(super) struct Flights {
    shards: Box<[Mutex<Shard>]>,
}

/// Who waits for which pair.
type Shard = HashMap<Key, Vec<Waiter>>;

impl Default for Flights {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }
}

impl Flights {
    /// Waits for a pair, leading it when nobody does.
    pub(super) fn join(&self, key: Key, waiter: Waiter) -> Joined {
        match self.shard(key).entry(key) {
            Entry::Occupied(mut entry) => {
                entry.get_mut().push(waiter);
                Joined::Follows
            }
            Entry::Vacant(entry) => {
                entry.insert(vec![waiter]);
                Joined::Leads
            }
        }
    }

    /// A pair's outcome is here: everybody who waits for it gets it.
    pub(super) fn land(&self, key: Key, outcome: Outcome) {
        let waiters = self.shard(key).remove(&key);
        for waiter in waiters.into_iter().flatten() {
            waiter.board.put(waiter.slot, outcome);
        }
    }

    /// Whether anybody still waits for a pair. When nobody does, its entry ends here and now, so that whoever asks next
    /// leads it anew instead of waiting for an outcome that will not come.
    pub(super) fn is_awaited(&self, key: Key) -> bool {
        let mut shard = self.shard(key);
        let Entry::Occupied(entry) = shard.entry(key) else { return false };
        let awaited = entry.get().iter().any(|waiter| waiter.board.is_awaited());
        if !awaited {
            entry.remove();
        }
        awaited
    }

    fn shard(&self, key: Key) -> MutexGuard<'_, Shard> {
        #[expect(clippy::cast_possible_truncation, reason = "the remainder is below the number of shards")]
        let shard = (key.spread() % SHARDS as u64) as usize;
        // No code that can panic runs under this lock; a poisoned table is whole all the same.
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| shard.lock().unwrap().is_empty())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cache::QueryKey;
    use crate::domain::{Cut, Logit, Scored};
    use crate::engine::PairFault;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Join(u8),
        Land(u8),
        Fail(u8),
        /// The n-th waiter goes away.
        Abandon(usize),
        /// A worker asks whether the pair is wanted, and drops it when not.
        Ask(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0u8..4).prop_map(Step::Join),
            1 => (0u8..4).prop_map(Step::Land),
            1 => (0u8..4).prop_map(Step::Fail),
            2 => (0usize..64).prop_map(Step::Abandon),
            2 => (0u8..4).prop_map(Step::Ask),
        ]
    }

    proptest! {
        /// Whatever the order of arrival, outcome, failure and cancellation: each pair has at most one leader at a time,
        /// and every waiter that stayed is answered exactly once.
        #[test]
        fn every_waiter_that_stays_is_answered_once(steps in proptest::collection::vec(step(), 1..120)) {
            let keys = QueryKey::new("m", &Cut::MODEL, "q");
            let key = |pair: u8| keys.document(&pair.to_string());
            let scored = Scored { logit: Logit::new(1.0).unwrap(), tokens: 1, cut: false };
            let flights = Flights::default();
            let mut flying = [false; 4];
            let mut boards: Vec<(u8, Arc<Board>, bool)> = Vec::new();
            for step in steps {
                match step {
                    Step::Join(pair) => {
                        let board = Arc::new(Board::new(1));
                        let joined = flights.join(key(pair), Waiter { board: Arc::clone(&board), slot: 0 });
                        prop_assert_eq!(joined == Joined::Leads, !flying[pair as usize]);
                        flying[pair as usize] = true;
                        boards.push((pair, board, true));
                    }
                    Step::Land(pair) | Step::Fail(pair) if flying[pair as usize] => {
                        let outcome = if matches!(step, Step::Land(_)) { Ok(scored) } else { Err(PairFault::Failed) };
                        flights.land(key(pair), outcome);
                        flying[pair as usize] = false;
                    }
                    Step::Abandon(n) if !boards.is_empty() => {
                        let n = n % boards.len();
                        boards[n].1.abandon();
                        boards[n].2 = false;
                    }
                    Step::Ask(pair) if flying[pair as usize] => {
                        flying[pair as usize] = flights.is_awaited(key(pair));
                    }
                    Step::Land(_) | Step::Fail(_) | Step::Abandon(_) | Step::Ask(_) => {}
                }
            }
            for pair in 0..4 {
                if flying[pair as usize] {
                    flights.land(key(pair), Ok(scored));
                }
            }
            prop_assert!(flights.is_empty());
            for (pair, board, stayed) in boards {
                prop_assert!(!stayed || board.get(0).is_some(), "a waiter of pair {} was forgotten", pair);
            }
        }
    }
}
