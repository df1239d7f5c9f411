//! A snapshot's entries between the file and the first tier: found by key as soon as they are read, while the tier, which
//! takes ten times as long, takes them over.
//!
//! Owns their order, and that what is forgotten meanwhile does not come back. It must not know files.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use rescored_process::sync::lock;

use super::cached_score::CachedScore;
use super::key::Key;

/// Entries that are taken over between two looks at what was forgotten.
const STEP: usize = 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct RestoringScores(Vec<ScopeEntries>);

/// One scope's.
#[derive(Debug)]
struct ScopeEntries {
    /// By key.
    entries: Vec<(Key, CachedScore)>,
    forgotten: AtomicBool,
    /// How many were taken over. Held while some are.
    taken: Mutex<usize>,
}

impl RestoringScores {
    /// Entries by scope.
    pub(super) fn new(scopes: Vec<Vec<(Key, CachedScore)>>) -> Self {
        let of_scope = |mut entries: Vec<(Key, CachedScore)>| {
            entries.sort_unstable_by_key(|(key, _)| key.order());
            ScopeEntries { entries, forgotten: AtomicBool::new(false), taken: Mutex::new(0) }
        };
        Self(scopes.into_iter().map(of_scope).collect())
    }

    /// An entry, unless its scope was forgotten.
    pub(super) fn get(&self, scope: usize, key: Key) -> Option<CachedScore> {
        let of_scope = self.0.get(scope)?;
        if of_scope.forgotten.load(Ordering::Acquire) {
            return None;
        }
        let place = of_scope.entries.binary_search_by_key(&key.order(), |(key, _)| key.order()).ok()?;
        of_scope.entries.get(place).map(|(_, cached)| *cached)
    }

    /// Gives all entries to `take`, by scope; those of a scope that is forgotten meanwhile are left.
    pub(super) fn take_over(&self, take: impl Fn(usize, Key, CachedScore)) {
        for (scope, of_scope) in self.0.iter().enumerate() {
            for step in of_scope.entries.chunks(STEP) {
                let mut taken = lock(&of_scope.taken);
                if of_scope.forgotten.load(Ordering::Acquire) {
                    break;
                }
                for (key, cached) in step {
                    take(scope, *key, *cached);
                }
                *taken += step.len();
            }
        }
    }

    /// Gives up a scope's entries: from now on none is found or taken over. Says how many were not taken over before.
    pub(super) fn forget(&self, scope: usize) -> u64 {
        let Some(of_scope) = self.0.get(scope) else { return 0 };
        let taken = lock(&of_scope.taken);
        let before = of_scope.forgotten.swap(true, Ordering::AcqRel);
        if before { 0 } else { (of_scope.entries.len() - *taken) as u64 }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::QueryKey;
    use rescored_core::domain::{Logit, Scored, Truncation};

    fn entry(number: u16) -> (Key, CachedScore) {
        let key = QueryKey::new("m", &Truncation::MODEL, "q").document(&number.to_string());
        let scored = Scored { logit: Logit::new(number.into()).unwrap(), tokens: 1, cut: false };
        (key, CachedScore::new(scored, 1))
    }

    fn restoring(count: u16) -> RestoringScores {
        RestoringScores::new(vec![(0..count).map(entry).collect(), vec![entry(7)]])
    }

    #[test]
    fn every_entry_is_found_in_its_scope_and_no_other_one_is() {
        let restoring = restoring(3000);
        for number in 0..3000 {
            let (key, cached) = entry(number);
            assert_eq!(restoring.get(0, key), Some(cached), "{number}");
            assert_eq!(restoring.get(1, key), (number == 7).then_some(cached), "{number} in the other scope");
        }
        assert_eq!(restoring.get(0, entry(3000).0), None);
        assert_eq!(restoring.get(2, entry(0).0), None, "no such scope");
    }

    #[test]
    fn what_is_forgotten_while_it_is_taken_over_is_neither_found_nor_taken() {
        let restoring = restoring(3000);
        let taken = RefCell::new(Vec::new());
        // Forgotten by somebody else, who waits until a step is over; here as early as the lock allows.
        std::thread::scope(|scope| {
            let (begun, begins) = std::sync::mpsc::channel();
            let (restoring, forgotten) = (
                &restoring,
                scope.spawn({
                    let restoring = &restoring;
                    move || {
                        begins.recv().unwrap();
                        restoring.forget(0)
                    }
                }),
            );
            restoring.take_over(|scope, _, _| {
                taken.borrow_mut().push(scope);
                // The receiver is gone once it has its answer.
                let _ = begun.send(());
                if taken.borrow().len() == STEP {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
            });
            let left = usize::try_from(forgotten.join().unwrap()).unwrap();
            let of_scope = taken.borrow().iter().filter(|scope| **scope == 0).count();
            assert_eq!(of_scope + left, 3000, "each was taken over or given up");
        });
        assert_eq!(restoring.get(0, entry(1).0), None);
        assert_eq!(restoring.forget(0), 0, "once");
        assert_eq!(taken.borrow().iter().filter(|scope| **scope == 1).count(), 1, "the other scope arrives");
    }
}
