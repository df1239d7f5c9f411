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
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use rescored_cache::Key;
use rescored_core::domain::Priority;
use rescored_engine::PairError;
use rescored_engine::mutation::{self, Mutation};
use rescored_process::sync::lock;

use super::collector::{Outcome, ResultCollector};
use super::error;

/// Locks, so that requests on different cores seldom meet at one.
const SHARDS: usize = 64;

/// Somebody who waits for a pair: a slot of a collector.
#[derive(Clone, Debug)]
pub(super) struct Waiter {
    pub(super) collector: Arc<ResultCollector>,
    pub(super) slot: usize,
    /// The name of the request that waits.
    pub(super) name: LeaderId,
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
pub(super) struct LeaderId {
    number: u64,
    priority: Priority,
}

/// Pairs in flight.
#[derive(Debug)]
pub(super) struct InFlightTable {
    shards: Box<[Mutex<Shard>]>,
    next_leader: AtomicU64,
}

/// Who waits for which pair.
type Shard = HashMap<Key, InFlightPair>;

/// A pair in flight.
#[derive(Debug)]
struct InFlightPair {
    leader: LeaderId,
    waiters: Vec<Waiter>,
}

impl Default for InFlightTable {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), next_leader: AtomicU64::new(0) }
    }
}

impl InFlightTable {
    /// A name for the pairs that a request may come to lead.
    pub(super) fn lead(&self, priority: Priority) -> LeaderId {
        LeaderId { number: self.next_leader.fetch_add(1, Ordering::Relaxed), priority }
    }

    /// Waits for a pair, leading it when nobody does, or when only a warm-up job does and this is no warm-up.
    pub(super) fn join(&self, key: Key, waiter: Waiter) -> Joined {
        let leader = waiter.name;
        if mutation::is(Mutation::EverybodyLeads) && self.shard(key).contains_key(&key) {
            self.shard(key).insert(key, InFlightPair { leader, waiters: vec![waiter] });
            return Joined::Leads;
        }
        match self.shard(key).entry(key) {
            Entry::Occupied(mut entry) => {
                let pair = entry.get_mut();
                pair.waiters.push(waiter);
                if pair.leader.priority == Priority::WarmUp && leader.priority == Priority::Live {
                    pair.leader = leader;
                    Joined::Leads
                } else {
                    Joined::Follows
                }
            }
            Entry::Vacant(entry) => {
                entry.insert(InFlightPair { leader, waiters: vec![waiter] });
                Joined::Leads
            }
        }
    }

    /// A pair's outcome is here: everybody who waits for it gets it. A former leader's score is as good as any; its
    /// failure says nothing of the present leader's work.
    pub(super) fn land(&self, key: Key, leader: LeaderId, outcome: Outcome) {
        let pair = match self.shard(key).entry(key) {
            Entry::Occupied(entry) if outcome.is_ok() || entry.get().leader == leader => entry.remove(),
            Entry::Occupied(_) | Entry::Vacant(_) => return,
        };
        let put_back = mutation::is(Mutation::ForgottenWhileRead) || mutation::is(Mutation::FirstDeadlineCounts);
        let is_the_leaders = |fault: PairError| error::is_the_leaders(fault) && !(put_back && fault == PairError::Lost);
        let of_the_pair = outcome.map_err(|fault| if is_the_leaders(fault) { PairError::Abandoned } else { fault });
        for waiter in pair.waiters {
            waiter.collector.put(waiter.slot, if waiter.name == leader { outcome } else { of_the_pair });
        }
    }

    /// Until when anybody waits for a pair from this leader. When nobody does, its entry ends here and now, so that
    /// whoever asks next leads it anew instead of waiting for an outcome that will not come.
    pub(super) fn awaited_until(&self, key: Key, leader: LeaderId) -> Option<Instant> {
        let mut shard = self.shard(key);
        let Entry::Occupied(entry) = shard.entry(key) else { return None };
        if entry.get().leader != leader {
            return None;
        }
        let until = entry.get().waiters.iter().filter_map(|waiter| waiter.collector.awaited_until()).max();
        if until.is_none() {
            entry.remove();
        }
        until
    }

    fn shard(&self, key: Key) -> MutexGuard<'_, Shard> {
        #[expect(clippy::cast_possible_truncation, reason = "the remainder is below the number of shards")]
        let shard = (key.spread() % SHARDS as u64) as usize;
        // No code that can panic runs under this lock; a poisoned table is whole all the same.
        lock(&self.shards[shard])
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
    use rescored_core::domain::{Logit, Scored, Truncation};

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
        leader: LeaderId,
        over: bool,
    }

    proptest! {
        /// Whatever the order of arrival, outcome, failure and cancellation: each pair has at most one leader at a time, a
        /// live request never waits for a warm-up's work, and every waiter that stayed is answered exactly once.
        #[test]
        fn every_waiter_that_stays_is_answered_once(steps in proptest::collection::vec(step(), 1..120)) {
            let keys = QueryKey::new("m", &Truncation::MODEL, "q");
            let key = |pair: u8| keys.document(&pair.to_string());
            let scored = Scored { logit: Logit::new(1.0).unwrap(), tokens: 1, cut: false };
            let in_flight = InFlightTable::default();
            // The position in `works` of each pair's leader.
            let mut leading: [Option<usize>; 4] = [None; 4];
            let mut works: Vec<Work> = Vec::new();
            let mut collectors: Vec<(u8, Arc<ResultCollector>, bool)> = Vec::new();
            for step in steps {
                match step {
                    Step::Join(pair, priority) => {
                        let collector = Arc::new(ResultCollector::new(1, Instant::now()));
                        let leader = in_flight.lead(priority);
                        let led_by = leading[pair as usize].map(|work| works[work].leader.priority);
                        let joined = in_flight.join(key(pair), Waiter { collector: Arc::clone(&collector), slot: 0, name: leader });
                        let next_leader = led_by.is_none_or(|by| by == Priority::WarmUp && priority == Priority::Live);
                        prop_assert_eq!(joined == Joined::Leads, next_leader);
                        if next_leader {
                            leading[pair as usize] = Some(works.len());
                            works.push(Work { pair, leader, over: false });
                        }
                        collectors.push((pair, collector, true));
                    }
                    Step::End(n, good) if works.iter().any(|work| !work.over) => {
                        let open: Vec<usize> = (0..works.len()).filter(|&work| !works[work].over).collect();
                        let work = open[n % open.len()];
                        works[work].over = true;
                        let pair = works[work].pair;
                        let outcome = if good { Ok(scored) } else { Err(PairError::Failed) };
                        in_flight.land(key(pair), works[work].leader, outcome);
                        if good || leading[pair as usize] == Some(work) {
                            leading[pair as usize] = None;
                        }
                    }
                    Step::Abandon(n) if !collectors.is_empty() => {
                        let n = n % collectors.len();
                        collectors[n].1.abandon();
                        collectors[n].2 = false;
                    }
                    Step::Ask(n) if !works.is_empty() => {
                        let work = n % works.len();
                        let pair = works[work].pair;
                        let wanted = in_flight.awaited_until(key(pair), works[work].leader).is_some();
                        let next_leader = leading[pair as usize] == Some(work);
                        prop_assert!(next_leader || !wanted, "only a leader's work is wanted");
                        if next_leader && !wanted {
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
                    in_flight.land(key(pair), works[work].leader, Ok(scored));
                }
            }
            prop_assert!(in_flight.is_empty());
            for (pair, collector, stayed) in collectors {
                prop_assert!(!stayed || collector.get(0).is_some(), "a waiter of pair {} was forgotten", pair);
            }
        }
    }
}
