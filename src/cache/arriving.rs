//! A snapshot's entries between the file and the first tier: found by key as soon as they are read, while the tier, which
//! takes ten times as long, takes them over.
//!
//! Owns their order, and that what is forgotten meanwhile does not come back. It must not know files.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::held::Held;
use super::key::Key;

/// Entries that are taken over between two looks at what was forgotten.
const STEP: usize = 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Arriving(Vec<Part>);

/// One scope's.
#[derive(Debug)]
struct Part {
    /// By key.
    entries: Vec<(Key, Held)>,
    forgotten: AtomicBool,
    /// How many were taken over. Held while some are.
    taken: Mutex<usize>,
}

impl Arriving {
    /// Entries by scope.
    pub(super) fn new(scopes: Vec<Vec<(Key, Held)>>) -> Self {
        let part = |mut entries: Vec<(Key, Held)>| {
            entries.sort_unstable_by_key(|(key, _)| key.order());
            Part { entries, forgotten: AtomicBool::new(false), taken: Mutex::new(0) }
        };
        Self(scopes.into_iter().map(part).collect())
    }

    /// An entry, unless its scope was forgotten.
    pub(super) fn get(&self, scope: usize, key: Key) -> Option<Held> {
        let part = self.0.get(scope)?;
        if part.forgotten.load(Ordering::Acquire) {
            return None;
        }
        let place = part.entries.binary_search_by_key(&key.order(), |(key, _)| key.order()).ok()?;
        part.entries.get(place).map(|(_, held)| *held)
    }

    /// Gives all entries to `take`, by scope; those of a scope that is forgotten meanwhile are left.
    pub(super) fn take_over(&self, take: impl Fn(usize, Key, Held)) {
        for (scope, part) in self.0.iter().enumerate() {
            for step in part.entries.chunks(STEP) {
                let mut taken = part.taken.lock().unwrap_or_else(PoisonError::into_inner);
                if part.forgotten.load(Ordering::Acquire) {
                    break;
                }
                for (key, held) in step {
                    take(scope, *key, *held);
                }
                *taken += step.len();
            }
        }
    }

    /// Gives up a scope's entries: from now on none is found or taken over. Says how many were not taken over before.
    pub(super) fn forget(&self, scope: usize) -> u64 {
        let Some(part) = self.0.get(scope) else { return 0 };
        let taken = part.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let before = part.forgotten.swap(true, Ordering::AcqRel);
        if before { 0 } else { (part.entries.len() - *taken) as u64 }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::QueryKey;
    use rescored_core::domain::{Cut, Logit, Scored};

    fn entry(number: u16) -> (Key, Held) {
        let key = QueryKey::new("m", &Cut::MODEL, "q").document(&number.to_string());
        let scored = Scored { logit: Logit::new(number.into()).unwrap(), tokens: 1, cut: false };
        (key, Held::new(scored, 1))
    }

    fn arriving(count: u16) -> Arriving {
        Arriving::new(vec![(0..count).map(entry).collect(), vec![entry(7)]])
    }

    #[test]
    fn every_entry_is_found_in_its_scope_and_no_other_one_is() {
        let arriving = arriving(3000);
        for number in 0..3000 {
            let (key, held) = entry(number);
            assert_eq!(arriving.get(0, key), Some(held), "{number}");
            assert_eq!(arriving.get(1, key), (number == 7).then_some(held), "{number} in the other scope");
        }
        assert_eq!(arriving.get(0, entry(3000).0), None);
        assert_eq!(arriving.get(2, entry(0).0), None, "no such scope");
    }

    #[test]
    fn what_is_forgotten_while_it_is_taken_over_is_neither_found_nor_taken() {
        let arriving = arriving(3000);
        let taken = RefCell::new(Vec::new());
        // Forgotten by somebody else, who waits until a step is over; here as early as the lock allows.
        std::thread::scope(|scope| {
            let (begun, begins) = std::sync::mpsc::channel();
            let (arriving, forgotten) = (
                &arriving,
                scope.spawn({
                    let arriving = &arriving;
                    move || {
                        begins.recv().unwrap();
                        arriving.forget(0)
                    }
                }),
            );
            arriving.take_over(|scope, _, _| {
                taken.borrow_mut().push(scope);
                // The receiver is gone once it has been told.
                let _ = begun.send(());
                if taken.borrow().len() == STEP {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
            });
            let left = usize::try_from(forgotten.join().unwrap()).unwrap();
            let of_scope = taken.borrow().iter().filter(|scope| **scope == 0).count();
            assert_eq!(of_scope + left, 3000, "each was taken over or given up");
        });
        assert_eq!(arriving.get(0, entry(1).0), None);
        assert_eq!(arriving.forget(0), 0, "once");
        assert_eq!(taken.borrow().iter().filter(|scope| **scope == 1).count(), 1, "the other scope arrives");
    }
}
