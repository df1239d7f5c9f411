//! Coalescing: a pair that is being scored for one request is waited for by every other.
//!
//! Owns the table of pairs in flight. The first request that asks for a pair leads it through the engine; later ones
//! wait at the same entry. An entry ends when its outcome lands, or when nobody waits for it any more: as long as somebody
//! does, the work goes on, also when the one who led it has gone or had less time. What says something of the leader's
//! work rather than of the pair (it came too late, was given up, or lost with a worker) is for the others a reason to
//! begin anew.
//!
//! A live request does not wait for what a warm-up job leads: that runs only while nothing live waits. It takes the lead
//! instead, and the job waits for it. What the job still has queued is then dropped unscored; only what is in a forward
//! pass at that moment may be computed twice, and whichever score comes first answers everybody.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rescored_cache::Key;
use rescored_core::domain::Priority;
use rescored_engine::PairFault;
use rescored_engine::mutation::{self, Mutation};

use super::board::{Board, Outcome};
use super::fault;

/// Locks, so that requests on different cores seldom meet at one.
const SHARDS: usize = 64;

/// Somebody who waits for a pair: a place on a board.
#[derive(Clone, Debug)]
pub(super) struct Waiter {
    pub(super) board: Arc<Board>,
    pub(super) slot: usize,
    /// The name of the request that waits.
    pub(super) name: Lead,
}

/// Whether a request has to bring a pair through the engine itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joined {
    /// It has: nobody else does.
    Leads,
    /// Somebody does already; the outcome will come.
    Follows,
}

/// Names one request's leading of pairs, so that what becomes of a former leader's work is not taken for the present
/// one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lead {
    number: u64,
    priority: Priority,
}

/// Pairs in flight.
#[derive(Debug)]
pub(super) struct Flights {
    shards: Box<[Mutex<Shard>]>,
    leads: AtomicU64,
}

/// Who waits for which pair.
type Shard = HashMap<Key, Flight>;

/// A pair in flight.
#[derive(Debug)]
struct Flight {
    lead: Lead,
    waiters: Vec<Waiter>,
}

impl Default for Flights {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), leads: AtomicU64::new(0) }
    }
}

impl Flights {
    /// A name for the pairs that a request may come to lead.
    pub(super) fn lead(&self, priority: Priority) -> Lead {
        Lead { number: self.leads.fetch_add(1, Ordering::Relaxed), priority }
    }

    /// Waits for a pair, leading it when nobody does, or when only a warm-up job does and this is no warm-up.
    pub(super) fn join(&self, key: Key, waiter: Waiter) -> Joined {
        let lead = waiter.name;
        if mutation::is(Mutation::EverybodyLeads) && self.shard(key).contains_key(&key) {
            self.shard(key).insert(key, Flight { lead, waiters: vec![waiter] });
            return Joined::Leads;
        }
        match self.shard(key).entry(key) {
            Entry::Occupied(mut entry) => {
                let flight = entry.get_mut();
                flight.waiters.push(waiter);
                if flight.lead.priority == Priority::WarmUp && lead.priority == Priority::Live {
                    flight.lead = lead;
                    Joined::Leads
                } else {
                    Joined::Follows
                }
            }
            Entry::Vacant(entry) => {
                entry.insert(Flight { lead, waiters: vec![waiter] });
                Joined::Leads
            }
        }
    }

    /// A pair's outcome is here: everybody who waits for it gets it. A former leader's score is as good as any; its
    /// failure says nothing of the present leader's work.
    pub(super) fn land(&self, key: Key, lead: Lead, outcome: Outcome) {
        let flight = match self.shard(key).entry(key) {
            Entry::Occupied(entry) if outcome.is_ok() || entry.get().lead == lead => entry.remove(),
            Entry::Occupied(_) | Entry::Vacant(_) => return,
        };
        let put_back = mutation::is(Mutation::ForgottenWhileRead) || mutation::is(Mutation::FirstDeadlineCounts);
        let is_the_leaders = |fault: PairFault| fault::is_the_leaders(fault) && !(put_back && fault == PairFault::Lost);
        let of_the_pair = outcome.map_err(|fault| if is_the_leaders(fault) { PairFault::Abandoned } else { fault });
        for waiter in flight.waiters {
            waiter.board.put(waiter.slot, if waiter.name == lead { outcome } else { of_the_pair });
        }
    }

    /// Until when anybody waits for a pair from this leader. When nobody does, its entry ends here and now, so that
    /// whoever asks next leads it anew instead of waiting for an outcome that will not come.
    pub(super) fn awaited_until(&self, key: Key, lead: Lead) -> Option<Instant> {
        let mut shard = self.shard(key);
        let Entry::Occupied(entry) = shard.entry(key) else { return None };
        if entry.get().lead != lead {
            return None;
        }
        let until = entry.get().waiters.iter().filter_map(|waiter| waiter.board.awaited_until()).max();
        if until.is_none() {
            entry.remove();
        }
        until
    }

    fn shard(&self, key: Key) -> MutexGuard<'_, Shard> {
        #[expect(clippy::cast_possible_truncation, reason = "the remainder is below the number of shards")]
        let shard = (key.spread() % SHARDS as u64) as usize;
        // No code that can panic runs under this lock; a poisoned table is whole all the same.
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| shard.lock().unwrap().is_empty())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use rescored_cache::QueryKey;
    use rescored_core::domain::{Cut, Logit, Scored};

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Join(u8, Priority),
        /// The n-th leader's work comes to an end: a score, or a failure.
        End(usize, bool),
        /// The n-th waiter goes away.
        Abandon(usize),
        /// A worker asks whether the n-th leader's pair is wanted, and drops it when not.
        Ask(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let priority = prop_oneof![Just(Priority::Live), Just(Priority::WarmUp)];
        prop_oneof![
            4 => ((0u8..4), priority).prop_map(|(pair, priority)| Step::Join(pair, priority)),
            2 => ((0usize..64), any::<bool>()).prop_map(|(n, scored)| Step::End(n, scored)),
            2 => (0usize..64).prop_map(Step::Abandon),
            2 => (0usize..64).prop_map(Step::Ask),
        ]
    }

    /// What the test knows of one pair that a request leads through the engine.
    struct Work {
        pair: u8,
        lead: Lead,
        over: bool,
    }

    proptest! {
        /// Whatever the order of arrival, outcome, failure and cancellation: each pair has at most one leader at a time, a
        /// live request never waits for a warm-up's work, and every waiter that stayed is answered exactly once.
        #[test]
        fn every_waiter_that_stays_is_answered_once(steps in proptest::collection::vec(step(), 1..120)) {
            let keys = QueryKey::new("m", &Cut::MODEL, "q");
            let key = |pair: u8| keys.document(&pair.to_string());
            let scored = Scored { logit: Logit::new(1.0).unwrap(), tokens: 1, cut: false };
            let flights = Flights::default();
            // The position in `works` of each pair's leader.
            let mut leading: [Option<usize>; 4] = [None; 4];
            let mut works: Vec<Work> = Vec::new();
            let mut boards: Vec<(u8, Arc<Board>, bool)> = Vec::new();
            for step in steps {
                match step {
                    Step::Join(pair, priority) => {
                        let board = Arc::new(Board::new(1, Instant::now()));
                        let lead = flights.lead(priority);
                        let led_by = leading[pair as usize].map(|work| works[work].lead.priority);
                        let joined = flights.join(key(pair), Waiter { board: Arc::clone(&board), slot: 0, name: lead });
                        let leads = led_by.is_none_or(|by| by == Priority::WarmUp && priority == Priority::Live);
                        prop_assert_eq!(joined == Joined::Leads, leads);
                        if leads {
                            leading[pair as usize] = Some(works.len());
                            works.push(Work { pair, lead, over: false });
                        }
                        boards.push((pair, board, true));
                    }
                    Step::End(n, good) if works.iter().any(|work| !work.over) => {
                        let open: Vec<usize> = (0..works.len()).filter(|&work| !works[work].over).collect();
                        let work = open[n % open.len()];
                        works[work].over = true;
                        let pair = works[work].pair;
                        let outcome = if good { Ok(scored) } else { Err(PairFault::Failed) };
                        flights.land(key(pair), works[work].lead, outcome);
                        if good || leading[pair as usize] == Some(work) {
                            leading[pair as usize] = None;
                        }
                    }
                    Step::Abandon(n) if !boards.is_empty() => {
                        let n = n % boards.len();
                        boards[n].1.abandon();
                        boards[n].2 = false;
                    }
                    Step::Ask(n) if !works.is_empty() => {
                        let work = n % works.len();
                        let pair = works[work].pair;
                        let wanted = flights.awaited_until(key(pair), works[work].lead).is_some();
                        let leads = leading[pair as usize] == Some(work);
                        prop_assert!(leads || !wanted, "only a leader's work is wanted");
                        if leads && !wanted {
                            leading[pair as usize] = None;
                        }
                        if !wanted {
                            works[work].over = true;
                        }
                    }
                    Step::End(..) | Step::Abandon(_) | Step::Ask(_) => {}
                }
            }
            for pair in 0..4 {
                if let Some(work) = leading[usize::from(pair)] {
                    flights.land(key(pair), works[work].lead, Ok(scored));
                }
            }
            prop_assert!(flights.is_empty());
            for (pair, board, stayed) in boards {
                prop_assert!(!stayed || board.get(0).is_some(), "a waiter of pair {} was forgotten", pair);
            }
        }
    }
}
