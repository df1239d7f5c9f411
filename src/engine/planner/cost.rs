//! What forward passes of different sizes cost here, as measured while serving.
//!
//! Owns the choice of a pass's size. A pass that is too small streams the weights for few tokens, one that is too large
//! leaves the processor's caches; where the best lies depends on the machine and on what else it does. So the time of
//! every pass is kept by its size, and the size that scored most for its time is the next one's bound. Sizes come in
//! steps of the square root of two below the limit; a size that nobody tried for a while counts as not known and is
//! tried again.

use std::time::Duration;

/// Steps below the limit: down to an eighth of it.
const LEVELS: usize = 7;

/// Passes of a size before its cost is believed.
const ENOUGH: f64 = 48.0;

/// A measured pass keeps this share of its weight for every later one: a size is forgotten after some thousand passes
/// of other sizes.
const MEMORY: f64 = 0.9995;

/// How much cheaper (per unit of work) a smaller pass must be before it is preferred: what noise alone may show.
const WORTH: f64 = 0.95;

/// The length at which attention costs as much as the products around it, for 384 columns: 6 times the columns.
const ATTENTION_LENGTH: f64 = 2304.0;

/// What one forward pass was and how long it took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spent {
    pub(crate) model: usize,
    /// Tokens, padding included.
    pub(crate) tokens: u64,
    /// Its [`work`].
    pub(crate) work: f64,
    pub(crate) time: Duration,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Cost {
    limit: u64,
    levels: [Level; LEVELS],
}

/// Passes of about one size: their number, work and seconds, older ones weighing less.
#[derive(Clone, Copy, Debug, Default)]
struct Level {
    passes: f64,
    work: f64,
    seconds: f64,
}

/// The arithmetic of a pass in tokens' worth: attention makes tokens of longer pairs dearer.
pub(crate) fn work(lengths: impl Iterator<Item = usize>) -> f64 {
    lengths.map(|length| length as f64 * (1.0 + length as f64 / ATTENTION_LENGTH)).sum()
}

impl Cost {
    /// Nothing is known yet: passes are as large as they may be.
    pub(super) const fn new(limit: u64) -> Self {
        Self { limit, levels: [Level { passes: 0.0, work: 0.0, seconds: 0.0 }; LEVELS] }
    }

    /// Takes in a pass.
    pub(super) fn observe(&mut self, spent: &Spent) {
        let Some(level) = (0..LEVELS).rev().find(|&level| spent.tokens <= self.size(level)) else { return };
        for known in &mut self.levels {
            for sum in [&mut known.passes, &mut known.work, &mut known.seconds] {
                *sum *= MEMORY;
            }
        }
        let Some(known) = self.levels.get_mut(level) else { return };
        known.passes += 1.0;
        known.work += spent.work;
        known.seconds += spent.time.as_secs_f64();
    }

    /// Tokens that the next pass should hold at most.
    pub(super) fn budget(&self) -> u64 {
        let mut best = (0, f64::INFINITY);
        for (level, known) in self.levels.iter().enumerate() {
            if known.passes < ENOUGH {
                // An unknown larger size is to be tried, an unknown smaller one is not.
                if level == best.0 && best.1.is_infinite() {
                    return self.size(level);
                }
                continue;
            }
            let price = known.seconds / known.work;
            if price < best.1 * WORTH {
                best = (level, price);
            }
        }
        self.size(best.0)
    }

    /// How long a pass of so much work will take: as those of all sizes took. `None` until one was measured.
    pub(super) fn expected(&self, work: f64) -> Option<Duration> {
        let (seconds, done) =
            self.levels.iter().fold((0.0, 0.0), |(seconds, done), level| (seconds + level.seconds, done + level.work));
        // No work, no time; and never more than a duration holds.
        Duration::try_from_secs_f64(work * seconds / done).ok()
    }

    /// The largest pass of a level.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a limit")]
    fn size(&self, level: usize) -> u64 {
        if level == 0 { self.limit } else { (self.limit as f64 * 0.5_f64.powf(level as f64 / 2.0)) as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine on which a pass costs `fixed` tokens' time beside its own, and more beyond `cache` tokens.
    fn machine(cost: &mut Cost, fixed: f64, cache: u64, tokens: u64) {
        let beyond = tokens.saturating_sub(cache) as f64;
        let time = Duration::from_secs_f64((fixed + tokens as f64 + 2.0 * beyond) / 1e4);
        cost.observe(&Spent { model: 0, tokens, work: tokens as f64, time });
    }

    #[test]
    fn without_measurements_a_pass_is_as_large_as_it_may_be() {
        assert_eq!(Cost::new(512).budget(), 512);
    }

    #[test]
    fn a_machine_with_dear_passes_keeps_them_large_and_one_with_a_small_cache_makes_them_small() {
        for (fixed, cache, expected, case) in [
            (100.0, 4096, 512..=512, "streaming weights is dear: as large as may be"),
            (10.0, 200, 150..=260, "what leaves the cache is dear: about its size"),
        ] {
            let mut cost = Cost::new(512);
            for round in 0..2000 {
                // Tails of requests make passes of every size.
                let tokens = if round % 4 == 0 { 16 + (round * 37) % 496 } else { cost.budget() };
                machine(&mut cost, fixed, cache, tokens);
            }
            assert!(expected.contains(&cost.budget()), "{case}: {}", cost.budget());
        }
    }

    #[test]
    fn a_size_that_was_not_tried_for_long_is_tried_again() {
        let mut cost = Cost::new(512);
        for _ in 0..200 {
            machine(&mut cost, 0.0, 128, 512);
            machine(&mut cost, 0.0, 128, 120);
        }
        assert!(cost.budget() < 200);
        for _ in 0..8000 {
            machine(&mut cost, 0.0, 128, 120);
        }
        assert_eq!(cost.budget(), 512);
    }

    #[test]
    fn longer_pairs_are_more_work_a_token() {
        assert!(work([256].into_iter()) > work([64; 4].into_iter()) * 1.05);
    }
}
