//! Where one request's time went, as `Server-Timing` reports it.
//!
//! Owns the stages' names and the cut between them: by the clock on the wall, one after the other, whatever number of
//! threads was at work. It must not know how a stage does what it does.

use std::fmt::Write;
use std::time::{Duration, Instant};

use crate::rerank::Stats;

/// When the stages that happen here, at the door, began and ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Laps {
    /// The request's head was there.
    pub(super) begun: Instant,
    /// The body was there and had been read.
    pub(super) parsed: Option<Instant>,
    /// The answer was printed.
    pub(super) printed: Option<(Instant, Instant)>,
}

/// What the engine did for a request, by the clock on the wall: the parts follow each other, so that their sum is no more
/// than the whole took. `None` for what did not happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    /// Texts became token ids, as far as no forward pass ran meanwhile.
    pub(super) tokenise: Option<Duration>,
    /// The rest of the time before the first forward pass.
    pub(super) queue: Option<Duration>,
    /// From the first forward pass begun to the last one over.
    pub(super) inference: Option<Duration>,
}

impl Parts {
    pub(super) fn of(work: &Stats) -> Self {
        let timeline = &work.timeline;
        let begun = timeline.inferred.map(|(begun, _)| begun);
        let span = |(from, to): (Instant, Instant)| to.saturating_duration_since(from);
        // Later texts are read while the first ones are scored: that costs nobody time.
        let tokenise = timeline.tokenised.map(|(from, to)| span((from, begun.map_or(to, |begun| to.min(begun)))));
        let until = begun.or(timeline.tokenised.map(|(_, to)| to));
        let waited = timeline.admitted.zip(until).map(span);
        Self {
            tokenise,
            queue: waited.map(|waited| waited.saturating_sub(tokenise.unwrap_or_default())),
            inference: timeline.inferred.map(span),
        }
    }
}

impl Laps {
    pub(super) fn begin() -> Self {
        Self { begun: Instant::now(), parsed: None, printed: None }
    }

    /// The value of `Server-Timing`: the stages that happened, in milliseconds, one after the other.
    pub(super) fn header(&self, work: &Stats, total: Duration) -> String {
        let span = |stretch: Option<(Instant, Instant)>| stretch.map(|(begun, over)| over - begun);
        let Parts { tokenise, queue, inference } = Parts::of(work);
        let stages = [
            ("parse", self.parsed.map(|parsed| parsed - self.begun)),
            ("cache", span(work.looked_up)),
            ("tokenise", tokenise),
            ("queue", queue),
            ("inference", inference),
            ("print", span(self.printed)),
            ("total", Some(total)),
        ];
        let mut header = String::new();
        for (name, spent) in stages.into_iter().filter_map(|(name, spent)| Some((name, spent?))) {
            let comma = if header.is_empty() { "" } else { ", " };
            // Writing to a String cannot fail.
            let _ = write!(header, "{comma}{name};dur={:.3}", spent.as_secs_f64() * 1000.0);
        }
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rerank::Timeline;

    #[test]
    fn only_stages_that_happened_are_reported() {
        let begun = Instant::now();
        let at = |millis| begun + Duration::from_millis(millis);
        let laps = Laps { begun, parsed: Some(at(2)), printed: None };
        let cached = Stats { looked_up: Some((at(2), at(3))), ..Stats::default() };
        assert_eq!(
            laps.header(&cached, Duration::from_micros(3500)),
            "parse;dur=2.000, cache;dur=1.000, total;dur=3.500",
            "an answer from the cache waits for nobody"
        );
        let scored = Stats {
            tokenise: Duration::from_millis(9),
            timeline: Timeline {
                admitted: Some(at(3)),
                tokenised: Some((at(4), at(20))),
                inferred: Some((at(8), at(30))),
                forwards: 3,
            },
            ..cached
        };
        let laps = Laps { printed: Some((at(30), at(31))), ..laps };
        assert_eq!(
            laps.header(&scored, Duration::from_millis(32)),
            "parse;dur=2.000, cache;dur=1.000, tokenise;dur=4.000, queue;dur=1.000, inference;dur=22.000, \
             print;dur=1.000, total;dur=32.000"
        );
    }

    // Case B20: sums over threads are never among the parts, however many threads there were.
    #[test]
    fn parts_follow_each_other_whatever_the_threads_did() {
        let begun = Instant::now();
        let at = |millis| begun + Duration::from_millis(millis);
        let millis = Duration::from_millis;
        for (case, admitted, tokenised, inferred, parts) in [
            ("nothing was scored", None, None, None, [None; 3]),
            ("one after the other", Some(1), Some((2, 5)), Some((9, 20)), [Some(3), Some(5), Some(11)]),
            ("passes beside texts", Some(1), Some((2, 50)), Some((9, 60)), [Some(7), Some(1), Some(51)]),
            ("stopped before a pass", Some(1), Some((2, 5)), None, [Some(3), Some(1), None]),
            ("begun again", Some(1), Some((30, 40)), Some((9, 60)), [Some(0), Some(8), Some(51)]),
        ] {
            let timeline = Timeline {
                admitted: admitted.map(at),
                tokenised: tokenised.map(|(from, to)| (at(from), at(to))),
                inferred: inferred.map(|(from, to)| (at(from), at(to))),
                forwards: 9,
            };
            let work = Stats { timeline, tokenise: millis(900), inference: millis(900), ..Stats::default() };
            let [tokenise, queue, inference] = parts.map(|part| part.map(millis));
            assert_eq!(Parts::of(&work), Parts { tokenise, queue, inference }, "{case}");
        }
    }
}
