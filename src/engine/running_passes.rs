//! Passes that workers are at, as far as the planner thread knows.
//!
//! Owns how much of them is left: workers that are free share what waits with those that are busy, so that all finish
//! together, and for this a pass that has just begun counts whole and one that is nearly over counts nothing. Pure: the
//! time is given. It must not know what a pass holds, or which worker is at it.

use std::time::{Duration, Instant};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct RunningPasses(Vec<Begun>);

/// A pass that was handed out.
#[derive(Clone, Copy, Debug)]
struct Begun {
    tokens: u64,
    at: Instant,
    /// How long it is expected to take; `None` while nothing is known.
    expected: Option<Duration>,
}

impl Begun {
    fn left(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.at);
        match self.expected {
            Some(expected) if elapsed >= expected => 0,
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count")]
            Some(expected) => {
                (self.tokens as f64 * (1.0 - elapsed.as_secs_f64() / expected.as_secs_f64())).round() as u64
            }
            None => self.tokens,
        }
    }

    /// When it is thought to be over.
    fn ends(&self) -> Instant {
        self.at + self.expected.unwrap_or_default()
    }
}

impl RunningPasses {
    /// A pass of so many tokens was handed out.
    pub(super) fn begin(&mut self, at: Instant, tokens: u64, expected: Option<Duration>) {
        self.0.push(Begun { tokens, at, expected });
    }

    /// A worker is free again: of the passes that are going on, the one that was to end first is taken to be its.
    pub(super) fn end(&mut self) {
        let first = self.0.iter().enumerate().min_by_key(|(_, begun)| begun.ends()).map(|(at, _)| at);
        if let Some(first) = first {
            self.0.swap_remove(first);
        }
    }

    /// Tokens that are still to be got through.
    pub(super) fn left(&self, now: Instant) -> u64 {
        self.0.iter().map(|begun| begun.left(now)).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_pass_counts_for_what_is_left_of_it() {
        let start = Instant::now();
        let mut running = RunningPasses::default();
        assert_eq!(running.left(start), 0);
        running.begin(start, 100, Some(SECOND * 10));
        running.begin(start, 40, None);
        for (sentence, after, left) in [
            ("both have just begun", 0, 140),
            ("a quarter of the first is over; of the other nothing is known", 25, 115),
            ("the first is late: it may be over any moment", 110, 40),
        ] {
            assert_eq!(running.left(start + SECOND * after / 10), left, "{sentence}");
        }
    }

    #[test]
    fn a_worker_that_is_free_was_at_the_pass_that_was_to_end_first() {
        let start = Instant::now();
        let mut running = RunningPasses::default();
        running.begin(start, 300, Some(SECOND * 3));
        running.begin(start + SECOND, 100, Some(SECOND));
        running.end();
        assert_eq!(running.left(start), 300);
        running.end();
        running.end();
        assert_eq!(running.left(start), 0, "one free worker more than passes, as at the start");
    }

    proptest! {
        #[test]
        fn what_is_left_never_grows_with_time(
            passes in prop::collection::vec((1_u64..1000, 0_u64..50, prop::option::of(0_u64..50)), 0..6),
            looks in prop::collection::vec(0_u64..200, 1..6),
        ) {
            let start = Instant::now();
            let mut running = RunningPasses::default();
            let ms = Duration::from_millis;
            for &(tokens, at, expected) in &passes {
                running.begin(start + ms(at), tokens, expected.map(ms));
            }
            let all: u64 = passes.iter().map(|pass| pass.0).sum();
            let mut looks = looks;
            looks.sort_unstable();
            let left: Vec<u64> = looks.iter().map(|&look| running.left(start + ms(look))).collect();
            prop_assert!(left.iter().all(|&left| left <= all) && left.is_sorted_by(|a, b| a >= b), "{left:?}");
        }
    }
}
