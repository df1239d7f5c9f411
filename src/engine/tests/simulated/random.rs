//! What the simulator draws: places, chances and short whiles, all from one seed.

use std::time::Duration;

use rescored_core::random::Seeded;

/// The simulator's draws.
#[derive(Clone, Debug)]
pub struct Random(Seeded);

impl Random {
    /// From a seed.
    pub const fn new(seed: u64) -> Self {
        Self(Seeded::new(seed))
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0.bits()
    }

    /// A number below the limit.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    /// True once in so many times.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// A short while.
    pub fn micros(&mut self, most: u64) -> Duration {
        Duration::from_micros(1 + self.below(most))
    }

    /// A place in a list.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap()
    }
}
