//! Encodings that cost a worker more than once.
//!
//! A pair whose forward pass panics or hangs, alone, takes a worker down; callers retry. So the second time it is
//! remembered, by a hash of its token ids, and refused without a forward pass for a while. Owns that memory, which is
//! bounded. It must not know texts.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rescored_process::sync::lock;
use rescored_runtime::Encoding;

/// How often an encoding may take a worker down before it is refused.
const STRIKES: u32 = 2;

/// How long a strike counts: long enough for retries to stop, short enough that a fault of ours that passed is forgotten.
const MEMORY: Duration = Duration::from_mins(10);

/// Encodings remembered at most. Each has cost a worker: more in [`MEMORY`] means that the encodings are not at fault.
const CAPACITY: usize = 1024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Quarantine {
    hasher: RandomState,
    struck: Mutex<HashMap<u64, Strikes>>,
    /// Of `struck`, so that nothing is hashed while there is nothing to find.
    count: AtomicUsize,
}

#[derive(Clone, Copy, Debug)]
struct Strikes {
    count: u32,
    last: Instant,
}

impl Quarantine {
    /// An encoding has taken a worker down, alone.
    pub(super) fn strike(&self, model: usize, encoding: &Encoding, now: Instant) {
        let mut struck = self.struck();
        struck.retain(|_, strikes| now.saturating_duration_since(strikes.last) < MEMORY);
        if struck.len() < CAPACITY {
            let strikes = struck.entry(self.hash(model, encoding)).or_insert(Strikes { count: 0, last: now });
            strikes.count += 1;
            strikes.last = now;
        }
        self.count.store(struck.len(), Ordering::Release);
    }

    /// Whether an encoding is refused.
    pub(super) fn holds(&self, model: usize, encoding: &Encoding, now: Instant) -> bool {
        if self.count.load(Ordering::Acquire) == 0 {
            return false;
        }
        let struck = self.struck();
        let strikes = struck.get(&self.hash(model, encoding));
        strikes.is_some_and(|one| one.count >= STRIKES && now.saturating_duration_since(one.last) < MEMORY)
    }

    fn hash(&self, model: usize, encoding: &Encoding) -> u64 {
        self.hasher.hash_one((model, encoding.ids()))
    }

    fn struck(&self) -> MutexGuard<'_, HashMap<u64, Strikes>> {
        // No code that can panic runs under this lock; a poisoned table is whole all the same.
        lock(&self.struck)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoding(id: u32) -> Encoding {
        Encoding::new(vec![id; 3], 1, 0)
    }

    #[test]
    fn the_second_strike_counts_for_ten_minutes() {
        let quarantine = Quarantine::default();
        let now = Instant::now();
        quarantine.strike(0, &encoding(7), now);
        assert!(!quarantine.holds(0, &encoding(7), now), "a fault may be ours, and pass");
        quarantine.strike(0, &encoding(7), now);
        assert!(quarantine.holds(0, &encoding(7), now));
        assert!(!quarantine.holds(1, &encoding(7), now), "another model may well take it");
        assert!(!quarantine.holds(0, &encoding(8), now));
        assert!(!quarantine.holds(0, &encoding(7), now + MEMORY));
    }

    #[test]
    fn it_forgets_and_stays_small() {
        let quarantine = Quarantine::default();
        let now = Instant::now();
        for id in 0..3000 {
            quarantine.strike(0, &encoding(id), now);
        }
        assert_eq!(quarantine.struck().len(), CAPACITY);
        quarantine.strike(0, &encoding(9999), now + MEMORY);
        assert_eq!(quarantine.struck().len(), 1);
    }
}
